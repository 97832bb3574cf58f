"""One interface and one family of addresses: the socket, who may be heard on it, and what goes out (RFC 6762, 11)."""

from __future__ import annotations

import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from twisted.internet.protocol import DatagramProtocol

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.responder import PORT
from p2pframe.discovery.mdns.wire import MdnsError, Message
from p2pframe.interfaces import IContext
from p2pframe.model import NetworkInterface

GROUPS = {4: "224.0.0.251", 6: "ff02::fb"}
HOPS = 255
_SOURCES = 1000
"""Sources whose messages are counted apart within one second."""


class Link(DatagramProtocol):
    """Multicast DNS on one interface, over IPv4 or IPv6.

    `heard` is called with each message and where it comes from; `left_out` with the reason for what was not looked at:
    `off link`, `malformed`, `too many`, `port`. `rates` gives how many messages a second are heard of one source and of
    all together, where a large one counts for as many as it is packets large.

    That a message was sent with a hop limit of 255 can't be seen through Twisted: that its source is an address of the
    link is what keeps others out. A router passes no group of this kind, and on such a source the replies go nowhere.
    """

    noisy = False

    def __init__(
        self,
        context: IContext,
        interface: NetworkInterface,
        version: int,
        heard: Callable[[Link, Message, tuple[str, int]], None],
        left_out: Callable[[str], None],
        rates: Callable[[], tuple[int, int]],
    ) -> None:
        self.interface = interface
        self.version = version
        self._context = context
        self._heard = heard
        self._left_out = left_out
        self._rates = rates
        self._port: IListeningPort | None = None
        self._networks = [one.network for one in interface.addresses if one.version == version]
        self._own = {str(one.ip) for one in interface.addresses}
        self._sent: deque[bytes] = deque(maxlen=32)
        """What we have sent lately: it comes back to us, as others on this host must hear it too."""
        self._second = -1
        self._counts: Counter[str] = Counter()
        self._count = 0

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.interface.name} (IPv{self.version})"

    async def open(self) -> None:
        """Listen. Raises OSError, CannotListenError or MulticastJoinError where the interface can't."""
        own = next(str(one.ip) for one in self.interface.addresses if one.version == self.version)
        self._port = cast(
            IListeningPort,
            self._context.reactor.listenMulticast(
                PORT, self, "::" if self.version == 6 else "0.0.0.0", wire.LARGEST + 1, listenMultiple=True
            ),
        )
        transport: Any = self.transport
        try:
            if self.version == 6 and ISystemHandle.providedBy(transport):
                # Twisted gives the kernel an address where that wants the interface's number, and has no hop limit.
                handle = cast(socket.socket, transport.getHandle())
                group = socket.inet_pton(socket.AF_INET6, GROUPS[6]) + struct.pack("@I", self.interface.index)
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            else:
                await transport.joinGroup(GROUPS[self.version], own)
                transport.setTTL(HOPS)
            await transport.setOutgoingInterface(self.interface.index if self.version == 6 else own)
            transport.setLoopbackMode(True)
        except BaseException:
            self.close()
            raise

    def close(self) -> Deferred[None]:
        """Listen no more."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        closing: Deferred[None] | None = port.stopListening()
        return closing if closing is not None else succeed(None)

    def send(self, message: Message, to: tuple[str, int] | None = None) -> None:
        """To everybody on the link, or to one; what does not fit one packet is sent in several."""
        for part in _parts(message):
            data = wire.encode(part)
            if self._port is None or self.transport is None:
                return
            if to is None:
                self._sent.append(data)
            try:
                self.transport.write(data, to or (GROUPS[self.version], PORT))
            except (OSError, ValueError, MessageLengthError) as error:
                # The interface is down, has no route or too little room: it may be back, and others are not affected.
                self._left_out("unsent")
                self._context.log.debug("nothing sent on {link}: {error}", link=self.label, error=str(error))

    def on_link(self, host: str) -> bool:
        """Whether an address is of a network of this interface."""
        bare, _, scope = host.partition("%")
        if scope and scope not in (self.interface.name, str(self.interface.index)):
            return False
        try:
            address = ip_address(bare)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """See twisted.internet.protocol.DatagramProtocol."""
        host, port = addr[0], addr[1]
        if not self.on_link(host):
            # Most of it is what another interface of ours has heard: the sockets share their port.
            self._left_out("off link")
            return
        if host.partition("%")[0] in self._own and datagram in self._sent:
            return
        if not self._counted(host, 1 + len(datagram) // wire.ROOM):
            self._left_out("too many")
            return
        try:
            message = wire.parse(datagram)
        except MdnsError as error:
            self._left_out("malformed")
            self._context.log.debug("{host} sent no message: {error}", host=host, error=str(error))
            return
        if message is None:
            return
        if message.response and port != PORT:
            # Anybody may send from another port (section 6).
            self._left_out("port")
            return
        self._heard(self, message, (host, port))

    def _counted(self, host: str, cost: int) -> bool:
        second = int(self._context.reactor.seconds())
        if second != self._second:
            self._second = second
            self._counts.clear()
            self._count = 0
        if host not in self._counts and len(self._counts) >= _SOURCES:
            return False
        of_one, of_all = self._rates()
        if self._counts[host] >= of_one or self._count >= of_all:
            return False
        self._counts[host] += cost
        self._count += cost
        return True


def _parts(message: Message) -> list[Message]:
    """A message in as many as fit a packet each. What is only additional is left away first."""
    total = sum(map(wire.size, (*message.answers, *message.authorities)))
    if total + sum(map(wire.size, message.additional)) + 300 <= wire.ROOM:
        return [message]
    bare = message._replace(additional=())
    if not message.response or total + 300 <= wire.ROOM:
        return [bare]
    return [bare._replace(answers=lot) for lot in wire.packed(message.answers, wire.ROOM - 300)]
