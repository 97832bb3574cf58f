"""IDatagramTransport: how do datagrams travel?"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import PeerAddress


class IDatagramReceiver(Interface):
    """What a datagram protocol gives core to deliver to."""

    def datagram_received(data: bytes, source: PeerAddress) -> None:
        """Called for each datagram that the gate let through. The source may be forged: treat it as unproven.

        An exception is logged with the plugin's name and counted; the datagram is lost.
        """

    def awaited(data: bytes, source: PeerAddress) -> bool:
        """Called for a datagram that is over a rate: True lets it through, as an answer that could not be guessed.

        Must be cheap and must not raise. Whoever forges a flood from a peer's address can then not keep us from hearing
        that peer.
        """


class ICountsMessages(Interface):
    """A datagram receiver may also provide this: core can't tell what it has not decoded, and shows what this says."""

    messages: Mapping[str, tuple[int, int]] = Attribute(
        "What came in, as (messages, bytes) by type, each type with a name of the protocol's own: those that strangers "
        "make up are counted together. Of more than 100 types the rest is shown as `other`."
    )


class IHoldsPeers(Interface):
    """A protocol of datagrams may also provide this: what discovery goes by where there are no sessions to count."""

    held: int = Attribute("Peers that are known to answer.")
    wanted: int = Attribute("How many there should be at least.")


class IDatagramPort(Interface):
    """An open datagram socket, as a protocol sees it."""

    address: PeerAddress = Attribute("Where it is bound.")

    def send(data: bytes, target: PeerAddress) -> None:
        """Send one datagram; what the system refuses is counted and lost, as the network would lose it."""


class IDatagramTransport(Interface):
    """How datagrams travel. One instance serves one network."""

    name: str = Attribute("The plugin's name.")

    def open(receiver: IDatagramReceiver) -> Deferred[IDatagramPort]:
        """Called once at start: bind, and deliver what arrives to `receiver`.

        Fails with `StartError` on a busy port.
        """

    def close() -> Deferred[None]:
        """Called once at stop: close the socket; nothing is delivered afterwards."""
