"""What a Kademlia node stores for others: who holds a record, for how long, which of two stays, who makes room.

    rules = Rules(bits=256, k=20, ttl=48 * 3600, publish=22 * 3600)
    records = Records(own, lambda: rules, key=lambda name: name[0], wins=last_write)
    records.put(name, record, between(own, key, ids_that_we_know))
    records.get(name, now), records.of(key, now)
    records.expire(now)                     now and then
    records.due(now)                        what we, a holder, put on the nodes nearest to its key now

The paper (section 2.5) has a record run out after a day, its publisher put it again every day, each holder put it again
every hour unless somebody else has just done so, and a node farther from the key than the k closest keep it
exponentially shorter: each `halve_every` nodes beyond them halve its time. BEP 44 and libp2p's provider records have
publishers only, which put again, and holders that wait for it. All of it is `Rules`; ids are integers of `bits` bits,
and distance is their XOR.

A record is stored under a name, which belongs to a key: the key itself where a key has one record, or key and provider
where it has many. Times are seconds of the caller's clock.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random
from typing import Generic, Literal, TypeVar

_HALVINGS = 64
"""A lifetime is halved so many times at most: what is left of any is nothing."""
_SWEEP = 1_000
"""Records that one call of `expire` drops, at most."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of a protocol; None is no such bound, or nobody that does it."""

    bits: int = 160
    k: int = 20
    ttl: float = 86_400.0
    """A record runs out so long after it was put the last time."""
    publish: float = 86_400.0
    """How often its publisher puts it again..."""
    replicate: float | None = None
    """...and how often a holder does, unless it has been put with us meanwhile."""
    jitter: float = 0.3
    """Each such wait is drawn anew, up to this part shorter: what was put at once is not put again at once."""
    halve_every: int = 0
    """Nodes beyond the k closest that halve the time once more; 0: beyond them nobody holds it."""
    shortest: float = 60.0
    """What would be held for less is not taken at all."""

    most: int = 10_000
    most_bytes: int | None = None
    per_key: int | None = None
    per_source: int | None = None
    bytes_per_source: int | None = None

    def __post_init__(self) -> None:
        if self.bits < 1 or self.k < 1 or self.ttl <= 0 or self.publish <= 0 or self.most < 1:
            raise ValueError("bits, k, ttl, publish and most are more than nothing")
        if not 0 <= self.jitter < 1 or (self.replicate is not None and self.replicate <= 0):
            raise ValueError("jitter is from 0 to less than 1, and replicate, where there is one, more than nothing")
        if self.halve_every < 0 or self.shortest < 0:
            raise ValueError("halve_every and shortest are 0 or more")

    def halvings(self, nearer: int) -> int | None:
        """How often the lifetime is halved where so many nodes are nearer to the key; None where it is not held."""
        if nearer < self.k:
            return 0
        if not self.halve_every:
            return None
        count = (nearer - self.k) // self.halve_every + 1
        return count if count <= _HALVINGS and self.lifetime(count) >= self.shortest else None

    def lifetime(self, halvings: int = 0) -> float:
        """How long a record is held."""
        return self.ttl * 0.5**halvings if halvings else self.ttl

    def publish_in(self, rng: Random) -> float:
        """Until its publisher puts a record again."""
        return self.publish * rng.uniform(1 - self.jitter, 1)


def between(own: int, key: int, known: Iterable[int]) -> int:
    """How many of the ids that we know are nearer to a key than ours is."""
    distance = own ^ key
    return sum(one ^ key < distance for one in known)


class Record:
    """A record; a protocol's own has what it says beside, and a `size` where bytes are bounded.

    `stored` is when it was put the last time, `source` who is charged for it, `halvings` how much shorter it is held.
    """

    __slots__ = ("halvings", "source", "stored")

    def __init__(self, stored: float, source: Hashable) -> None:
        self.stored = stored
        self.source = source
        self.halvings = 0

    @property
    def size(self) -> int:
        """The bytes that it is charged with; they stay the same."""
        return 0


N = TypeVar("N", bound=Hashable)
R = TypeVar("R", bound=Record)
Reason = Literal[
    "distance", "loses", "records", "bytes", "records of a key", "records of a source", "bytes of a source", "farthest"
]


