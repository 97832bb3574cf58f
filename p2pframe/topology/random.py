"""The `random` topology.

An unstructured network, in which nobody has a place of their own, and everyone's peers differ.

Outbound peers are drawn at random over distinct netgroups, so that who has many addresses in few networks gets few
slots. Inbound peers come by themselves; when they are too many, `choose_victim` says who goes. Rotation ends the worst
peer now and then to try another, but in half of the slots only: an attacker can be fast too, and must not win every
slot by it. Each of these defences has an option that takes it away (`diversity`, `anchors`, `feeler`, `score_blind`),
so that an experiment can tell what it is worth.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from statistics import median

from zope.interface import implementer

from p2pframe.interfaces import IContext, IReconfigurable, ITopology
from p2pframe.model import Candidate, Drop, PeerAddress, SessionId, SessionSnapshot, Slot, TopologyView, Want, netgroup
from p2pframe.plugin import Duration, PluginConfig, bound, live, plugin

GROUPS = 4
PINGS = 8
ITEMS = 4
BLOCK_ONLY = 8
BLOCKS = 4
"""How many inbound peers each rule protects from eviction; see `exposed`."""
ANCHOR_TRIES = 5
"""How often an anchor is offered before it is given up: it may be gone for good."""
EXTRA_PATIENCE = 90.0
"""Seconds after which a place beyond the usual ones closes again if nobody could be dialled for it."""
EXTRA_TIME = 30.0
"""Seconds that an extra peer has before it is compared with the others."""
STALE_INTERVAL = 600.0
"""Seconds between two extra peers while the tip stays stale."""
REMEMBERED = 64
"""Peers that were rotated out and are not drawn again for `rotated_time`."""

_Key = Callable[[SessionSnapshot], tuple[float | bool | bytes, ...]]


class RandomConfig(PluginConfig):
    """How many peers of each class, and how often others are tried. Defaults are Bitcoin Core's."""

    outbound: int = bound(
        8,
        ge=0,
        le=1000,
        description="Peers to dial, each in a netgroup of its own.",
        counter="refusals",
        fills=True,
        label="full",
        refuses=("full",),
        slot="outbound",
    )
    block_relay: int = bound(
        2,
        ge=0,
        le=100,
        description="Peers to dial for blocks only: they show nobody who our peers are.",
        counter="refusals",
        fills=True,
        label="full",
        refuses=("full",),
        slot="block_relay",
    )
    inbound: int = bound(
        114,
        ge=0,
        le=20_000,
        description="Peers that may dial us.",
        counter="refusals",
        label="full",
        refuses=("full",),
        slot="inbound",
    )
    manual: int = live(8, ge=0, le=1000, description="Peers that the operator named; more than these are spare.")
    diversity: bool = live(
        True, description="Hold dialled peers in distinct netgroups. Off only to see in experiments what that is worth."
    )
    feeler: int = bound(
        1,
        ge=0,
        le=8,
        description="Short dials at once that test addresses never tried.",
        counter="refusals",
        fills=True,
        label="full",
        refuses=("full",),
        slot="feeler",
    )
    feeler_interval: Duration = live(120.0, gt=0, description="Mean time between two feelers.")
    extra_block_relay_interval: Duration = live(
        300.0, gt=0, description="Mean time between two looks at the chain through one more block-relay-only peer."
    )
    stale_extra: bool = live(True, description="Dial one more peer while the tip is stale.")
    anchors: int = live(2, ge=0, le=8, description="Block-relay-only peers dialled again, first, after a clean stop.")
    rotation_interval: Duration = live(
        600.0, ge=600, description="At most one established peer is replaced in this time."
    )
    rotation_margin: float = live(
        0.1,
        ge=0,
        le=1,
        description="The worst peer is replaced only if its score is this far under the others' median.",
    )
    minimum_age: Duration = live(1_800.0, description="A peer open for less than this is not judged by its score.")
    score_blind: float = live(
        0.5, ge=0, le=1, description="Share of the outbound slots in which no peer is replaced for its score."
    )
    rotated_time: Duration = live(3_600.0, description="A peer that was rotated out is not drawn again for this long.")


