"""Calls on peers: a short session that asks who somebody is and whom he knows, for crawlers and checks of addresses.

A visit takes no slot and no part in anything: the topology does not see it, nothing is relayed over it, and what it is
told goes to whoever asked for it, not into the address book. `limits.visits` are under way at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall

from p2pframe.errors import P2PFrameError, VisitRefused
from p2pframe.interfaces import IVisitor, Visit
from p2pframe.model import FoundAddress, PeerAddress, SessionId, Slot

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.session import Session

QUIET = 2.0
"""Seconds without another address after which nobody waits for more."""
ITSELF = 1
"""Addresses of a message that only says where its sender is."""


class Visiting:
    """One visit under way."""

    def __init__(self, visits: Visits, address: PeerAddress, peers: int, wait: float) -> None:
        self._visits = visits
        self._clock = visits.network.clock
        self.address = address
        self.peers = peers
        self.done: Deferred[Visit] = Deferred(lambda _: self._end("cancelled"))
        self._found: dict[PeerAddress, FoundAddress] = {}
        self._session: Session | None = None
        self._connected = 0.0
        self._timer: IDelayedCall = self._clock.callLater(wait, self._over, f"no answer within {wait:g} s")
        self._quiet: IDelayedCall | None = None

    def begun(self, session: Session) -> None:
        """The connection is there."""
        self._session = session
        self._connected = self._clock.seconds()

    def opened(self, session: Session) -> None:
        """The handshake is complete: it is who we came for."""
        self._session = session
        if not self.peers:
            self._answer()

    def found(self, addresses: Iterable[FoundAddress]) -> int:
        """It tells of others: kept up to what was asked for. A message of one address is mostly about itself."""
        told = list(addresses)
        for one in told:
            if len(self._found) >= self.peers:
                break
            self._found.setdefault(one.address, one)
        if len(self._found) >= self.peers:
            self._answer()
        elif len(told) > ITSELF:
            if self._quiet is not None and self._quiet.active():
                self._quiet.cancel()
            self._quiet = self._clock.callLater(QUIET, self._answer)
        return len(told)

    def failed(self, why: str) -> None:
        """It could not be reached, or the session has ended."""
        session = self._session
        if session is not None and session.was_open and self.peers:
            # It was there, and has told what it has told.
            self._answer()
        else:
            self._over(why)

    def _over(self, why: str) -> None:
        session = self._session
        if session is not None and session.state == "open" and not self.done.called:
            self._answer()
            return
        self._end(why)
        if not self.done.called:
            self.done.errback(P2PFrameError(f"{self.address}: {why}"))

    def _answer(self) -> None:
        session = self._session
        if self.done.called or session is None:
            return
        shaken = max(0.0, session.counters.opened - self._connected)
        visit = _seen(session, shaken, tuple(self._found.values()))
        self._end("visited")
        self.done.callback(visit)

    def _end(self, why: str) -> None:
        self._visits.ended(self)
        for timer in (self._timer, self._quiet):
            if timer is not None and timer.active():
                timer.cancel()
        session = self._session
        if session is not None and not session.closing:
            session.close("visited", why)


class Visits:
    """The visits of one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._under_way: dict[PeerAddress, Visiting] = {}
        self._counter = network.metrics.counter("visits_total", "Calls on peers by how they ended.", ("outcome",))

    def __len__(self) -> int:
        return len(self._under_way)

    def visit(self, address: PeerAddress, peers: int, wait: float) -> Deferred[Visit]:
        """See `INodeControl.visit`."""
        network = self.network
        if not network.parts.transports:
            if IVisitor.providedBy(network.protocol):
                visited: Deferred[Visit] = network.protocol.visit(address, peers, wait)
                return visited
            return fail(P2PFrameError(f"{network.protocol_name} can't call on a peer"))
        held = next((s for s in network.sessions.values() if s.address == address and s.state == "open"), None)
        if held is not None and not held.inbound and held.visiting is None:
            # We have dialled it, and it is there: it is not called twice. What it told of is in the book.
            self._counter.add(1, "held")
            return succeed(_seen(held, None, ()))
        if len(self._under_way) >= network.limits.visits:
            self._counter.add(1, "refused")
            return fail(VisitRefused(f"{len(self._under_way)} visits are under way already (limits.visits)"))
        if address in self._under_way or network.connected_to(address):
            self._counter.add(1, "refused")
            return fail(VisitRefused(f"{address}: there is a session or a visit already"))
        visiting = self._under_way[address] = Visiting(self, address, peers, wait)
        waiting: Deferred[SessionId] = Deferred()
        waiting.addCallbacks(lambda _: None, lambda failure: visiting.failed(failure.getErrorMessage()))
        network.dialer.dial(address, Slot.FEELER, None, waiting, visiting)
        return visiting.done

    def ended(self, visiting: Visiting) -> None:
        """It is over."""
        if self._under_way.get(visiting.address) is visiting:
            del self._under_way[visiting.address]
            self._counter.add(1, "ended")

    def stop(self) -> None:
        """End them all."""
        for visiting in list(self._under_way.values()):
            visiting.failed("the network is stopping")


def _seen(session: Session, shaken: float | None, peers: tuple[FoundAddress, ...]) -> Visit:
    """What a session with a peer says of it; `shaken` is how long its handshake took, where no ping has told more."""
    info, ping = session.handshake, session.counters.best_ping
    peer_id = session.info.peer_id or (info.peer_id if info else None)
    return Visit(
        session.address,
        agent=info.agent if info else "",
        version=info.version if info else None,
        services=info.services if info else frozenset(),
        id=peer_id.hex() if peer_id is not None else "",
        round_trip=shaken if ping is None else ping,
        peers=peers,
        details=dict(info.claims) if info else {},
    )
