"""IUpgrade: what secures or wraps a stream?"""

from __future__ import annotations

from typing import NamedTuple

from zope.interface import Attribute, Interface

from p2pframe.model import PeerAddress, PeerId, TransportInfo


class Upgraded(NamedTuple):
    """What one step of an upgrade yields: bytes for the wire, and bytes for the layer above."""

    to_wire: bytes
    received: bytes


class IUpgradeState(Interface):
    """One upgrade at work on one session: sans-I/O, so that it runs in the simulator and under hypothesis as it is."""

    ready: bool = Attribute("True once the handshake is done: only then does `send` take bytes.")

    def start() -> bytes:
        """Called once, first: the bytes that open the handshake (empty where the other end begins)."""

    def receive(data: bytes) -> Upgraded:
        """Called with what came from the wire, in any segmentation.

        Raises `HandshakeFailed` before it is ready, `UnreadableStream` afterwards; core closes on both. Must buffer no
        more than its own longest packet.
        """

    def send(data: bytes) -> bytes:
        """Called with what the layer above sends, once `ready`: the bytes for the wire."""

    def info() -> TransportInfo:
        """Called once it is ready: what it proved about the other end."""


class IUpgrade(Interface):
    """What secures or wraps a stream, between transport and conversation. Upgrades are a chain, in config order."""

    name: str = Attribute("The plugin's name.")

    def begin(address: PeerAddress, inbound: bool, peer_id: PeerId | None) -> IUpgradeState:
        """Called for each session once its transport has proved the peer. Never blocks."""
