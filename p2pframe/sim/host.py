"""A simulated host: addresses, a clock that may be wrong, a disk that survives, and the node that runs on it.

Each boot of a host is an incarnation: a `World` of its own, which everything of that boot belongs to. When it ends,
whatever is left of the node (Deferreds that never fired, coroutines that are collected later) can do nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.config.settings import NodeSpec
from p2pframe.core.context import DataFolders, LogSink
from p2pframe.core.data_dir import DataDir
from p2pframe.core.node import Node
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Entropy, IHostReactor
from p2pframe.model import NetworkInterface
from p2pframe.sim.chance import SimulatedEntropy
from p2pframe.sim.disk import SimulatedDataDir, SimulatedDisk
from p2pframe.sim.nat import Nat
from p2pframe.sim.reactor import HostReactor
from p2pframe.sim.storage import on_disk

if TYPE_CHECKING:
    from p2pframe.sim.connecting import StreamPort
    from p2pframe.sim.datagrams import SimulatedUDPPort
    from p2pframe.sim.simulation import Simulation
    from p2pframe.sim.streams import Endpoint, Wire

T = TypeVar("T")
P = ParamSpec("P")

EPHEMERAL = range(49_152, 65_536)
"""Ports that the system chooses from (RFC 6335)."""
ANY = ("0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1")


class Lane:
    """A host's line up or down: `rate` bytes a second, one thing after another, whichever peer it is for."""

    __slots__ = ("free_at", "queue", "rate")

    def __init__(self, rate: float, queue: int = 0) -> None:
        self.rate = rate
        self.queue = queue
        """Bytes that may wait before datagrams are dropped; 0: without limit."""
        self.free_at = 0.0

    def pass_through(self, now: float, size: int) -> float:
        """When `size` bytes are through."""
        self.free_at = end = max(self.free_at, now) + size / self.rate
        return end

    def full(self, now: float, size: int) -> bool:
        """Whether a datagram of that size finds the queue full."""
        return bool(self.queue) and (self.free_at - now) * self.rate + size > self.queue