def last_write(new: Record, held: Record) -> bool:
    """The rule where the latest put stays; one that is put later, but was made earlier, goes."""
    return new.stored >= held.stored


class Records(Generic[N, R]):
    """What the node `own` holds for others, within `rules` (asked for each time: they may change).

    `key` says which key a name belongs to, `wins` whether a new record takes the place of the one of its name.
    `makes_room` is who goes when all is full: the one that runs out first, or the one farthest from `own` (a new one
    that is farther still is not taken then). `sets` is for keys with several records, and `per_key`. Whether bytes are
    bounded is settled at the start; only then are they counted. `turned_away` is called for what was not taken, and for
    what made room (`records`, `bytes`), with how many. `rng` draws the times at which a holder puts again.
    """

    def __init__(
        self,
        own: int,
        rules: Callable[[], Rules],
        *,
        key: Callable[[N], int],
        wins: Callable[[R, R], bool] = last_write,
        makes_room: Literal["oldest", "farthest"] = "oldest",
        sets: bool = False,
        turned_away: Callable[[Reason, int], None] | None = None,
        rng: Random | None = None,
    ) -> None:
        self.own = own
        self.size = 0
        self.bytes = 0
        self._rules = rules
        self._key = key
        self._wins = wins
        self._far = makes_room == "farthest"
        self._indexed = sets or self._far
        self._turned_away = turned_away or _nobody
        self._rng = rng
        # One dictionary for each number of halvings, mostly one alone: within it what is in front runs out first.
        self._whole: dict[N, R] = {}
        self._groups: dict[int, dict[N, R]] = {0: self._whole}
        self._sources: dict[Hashable, int] = {}
        now = rules()
        self._source_bytes: dict[Hashable, int] | None = (
            None if now.most_bytes is None and now.bytes_per_source is None else {}
        )
        self._places: dict[int, dict[N, None]] = {}
        self._distances: list[int] = []
        self._waits: dict[N, float] = {}
        self._queue: list[tuple[float, int, N]] = []
        self._count = 0

    # --- what is asked ---

    @property
    def rules(self) -> Rules:
        """The rules as they are now."""
        return self._rules()

    def get(self, name: N, now: float) -> R | None:
        """The record of that name, if it is there and has not run out."""
        record = self._whole.get(name) or self._find(name)
        if record is None:
            return None
        return record if now - record.stored < self._rules().lifetime(record.halvings) else None

    def of(self, key: int, now: float) -> list[tuple[N, R]]:
        """The records of a key that have not run out; of a store with `sets` only."""
        names = self._places.get(key ^ self.own, ())
        return [(name, record) for name in names if (record := self.get(name, now)) is not None]

    def items(self) -> Iterator[tuple[N, R]]:
        """All of them, those that have run out included; they may change meanwhile."""
        for group in list(self._groups.values()):
            for name in list(group):
                record = group.get(name)
                if record is not None:
                    yield name, record

    def held_of(self, source: Hashable) -> int:
        """Records that a source is charged for."""
        return self._sources.get(source, 0)

    # --- what happens ---

    def put(self, name: N, record: R, nearer: int = 0) -> bool:
        """Take a record, put at `record.stored`; `nearer` nodes are nearer to its key than we are. Whether it was
        taken. Where records of different times come in any order, as at a start, `sort` is called after them.

        Who replaces another's record is not charged for it: the source stays the one that it had.
        """
        rules, now = self._rules(), record.stored
        halvings = 0 if nearer < rules.k else rules.halvings(nearer)
        if halvings is None:
            return self._refuse("distance")
        before = self._whole.get(name) or self._find(name)
        if before is not None and now - before.stored >= rules.lifetime(before.halvings):
            self._drop(name, before)
            before = None
        if before is None:
            source = record.source
            if rules.per_source is not None and self._sources.get(source, 0) >= rules.per_source:
                return self._refuse("records of a source")
            if rules.per_key is not None and len(self._fresh_of(name, now, rules)) >= rules.per_key:
                return self._refuse("records of a key")
        elif self._wins(record, before):
            source = before.source
        else:
            return self._refuse("loses")
        reason = None if self._source_bytes is None else self._too_large(rules, record, before, source)
        if reason is not None:
            return self._refuse(reason)
        if not self._room(rules, name, record, before, now):
            return self._refuse("farthest")
        if before is not None:
            self._drop(name, before)
        record.source = source
        record.halvings = halvings
        self._add(name, record, rules, now)
        return True

    def remove(self, name: N) -> bool:
        """Forget one. Whether it was there."""
        record = self._find(name)
        if record is None:
            return False
        self._drop(name, record)
        return True

    def expire(self, now: float, most: int = _SWEEP) -> int:
        """Forget what has run out, at most so many; how many that was."""
        rules, gone = self._rules(), 0
        for halvings in list(self._groups):
            group, lifetime = self._groups[halvings], rules.lifetime(halvings)
            while group and gone < most:
                name = next(iter(group))
                record = group[name]
                if now - record.stored < lifetime:
                    break
                self._drop(name, record)
                gone += 1
        return gone

    def due(self, now: float, most: int = 16) -> list[N]:
        """Names of records that a holder puts on the nodes nearest to their keys now, at most so many.

        Each is due again after another `replicate`, whatever becomes of it; or so long after it is put with us.
        """
        rules = self._rules()
        due: list[N] = []
        while self._queue and len(due) < most and self._queue[0][0] <= now:
            when, _, name = heappop(self._queue)
            if self._waits.get(name) != when:
                continue
            record = self._find(name)
            if record is None or now - record.stored >= rules.lifetime(record.halvings) or rules.replicate is None:
                del self._waits[name]
                continue
            due.append(name)
            self._wait(name, rules, now)
        return due

    def sort(self) -> None:
        """Put what runs out first in front again, after records that came in any order."""
        for group in self._groups.values():
            # In place: the one of a full lifetime is known by another name as well.
            ordered = sorted(group.items(), key=lambda one: one[1].stored)
            group.clear()
            group.update(ordered)

    def rehome(self, own: int) -> None:
        """Our id is another, and all distances with it. Nothing is forgotten for that."""
        self.own = own
        if self._indexed:
            self._places.clear()
            for name, _ in sorted(self.items(), key=lambda one: one[1].stored):
                self._places.setdefault(self._key(name) ^ own, {})[name] = None
            self._distances = sorted(self._places) if self._far else []

    # --- within ---

    def _find(self, name: N) -> R | None:
        for group in self._groups.values():
            record = group.get(name)
            if record is not None:
                return record
        return None

    def _refuse(self, reason: Reason) -> bool:
        self._turned_away(reason, 1)
        return False

    def _too_large(self, rules: Rules, record: R, before: R | None, source: Hashable) -> Reason | None:
        """Which of the bounds of bytes a record is over that nobody makes room for."""
        assert self._source_bytes is not None
        if rules.most_bytes is not None and record.size > rules.most_bytes:
            return "bytes"
        grown = record.size - (0 if before is None else before.size)
        share = rules.bytes_per_source
        if share is not None and grown > 0 and self._source_bytes.get(source, 0) + grown > share:
            return "bytes of a source"
        return None

    def _room(self, rules: Rules, name: N, record: R, before: R | None, now: float) -> bool:
        """Have room for a record; False where it is itself what goes first."""
        over, grown = self._excess(rules, record, before)
        if over <= 0 and grown <= 0:
            return True
        # What has run out makes room before anything else does.
        self.expire(now)
        over, grown = self._excess(rules, record, before)
        return (over <= 0 and grown <= 0) or self._make_room(name, over, grown)

    def _fresh_of(self, name: N, now: float, rules: Rules) -> dict[N, None]:
        """The names of the same key; those that have run out are dropped where they would be too many."""
        distance = self._key(name) ^ self.own
        names = self._places.get(distance, {})
        if rules.per_key is not None and len(names) >= rules.per_key:
            for one in list(names):
                record = self._find(one)
                if record is not None and now - record.stored >= rules.lifetime(record.halvings):
                    self._drop(one, record)
        return self._places.get(distance, {})

    def _excess(self, rules: Rules, record: R, before: R | None) -> tuple[int, int]:
        """Records and bytes that would be too many."""
        over = self.size + (before is None) - rules.most
        if self._source_bytes is None or rules.most_bytes is None:
            return over, 0
        return over, self.bytes + record.size - (0 if before is None else before.size) - rules.most_bytes

    def _make_room(self, name: N, over: int, grown: int) -> bool:
        """Drop what goes first until so many records and bytes are free; False, and nothing is dropped, where the
        record itself is what goes first.
        """
        victims: list[tuple[N, R, Reason]] = []
        for one, record in self._farthest(name) if self._far else self._soonest():
            if one == name:
                continue
            victims.append((one, record, "records" if over > 0 else "bytes"))
            over -= 1
            grown -= record.size
            if over <= 0 and grown <= 0:
                break
        else:
            return False
        for one, record, reason in victims:
            self._drop(one, record)
            self._turned_away(reason, 1)
        return True

    def _farthest(self, name: N) -> Iterator[tuple[N, R]]:
        """Those farther than a name, the farthest first; of one key the oldest first."""
        distance = self._key(name) ^ self.own
        for at in range(len(self._distances) - 1, -1, -1):
            if self._distances[at] <= distance:
                return
            for one in self._places[self._distances[at]]:
                record = self._find(one)
                if record is not None:
                    yield one, record

    def _soonest(self) -> Iterator[tuple[N, R]]:
        """Those that run out first, first."""
        rules = self._rules()
        fronts = [
            (rules.lifetime(halvings), iter(group.items())) for halvings, group in self._groups.items() if group
        ]
        if len(fronts) == 1:
            yield from fronts[0][1]
            return
        heads: list[tuple[float, int, N, R]] = []
        for number, (lifetime, group) in enumerate(fronts):
            name, record = next(group)
            heappush(heads, (record.stored + lifetime, number, name, record))
        while heads:
            _, number, name, record = heappop(heads)
            yield name, record
            lifetime, group = fronts[number]
            following = next(group, None)
            if following is not None:
                heappush(heads, (following[1].stored + lifetime, number, *following))

    def _add(self, name: N, record: R, rules: Rules, now: float) -> None:
        group = self._groups.get(record.halvings)
        if group is None:
            group = self._groups[record.halvings] = {}
        group[name] = record
        self.size += 1
        source = record.source
        self._sources[source] = self._sources.get(source, 0) + 1
        if self._source_bytes is not None:
            self.bytes += record.size
            self._source_bytes[source] = self._source_bytes.get(source, 0) + record.size
        if self._indexed:
            distance = self._key(name) ^ self.own
            names = self._places.get(distance)
            if names is None:
                names = self._places[distance] = {}
                if self._far:
                    insort(self._distances, distance)
            names[name] = None
        if rules.replicate is not None:
            self._wait(name, rules, now)

    def _drop(self, name: N, record: R) -> None:
        group = self._groups[record.halvings]
        del group[name]
        if not group and record.halvings:
            del self._groups[record.halvings]
        self.size -= 1
        source = record.source
        left = self._sources[source] - 1
        if left:
            self._sources[source] = left
        else:
            del self._sources[source]
        if self._source_bytes is not None:
            self.bytes -= record.size
            self._source_bytes[source] -= record.size
            if not left:
                del self._source_bytes[source]
        if self._indexed:
            distance = self._key(name) ^ self.own
            names = self._places[distance]
            del names[name]
            if not names:
                del self._places[distance]
                if self._far:
                    del self._distances[bisect_left(self._distances, distance)]
        if self._waits:
            self._waits.pop(name, None)

    def _wait(self, name: N, rules: Rules, now: float) -> None:
        assert rules.replicate is not None
        share = 1.0 if self._rng is None else self._rng.uniform(1 - rules.jitter, 1)
        when = now + rules.replicate * share
        self._waits[name] = when
        self._count += 1
        heappush(self._queue, (when, self._count, name))
        if len(self._queue) > 2 * len(self._waits) + 64:
            # What was put again before it was due has left its old times behind.
            self._queue = [one for one in self._queue if self._waits.get(one[2]) == one[0]]
            heapify(self._queue)


def _nobody(reason: Reason, count: int) -> None:
    """Where nobody counts."""
