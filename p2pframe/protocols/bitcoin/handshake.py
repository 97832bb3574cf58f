"""The handshake of a Bitcoin session: version, what is agreed on before verack, verack.

Its two states are tables of the frame loop. Who dialled speaks first. Whatever else arrives in these states passes
unread, and so does a second version or verack: the state that waited for it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pframe.model import HandshakeInfo, Slot
from p2pframe.protocols.bitcoin.frame import command_table
from p2pframe.protocols.bitcoin.messages import (
    KINDS,
    LONGEST,
    NODE_NETWORK,
    NODE_NETWORK_LIMITED,
    NODE_WITNESS,
    decode_version,
    encode_version,
    service_names,
)

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

VERSION = 70016
"""Our protocol version; 70017 would promise BIP434's feature message."""
OLDEST = 31800
WTXID_VERSION = 70016


def send_version(peer: Conversation) -> None:
    """Say who we are."""
    peer.say("version", encode_version(peer.protocol.version_message(peer)))


def on_version(peer: Conversation, payload: bytes) -> None:
    """The peer says who it is."""
    message = decode_version(payload)
    session, protocol = peer.session, peer.protocol
    ours = protocol.nonces.get(message.nonce)
    if ours is not None:
        # Both ends by that name: core keeps the address that was dialled out of the book.
        session.close("self-connection")
        ours.session.close("self-connection")
        return
    peer.peer_version = min(message.version, VERSION)
    peer.relay = message.relay
    peer.limited = not message.services & NODE_NETWORK
    peer.serves_blocks = bool(message.services & (NODE_NETWORK | NODE_NETWORK_LIMITED))
    info = HandshakeInfo(
        session.address,
        session.inbound,
        message.version,
        service_names(message.services),
        protocol.interned(message.agent),
        session.info.peer_id,
        session.info.certificate,
        {"height": message.start_height, "relay": message.relay},
    )
    if message.version < OLDEST:
        session.close("obsolete-version", f"speaks {message.version}; {OLDEST} is the oldest we know")
        return
    if not session.identified(info):
        return
    if session.slot in (Slot.OUTBOUND, Slot.BLOCK_RELAY):
        # A peer that prunes is of no use before we are near the tip (BIP159).
        enough = peer.serves_blocks and not (peer.limited and protocol.syncing)
        if not (enough and message.services & NODE_WITNESS):
            offered = ", ".join(sorted(info.services)) or "none"
            session.close("services", f"a dialled peer is to serve blocks with witnesses; it offers {offered}")
            return
    if session.inbound:
        send_version(peer)
    if peer.peer_version >= WTXID_VERSION:
        peer.say("wtxidrelay")
        peer.say("sendaddrv2")
    peer.say("verack")
    peer.loop.table = BEFORE_VERACK


def on_wtxidrelay(peer: Conversation, payload: bytes) -> None:
    """The peer wants transactions by their witness ids (BIP339)."""
    peer.wtxid = peer.peer_version >= WTXID_VERSION


def on_sendaddrv2(peer: Conversation, payload: bytes) -> None:
    """The peer understands addrv2 (BIP155)."""
    peer.addrv2 = True


def on_verack(peer: Conversation, payload: bytes) -> None:
    """The handshake is complete."""
    peer.begin()


BEFORE_VERSION = command_table({"version": on_version}, KINDS, LONGEST)
BEFORE_VERACK = command_table(
    {"verack": on_verack, "wtxidrelay": on_wtxidrelay, "sendaddrv2": on_sendaddrv2}, KINDS, LONGEST
)
