"""The address book: who gets in, who is drawn, what survives, and what one attacker can and can't fill."""

import struct
from hashlib import blake2b
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from zope.interface.verify import verifyObject

from p2pframe.config.settings import Limits
from p2pframe.core import address_book
from p2pframe.core.address_book import AddressBook
from p2pframe.core.address_rows import Row, decode_chunk, encode_chunk
from p2pframe.core.address_table import GROUP_BUCKETS, SOURCE_BUCKETS, Placement, Table
from p2pframe.errors import StorageCorrupt
from p2pframe.interfaces import IAddressBook
from p2pframe.model import FoundAddress, PeerAddress, PeerId, netgroup
from p2pframe.testing.context import FakeContext

DAY = 86_400.0
OF_PEERS = f"peers of {netgroup(PeerAddress('203.0.113.9', 1))}"
STEPS = ["add", "good", "attempt", "exclude", "later", "draw"]


class World:
    def __init__(self, seed=1, **limits):
        self.now = 1.7e9
        self.context = FakeContext("core.book")
        self.rng = Random(seed)
        self.limits = Limits(**limits)
        self.book = self.another()

    def another(self):
        return AddressBook(self.limits, Random(3), self.context.entropy, lambda: self.now, self.context.metrics)

    def found(self, count, prefix=None):
        """Fresh random addresses, all of one /16 where a prefix is given."""
        return [FoundAddress(self.address(prefix), 1, self.now - self.rng.random() * DAY) for _ in range(count)]

    def address(self, prefix=None):
        rng = self.rng
        head = prefix or f"{rng.randrange(1, 224)}.{rng.randrange(256)}"
        if head.startswith("127."):
            head = "126.1"
        return PeerAddress(f"{head}.{rng.randrange(256)}.{rng.randrange(256)}", rng.randrange(1024, 65536))

    def fill(self, sources, each=50):
        for _ in range(sources):
            self.book.add(self.found(each), self.address())

    def draw(self, **which):
        return self.book.draw(self.rng, self.now, **which)


def check(book):
    """What always holds: every entry stands where it says, and nothing else does."""
    standing = {}
    for table, tried in ((book._new, False), (book._tried, True)):
        for number, bucket in table._buckets.items():
            assert bucket, "an empty bucket is kept"
            assert book and table._filled[table._where[number]] == number
            for position, entry in bucket.items():
                assert entry.tried is tried
                standing.setdefault(entry.address, []).append(number * 64 + position)
        assert table.size == sum(map(len, table._buckets.values()))
        assert len(table._filled) == len(table._buckets)
    assert {address: sorted(places) for address, places in standing.items()} == {
        entry.address: sorted(entry.places) for entry in book._all
    }
    assert set(book._entries) == set(standing)
    assert all(book._all[index].index == index for index in range(len(book._all)))
    assert all(1 <= len(entry.places) <= 8 for entry in book._all)
    assert set(book._contested) <= set(book._entries)
    assert len(book._contested) <= 10


def test_it_is_an_address_book():
    assert verifyObject(IAddressBook, World().book)


def test_what_was_told_is_drawn_and_what_answered_is_tried():
    world = World()
    assert world.draw() is None
    found = FoundAddress(PeerAddress.of("192.0.2.1", 8333), 9, world.now, PeerId(b"x" * 32))
    assert world.book.add([found, found], "dns-seed") == 1
    candidate = world.draw()
    assert (candidate.address, candidate.netgroup, candidate.tried) == (found.address, "v4:192.0", False)
    assert (candidate.services, candidate.peer_id) == (9, b"x" * 32)
    assert world.draw(only_tried=True) is None
    world.book.attempt(found.address, world.now)
    world.book.good(found.address, world.now)
    assert world.book.counts == {"new": 0, "tried": 1}
    assert world.draw(only_tried=True).last_success == world.now
    assert world.draw(only_new=True) is None


