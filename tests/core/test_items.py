"""The way of an item: bounds on what is judged at once, plugins that raise or never answer, forged deliveries."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger

from p2pframe.config.settings import Limits
from p2pframe.core.items import Items
from p2pframe.core.scheduler import Scheduler
from p2pframe.errors import StorageError
from p2pframe.interfaces import TopicRules
from p2pframe.model import ACCEPTED, Fact, Item, Outcome, SessionCounters, Validation
from p2pframe.testing.context import FakeMetrics

TX = "tx"


class Session:
    """A session as far as items look at it."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.inbound = False
        self.now = 0.0
        self.closing = False
        self.counters = SessionCounters(0.0)
        self.facts: list[Fact] = []
        self.useful = lambda kind: None
        self.fact = self.facts.append

    def link(self, topic):
        return self


class Store:
    def __init__(self) -> None:
        self.held: dict[bytes, Item] = {}
        self.answer = lambda item: succeed(True)

    def have(self, id):
        return id in self.held

    def put(self, item):
        def keep(held):
            if held:
                self.held[item.id] = item
            return held

        return self.answer(item).addCallback(keep)


class Core:
    """Items with one store, one validator and a scheduler."""

    def __init__(self, **limits) -> None:
        self.clock = Clock()
        self.asked: list[tuple[int, bytes]] = []
        rules = {TX: TopicRules(inbound_delay=0.0)}
        self.scheduler = Scheduler(
            self.clock,
            rules,
            lambda session, topic, ids: self.asked.extend((session, id) for id in ids),
            lambda session, topic, id: None,
            FakeMetrics(),
        )
        self.failures: list[tuple[str, str]] = []
        self.metrics = FakeMetrics()
        self.items = Items(
            self.clock,
            lambda: 1_700_000_000.0 + self.clock.seconds(),
            rules,
            self.scheduler,
            lambda: Limits(**limits),
            self.metrics,
            lambda label, where, failure: self.failures.append((label, where)),
            Logger(namespace="p2pframe.net"),
        )
        self.store = Store()
        self.answer = lambda item: ACCEPTED
        self.topics = (TX,)
        self.items.bind({TX: self.store}, {TX: [self]}, None)
        self.subscribed: list[Item] = []
        self.items.subscribe(TX, lambda item, session: self.subscribed.append(item))

    def validate(self, item):
        return self.answer(item)

    def outcomes(self) -> dict[str, float]:
        return {labels[1]: value for labels, value in self.items._outcomes.values.items()}


def item(number: int, alias: int | None = None) -> Item:
    aliases = () if alias is None else (alias.to_bytes(32, "big"),)
    return Item(TX, number.to_bytes(32, "big"), None, 100, None, aliases)


def test_what_validators_are_at_is_given_up_when_the_network_stops_and_what_is_stored_goes_on():
    core = Core()
    cancelled, storing = [], Deferred()
    core.answer = lambda item: Deferred(lambda _: cancelled.append(item.id)) if item.id[-1] < 3 else ACCEPTED
    core.store.answer = lambda item: storing
    answers = [core.items.publish(item(number)) for number in (1, 2, 3)]
    core.items.stop()
    assert cancelled == [item(1).id, item(2).id] and [answer.called for answer in answers] == [True, True, False]
    assert answers[0].result.reason == "the network has stopped" and core.clock.getDelayedCalls() != []
    storing.callback(True)
    assert answers[2].result.outcome is Outcome.ACCEPT and core.clock.getDelayedCalls() == []
    assert core.items.publish(item(4)).result.outcome is Outcome.IGNORE
    assert core.failures == []


def test_validations_at_once_are_bounded_and_one_that_never_ends_is_given_up():
    core = Core(validations=10, validation_timeout=5.0)
    waiting = []
    core.answer = lambda item: waiting.append(Deferred()) or waiting[-1]
    for number in range(25):
        core.items.delivered(Session(number), item(number))
    assert len(waiting) == 10 and core.outcomes() == {"too-many-validations": 15}
    core.clock.advance(5.1)
    assert core.outcomes()["timed-out"] == 10 and not core.items._pending
    assert core.clock.getDelayedCalls() == []
    core.answer = lambda item: ACCEPTED
    core.items.delivered(Session(1), item(1))
    assert core.outcomes()["accept"] == 1 and core.clock.getDelayedCalls() == []


def test_a_store_that_never_answers_is_given_up_too():
    core = Core(validation_timeout=5.0)
    core.store.answer = lambda item: Deferred()
    done = core.items.publish(item(1))
    core.clock.advance(5.1)
    assert done.result.outcome is Outcome.IGNORE and core.outcomes() == {"timed-out": 1}


@pytest.mark.parametrize("where", ["validator", "store", "subscriber"])
def test_what_a_plugin_raises_costs_that_item_at_most_and_names_it(where):
    core = Core()

    def broken(*args):
        raise RuntimeError("a bug of the plugin's")

    if where == "validator":
        core.answer = broken
    elif where == "store":
        core.store.answer = broken
    else:
        core.items.subscribe(TX, broken)
    core.items.delivered(Session(1), item(1))
    names = {
        "validator": ("validator", "validate"),
        "store": ("item-store", "put"),
        "subscriber": ("subscriber", "accepted"),
    }
    assert core.failures == [names[where]]
    assert not core.items._pending
    assert bool(core.store.held) is (where == "subscriber")