class Host:
    """One machine of a simulation; made by `Simulation.host`."""

    log = Logger(namespace="p2pframe.sim")

    def __init__(
        self,
        simulation: Simulation,
        number: int,
        name: str,
        addresses: tuple[str, ...],
        *,
        group: str = "",
        region: str = "",
        asn: int = 0,
        lan: str = "",
        skew: float = 0.0,
        drift: float = 0.0,
        up: Lane | None = None,
        down: Lane | None = None,
        nat: Nat | None = None,
        honest: bool = True,
    ) -> None:
        self.simulation = simulation
        self.number = number
        self.name = name
        self.addresses = addresses
        self.group = group
        self.region = region
        self.asn = asn
        self.lan = lan
        self.skew = skew
        """Seconds that its wall clock is ahead at the start."""
        self.drift = drift
        """Parts per million that it gains."""
        self.up = up
        self.down = down
        self.nat = nat
        self.honest = honest
        self.read_rate = 0.0
        """Bytes a second that it reads of each new connection; 0: as they come."""
        self.real_folders = False
        """Whether its nodes keep their data as the config says, in real folders, in the place of the simulated disk."""
        self.disk = SimulatedDisk(name, simulation.disks, lambda: simulation.stream("disk", name))
        self.incarnation: Incarnation | None = None
        self.ready = False
        """Whether its node has started, and does not stop yet."""
        self._stopping: Incarnation | None = None
        self.kernel_up = True
        """False between a power failure and the next boot: nobody answers, not even with a reset."""
        self.boots = 0
        self.node: Node | None = None
        self.spec: NodeSpec | None = None
        self.failures: list[str] = []
        """Why its node could not start, or stopped badly."""
        self._next_port = EPHEMERAL.start

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.incarnation is not None

    # --- up and down ---

    def boot(self) -> Incarnation:
        """A new world on this host, with nothing running in it. Raises RuntimeError where it is up already."""
        if self.incarnation is not None:
            raise RuntimeError(f"{self.name} is up already")
        self.boots += 1
        self.incarnation = Incarnation(self)
        if not self.kernel_up:
            self.kernel_up = True
            self.simulation.network.try_again()
        return self.incarnation

    def start(self, spec: NodeSpec | None = None) -> Deferred[None]:
        """Boot, and start the node of `spec` (None: that of the last time) on this host's disk.

        Fails with what kept it from starting; the host is down again then.
        """
        if spec is not None:
            self.spec = spec
        assert self.spec is not None
        incarnation = self.boot()
        spec = self.spec
        if not self.real_folders:
            spec = replace(spec, storage=on_disk(spec.storage, self.disk, incarnation))
        node = self.node = Node(spec, incarnation.reactor, incarnation)
        clock = self.simulation.clock
        # What is logged from here on is the new node's, whoever boots it.
        before, clock.current = clock.current, incarnation
        try:
            return self._booted(node, incarnation)
        finally:
            clock.current = before

    def _booted(self, node: Node, incarnation: Incarnation) -> Deferred[None]:
        try:
            node.prepare()
        except P2PFrameError as error:
            self.failures.append(f"{self.name} did not start: {error}")
            self._gone()
            return fail(error)
        for call in self.simulation.prepared:
            call(self)

        def failed(failure: Failure) -> Failure:
            # A start that a stop cuts short is no fault, and the stop sees to the rest.
            if self._stopping is not incarnation:
                self.failures.append(f"{self.name} did not start: {failure.getErrorMessage()}")
                if self.incarnation is incarnation:
                    self._gone()
            return failure

        def started(result: None) -> None:
            self.ready = self.incarnation is incarnation and self._stopping is not incarnation

        return node.start().addCallbacks(started, failed)

    def restart(self) -> Deferred[None]:
        """The same node on the same disk once more."""
        return self.start()

    def stop(self) -> Deferred[None]:
        """A clean stop; fires when the host is down."""
        incarnation, node = self.incarnation, self.node
        done: Deferred[None] = Deferred()
        self.ready = False
        self._stopping = incarnation
        if incarnation is None or node is None:
            self.kill()
            done.callback(None)
            return done

        def over(result: object) -> None:
            if isinstance(result, Failure):
                self.failures.append(f"{self.name} did not stop: {result.getErrorMessage()}")
            if self.incarnation is incarnation:
                self.kill()
            done.callback(None)

        node.stop().addBoth(over)
        return done

    def kill(self) -> None:
        """The process ends at once (SIGKILL): its kernel closes its connections, the disk keeps what was written."""
        incarnation = self.incarnation
        if incarnation is None:
            return
        wires = list(incarnation.wires)
        self._gone()
        self.disk.kill()
        for wire in wires:
            wire.vanish()

    def power_off(self) -> None:
        """Silence: peers are told nothing, and what was not on the disk is gone."""
        if self.incarnation is not None:
            self._gone()
            self.disk.power_off()
        self.kernel_up = False

    def _gone(self) -> None:
        incarnation = self.incarnation
        assert incarnation is not None
        incarnation.alive = False
        self.ready = False
        self._stopping = None
        incarnation.wires.clear()
        incarnation.ports.clear()
        incarnation.datagram_ports.clear()
        self.incarnation = None

    # --- addresses ---

    def source_for(self, target: str, bind: tuple[str, int] | None) -> Endpoint:
        """The address and port to send to `target` from: the one bound to, or one of the same family."""
        port = bind[1] if bind is not None else 0
        if not port:
            port = self.free_port()
        if bind is not None and bind[0] not in ("", *ANY):
            return bind[0], port
        if target in LOOPBACK or target in self.addresses:
            return target, port
        return self.address_for(target), port

    def address_for(self, target: str) -> str:
        """Its first address of the family of `target`; 0.0.0.0 or :: where it has none."""
        for address in self.addresses:
            if (":" in address) == (":" in target):
                return address
        return "::" if ":" in target else "0.0.0.0"

    def has(self, address: str) -> bool:
        """Whether it may listen on an address."""
        return address in self.addresses or address in LOOPBACK or address in ANY

    def free_port(self) -> int:
        """A port that the system chooses."""
        number = self._next_port
        self._next_port = number + 1 if number + 1 < EPHEMERAL.stop else EPHEMERAL.start
        return number


