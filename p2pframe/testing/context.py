"""FakeContext: all of IContext for a unit test, without a reactor that runs, a thread, or chance.

::

    context = FakeContext("relay.inventory")
    relay = InventoryRelay(InventoryConfig(), context)
    context.reactor.advance(5.0)
    assert context.metrics.value("relay_announced_total") == 3
"""

from __future__ import annotations

# real world: tempfile: a plugin under test may need a folder that is there, and no test goes by its name
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_interface
from pathlib import Path
from random import Random
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IHostnameResolver, IListeningPort, IReactorMulticast, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger
from zope.interface import implementer

from p2pframe.errors import PluginError
from p2pframe.interfaces import IContext, INamespace
from p2pframe.model import NetworkInterface
from p2pframe.storage.memory import MemoryConfig, MemoryStorage

T = TypeVar("T")
P = ParamSpec("P")


@implementer(IReactorUDP, IReactorMulticast)
class FakeReactor(MemoryReactorClock):
    """Twisted's in-memory reactor on a clock that a test advances; it also notes the UDP ports asked for.

    `tcpClients`, `tcpServers` and `udpPorts` hold what was asked for, as tuples of the arguments.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.udpPorts: list[tuple[int, Any, str, int]] = []

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort:
        """Notes the port and hands the protocol a transport that notes what is written."""
        self.udpPorts.append((port, protocol, interface, maxPacketSize))
        udp = FakeUDPPort(port or 40_000 + len(self.udpPorts), interface or "0.0.0.0")
        protocol.makeConnection(cast(Any, udp))
        return udp

    def listenMulticast(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> Any:
        """As `listenUDP`; its port takes what `IMulticastTransport` has, and joins any group."""
        return self.listenUDP(port, protocol, interface, maxPacketSize)


@implementer(IListeningPort)
class FakeUDPPort:
    """The transport of a datagram protocol: `written` holds (datagram, address) in order."""

    def __init__(self, port: int, interface: str) -> None:
        self.port = port
        self.interface = interface
        self.written: list[tuple[bytes, Any]] = []
        self.groups: list[str] = []
        self.listening = True

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Note a datagram."""
        self.written.append((datagram, addr))

    def joinGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """Note the group."""
        self.groups.append(addr)
        return succeed(None)

    def leaveGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """Forget the group."""
        self.groups.remove(addr)
        return succeed(None)

    def setOutgoingInterface(self, addr: str | int) -> Deferred[int]:
        """Nothing to choose from."""
        return succeed(1)

    def setTTL(self, ttl: int) -> None:
        """Nothing to limit."""

    def setLoopbackMode(self, mode: int) -> None:
        """Nothing comes back."""

    def startListening(self) -> None:
        """Nothing to bind."""

    def stopListening(self) -> Deferred[None]:
        """Note that it was stopped."""
        self.listening = False
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """The address it was asked to bind."""
        return (IPv6Address if ":" in self.interface else IPv4Address)("UDP", self.interface, self.port)


class FakeEntropy:
    """Entropy that repeats: a stream from a seed. For tests only."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"entropy {seed}")

    def bytes(self, length: int) -> bytes:
        """The next bytes of the stream."""
        return self._random.randbytes(length)

    def integer(self, bits: int) -> int:
        """The next integer of at most that many bits."""
        return self._random.getrandbits(bits) if bits else 0


class FakeMetric:
    """A counter or gauge that remembers a number for each set of label values."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, amount: float = 1, *labels: str) -> None:
        """Add to the number of these label values."""
        self._check(labels)
        self.values[labels] = self.values.get(labels, 0) + amount

    def set(self, value: float, *labels: str) -> None:
        """Set the number of these label values."""
        self._check(labels)
        self.values[labels] = value

    def _check(self, labels: tuple[str, ...]) -> None:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, was given {labels}")


