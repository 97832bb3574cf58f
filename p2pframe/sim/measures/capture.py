"""Who holds whose peers: the share of a group's outbound connections that lead to attackers (Heilman et al. 2015).

A host is eclipsed when it holds outbound connections and every one of them leads to an attacker.
"""

from __future__ import annotations

from p2pframe.model import Slot
from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean
from p2pframe.sim.references import GroupName
from p2pframe.sim.results import TIME, Curve

_OWN_CHOICE = (Slot.OUTBOUND, Slot.BLOCK_RELAY, Slot.MANUAL)


class CaptureConfig(MeasureConfig):
    """Options of the `capture` measure."""

    by: tuple[GroupName, ...] = Field(min_length=1, description="The attackers' groups.")
    every: Duration = Field(30.0, gt=0, description="How often it is looked at.")


class Capture(Measure):
    """The share of eclipsed hosts and of captured outbound slots, over time and in the end."""

    config = CaptureConfig
    options: CaptureConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._eclipsed: list[tuple[float, float]] = []
        self._slots: list[tuple[float, float]] = []
        self.run.every(self.options.every, self._look)

    def _look(self, now: float) -> None:
        shares = [share for host in self.hosts() if (share := self._captured(host)) is not None]
        if shares:
            self._eclipsed.append((now, sum(share == 1.0 for share in shares) / len(shares)))
            self._slots.append((now, mean(shares)))

    def _captured(self, host: Host) -> float | None:
        """The share of its outbound connections that lead to attackers; None where it has none."""
        assert host.node is not None
        find = self.run.simulation.network.find
        theirs = total = 0
        for session in host.node.view.sessions(self.options.network):
            if session.slot in _OWN_CHOICE and session.state == "open":
                total += 1
                other = find(session.address.host)
                theirs += other is not None and other.group in self.options.by
        return theirs / total if total else None

    def finish(self) -> None:
        """See `Measure.finish`."""
        hosts = self.hosts()
        shares = [share for host in hosts if (share := self._captured(host)) is not None]
        self.put("hosts", len(hosts))
        self.put("alone", len(hosts) - len(shares))
        self.put("eclipsed", sum(share == 1.0 for share in shares) / len(shares) if shares else float("nan"))
        self.put("slots", mean(shares))
        for points, title, series in (
            (self._eclipsed, "Eclipsed hosts", "eclipsed hosts"),
            (self._slots, "Outbound connections to attackers", "captured connections"),
        ):
            self.run.curves.append(Curve(f"capture.{series.split()[0]}", title, TIME, "share", points, series=series))
