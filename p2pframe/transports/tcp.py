"""Plain TCP: streams to IPv4 and IPv6 addresses and to names, proving nothing about who is there."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.interfaces import ITransport as IWire
from zope.interface import implementer

from p2pframe.endpoints import (
    ListenAddress,
    SourceAddress,
    set_tcp_options,
    tcp_client,
    tcp_listeners,
    tcp_reaches,
)
from p2pframe.interfaces import IContext, ITransport, Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Field, PluginConfig, plugin


class TcpConfig(PluginConfig):
    """Options of the `tcp` transport."""

    listen: tuple[ListenAddress, ...] = Field((), description="Addresses to listen on; none: this network only dials.")
    bind: SourceAddress | None = Field(
        None, description="Dial from this address of the machine; unset: the system chooses."
    )
    backlog: int = Field(
        50, ge=1, le=65535, description="Connections that the system may hold before they are accepted."
    )
    nodelay: bool = Field(True, description="Send small messages at once (TCP_NODELAY).")
    keepalive: bool = Field(
        False, description="Let the system probe idle connections (SO_KEEPALIVE); sessions do so themselves."
    )


_NOTHING = TransportInfo()


@plugin("tcp", config=TcpConfig)
@implementer(ITransport)
class TcpTransport:
    """Streams over plain TCP, IPv4 and IPv6; proves nothing about the peer."""

    name = "tcp"

    def __init__(self, config: TcpConfig, context: IContext) -> None:
        self.config = config
        self.context = context

    def can_dial(self, address: PeerAddress) -> bool:
        """IP addresses (of the version of `bind`, where it is set) and names; no onion."""
        return tcp_reaches(address, self.config.bind)

    def dial(self, address: PeerAddress, peer_id: PeerId | None) -> IStreamClientEndpoint:
        """The endpoint for `address`. TCP can't prove `peer_id`: an upgrade or the protocol has to."""
        return tcp_client(self.context.reactor, address, self.config.bind)

    def listeners(self) -> Sequence[Listener]:
        """One for each entry of `listen`."""
        return tcp_listeners(self.context.reactor, self.config.listen, self.config.backlog)

    def prove(self, wire: IWire) -> TransportInfo:
        """Answers at once: nothing is proven."""
        set_tcp_options(wire, self.config.nodelay, self.config.keepalive)
        return _NOTHING
