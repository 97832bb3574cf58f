"""Datagrams over UDP, IPv4 or IPv6.

    networks:
      mainline:
        transports: [{plugin: udp, listen: "0.0.0.0:6881"}]

There are no sessions here: the source of a datagram may be forged, so nothing it causes may hurt anybody but its own
sender. Datagrams over `largest` are dropped, both ways, and counted; the socket's own queue is the system's. What the
system refuses to send (no route, a full buffer, a port nobody listens on) is counted and lost, as on the network. On a
real socket `sendto` is called directly, which saves a third on many small packets; where there is none (the simulator,
a test) `transport.write` does.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Annotated, Any, cast

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from p2pframe.errors import StartError
from p2pframe.interfaces import IContext, IDatagramPort, IDatagramReceiver, IDatagramTransport
from p2pframe.model import PeerAddress
from p2pframe.plugin import Address, Field, PluginConfig, Size, plugin


def _ip_only(address: PeerAddress) -> PeerAddress:
    if address.kind != "ip":
        raise PydanticCustomError(
            "listen_name", "bind to an IP address of this machine, not to a name: 0.0.0.0:port for all"
        )
    return address


class UdpConfig(PluginConfig):
    """Options of the `udp` transport."""

    listen: Annotated[Address, AfterValidator(_ip_only)] = Field(
        PeerAddress("0.0.0.0", 0), description="Where to bind; port 0 lets the system choose."
    )
    largest: Size = Field(
        1_500, ge=1, le=65_507, description="Datagrams with more bytes than this are dropped and counted."
    )


@plugin("udp", config=UdpConfig)
@implementer(IDatagramTransport)
class UdpTransport:
    """Datagrams over UDP, IPv4 or IPv6."""

    name = "udp"

    def __init__(self, config: UdpConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._listening: IListeningPort | None = None
        self._receiving: _Receiving | None = None

    def open(self, receiver: IDatagramReceiver) -> Deferred[IDatagramPort]:
        """Bind. Fails with `StartError` that names the address where it can't."""
        listen = self.config.listen
        dropped = self.context.metrics.counter("udp_dropped_total", "Datagrams lost here, by why.", ["reason"])
        receiving = _Receiving(receiver, self.config.largest, dropped, self.context)
        try:
            # One byte more than is allowed, so that what is too large can be told from what just fits.
            self._listening = self.context.reactor.listenUDP(
                listen.port, receiving, interface=listen.host, maxPacketSize=self.config.largest + 1
            )
        except CannotListenError as error:
            return fail(StartError(f"transport udp: can't bind to {listen}: {error.socketError}: choose another port"))
        self._receiving = receiving
        host = self._listening.getHost()
        return succeed(UdpPort(receiving, PeerAddress.of(cast(Any, host).host, cast(Any, host).port)))

    def close(self) -> Deferred[None]:
        """Close the socket; what still comes is not delivered."""
        listening, self._listening = self._listening, None
        receiving, self._receiving = self._receiving, None
        if listening is None or receiving is None:
            return succeed(None)
        receiving.closed = True
        return maybeDeferred(listening.stopListening).addCallback(lambda _: None)


class _Receiving(DatagramProtocol):
    """Twisted's side of the socket."""

    def __init__(self, receiver: IDatagramReceiver, largest: int, dropped: Any, context: IContext) -> None:
        self.receiver = receiver
        self.largest = largest
        self.dropped = dropped
        self.context = context
        self.closed = False
        self.socket: socket.socket | None = None

    def startProtocol(self) -> None:
        """Called once it is bound."""
        get_handle = getattr(self.transport, "getHandle", None)
        handle = get_handle() if get_handle is not None else None
        if isinstance(handle, socket.socket):
            self.socket = handle

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Called for each datagram."""
        if self.closed:
            return
        if len(datagram) > self.largest:
            self.dropped.add(1, "too large")
            return
        # Port 0 can't be answered, and stands in for nobody: such a source is forged.
        if addr[1] == 0:
            self.dropped.add(1, "no port")
            return
        try:
            self.receiver.datagram_received(datagram, _source(addr))
        except Exception:  # noqa: BLE001 - Twisted would close the socket: one bad datagram must not end the service
            self.dropped.add(1, "receiver failed")
            self.context.log.failure("{plugin}: the receiver failed on a datagram", plugin=self.context.name)


@lru_cache(maxsize=16_384)
def _source(addr: tuple[str, int]) -> PeerAddress:
    """A source as a `PeerAddress`: the same ones come again and again."""
    return PeerAddress(_host(addr[0]), addr[1])


@lru_cache(maxsize=16_384)
def _host(host: str) -> str:
    """A source's host as `PeerAddress` has it: a flood from ever new ports costs no parsing."""
    return PeerAddress.of(host, 1).host


@implementer(IDatagramPort)
class UdpPort:
    """The open socket, as a protocol sees it."""

    def __init__(self, receiving: _Receiving, address: PeerAddress) -> None:
        self.address = address
        self._receiving = receiving
        self._six = ":" in address.host

    def send(self, data: bytes, target: PeerAddress) -> None:
        """Send one datagram, or count why not."""
        receiving = self._receiving
        if receiving.closed:
            receiving.dropped.add(1, "closed")
        elif len(data) > receiving.largest:
            receiving.dropped.add(1, "too large")
        elif target.kind != "ip" or (":" in target.host and not self._six):
            receiving.dropped.add(1, "unreachable")
        else:
            # A socket bound to [::] reaches IPv4 too, by mapped addresses (RFC 4291, section 2.5.5.2); `PeerAddress`
            # knows them by their plain form, so that a peer has one address.
            host = f"::ffff:{target.host}" if self._six and ":" not in target.host else target.host
            try:
                if receiving.socket is not None:
                    receiving.socket.sendto(data, (host, target.port))
                else:
                    cast(Any, receiving.transport).write(data, (host, target.port))
            except OSError:
                receiving.dropped.add(1, "refused")
