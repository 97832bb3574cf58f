"""IVisitor: what one call on a peer tells, for crawlers and for those who check addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2pframe.model import FoundAddress, PeerAddress


@dataclass(frozen=True, slots=True)
class Visit:
    """What a peer said of itself and of others when it was called on.

    `round_trip` is in seconds (None where nothing measured it), `peers` whom it told of (bounded by the asker), `id`
    its id in hex where the protocol has ids, `details` a few named values more (start height, number of stored keys).
    """

    address: PeerAddress
    agent: str = ""
    version: int | None = None
    services: frozenset[str] = frozenset()
    id: str = ""
    round_trip: float | None = None
    peers: tuple[FoundAddress, ...] = ()
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)


class IVisitor(Interface):
    """A protocol of datagrams may also provide this. For one of connections core does it: see `INodeControl.visit`."""

    def visit(address: PeerAddress, peers: int, wait: float) -> Deferred[Visit]:
        """Call on a peer: who is it, and (where `peers` is not 0) at most how many others does it know?

        Takes at most `wait` seconds. Fails with `P2PFrameError`, which says why, where it does not answer.
        """
