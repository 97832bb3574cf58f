"""The scheduler: of all that was announced, who is asked for what, and when the next one is.

One instance a network, and nothing else in a node requests. An item is asked of one peer at a time; a peer that
withholds it, refuses it or leaves is followed by the next candidate, so that nobody can censor an item by announcing it
first (the idea of Bitcoin Core's txrequest). What one peer announces takes room from nobody else's announcements.

It works in passes: what is wanted, delivered and failed in one turn of the reactor is put together into one request a
peer. All timing hangs on one timer; delays and deadlines are kept by peer, not by item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from p2pframe.core.wanted import NEVER, Announcer, Requests, Wanted
from p2pframe.interfaces import IScheduler, Metrics, TopicRules
from p2pframe.model import ItemId, SessionId, Topic

_GRAIN = 1e-6  # seconds: a timer may fire a rounding error early, and must find its work due
_TOGETHER = 1 / 32  # announcements this close, as a part of the delay, wait as one: a batch an id would cost too much


@implementer(IScheduler)
class Scheduler:
    """See `IScheduler`.

    Of those who announced an item, outbound peers are asked before inbound ones, then those with the fewest requests
    in flight, then in order of announcement; the candidates of `want` come before all of them, in the order given.

    `items` bounds how many items of a topic are tracked. Beyond it only peers that brought fewer than a reserve (a
    hundredth of `items`, and at least what they may have in flight) bring another one, so that nobody can lock others
    out.

    Raises KeyError for a topic without rules.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rules: Mapping[Topic, TopicRules],
        request: Callable[[SessionId, Topic, list[ItemId]], None],
        on_timeout: Callable[[SessionId, Topic, ItemId], None],
        metrics: Metrics,
        items: int = 50_000,
    ) -> None:
        self._clock = clock
        self._topics = {name: Requests(name, rule) for name, rule in rules.items()}
        self._request = request
        self._on_timeout = on_timeout
        self._bound = items
        self._agenda: list[tuple[float, int, Announcer]] = []
        self._serial = 0
        self._timer: IDelayedCall | None = None
        self._timer_at = NEVER
        self._idle: list[Wanted] = []
        self._freed: dict[Announcer, None] = {}
        self._outbox: dict[Announcer, list[ItemId]] = {}
        self._gone: list[tuple[Requests, ItemId]] = []
        self._passing = False
        self._stopped = False
        self._requests = metrics.counter("scheduler_requests_total", "Items asked for.", ("topic",))
        self._timeouts = metrics.counter(
            "scheduler_timeouts_total", "Requests that nobody answered in time.", ("topic",)
        )
        self._exhaustions = metrics.counter(
            "scheduler_exhausted_total", "Items given up because every candidate failed.", ("topic",)
        )
        self._refused = metrics.counter(
            "scheduler_announcements_refused_total",
            "Announcements not taken: the peer's own bound (peer), or the topic's, with the peer over its reserve "
            "(items).",
            ("topic", "reason"),
        )

    @property
    def most_wanted(self) -> int:
        """Items that are wanted, of the topic that has most of them."""
        return max((len(one.items) for one in self._topics.values()), default=0)

    # --- what core calls ---

    def offer(self, topic: Topic, ids: Sequence[ItemId], session: SessionId, inbound: bool, now: float) -> None:
        """A peer says that it has these, none of which is known. `now` is `reactor.seconds()`.

        An outbound peer is asked at once where nobody else is; an inbound one after `inbound_delay`, in which an
        outbound one may announce them too: inbound peers choose us, so they could race to be everyone's first source.
        """
        if self._stopped:
            return
        t = self._topics[topic]
        rules = t.rules
        peer = t.peers.get(session)
        if peer is None:
            peer = t.peers[session] = Announcer(session, t)
        peer.inbound = inbound
        delay = rules.inbound_delay if inbound else 0.0
        ready = now + delay if delay else 0.0
        if delay and peer.delayed and ready - peer.delayed[-1][0] < delay * _TOGETHER:
            ready = peer.delayed[-1][0]
        items, mine, timeout = t.items, peer.ids, rules.timeout
        room = rules.announcements - len(mine)
        free = self._bound - len(items)
        reserve = max(self._bound // 100, rules.in_flight)
        beyond = 0
        fresh: list[Wanted] = []
        for number, id in enumerate(ids):
            if id in mine:
                continue
            if room <= 0:
                self._refused.add(len(ids) - number, topic, "peer")
                break
            item = items.get(id)
            if item is None:
                if free <= 0 and peer.owned >= reserve:
                    beyond += 1
                    continue
                free -= 1
                peer.owned += 1
                items[id] = item = Wanted(id, t, peer, timeout)
            room -= 1
            item.announcers.append(peer)
            mine[item.id] = ready
            fresh.append(item)
        if beyond:
            self._refused.add(beyond, topic, "items")
        if not fresh:
            self._release(peer)
        elif delay:
            if peer.delayed is None:
                peer.delayed = deque()
            if peer.delayed and peer.delayed[-1][0] == ready:
                peer.delayed[-1][1].extend(fresh)
            else:
                peer.delayed.append((ready, fresh))
                self._wake(peer, ready)
        else:
            # Whoever else could be asked for an idle item is full, so this one is the best there is.
            room = rules.in_flight - len(peer.flying)
            waiting = peer.waiting
            for item in fresh:
                if item.asked is None:
                    if room > 0:
                        room -= 1
                        self._ask(peer, item, now)
                    else:
                        waiting[item.id] = item
            self._flush()

    def heard(self, topic: Topic, id: ItemId) -> tuple[Sequence[SessionId], Sequence[SessionId]]:
        """Who has announced an item that is wanted, in the order of it, and who of them was asked for it."""
        t = self._topics.get(topic)
        item = t.items.get(id) if t is not None else None
        if item is None:
            return (), ()
        announcers = item.announcers
        asked = [peer.session for peer in announcers if peer is item.asked or peer.ids.get(id) == NEVER]
        return [peer.session for peer in announcers], asked

    def forget(self, session: SessionId) -> None:
        """A session has ended: what it was asked for is asked of others."""
        for t in self._topics.values():
            peer = t.peers.pop(session, None)
            if peer is None:
                continue
            self._outbox.pop(peer, None)
            self._freed.pop(peer, None)
            for id in peer.ids:
                item = t.items[id]
                item.announcers.remove(peer)
                if item.preferred and peer in item.preferred:
                    item.preferred.remove(peer)
                if item.asked is peer:
                    item.asked = None
                if item.asked is None:
                    self._idle.append(item)
            peer.ids.clear()
            peer.flying.clear()
            peer.waiting.clear()
            peer.rush = peer.delayed = None
        if self._idle:
            self._soon()

    def announced_by(self, session: SessionId) -> dict[Topic, Announcer]:
        """What a peer has told of, by topic, where there is anything: to look at, not to change."""
        return {name: t.peers[session] for name, t in self._topics.items() if session in t.peers}

    def stop(self) -> None:
        """Forget everything and ask for nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._agenda.clear()
        self._idle.clear()
        self._freed.clear()
        self._outbox.clear()
        self._gone.clear()
        for t in self._topics.values():
            t.items.clear()
            t.peers.clear()

    # --- IScheduler ---

    def want(
        self,
        topic: Topic,
        id: ItemId,
        candidates: Sequence[SessionId],
        timeout: float | None = None,
        urgent: bool = False,
    ) -> None:
        """See `IScheduler.want`. `urgent` asks in this call, and goes before what else waits at a full candidate.

        A candidate that already holds `announcements` others is left out and counted.
        """
        if self._stopped:
            return
        t = self._topics[topic]
        item = t.items.get(id)
        if item is None:
            item = t.items[id] = Wanted(id, t, None, t.rules.timeout)
        if timeout is not None:
            item.timeout = timeout
        item.urgent = item.urgent or urgent
        if item.preferred is None:
            item.preferred = []
        refused = 0
        for session in candidates:
            peer = t.peers.get(session)
            if peer is None:
                peer = t.peers[session] = Announcer(session, t)
            since = peer.ids.get(id)
            if since is None:
                if len(peer.ids) >= t.rules.announcements:
                    refused += 1
                    continue
                item.announcers.append(peer)
            if since != NEVER:
                peer.ids[item.id] = 0.0
                if peer not in item.preferred:
                    item.preferred.append(peer)
        if refused:
            self._refused.add(refused, topic, "peer")
        if item.asked is None:
            self._idle.append(item)
            if urgent and not self._passing:
                self._pass()
            else:
                self._soon()

    def unwant(self, topic: Topic, id: ItemId) -> None:
        """See `IScheduler.unwant`."""
        self.done(topic, id)

    def done(self, topic: Topic, id: ItemId) -> None:
        """See `IScheduler.done`."""
        t = self._topics[topic]
        item = t.items.get(id)
        if item is not None:
            self._drop(t, item)

    def failed(self, topic: Topic, id: ItemId, session: SessionId) -> None:
        """See `IScheduler.failed`."""
        t = self._topics[topic]
        item = t.items.get(id)
        peer = t.peers.get(session)
        if item is None or peer is None or id not in peer.ids:
            return
        peer.ids[item.id] = NEVER
        peer.waiting.pop(id, None)
        if peer.rush is not None:
            peer.rush.pop(id, None)
        if item.asked is peer:
            self._land(peer, item)
        if item.asked is None:
            self._idle.append(item)
            self._soon()

    def in_flight(self, session: SessionId, topic: Topic) -> Sequence[ItemId]:
        """See `IScheduler.in_flight`."""
        peer = self._topics[topic].peers.get(session)
        return () if peer is None else tuple(peer.flying)

    def on_exhausted(self, topic: Topic, callback: Callable[[ItemId], None]) -> None:
        """See `IScheduler.on_exhausted`."""
        self._topics[topic].exhausted.append(callback)

    # --- one item ---

    def _ask(self, peer: Announcer, item: Wanted, now: float) -> None:
        item.asked = peer
        item.deadline = now + item.timeout
        peer.flying[item.id] = item
        if item.deadline < peer.wake:
            self._wake(peer, item.deadline)
        batch = self._outbox.get(peer)
        if batch is None:
            self._outbox[peer] = [item.id]
        else:
            batch.append(item.id)

    def _land(self, peer: Announcer, item: Wanted) -> None:
        """The peer is not asked for the item any more: somebody else may be, and the peer for another."""
        item.asked = None
        del peer.flying[item.id]
        batch = self._outbox.get(peer)
        if batch is not None and item.id in batch:
            batch.remove(item.id)
        if peer.waiting or peer.rush:
            self._freed[peer] = None
            self._soon()

    def _drop(self, t: Requests, item: Wanted) -> None:
        id = item.id
        del t.items[id]
        item.alive = False
        if item.owner is not None:
            item.owner.owned -= 1
        if item.asked is not None:
            self._land(item.asked, item)
        for peer in item.announcers:
            peer.ids.pop(id, None)
            peer.waiting.pop(id, None)
            if peer.rush is not None:
                peer.rush.pop(id, None)
            self._release(peer)

    def _release(self, peer: Announcer) -> None:
        """Forget a peer that has nothing announced: an idle session costs nothing here.

        Not while the agenda has it still: one that delivers at once and announces again would leave an entry each time.
        """
        if not peer.ids and peer.wake == NEVER and peer.topic.peers.get(peer.session) is peer:
            del peer.topic.peers[peer.session]
            self._freed.pop(peer, None)

    def _assign(self, item: Wanted, bound: int, now: float) -> bool:
        """Ask the best candidate, or let the item wait at all of them.

        False: every one was asked already, or has left.
        """
        due = now + _GRAIN
        id = item.id
        if item.preferred:
            for peer in item.preferred:
                if peer.ids[id] <= due and len(peer.flying) < bound:
                    self._ask(peer, item, now)
                    return True
        best: Announcer | None = None
        fewest = 0
        hope = False
        for peer in item.announcers:
            since = peer.ids[id]
            if since > due:
                hope = hope or since != NEVER
                continue
            hope = True
            flying = len(peer.flying)
            if flying >= bound:
                continue
            if (
                best is None
                or (best.inbound and not peer.inbound)
                or (best.inbound is peer.inbound and flying < fewest)
            ):
                best, fewest = peer, flying
        if best is not None:
            self._ask(best, item, now)
        elif hope:
            for peer in item.announcers:
                if peer.ids[id] <= due:
                    if not item.urgent:
                        peer.waiting[id] = item
                    elif peer.rush is None:
                        peer.rush = {id: item}
                    else:
                        peer.rush[id] = item
        return hope

    def _refill(self, peer: Announcer, now: float) -> None:
        room = peer.topic.rules.in_flight - len(peer.flying)
        for queue in (peer.rush, peer.waiting):
            if not queue or room <= 0:
                continue
            seen: list[ItemId] = []
            for id, item in queue.items():
                if room <= 0:
                    break
                seen.append(id)
                if item.asked is None:
                    room -= 1
                    self._ask(peer, item, now)
            for id in seen:
                del queue[id]

    # --- passes ---

    def _wake(self, peer: Announcer, when: float) -> None:
        """Look at this peer at `when` at the latest."""
        if when < peer.wake:
            peer.wake = when
            self._serial += 1
            heappush(self._agenda, (when, self._serial, peer))
            self._arm(when)

    def _soon(self) -> None:
        if not self._passing:
            self._arm(0.0)

    def _arm(self, when: float) -> None:
        if when >= self._timer_at or self._passing or self._stopped:
            return
        self._timer_at = when
        delay = max(0.0, when - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._fire)
        else:
            self._timer.reset(delay)

    def _fire(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        self._pass()

    def _pass(self) -> None:
        now = self._clock.seconds()
        late: list[tuple[SessionId, Topic, ItemId]] = []
        self._passing = True
        try:
            agenda = self._agenda
            while agenda and agenda[0][0] <= now + _GRAIN:
                when, _, peer = heappop(agenda)
                if when == peer.wake:
                    self._look(peer, now, late)
            for session, topic, id in late:
                self._timeouts.add(1, topic)
                self._on_timeout(session, topic, id)
            freed, self._freed = self._freed, {}
            for peer in freed:
                self._refill(peer, now)
            idle, self._idle = self._idle, []
            for item in dict.fromkeys(idle):
                if item.alive and item.asked is None:
                    self._settle(item, now)
            self._flush()
            gone, self._gone = self._gone, []
            for t, id in gone:
                for callback in t.exhausted:
                    callback(id)
        finally:
            self._passing = False
            # What the callbacks have asked for meanwhile is the next turn's.
            if self._idle or self._freed:
                self._arm(0.0)
            elif self._agenda:
                self._arm(self._agenda[0][0])

    def _look(self, peer: Announcer, now: float, late: list[tuple[SessionId, Topic, ItemId]]) -> None:
        """Take what is overdue at a peer, and what has waited out its delay."""
        due = now + _GRAIN
        peer.wake = NEVER
        for item in [item for item in peer.flying.values() if item.deadline <= due]:
            late.append((peer.session, peer.topic.name, item.id))
            peer.ids[item.id] = NEVER
            # It may wait here still, having been asked for past the queue: it would be asked of the same peer again.
            peer.waiting.pop(item.id, None)
            if peer.rush is not None:
                peer.rush.pop(item.id, None)
            self._land(peer, item)
            self._idle.append(item)
        soonest = min((item.deadline for item in peer.flying.values()), default=NEVER)
        if peer.delayed is not None:
            full = len(peer.flying) >= peer.topic.rules.in_flight
            while peer.delayed and peer.delayed[0][0] <= due:
                idle = [item for item in peer.delayed.popleft()[1] if item.asked is None and item.alive]
                if full:
                    # Whoever else has them is full too, or they would not be idle.
                    peer.waiting.update((i.id, i) for i in idle if peer.ids.get(i.id, NEVER) <= due)
                else:
                    self._idle.extend(idle)
            if not peer.delayed:
                peer.delayed = None
            else:
                soonest = min(soonest, peer.delayed[0][0])
        if soonest != NEVER:
            self._wake(peer, soonest)
        else:
            self._release(peer)

    def _settle(self, item: Wanted, now: float) -> None:
        t = item.topic
        if not self._assign(item, t.rules.in_flight, now):
            self._drop(t, item)
            self._exhaustions.add(1, t.name)
            self._gone.append((t, item.id))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        for peer, ids in outbox.items():
            t = peer.topic
            # An earlier request of this pass may have ended the session.
            if ids and t.peers.get(peer.session) is peer:
                self._requests.add(len(ids), t.name)
                self._request(peer.session, t.name, ids)
