"""What a DHT node writes and reads: in slices, and whole after a crash between any two of them."""

from contextlib import suppress

import pytest
from twisted.internet.defer import Deferred, fail

from p2pframe.errors import StorageError
from p2pframe.interfaces import IAddressBook
from p2pframe.protocols.mainline import keeping
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.item_store import StoredValue
from p2pframe.protocols.mainline.items import Items
from p2pframe.protocols.mainline.keeping import SLICE, Keeping
from p2pframe.protocols.mainline.requests import Requests
from p2pframe.protocols.mainline.signed_items import immutable_target
from p2pframe.protocols.mainline.upkeep import Upkeep
from p2pframe.testing.context import FakeContext, result_of

DAY = 86_400


class Disk:
    """A namespace that notes each batch, and fails from one on."""

    def __init__(self):
        self.rows = {}
        self.batches = []
        self.fails_after = None

    def scan(self):
        return result(sorted(self.rows.items()))

    def write(self, puts=(), deletes=(), durable=False):
        if self.fails_after is not None and len(self.batches) >= self.fails_after:
            return fail(StorageError("the disk is full"))
        assert not {key for key, _ in puts} & set(deletes)
        self.batches.append((list(puts), list(deletes)))
        self.rows.update(puts)
        for key in deletes:
            self.rows.pop(key, None)
        return result(None)


def result(value):
    done = Deferred()
    done.callback(value)
    return done


class Node:
    """The stores of a node and what keeps them, on a disk; it starts at a unix time."""

    def __init__(self, disk, at=0.0, **options):
        self.context = FakeContext("protocol.mainline", storage=disk)
        self.context.unix_epoch += at
        self.context.provide(IAddressBook, self)
        self.clock = self.context.reactor
        self.dht = Dht(MainlineConfig(**options), self.context)
        self.items = Items(self.dht, Requests(self.dht))
        self.keeping = Keeping(self.dht, self.items)
        self.peers = self.dht.stores.peers

    def announce(self, infohashes, peers=1, first=0):
        for number in range(first, first + infohashes):
            for one in range(peers):
                host = bytes((9, one >> 8, one & 255, 7))
                self.peers.add(number.to_bytes(20, "big"), host, 80, False, self.clock.seconds())
        return self

    def put(self, *values):
        for value in values:
            encoded = b"%d:%b" % (len(value), value)
            item = StoredValue(encoded, b"", b"", 0, b"", self.clock.seconds(), "9.9.9.0")
            assert self.dht.stores.items.put(immutable_target(encoded), item)
        return self

    def turn(self):
        """One turn of the reactor: what is due now, and nothing that is asked for meanwhile."""
        for call in [one for one in self.clock.calls if one.getTime() <= self.clock.seconds()]:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def save(self):
        """Save to the end; how many turns of the reactor it took."""
        done, turns = self.keeping.save(), 0
        while not done.called:
            self.turn()
            turns += 1
        result_of(done)
        return turns

    def load(self):
        done = Deferred.fromCoroutine(self.keeping.load())
        self.turns = 0
        while not done.called:
            self.turn()
            self.turns += 1
        result_of(done)
        assert self.left_out == 0
        return self

    @property
    def left_out(self):
        return self.context.metrics.value("dht_rows_left_out_total")

    def told(self, number):
        return self.peers.values(number.to_bytes(20, "big"), False, 9, self.clock.seconds())