def test_a_full_store_is_counted_and_nobody_is_blamed():
    core = Core()

    def full(item):
        raise StorageError("no space")

    core.store.answer = full
    session = Session(1)
    core.items.delivered(session, item(1))
    assert core.outcomes() == {"not-stored": 1} and not session.facts and not core.failures


def test_rejected_ids_are_remembered_within_bounds():
    core = Core(rejected_items=100)
    core.answer = lambda item: Validation(Outcome.REJECT, "bad")
    for number in range(250):
        core.items.delivered(Session(1), item(number))
    assert len(core.items._rejected) == 100
    assert core.items.known(TX, item(249).id) and not core.items.known(TX, item(149).id)


def test_items_that_wait_are_bounded_and_judged_when_what_they_wait_for_is_there():
    core = Core(waiting_items=3)
    parent = item(1000)
    core.answer = lambda one: (
        ACCEPTED
        if one.id == parent.id or core.store.have(parent.id)
        else Validation(Outcome.WAIT, missing=(parent.id,))
    )
    for number in range(5):
        core.items.delivered(Session(1), item(number))
    assert len(core.items._waiting) == 3 and core.outcomes()["waiting-dropped"] == 2
    assert core.asked[0] == (1, parent.id)
    core.items.delivered(Session(1), parent)
    assert set(core.store.held) == {parent.id, *(item(n).id for n in (2, 3, 4))}


class Told:
    """A relay policy that notes what it is told, and a link of it."""

    def __init__(self, id: int = 1) -> None:
        self.id, self.topic = id, TX
        self.heard: list[tuple] = []
        self.accepted = lambda item, source: self.heard.append(("accepted", item.id[-1]))
        self.link_added = lambda link: self.heard.append(("added", link.id))
        self.link_removed = lambda link: self.heard.append(("removed", link.id))
        self.withdrawn = lambda topic, ids: None


def test_what_is_made_while_there_is_nobody_is_told_to_who_comes_within_bounds():
    core = Core(untold_items=2)
    relay = Told()
    core.items.bind({TX: core.store}, {TX: [core]}, relay)
    for number in (1, 2, 3, 4):
        core.items.publish(item(number))
    assert core.outcomes()["untold"] == 2
    core.items.withdraw(TX, [item(4).id])
    relay.heard.clear()
    core.items.link_added(Told(7))
    assert relay.heard == [("added", 7), ("accepted", 3)], "the latest that are still there, once the link is"
    core.items.publish(item(5))
    core.items.link_added(Told(8))
    assert relay.heard[2:] == [("accepted", 5), ("added", 8)], "nobody is told twice while somebody is there"
    for id in (7, 8, 9):
        core.items.link_removed(Told(id))
    relay.heard.clear()
    core.items.publish(item(6))
    core.items.link_added(Told(10))
    assert relay.heard == [("accepted", 6), ("added", 10), ("accepted", 6)]


def test_spreads_are_bounded():
    core = Core(spreads=10)
    for number in range(50):
        core.items.publish(item(number))
    assert [spread.id for spread in core.items.spreads.latest(3)] == [item(n).id for n in (49, 48, 47)]
    assert len(core.items.spreads.records) == 10


def test_a_forged_body_is_asked_of_the_next_who_has_it():
    """One whose fault is its sender's (IGNORE with a fact), under the id that others announced too."""
    core = Core()
    good = item(1)
    thief, honest = Session(1), Session(2)
    core.items.announced(thief, TX, [good.id])
    core.items.announced(honest, TX, [good.id])
    assert core.asked == [(1, good.id)]
    core.answer = lambda item: Validation(Outcome.IGNORE, "mutated", Fact("bad-body", proven=True))
    core.items.delivered(thief, good)
    assert thief.facts
    core.clock.advance(0)
    assert core.asked == [(1, good.id), (2, good.id)]
    core.answer = lambda item: ACCEPTED
    core.items.delivered(honest, good)
    assert core.store.have(good.id)
    assert core.scheduler.in_flight(2, TX) == ()


def test_a_rejected_twin_does_not_take_an_alias_from_those_who_have_the_true_one():
    """A peer answers a request by txid with another witness: the id that was asked for is asked of the next one."""
    core = Core()
    txid = (7).to_bytes(32, "big")
    thief, honest = Session(1), Session(2)
    core.items.announced(thief, TX, [txid])
    core.items.announced(honest, TX, [txid])
    core.answer = lambda one: Validation(Outcome.REJECT, "bad witness", Fact("bad-transaction", proven=True))
    core.items.delivered(thief, item(1000, alias=7))
    core.clock.advance(0)
    assert core.asked == [(1, txid), (2, txid)]
    assert not core.items.known(TX, txid), "a witness transaction's txid is never reject-cached"


def test_what_ended_sessions_brought_is_judged_without_them():
    core = Core()
    waiting: list[Deferred] = []
    core.answer = lambda item: waiting.append(Deferred()) or waiting[-1]
    session = Session(1)
    core.items.delivered(session, item(1))
    session.closing = True
    session.link = lambda topic: None
    core.items.forget(session)
    waiting[0].callback(Validation(Outcome.REJECT, "bad", Fact("bad-item", proven=True)))
    assert session.facts == [] and core.outcomes() == {"reject": 1}
