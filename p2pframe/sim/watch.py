"""Looks on at a run: what was delivered and which timers went off around a time, and all that has to do with an item.

A run that is looked at is the same run: nothing here draws chance, sends, or asks for a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pframe.sim.results import FaultNote
from p2pframe.sim.run import Watch

if TYPE_CHECKING:
    from p2pframe.sim.clock import Owner
    from p2pframe.sim.host import Host
    from p2pframe.sim.simulation import Simulation

FIRST_BYTES = 16
"""How much of a delivery is shown."""
_ENDS = (b"FIN", b"RST")
# Where a call keeps the one that it is there for: functools.partial, LoopingCall, the timers of core.
_HOLDS = ("func", "f", "_call")


@dataclass(slots=True)
class Seen:
    """Something that happened, at a virtual time; `text` begins with who."""

    time: float
    text: str


class Window:
    """Notes every delivery and timer from one virtual time to another, both included."""

    def __init__(self, start: float, end: float, timers: bool = True) -> None:
        self.start = start
        self.stop = end
        self.timers = timers
        self.seen: list[Seen] = []
        self.watch = Watch(deliveries=self._delivered, began=self._began)
        self._simulation: Simulation
        self._decoding: tuple[Seen, Host, dict[str, int]] | None = None

    def _began(self, simulation: Simulation) -> None:
        self._simulation = simulation
        simulation.clock.watcher = self._called

    def _delivered(self, time: float, label: str, data: bytes) -> None:
        self._decoded()
        if not self.start <= time <= self.stop:
            return
        seen = Seen(time, f"{label}  {described(data)}")
        self.seen.append(seen)
        host = self._simulation.hosts.get(receiver(label))
        if host is not None:
            self._decoding = seen, host, messages(host)

    def _called(self, time: float, owner: Owner | None, function: Callable[..., object]) -> None:
        self._decoded()
        if self.timers and self.start <= time <= self.stop:
            who = getattr(getattr(owner, "host", None), "name", "simulator")
            self.seen.append(Seen(time, f"{who}  timer  {name_of(function)}"))

    def _decoded(self) -> None:
        """What the receiver made of the latest delivery: the types that it has counted since, where it counts any."""
        if self._decoding is None:
            return
        (seen, host, before), self._decoding = self._decoding, None
        found = decoded(before, messages(host))
        if found:
            seen.text += f"  {found}"


class Item:
    """Notes every delivery that holds an item's id, in wire or display order, and every host that takes the item."""

    def __init__(self, id: bytes) -> None:
        self.ids = tuple(dict.fromkeys((id, id[::-1])))
        self.seen: list[Seen] = []
        self.watch = Watch(deliveries=self._delivered, items=self._taken)
        self._tails: dict[str, bytes] = {}

    def _taken(self, time: float, host: Host, topic: str, id: bytes, source: Host | None) -> None:
        if id in self.ids:
            origin = "made here" if source is None else f"from {source.name}"
            self.seen.append(Seen(time, f"{host.name}  takes the {topic}, {origin}"))

    def _delivered(self, time: float, label: str, data: bytes) -> None:
        if data in _ENDS:
            self._tails.pop(label, None)
            return
        # An id may lie across two segments of a stream.
        whole = self._tails.get(label, b"") + data
        keep = len(self.ids[0]) - 1
        if keep and label.endswith(" tcp"):
            self._tails[label] = whole[-keep:]
        for id, order in zip(self.ids, ("as given", "reversed"), strict=False):
            count = whole.count(id)
            if count:
                times = f" {count} times" if count > 1 else ""
                self.seen.append(Seen(time, f"{label}  {described(data)}  has the id{times}, {order}"))


def described(data: bytes) -> str:
    """Length and first bytes of what was delivered; the end of a connection by name."""
    if data in _ENDS:
        return data.decode()
    more = ".." if len(data) > FIRST_BYTES else ""
    return f"{len(data)} B  {data[:FIRST_BYTES].hex()}{more}"


def receiver(label: str) -> str:
    """The host that a delivery reaches: `b` of `a:1 > b:2 tcp`."""
    return label.rpartition(" > ")[2].rpartition(" ")[0].rpartition(":")[0]


def messages(host: Host) -> dict[str, int]:
    """How many messages a host's node has counted, by `network type`."""
    if host.node is None or not host.alive:
        return {}
    return {
        f"{network.name} {kind}": count
        for network in host.node.view.networks()
        for kind, (count, _) in network.messages.items()
    }


def decoded(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """`bitcoin inv, bitcoin ping x2`: the difference of two counts."""
    found = []
    for kind, count in after.items():
        more = count - before.get(kind, 0)
        if more > 0:
            found.append(kind if more == 1 else f"{kind} x{more}")
    return ", ".join(found)


def name_of(function: Callable[..., object]) -> str:
    """A function by name, the one that is meant: not a partial, a LoopingCall or a timer that repeats it.

    Nothing of it that would be another in every run, such as where it lies in memory.
    """
    for _ in range(10):
        inner = None
        for holder in (function, getattr(function, "__self__", None)):
            for attribute in _HOLDS:
                inner = inner or getattr(holder, attribute, None)
        if not callable(inner):
            break
        function = inner
    module = getattr(function, "__module__", "") or ""
    name = getattr(function, "__qualname__", "") or type(function).__qualname__
    return f"{module.removeprefix('p2pframe.')}.{name}" if module else name


def faults_between(faults: list[FaultNote], start: float, end: float) -> list[Seen]:
    """The faults that begin or end between two times."""
    seen = []
    for fault in faults:
        if start <= fault.time <= end:
            seen.append(Seen(fault.time, f"fault {fault.number}  {fault.text}"))
        if fault.until is not None and start <= fault.until <= end:
            seen.append(Seen(fault.until, f"fault {fault.number}  over: {fault.text}"))
    return seen
