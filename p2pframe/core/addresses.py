"""The addresses of a network.

What peers tell is rate-limited and filtered into the book; what is dialled is drawn from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from p2pframe.config.settings import Limits
from p2pframe.core.limits import TokenBucket
from p2pframe.interfaces import IAddressBook
from p2pframe.model import Candidate, FoundAddress, PeerAddress, SessionId, Slot, TopologyView, Want

LONGEST_PAUSE = 5.0
"""Seconds that a slot is not drawn for after nothing was found for it, at most."""

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.session import Session


@implementer(IAddressBook)
class BookService:
    """The address book as a protocol sees it: what is added passes the protocol's own filter."""

    def __init__(self, network: Callable[[], Network]) -> None:
        self._of = network

    @property
    def _network(self) -> Network:
        return self._of()

    @property
    def size(self) -> int:
        """See `IAddressBook.size`."""
        return self._network.book.size

    def sample(self, maximum: int, percent: int = 100) -> Sequence[FoundAddress]:
        """See `IAddressBook.sample`."""
        return self._network.book.sample(maximum, percent)

    def add(self, found: Sequence[FoundAddress], source: PeerAddress | str) -> int:
        """See `IAddressBook.add`."""
        return self._network.book.add([one for one in found if self._network.addresses.dialable(one.address)], source)

    def attempt(self, address: PeerAddress) -> None:
        """See `IAddressBook.attempt`."""
        self._network.book.attempt(address)

    def good(self, address: PeerAddress) -> None:
        """See `IAddressBook.good`."""
        self._network.book.good(address)


class Addresses:
    """The addresses of one network: what peers tell in, what is dialled out."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._budgets: dict[SessionId, TokenBucket] = {}
        self._pauses: dict[Slot, tuple[float, float, int]] = {}
        """By slot that nothing was found for: until when, for how long, and in a book of what size."""
        self._told = network.metrics.counter("told_addresses_total", "Addresses that peers told of.", ("result",))

    def reconfigure(self, limits: Limits) -> None:
        """Take new limits, for the sessions that there are too."""
        for bucket in self._budgets.values():
            bucket.rate, bucket.burst = limits.addresses_per_second, limits.addresses_burst

    def forget(self, session: Session) -> None:
        """A session has ended."""
        self._budgets.pop(session.id, None)

    def dialable(self, address: PeerAddress) -> bool:
        """Whether the protocol would have this address in the book."""
        return bool(address.port) and self._network.call_plugin(
            f"protocol.{self._network.protocol_name}", "dialable", False, self._network.protocol.dialable, address
        )

    def take(self, session: Session, addresses: Iterable[FoundAddress]) -> int:
        """Addresses that a peer told of: rate-limited for each session, filtered by the protocol, into the book."""
        if session.visiting is not None:
            return session.visiting.found(addresses)
        now = session.now
        bucket = self._budgets.get(session.id)
        if bucket is None:
            bucket = TokenBucket(self._network.limits.addresses_per_second, self._network.limits.addresses_burst)
            self._budgets[session.id] = bucket
        taken: list[FoundAddress] = []
        dropped = not_dialable = 0
        for found in addresses:
            if not bucket.take(1, now):
                dropped += 1
            elif self.dialable(found.address):
                taken.append(found)
            else:
                not_dialable += 1
        new = self._network.book.add(taken, session.address)
        self._told.add(new, "new")
        self._told.add(len(taken) - new, "not-new")
        self._told.add(not_dialable, "not-dialable")
        self._told.add(dropped, "over-rate")
        return len(taken)

    def draw(self, want: Want, view: TopologyView, dialling_group: Callable[[str], int]) -> Candidate | None:
        """An address from the book for a free slot: the first of `limits.draws` that everyone accepts.

        Where there is none, a book that has not changed is left alone for a while: in a small one, whose addresses were
        all tried lately, each look costs a millisecond and finds the same.
        """
        network, topology = self._network, self._network.topology
        seconds, size = network.clock.seconds(), network.book.size
        until, pause, then = self._pauses.pop(want.slot, (0.0, 0.0, size))
        if seconds < until and then == size:
            self._pauses[want.slot] = (until, pause, then)
            return None
        now = network.unix_time()
        for _ in range(network.limits.draws):
            candidate = network.book.draw(network.rng, now, only_new=want.only_new, only_tried=want.only_tried)
            if candidate is None or topology is None:
                break
            if (
                now - candidate.last_attempt < network.limits.retry_interval
                or candidate.netgroup in want.exclude_netgroups
                or network.connected_to(candidate.address)
                or dialling_group(candidate.netgroup) >= network.limits.dials_per_netgroup
                or not self.dialable(candidate.address)
                or network.transport_for(candidate.address) is None
                or not network.gate.dial(candidate.address)
            ):
                continue
            if network.call_plugin("topology", "acceptable", False, topology.acceptable, want, candidate, view):
                return candidate
        pause = min(2 * pause if then == size and pause else network.limits.dial_interval, LONGEST_PAUSE)
        self._pauses[want.slot] = (seconds + pause, pause, size)
        return None
