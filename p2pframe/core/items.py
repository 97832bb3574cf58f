"""The way of an item through a node: known? -> validator -> item store -> relay policy -> links.

One instance a network. It owns what is between those parts: which ids are being validated, which were rejected lately,
which items wait for others, and how the latest items spread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.config.settings import Limits
from p2pframe.core.relay_log import RelayLog
from p2pframe.core.scheduler import Scheduler
from p2pframe.core.spreads import Spreads
from p2pframe.errors import StorageError
from p2pframe.interfaces import (
    IItems,
    IItemStore,
    ILink,
    IRelayPolicy,
    ISession,
    IValidator,
    Metrics,
    TopicRules,
)
from p2pframe.model import ACCEPTED, Item, ItemId, Outcome, SessionId, Topic, Validation

Failed = Callable[[str, str, Failure], None]
"""Told of an exception out of a plugin: (label, where, failure)."""


class _Waiting:
    """An item that waits for others before it can be judged."""

    __slots__ = ("item", "missing", "session")

    def __init__(self, item: Item, session: ISession | None, missing: Sequence[ItemId]) -> None:
        self.item = item
        self.session = session
        self.missing = dict.fromkeys(missing)


class _Case:
    """An item that is being judged: who is still to be asked, and what the others said."""

    __slots__ = ("heard", "item", "result", "session", "spread", "validators")

    def __init__(
        self, item: Item, session: ISession | None, validators: Iterator[IValidator],
        heard: tuple[Sequence[SessionId], Sequence[SessionId]],
    ) -> None:  # fmt: skip
        self.item = item
        self.session = session
        self.heard = heard
        """Who had announced it before it came, and who was asked for it."""
        self.validators = validators
        self.result = ACCEPTED
        self.spread = True


@implementer(IItems)
class Items:
    """See `IItems`."""

    def __init__(
        self,
        clock: IReactorTime,
        unix_time: Callable[[], float],
        topics: Mapping[Topic, TopicRules],
        scheduler: Scheduler,
        limits: Callable[[], Limits],
        metrics: Metrics,
        failed: Failed,
        log: Logger,
    ) -> None:
        self._seconds: Callable[[], float] = clock.seconds
        self._call_later = clock.callLater
        self._unix_time = unix_time
        self._topics = topics
        self._scheduler = scheduler
        self._limits = limits
        self._failed = failed
        self._stores: Mapping[Topic, IItemStore] = {}
        self._validators: Mapping[Topic, Sequence[IValidator]] = {}
        self._relay: IRelayPolicy | None = None
        self._subscribers: dict[Topic, list[Callable[[Item, ISession | None], None]]] = {}
        self._pending: dict[tuple[Topic, ItemId], None] = {}
        self._judging: dict[tuple[Topic, ItemId], Deferred[Validation] | None] = {}
        self._stopped = False
        self._rejected: OrderedDict[tuple[Topic, ItemId], None] = OrderedDict()
        self._waiting: OrderedDict[tuple[Topic, ItemId], _Waiting] = OrderedDict()
        self.spreads = Spreads(clock.seconds, unix_time, limits, metrics)
        self._links: dict[Topic, dict[SessionId, None]] = {}
        """The links that there are, by topic."""
        self._untold: OrderedDict[tuple[Topic, ItemId], Item] = OrderedDict()
        """Items of our own that the relay policy was given while there was no link: it tells nobody who comes later."""
        self.heard: Callable[[ISession, Topic, Sequence[ItemId]], None] | None = None
        """Told of every announcement, where somebody measures; see `p2pframe.sim.measures`."""
        self.relay_log = RelayLog(log)
        self._outcomes = metrics.counter("items_total", "Items by what became of them.", ("topic", "outcome"))

    def bind(
        self,
        stores: Mapping[Topic, IItemStore],
        validators: Mapping[Topic, Sequence[IValidator]],
        relay: IRelayPolicy | None,
    ) -> None:
        """Name the plugins, once they are built."""
        self._stores = stores
        self._validators = validators
        self._relay = relay

    def usage(self) -> Mapping[str, int]:
        """What is used of the bounds of `limits` that are held here."""
        return {
            "validations": len(self._pending),
            "waiting_items": len(self._waiting),
            "untold_items": len(self._untold),
            "rejected_items": len(self._rejected),
            "spreads": len(self.spreads.records),
        }

    # --- what protocols call ---

    def announced(self, session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IItems.announced`."""
        link = session.link(topic)
        if link is None:
            return
        if self._relay is not None:
            try:
                self._relay.announced(link, ids)
            except Exception:  # noqa: BLE001 - a policy that fails is named and counted
                self._failed("relay", "announced", Failure())
        if self.heard is not None:
            self.heard(session, topic, ids)
        self.spreads.announced(session.id, topic, ids, session.now)
        if self._topics[topic].scheduled:
            unknown = self._unknown(topic, ids)
            if unknown:
                self._scheduler.offer(topic, unknown, session.id, session.inbound, session.now)

    def delivered(self, session: ISession, item: Item, requested: bool = True) -> None:
        """See `IItems.delivered`."""
        topic = item.topic
        link = session.link(topic)
        if link is not None and self._relay is not None:
            try:
                self._relay.announced(link, (item.id,))
            except Exception:  # noqa: BLE001 - see above
                self._failed("relay", "announced", Failure())
        if self.known(topic, item.id):
            self._outcomes.add(1, topic, "known")
            self.spreads.again(item)
            self._settle(item, session, None)
            return
        judged = self._judge(item, session)
        self._settle(item, session, judged if isinstance(judged, Validation) else None)

    def not_found(self, session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IItems.not_found`."""
        for id in ids:
            self._scheduler.failed(topic, id, session.id)

    def publish(self, item: Item) -> Deferred[Validation]:
        """See `IItems.publish`."""
        if self.known(item.topic, item.id):
            return succeed(Validation(Outcome.IGNORE, "known"))
        judged = self._judge(item, None)
        return succeed(judged) if isinstance(judged, Validation) else judged

    def spread(self, item: Item, source: ISession | None = None) -> None:
        """See `IItems.spread`."""
        self._spread(item, source, self._scheduler.heard(item.topic, item.id))

    def _spread(
        self, item: Item, source: ISession | None, heard: tuple[Sequence[SessionId], Sequence[SessionId]]
    ) -> None:
        present = len(self._links.get(item.topic, ()))
        self.spreads.begin(item, source.id if source is not None else None, present, *heard)
        link = source.link(item.topic) if source is not None else None
        if source is None and not self._links.get(item.topic) and self._topics[item.topic].scheduled:
            self._keep_untold(item)
        if self._relay is not None:
            try:
                self._relay.accepted(item, link)
            except Exception:  # noqa: BLE001 - a policy that fails is named and counted; the item stays served
                self._failed("relay", "accepted", Failure())

    def known(self, topic: Topic, id: ItemId) -> bool:
        """See `IItems.known`."""
        key = (topic, id)
        if key in self._pending or key in self._rejected or key in self._waiting:
            return True
        store = self._stores.get(topic)
        return store is not None and store.have(id)

    def may_serve(self, session: ISession, topic: Topic, id: ItemId) -> bool:
        """See `IItems.may_serve`."""
        link = session.link(topic)
        if link is None or self._relay is None:
            return False
        try:
            served = self._relay.may_serve(link, id)
        except Exception:  # noqa: BLE001 - a policy that fails serves nothing, and is named
            self._failed("relay", "may_serve", Failure())
            return False
        if served:
            self.spreads.served(session.id, topic, id)
        return served

    def withdraw(self, topic: Topic, ids: Iterable[ItemId]) -> None:
        """See `IItems.withdraw`."""
        gone = tuple(ids)
        for id in gone:
            self._untold.pop((topic, id), None)
        if gone and self._relay is not None:
            self._call_relay("withdrawn", lambda relay: relay.withdrawn(topic, gone))

    def subscribe(self, topic: Topic, callback: Callable[[Item, ISession | None], None]) -> Callable[[], None]:
        """See `IItems.subscribe`."""
        callbacks = self._subscribers.setdefault(topic, [])
        callbacks.append(callback)

        def unsubscribe() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return unsubscribe

    # --- what core calls ---

    def told(self, session: SessionId, topic: Topic, items: Sequence[Item]) -> None:
        """Count that a link was told of items."""
        self.relay_log.told(topic, len(items))
        self.spreads.told(session, topic, items)

    def brought_by(self, session: SessionId, most: int) -> dict[Topic, list[ItemId]]:
        """The latest items of each topic that a session was the first to bring, newest first."""
        found: dict[Topic, list[ItemId]] = {}
        for (topic, id), record in reversed(self.spreads.records.items()):
            if record.source == session:
                ids = found.setdefault(topic, [])
                if len(ids) < most:
                    ids.append(id)
        return found

    def forget(self, session: ISession) -> None:
        """A session has ended: what it brought may be judged still, and nothing is reported to it any more."""
        for waiting in self._waiting.values():
            if waiting.session is session:
                waiting.session = None

    def stop(self) -> None:
        """The network stops: what validators are at is given up, what is being stored goes on."""
        self._stopped = True
        for judging in list(self._judging.values()):
            if judging is not None:
                judging.cancel()

    # --- inside ---

    def _settle(self, item: Item, session: ISession, result: Validation | None) -> None:
        """Tell the scheduler of a delivery. `result` is None where it is known, or being judged still.

        What turned out bad was not what was asked for where a peer can make it up without a change of the id: the body
        of another block under a good header, another witness under a transaction's id. Then the next candidate is
        asked, or anyone could have an item given up by answering first.
        """
        topic = item.topic
        forged = result is not None and result.outcome is Outcome.IGNORE and result.fact is not None
        if forged:
            self._scheduler.failed(topic, item.id, session.id)
        else:
            self._scheduler.done(topic, item.id)
        rejected = forged or (result is not None and result.outcome is Outcome.REJECT)
        for alias in item.aliases:
            if rejected:
                self._scheduler.failed(topic, alias, session.id)
            else:
                self._scheduler.done(topic, alias)

    def _unknown(self, topic: Topic, ids: Sequence[ItemId]) -> list[ItemId]:
        store = self._stores.get(topic)
        have = store.have if store is not None else (lambda _id: False)
        if not (self._pending or self._rejected or self._waiting):
            return [id for id in ids if not have(id)]
        return [id for id in ids if not self.known(topic, id)]

    def _judge(self, item: Item, session: ISession | None) -> Validation | Deferred[Validation]:
        """Validate, store and spread. No Deferred is made where validators and store answer at once, as most do."""
        key = (item.topic, item.id)
        if self._stopped:
            return Validation(Outcome.IGNORE, "the network has stopped")
        if len(self._pending) >= self._limits().validations:
            self._outcomes.add(1, item.topic, "too-many-validations")
            return Validation(Outcome.IGNORE, "too many items are being validated")
        self._pending[key] = self._judging[key] = None
        try:
            # Now: where it is judged for a while the scheduler has forgotten who had it.
            heard = self._scheduler.heard(item.topic, item.id)
            judged = self._validate(_Case(item, session, iter(self._validators.get(item.topic, ())), heard))
        except Exception:  # noqa: BLE001 - as below
            judged = fail()
        if isinstance(judged, Validation):
            self._pending.pop(key, None)
            self._judging.pop(key, None)
            return judged
        if key in self._judging:
            self._judging[key] = judged
        timer = None if judged.called else self._call_later(self._limits().validation_timeout, judged.cancel)

        def finished(result: Validation | Failure) -> Validation:
            self._pending.pop(key, None)
            self._judging.pop(key, None)
            if timer is not None and timer.active():
                timer.cancel()
            if isinstance(result, Failure):
                if result.check(CancelledError):
                    if self._stopped:
                        return Validation(Outcome.IGNORE, "the network has stopped")
                    self._outcomes.add(1, item.topic, "timed-out")
                    return Validation(Outcome.IGNORE, "it was not judged in time")
                # The faulty plugin was named where it failed; whoever published learns that it was not taken.
                self._outcomes.add(1, item.topic, "failed")
                return Validation(Outcome.IGNORE, result.getErrorMessage())
            return result

        judged = judged.addBoth(finished)
        # Where validators and store answered by Deferreds that had fired.
        return judged.result if judged.called and isinstance(judged.result, Validation) else judged

    def _validate(self, case: _Case) -> Validation | Deferred[Validation]:
        """Ask the validators that have not been asked yet, then store."""
        for validator in case.validators:
            try:
                answer = validator.validate(case.item)
            except Exception:  # noqa: BLE001 - a validator that fails judges nothing, and is named
                return self._validator_failed(case)
            if isinstance(answer, Deferred):
                return Deferred.fromCoroutine(self._await_validator(case, answer))
            if not self._goes_on(case, answer):
                return self._not_accepted(case.item, case.session, answer)
        return self._accept(case)

    async def _await_validator(self, case: _Case, answer: Deferred[Validation]) -> Validation:
        try:
            result = await answer
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a validator that fails judges nothing, and is named
            return self._validator_failed(case)
        if not self._goes_on(case, result):
            return self._not_accepted(case.item, case.session, result)
        rest = self._validate(case)
        return await rest if isinstance(rest, Deferred) else rest

    def _goes_on(self, case: _Case, result: Validation) -> bool:
        """Take note of an answer; whether the next validator is to be asked."""
        if result.outcome is not Outcome.ACCEPT:
            return False
        case.result = result
        case.spread = case.spread and result.spread
        if result.priority is not None:
            case.item = replace(case.item, priority=result.priority)
        return True

    def _validator_failed(self, case: _Case) -> Validation:
        self._failed("validator", "validate", Failure())
        self._outcomes.add(1, case.item.topic, "validator-failed")
        return Validation(Outcome.IGNORE, "the validator failed")

    def _not_accepted(self, item: Item, session: ISession | None, result: Validation) -> Validation:
        self._outcomes.add(1, item.topic, result.outcome.value)
        key = (item.topic, item.id)
        if result.outcome is Outcome.REJECT:
            self._reject(key)
            if session is not None:
                session.counters.rejected_items += 1
                if result.fact is not None and not session.closing:
                    session.fact(result.fact)
        elif result.outcome is Outcome.WAIT:
            while len(self._waiting) >= self._limits().waiting_items:
                self._waiting.popitem(last=False)
                self._outcomes.add(1, item.topic, "waiting-dropped")
            self._waiting[key] = _Waiting(item, session, result.missing)
            if session is not None:
                unknown = self._unknown(item.topic, result.missing)
                self._scheduler.offer(item.topic, unknown, session.id, session.inbound, session.now)
        elif result.fact is not None and session is not None and not session.closing:
            session.fact(result.fact)
        return result

    def _accept(self, case: _Case) -> Validation | Deferred[Validation]:
        item = case.item
        self._judging.pop((item.topic, item.id), None)
        store = self._stores.get(item.topic)
        if store is None:
            return self._accepted(case)
        try:
            putting = store.put(item)
        except Exception:  # noqa: BLE001 - a store that fails holds nothing, and is named
            return self._not_stored(case)
        if putting.called and not putting.paused and putting.result is True:
            return self._accepted(case)
        return Deferred.fromCoroutine(self._await_store(case, putting))

    async def _await_store(self, case: _Case, putting: Deferred[bool]) -> Validation:
        try:
            held = await putting
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a store that fails holds nothing, and is named
            return self._not_stored(case)
        if not held:
            self._outcomes.add(1, case.item.topic, "turned-away")
            return Validation(Outcome.IGNORE, "the item store turned it away")
        return self._accepted(case)

    def _not_stored(self, case: _Case) -> Validation:
        """The store has raised what is being handled."""
        failure = Failure()
        if failure.check(StorageError):
            self._outcomes.add(1, case.item.topic, "not-stored")
            return Validation(Outcome.IGNORE, failure.getErrorMessage())
        self._failed("item-store", "put", failure)
        return Validation(Outcome.IGNORE, "the item store failed")

    def _accepted(self, case: _Case) -> Validation:
        item, session = case.item, case.session
        self._outcomes.add(1, item.topic, "accept")
        self.relay_log.accepted(item.topic)
        self._pending.pop((item.topic, item.id), None)
        if session is not None:
            session.counters.accepted_items += 1
            session.useful("block" if self._topics[item.topic].urgent else "item")
        if case.spread:
            self._spread(item, session, case.heard)
        for callback in tuple(self._subscribers.get(item.topic, ())):
            try:
                callback(item, session)
            except Exception:  # noqa: BLE001 - one subscriber's fault is not another's
                self._failed("subscriber", "accepted", Failure())
        if self._waiting:
            self._release_waiting(item)
        return case.result

    def _release_waiting(self, arrived: Item) -> None:
        ids = (arrived.id, *arrived.aliases)
        ready = []
        for key, waiting in self._waiting.items():
            if key[0] == arrived.topic and waiting.missing:
                for id in ids:
                    waiting.missing.pop(id, None)
                if not waiting.missing:
                    ready.append(key)
        for key in ready:
            waiting = self._waiting.pop(key)
            if not self.known(*key):
                self._judge(waiting.item, waiting.session)

    def _reject(self, key: tuple[Topic, ItemId]) -> None:
        rejected = self._rejected
        rejected[key] = None
        while len(rejected) > self._limits().rejected_items:
            rejected.popitem(last=False)

    def _call_relay(self, where: str, call: Callable[[IRelayPolicy], None]) -> None:
        relay = self._relay
        if relay is None:
            return
        try:
            call(relay)
        except Exception:  # noqa: BLE001 - a policy that fails is named and counted; the item stays served
            self._failed("relay", where, Failure())

    def link_added(self, link: ILink) -> None:
        """A session has opened: the relay policy gets its link."""
        self._links.setdefault(link.topic, {})[link.id] = None
        self._call_relay("link_added", lambda relay: relay.link_added(link))
        if self._untold:
            for key in [key for key in self._untold if key[0] == link.topic]:
                self._call_relay("accepted", partial(_accepted_now, self._untold.pop(key)))

    def link_removed(self, link: ILink) -> None:
        """A session is ending: the relay policy forgets its link."""
        self._links.get(link.topic, {}).pop(link.id, None)
        self._call_relay("link_removed", lambda relay: relay.link_removed(link))

    def _keep_untold(self, item: Item) -> None:
        """What syncs by itself (`scheduled` is False) needs none of this: who comes asks for it."""
        while len(self._untold) >= self._limits().untold_items:
            self._untold.popitem(last=False)
            self._outcomes.add(1, item.topic, "untold")
        self._untold[item.topic, item.id] = item


def _accepted_now(item: Item, relay: IRelayPolicy) -> None:
    relay.accepted(item, None)