@plugin("random", config=RandomConfig)
@implementer(ITopology, IReconfigurable)
class RandomTopology:
    """Random peers over distinct netgroups.

    Slots, anchors, feelers, eviction and rotation for an unstructured network.
    """

    def __init__(self, config: RandomConfig, context: IContext) -> None:
        self.config = config
        self._rng = context.rng
        self._salt = context.entropy.bytes(32)
        self._pending_anchors: list[PeerAddress] = []
        self._anchor_offers = 0
        self._anchors: frozenset[PeerAddress] = frozenset()
        self._places: dict[SessionId, int] = {}
        self._extras: dict[Slot, float] = {}
        """Places beyond the usual ones that are open now, and since when."""
        self._next_feeler: float | None = None
        self._next_extra = 0.0
        self._next_stale = 0.0
        self._last_rotation: float | None = None
        self._rotated: deque[tuple[PeerAddress, float]] = deque(maxlen=REMEMBERED)
        self._drops = context.metrics.counter(
            "topology_drops", "Sessions that the topology ended, by reason.", ("reason",)
        )

    def reconfigure(self, config: object) -> None:
        """All fields are live."""
        assert isinstance(config, RandomConfig)
        self.config = config

    def slots(self) -> Mapping[Slot, int]:
        """The configured numbers, and one more where an extra peer is being tried."""
        return {slot: self._base(slot) + (slot in self._extras) for slot in Slot}

    # --- whom to dial ---

    def wants(self, view: TopologyView) -> Sequence[Want]:
        """Anchors, then free slots, then what tests the network: an extra peer, a feeler."""
        now = view.now
        if self._next_feeler is None:
            self._next_feeler = now + self._spread(self.config.feeler_interval)
            self._next_extra = now + self._spread(self.config.extra_block_relay_interval)
        self._settle(view)
        used = self._used(view)
        taken = frozenset(self._groups(view))
        wants = list(self._anchor_wants(view, taken)) if used[Slot.BLOCK_RELAY] < self._base(Slot.BLOCK_RELAY) else []
        full = True
        for slot in (Slot.OUTBOUND, Slot.BLOCK_RELAY):
            if used[slot] < self._base(slot):
                full = False
                wants.append(Want(slot, taken))
        if full:
            self._open_extras(view)
            wants.extend(Want(slot, taken) for slot in self._extras if used[slot] == self._base(slot))
        if used[Slot.FEELER]:
            # Seen under way: the next one is due a while after it, however it was that this one began.
            if now >= self._next_feeler:
                self._next_feeler = now + self._spread(self.config.feeler_interval)
        elif now >= self._next_feeler and self.config.feeler:
            wants.append(Want(Slot.FEELER, only_new=True))
        return wants

    def acceptable(self, want: Want, candidate: Candidate, view: TopologyView) -> bool:
        """Distinct netgroups (a feeler is too short for that to matter), no second session, not just rotated out."""
        address = candidate.address
        if candidate.netgroup in want.exclude_netgroups:
            return False
        if any(session.address == address for session in view.sessions) or any(a == address for a, _ in view.dialling):
            return False
        if want.slot is Slot.FEELER:
            # Core dials what is accepted: one feeler an interval, also where it fails before the next look.
            self._next_feeler = view.now + self._spread(self.config.feeler_interval)
            return True
        return not any(address == ended and view.now < until for ended, until in self._rotated)

    # --- whom to end ---

    def evict(self, view: TopologyView, newcomer: SessionSnapshot) -> Drop | None:
        """Inbound only; in the dialled classes nobody makes room for a newcomer."""
        if newcomer.slot is not Slot.INBOUND:
            return None
        inbound = [s for s in view.sessions if s.slot is Slot.INBOUND and s.state == "open" and s.id != newcomer.id]
        victim = choose_victim(inbound, self._salt)
        if victim is None:
            return None
        same = sum(1 for s in inbound if s.netgroup == victim.netgroup)
        self._drops.add(1, "evicted")
        return Drop(
            victim.id,
            "evicted",
            f"for {newcomer.address}: the youngest unprotected of {same} of netgroup {victim.netgroup}",
        )

    def rotate(self, view: TopologyView) -> Sequence[Drop]:
        """End extra peers that have had their time.

        And at most once an interval the worst of the peers that are judged.
        """
        self._settle(view)
        drops = [
            drop for drop in (self._end_extra_block_relay(view), self._end_extra_outbound(view)) if drop is not None
        ]
        worst = self._worst(view) if not drops and self._may_rotate(view.now) else None
        if worst is not None:
            self._note_rotation(worst, view.now)
            drops.append(Drop(worst.id, "rotated", f"the lowest score of those that are judged: {worst.score:.2f}"))
        for drop in drops:
            self._drops.add(1, drop.reason)
        return drops

    # --- anchors ---

    def anchors(self, view: TopologyView) -> Sequence[PeerAddress]:
        """The block-relay-only peers that have been there longest."""
        held = sorted((s for s in self._open(view, Slot.BLOCK_RELAY)), key=lambda s: (s.started, s.id))
        return [session.address for session in held[: self.config.anchors]]

    def restore(self, anchors: Sequence[PeerAddress]) -> None:
        """Dial these first, so that a restart does not give an attacker all slots at once."""
        self._pending_anchors = list(dict.fromkeys(anchors))[: self.config.anchors]
        self._anchors = frozenset(self._pending_anchors)

    # --- within: counting ---

    def _base(self, slot: Slot) -> int:
        config = self.config
        if slot is Slot.OUTBOUND:
            return config.outbound
        if slot is Slot.BLOCK_RELAY:
            return config.block_relay
        if slot is Slot.INBOUND:
            return config.inbound
        return config.manual if slot is Slot.MANUAL else config.feeler

    @staticmethod
    def _used(view: TopologyView) -> dict[Slot, int]:
        """Sessions of each class, and dials for it that have no session yet."""
        used = dict.fromkeys(Slot, 0)
        for session in view.sessions:
            used[session.slot] += 1
        if view.dialling:
            connected = {s.address for s in view.sessions if s.slot.dialled}
            for address, slot in view.dialling:
                if address not in connected:
                    used[slot] += 1
        return used

    @staticmethod
    def _open(view: TopologyView, slot: Slot) -> list[SessionSnapshot]:
        return [s for s in view.sessions if s.slot is slot and s.state == "open"]

    def _groups(self, view: TopologyView) -> Iterator[str]:
        """The netgroups that have a lasting slot. Manual peers are the operator's choice and block no netgroup."""
        lasting = (Slot.OUTBOUND, Slot.BLOCK_RELAY) if self.config.diversity else ()
        for session in view.sessions:
            if session.slot in lasting:
                yield session.netgroup
        for address, slot in view.dialling:
            if slot in lasting:
                yield netgroup(address)

    def _spread(self, mean: float) -> float:
        """Exponentially distributed, so that nobody can tell when the next one comes."""
        return self._rng.expovariate(1.0 / mean)

    def _settle(self, view: TopologyView) -> None:
        """Give each outbound session its slot's number, and close extra places that came to nothing."""
        outbound = {s.id for s in view.sessions if s.slot is Slot.OUTBOUND}
        if outbound or self._places:
            self._number(outbound)
        for slot, since in list(self._extras.items()):
            if view.now - since > EXTRA_PATIENCE and self._used(view)[slot] <= self._base(slot):
                del self._extras[slot]

    def _number(self, outbound: set[SessionId]) -> None:
        base = self.config.outbound
        held = {id: place for id, place in self._places.items() if id in outbound and place < base}
        places = set(held.values())
        free = (place for place in range(base + len(outbound)) if place not in places)
        self._places = held | {id: next(free) for id in sorted(outbound - held.keys())}

    def _blind(self, place: int) -> bool:
        """Whether a slot is blind to score: by default one of each two, which one only we know."""
        pair, share = place // 2, self.config.score_blind
        blind = math.floor(2 * (pair + 1) * share) - math.floor(2 * pair * share)
        if blind != 1:
            return blind == 2
        bit = blake2b(b"blind %d" % pair, key=self._salt, digest_size=1).digest()[0] & 1
        return place % 2 == bit

    # --- within: dialling ---

    def _anchor_wants(self, view: TopologyView, taken: frozenset[str]) -> Iterator[Want]:
        known = {s.address for s in view.sessions} | {address for address, _ in view.dialling}
        while self._pending_anchors and (
            self._pending_anchors[0] in known
            or self._anchor_offers >= ANCHOR_TRIES
            or netgroup(self._pending_anchors[0]) in taken
        ):
            self._pending_anchors.pop(0)
            self._anchor_offers = 0
        if self._pending_anchors:
            self._anchor_offers += 1
            yield Want(Slot.BLOCK_RELAY, taken, (self._pending_anchors[0],))

    def _open_extras(self, view: TopologyView) -> None:
        now = view.now
        if view.tip_stale and self.config.stale_extra and self.config.outbound and now >= self._next_stale:
            self._next_stale = now + STALE_INTERVAL
            self._extras.setdefault(Slot.OUTBOUND, now)
        if self.config.block_relay and now >= self._next_extra:
            self._next_extra = now + self._spread(self.config.extra_block_relay_interval)
            self._extras.setdefault(Slot.BLOCK_RELAY, now)

    # --- within: ending ---

    def _may_rotate(self, now: float) -> bool:
        return self._last_rotation is None or now - self._last_rotation >= self.config.rotation_interval

    def _note_rotation(self, session: SessionSnapshot, now: float) -> None:
        self._last_rotation = now
        self._rotated.append((session.address, now + self.config.rotated_time))

    def _keeps(self, session: SessionSnapshot) -> bool:
        """Whether it may not be ended for another's sake."""
        return session.protected or session.sole_source or session.address in self._anchors

    def _end_extra_block_relay(self, view: TopologyView) -> Drop | None:
        """The youngest goes, unless it has given a block since the next youngest did: then that one does."""
        held = sorted(self._open(view, Slot.BLOCK_RELAY), key=lambda s: s.id)
        if len(held) <= self.config.block_relay or view.now - held[-1].opened < EXTRA_TIME:
            return None
        youngest = held[-1]
        if len(held) > 1 and self._may_rotate(view.now) and not self._keeps(held[-2]):
            second = held[-2]
            if youngest.last_block > second.last_block:
                self._note_rotation(second, view.now)
                self._extras.pop(Slot.BLOCK_RELAY, None)
                return Drop(second.id, "rotated", f"{youngest.address} gave a block since this one did")
        if self._keeps(youngest):
            return None
        self._extras.pop(Slot.BLOCK_RELAY, None)
        return Drop(youngest.id, "extra-done", "a look at the chain through one more peer")

    def _end_extra_outbound(self, view: TopologyView) -> Drop | None:
        """Of one too many, the one that gave a block longest ago goes, or the youngest where nobody may be rotated."""
        held = self._open(view, Slot.OUTBOUND)
        if len(held) <= self.config.outbound:
            return None
        youngest = max(held, key=lambda s: s.id)
        if view.now - youngest.opened < EXTRA_TIME:
            return None
        judged = [s for s in held if not self._keeps(s) and (s is youngest or not self._blind(self._places[s.id]))]
        if not self._may_rotate(view.now):
            judged = [s for s in judged if s is youngest]
        if not judged:
            return None
        last = min(judged, key=lambda s: (s.last_block, -s.id))
        self._extras.pop(Slot.OUTBOUND, None)
        if last is youngest:
            return Drop(last.id, "extra-done", "it brought no newer block than the others")
        self._note_rotation(last, view.now)
        return Drop(last.id, "rotated", f"it gave a block longest ago; {youngest.address} takes its place")

    def _worst(self, view: TopologyView) -> SessionSnapshot | None:
        """The worst by score of the slots that score counts in.

        None while a slot is free, for then others are tried anyway.
        """
        held = self._open(view, Slot.OUTBOUND)
        if len(held) < max(2, self.config.outbound):
            return None
        scores = {s.id: s.score for s in held if s.score is not None}
        judged = [
            s for s in held
            if s.id in scores
            and view.now - s.opened >= self.config.minimum_age
            and not self._blind(self._places[s.id])
            and not self._keeps(s)
        ]  # fmt: skip
        if not judged:
            return None
        worst = min(judged, key=lambda s: (scores[s.id], -s.id))
        others = [score for id, score in scores.items() if id != worst.id]
        return worst if others and scores[worst.id] < median(others) - self.config.rotation_margin else None


