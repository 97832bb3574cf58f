"""A simulation: one clock, one network, its hosts, and the trace of what passed between them.

::

    simulation = Simulation(seed=1)
    alice, bob = simulation.host("192.0.2.1"), simulation.host("198.51.100.1")
    alice.start(spec)
    simulation.run(10.0)               # ten virtual seconds
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from random import Random
from typing import TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from p2pframe.sim.chance import stream
from p2pframe.sim.clock import HeapClock
from p2pframe.sim.disk import SharedDisks
from p2pframe.sim.host import Host, Incarnation, Lane
from p2pframe.sim.links import Links
from p2pframe.sim.nat import Nat
from p2pframe.sim.network import Network
from p2pframe.sim.trace import Trace

T = TypeVar("T")

EPOCH = 1_767_225_600.0
"""The date on which every simulation begins: 2026-01-01, unix seconds."""


class Simulation:
    """A thousand hosts in one process. Equal seeds and equal calls give equal traces."""

    def __init__(self, seed: int | str = 0, links: Links | None = None) -> None:
        self.seed = seed
        self.clock = HeapClock()
        self.network = Network(links if links is not None else Links(None, seed))
        self.trace = Trace()
        self.hosts: dict[str, Host] = {}
        """By name, in the order of their making."""
        self.epoch = EPOCH
        self.work_delay = 0.001
        """Seconds that `context.work` takes."""
        self.connections = 0
        self.prepared: list[Callable[[Host], None]] = []
        """Called at each boot of a host whose node is built, before it starts."""
        self.disks = SharedDisks()
        weakref.finalize(self, self.disks.close)
        self._observing = False

    def stream(self, *labels: object) -> Random:
        """Chance for whoever the labels name; see p2pframe.sim.chance."""
        return stream(self.seed, *labels)

    def host(
        self,
        *addresses: str,
        name: str = "",
        group: str = "",
        region: str = "",
        asn: int = 0,
        lan: str = "",
        skew: float = 0.0,
        drift: float = 0.0,
        up: float = 0,
        down: float = 0,
        queue: int = 0,
        nat: Nat | None = None,
        honest: bool = True,
    ) -> Host:
        """A new host. `up` and `down` are bytes a second (0: without limit), `queue` bytes.

        Raises ValueError for a name or address that is taken.
        """
        name = name or (addresses[0] if addresses else f"host-{len(self.hosts)}")
        if name in self.hosts:
            raise ValueError(f"there is a host {name!r} already")
        host = Host(
            self,
            len(self.hosts),
            name,
            addresses,
            group=group,
            region=region,
            asn=asn,
            lan=lan,
            skew=skew,
            drift=drift,
            up=Lane(up, queue) if up else None,
            down=Lane(down, queue) if down else None,
            nat=nat,
            honest=honest,
        )
        self.network.add(host)
        self.hosts[name] = host
        return host

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.run(self.clock.now + seconds)

    def run_until(self, condition: Callable[[], object], limit: float = 60.0) -> None:
        """Let time pass until `condition()` is true, asked after every event.

        Raises AssertionError where it is not after `limit` virtual seconds.
        """
        if not self.clock.run(self.clock.now + limit, condition) and not condition():
            raise AssertionError(f"nothing came of it in {limit} virtual seconds")

    def wait(self, deferred: Deferred[T], limit: float = 60.0) -> T:
        """Let time pass until a Deferred fires. Returns its result or raises its failure."""
        results: list[T] = []
        failures: list[BaseException] = []
        deferred.addCallbacks(results.append, lambda failure: failures.append(failure.value))
        self.run_until(lambda: results or failures, limit)
        if failures:
            raise failures[0]
        return results[0]

    def observe_log(self) -> None:
        """Hand what is logged to the node in whose call that happens: one observer for all of them."""
        if self._observing:
            return
        self._observing = True
        # Neither the log nor what ends this keeps a simulation that nobody else holds.
        of = weakref.ref(self)

        def observe(event: LogEvent) -> None:
            simulation = of()
            owner = simulation.clock.current if simulation is not None else None
            sink = owner.log_sink if isinstance(owner, Incarnation) and owner.alive else None
            if sink is not None and sink.wants(event):
                sink(event)

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        self._unobserve = weakref.finalize(self, globalLogPublisher.removeObserver, observer)
        self._unobserve.atexit = False

    def close(self) -> None:
        """Take the power from every host: what is left of their nodes does nothing from here on."""
        for host in self.hosts.values():
            host.power_off()
        self.disks.close()
        if self._observing:
            self._observing = False
            self._unobserve()

    def finish(self) -> str:
        """Note each host's end state in the trace and return the trace's digest."""
        for host in self.hosts.values():
            self.trace.state(host.name, end_state(host))
        return self.trace.digest()


def end_state(host: Host) -> bytes:
    """What a host has come to: up or down, its disk, its sessions, its networks, everything it counted."""
    state: dict[str, object] = {"up": host.alive, "boots": host.boots, "disk": host.disk.digest().hex()}
    node = host.node
    if host.alive and node is not None:
        state["sessions"] = node.view.sessions()
        state["networks"] = node.view.networks()
        state["counted"] = node.metrics.snapshot()
        state["events"] = node.events.last
    return json.dumps(_ordered(state)).encode()


def _ordered(value: object) -> object:
    """The same as JSON knows it, in an order that does not depend on hashes."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return sorted([str(key), _ordered(inner)] for key, inner in value.items())
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_ordered(inner)) for inner in value)
    if isinstance(value, (list, tuple)):
        return [_ordered(inner) for inner in value]
    if is_dataclass(value):
        return [_ordered(getattr(value, field.name)) for field in fields(value)]
    return repr(value)