def test_what_is_no_address_to_dial_is_refused():
    world = World()
    own = PeerAddress.of("192.0.2.1", 8333)
    world.book.add([FoundAddress(own)], "x")
    world.book.exclude(own)
    assert world.book.size == 0
    assert world.book.add([FoundAddress(own), FoundAddress(PeerAddress.of("192.0.2.2", 0))], "x") == 0
    assert world.context.metrics.value("book_turned_away", "own") == 1


def test_times_that_others_tell_are_not_believed():
    world = World()
    peer, told = world.address(), world.address()
    world.book.add([FoundAddress(told, 0, world.now)], peer)
    world.book.add([FoundAddress(peer, 0, world.now)], peer)
    seen = {found.address: found.last_seen for found in world.book.sample(10)}
    assert seen == {told: world.now - 2 * 3600, peer: world.now}
    future = world.address()
    world.book.add([FoundAddress(future, 0, world.now + 10 * DAY)], peer)
    assert world.book._entries[future].last_seen < world.now - 4 * DAY


def test_a_failing_address_is_drawn_less_and_ten_minutes_make_it_likelier():
    world = World()
    good, bad = PeerAddress.of("192.0.2.1", 1), PeerAddress.of("198.51.100.1", 1)
    world.book.add([FoundAddress(good), FoundAddress(bad)], "x")
    world.book.attempt(bad, world.now - 30)
    drawn = [world.draw().address for _ in range(400)]
    assert drawn.count(bad) < 40
    world.now += 3600
    drawn = [world.draw().address for _ in range(400)]
    assert 100 < drawn.count(bad) < 200  # 0.66 / 1.66 of 400


def test_failures_while_nothing_works_are_counted_once():
    world = World()
    one = PeerAddress.of("192.0.2.1", 1)
    world.book.add([FoundAddress(one), FoundAddress(PeerAddress.of("192.0.2.2", 1))], "x")
    for step in range(50):
        world.book.attempt(one, world.now + step * 700)
    assert world.book._entries[one].failures == 1
    world.book.good(PeerAddress.of("192.0.2.2", 1), world.now + 50 * 700)
    world.book.attempt(one, world.now + 51 * 700)
    assert world.book._entries[one].failures == 2


def test_samples_are_bounded_and_never_stale():
    world = World()
    world.fill(20)
    old = [FoundAddress(world.address(), 0, world.now - 31 * DAY) for _ in range(100)]
    world.book.add(old, world.address())
    sample = world.book.sample(100_000, 23)
    assert len(sample) == world.book.size * 23 // 100
    assert len({found.address for found in sample}) == len(sample)
    assert len(world.book.sample(50)) == 50
    everyone = {found.address for found in world.book.sample(100_000)}
    assert len(everyone) > 900
    assert not everyone & {found.address for found in old}
    check(world.book)


def test_a_contested_place_is_tested_before_it_changes_hands():
    world = World(book_tried_buckets=1)
    holder = challenger = None
    while challenger is None:
        candidate = world.address()
        world.book.add([FoundAddress(candidate, 0, world.now)], candidate)
        before = world.book.counts["tried"]
        world.book.good(candidate, world.now)
        if world.book.counts["tried"] == before:
            challenger = candidate
    holder = world.book._defender(challenger).address
    # Who answered lately keeps the place.
    world.draw()
    assert not world.book._contested
    assert world.book._entries[holder].tried
    # Long ago: the feeler is sent to the holder, which does not answer, and loses it.
    world.now += 5 * 3600
    world.book.good(challenger, world.now)
    drawn = {world.draw(only_new=True).address for _ in range(50)}
    assert holder in drawn
    world.book.attempt(holder, world.now)
    world.now += 61
    world.draw()
    assert world.book._entries[challenger].tried
    assert not world.book._entries[holder].tried
    # It answers: it stays, and the contest is over.
    world.now += 5 * 3600
    world.book.good(holder, world.now)
    world.book.good(challenger, world.now)
    world.now += 61
    world.draw()
    assert world.book._entries[challenger].tried
    check(world.book)


def test_a_contest_ends_when_its_challenger_is_forgotten():
    world = World(book_tried_buckets=1)
    while not world.book._contested:
        address = world.address()
        world.book.add([FoundAddress(address, 0, world.now)], address)
        world.book.good(address, world.now)
    world.book.exclude(address)
    check(world.book)
    assert not world.book._contested


