"""How items spread: who had each when, over how many hops, and how often it was announced to those who had it.

Decker and Wattenhofer, "Information Propagation in the Bitcoin Network" (2013), plot the same curves from the outside.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial

from p2pframe.interfaces import ISession
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean, percentile
from p2pframe.sim.results import Curve

POINTS = 200
"""Points of a curve."""


class PropagationConfig(MeasureConfig):
    """Options of the `propagation` measure."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics of that network's items.")
    settle: Duration = Field(30.0, description="Items younger than this at the end are left out.")


class Spreading:
    """What is known of one item: when (virtual seconds) and over how many hops each host had it."""

    __slots__ = ("announced", "born", "hops", "origin", "seen")

    def __init__(self, origin: int, born: float) -> None:
        self.origin = origin
        self.born = born
        self.seen: dict[int, float] = {origin: born}
        self.hops: dict[int, int] = {origin: 0}
        self.announced: dict[int, int] = {}
        """How often each host was told of it."""


class Propagation(Measure):
    """Coverage, delays, hops, duplicates of every item that a measured host made."""

    config = PropagationConfig
    options: PropagationConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._items: dict[str, dict[ItemId, Spreading]] = {topic: {} for topic in self.options.topics}

    def prepared(self, host: Host) -> None:
        """See `Measure.prepared`."""
        node = host.node
        if not self.mine(host) or node is None or self.options.network not in node.networks:
            return
        items = node.networks[self.options.network].items
        for topic in self.options.topics:
            items.subscribe(Topic(topic), partial(self._accepted, host, topic))
        items.heard = _both(items.heard, partial(self._heard, host))

    def _accepted(self, host: Host, topic: str, item: Item, source: ISession | None) -> None:
        spreadings = self._items[topic]
        spreading = spreadings.get(item.id)
        now = self.run.simulation.clock.now
        if spreading is None:
            if source is None:
                spreading = spreadings[item.id] = Spreading(host.number, now)
            return
        if host.number not in spreading.seen:
            spreading.seen[host.number] = now
            other = self.run.simulation.network.find(source.address.host) if source is not None else None
            before = spreading.hops.get(other.number) if other is not None else None
            if before is not None:
                spreading.hops[host.number] = before + 1

    def _heard(self, host: Host, session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        spreadings = self._items.get(topic)
        if spreadings is None:
            return
        for id in ids:
            spreading = spreadings.get(id)
            if spreading is not None:
                spreading.announced[host.number] = spreading.announced.get(host.number, 0) + 1

    def finish(self) -> None:
        """See `Measure.finish`."""
        hosts = [host.number for host in self.hosts()]
        latest = self.run.simulation.clock.now - self.options.settle
        for topic in self.options.topics:
            ripe = [s for s in self._items[topic].values() if s.born <= latest]
            self._topic(topic, ripe, hosts)

    def _topic(self, topic: str, spreadings: Sequence[Spreading], hosts: Sequence[int]) -> None:
        self.put(f"{topic}.items", len(spreadings))
        if not spreadings or not hosts:
            return
        reached = [sum(1 for number in hosts if number in s.seen) / len(hosts) for s in spreadings]
        self.put(f"{topic}.coverage", mean(reached))
        self.put(f"{topic}.coverage_least", min(reached))
        delays = sorted(time - s.born for s in spreadings for number, time in s.seen.items() if number != s.origin)
        for share in (50, 90, 95, 99):
            self.put(f"{topic}.p{share}", percentile(delays, share / 100))
        self.put(f"{topic}.longest", delays[-1] if delays else float("nan"))
        hops = sorted(hop for s in spreadings for number, hop in s.hops.items() if number != s.origin)
        self.put(f"{topic}.hops", mean(hops))
        self.put(f"{topic}.hops_most", hops[-1] if hops else float("nan"))
        told = [s.announced.get(number, 0) for s in spreadings for number in s.seen if number != s.origin]
        self.put(f"{topic}.announcements", mean(told))
        extra = [max(0, count - 1) for count in told]
        self.put(f"{topic}.duplicates", mean(extra))
        self.run.curves.append(
            Curve(
                f"propagation.{topic}",
                f"How far a {topic} has spread",
                "time since it was made (s)",
                "share of hosts",
                curve(delays, len(hosts) * len(spreadings), len(spreadings)),
                series=topic,
            )
        )
        bins = [(float(n), float(extra.count(n))) for n in range(max(extra, default=0) + 1)]
        self.run.curves.append(
            Curve(
                f"duplicates.{topic}",
                f"Announcements of a {topic} beyond the first",
                "duplicates",
                "hosts times items",
                bins,
                kind="histogram",
                series=topic,
            )
        )


def curve(delays: Sequence[float], everyone: int, origins: int) -> list[tuple[float, float]]:
    """The share of hosts that have an item, by its age; `delays` are sorted."""
    if not delays:
        return [(0.0, origins / everyone)]
    longest = delays[-1]
    ages = [longest * n / POINTS for n in range(POINTS + 1)]
    return [(age, (origins + bisect_right(delays, age)) / everyone) for age in ages]


Heard = Callable[[ISession, Topic, Sequence[ItemId]], None]


def _both(first: Heard | None, second: Heard) -> Heard:
    if first is None:
        return second

    def call(session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        first(session, topic, ids)
        second(session, topic, ids)

    return call
