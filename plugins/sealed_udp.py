"""A datagram transport in one file: UDP whose datagrams carry a seal. A worked example of `IDatagramTransport`.

    networks:
      presence:
        transports: [{plugin: sealed-udp, listen: "0.0.0.0:7778", key: "a key that all of us know"}]

Everybody in the network has the same key, and what has no seal by it is nobody's: 16 bytes in front of each datagram
are its keyed BLAKE2b. `open` binds a socket on the context's reactor and hands back a port; from then on core's
receiver gets what arrives. Nothing is hidden, and whoever has seen a datagram can send it again: this keeps strangers
out, no more.

What a transport owes to the rest:

- bounds: datagrams over `largest` are dropped, both ways, and counted. The socket's own queue is the system's;
- what the system refuses to send (no route, a full buffer) is counted and lost, as on the network;
- a source that can't be answered (port 0) is nobody's.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from p2pframe.errors import StartError
from p2pframe.interfaces import IContext, IDatagramPort, IDatagramReceiver, IDatagramTransport
from p2pframe.model import PeerAddress
from p2pframe.plugin import Address, Field, PluginConfig, Size, plugin

SEAL = 16


class SealedUdpConfig(PluginConfig):
    """Options of the `sealed-udp` transport."""

    listen: Address = Field(PeerAddress("0.0.0.0", 0), description="Where to bind; port 0 lets the system choose.")
    key: str = Field(min_length=16, description="What all of the network know: at least 16 characters.")
    largest: Size = Field(1_400, ge=1, le=60_000, description="Datagrams with more bytes are dropped and counted.")


@plugin("sealed-udp", config=SealedUdpConfig)
@implementer(IDatagramTransport)
class SealedUdpTransport:
    """Datagrams over UDP, from those only who have the key."""

    name = "sealed-udp"

    def __init__(self, config: SealedUdpConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._key = blake2b(config.key.encode(), digest_size=32).digest()
        self._dropped = context.metrics.counter("sealed_udp_dropped_total", "Datagrams lost here, by why.", ["reason"])
        self._listening: IListeningPort | None = None
        self._socket: _Socket | None = None

    def open(self, receiver: IDatagramReceiver) -> Deferred[IDatagramPort]:
        """Bind. Fails with `StartError` that names the address where it can't."""
        listen = self.config.listen
        opened = _Socket(self, receiver)
        try:
            self._listening = self.context.reactor.listenUDP(
                listen.port, opened, interface=listen.host, maxPacketSize=self.config.largest + SEAL + 1
            )
        except CannotListenError as error:
            why = f"transport sealed-udp: can't bind to {listen}: {error.socketError}: choose another port"
            return fail(StartError(why))
        self._socket = opened
        host = cast(Any, self._listening.getHost())
        return succeed(_Port(self, opened, PeerAddress.of(host.host, host.port)))

    def close(self) -> Deferred[None]:
        """Close the socket; what still comes is not delivered."""
        listening, self._listening = self._listening, None
        if listening is None or self._socket is None:
            return succeed(None)
        self._socket.receiver = None
        return maybeDeferred(listening.stopListening).addCallback(lambda _: None)

    def seal(self, data: bytes) -> bytes:
        """What goes in front of a datagram."""
        return blake2b(data, key=self._key, digest_size=SEAL).digest()

    def drop(self, reason: str) -> None:
        """Count a datagram that is lost."""
        self._dropped.add(1, reason)


class _Socket(DatagramProtocol):
    """Twisted's side. `receiver` is None once it is closed."""

    def __init__(self, transport: SealedUdpTransport, receiver: IDatagramReceiver) -> None:
        self.owner = transport
        self.receiver: IDatagramReceiver | None = receiver

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Called for each datagram."""
        owner, data = self.owner, datagram[SEAL:]
        if self.receiver is None:
            return
        if len(data) > owner.config.largest:
            owner.drop("too large")
        elif addr[1] == 0:
            owner.drop("no port")
        elif not hmac.compare_digest(datagram[:SEAL], owner.seal(data)):
            owner.drop("no seal")
        else:
            try:
                self.receiver.datagram_received(data, PeerAddress.of(addr[0], addr[1]))
            except Exception:  # noqa: BLE001 - Twisted would close the socket, for one bad datagram
                owner.drop("receiver failed")
                owner.context.log.failure("{plugin}: the receiver failed on a datagram", plugin=owner.context.name)


@implementer(IDatagramPort)
class _Port:
    """The open socket, as a protocol sees it."""

    def __init__(self, owner: SealedUdpTransport, opened: _Socket, address: PeerAddress) -> None:
        self.address = address
        self._owner = owner
        self._opened = opened

    def send(self, data: bytes, target: PeerAddress) -> None:
        """Send one datagram, or count why not."""
        owner = self._owner
        if self._opened.receiver is None:
            owner.drop("closed")
        elif len(data) > owner.config.largest:
            owner.drop("too large")
        elif target.kind != "ip" or (":" in target.host) != (":" in self.address.host):
            owner.drop("unreachable")
        else:
            try:
                cast(Any, self._opened.transport).write(owner.seal(data) + data, (target.host, target.port))
            except OSError:
                owner.drop("refused")
