"""Whole nodes in one test, without a socket: hosts on one clock, stock endpoints between them.

::

    net = MemoryNet()
    alice, bob = net.host("192.0.2.1"), net.host("198.51.100.1")
    node = Node(spec, alice.reactor, alice)
    net.run(10.0)                      # ten seconds of virtual time

Each host is a `World` (p2pframe.core.context) with a reactor of its own: IReactorTCP and IReactorTime, so that the
`tcp` transport runs unchanged. Delivery takes `latency` seconds; a wire holds 64 KiB before it asks its writer to
pause, as sockets do. Chance is derived from (seed, host, plugin).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.core.context import DataFolders
from p2pframe.core.data_dir import DataDir
from p2pframe.interfaces import Entropy, IHostReactor
from p2pframe.testing.context import FakeEntropy

T = TypeVar("T")
P = ParamSpec("P")

_HIGH_WATER = 65536


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class MemoryNet:
    """The network between hosts: who listens where, and how long a byte takes. `latency` is in seconds, one way."""

    def __init__(self, seed: int = 0, latency: float = 0.01) -> None:
        self.clock = Clock()
        self.seed = seed
        self.latency = latency
        self.listening: dict[tuple[str, int], MemoryPort] = {}
        self.unix_epoch = 1_700_000_000.0

    def host(self, address: str) -> MemoryHost:
        """A new host of that address."""
        return MemoryHost(self, address)

    def run(self, seconds: float, step: float = 0.01) -> None:
        """Let virtual time pass, in small steps: Twisted's Clock shows every call the end of its step."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def run_until(self, condition: Callable[[], object], limit: float = 60.0, step: float = 0.01) -> None:
        """Let time pass until `condition()` is true; AssertionError after `limit` virtual seconds."""
        for _ in range(round(limit / step)):
            if condition():
                return
            self.clock.advance(step)
        raise AssertionError(f"nothing came of it in {limit} virtual seconds")


class MemoryHost:
    """One host: a `World` whose reactor, chance and clock are the test's."""

    def __init__(self, net: MemoryNet, address: str) -> None:
        self.net = net
        self.address = address
        self.memory_reactor = MemoryReactor(net, address)
        self.reactor = cast(IHostReactor, self.memory_reactor)

    def unix_time(self) -> float:
        """See `World.unix_time`."""
        return self.net.unix_epoch + self.net.clock.seconds()

    def rng(self, label: str) -> Random:
        """See `World.rng`."""
        return Random(f"{self.net.seed}/{self.address}/{label}")

    def entropy(self, label: str) -> Entropy:
        """See `World.entropy`."""
        return FakeEntropy(Random(f"entropy/{self.net.seed}/{self.address}/{label}").getrandbits(64))

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See `World.work`: inline."""
        return execute(function, *args, **kwargs)

    def data_dir(self, path: Path) -> DataFolders:
        """See `World.data_dir`: a real one."""
        return DataDir(path)

    def start(self, threads: int, queue: int) -> None:
        """See `World.start`: there are no threads."""

    def stop(self) -> None:
        """See `World.stop`."""


@implementer(IReactorTCP, IReactorTime)
class MemoryReactor:
    """The reactor of one host."""

    def __init__(self, net: MemoryNet, address: str) -> None:
        self._net = net
        self._host = address
        self._next_port = 40_000

    def seconds(self) -> float:
        """See IReactorTime."""
        return float(self._net.clock.seconds())

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:
        """See IReactorTime."""
        return self._net.clock.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Any:
        """See IReactorTime."""
        return self._net.clock.getDelayedCalls()

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See IReactorTCP. Loopback and unspecified addresses mean this host's own."""
        if not port:
            self._next_port += 1
            port = self._next_port
        opened = MemoryPort(self._net, self._here(interface), port, factory)
        opened.startListening()
        return cast(IListeningPort, opened)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: tuple[str, int] | None = None
    ) -> IConnector:
        """See IReactorTCP."""
        self._next_port += 1
        connector = MemoryConnector(self._net, self._here(host), port, factory, self._host, self._next_port)
        factory.doStart()
        factory.startedConnecting(connector)
        self._net.clock.callLater(self._net.latency, connector.arrive)
        return cast(IConnector, connector)

    def _here(self, host: str) -> str:
        return self._host if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1") else host


class MemoryPort:
    """A listening port."""

    def __init__(self, net: MemoryNet, host: str, port: int, factory: Factory) -> None:
        self._net = net
        self._key = (host, port)
        self.factory = factory

    def startListening(self) -> None:
        """Take the address; raises CannotListenError where it is taken."""
        if self._key in self._net.listening:
            raise CannotListenError(self._key[0], self._key[1], OSError("Address already in use"))
        self._net.listening[self._key] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Give the address back."""
        if self._net.listening.pop(self._key, None) is not None:
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens."""
        return _address(*self._key)


