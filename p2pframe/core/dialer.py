"""The dialer: opens the sessions that the topology wants and the manual peers that the operator named.

It executes and decides nothing: concurrency, time limits and backoff are its own, diversity is the topology's.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from p2pframe.core.session import Session
from p2pframe.errors import SessionClosed
from p2pframe.interfaces import ITransport
from p2pframe.model import Candidate, FoundAddress, PeerAddress, PeerId, SessionId, Slot, Want, netgroup

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.visits import Visiting


class ManualPeer:
    """A peer that the operator named, with its backoff: the wait doubles with each failure, up to `manual_retry`.

    `source` is the discovery plugin that told of it, `trouble` why it was not reached the last time, as the log said.
    """

    __slots__ = ("address", "failures", "not_before", "peer_id", "source", "trouble")

    def __init__(self, address: PeerAddress, peer_id: PeerId | None, source: str) -> None:
        self.address = address
        self.peer_id = peer_id
        self.source = source
        self.failures = 0
        self.not_before = 0.0
        self.trouble = ""


class _Dial(Factory):
    """One dial under way: the factory that makes its one session."""

    noisy = False

    def __init__(
        self, dialer: Dialer, address: PeerAddress, slot: Slot, peer_id: PeerId | None, via: ITransport
    ) -> None:
        self.dialer = dialer
        self.address = address
        self.slot = slot
        self.peer_id = peer_id
        self.via = via
        self.session: Session | None = None
        self.timer: IDelayedCall | None = None
        self.timed_out = False
        self.connecting: Deferred[IProtocol] | None = None
        self.waiting: Deferred[SessionId] | None = None
        self.visiting: Visiting | None = None

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        """Called by the endpoint once connected."""
        session = self.dialer.network.new_session(self.address, self.slot, self.via, self.peer_id)
        if session is None:
            return None
        session.on_end = self.ended
        if self.visiting is not None:
            session.visiting = self.visiting
            self.visiting.begun(session)
        self.session = session
        return session

    def opened(self) -> None:
        """The session's handshake is complete."""
        self.dialer.finished(self)
        if self.waiting is not None and self.session is not None:
            waiting, self.waiting = self.waiting, None
            waiting.callback(self.session.id)

    def ended(self, reason: str, evidence: str) -> None:
        """The session is over, before or after it opened."""
        self.dialer.finished(self)
        if self.session is None or not self.session.was_open:
            self.dialer.not_reached(self.address, ": ".join(filter(None, (reason, evidence))))
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.errback(SessionClosed(f"{self.address}: {reason}" + (f": {evidence}" if evidence else "")))


_REST = 10
"""Intervals between two looks while the topology wants nobody and no session comes or goes."""


