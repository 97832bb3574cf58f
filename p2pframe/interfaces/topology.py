"""ITopology: which peers to hold?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import Interface

from p2pframe.model import Candidate, Drop, PeerAddress, SessionSnapshot, Slot, TopologyView, Want


class ITopology(Interface):
    """Which peers to hold: policy over snapshots, without I/O.

    It alone decides diversity; core counts slots and dials.
    """

    def slots() -> Mapping[Slot, int]:
        """How many sessions of each class there may be, the manual one too; a class that is left out has none.

        Read whenever core needs it, so that it may be a live value.
        """

    def wants(view: TopologyView) -> Sequence[Want]:
        """Called every `limits.dial_interval` with the dialled sessions only: what to open now, most wanted first.

        Core takes the first that an address can be found for.
        """

    def acceptable(want: Want, candidate: Candidate, view: TopologyView) -> bool:
        """Called for addresses drawn from the book until one is acceptable (at most `limits.draws` of them)."""

    def evict(view: TopologyView, newcomer: SessionSnapshot) -> Drop | None:
        """Called with all sessions when a newcomer has passed every check and its class is full.

        Whom to end, or None to refuse the newcomer.
        """

    def rotate(view: TopologyView) -> Sequence[Drop]:
        """Called about every ten seconds with the dialled sessions only: whom to end so that another may be tried."""

    def anchors(view: TopologyView) -> Sequence[PeerAddress]:
        """Called at a clean stop: the peers to dial first at the next start. Core keeps them."""

    def restore(anchors: Sequence[PeerAddress]) -> None:
        """Called once at start with what `anchors` said at the last clean stop (empty after a crash)."""