def test_no_source_group_reaches_more_than_its_buckets():
    world = World()
    placement = world.book._placement
    source = "v4:10.0"
    buckets = {placement.new(a, netgroup(a), source) // 64 for a in (world.address() for _ in range(20_000))}
    assert len(buckets) <= SOURCE_BUCKETS


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 223).filter(lambda first: first != 127))
def test_no_netgroup_reaches_more_than_8_tried_buckets(salt, first):
    placement, rng = Placement(salt, 1024, 256), Random(1)
    addresses = [PeerAddress(f"{first}.7.{rng.randrange(256)}.{rng.randrange(256)}", 8333) for _ in range(500)]
    assert len({placement.tried(a, netgroup(a)) // 64 for a in addresses}) <= GROUP_BUCKETS
    assert all(placement.tried(a, netgroup(a)) < 256 * 64 for a in addresses)


def flood(world, count):
    """One source, ever new addresses of as many netgroups as it likes, against a book of honest ones."""
    world.fill(600)
    honest = {entry.address for entry in world.book._all}
    tried = world.rng.sample(sorted(honest), 2000)
    for address in tried:
        world.book.good(address, world.now)
    before = world.book.size
    attacker = PeerAddress.of("203.0.113.5", 8333)
    for _ in range(count // 1000):
        world.book.add(world.found(1000), attacker)
    hostile = [entry for entry in world.book._all if entry.address not in honest]
    kept = world.book.size - len(hostile)
    drawn = sum(world.draw(only_new=True).address not in honest for _ in range(4000)) / 4000
    return before, kept, len(hostile), drawn


def assert_flood_in_vain(before, kept, hostile, drawn):
    assert hostile <= SOURCE_BUCKETS * 64
    # 64 of 1024 buckets are 6.25 % of the draws of new addresses, however many they send; none of them is tried.
    assert drawn < 0.09
    # Honest ones lose a place only to where they held several.
    assert kept > 0.99 * before


def test_a_hundred_thousand_addresses_from_one_source_displace_nobody():
    world = World()
    assert_flood_in_vain(*flood(world, 100_000))
    check(world.book)


@pytest.mark.slow
def test_a_million_addresses_from_one_source_displace_nobody():
    assert_flood_in_vain(*flood(World(), 1_000_000))


def test_one_netgroup_can_not_own_the_tried_table():
    world = World()
    for _ in range(3000):
        address = world.address("10.7")
        world.book.add([FoundAddress(address, 0, world.now)], world.address())
        world.book.good(address, world.now)
    assert world.book.counts["tried"] <= GROUP_BUCKETS * 64
    check(world.book)


def test_draws_are_bounded_also_when_nearly_everything_failed():
    world = World()
    world.fill(20)
    for entry in world.book._all:
        entry.failures, entry.last_attempt = 8, world.now
    assert world.draw() is not None
    table = Table()
    table.put(65_535, "only")
    assert table.pick(world.rng) == "only"
    table.clear(65_535)
    assert table.pick(world.rng) is None


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), max_size=120))
def test_any_history_leaves_the_tables_in_order(history):
    world = World(book_new_buckets=1, book_tried_buckets=1)
    pool = [PeerAddress(f"{10 + n % 7}.{n % 3}.0.{n}", 1000 + n) for n in range(41)]
    world.book.add([FoundAddress(a, 0, world.now) for a in pool], "x")
    for step, number in history:
        address = pool[number]
        if step == "add":
            world.book.add([FoundAddress(address, 0, world.now)], pool[-number])
        elif step == "good":
            world.book.good(address, world.now)
        elif step == "attempt":
            world.book.attempt(address, world.now)
        elif step == "exclude" and number < 3:
            world.book.exclude(address)
        elif step == "later":
            world.now += number * 1000
        else:
            world.draw(only_new=number % 2 == 0)
        check(world.book)
    again = world.another()
    assert again.load(world.book.dump()) == []
    check(again)
    assert again.counts == world.book.counts


