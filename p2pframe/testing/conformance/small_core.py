"""What core does around a topology, in small: it dials what is wanted, lets peers in, ends whom it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

from p2pframe.model import Candidate, Drop, PeerAddress, SessionSnapshot, Slot, TopologyView, Want
from p2pframe.testing.conformance.crowd import address, candidate, session

DRAWS = 25
FEELER_TIME = 10.0
MOST_INBOUND = 200


class Topology(Protocol):
    """What a topology answers, however its answers are looked at on the way."""

    def slots(self) -> Mapping[Slot, int]:
        """See `ITopology.slots`."""

    def wants(self, view: TopologyView) -> Sequence[Want]:
        """See `ITopology.wants`."""

    def acceptable(self, want: Want, one: Candidate, view: TopologyView) -> bool:
        """See `ITopology.acceptable`."""

    def evict(self, view: TopologyView, newcomer: SessionSnapshot) -> Drop | None:
        """See `ITopology.evict`."""

    def rotate(self, view: TopologyView) -> Sequence[Drop]:
        """See `ITopology.rotate`."""

    def anchors(self, view: TopologyView) -> Sequence[PeerAddress]:
        """See `ITopology.anchors`."""

    def restore(self, anchors: Sequence[PeerAddress]) -> None:
        """See `ITopology.restore`."""


class SmallCore:
    """One network's sessions, dials and time; `log` holds what came of the topology's answers, in order."""

    def __init__(
        self, asked: Topology, rng: Random, candidates: Callable[[int], Candidate] | None = None, salt: int = 0
    ) -> None:
        self.asked = asked
        self.now = 0.0
        self.sessions: list[SessionSnapshot] = []
        self.dialling: list[tuple[PeerAddress, Slot]] = []
        self.fullest = dict.fromkeys(Slot, 0)
        self.log: list[tuple[object, ...]] = []
        self.most_dials = 0
        """So many dials there was time for."""
        self._rng = rng
        self._salt = salt
        self._candidate = candidates or (lambda number: candidate(number, rng, salt))
        self._ids = 0
        asked.restore([])

    def run(self, seconds: float, step: float) -> None:
        """Let so much virtual time pass."""
        end = self.now + seconds
        steps = 0
        while self.now < end:
            self._connected()
            self._dial()
            if steps < MOST_INBOUND or steps % 7 == 0:
                self._comes_in()
            if steps % 4 == 0:
                self._live()
                for drop in self.asked.rotate(self.view(dialled_only=True)):
                    self._end(drop)
            self.now += step
            steps += 1
        self.most_dials = steps // 4

    def stop(self) -> None:
        """A clean stop: the anchors are asked for."""
        self.log.append(("anchors", *map(str, self.asked.anchors(self.view()))))

    def view(self, dialled_only: bool = False) -> TopologyView:
        """What the topology decides on."""
        shown = tuple(one for one in self.sessions if one.slot.dialled or not dialled_only)
        return TopologyView(self.now, shown, tuple(self.dialling), int(self.now) % 4000 > 3000, 10_000)

    def _connected(self) -> None:
        """The dials of the step before have led to sessions, but for some; feelers have had their time."""
        self.sessions = [
            one for one in self.sessions if one.slot is not Slot.FEELER or self.now - one.opened < FEELER_TIME
        ]
        dials, self.dialling = self.dialling, []
        for where, slot in dials:
            if self._rng.random() < 0.8:
                self._open(slot, where)

    def _dial(self) -> None:
        view = self.view(dialled_only=True)
        known = {one.address for one in self.sessions} | {where for where, _ in self.dialling}
        for want in self.asked.wants(view):
            where = next((one for one in want.addresses if one not in known), None) or self._draw(want, view, known)
            if where is not None:
                self.dialling.append((where, want.slot))
                self.log.append((self.now, "dial", want.slot.value, str(where)))
                return

    def _draw(self, want: Want, view: TopologyView, known: set[PeerAddress]) -> PeerAddress | None:
        for _ in range(DRAWS):
            one = self._candidate(self._rng.randrange(10**6))
            if (
                one.address not in known
                and one.netgroup not in want.exclude_netgroups
                and self.asked.acceptable(want, one, view)
            ):
                return one.address
        return None

    def _comes_in(self) -> None:
        where = address(self._rng.randrange(10**6), self._salt, port=self._rng.randrange(1024, 65536))
        allowed = self.asked.slots().get(Slot.INBOUND, 0)
        newcomer = self._make(Slot.INBOUND, where, state="handshaking", opened=0.0)
        if sum(1 for one in self.sessions if one.slot is Slot.INBOUND) >= allowed:
            shown = self.view()
            drop = self.asked.evict(replace(shown, sessions=(*shown.sessions, newcomer)), newcomer)
            if drop is None:
                return
            self._end(drop)
        self.sessions.append(replace(newcomer, state="open", opened=self.now))

    def _open(self, slot: Slot, where: PeerAddress) -> None:
        self.sessions.append(self._make(slot, where))
        held = sum(1 for one in self.sessions if one.slot is slot)
        self.fullest[slot] = max(self.fullest[slot], held)

    def _make(self, slot: Slot, where: PeerAddress, **changes: object) -> SessionSnapshot:
        self._ids += 1
        made = session(self._ids, slot, where, self.now, self._rng)
        return replace(made, **changes) if changes else made  # type: ignore[arg-type]

    def _live(self) -> None:
        """Peers are scored, some bring something, and some leave by themselves."""
        rng = self._rng
        for index, one in enumerate(self.sessions):
            if rng.random() < 0.1:
                self.sessions[index] = replace(one, score=rng.random(), last_block=self.now, ping=rng.random())
        if len(self.sessions) > 3 and rng.random() < 0.1:
            del self.sessions[rng.randrange(len(self.sessions))]

    def _end(self, drop: Drop) -> None:
        self.log.append((self.now, "end", int(drop.session), drop.reason))
        self.sessions = [one for one in self.sessions if one.id != drop.session]
