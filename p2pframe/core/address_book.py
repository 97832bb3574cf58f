"""The address book of a network: who could be dialled, who answered, and who told of them.

Two tables, as in Bitcoin Core's addrman: *new* for addresses that somebody told of, *tried* for those that answered. An
address in the way of one that wants to be tried is tested before it must go. All times are unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random

from twisted.logger import Logger
from zope.interface import implementer

from p2pframe.config.settings import Limits
from p2pframe.core.address_entry import RECENT, Entry
from p2pframe.core.address_rows import CHUNK, LONGEST, Head, Row, decode_chunk, decode_head, encode_chunk, encode_head
from p2pframe.core.address_sources import Sources, source_group, source_name
from p2pframe.core.address_table import BUCKET, Placement, Table
from p2pframe.errors import StorageCorrupt
from p2pframe.interfaces.context import Entropy, Metrics
from p2pframe.interfaces.node import AddressView, IAddressBook, SourceHolds
from p2pframe.interfaces.storage import INamespace
from p2pframe.model import Candidate, FoundAddress, PeerAddress, netgroup

REFERENCES = 8
"""Places of the new table that one address can have."""
PENALTY = 2 * 3600.0
"""Taken off the time that others report: their own addresses count as fresher than gossip."""
TEST_PERIOD = 4 * 3600.0
"""Who answered (or was tested) within this keeps its place in the tried table."""
TEST_WINDOW = 40 * 60.0
"""A contested place that could not be tested for this long goes to the newcomer."""
CONTESTED = 10
"""Contests for places of the tried table at once."""
DRAWS = 64
"""Tries of one draw: with each the threshold falls by a sixth, so that after these any address is taken."""
OWN = 64
"""Addresses of our own that are remembered."""

_PREFIX = b"book/"
_HEAD = b"book/head"
_ASIDE = b"aside/"


@implementer(IAddressBook)
class AddressBook:
    """The addresses of one network.

    `rng` decides order; the salt of the tables comes from `entropy`, once, and is kept.
    """

    log = Logger()

    def __init__(
        self, limits: Limits, rng: Random, entropy: Entropy, unix_time: Callable[[], float], metrics: Metrics
    ) -> None:
        self._rng = rng
        self._time = unix_time
        self._placement = Placement(entropy.bytes(32), *_sizes(limits))
        self._sources = Sources(_share(limits))
        self._own: dict[PeerAddress, None] = {}
        self._last_good = 1.0
        self._empty()
        self._refused = metrics.counter(
            "book_turned_away", "Addresses that the book did not take, by reason.", ("reason",)
        )
        self._evicted = metrics.counter("book_evicted", "Addresses that made room for others.", ("table",))
        self._corrupt = metrics.counter("book_corrupt", "Stored rows of the book that were set aside.")
        self._size = metrics.gauge("book_addresses", "Addresses held.", ("table",))

    def _empty(self) -> None:
        self._entries: dict[PeerAddress, Entry] = {}
        self._sources.clear()
        self._all: list[Entry] = []
        self._new: Table[Entry] = Table()
        self._tried: Table[Entry] = Table()
        self._contested: dict[PeerAddress, None] = {}

    @property
    def size(self) -> int:
        """How many addresses it holds."""
        return len(self._all)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many addresses each table holds."""
        return {"new": len(self._all) - self._tried.size, "tried": self._tried.size}

    # --- what others tell, and what dialling shows ---

    def add(self, found: Sequence[FoundAddress], source: PeerAddress | str) -> int:
        """Take addresses in; `source` is the peer that told of them or a discovery plugin's name.

        Returns how many were new.
        """
        now = self._time()
        group = source_group(source)
        taken = sum(self._add(one, group, source, now) for one in found)
        self._measure()
        return taken

    def attempt(self, address: PeerAddress, now: float | None = None) -> None:
        """A dial begins. It counts as a failure until `good` says otherwise, but only once between two successes of the
        book: while our own connection is down everything fails, and no address is to blame."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.last_attempt = now = self._time() if now is None else now
            if entry.counted < self._last_good:
                entry.counted = now
                entry.failures += 1

    def good(self, address: PeerAddress, now: float | None = None) -> None:
        """A dialled session has opened: the address moves to the tried table, or contests its place there."""
        now = self._time() if now is None else now
        self._last_good = now
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.last_success = entry.last_attempt = now
        entry.failures = 0
        if entry.tried or self._placement.plain:
            return
        if self._tried.get(self._tried_place(entry)) is None:
            self._make_tried(entry)
            self._measure()
        elif address not in self._contested:
            if len(self._contested) < CONTESTED:
                self._contested[address] = None
            else:
                self._refused.add(1, "contests")

    def connected(self, address: PeerAddress, now: float | None = None, services: int | None = None) -> None:
        """A session with it has ended (or lasts): it was there.

        Noted in steps of 20 minutes, so that what we tell others does not show when we were connected.
        """
        entry = self._entries.get(address)
        if entry is not None:
            now = self._time() if now is None else now
            if now - entry.last_seen > 1200:
                entry.last_seen = now
            if services is not None:
                entry.services = services & 0xFFFF_FFFF_FFFF_FFFF

    def exclude(self, address: PeerAddress) -> None:
        """This is our own address: forget it, and take it no more."""
        self._own.pop(address, None)
        while len(self._own) >= OWN:
            del self._own[next(iter(self._own))]
        self._own[address] = None
        entry = self._entries.get(address)
        if entry is not None:
            self._drop(entry)
            self._measure()

    # --- asking ---

    def draw(self, rng: Random, now: float, only_new: bool = False, only_tried: bool = False) -> Candidate | None:
        """A random address to dial, or None where the tables asked for are empty. Takes a bounded number of steps.

        With `only_new` (feelers) it is, every other time, the tried address whose place is contested: dialling tests
        it.
        """
        self._resolve(now)
        if only_new and self._contested and rng.random() < 0.5:
            entry = self._defender(list(self._contested)[int(rng.random() * len(self._contested))])
            if entry is not None and now - entry.last_attempt > RECENT:
                return entry.candidate()
        new = 0 if only_tried else self._new.size
        tried = 0 if only_new else self._tried.size
        if not new and not tried:
            return None
        factor = 1.0
        entry = None
        for _ in range(DRAWS):
            use_tried = tried and (not new or rng.random() < 0.5)
            entry = self._tried.pick(rng) if use_tried else self._new.pick(rng)
            if entry is None or rng.random() < factor * entry.chance(now):
                break
            factor *= 1.2
        return None if entry is None else entry.candidate()

    def sample(self, maximum: int, percent: int = 100) -> Sequence[FoundAddress]:
        """At most `maximum` and `percent` of the addresses, at random, none stale, with when last heard of."""
        now, everyone = self._time(), self._all
        wanted = min(maximum, len(everyone) * percent // 100)
        chosen: list[FoundAddress] = []
        for index in range(len(everyone)):
            if len(chosen) >= wanted:
                break
            self._swap(index, self._rng.randrange(index, len(everyone)))
            entry = everyone[index]
            if not entry.stale(now):
                chosen.append(FoundAddress(entry.address, entry.services, entry.last_seen, entry.peer_id))
        return chosen

    def addresses(self, maximum: int) -> list[PeerAddress]:
        """Some of its addresses, stale ones too, without a draw: for who looks on and must change nothing."""
        return [entry.address for entry in self._all[:maximum]]

    def entries(self) -> list[Entry]:
        """All of them, in an order that changes: for who counts them."""
        return self._all

    def views(self, offset: int, limit: int, source: str | None = None) -> list[AddressView]:
        """See `INodeView.addresses`."""
        chosen = (one for one in self._entries.values() if source is None or source_name(one.source) == source)
        return [entry.view() for entry in islice(chosen, offset, offset + limit)]

    def sources(self, most: int = 20) -> Mapping[str, SourceHolds]:
        """What the sources of most addresses have in the book."""
        return self._sources.holds(most)

    def __contains__(self, address: object) -> bool:
        return address in self._entries

    # --- keeping ---

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """The book as rows (key and value), lazily.

        A caller may take a few at a time, and entries may change meanwhile.
        """
        placement = self._placement
        yield _HEAD, encode_head(Head(placement.salt, placement.new_buckets, placement.tried_buckets))
        entries = list(self._all)
        for number, start in enumerate(range(0, len(entries), CHUNK)):
            yield b"book/%08d" % number, encode_chunk([entry.row() for entry in entries[start : start + CHUNK]])

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Become what `dump` wrote. Returns the rows that are corrupt; without a good head row all of them are."""
        stored = dict(rows)
        if not stored:
            return []
        try:
            head = decode_head(stored.pop(_HEAD, b""))
        except StorageCorrupt as error:
            self.log.error("{error}: the whole book is set aside, and addresses are learnt anew", error=str(error))
            self._corrupt.add(1 + len(stored))
            return list(dict(rows).items())
        here = self._placement
        same = (head.new_buckets, head.tried_buckets) == (here.new_buckets, here.tried_buckets)
        self._placement = Placement(head.salt, here.new_buckets, here.tried_buckets)
        self._empty()
        corrupt: list[tuple[bytes, bytes]] = []
        for key, value in sorted(stored.items()):
            try:
                read = decode_chunk(value)
            except StorageCorrupt as error:
                self.log.error("{error}: row {key} is set aside, its addresses are lost", error=str(error), key=key)
                self._corrupt.add()
                corrupt.append((key, value))
                continue
            for row in read:
                self._restore(row, same)
        self._measure()
        return corrupt

    async def save(self, namespace: INamespace) -> None:
        """Write the book, as one batch. Fails with `StorageError`."""
        rows = list(self.dump())
        stale = await namespace.scan(b"book/%08d" % (len(rows) - 1), _HEAD)
        await namespace.write(rows, [key for key, _ in stale])

    async def restore(self, namespace: INamespace) -> None:
        """Read the book; what is corrupt is set aside under other keys, and said. Fails with `StorageError`."""
        corrupt = self.load(await namespace.scan(_PREFIX, b"book0"))
        if corrupt:
            await namespace.write([(_ASIDE + key, value) for key, value in corrupt], [key for key, _ in corrupt])

    def reconfigure(self, limits: Limits) -> None:
        """Take new table sizes: every address finds its place anew, and those that find none are forgotten.

        A smaller share of a source is for those that come from now on.
        """
        here = self._placement
        self._sources.allowed = _share(limits)
        if (here.new_buckets, here.tried_buckets) != _sizes(limits):
            rows = [entry.row() for entry in self._all]
            self._placement = Placement(here.salt, *_sizes(limits))
            self._empty()
            for row in rows:
                self._restore(row, same_tables=False)
            self._measure()

    # --- within ---

    def _add(self, found: FoundAddress, group: str, source: PeerAddress | str, now: float) -> bool:
        address = found.address
        if not address.port or address in self._own:
            self._refused.add(1, "own" if address.port else "no-port")
            return False
        if len(address.host.encode()) > LONGEST:
            self._refused.add(1, "name")
            return False
        heard = now if found.last_seen is None else found.last_seen
        if not 0 <= heard <= now + 600:
            heard = now - 5 * 86_400  # nobody hears from the future: neither fresh nor quite forgotten
        if not isinstance(source, PeerAddress) or source.host != address.host:
            heard = max(0.0, heard - PENALTY)
        entry = self._entries.get(address)
        fresh, plain = entry is None, self._placement.plain
        if entry is None:
            entry = Entry(address, group)
            entry.first_seen = now
            entry.last_seen = heard
        else:
            newer = heard > entry.last_seen
            if heard - entry.last_seen > (3600 if now - heard < 86_400 else 86_400):
                entry.last_seen = heard
            entry.services |= found.services & 0xFFFF_FFFF_FFFF_FFFF
            entry.peer_id = found.peer_id or entry.peer_id
            # Each further place costs an attacker twice the announcements of the one before.
            if entry.tried or not newer or len(entry.places) >= REFERENCES or plain:
                return False
            if self._rng.randrange(1 << len(entry.places)):
                return False
        place = self._placement.new(address, netgroup(address), group)
        holder = self._new.get(place)
        if holder is entry:
            return False
        if holder is not None and not plain and not holder.stale(now) and (len(holder.places) == 1 or not fresh):
            self._refused.add(1, "place-taken")
            return False
        # One of its own may go for it, if that leaves the book by it.
        spared = holder is not None and holder.source == group and len(holder.places) == 1
        if fresh and self._sources.is_full(group) and not spared:
            self._refused.add(1, "source-share")
            return False
        if holder is not None:
            self._leave(holder, place)
        if fresh:
            entry.services = found.services & 0xFFFF_FFFF_FFFF_FFFF
            entry.peer_id = found.peer_id
            self._enter(entry)
        self._new.put(place, entry)
        entry.places = (*entry.places, place)
        return fresh

    def _enter(self, entry: Entry) -> None:
        entry.index = len(self._all)
        self._all.append(entry)
        self._entries[entry.address] = entry
        self._sources.entered(entry.source)
        if entry.tried:
            self._sources.proved(entry.source)

    def _leave(self, entry: Entry, place: int) -> None:
        """Take an entry out of one place of the new table, and out of the book where that was its last."""
        self._new.clear(place)
        entry.places = tuple(other for other in entry.places if other != place)
        if not entry.places:
            self._evicted.add(1, "new")
            self._forget(entry)

    def _drop(self, entry: Entry) -> None:
        table = self._tried if entry.tried else self._new
        for place in entry.places:
            table.clear(place)
        entry.places = ()
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._swap(entry.index, len(self._all) - 1)
        self._all.pop()
        del self._entries[entry.address]
        self._contested.pop(entry.address, None)
        self._sources.left(entry.source, entry.tried)

    def _swap(self, one: int, other: int) -> None:
        everyone = self._all
        first, second = everyone[one], everyone[other]
        everyone[one], everyone[other] = second, first
        first.index, second.index = other, one

    def _tried_place(self, entry: Entry) -> int:
        return self._placement.tried(entry.address, netgroup(entry.address))

    def _make_tried(self, entry: Entry) -> None:
        """Move an entry to the tried table; who stands in its place goes back to the new one."""
        place = self._tried_place(entry)
        for old in entry.places:
            self._new.clear(old)
        entry.places = ()
        loser = self._tried.get(place)
        if loser is not None:
            self._tried.clear(place)
            loser.tried = False
            self._sources.displaced(loser.source)
            self._evicted.add(1, "tried")
            back = self._placement.new(loser.address, netgroup(loser.address), loser.source)
            holder = self._new.get(back)
            if holder is not None:
                self._leave(holder, back)
            self._new.put(back, loser)
            loser.places = (back,)
        entry.tried = True
        self._sources.proved(entry.source)
        entry.places = (place,)
        self._tried.put(place, entry)
        self._contested.pop(entry.address, None)

    def _defender(self, challenger: PeerAddress) -> Entry | None:
        entry = self._entries.get(challenger)
        return None if entry is None or entry.tried else self._tried.get(self._tried_place(entry))

    def _resolve(self, now: float) -> None:
        """Decide the contests that can be: who answered lately stays, who was tested and did not answer goes."""
        for challenger in list(self._contested):
            entry, holder = self._entries.get(challenger), self._defender(challenger)
            if entry is None:
                continue  # it lost its last place to the loser of another contest
            if holder is not None:
                if now - holder.last_success < TEST_PERIOD:
                    del self._contested[challenger]
                    continue
                tested = now - holder.last_attempt
                if not (
                    60 < tested < TEST_PERIOD or (tested >= TEST_PERIOD and now - entry.last_success > TEST_WINDOW)
                ):
                    continue
            self._make_tried(entry)
            self._measure()

    def _restore(self, row: Row, same_tables: bool) -> None:
        if row.address in self._entries or row.address in self._own:
            return
        entry = Entry(row.address, row.source)
        entry.services, entry.peer_id, entry.failures = row.services, row.peer_id, row.failures
        entry.last_seen, entry.last_attempt, entry.last_success = row.last_seen, row.last_attempt, row.last_success
        entry.first_seen = row.first_seen
        table = self._new
        if same_tables:
            places = tuple(dict.fromkeys(row.places[:REFERENCES]))
            if row.tried:
                table, entry.tried, places = self._tried, True, places[:1]
        else:
            group = netgroup(row.address)
            places = (self._placement.new(row.address, group, row.source),)
            if (
                row.tried
                and not self._placement.plain
                and self._tried.get(at := self._placement.tried(row.address, group)) is None
            ):
                table, entry.tried, places = self._tried, True, (at,)
        limit = BUCKET * (self._placement.tried_buckets if entry.tried else self._placement.new_buckets)
        kept = tuple(place for place in places if place < limit and table.get(place) is None)
        if not kept:
            self._refused.add(1, "place-taken")
            return
        entry.places = kept
        for place in kept:
            table.put(place, entry)
        self._enter(entry)

    def _measure(self) -> None:
        self._size.set(len(self._all) - self._tried.size, "new")
        self._size.set(self._tried.size, "tried")


def _sizes(limits: Limits) -> tuple[int, int]:
    """Buckets of the new and of the tried table; none of the latter where the book is plain."""
    new, tried = limits.book_new_buckets, limits.book_tried_buckets
    return (new, tried) if limits.book_buckets else (new + tried, 0)


def _share(limits: Limits) -> int:
    """Addresses that one source may have: of the places for those that never answered."""
    return max(1, _sizes(limits)[0] * BUCKET * limits.source_share // 100)