class Incarnation:
    """One boot of a host: the `World` (p2pframe.core.context) that a node lives in until that boot ends."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.alive = True
        self.wires: dict[Wire, None] = {}
        """Connections, in the order of their making."""
        self.ports: dict[Endpoint, StreamPort] = {}
        self.datagram_ports: dict[Endpoint, list[SimulatedUDPPort]] = {}
        self.log_sink: LogSink | None = None
        self.reactor: IHostReactor = cast(IHostReactor, HostReactor(self))

    def interfaces(self) -> Sequence[NetworkInterface]:
        """See `World.interfaces`: one, with all addresses; whatever comes over a simulated LAN is on its link."""
        return [NetworkInterface("lan0", 1, tuple(ip_interface(f"{address}/0") for address in self.host.addresses))]

    def unix_time(self) -> float:
        """See `World.unix_time`: the simulation's date, as wrong as the host's clock is."""
        host = self.host
        now = host.simulation.clock.now
        return host.simulation.epoch + now + host.skew + now * host.drift * 1e-6

    def rng(self, label: str) -> Random:
        """See `World.rng`: follows from seed, host, boot and plugin."""
        return self.host.simulation.stream("rng", self.host.name, self.host.boots, label)

    def entropy(self, label: str) -> Entropy:
        """See `World.entropy`: likewise."""
        return SimulatedEntropy(self.host.simulation.seed, self.host.name, self.host.boots, label)

    def data_dir(self, path: Path) -> DataFolders:
        """See `World.data_dir`: the host has one, wherever the config wants it."""
        if self.host.real_folders:
            return DataDir(path)
        return SimulatedDataDir(path, self.host.disk, self)

    def observe_log(self, sink: LogSink) -> Callable[[], None]:
        """See `World.observe_log`: what is logged in calls of this boot's."""
        self.log_sink = sink
        self.host.simulation.observe_log()

        def end() -> None:
            self.log_sink = None

        return end

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See `World.work`: done at once, known after `simulation.work_delay` seconds."""
        simulation = self.host.simulation
        done: Deferred[T] = Deferred()
        try:
            result: object = function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, it is the caller's to see
            result = Failure()
        simulation.clock.at(simulation.clock.now + simulation.work_delay, self, done.callback, result)
        return done

    def start(self, threads: int, queue: int) -> None:
        """See `World.start`: there are no threads."""

    def stop(self) -> None:
        """See `World.stop`."""

    # --- ports ---

    def listener(self, at: Endpoint) -> StreamPort | None:
        """Who listens at an address and port of this host."""
        address, port = at
        return self.ports.get(at) or self.ports.get(("::" if ":" in address else "0.0.0.0", port))

    def take_port(self, port: StreamPort) -> None:
        """Bind. Raises CannotListenError."""
        address, number = port.endpoint
        if not self.host.has(address):
            raise CannotListenError(address, number, OSError("Cannot assign requested address"))
        if not number:
            number = self.host.free_port()
            port.endpoint = (address, number)
        family = ":" in address
        for other, taken in self.ports:
            if taken == number and (":" in other) == family and (other == address or other in ANY or address in ANY):
                raise CannotListenError(address, number, OSError("Address already in use"))
        self.ports[port.endpoint] = port

    def give_port(self, port: StreamPort) -> None:
        """Give it back."""
        if self.ports.get(port.endpoint) is port:
            del self.ports[port.endpoint]
