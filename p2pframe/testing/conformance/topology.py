"""The suite of `ITopology`: whom to hold, whom to end, and nothing but answers.

A small stand-in for core dials what the topology wants, lets peers in and ends whom it names, over hours of virtual
time; besides, each method is asked about crowds that no network would show. Options of `check`:

- `candidates`: a function of a number that makes the `Candidate` of that number, for a topology that takes only some
  (any address, of many netgroups);
- `fills`: False for a topology that may leave slots free although addresses are there (True).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from p2pframe.model import Candidate, Drop, PeerAddress, SessionSnapshot, Slot, TopologyView, Want
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.crowd import address, candidate, crowd, session
from p2pframe.testing.conformance.quiet import touched
from p2pframe.testing.conformance.small_core import SmallCore

MOST_ANCHORS = 1000

_SLOTS = "How many sessions of each class there may be, the manual one too; a class that is left out has none."
_WANTS = "what to open now, most wanted first."
_EVICT = "Whom to end, or None to refuse the newcomer."
_ROTATE = "whom to end so that another may be tried."
_ANCHORS = "the peers to dial first at the next start."
_PURE = "policy over snapshots, without I/O."
_FIRST = "`addresses`, where given, are dialled first, in order (anchors)."


def suite(bench: Bench) -> None:
    """Hold a topology to its interface. Raises `NonConformance`."""
    candidates: Callable[[int], Candidate] | None = bench.option("candidates", None)
    fills = bench.option("fills", True)
    _slots(bench)
    _answers_about_any_crowd(bench)
    _nobody_that_is_protected_goes(bench)
    _anchors_come_first(bench)
    first = bench.twice(lambda: _life(bench, candidates, fills, 0), "whom it holds")
    again = _life(bench, candidates, fills, 1)
    bench.rule(
        again == first, "whom it holds", "never iterate over a set where order reaches a decision",
        next((f"first {a}, then {b}" for a, b in zip(first, again, strict=False) if a != b), "one did more"),
    )  # fmt: skip


class Asked:
    """A topology whose answers are held to the interface, each as it is given."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.plugin, self.context = bench.make()

    def slots(self) -> Mapping[Slot, int]:
        """How many sessions of each class."""
        slots = self._ask("slots", _SLOTS)
        sound = isinstance(slots, Mapping) and all(
            isinstance(slot, Slot) and type(count) is int and count >= 0 for slot, count in slots.items()
        )
        self.bench.require(sound, "slots", _SLOTS, f"it answers {slots!r}")
        return dict(slots)

    def wants(self, view: TopologyView) -> Sequence[Want]:
        """What to open now: only classes that are dialled, and of which there is room."""
        wants: Sequence[Want] = self._ask("wants", _WANTS, view)
        require = self.bench.require
        require(
            isinstance(wants, Sequence) and all(isinstance(want, Want) for want in wants), "wants", _WANTS,
            f"it answers {wants!r:.200}",
        )  # fmt: skip
        slots = self.slots()
        for want in wants:
            require(
                want.slot.dialled and want.slot is not Slot.MANUAL, "wants", _WANTS,
                f"it wants an {want.slot.value} peer: core dials manual ones itself, and nobody can dial inbound ones",
            )  # fmt: skip
            used = used_of(view, want.slot)
            require(
                used < slots.get(want.slot, 0), "wants", _WANTS,
                f"it wants one more {want.slot.value} peer: {used} of {slots.get(want.slot, 0)} slots are in use",
            )  # fmt: skip
            require(
                all(isinstance(one, PeerAddress) for one in want.addresses), "wants", _WANTS,
                f"the addresses to dial first are {want.addresses!r:.200}",
            )  # fmt: skip
        return wants

    def acceptable(self, want: Want, one: Candidate, view: TopologyView) -> bool:
        """Whether an address may be dialled."""
        sentence = "Called for addresses drawn from the book until one is acceptable"
        answer: bool = self._ask("acceptable", sentence, want, one, view)
        self.bench.require(isinstance(answer, bool), "acceptable", sentence, f"it answers {answer!r}")
        return answer

    def evict(self, view: TopologyView, newcomer: SessionSnapshot) -> Drop | None:
        """Whom to end: somebody of the newcomer's class who holds a slot, and is not protected."""
        drop: Drop | None = self._ask("evict", _EVICT, view, newcomer)
        if drop is not None:
            victim = self._victim("evict", _EVICT, drop, view)
            require = self.bench.require
            require(victim.id != newcomer.id, "evict", _EVICT, "it ends the newcomer: answer None to refuse it")
            require(
                victim.slot is newcomer.slot, "evict", _EVICT,
                f"a {victim.slot.value} peer is ended, which makes no room for an {newcomer.slot.value} one",
            )  # fmt: skip
            require(
                victim.state == "open", "evict", _EVICT,
                f"a session is ended that is {victim.state}: it holds no slot yet, so this makes no room",
            )  # fmt: skip
        return drop

    def rotate(self, view: TopologyView) -> Sequence[Drop]:
        """Whom to end: dialled peers, each once, never the last useful one."""
        drops: Sequence[Drop] = self._ask("rotate", _ROTATE, view)
        require = self.bench.require
        require(isinstance(drops, Sequence), "rotate", _ROTATE, f"it answers {drops!r:.200}")
        for drop in drops:
            victim = self._victim("rotate", _ROTATE, drop, view)
            require(
                victim.slot.dialled, "rotate", _ROTATE,
                f"session {victim.id} is ended, which is {victim.slot.value}: no other can be dialled in its place",
            )  # fmt: skip
            self.bench.rule(
                not victim.sole_source, "ITopology.rotate",
                "a `sole_source` is the only one that has brought anything useful lately",
                f"session {victim.id} is ended ({drop.reason}), the last useful one",
            )  # fmt: skip
        ids = [drop.session for drop in drops]
        require(len(set(ids)) == len(ids), "rotate", _ROTATE, f"it ends a session twice: {ids}")
        return drops

    def anchors(self, view: TopologyView) -> Sequence[PeerAddress]:
        """Whom to dial first next time: some of those whom we dialled."""
        anchors: Sequence[PeerAddress] = self._ask("anchors", _ANCHORS, view)
        dialled = {one.address for one in view.sessions if one.slot.dialled}
        require = self.bench.require
        require(isinstance(anchors, Sequence), "anchors", _ANCHORS, f"it answers {anchors!r:.200}")
        for one in anchors:
            require(one in dialled, "anchors", _ANCHORS, f"{one} is none of the peers that we dialled")
        require(
            len(set(anchors)) == len(anchors) <= MOST_ANCHORS, "anchors", _ANCHORS,
            f"{len(anchors)} anchors, {len(set(anchors))} of them different",
        )  # fmt: skip
        return anchors

    def restore(self, anchors: Sequence[PeerAddress]) -> None:
        """What `anchors` said the last time."""
        self._ask("restore", "Called once at start with what `anchors` said at the last clean stop", anchors)

    def still(self) -> None:
        """It has done nothing but answer."""
        done = touched(self.context)
        self.bench.require(not done, "", _PURE, f"there are {done}")

    def _ask(self, method: str, sentence: str, *args: Any) -> Any:
        return self.bench.call(method, sentence, getattr(self.plugin, method), *args)

    def _victim(self, method: str, sentence: str, drop: Drop, view: TopologyView) -> SessionSnapshot:
        self.bench.require(isinstance(drop, Drop), method, sentence, f"it answers {drop!r:.200}")
        victim = next((one for one in view.sessions if one.id == drop.session), None)
        self.bench.require(victim is not None, method, sentence, f"there is no session {drop.session!r}")
        assert victim is not None
        where = f"ITopology.{method}"
        self.bench.rule(drop.reason, where, "a session ends with a reason", f"{drop} gives none")
        self.bench.rule(
            not victim.protected and victim.slot is not Slot.MANUAL, where, "`protected` ones are never evicted",
            f"session {victim.id} is ended ({drop.reason}), which is "
            + ("the operator's own" if victim.slot is Slot.MANUAL else "protected"),
        )  # fmt: skip
        return victim


