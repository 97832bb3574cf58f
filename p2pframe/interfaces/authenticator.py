"""IAuthenticator: who is let in, once the handshake has said who it is?"""

from __future__ import annotations

from zope.interface import Attribute, Interface

from p2pframe.model import HandshakeInfo, Slot, Verdict


class IAuthenticator(Interface):
    """Who is let in. A chain in config order: each one must allow; the first that does not gives the reason."""

    name: str = Attribute("The plugin's name.")

    def admit(info: HandshakeInfo, slot: Slot) -> Verdict:
        """Called once for each session when its handshake has said who the peer is.

        Must not block and has no side effect. An exception refuses the peer.
        """
