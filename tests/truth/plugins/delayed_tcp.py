"""For the truth test: TCP whose every way takes as long as the config says, so that loopback is as wide as the world.

The endpoints are Twisted's own. What a connection brings is held back on the reactor's clock for the latency of its
link, one way, in order: data, the end of the stream, and at the listening end the connection itself, which is there
with the third packet of the handshake (RFC 9293 section 3.5). A dial waits for the first two before it begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.interfaces import ITransport as IWire
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.endpoints import ListenAddress, SourceAddress, set_tcp_options, tcp_client, tcp_listeners
from p2pframe.interfaces import IContext, ITransport, Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Duration, PluginConfig, plugin


class DelayedTcpConfig(PluginConfig):
    """Options of the `delayed-tcp` transport."""

    listen: tuple[ListenAddress, ...]
    bind: SourceAddress
    latencies: Mapping[str, Duration]
    """One way, by the address of the other host."""


class DelayedWire(ProtocolWrapper):
    """One end of a connection: hands on what came, `latency` seconds later."""

    def __init__(self, factory: Delaying, wrapped: IProtocol, latency: float) -> None:
        super().__init__(factory, wrapped)
        self._reactor = factory.reactor
        self._latency = latency
        self._dialled = factory.dialled
        self._coming: deque[Callable[[], None]] = deque()
        self._due = 0
        """How many of those have arrived: they wait only while nobody reads."""
        self._reading = True
        self._ours = False
        """Whether this end closed: then there is nobody to wait for."""

    def makeConnection(self, transport: IWire) -> None:
        if self._dialled:
            super().makeConnection(transport)
        else:
            self.transport = transport
            self._later(lambda: super(DelayedWire, self).makeConnection(transport))

    def dataReceived(self, data: bytes) -> None:
        self._later(lambda: super(DelayedWire, self).dataReceived(data))

    def connectionLost(self, reason: Failure) -> None:
        if self._ours:
            self._coming.clear()
            super().connectionLost(reason)
        else:
            self._later(lambda: super(DelayedWire, self).connectionLost(reason))

    def loseConnection(self) -> None:
        self._ours = True
        super().loseConnection()

    def abortConnection(self) -> None:
        self._ours = True
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self._reactor.callLater(0, self._hand_on)

    def _later(self, event: Callable[[], None]) -> None:
        self._coming.append(event)
        self._reactor.callLater(self._latency, self._arrived)

    def _arrived(self) -> None:
        self._due += 1
        self._hand_on()

    def _hand_on(self) -> None:
        while self._due and self._coming and self._reading:
            self._due -= 1
            self._coming.popleft()()


class Delaying(WrappingFactory):
    """Wraps what core's factory builds."""

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, context: IContext, latency: Callable[[str], float], dialled: bool
    ) -> None:
        super().__init__(wrapped)
        self.reactor = context.reactor
        self.dialled = dialled
        self._latency_to = latency

    def buildProtocol(self, addr: IAddress) -> DelayedWire | None:
        built = self.wrappedFactory.buildProtocol(addr)
        return None if built is None else DelayedWire(self, built, self._latency_to(addr.host))


@implementer(IStreamClientEndpoint)
class DelayedClient:
    """Dials when the SYN has gone there and the answer has come back."""

    def __init__(self, plain: IStreamClientEndpoint, transport: DelayedTcp, latency: float) -> None:
        self._plain = plain
        self._transport = transport
        self._latency = latency

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        transport = self._transport
        wrapping = Delaying(factory, transport.context, transport.latency, True)
        begun = deferLater(transport.context.reactor, 2 * self._latency, self._plain.connect, wrapping)
        return begun.addCallback(lambda wire: wire.wrappedProtocol)


@implementer(IStreamServerEndpoint)
class DelayedServer:
    """Listens, and wraps what is accepted."""

    def __init__(self, plain: IStreamServerEndpoint, transport: DelayedTcp) -> None:
        self._plain = plain
        self._transport = transport

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        return self._plain.listen(Delaying(factory, self._transport.context, self._transport.latency, False))


@plugin("delayed-tcp", config=DelayedTcpConfig)
@implementer(ITransport)
class DelayedTcp:
    """As `tcp`, from `bind`, with the latency of each link added."""

    name = "delayed-tcp"

    def __init__(self, config: DelayedTcpConfig, context: IContext) -> None:
        self.config = config
        self.context = context

    def latency(self, host: str) -> float:
        return self.config.latencies[host]

    def can_dial(self, address: PeerAddress) -> bool:
        return address.host in self.config.latencies

    def dial(self, address: PeerAddress, peer_id: PeerId | None) -> IStreamClientEndpoint:
        plain = tcp_client(self.context.reactor, address, self.config.bind)
        return DelayedClient(plain, self, self.latency(address.host))

    def listeners(self) -> Sequence[Listener]:
        found = tcp_listeners(self.context.reactor, self.config.listen, 50)
        return [Listener(DelayedServer(one.endpoint, self), one.text) for one in found]

    def prove(self, wire: IWire) -> TransportInfo:
        set_tcp_options(wire, True, False)
        return TransportInfo()
