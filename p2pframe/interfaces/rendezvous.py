"""IRendezvous: a network that others can meet in.

A DHT is the usual one: who takes part in a topic says so there, and is found there by whoever knows the topic's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2pframe.model import PeerAddress


class IRendezvous(Interface):
    """A protocol may also provide this: peers of other networks meet in it.

    `context.service(IRendezvous, network=...)`. A topic is a name that applications choose; how it becomes a key is the
    protocol's own affair (BEP 5: 40 hex digits are an infohash, any other text is hashed to one).
    """

    def announce(topic: str, port: int) -> Deferred[int]:
        """Say that we take part in `topic` and are reached on `port` (of the address that this network is seen by).

        Fires with how many others have taken note, at a start once there is anybody to ask. Whoever asks announces
        again in time (`lifetime` tells how soon). Fails with `P2PFrameError` where nobody could be asked.
        """

    def find(topic: str, limit: int) -> Deferred[Sequence[PeerAddress]]:
        """Who takes part in `topic`: at most `limit`, in random order, hearsay. Fails with `P2PFrameError`
        where nobody could be asked."""

    def withdraw(topic: str) -> None:
        """Announce no more; what others have noted runs out by itself where the protocol can't take it back."""

    def lifetime() -> float:
        """Seconds that an announcement lasts at the others."""