def used_of(view: TopologyView, slot: Slot) -> int:
    """Sessions of a class, and dials for it that have no session yet."""
    held = [one for one in view.sessions if one.slot is slot]
    at = {one.address for one in view.sessions if one.slot.dialled}
    return len(held) + sum(1 for where, of in view.dialling if of is slot and where not in at)


def _slots(bench: Bench) -> None:
    asked = Asked(bench)
    first, again = asked.slots(), asked.slots()
    bench.require(first == again, "slots", _SLOTS, f"it answers {first}, and {again} when asked once more")


def _answers_about_any_crowd(bench: Bench) -> None:
    rng = bench.random("crowds")
    asked = Asked(bench)
    now = 0.0
    for number in range(60):
        now += rng.choice((0.0, 1.0, 10.0, 700.0))
        count = 0 if number == 0 else rng.choice((1, 5, 30, 30, 150))
        everyone = crowd(rng, count, now)
        dialled = tuple(one for one in everyone if one.slot.dialled)
        dialling = tuple(
            (address(rng.randrange(1000)), rng.choice((Slot.OUTBOUND, Slot.FEELER, Slot.MANUAL)))
            for _ in range(rng.randrange(4))
        )
        view = TopologyView(now, dialled, dialling, rng.random() < 0.3, rng.choice((0, 1, 10**6)))
        for want in [*asked.wants(view), *(Want(slot) for slot in Slot)]:
            asked.acceptable(want, candidate(rng.randrange(10**6), rng), view)
        asked.rotate(view)
        asked.anchors(view)
        whole = TopologyView(now, tuple(everyone), dialling, view.tip_stale, view.book_size)
        for slot in (Slot.INBOUND, Slot.OUTBOUND, Slot.BLOCK_RELAY, Slot.FEELER):
            newcomer = session(10_000, slot, address(rng.randrange(10**6)), 0.0, rng, state="handshaking")
            asked.evict(TopologyView(now, (*whole.sessions, newcomer), dialling), newcomer)
            asked.evict(whole, newcomer)
        asked.anchors(whole)
        asked.still()