def test_it_comes_back_as_it_was():
    world = World()
    world.fill(40)
    for address in [entry.address for entry in world.book._all][:300]:
        world.book.attempt(address, world.now)
        world.book.good(address, world.now)
    waiting = ensureDeferred(world.book.save(world.context.storage))
    assert waiting.called
    again = world.another()
    assert ensureDeferred(again.restore(world.context.storage)).called
    check(again)
    assert again.counts == world.book.counts

    def state(book):
        return {
            e.address: (e.places, e.tried, e.last_seen, e.last_success, e.services, e.source) for e in book._all
        }

    assert state(again) == state(world.book)
    # A smaller book leaves no rows of the larger one behind.
    small = World()
    small.fill(1, 5)
    ensureDeferred(small.book.save(world.context.storage))
    last = world.another()
    ensureDeferred(last.restore(world.context.storage))
    assert last.size == 5


def test_other_table_sizes_find_everyone_a_new_place():
    world = World()
    world.fill(10)
    rows = list(world.book.dump())
    world.limits = Limits(book_new_buckets=16, book_tried_buckets=4)
    again = world.another()
    assert again.load(rows) == []
    check(again)
    assert again.size > 300
    world.book.reconfigure(world.limits)
    check(world.book)
    assert world.book.size > 300


def flooded(**limits):
    """The share of draws that give an attacker, after 40 honest peers were told of and answered.

    Then sixteen netgroups tell of 1600 attackers, again and again.
    """
    world = World(book_new_buckets=16, book_tried_buckets=4, **limits)
    honest = [FoundAddress(world.address(), 1, world.now) for _ in range(40)]
    world.book.add(honest, "dns-seed")
    for found in honest:
        world.book.attempt(found.address)
        world.book.good(found.address)
    groups = [f"198.{number}" for number in range(16)]
    told = [one for group in groups for one in world.found(100, group)]
    for number in range(32):
        world.now += 60
        again = [FoundAddress(one.address, 1, world.now) for one in told]
        world.book.add(again, world.address(groups[number % 16]))
    check(world.book)
    return world, sum(world.draw().address.host.startswith("198.") for _ in range(1000)) / 1000


def test_buckets_keep_a_flood_of_addresses_from_taking_the_book():
    _, with_buckets = flooded()
    world, without = flooded(book_buckets=False)
    assert without > 0.95 and with_buckets < 0.6
    assert world.book.counts["tried"] == 0 and world.book.size <= 20 * 64
    assert world.draw(only_tried=True) is None


def test_buckets_can_be_taken_away_and_given_back_while_it_runs_and_between_two_runs():
    world = World()
    world.fill(20)
    for entry in list(world.book._all)[:10]:
        world.book.good(entry.address)
    size, rows = world.book.size, list(world.book.dump())
    world.limits = Limits(book_buckets=False)
    world.book.reconfigure(world.limits)
    check(world.book)
    assert world.book.counts["tried"] == 0 and world.book.size > 0.9 * size
    later = world.another()
    assert later.load(rows) == [] and later.size > 0.9 * size
    check(later)
    world.limits = Limits()
    world.book.reconfigure(world.limits)
    check(world.book)
    again = world.another()
    again.load(later.dump())
    check(again)
    assert again.size > 0.8 * size


def test_a_corrupt_chunk_is_set_aside_and_the_rest_is_kept():
    world = World()
    world.fill(50)
    ensureDeferred(world.book.save(world.context.storage))
    chunk = ensureDeferred(world.context.storage.get(b"book/00000000")).result
    world.context.storage.write([(b"book/00000000", chunk[:500] + b"\x00" + chunk[501:])])
    again = world.another()
    ensureDeferred(again.restore(world.context.storage))
    check(again)
    assert world.book.size - again.size == address_book.CHUNK
    assert world.context.metrics.value("book_corrupt") == 1
    aside = world.context.storage.scan(b"aside/", b"aside0").result
    assert [key for key, _ in aside] == [b"aside/book/00000000"]


