"""The `inventory` relay policy: ids in trickles, the most valuable first, to those who don't know them yet.

What makes it good for value and bad for spies, both after Bitcoin Core's `net_processing`:

- A known-inventory filter a link: nobody is told of what it has, whoever told whom.
- Trickling: inbound links share one exponential clock a network (connecting twice shows nothing new), outbound links
  have one each. A clock runs only while there is something to tell: it has no memory, so its delay is the same from any
  moment.
- Highest priority first, the unknown ones last, equal ones in random order: the order of arrival stays ours.
- An item is served to those who were told of it, or once it is old news: asking does not tell who had it first.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from weakref import WeakValueDictionary

from rbloom import Bloom
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IReconfigurable, IRelayPolicy
from p2pframe.model import Item, ItemId, SessionId, Topic
from p2pframe.plugin import Duration, PluginConfig, bound, live, plugin

_FALSE_POSITIVES = 1e-6  # of a known-inventory filter: that part of the items is never told to a link
_FIRST_GENERATION = 500  # ids: what most links ever announce costs them 2 kB


class InventoryConfig(PluginConfig):
    """When links are told, how much at once, and how much is remembered of each."""

    inbound_interval: Duration = live(
        5.0, description="Mean time between two announcements to all inbound links together."
    )
    outbound_interval: Duration = live(2.0, description="Mean time between two announcements to an outbound link.")
    rate: float = bound(
        14.0, gt=0, le=100_000, description="Items a second that a link is told of, on average.", counter=""
    )
    per_announcement: int = bound(1000, ge=1, le=50_000, description="Items in one announcement, at most.", counter="")
    queue: int = bound(
        5000,
        ge=1,
        le=1_000_000,
        description="Items that wait for one link; beyond it the lowest priority goes.",
        counter="relay_dropped",
    )
    known: int = bound(
        25_000,
        ge=100,
        le=1_000_000,
        description=(
            "Ids of one generation of a link's known-inventory filter: up to twice as many are remembered, at 3.6 "
            "bytes each."
        ),
        counter="",
        fills=True,
    )
    serve_after: Duration = live(
        120.0, description="Age from which an item is served to those who were not told of it."
    )
    recent: int = bound(
        20_000,
        ge=1,
        le=10_000_000,
        description="Items whose age is tracked; beyond it the oldest count as old.",
        counter="relay_recent_forgotten",
        fills=True,
    )
    retry: Duration = live(1.0, description="How soon urgent items are tried again on a link that was not writable.")


class _Known:
    """What a link knows.

    Two generations of a Bloom filter over salted numbers; the older one goes when the newer is full.

    Generations grow fourfold up to the configured size, so that a link pays for what it announces.
    """

    __slots__ = ("_current", "_previous", "_room", "_size")

    def __init__(self) -> None:
        self._size = _FIRST_GENERATION
        self._room = self._size
        self._current = Bloom(self._size, _FALSE_POSITIVES, int)
        self._previous: Bloom | None = None

    def update(self, keys: Sequence[int], most: int) -> None:
        """Remember these; `most` is the size to which a generation may grow."""
        if len(keys) <= self._room:
            self._current.update(keys)
            self._room -= len(keys)
            return
        start = 0
        while start < len(keys):
            if self._room <= 0:
                self._size = min(4 * self._size, most)
                self._previous, self._current = self._current, Bloom(self._size, _FALSE_POSITIVES, int)
                self._room = self._size
            part = keys[start : start + self._room]
            self._current.update(part)
            self._room -= len(part)
            start += len(part)

    def any_of(self, keys: Sequence[int]) -> bool:
        """Whether one of these was remembered."""
        current, previous = self._current, self._previous
        for key in keys:  # noqa: SIM110 - asked for every link: a generator would cost more than what it asks
            if key in current or (previous is not None and key in previous):
                return True
        return False


class _Entry:
    """An accepted item on its way: shared by all the queues that it stands in. `item` is None once it is withdrawn.

    The last to be told has the least `order`, which the serial makes unique.
    """

    __slots__ = ("__weakref__", "accepted", "item", "keys", "order", "serial")

    def __init__(self, item: Item, keys: Sequence[int], serial: int, accepted: float, tie: float) -> None:
        self.item: Item | None = item
        self.keys = keys
        self.serial = serial
        self.accepted = accepted
        self.order = (item.priority is not None, item.priority or 0.0, tie, serial)


_Rank = tuple[bool, float, float, int, _Entry]
"""An entry of a queue: its order, and the entry, which no comparison reaches."""


class _Told:
    """A link, what it knows, and what it is still to be told of.

    `held` is sorted, `fresh` came after the latest occasion.
    """

    __slots__ = ("cutoff", "epoch", "fresh", "gone", "held", "known", "link", "scheduled")

    def __init__(self, link: ILink) -> None:
        self.link = link
        self.known: _Known | None = None
        self.held: list[_Rank] = []
        self.fresh: list[_Rank] = []
        self.cutoff = 0
        self.epoch = 0
        self.scheduled = False
        self.gone = False

    def knows(self, entry: _Entry) -> bool:
        return self.known is not None and self.known.any_of(entry.keys)

    def sort(self) -> None:
        if self.fresh:
            self.held += self.fresh
            self.held.sort()
            self.fresh = []

    def holds(self, entry: _Entry) -> bool:
        at = bisect_left(self.held, entry.order)
        return at < len(self.held) and self.held[at][4] is entry


@plugin("inventory", config=InventoryConfig)
@implementer(IRelayPolicy, IReconfigurable)
class InventoryRelay:
    """Announces ids in trickles, highest priority first, to links that do not know them yet; urgent topics at once."""

    needs = (frozenset({"announce"}),)

    def __init__(self, config: InventoryConfig, context: IContext) -> None:
        self.config = config
        self._reactor = context.reactor
        self._rng = context.rng
        # Salted, so that nobody can grind ids that a filter takes for others; and the same in every process of a
        # simulation.
        self._fresh_hash: Callable[[], hashlib.blake2b] = hashlib.blake2b(
            digest_size=15, key=context.entropy.bytes(32)
        ).copy
        self._links: dict[Topic, dict[SessionId, _Told]] = {}
        self._entries: WeakValueDictionary[tuple[Topic, ItemId], _Entry] = WeakValueDictionary()
        self._recent: OrderedDict[tuple[Topic, ItemId], _Entry] = OrderedDict()
        self._serial = 0
        self._epoch = 0
        self._inbound: dict[_Told, None] = {}
        self._inbound_cutoff = 0
        self._inbound_timer: IDelayedCall | None = None
        self._agenda: list[tuple[float, int, _Told]] = []
        self._agenda_serial = 0
        self._sweeper: IDelayedCall | None = None
        self._announced = context.metrics.counter("relay_announced_total", "Items told to links, by id.", ("topic",))
        self._dropped = context.metrics.counter(
            "relay_dropped_total", "Items not told to a link because its queue was full.", ("topic",)
        )
        self._forgotten = context.metrics.counter(
            "relay_recent_forgotten_total", "Items that count as old news early, for want of room.", ()
        )

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`; intervals apply from the next announcement on."""
        assert isinstance(config, InventoryConfig)
        self.config = config

    # --- IRelayPolicy ---

    def link_added(self, link: ILink) -> None:
        """See `IRelayPolicy.link_added`."""
        self._links.setdefault(link.topic, {})[link.id] = _Told(link)

    def link_removed(self, link: ILink) -> None:
        """See `IRelayPolicy.link_removed`."""
        told = self._links.get(link.topic, {}).pop(link.id, None)
        if told is None:
            return
        told.gone = True
        self._inbound.pop(told, None)
        if not self._inbound and self._inbound_timer is not None:
            self._inbound_timer.cancel()
            self._inbound_timer = None
        if told.scheduled:
            told.scheduled = False
            self._agenda = [entry for entry in self._agenda if entry[2] is not told]
            self._agenda.sort()
            if not self._agenda and self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None

    def announced(self, link: ILink, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.announced`."""
        told = self._links.get(link.topic, {}).get(link.id)
        if told is not None:
            self._mark(told, self._keys(ids))

    def accepted(self, item: Item, source: ILink | None) -> None:
        """See `IRelayPolicy.accepted`."""
        links = self._links.get(item.topic)
        self._serial += 1
        entry = _Entry(
            item, self._keys((item.id, *item.aliases)), self._serial, self._reactor.seconds(), self._rng.random()
        )
        self._entries[item.topic, item.id] = entry
        self._remember(item, entry)
        if not links:
            return
        giver = None if source is None else links.get(source.id)
        if giver is not None:
            self._mark(giver, entry.keys)
        rank = (*entry.order, entry)
        keys = entry.keys
        for told in list(links.values()):
            known = told.known
            if told is giver or told.gone or (known is not None and known.any_of(keys)):
                continue
            if told.link.urgent:
                self._tell_urgent(told, entry)
                continue
            self._queue(told, rank)
            if not told.scheduled and told not in self._inbound:
                self._schedule(told)

    def withdrawn(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.withdrawn`. Queues let go of them when they are next looked at."""
        for id in ids:
            entry = self._entries.get((topic, id))
            if entry is not None and entry.item is not None:
                entry.item = None
                self._epoch += 1

    def may_serve(self, link: ILink, id: ItemId) -> bool:
        """See `IRelayPolicy.may_serve`. Urgent topics are told to all at once and keep no secret."""
        if link.urgent:
            return True
        entry = self._recent.get((link.topic, id))
        if entry is None or self._reactor.seconds() - entry.accepted >= self.config.serve_after:
            return True
        told = self._links.get(link.topic, {}).get(link.id)
        if told is None:
            return False
        # Inbound links have their occasions together: what one was told, all of one operator's were.
        cutoff = self._inbound_cutoff if link.inbound else told.cutoff
        return entry.serial <= cutoff and not told.holds(entry)

    # --- what links know ---

    def _keys(self, ids: Iterable[ItemId]) -> list[int]:
        fresh, number = self._fresh_hash, int.from_bytes
        keys: list[int] = []
        for id in ids:
            digest = fresh()
            digest.update(id)
            keys.append(number(digest.digest(), "little"))
        return keys

    def _mark(self, told: _Told, keys: Sequence[int]) -> None:
        if told.known is None:
            told.known = _Known()
        told.known.update(keys, self.config.known)

    def _remember(self, item: Item, entry: _Entry) -> None:
        recent = self._recent
        for id in (item.id, *item.aliases):
            recent[item.topic, id] = entry
        oldest = entry.accepted - self.config.serve_after
        while recent and next(iter(recent.values())).accepted <= oldest:
            recent.popitem(last=False)
        while len(recent) > self.config.recent:
            recent.popitem(last=False)
            self._forgotten.add(1)

    # --- queues ---

    def _queue(self, told: _Told, rank: _Rank) -> None:
        bound = self.config.queue
        if len(told.held) + len(told.fresh) < bound:
            told.fresh.append(rank)
            return
        told.sort()
        if told.epoch != self._epoch:
            told.epoch = self._epoch
            told.held = [rank for rank in told.held if rank[4].item is not None]
        insort(told.held, rank)
        beyond = len(told.held) - bound
        if beyond > 0:
            del told.held[:beyond]
            self._dropped.add(beyond, told.link.topic)

    def _schedule(self, told: _Told, delay: float | None = None) -> None:
        """See that the link has an occasion: the one that all inbound links share, or one of its own."""
        if told.gone:
            return
        if told.link.inbound and delay is None:
            self._inbound[told] = None
            if self._inbound_timer is None:
                self._inbound_timer = self._reactor.callLater(
                    self._draw(self.config.inbound_interval), self._tell_inbound
                )
        elif not told.scheduled:
            told.scheduled = True
            self._agenda_serial += 1
            when = self._reactor.seconds() + (self._draw(self.config.outbound_interval) if delay is None else delay)
            heappush(self._agenda, (when, self._agenda_serial, told))
            if self._agenda[0][2] is told:
                self._arm()

    def _draw(self, mean: float) -> float:
        return self._rng.expovariate(1.0 / mean) if mean > 0 else 0.0

    def _arm(self) -> None:
        delay = max(0.0, self._agenda[0][0] - self._reactor.seconds())
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(delay, self._sweep)
        else:
            self._sweeper.reset(delay)

    # --- occasions ---

    def _tell_inbound(self) -> None:
        self._inbound_timer = None
        self._inbound_cutoff = self._serial
        due, self._inbound = self._inbound, {}
        for told in due:
            self._tell(told, self.config.inbound_interval)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._reactor.seconds() + 1e-6
        while self._agenda and self._agenda[0][0] <= now:
            told = heappop(self._agenda)[2]
            told.scheduled = False
            if told.link.urgent:
                self._tell_held(told)
            else:
                told.cutoff = self._serial
                self._tell(told, self.config.outbound_interval)
        if self._agenda:
            self._arm()

    def _tell(self, told: _Told, interval: float) -> None:
        """One occasion of one link: its share of what it does not know yet, best first."""
        link = told.link
        if told.gone:
            return
        told.sort()
        if link.writable:
            room = min(self.config.per_announcement, max(1, round(self.config.rate * interval)))
            items: list[Item] = []
            keys: list[int] = []
            while told.held and len(items) < room:
                entry = told.held.pop()[4]
                if entry.item is not None and not told.knows(entry):
                    items.append(entry.item)
                    keys += entry.keys
            self._announce(told, items, keys)
        if told.held or told.fresh:
            self._schedule(told)

    def _tell_urgent(self, told: _Told, entry: _Entry) -> None:
        if entry.item is not None and told.link.writable and not (told.held or told.fresh):
            self._announce(told, [entry.item], entry.keys)
            return
        # In order of arrival: a block that follows another is of no use before it.
        self._queue(told, (*entry.order[:2], 0.0, entry.serial, entry))
        self._schedule(told, self.config.retry)

    def _tell_held(self, told: _Told) -> None:
        """Urgent items that were held back, in order of arrival."""
        told.sort()
        if told.link.writable:
            told.held.sort(key=lambda rank: rank[3])
            due, told.held = told.held[: self.config.per_announcement], told.held[self.config.per_announcement :]
            told.held.sort()
            entries = [rank[4] for rank in due if not told.knows(rank[4])]
            items = [entry.item for entry in entries if entry.item is not None]
            self._announce(told, items, [key for entry in entries for key in entry.keys])
        if told.held:
            self._schedule(told, self.config.retry)

    def _announce(self, told: _Told, items: list[Item], keys: Sequence[int]) -> None:
        if items:
            self._mark(told, keys)
            self._announced.add(len(items), told.link.topic)
            told.link.announce(items)
