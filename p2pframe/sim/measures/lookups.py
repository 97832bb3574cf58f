"""How lookups in a DHT went: how many found something, how long they took, how far they went and what they cost.

They are read from the log events of the hosts that have a field `lookup` (what was looked for), as the application
`dht-workload` writes them: with `found`, `seconds`, `first`, `hops`, `queries` and `lost`, None where one is not known.

A Kademlia lookup halves the distance to its target with each hop at the least, so that it takes log2 of the number of
nodes at most, on average over targets (Maymounkov and Mazieres, "Kademlia", 2002, section 3); buckets of k nodes make
it fewer.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Sequence
from math import log2
from typing import NamedTuple

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from p2pframe.plugin import Duration, Field
from p2pframe.sim.clock import HeapClock
from p2pframe.sim.host import Host, Incarnation
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean, percentile
from p2pframe.sim.results import Curve

POINTS = 100
"""Points of a curve."""


class LookupsConfig(MeasureConfig):
    """Options of the `lookups` measure."""

    after: Duration = Field(0.0, description="Lookups that ended before this time are left out.")


class Lookup(NamedTuple):
    """One lookup as it was told: `seconds` it took in all, `first` until something was found; None: not known."""

    host: Host
    kind: str
    found: bool
    seconds: float
    first: float | None
    hops: float | None
    queries: float | None
    lost: float | None


class Lookups(Measure):
    """Success, seconds, hops and messages of the lookups of the measured hosts, by what was looked for."""

    config = LookupsConfig
    options: LookupsConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._heard = _Heard(self.run.simulation.clock, self.options.after)
        globalLogPublisher.addObserver(self._heard)
        # A run that fails has no end: its observer goes with its measure.
        self._end = weakref.finalize(self, globalLogPublisher.removeObserver, self._heard)

    def finish(self) -> None:
        """See `Measure.finish`."""
        self._end()
        hosts = len(self.hosts())
        self.put("log2_hosts", log2(hosts) if hosts else float("nan"))
        mine = [one for one in self._heard.lookups if self.mine(one.host)]
        for kind in sorted({one.kind for one in mine}):
            self._kind(kind, [one for one in mine if one.kind == kind], hosts)

    def _kind(self, kind: str, lookups: Sequence[Lookup], hosts: int) -> None:
        self.put(f"{kind}.count", len(lookups))
        self.put(f"{kind}.success", sum(one.found for one in lookups) / len(lookups))
        seconds = sorted(one.seconds for one in lookups)
        for share in (50, 90, 99):
            self.put(f"{kind}.p{share}", percentile(seconds, share / 100))
        self.put(f"{kind}.longest", seconds[-1])
        first = sorted(one.first for one in lookups if one.first is not None)
        for share in (50, 90, 99):
            self.put(f"{kind}.first_p{share}", percentile(first, share / 100) if first else float("nan"))
        hops = sorted(one.hops for one in lookups if one.hops is not None)
        self.put(f"{kind}.hops", mean(hops))
        self.put(f"{kind}.hops_most", hops[-1] if hops else float("nan"))
        self.put(f"{kind}.hops_by_log2", mean(hops) / log2(hosts) if hosts > 1 else float("nan"))
        self.put(f"{kind}.queries", mean([one.queries for one in lookups if one.queries is not None]))
        self.put(f"{kind}.lost", mean([one.lost for one in lookups if one.lost is not None]))
        longest = percentile(seconds, 0.999)
        times = [longest * n / POINTS for n in range(POINTS + 1)]
        self.run.curves.append(
            Curve(
                "lookups.seconds", "How long lookups took", "seconds", "share of lookups",
                [(time, bisect_right(seconds, time) / len(seconds)) for time in times], series=kind,
            )
        )  # fmt: skip
        if hops:
            bins = [(float(n), float(hops.count(n))) for n in range(int(hops[-1]) + 1)]
            self.run.curves.append(
                Curve("lookups.hops", "How far lookups went", "hops", "lookups", bins, kind="histogram", series=kind)
            )


@implementer(ILogObserver)
class _Heard:
    """Notes the lookups that are logged from a time on, with the host in whose call they ended."""

    def __init__(self, clock: HeapClock, after: float) -> None:
        self.lookups: list[Lookup] = []
        self._clock = clock
        self._after = after

    def __call__(self, event: LogEvent) -> None:
        """Take an event of the log."""
        kind = event.get("lookup")
        owner = self._clock.current
        if kind is None or not isinstance(owner, Incarnation) or self._clock.now < self._after:
            return
        self.lookups.append(
            Lookup(
                owner.host, str(kind), bool(event.get("found")), float(event.get("seconds", float("nan"))),
                event.get("first"), event.get("hops"), event.get("queries"), event.get("lost"),
            )
        )  # fmt: skip
