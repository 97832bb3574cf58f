"""The journal: the contract of every storage engine, a power cut at any byte, a disk that refuses."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail

from p2pframe.errors import StartError, StorageError, StorageFull
from p2pframe.testing.context import FakeContext, result_of
from p2pframe.testing.storage import check_storage


@pytest.fixture
def engine(made, tmp_path):
    """`engine()`: a journal over the test's folder, each time a new one."""

    def make(**options):
        return made("storage", "journal", FakeContext("storage.journal", "", data_dir=tmp_path), **options)

    return make


def opened(engine, **options):
    storage = engine(**options)
    result_of(storage.start())
    return storage, storage.namespace("chat", "protocol.test")


def test_it_keeps_the_contract_of_a_storage_engine(engine):
    result_of(Deferred.fromCoroutine(check_storage(engine)))


def test_what_is_durable_is_in_the_file_and_the_rest_comes_within_its_time(engine, tmp_path):
    storage, space = opened(engine, write_behind="2s")
    path = tmp_path / "journal"
    space.write(puts=[(b"a", b"1")])
    assert path.stat().st_size == 0
    storage.context.reactor.advance(2.0)
    behind = path.stat().st_size
    assert behind > 0
    result_of(space.write(puts=[(b"b", b"2")], durable=True))
    assert path.stat().st_size > behind
    assert storage.context.reactor.getDelayedCalls() == []
    result_of(storage.stop())


def test_writes_during_a_write_go_with_the_next_and_fire_after_it(engine):
    storage, space = opened(engine)
    writing: list[tuple] = []
    storage.context.work = lambda *args: (writing.append((args, Deferred())), writing[-1][1])[1]
    done = []
    for number in range(3):
        space.write(puts=[(b"%d" % number, b"")], durable=True).addCallback(lambda _, n=number: done.append(n))
    assert len(writing) == 1
    writing[0][1].callback(None)
    assert done == [0] and len(writing) == 2
    writing[1][1].callback(None)
    assert done == [0, 1, 2] and len(writing) == 2


def test_after_a_power_cut_at_any_byte_a_beginning_of_what_was_written_is_there(engine, tmp_path):
    storage, space = opened(engine)
    for number in range(10):
        space.blob("data").append(b"%d" % number)
        space.write(puts=[(b"count", b"%d" % (number + 1)), (b"same", b"%d" % (number + 1))])
    result_of(storage.stop())
    whole = (tmp_path / "journal").read_bytes()
    for cut in range(len(whole)):
        (tmp_path / "journal").write_bytes(whole[:cut])
        storage, space = opened(engine)
        count, same = result_of(space.get(b"count")), result_of(space.get(b"same"))
        assert count == same
        assert space.blob("data").size >= int(count or 0)
        result_of(space.write(puts=[(b"after", b"the cut")], durable=True))
        again, space = opened(engine)
        assert result_of(space.get(b"after")) == b"the cut"
        assert result_of(space.get(b"count")) == count


def test_a_torn_end_is_kept_beside_and_damage_in_the_middle_stops_the_start(engine, tmp_path):
    storage, space = opened(engine)
    for number in range(3):
        result_of(space.write(puts=[(b"key", b"%d" % number)], durable=True))
    path = tmp_path / "journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0\0\0\x09torn")
    opened(engine)
    assert (tmp_path / "journal.torn").read_bytes() == b"\0\0\0\x09torn"
    assert path.read_bytes() == whole
    damaged = bytearray(whole)
    damaged[12] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StartError, match=r"journal.*byte 0 is damaged.*backup"):
        result_of(engine().start())
    assert path.read_bytes() == damaged


def test_a_journal_of_old_news_is_written_anew(engine, tmp_path):
    storage, space = opened(engine)
    for number in range(400):
        space.write(puts=[(b"key", b"%d" % number * 100)])
    space.blob("kept").append(b"blob")
    result_of(storage.stop())
    before = (tmp_path / "journal").stat().st_size
    opened(engine)
    assert (tmp_path / "journal").stat().st_size < before / 100
    _, space = opened(engine)
    assert result_of(space.get(b"key")) == b"399" * 100
    assert result_of(space.blob("kept").read(0, 9)) == b"blob"


def test_what_does_not_fit_is_refused_and_changes_nothing(engine):
    storage, space = opened(engine, size="100kB")
    result_of(space.write(puts=[(b"a", b"x" * 60_000)]))
    with pytest.raises(StorageFull, match=r"storage\.size"):
        result_of(space.write(puts=[(b"a", b"y"), (b"b", b"x" * 110_000)]))
    with pytest.raises(StorageFull):
        space.blob("b").append(b"x" * 60_000)
    assert result_of(space.get(b"a")) == b"x" * 60_000
    assert list(space.blobs()) == []
    assert storage.context.metrics.value("journal_refused_total") == 2
    result_of(space.write(deletes=[b"a"]))
    assert storage.used == 0


def test_a_disk_that_refuses_fails_whoever_waits_and_all_who_come_after(engine):
    storage, space = opened(engine)
    storage.context.work = lambda *args: fail(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StorageError, match=r"No space left on device.*restart"):
        result_of(space.write(puts=[(b"a", b"1")], durable=True))
    for late in (space.get(b"a"), space.write(), space.flush(), storage.stop()):
        with pytest.raises(StorageError):
            result_of(late)


@given(st.binary(max_size=200))
def test_no_file_is_anything_but_records_and_a_rest(data):
    import tempfile
    from pathlib import Path

    from plugins.journal import read_journal

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        records, length, torn = read_journal(path)
        assert length + torn == len(data)
        assert path.read_bytes() == data[:length]
        assert bool(records) == bool(length)