def records(batch):
    puts, deletes = batch
    return sum((len(row) - 8) // 11 if key.startswith(b"peer4/") else 1 for key, row in puts) + len(deletes)


def test_what_is_little_is_written_and_read_at_once():
    disk = Disk()
    assert Node(disk).announce(10).put(b"one").save() == 0 and len(disk.batches) == 1
    after = Node(disk, 10).load()
    assert (after.peers.size, after.dht.stores.items.size, after.turns) == (10, 1, 0)


def test_no_slice_has_more_records_than_its_bound_and_the_reactor_has_a_turn_after_each():
    disk = Disk()
    node = Node(disk).announce(3000, peers=4).announce(1, peers=1, first=5000).put(*(b"%d" % n for n in range(90)))
    turns = node.save()
    assert all(0 < records(batch) <= SLICE for batch in disk.batches)
    assert turns >= len(disk.batches) - 1 >= 12_000 // SLICE
    node.clock.advance(DAY)
    for _ in range(2):
        node.dht.expire(node.clock.seconds())
    disk.batches.clear()
    node.save()
    assert all(records(batch) <= SLICE for batch in disk.batches), "what goes is bounded as well"
    assert disk.rows == {}


def test_one_infohash_with_more_peers_than_a_slice_is_a_slice_of_its_own():
    disk = Disk()
    node = Node(disk, peers_per_infohash=6000, peers_per_subnet=6000).announce(1, peers=6000).announce(50, first=1)
    node.save()
    assert max(map(records, disk.batches)) <= 6000 and len(disk.batches) == 2
    assert Node(disk, peers_per_infohash=6000, peers_per_subnet=6000).load().peers.size == 6050


def test_reading_is_in_slices_too():
    disk = Disk()
    Node(disk).announce(3000, peers=4).save()
    after = Node(disk, 10).load()
    assert after.peers.size == 12_000 and after.turns == 12_000 // SLICE - 1


@pytest.fixture
def small(monkeypatch):
    """Slices of a few records: more places to crash at."""
    monkeypatch.setattr(keeping, "SLICE", 10)


@pytest.mark.parametrize("slices", range(7))
def test_a_crash_between_two_slices_leaves_a_state_that_loads(small, slices):
    disk = Disk()
    node = Node(disk).announce(30).put(*(b"%d" % number for number in range(10)))
    node.save()
    node.clock.advance(1000)
    # Half is announced again, some are new, and the rest will have run out when the crash is over.
    node.announce(15).announce(20, first=100).put(b"new")
    node.dht.stores.items.expire(7200)
    disk.fails_after, disk.batches = slices, []
    with pytest.raises(StorageError, match="full"):
        node.save()
    after = Node(disk, 2000).load()
    loaded = [number for number in range(200) if after.told(number)]
    assert set(loaded) <= {*range(15), *range(100, 120)}, "each row has the age that it had, whoever wrote it"
    if not slices:
        assert loaded == []
    after = Node(disk, 1100).load()
    everybody = {number for number in range(200) if after.told(number)}
    assert everybody >= set(range(30)), "nothing that was there is lost"
    assert after.dht.stores.items.size >= 10


def test_after_a_crash_the_next_save_is_whole(small):
    disk = Disk()
    node = Node(disk).announce(30)
    node.save()
    node.clock.advance(1801)
    node.dht.expire(node.clock.seconds())
    node.announce(30, first=100)
    disk.fails_after, disk.batches = 2, []
    with pytest.raises(StorageError, match="full"):
        node.save()
    disk.fails_after = None
    after = Node(disk, 1900).load()
    after.save()
    assert set(disk.rows) == {b"peer4/" + (number.to_bytes(20, "big")) for number in range(100, 120)}
    node.save()
    assert set(disk.rows) == {b"peer4/" + (number.to_bytes(20, "big")) for number in range(100, 130)}


def test_peers_come_and_go_while_it_saves(small):
    disk = Disk()
    node = Node(disk).announce(50)
    done = node.keeping.save()
    node.announce(50, first=100)
    node.clock.advance(1801)
    node.dht.expire(node.clock.seconds())
    while not done.called:
        node.turn()
    result_of(done)
    assert Node(disk, 1802).load().peers.size == 0
    node.save()
    assert disk.rows == {}


def test_who_stops_while_it_saves_saves_what_there_is_then(small):
    disk = Disk()
    node = Node(disk).announce(100)
    first = node.keeping.save()
    node.turn()
    node.announce(1, first=500)
    last = node.keeping.save()
    while not (first.called and last.called):
        node.turn()
    result_of(first)
    result_of(last)
    assert Node(disk, 1).load().peers.size == 101
    assert len(disk.batches) < 2 * 11, "the first one has ended where it was"


def test_what_is_kept_is_there_after_a_crash_in_any_slice(small):
    for slices in range(5):
        disk = Disk()
        node = Node(disk)
        kept = [result_of_put(node, b"%d" % number) for number in range(20)]
        node.save()
        for target in kept[:3]:
            node.items.forget(target)
        kept.append(result_of_put(node, b"another"))
        disk.fails_after, disk.batches = slices, []
        with suppress(StorageError):
            node.save()
        node.items.stop()
        after = Node(disk, 1).load()
        assert set(kept[3:20]) <= set(after.items._kept) <= set(kept)
        after.items.stop()


def result_of_put(node, value):
    """Keep an item, though there is nobody to put it to."""
    put = Deferred.fromCoroutine(node.items.put_immutable(value, keep=True))
    put.addErrback(lambda failure: None)
    encoded = b"%d:%b" % (len(value), value)
    return immutable_target(encoded)


def test_the_oldest_item_goes_first_after_a_restart_too():
    disk = Disk()
    node = Node(disk)
    values = [b"%d" % number for number in range(50)]
    for value in values:
        node.put(value)
        node.clock.advance(10)
    node.save()
    after = Node(disk, node.clock.seconds(), items=50).load()
    after.put(b"new")
    left = {item.encoded for _, item in after.dht.stores.items.items()}
    assert left == {b"%d:%b" % (len(value), value) for value in [*values[1:], b"new"]}


def test_rows_that_are_none_are_left_out_and_go_with_the_next_save():
    disk = Disk()
    Node(disk).announce(3).save()
    disk.rows |= {b"peer4/" + bytes(20): b"short", b"item/x": bytes(20), b"stored": b"1700000000", b"kept/1": b"no"}
    after = Node(disk, 1)
    result_of(Deferred.fromCoroutine(after.keeping.load()))
    assert after.left_out == 4 and after.peers.size == 2
    after.save()
    assert sorted(disk.rows) == [b"peer4/" + number.to_bytes(20, "big") for number in (1, 2)]


def test_no_save_begins_while_one_is_under_way():
    node, saves = Node(Disk(), save_interval=1), []

    def save():
        saves.append(Deferred())
        return saves[-1]

    upkeep = Upkeep(node.dht, save)
    upkeep.start()
    for _ in range(10):
        node.clock.advance(60)
    assert len(saves) == 1
    saves[0].callback(None)
    node.clock.advance(60)
    assert len(saves) == 2
    upkeep.stop()
