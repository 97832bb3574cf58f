"""One address of the book: what is known of it, and what follows from that."""

from __future__ import annotations

from p2pframe.core.address_rows import Row
from p2pframe.core.address_sources import source_name
from p2pframe.interfaces.node import AddressView
from p2pframe.model import Candidate, PeerAddress, PeerId, netgroup

HORIZON = 30 * 86_400.0
"""An address nobody has heard of for this long is stale."""
RETRIES = 3
"""Failures after which an address that never answered is stale."""
FAILURES = 10
FAILING = 7 * 86_400.0
"""Failures, and seconds since the last success, after which one that did answer is stale."""
RECENT = 600.0
"""A dial under this ago makes an address a hundred times less likely to be drawn."""


class Entry:
    """One address. `places` are those in its table: one if tried, up to 8 if new; `index` is where `_all` has it."""

    __slots__ = (
        "address", "counted", "failures", "first_seen", "index", "last_attempt", "last_seen", "last_success", "peer_id",
        "places", "services", "source", "tried",
    )  # fmt: skip

    def __init__(self, address: PeerAddress, source: str) -> None:
        self.address = address
        self.source = source
        self.services = 0
        self.first_seen = 0.0
        self.last_seen = 0.0
        self.last_attempt = 0.0
        self.last_success = 0.0
        self.counted = 0.0
        self.failures = 0
        self.tried = False
        self.peer_id: PeerId | None = None
        self.places: tuple[int, ...] = ()
        self.index = 0

    def stale(self, now: float) -> bool:
        """Whether it may make room for any other: too old, or failed too often."""
        if now - self.last_attempt <= 60:
            return False  # under way
        if self.last_seen > now + 600 or now - self.last_seen > HORIZON:
            return True
        if not self.last_success:
            return self.failures >= RETRIES
        return now - self.last_success > FAILING and self.failures >= FAILURES

    def chance(self, now: float) -> float:
        """How likely it is to be taken once drawn: less so after failures."""
        recent = 0.01 if now - self.last_attempt < RECENT else 1.0
        return float(recent * 0.66 ** min(self.failures, 8))

    def view(self) -> AddressView:
        """For who looks on."""
        return AddressView(
            self.address, source_name(self.source), self.first_seen, self.last_seen, self.last_attempt,
            self.last_success, self.failures, self.tried, self.services,
        )  # fmt: skip

    def candidate(self) -> Candidate:
        """For who may dial it."""
        return Candidate(
            self.address, netgroup(self.address), self.tried, self.last_attempt, self.last_success, self.failures,
            self.services, self.peer_id,
        )  # fmt: skip

    def row(self) -> Row:
        """For the disk."""
        return Row(
            self.address, self.services, self.last_seen, self.last_attempt, self.last_success, self.failures,
            self.tried, self.source, self.peer_id, self.places, self.first_seen,
        )  # fmt: skip