def choose_victim(sessions: Sequence[SessionSnapshot], salt: bytes) -> SessionSnapshot | None:
    """Whom to end so that another inbound peer may come in, as in Bitcoin Core's eviction.

    The youngest session of the largest netgroup among those that no rule protects; None where all are protected.
    `sessions` are the open inbound ones; `salt` (at most 64 bytes) is secret and stays the same while the node runs.
    """
    left = exposed(sessions, salt)
    groups: dict[str, list[SessionSnapshot]] = {}
    for session in left:
        groups.setdefault(session.netgroup, []).append(session)
    if not groups:
        return None
    # Of groups of one size, the one with the youngest member.
    largest = max(groups.values(), key=lambda members: (len(members), max(map(_youth, members))))
    return max(largest, key=_youth)


def exposed(sessions: Sequence[SessionSnapshot], salt: bytes) -> list[SessionSnapshot]:
    """Those that no rule protects.

    Each rule protects those that are costly to fake in one respect: a netgroup whose key is secret, a short ping,
    having been the first with transactions or blocks, having stayed long. Who would push everyone out has to win in all
    of them.
    """
    left = [session for session in sessions if not session.protected]
    # Which netgroups these are nobody else can know, so nobody can collect them.
    left = _without_best(left, GROUPS, lambda s: (_keyed(s.netgroup, salt),))
    # Being near is hard to fake from afar.
    left = _without_best(left, PINGS, lambda s: (-(math.inf if s.best_ping is None else s.best_ping),))
    left = _without_best(left, ITEMS, lambda s: (s.last_item, s.relays))
    gave_blocks = [s for s in left if not s.relays and s.last_block > 0]
    spared = {s.id for s in gave_blocks} - {
        s.id for s in _without_best(gave_blocks, BLOCK_ONLY, lambda s: (s.last_block,))
    }
    left = [s for s in left if s.id not in spared]
    left = _without_best(left, BLOCKS, lambda s: (s.last_block,))
    return _without_oldest_half(left)