def test_a_corrupt_head_sets_the_whole_book_aside():
    world = World()
    world.fill(5)
    ensureDeferred(world.book.save(world.context.storage))
    world.context.storage.write([(b"book/head", b"nonsense")])
    again = world.another()
    ensureDeferred(again.restore(world.context.storage))
    assert again.size == 0
    assert world.context.storage.scan(b"book/", b"book0").result == []
    assert again.add(world.found(10), "x") == 10


addresses = st.builds(
    lambda host, port: PeerAddress.of(host, port),
    st.one_of(st.ip_addresses().map(str), st.sampled_from(["a.example", "b.onion", "c.i2p"])),
    st.integers(1, 65535),
)
times = st.floats(0, 4e9)
stored = st.builds(
    Row, addresses, st.integers(0, 2**64 - 1), times, times, times, st.integers(0, 255), st.booleans(),
    st.text("abc:.", max_size=50), st.one_of(st.none(), st.binary(min_size=1, max_size=64).map(PeerId)),
    st.lists(st.integers(0, 65535), max_size=8).map(tuple), times,
)  # fmt: skip


@given(st.lists(stored, max_size=20))
def test_rows_round_trip(rows):
    assert decode_chunk(encode_chunk(rows)) == rows


@given(st.lists(stored, min_size=1, max_size=3), st.data())
def test_no_changed_byte_goes_unnoticed(rows, data):
    chunk = bytearray(encode_chunk(rows))
    at = data.draw(st.integers(0, len(chunk) - 1))
    chunk[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StorageCorrupt):
        decode_chunk(bytes(chunk))
    with pytest.raises(StorageCorrupt):
        decode_chunk(bytes(chunk[:at]))


def test_a_full_book_is_small_and_bounded():
    import tracemalloc

    world = World()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        world.fill(300)
        each = (tracemalloc.get_traced_memory()[0] - before) / world.book.size
    finally:
        tracemalloc.stop()
    assert each * 81_920 < 60e6


# --- where addresses come from ---


def test_the_book_says_where_an_address_came_from_how_old_it_is_and_how_it_did():
    world = World()
    (found,) = world.found(1)
    first = world.now
    world.book.add([found], "dns-seed")
    world.now += 1000
    world.book.add([FoundAddress(found.address, 8, world.now)], PeerAddress("203.0.113.9", 8333))
    world.book.attempt(found.address)
    world.now += 5
    (view,) = world.book.views(0, 10)
    assert (view.address, view.source, view.first_seen) == (found.address, "dns-seed", first)
    assert (view.last_attempt, view.last_success, view.failures, view.tried) == (world.now - 5, 0, 1, False)
    assert view.services == 9
    world.book.good(found.address)
    (view,) = world.book.views(0, 10)
    assert (view.last_success, view.failures, view.tried) == (world.now, 0, True)
    again = world.another()
    again.load(world.book.dump())
    assert again.views(0, 10) == [view]


def test_pages_of_the_book_by_source():
    world = World()
    world.book.add(world.found(30), "file")
    world.book.add(world.found(20, "11.22"), PeerAddress("203.0.113.9", 8333))
    everything = [view.address for view in world.book.views(0, 1000)]
    assert len(everything) == len(set(everything)) == world.book.size
    assert [view.address for start in range(0, 60, 7) for view in world.book.views(start, 7)] == everything
    of_peers = world.book.views(0, 1000, OF_PEERS)
    assert {view.source for view in of_peers} == {OF_PEERS}
    assert len(of_peers) == world.book.sources()[OF_PEERS].held
    assert world.book.views(0, 1000, "nobody") == []


def counted(book):
    """What `sources` should say."""
    held, tried = {}, {}
    for view in book.views(0, 100_000):
        held[view.source] = held.get(view.source, 0) + 1
        tried[view.source] = tried.get(view.source, 0) + view.tried
    return {source: (held[source], tried[source]) for source in held}


