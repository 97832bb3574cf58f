"""The `flood` relay policy: everybody is told of everything at once.

The fastest and the most wasteful way to spread: for small networks, and as the yardstick that others are measured
against. It gives every item in full where links offer `push`, else its id by `announce`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IReconfigurable, IRelayPolicy
from p2pframe.model import Item, ItemId, SessionId, Topic
from p2pframe.plugin import Duration, PluginConfig, bound, live, plugin


class FloodConfig(PluginConfig):
    """How much is remembered and held back for each link."""

    known: int = bound(
        1000,
        ge=1,
        le=100_000,
        description="Ids of one generation of what a link is known to have: up to twice as many are kept.",
        counter="",
        fills=True,
    )
    queue: int = bound(
        1000,
        ge=1,
        le=100_000,
        description="Items held back for a link that does not read; the oldest go first.",
        counter="relay_dropped",
    )
    retry: Duration = live(1.0, description="How soon links that did not read are tried again.")


class _Told:
    """A link, what it has, and what is held back.

    What it has is two generations of ids: the older one goes when the newer is full.
    """

    __slots__ = ("current", "held", "link", "previous")

    def __init__(self, link: ILink) -> None:
        self.link = link
        self.current: set[ItemId] | None = None
        self.previous: set[ItemId] | None = None
        self.held: deque[Item] | None = None

    def knows(self, item: Item) -> bool:
        current, previous = self.current, self.previous
        if current is None:
            return False
        for id in (item.id, *item.aliases):  # noqa: SIM110 - asked for every link: a generator would cost more than what it asks
            if id in current or (previous is not None and id in previous):
                return True
        return False

    def mark(self, ids: Sequence[ItemId], bound: int) -> None:
        current = self.current
        if current is None:
            current = self.current = set()
        if len(current) + len(ids) <= bound:
            current.update(ids)
            return
        for id in ids:
            if len(current) >= bound:
                self.previous, current = current, set()
                self.current = current
            current.add(id)


@plugin("flood", config=FloodConfig)
@implementer(IRelayPolicy, IReconfigurable)
class FloodRelay:
    """Tells every link of every item at once: in full where links offer push, else by id."""

    needs = (frozenset({"push"}), frozenset({"announce"}))

    def __init__(self, config: FloodConfig, context: IContext) -> None:
        self.config = config
        self._reactor = context.reactor
        self._links: dict[Topic, dict[SessionId, _Told]] = {}
        self._holding: dict[_Told, None] = {}
        self._timer: IDelayedCall | None = None
        self._sent = context.metrics.counter("relay_flooded_total", "Items told to links, by verb.", ("topic", "verb"))
        self._dropped = context.metrics.counter(
            "relay_dropped_total", "Items not told to a link because its queue was full.", ("topic",)
        )

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`."""
        assert isinstance(config, FloodConfig)
        self.config = config

    def link_added(self, link: ILink) -> None:
        """See `IRelayPolicy.link_added`."""
        self._links.setdefault(link.topic, {})[link.id] = _Told(link)

    def link_removed(self, link: ILink) -> None:
        """See `IRelayPolicy.link_removed`."""
        told = self._links.get(link.topic, {}).pop(link.id, None)
        if told is not None:
            self._holding.pop(told, None)
        if not self._holding and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def announced(self, link: ILink, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.announced`."""
        told = self._links.get(link.topic, {}).get(link.id)
        if told is not None:
            told.mark(ids, self.config.known)

    def accepted(self, item: Item, source: ILink | None) -> None:
        """See `IRelayPolicy.accepted`."""
        giver = None if source is None else source.id
        links = self._links.get(item.topic, {})
        for told in list(links.values()):
            if links.get(told.link.id) is not told:
                continue  # telling another ended this session
            if told.link.id == giver:
                told.mark((item.id,), self.config.known)
            elif not told.knows(item):
                if told.link.writable and not told.held:
                    self._tell(told, item)
                else:
                    self._hold(told, item)

    def withdrawn(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.withdrawn`."""
        gone = frozenset(ids)
        for told in list(self._holding):
            if told.link.topic == topic and told.held is not None:
                told.held = deque(item for item in told.held if item.id not in gone)

    def may_serve(self, link: ILink, id: ItemId) -> bool:
        """See `IRelayPolicy.may_serve`: everybody is told of everything at once, so there is nothing to find out."""
        return True

    def _tell(self, told: _Told, item: Item) -> None:
        told.mark((item.id,), self.config.known)
        if "push" in told.link.verbs:
            self._sent.add(1, item.topic, "push")
            told.link.push(item)
        else:
            self._sent.add(1, item.topic, "announce")
            told.link.announce([item])

    def _hold(self, told: _Told, item: Item) -> None:
        if told.held is None:
            told.held = deque()
        told.held.append(item)
        while len(told.held) > self.config.queue:
            told.held.popleft()
            self._dropped.add(1, item.topic)
        self._holding[told] = None
        if self._timer is None:
            self._timer = self._reactor.callLater(self.config.retry, self._retry)

    def _retry(self) -> None:
        self._timer = None
        for told in list(self._holding):
            while told in self._holding and told.held and told.link.writable:
                item = told.held.popleft()
                if not told.knows(item):
                    self._tell(told, item)
            if not told.held:
                told.held = None
                self._holding.pop(told, None)
        if self._holding and self._timer is None:
            self._timer = self._reactor.callLater(self.config.retry, self._retry)