def _without_oldest_half(left: list[SessionSnapshot]) -> list[SessionSnapshot]:
    """Protect half by age.

    Up to half of those places go to networks that lose the race of the shortest ping by their nature: onion, I2P, and
    loopback (where an onion service's peers come from).
    """
    total = len(left) // 2
    spare = total // 2
    kinds: dict[str, list[SessionSnapshot]] = {}
    for session in left:
        kind = "loopback" if session.netgroup.startswith("loopback:") else session.address.kind
        if kind in ("onion", "i2p", "loopback"):
            kinds.setdefault(kind, []).append(session)
    protected: set[int] = set()
    few_first = sorted(kinds.items(), key=lambda item: (len(item[1]), item[0]))
    for index, (_, members) in enumerate(few_first):
        share = (spare - len(protected)) // (len(few_first) - index)
        protected.update(s.id for s in sorted(members, key=_youth)[:share])
    rest = [s for s in left if s.id not in protected]
    return _without_best(rest, total - len(protected), lambda s: (-s.started,))


def _without_best(sessions: list[SessionSnapshot], count: int, key: _Key) -> list[SessionSnapshot]:
    """All but the `count` highest by `key`; of equals the older one is the better."""
    ranked = sorted(sessions, key=lambda s: (*key(s), -s.started, -s.id))
    return ranked[: len(ranked) - count] if count < len(ranked) else []


def _youth(session: SessionSnapshot) -> tuple[float, int]:
    return session.started, session.id


def _keyed(group: str, salt: bytes) -> bytes:
    return blake2b(group.encode(), key=salt, digest_size=16).digest()