@given(st.integers(0, 2**32), st.lists(st.sampled_from(["add", "good", "exclude", "load", "shrink"]), max_size=30))
@settings(max_examples=40)
def test_sources_are_counted_right_whatever_happens(seed, steps):
    world = World(seed, book_new_buckets=4, book_tried_buckets=1)
    names = ["file", "http", "dns-seed", world.address()]
    for step in steps:
        if step == "add":
            world.book.add(world.found(60), world.rng.choice(names))
        elif step == "load":
            again = world.another()
            again.load(world.book.dump())
            world.book = again
        elif step == "shrink":
            world.limits = Limits(book_new_buckets=world.rng.choice([2, 4]), book_tried_buckets=1)
            world.book.reconfigure(world.limits)
        elif world.book.size:
            view = world.rng.choice(world.book.views(0, 1000))
            world.now += 1
            world.book.good(view.address) if step == "good" else world.book.exclude(view.address)
        world.now += 60
        world.draw(only_new=True)
        sources = world.book.sources(100)
        assert {name: (holds.held, holds.tried) for name, holds in sources.items()} == counted(world.book)


@pytest.mark.parametrize("buckets", [True, False])
def test_no_source_fills_the_book(buckets):
    world = World(book_new_buckets=8, book_tried_buckets=1, book_buckets=buckets, source_share=25)
    places = (8 if buckets else 9) * 64
    world.book.add(world.found(5000), "poison")
    assert world.book.sources()["poison"].held == places // 4
    assert world.context.metrics.value("book_turned_away", "source-share") > 0
    for source in ("honest", "fair"):
        world.book.add(world.found(40), source)
    holds = world.book.sources()
    assert holds["poison"].held <= places // 4
    assert holds["honest"].held >= 20
    # Who answers is no longer counted against who told of it.
    for view in world.book.views(0, 60, "poison"):
        world.now += 1
        world.book.good(view.address)
    before = holds["poison"].held
    world.book.add(world.found(500), "poison")
    held = world.book.sources()["poison"]
    assert held.held - held.tried <= places // 4
    assert held.held > before or not buckets


def test_rows_of_the_version_before_are_read():
    row = Row(PeerAddress("192.0.2.1", 8333), 9, 5.0, 6.0, 7.0, 2, True, "source:file", None, (3,), 5.0)
    middle = struct.pack(">HBQdddBB", 8333, 0, 9, 5.0, 6.0, 7.0, 2, 1)
    body = b"pbc\x01" + b"\x09192.0.2.1" + middle + b"\x0bsource:file\x00" + struct.pack(">BI", 1, 3)
    assert decode_chunk(body + blake2b(body, digest_size=8).digest()) == [row]
    later = b"pbc\x03" + body[4:]
    with pytest.raises(StorageCorrupt, match="of version 3, this program knows 2"):
        decode_chunk(later + blake2b(later, digest_size=8).digest())


def test_a_source_that_has_its_share_gets_no_more_by_what_others_say_too():
    """Who stands at two places stays in the book when one of them goes: that is one more then, and not another."""
    world = World(book_new_buckets=8, book_tried_buckets=1, source_share=50)
    allowed = 8 * 64 // 2
    world.book.add(world.found(5000), "poison")
    for friend in range(20):
        world.now += 3700.0
        told = [FoundAddress(view.address, 1, world.now) for view in world.book.views(0, 1000, "poison")]
        world.book.add(told, f"friend{friend}")
        world.book.add(world.found(1000), "poison")
        holds = world.book.sources()["poison"]
        assert holds.held - holds.tried <= allowed
        check(world.book)


@pytest.mark.parametrize("name", ["é" * 200, "a" * 253, "é" * 253, "𝔞" * 253])
def test_the_longest_names_do_not_keep_the_book_from_the_disk(name):
    world = World()
    world.book.add(world.found(3), PeerAddress.of(name, 1))
    world.book.add([FoundAddress(PeerAddress.of(name, 1))], "list")
    again = world.another()
    assert again.load(world.book.dump()) == []
    assert sorted(again.addresses(9), key=str) == sorted(world.book.addresses(9), key=str)
    assert again.size == 3 + (len(name.encode()) <= 255)
    assert world.context.metrics.value("book_turned_away", "name") == (len(name.encode()) > 255)
    assert {name: (holds.held, holds.tried) for name, holds in again.sources().items()} == counted(again)