class Dialer:
    """Dials for one network. `step` is called every `limits.dial_interval`."""

    def __init__(self, network: Network, rng: Random) -> None:
        self.network = network
        self._rng = rng
        self._dials: dict[PeerAddress, _Dial] = {}
        self.manual: dict[PeerAddress, ManualPeer] = {}
        self._crowd = (0, 0)
        self._rest_until = 0.0
        self._held = (0, 0, 0)
        metrics = network.metrics
        self._results = metrics.counter("dials_total", "Dials by result.", ("slot", "result"))

    @property
    def under_way(self) -> tuple[tuple[PeerAddress, Slot], ...]:
        """The dials whose session has not opened yet."""
        return tuple((dial.address, dial.slot) for dial in self._dials.values() if dial.visiting is None)

    def set_manual(self, source: str, found: Sequence[FoundAddress]) -> int:
        """The operator's own addresses, all that `source` knows now.

        Sessions are kept with them, whatever the topology says. One that it knew before and does not know any more is
        not dialled again. Returns how many are new.
        """
        named = {one.address: one for one in found}
        for address in [a for a, peer in self.manual.items() if peer.source == source and a not in named]:
            del self.manual[address]
        new = 0
        for address, one in named.items():
            held = self.manual.get(address)
            if held is None:
                self.manual[address] = ManualPeer(address, one.peer_id, source)
                new += 1
            elif held.source == source:
                held.peer_id = one.peer_id
        return new

    def connect(self, address: PeerAddress) -> Deferred[SessionId]:
        """Dial a manual peer once. Fires with the session's id when it is open, fails with `SessionClosed`."""
        waiting: Deferred[SessionId] = Deferred()
        if self.network.connected_to(address) or address in self._dials:
            waiting.errback(SessionClosed(f"{address}: there is a session or a dial already"))
        else:
            self.dial(address, Slot.MANUAL, None, waiting)
        return waiting

    def step(self) -> None:
        """Open what is missing: first manual peers, then what the topology wants most."""
        network, limits = self.network, self.network.limits
        now = network.clock.seconds()
        held = (network.made, len(network.sessions), len(self.manual))
        if now < self._rest_until and held == self._held:
            return
        self._held, self._rest_until = held, 0.0
        content = not self._dials
        room = self._manual_room()
        for peer in tuple(self.manual.values()):
            if len(self._dials) - len(network.visits) >= limits.dial_concurrency:
                return
            if room <= 0:
                break
            if network.connected_to(peer.address):
                continue
            content = False
            if now >= peer.not_before and peer.address not in self._dials:
                wait = min(limits.manual_retry_first * 2**min(peer.failures, 20), limits.manual_retry)
                peer.failures += 1
                peer.not_before = now + wait * self._rng.uniform(0.9, 1.1)
                self.dial(peer.address, Slot.MANUAL, peer.peer_id)
                room -= 1
        topology = network.topology
        if topology is None or len(self._dials) - len(network.visits) >= limits.dial_concurrency:
            return
        view = network.view(dialled_only=True)
        none: Sequence[Want] = ()
        wants = network.call_plugin("topology", "wants", none, topology.wants, view)
        if content and not wants:
            self._rest_until = now + _REST * limits.dial_interval
        for want in wants:
            found: FoundAddress | Candidate | None = self._address_for(want.addresses)
            if found is None:
                found = network.addresses.draw(want, view, self._in_group)
            if found is not None:
                self.dial(found.address, want.slot, found.peer_id)
                return

    def dial(
        self,
        address: PeerAddress,
        slot: Slot,
        peer_id: PeerId | None,
        waiting: Deferred[SessionId] | None = None,
        visiting: Visiting | None = None,
    ) -> None:
        """Dial now. The result is counted, told to the address book, and to `waiting` where given."""
        network = self.network
        verdict = network.gate.dial(address) if slot is not Slot.MANUAL else None
        via = network.transport_for(address)
        why: str | None = None
        if not network.running:
            why = "the network is not running"
        elif via is None:
            why = "no transport of this network dials such an address"
        elif verdict is not None and not verdict:
            why = verdict.reason
        if via is None or why is not None:
            why = why or "refused"
            self._results.add(1, slot.value, "refused")
            self.not_reached(address, why)
            if waiting is not None:
                waiting.errback(SessionClosed(f"{address}: {why}"))
            return
        dial = _Dial(self, address, slot, peer_id, via)
        dial.waiting, dial.visiting = waiting, visiting
        self._dials[address] = dial
        network.book.attempt(address)
        connecting = maybeDeferred(lambda: via.dial(address, peer_id).connect(dial))
        dial.connecting = connecting
        dial.timer = network.clock.callLater(network.limits.connect_timeout, self._give_up, dial)
        connecting.addBoth(self._connected, dial)
        connecting.addErrback(lambda failure: network.plugin_failed(f"transport.{via.name}", "dial", failure))

    def opened(self, session: Session) -> None:
        """A dialled session has opened."""
        manual = self.manual.get(session.address)
        if manual is not None:
            manual.failures = 0
            manual.not_before = 0.0
            manual.trouble = ""
        dial = self._dials.get(session.address)
        if dial is not None and dial.session is session:
            self._results.add(1, dial.slot.value, "opened")
            dial.opened()

    def not_reached(self, address: PeerAddress, why: str) -> None:
        """A dial has not led to an open session.

        Of a peer that the operator named the log says so, once for each reason.
        """
        log, peer = self.network.log, self.manual.get(address)
        if peer is None or peer.trouble == why or not self.network.running:
            log.debug("could not reach {peer}: {why}", peer=str(address), why=why)
        else:
            peer.trouble = why
            log.warn(
                "could not reach {peer}: {why}; it is tried again, and told of when that changes",
                peer=str(address),
                why=why,
            )

    def finished(self, dial: _Dial) -> None:
        """A dial has come to its end: opened, or not."""
        if self._dials.get(dial.address) is dial:
            del self._dials[dial.address]

    def stop(self) -> None:
        """End every dial that is under way."""
        for dial in list(self._dials.values()):
            if dial.connecting is not None and dial.session is None:
                dial.connecting.cancel()

    def _give_up(self, dial: _Dial) -> None:
        dial.timed_out = True
        if dial.connecting is not None:
            dial.connecting.cancel()

    def _connected(self, result: object, dial: _Dial) -> None:
        if dial.timer is not None and dial.timer.active():
            dial.timer.cancel()
        if not isinstance(result, Failure):
            return
        if dial.session is not None:
            return  # the session tells its own end
        timed_out = dial.timed_out or result.check(TimeoutError) is not None
        self._results.add(1, dial.slot.value, "timeout" if timed_out else "failed")
        text = "timed out" if timed_out else result.getErrorMessage()
        dial.ended("not-reached", text)

    def _manual_room(self) -> float:
        """How many more named peers there may be sessions with.

        As many as the topology has slots for, where there is one.
        """
        network = self.network
        if network.topology is None or not self.manual:
            return float("inf")
        slots = network.slots().get(Slot.MANUAL, 0)
        crowd = (len(self.manual), slots)
        if len(self.manual) > slots and crowd != self._crowd:
            network.log.warn(
                "{named} peers are named, and {slots} manual slots are there: the rest are spare",
                named=len(self.manual),
                slots=slots,
            )
        self._crowd = crowd
        used = sum(1 for s in network.sessions.values() if s.slot is Slot.MANUAL and not s.closing)
        # A dial that is connected already has its session.
        return slots - used - sum(1 for d in self._dials.values() if d.slot is Slot.MANUAL and d.session is None)

    def _address_for(self, addresses: tuple[PeerAddress, ...]) -> FoundAddress | None:
        for address in addresses:
            if address not in self._dials and not self.network.connected_to(address):
                return FoundAddress(address)
        return None

    def _in_group(self, group: str) -> int:
        """How many automatic dials to a netgroup are under way."""
        return sum(
            1 for dial in self._dials.values() if dial.slot is not Slot.MANUAL and netgroup(dial.address) == group
        )
