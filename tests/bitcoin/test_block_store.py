"""The block store.

Blocks come back as they went in, pruning keeps what must be kept, and damage costs a download at most.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from p2pframe.errors import StorageError
from p2pframe.interfaces import IItemStore
from p2pframe.model import Item, ItemId, Topic
from p2pframe.protocols.bitcoin.block_places import BlockPlaces, Place
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.storage.memory import MemoryConfig, MemoryStorage
from p2pframe.testing.context import FakeContext
from tests.bitcoin.chain_makers import chain_of, digest

LATER = 4_000_000_000
HEADERS = chain_of(700)
HASHES = [REGTEST.genesis_hash, *map(digest, HEADERS)]
SIZE = 200


def body(height: int, size: int = SIZE) -> bytes:
    """A header with some bytes behind it: the store looks no further."""
    return HEADERS[height - 1] + bytes([height % 251]) * (size - 80)


def item(height: int, size: int = SIZE) -> Item:
    return Item(Topic("block"), ItemId(HASHES[height]), body(height, size), size)


def now(deferred: Deferred):
    """The result of a Deferred that has fired; raises its error."""
    results: list = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


class Disk:
    """A storage namespace that outlives stores, with contexts to match, and faults on demand."""

    def __init__(self) -> None:
        self.engine = MemoryStorage(MemoryConfig(), FakeContext("storage.memory"))
        now(self.engine.start())
        self.space = self.engine.namespace("regtest", "protocol.bitcoin")

    def store(self, count: int = 700, file: int = 1000, prune: int = 0) -> tuple[BlockStore, FakeContext, HeaderIndex]:
        index = HeaderIndex(REGTEST)
        index.add_headers(HEADERS[:count], LATER)
        context = FakeContext("protocol.bitcoin", storage=self.space)
        options = SimpleNamespace(block_file_size=file, prune_target=prune)
        return BlockStore(options, context, index), context, index

    def started(self, **options):
        store, context, index = self.store(**options)
        report = now(store.start())
        return store, context, index, report


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_it_is_an_item_store() -> None:
    verifyObject(IItemStore, Disk().store()[0])


def test_blocks_come_back_and_survive_a_restart(disk: Disk) -> None:
    store, _, _, report = disk.started()
    assert report == (0, 0, 0) and not store.have(HASHES[1])
    for height in (3, 1, 2):
        assert now(store.put(item(height))) is True
    for again in (store, disk.started()[0]):
        assert len(again) == 3
        for height in (1, 2, 3):
            got = now(again.get(HASHES[height]))
            assert got is not None and got.body == body(height) and got.size == SIZE and got.id == HASHES[height]
        assert again.have(HASHES[2]) and not again.have(HASHES[4]) and now(again.get(HASHES[4])) is None
        assert again.missing(HASHES[1:6]) == HASHES[4:6]
        assert again.size == 3 * SIZE


def test_a_parsed_body_is_stored_by_its_bytes_and_anything_else_is_refused(disk: Disk) -> None:
    store = disk.started()[0]
    parsed = Item(Topic("block"), ItemId(HASHES[5]), SimpleNamespace(raw=body(5)), SIZE)
    assert now(store.put(parsed)) is True and now(store.get(HASHES[5])).body == body(5)
    with pytest.raises(TypeError, match="raw"):
        now(store.put(Item(Topic("block"), ItemId(HASHES[6]), object(), 1)))


def test_files_are_closed_at_their_size_and_a_larger_block_has_one_of_its_own(disk: Disk) -> None:
    store = disk.started()[0]
    for height in range(1, 7):
        now(store.put(item(height)))
    now(store.put(item(7, 5000)))
    now(store.put(item(8)))
    assert list(disk.space.blobs()) == ["blocks-00000", "blocks-00001", "blocks-00002", "blocks-00003"]
    assert [disk.space.blob(name).size for name in disk.space.blobs()] == [1000, 200, 5000, 200]
    assert store.size == 6400 and now(store.get(HASHES[7])).body == body(7, 5000)


def test_a_block_twice_is_stored_once(disk: Disk) -> None:
    store = disk.started()[0]
    assert now(store.put(item(1))) and now(store.put(item(1)))
    assert len(store) == 1 and store.size == SIZE


def test_a_block_without_a_known_header_is_turned_away_and_counted(disk: Disk) -> None:
    store, context, _, _ = disk.started(count=3)
    assert now(store.put(item(9))) is False
    assert context.metrics.value("blocks_turned_away_total", "unknown-header") == 1 and not store.have(HASHES[9])


def test_blocks_wait_for_headers_that_were_lost(disk: Disk) -> None:
    store = disk.started()[0]
    for height in (1, 2, 500):
        now(store.put(item(height)))
    after, _, index, report = disk.started(count=2)
    assert report.held == 3 and after.have(HASHES[500]) and now(after.get(HASHES[500])).body == body(500)
    index.add_headers(HEADERS[2:], LATER)
    assert after.have(HASHES[500]) and now(after.get(HASHES[500])).body == body(500)
    after.forget(HASHES[500])
    assert not after.have(HASHES[500]) and len(after) == 2


def test_a_damaged_block_is_forgotten_counted_and_can_be_stored_again(disk: Disk) -> None:
    store, context, _, _ = disk.started()
    for height in (1, 2):
        now(store.put(item(height)))
    disk.space.blob("blocks-00000")._data[SIZE + 150] ^= 1
    assert now(store.get(HASHES[2])) is None and now(store.get(HASHES[1])) is not None
    assert context.metrics.value("blocks_corrupt_total") == 1 and not store.have(HASHES[2])
    assert disk.started()[3].held == 1
    assert now(store.put(item(2))) and now(store.get(HASHES[2])).body == body(2)


def test_a_row_that_points_to_another_block_gives_neither(disk: Disk) -> None:
    store = disk.started()[0]
    for height in (1, 2):
        now(store.put(item(height)))
    row = now(disk.space.get(b"b" + HASHES[2]))
    now(disk.space.write([(b"b" + HASHES[1], row)]))
    again, context, _, _ = disk.started()
    assert now(again.get(HASHES[1])) is None and now(again.get(HASHES[2])) is not None
    assert context.metrics.value("blocks_corrupt_total") == 1


def test_a_read_that_ends_after_its_block_is_gone_is_no_damage(disk: Disk, monkeypatch) -> None:
    store, context, _, _ = disk.started()
    now(store.put(item(1)))
    blob = disk.space.blob("blocks-00000")
    for end in (lambda slow: slow.callback(b""), lambda slow: slow.errback(StorageError("no such file"))):
        slow: Deferred = Deferred()
        monkeypatch.setattr(blob, "read", lambda offset, length, slow=slow: slow)
        now(store.put(item(1)))
        got = store.get(HASHES[1])
        store.forget(HASHES[1])
        end(slow)
        assert now(got) is None
    assert context.metrics.value("blocks_corrupt_total") == 0


def test_a_first_block_larger_than_a_file_still_goes_to_the_first(disk: Disk) -> None:
    store = disk.started()[0]
    assert now(store.put(item(1, 3000))) and list(disk.space.blobs()) == ["blocks-00000"]


def test_rows_that_point_beyond_a_file_are_dropped_at_start(disk: Disk) -> None:
    store = disk.started()[0]
    for height in range(1, 8):
        now(store.put(item(height)))
    now(disk.space.blob("blocks-00001").truncate(SIZE + 7))
    now(disk.space.write([(b"b" + HASHES[9], b"short"), (b"b" + HASHES[10], Place(77, 0, 5, 0).pack())]))
    again, context, _, report = disk.started()
    assert report.held == 6 and report.rows_dropped == 3 and not again.have(HASHES[7])
    assert context.metrics.value("block_rows_dropped_total") == 3
    assert disk.started()[3] == (6, 0, 0)
    assert now(again.put(item(7))) and now(again.get(HASHES[7])).body == body(7)


def test_a_failed_write_leaves_the_block_not_held(disk: Disk, monkeypatch) -> None:
    store, context, _, _ = disk.started()

    def refuse(*_args, **_kwargs) -> Deferred:
        deferred: Deferred = Deferred()
        deferred.errback(StorageError("disk on fire"))
        return deferred

    monkeypatch.setattr(disk.space, "write", refuse)
    with pytest.raises(StorageError, match="on fire"):
        now(store.put(item(1)))
    assert not store.have(HASHES[1]) and context.metrics.value("blocks_turned_away_total", "storage") == 1
    disk.engine.config = MemoryConfig(limit=10)
    with pytest.raises(StorageError):
        now(store.put(item(2)))
    assert not store.have(HASHES[2]) and len(store) == 0


def test_a_read_error_is_the_callers_and_loses_nothing(disk: Disk) -> None:
    store = disk.started()[0]
    now(store.put(item(1)))
    now(disk.engine.stop())
    with pytest.raises(StorageError):
        now(store.get(HASHES[1]))
    assert store.have(HASHES[1])


def test_it_must_be_started() -> None:
    store = Disk().store()[0]
    with pytest.raises(StorageError, match="start"):
        now(store.put(item(1)))


def test_the_joined_height_follows_blocks_out_of_order_and_the_best_chain(disk: Disk) -> None:
    store, _, index, _ = disk.started(count=20)
    assert store.joined_height == 0
    for height in (2, 3, 5):
        now(store.put(item(height)))
    assert store.joined_height == 0
    now(store.put(item(1)))
    assert store.joined_height == 3
    time = int.from_bytes(HEADERS[1][68:72], "little")
    index.add_headers(chain_of(30, HASHES[2], time, seed=b"other"), LATER)
    assert store.joined_height == 2


# Pruning. Files hold five blocks.


def test_pruning_deletes_oldest_files_and_never_those_of_the_last_288_blocks(disk: Disk) -> None:
    store, context, _, _ = disk.started(prune=20 * SIZE)
    for height in range(1, 401):
        now(store.put(item(height)))
    # 400 - 288 = 112: blocks 1 to 110 fill the files that may go.
    assert store.missing(HASHES[1:401]) == HASHES[1:111] and store.pruned and store.pruned_height == 111
    assert len(store) == 290 and store.size == 290 * SIZE
    assert context.metrics.value("block_files_pruned_total") == 22
    assert disk.space.blobs()[0] == "blocks-00022"
    again, _, _, report = disk.started(prune=20 * SIZE)
    assert report == (290, 0, 0) and again.pruned_height == 111 and again.joined_height == 400
    now(again.put(item(401)))
    assert now(again.get(HASHES[401])).body == body(401) and again.joined_height == 401


def test_nothing_is_pruned_above_a_gap(disk: Disk) -> None:
    store = disk.started(prune=SIZE)[0]
    for height in range(2, 700):
        now(store.put(item(height)))
    assert not store.pruned
    now(store.put(item(1)))
    # Pruning goes by files, and block 1 is in the newest: what stands before it may go.
    assert store.pruned_height == 412 and store.have(HASHES[1]) and store.joined_height == 699


def test_a_target_that_is_met_and_no_target_prune_nothing(disk: Disk) -> None:
    for prune in (0, 10**9):
        store = disk.started(prune=prune)[0]
        for height in range(1, 601):
            now(store.put(item(height)))
        assert not store.pruned and len(store) == 600


def test_a_crash_between_rows_and_file_leaves_a_file_that_the_next_start_deletes(disk: Disk) -> None:
    store = disk.started()[0]
    for height in range(1, 21):
        now(store.put(item(height)))
    now(disk.space.write(deletes=[b"b" + hash for hash in HASHES[1:6]]))
    report = disk.started()[3]
    assert report == (15, 0, 1) and disk.space.blobs()[0] == "blocks-00001"


def test_a_pruning_that_fails_is_counted_and_leaves_the_store_working(
    disk: Disk, monkeypatch, flush_logged_errors
) -> None:
    store, context, _, _ = disk.started(prune=SIZE)

    def refuse(name: str) -> Deferred:
        deferred: Deferred = Deferred()
        deferred.errback(StorageError(f"can't delete {name}"))
        return deferred

    monkeypatch.setattr(disk.space, "delete_blob", refuse)
    for height in range(1, 310):
        now(store.put(item(height)))
    assert context.metrics.value("block_prune_failures_total") > 0 and store.have(HASHES[309])
    monkeypatch.undo()
    assert disk.started()[3].files_deleted > 0


def test_stop_waits_for_a_pruning_under_way(disk: Disk, monkeypatch) -> None:
    store = disk.started(prune=SIZE)[0]
    slow: Deferred = Deferred()
    monkeypatch.setattr(disk.space, "delete_blob", lambda name: slow)
    for height in range(1, 300):
        now(store.put(item(height)))
    stopped = store.stop()
    assert not stopped.called
    slow.callback(None)
    assert stopped.called
    assert now(disk.started()[0].stop()) is None


def test_places_cost_little_and_are_right() -> None:
    index = HeaderIndex(REGTEST)
    index.add_headers(HEADERS, LATER)
    places = BlockPlaces(index)
    for height in range(1, 701, 3):
        places.put(HASHES[height], Place(height % 4, height, height + 1, height + 2))
    places.drop(HASHES[4])
    places.drop(HASHES[5])
    assert places.get(HASHES[7]) == (3, 7, 8, 9) and places.get(HASHES[8]) is None and HASHES[4] not in places
    assert places.in_file(2) == [HASHES[h] for h in range(1, 701, 3) if h % 4 == 2]
    assert places.count == len(range(1, 701, 3)) - 1