class FakeMetrics:
    """Counters and gauges that a test reads with `value`."""

    def __init__(self) -> None:
        self.metrics: dict[str, FakeMetric] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> FakeMetric:
        """The counter of that name."""
        return self._metric(name, help, tuple(labels))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> FakeMetric:
        """The gauge of that name."""
        return self._metric(name, help, tuple(labels))

    def _metric(self, name: str, help: str, labels: tuple[str, ...]) -> FakeMetric:
        metric = self.metrics.get(name)
        if metric is None:
            metric = self.metrics[name] = FakeMetric(name, help, labels)
        elif metric.labels != labels:
            raise ValueError(f"{name} was made with the labels {metric.labels}, not {labels}")
        return metric

    def value(self, name: str, *labels: str) -> float:
        """The number of these label values; the sum of all where none are given and the metric has some; 0 where unset.

        Raises KeyError for a metric that nobody has made.
        """
        metric = self.metrics[name]
        return metric.values.get(labels, 0) if labels or not metric.labels else sum(metric.values.values())


@implementer(IContext)
class FakeContext:
    """All of IContext: a clock, seeded chance, work done at once, memory for storage, and a folder made when asked for.

    `services` maps interfaces to providers; `provide` adds one. `work` runs its function at once. `unix_time` is
    `unix_epoch` (settable) plus the clock. Without `data_dir` a temporary folder is made, removed with the context.
    """

    def __init__(
        self,
        name: str = "test.plugin",
        network: str = "testnet",
        *,
        seed: int = 0,
        reactor: FakeReactor | None = None,
        data_dir: Path | None = None,
        services: Mapping[Any, object] | None = None,
        storage: INamespace | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.seed = seed
        # Typed loosely so that a test may use the clock's own methods and a plugin's constructor takes the context.
        self.reactor: Any = FakeReactor() if reactor is None else reactor
        self.rng = Random(f"rng {seed}")
        self.entropy = FakeEntropy(seed)
        self.log = Logger(namespace=f"p2pframe.{network}.{name}")
        self.metrics = FakeMetrics()
        self.services: dict[Any, object] = dict(services or {})
        self.unix_epoch = 1_700_000_000.0
        self.host_interfaces: Sequence[NetworkInterface] = (
            NetworkInterface("eth0", 2, (ip_interface("192.0.2.10/24"), ip_interface("2001:db8::10/64"))),
        )
        self.worked = 0
        self._data_dir = data_dir
        self._storage = storage

    def interfaces(self) -> Sequence[NetworkInterface]:
        """What `host_interfaces` is set to: one of both families at first."""
        return self.host_interfaces

    @property
    def resolver(self) -> IHostnameResolver:
        """The fake reactor's resolver; install another with `reactor.installNameResolver`."""
        return cast(IHostnameResolver, self.reactor.nameResolver)

    @property
    def data_dir(self) -> Path:
        """The plugin's folder, made when first asked for."""
        if self._data_dir is None:
            self._data_dir = Path(tempfile.mkdtemp(prefix="p2pframe-test-"))
            weakref.finalize(self, shutil.rmtree, self._data_dir, True)
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._data_dir

    @property
    def storage(self) -> INamespace:
        """A namespace in memory, unless the test gave another."""
        if self._storage is None:
            engine = MemoryStorage(MemoryConfig(), cast(IContext, self))
            engine.start()
            self._storage = engine.namespace(self.network, self.name)
        return self._storage

    def unix_time(self) -> float:
        """Seconds since 1970, moving with the clock."""
        return self.unix_epoch + float(self.reactor.seconds())

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Runs the function at once; `worked` counts them."""
        self.worked += 1
        return execute(function, *args, **kwargs)

    def provide(self, interface: Any, provider: object) -> None:
        """Let `service(interface)` give `provider`."""
        self.services[interface] = provider

    def service(self, interface: type[T], network: str | None = None) -> T:
        """What the test provided; raises `PluginError` where it did not."""
        try:
            return cast(T, self.services[interface])
        except KeyError:
            raise PluginError(f"{self.name}: nobody provides {interface.__name__}") from None

    def sibling(self, name: str, network: str | None = None) -> FakeContext:
        """Another plugin's context in the same world: one clock, one set of services."""
        other = FakeContext(name, self.network if network is None else network, seed=self.seed, reactor=self.reactor)
        other.services = self.services
        return other


def result_of(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with; raises its failure, and AssertionError where it has not fired yet."""
    results: list[Any] = []
    failures: list[Any] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    if not results:
        raise AssertionError("the Deferred has not fired yet")
    return cast(T, results[0])
