"""A topology for a private network: hold the peers that answer fastest.

Every few minutes the slowest dialled peer is ended and another one tried, so the node drifts towards its neighbourhood.
An attacker who sits near wins here by design: use it where everyone is let in by name, and `random` in the open.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from zope.interface import implementer

from p2pframe.interfaces import IContext, IReconfigurable, ITopology
from p2pframe.model import Candidate, Drop, PeerAddress, SessionSnapshot, Slot, TopologyView, Want
from p2pframe.plugin import Duration, PluginConfig, live, plugin


class NearConfig(PluginConfig):
    """How many peers to hold, and what counts as near."""

    outbound: int = live(6, ge=0, le=1000, description="Peers to dial.")
    inbound: int = live(32, ge=0, le=20_000, description="Peers that may dial us.")
    manual: int = live(8, ge=0, le=1000, description="Peers that the operator named; more than these are spare.")
    per_netgroup: int = live(3, ge=1, description="Dialled peers of one netgroup at most.")
    near: Duration = live(0.05, gt=0, description="A peer that answers within this is near enough to be kept.")
    interval: Duration = live(300.0, ge=10, description="At most one slow peer is replaced in this time.")


@plugin("near", config=NearConfig)
@implementer(ITopology, IReconfigurable)
class NearTopology:
    """Holds the peers that answer fastest: for private networks."""

    def __init__(self, config: NearConfig, context: IContext) -> None:
        self.config = config
        self._last = 0.0

    def reconfigure(self, config: object) -> None:
        """All fields are live."""
        assert isinstance(config, NearConfig)
        self.config = config

    def slots(self) -> Mapping[Slot, int]:
        """As configured; no slots for feelers or block-relay-only peers."""
        return {Slot.OUTBOUND: self.config.outbound, Slot.INBOUND: self.config.inbound, Slot.MANUAL: self.config.manual}

    def wants(self, view: TopologyView) -> Sequence[Want]:
        """Peers for the free slots, from netgroups that are not used up."""
        held = {s.address: s.netgroup for s in view.sessions if s.slot is Slot.OUTBOUND}
        dialling = {address for address, slot in view.dialling if slot is Slot.OUTBOUND} - held.keys()
        if len(held) + len(dialling) >= self.config.outbound:
            return []
        groups = Counter(held.values())
        used_up = frozenset(group for group, count in groups.items() if count >= self.config.per_netgroup)
        return [Want(Slot.OUTBOUND, used_up)]

    def acceptable(self, want: Want, candidate: Candidate, view: TopologyView) -> bool:
        """Anyone of a netgroup that is not used up, and with whom there is no session."""
        known = {s.address for s in view.sessions} | {address for address, _ in view.dialling}
        return candidate.address not in known and candidate.netgroup not in want.exclude_netgroups

    def evict(self, view: TopologyView, newcomer: SessionSnapshot) -> Drop | None:
        """The slowest inbound peer goes, unless all are near."""
        return self._slowest(view, newcomer.slot, "evicted", newcomer) if newcomer.slot is Slot.INBOUND else None

    def rotate(self, view: TopologyView) -> Sequence[Drop]:
        """The slowest dialled peer goes, once all slots are taken, so that another can be tried."""
        held = [s for s in view.sessions if s.slot is Slot.OUTBOUND and s.state == "open"]
        if len(held) < self.config.outbound or view.now - self._last < self.config.interval:
            return []
        drop = self._slowest(view, Slot.OUTBOUND, "slow", None)
        if drop is None:
            return []
        self._last = view.now
        return [drop]

    def anchors(self, view: TopologyView) -> Sequence[PeerAddress]:
        """None: near peers are found again soon."""
        return ()

    def restore(self, anchors: Sequence[PeerAddress]) -> None:
        """Nothing was kept."""

    def _slowest(self, view: TopologyView, slot: Slot, reason: str, newcomer: SessionSnapshot | None) -> Drop | None:
        """The slowest peer of a class that may go.

        One that has not answered a ping within a minute is as slow as can be.
        """
        judged = [
            (math.inf if s.best_ping is None else s.best_ping, s.id)
            for s in view.sessions
            if s.slot is slot and s.state == "open" and s is not newcomer and not s.protected and not s.sole_source
            and (s.best_ping is not None or view.now - s.opened > 60)
        ]  # fmt: skip
        ping, id = max(judged, default=(0.0, None))
        if id is None or ping <= self.config.near:
            return None
        return Drop(id, reason, f"best ping {ping * 1000:.0f} ms, near is {self.config.near * 1000:.0f} ms")