class MemoryConnector:
    """A connection being made."""

    def __init__(self, net: MemoryNet, host: str, port: int, factory: Any, own: str, own_port: int) -> None:
        self._net = net
        self._target = (host, port)
        self._source = (own, own_port)
        self._factory = factory
        self._over = False

    def stopConnecting(self) -> None:
        """Give up."""
        self._fail(ConnectionAborted())

    def disconnect(self) -> None:
        """Give up, where it is not connected yet."""
        self.stopConnecting()

    def getDestination(self) -> IPv4Address | IPv6Address:
        """Where it goes."""
        return _address(*self._target)

    def arrive(self) -> None:
        """The connection reaches the other host."""
        if self._over:
            return
        port = self._net.listening.get(self._target)
        if port is None:
            self._fail(ConnectionRefusedError())
            return
        self._over = True
        here, there = (
            MemoryWire(self._net, self._source, self._target),
            MemoryWire(self._net, self._target, self._source),
        )
        here.other, there.other = there, here
        answerer: Any = port.factory.buildProtocol(_address(*self._source))
        caller: Any = self._factory.buildProtocol(_address(*self._target))
        for wire, protocol in ((there, answerer), (here, caller)):
            wire.protocol = protocol
            if protocol is None:
                wire.abortConnection()
        for wire in (there, here):
            if wire.protocol is not None:
                wire.protocol.makeConnection(cast(Any, wire))

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self._over = True
            self._factory.clientConnectionFailed(self, Failure(error))
            self._factory.doStop()


class MemoryWire:
    """One end of a connection: the transport that a protocol writes to."""

    def __init__(self, net: MemoryNet, here: tuple[str, int], there: tuple[str, int]) -> None:
        self._net = net
        self._here = here
        self._there = there
        self.other: MemoryWire
        self.protocol: Protocol | None = None
        self.connected = True
        self.disconnecting = False
        self._unsent = bytearray()
        self._arrived = bytearray()
        self._reading = True
        self._moving = False
        self._producer: Any = None
        self._paused_producer = False

    # what a protocol calls

    def write(self, data: bytes) -> None:
        """See ITransport.write."""
        if not self.connected or self.disconnecting or not data:
            return
        self._unsent += data
        if self._producer is not None and not self._paused_producer and len(self._unsent) > _HIGH_WATER:
            self._paused_producer = True
            self._producer.pauseProducing()
        self._move()

    def writeSequence(self, data: Any) -> None:
        """See ITransport.writeSequence."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ITransport.loseConnection: after what is unsent."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._move()

    def abortConnection(self) -> None:
        """See ITCPTransport.abortConnection."""
        if self.connected:
            self._net.clock.callLater(0, self.end, ConnectionAborted())
            self._net.clock.callLater(self._net.latency, self.other.end, ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None

    def pauseProducing(self) -> None:
        """See IPushProducer: stop reading."""
        self._reading = False

    def resumeProducing(self) -> None:
        """See IPushProducer: read again."""
        self._reading = True
        self._net.clock.callLater(0, self._deliver)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self.loseConnection()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end."""
        return _address(*self._there)

    def getHost(self) -> IPv4Address | IPv6Address:
        """This end."""
        return _address(*self._here)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport: there is no delay to speak of."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ITCPTransport."""

    # how bytes travel

    def _move(self) -> None:
        if not self._moving:
            self._moving = True
            self._net.clock.callLater(self._net.latency, self._arrive)

    def _arrive(self) -> None:
        """Hand over as much as the other end has room for."""
        self._moving = False
        if not self.connected:
            return
        room = max(0, _HIGH_WATER - len(self.other._arrived)) if not self.other._reading else len(self._unsent)
        self.other._arrived += self._unsent[:room]
        del self._unsent[:room]
        self.other._deliver()
        if not self._unsent and self._producer is not None and self._paused_producer:
            self._paused_producer = False
            self._producer.resumeProducing()
        if self.disconnecting and not self._unsent:
            self.end(ConnectionDone())
            self._net.clock.callLater(0, self.other.end, ConnectionDone())

    def _deliver(self) -> None:
        if self._reading and self.connected and self._arrived and self.protocol is not None:
            data = bytes(self._arrived)
            self._arrived.clear()
            self.protocol.dataReceived(data)
            if self.other._unsent:
                self.other._move()

    def end(self, why: Exception) -> None:
        """The connection is over at this end."""
        if self.connected:
            self._deliver()
        if self.connected:
            self.connected = False
            if self._producer is not None:
                self._producer.stopProducing()
            if self.protocol is not None:
                self.protocol.connectionLost(Failure(why))
