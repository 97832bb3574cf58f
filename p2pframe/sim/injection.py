"""Lets the faults of a schedule happen, each at its time, and end.

Faults overlap: a host is up again when none of those that took it down holds it any more; a way is open when neither a
cut nor a partition lies on it; of several slow links the last holds, of several limits to reading the lowest. A fault
that finds a host not yet started, or down already by the scenario's own doing, leaves it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from p2pframe.sim.faults import Fault, Kind
from p2pframe.sim.host import Host, Incarnation
from p2pframe.sim.network import Change
from p2pframe.sim.simulation import Simulation

STANDSTILL = 1e-6
"""Bytes a second of who reads nothing."""


class Injector:
    """The faults of one run, any subset of a schedule. `arm` has each begin at its time, `begin` does so now."""

    def __init__(self, simulation: Simulation) -> None:
        self.begun: list[Fault] = []
        """Those that have begun, in order."""
        self.idle: list[Fault] = []
        """Those that found nothing to do."""
        self._simulation = simulation
        self._holds: dict[str, dict[int, None]] = {}
        """By host, the faults that keep it down."""
        self._stopping: dict[str, Incarnation] = {}
        self._partitions: dict[int, Mapping[int, int]] = {}
        self._changes: dict[int, Change] = {}
        self._rates: dict[str, dict[int, float]] = {}
        """By host, what it may read at most by each fault that limits it."""
        self._begin: Mapping[Kind, Callable[[Fault], bool]] = {
            "partition": self._part,
            "cut": self._cut,
            "half-open": self._silence,
            "kill": self._down,
            "power-off": self._down,
            "stop": self._down,
            "start": self._start,
            "slow-readers": self._slow_readers,
            "slow-links": self._slow_links,
        }
        self._end: Mapping[Kind, Callable[[Fault], None]] = {
            "partition": self._join,
            "cut": self._mend,
            "slow-readers": self._usual_readers,
            "slow-links": self._usual_links,
        }

    def arm(self, faults: Iterable[Fault]) -> None:
        """Have each fault begin and end at its time."""
        clock = self._simulation.clock
        for fault in faults:
            clock.at(fault.time, None, self.begin, fault)

    def begin(self, fault: Fault) -> None:
        """Let a fault happen now, and see to its end."""
        clock = self._simulation.clock
        self.begun.append(fault)
        if not self._begin[fault.kind](fault):
            self.idle.append(fault)
        for name, time in zip(fault.hosts, fault.back, strict=False):
            clock.at(time, None, self._back, fault, self._simulation.hosts[name])
        if fault.until is not None and fault.kind in self._end:
            clock.at(fault.until, None, self._end[fault.kind], fault)

    def _hosts(self, fault: Fault) -> list[Host]:
        return [self._simulation.hosts[name] for name in fault.hosts]

    # --- up and down ---

    def _down(self, fault: Fault) -> bool:
        hit = False
        for host in self._hosts(fault):
            holds = self._holds.setdefault(host.name, {})
            if not host.alive and not holds:
                continue
            hit = True
            holds[fault.number] = None
            if fault.kind == "power-off":
                self._stopping.pop(host.name, None)
                host.power_off()
            elif fault.kind == "kill":
                self._stopping.pop(host.name, None)
                host.kill()
            elif host.incarnation is not None and host.name not in self._stopping:
                incarnation = self._stopping[host.name] = host.incarnation
                host.stop().addBoth(self._stopped, host, incarnation)
        return hit

    def _stopped(self, result: object, host: Host, incarnation: Incarnation | None) -> None:
        if self._stopping.get(host.name) is incarnation:
            del self._stopping[host.name]
            if not self._holds.get(host.name):
                self._up(host)

    def _back(self, fault: Fault, host: Host) -> None:
        holds = self._holds.get(host.name, {})
        if fault.number in holds:
            del holds[fault.number]
            if not holds:
                self._up(host)

    def _start(self, fault: Fault) -> bool:
        hit = False
        for host in self._hosts(fault):
            self._holds.pop(host.name, None)
            hit = self._up(host) or hit
        return hit

    def _up(self, host: Host) -> bool:
        """Start a host; one that is still stopping starts when it has stopped."""
        if host.name in self._stopping:
            return True
        if host.alive:
            return False
        # The host notes why where it does not start.
        host.start().addErrback(lambda failure: None)
        return True

    # --- who reaches whom ---

    def _part(self, fault: Fault) -> bool:
        hosts = self._simulation.hosts
        sides = {hosts[name].number: index for index, side in enumerate(fault.sides) for name in side}
        self._partitions[fault.number] = sides
        self._simulation.network.part(sides)
        return True

    def _join(self, fault: Fault) -> None:
        self._simulation.network.join(self._partitions.pop(fault.number))

    def _pairs(self, fault: Fault) -> Iterable[tuple[Host, Host]]:
        hosts = self._simulation.hosts
        for source in fault.sides[0]:
            for target in fault.sides[1]:
                if source != target:
                    yield hosts[source], hosts[target]

    def _cut(self, fault: Fault) -> bool:
        for source, target in self._pairs(fault):
            self._simulation.network.cut(source, target)
        return True

    def _mend(self, fault: Fault) -> None:
        self._simulation.network.mend_all(self._pairs(fault))

    def _silence(self, fault: Fault) -> bool:
        rng = self._simulation.stream("half-open", fault.number)
        hit = False
        for host in self._hosts(fault):
            for wire in list(host.incarnation.wires) if host.incarnation is not None else ():
                if rng.random() < fault.share:
                    wire.silent = wire.other.silent = hit = True
        return hit

    # --- slow ---

    def _slow_readers(self, fault: Fault) -> bool:
        for host in self._hosts(fault):
            self._rates.setdefault(host.name, {})[fault.number] = float(fault.rate) or STANDSTILL
            self._read_at(host)
        return True

    def _usual_readers(self, fault: Fault) -> None:
        for host in self._hosts(fault):
            del self._rates[host.name][fault.number]
            self._read_at(host)

    def _read_at(self, host: Host) -> None:
        host.read_rate = min(self._rates[host.name].values(), default=0.0)
        for wire in list(host.incarnation.wires) if host.incarnation is not None else ():
            wire.read_at(host.read_rate)

    def _slow_links(self, fault: Fault) -> bool:
        assert fault.link is not None
        hosts = self._simulation.hosts
        sources, targets = (frozenset(hosts[name].number for name in side) for side in fault.sides)
        change = self._changes[fault.number] = Change(sources, targets, fault.link)
        self._simulation.network.change(change)
        return True

    def _usual_links(self, fault: Fault) -> None:
        self._simulation.network.change_back(self._changes.pop(fault.number))
