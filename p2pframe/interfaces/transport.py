"""ITransport: how do byte streams travel?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.interfaces import ITransport as IWire
from zope.interface import Attribute, Interface

from p2pframe.model import PeerAddress, PeerId, TransportInfo


class Listener(NamedTuple):
    """One place to listen on: the endpoint, and the address as the config wrote it (for logs and errors)."""

    endpoint: IStreamServerEndpoint
    text: str


class ITransport(Interface):
    """How byte streams travel: endpoints to dial and to listen on, for its kinds of address.

    Built once for each network that names it. It opens no connection itself: core connects the endpoints.
    """

    name: str = Attribute("The plugin's name, as logs and snapshots show it.")

    def can_dial(address: PeerAddress) -> bool:
        """Called by the dialer: whether `dial` would know what to do with this kind of address. Never raises."""

    def dial(address: PeerAddress, peer_id: PeerId | None) -> IStreamClientEndpoint:
        """Called for each dial: an endpoint that connects to `address`, on `context.reactor`.

        `peer_id`, where given, is who must answer there; a transport that proves ids fails `prove` for anyone else.
        The endpoint's own time limit is core's (`limits.connect_timeout`), by cancelling its Deferred.
        """

    def listeners() -> Sequence[Listener]:
        """Called once at start: where to listen, from the config. Empty where the network only dials."""

    def prove(wire: IWire) -> TransportInfo | Deferred[TransportInfo]:
        """Called for each connection, either way, when its wire is up: who is at the other end.

        Until the answer is there core sends no byte and passes none on. A Deferred fails with
        `HandshakeFailed` where the other end is not accepted; core then drops the connection with that reason.
        Core's handshake deadline covers this time too.
        """