def _nobody_that_is_protected_goes(bench: Bench) -> None:
    """Full of peers that look as bad as can be, all of them protected: nobody goes, whoever comes."""
    rng = bench.random("protected")
    now = 1e6
    for keeps in ({"protected": True}, {"protected": False}):
        asked = Asked(bench)
        slots = asked.slots()
        held = [
            session(
                1000 * number + id, slot, address(id), 1.0, rng, ping=9.0, best_ping=9.0, score=0.01 * id,
                sole_source=False, **keeps,
            )
            for number, slot in enumerate(Slot)
            for id in range(1, min(slots.get(slot, 0), 200) + 1)
        ]  # fmt: skip
        for slot in Slot:
            newcomer = session(9_999, slot, address(777), 0.0, rng, state="handshaking")
            if slot is not Slot.MANUAL:
                asked.evict(TopologyView(now, (*held, newcomer)), newcomer)
        for _ in range(5):
            now += 3600.0
            asked.rotate(TopologyView(now, tuple(one for one in held if one.slot.dialled)))


def _anchors_come_first(bench: Bench) -> None:
    rng = bench.random("anchors")
    asked = Asked(bench)
    slots = asked.slots()
    held = tuple(
        session(100 * number + id, slot, address(100 * number + id), float(id), rng, score=0.9)
        for number, slot in enumerate(Slot)
        for id in range(min(slots.get(slot, 0), 50))
    )
    anchors = asked.anchors(TopologyView(1000.0, held))
    nobody = asked.anchors(TopologyView(1000.0, ()))
    bench.require(not nobody, "anchors", _ANCHORS, f"without a session the anchors are {nobody}")
    fresh = Asked(bench)
    fresh.restore(list(anchors))
    wants = fresh.wants(TopologyView(0.0, ()))
    if anchors:
        bench.require(
            wants and wants[0].addresses and wants[0].addresses[0] in anchors, "anchors", _ANCHORS,
            f"after a restart with the anchor {anchors[0]} the first want is {wants[0] if wants else None}: {_FIRST}",
        )  # fmt: skip
    for strange in ([], [address(9)] * 3, [address(number) for number in range(3000)]):
        other = Asked(bench)
        other.restore(strange)
        offered = other.wants(TopologyView(0.0, ()))
        most = sum(len(want.addresses) for want in offered)
        bench.rule(
            most <= MOST_ANCHORS, "ITopology.restore", "everything is bounded",
            f"restored with {len(strange)} anchors it wants {most} addresses dialled at once",
        )  # fmt: skip


def _life(
    bench: Bench, candidates: Callable[[int], Candidate] | None, fills: bool, salt: int
) -> list[tuple[object, ...]]:
    """Two hours and a half: slots fill, peers come and go, some are rotated, a clean stop and a start."""
    asked = Asked(bench)
    core = SmallCore(asked, bench.random("life"), candidates, salt)
    core.run(9000.0, 10.0)
    if fills:
        for slot in (Slot.OUTBOUND, Slot.BLOCK_RELAY):
            allowed = min(asked.slots().get(slot, 0), core.most_dials)
            bench.require(
                core.fullest[slot] >= allowed, "wants", _WANTS,
                f"with addresses of thousands of netgroups at hand it never held more than {core.fullest[slot]} of "
                f"{allowed} {slot.value} peers",
            )  # fmt: skip
    core.stop()
    asked.still()
    return core.log
