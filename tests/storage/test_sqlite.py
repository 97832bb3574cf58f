"""The sqlite engine.

When a write is durable, what is refused, and what happens to what is corrupt or of another schema.
"""

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest

from p2pframe.errors import StartError, StorageCorrupt, StorageError, StorageFull
from p2pframe.storage.sqlite import SqliteConfig
from p2pframe.storage.sqlite.database import SCHEMA
from p2pframe.testing.context import FakeContext, result_of
from tests.storage.engines import make_engine, started

KEPT = ("", "core.bans")
AGAIN = ("net", "protocol.x")


def on_disk(path: Path, store: str = "kept") -> dict:
    connection = sqlite3.connect(path / store / "keys.sqlite")
    try:
        return dict(connection.execute("SELECT key, value FROM entries"))
    finally:
        connection.close()


# Write-behind and durability


def test_a_plain_write_is_on_disk_within_write_behind(tmp_path: Path) -> None:
    engine = started(tmp_path, write_behind=2)
    result_of(engine.namespace(*KEPT).write([(b"a", b"1")]))
    engine.context.reactor.advance(1.9)
    assert on_disk(tmp_path) == {}
    engine.context.reactor.advance(0.1)
    assert on_disk(tmp_path) == {b"a": b"1"}
    result_of(engine.stop())


def test_a_durable_write_fires_when_it_is_on_disk_with_all_before_it(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    engine.context.work.inline = False
    space.write([(b"a", b"1")])
    done = space.write([(b"b", b"2")], durable=True)
    assert not done.called
    assert on_disk(tmp_path) == {}
    engine.context.work.run_all()
    result_of(done)
    assert on_disk(tmp_path) == {b"a": b"1", b"b": b"2"}
    engine.abandon()


def test_durable_writers_share_a_commit(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    engine.context.work.inline = False
    waiters = [space.write([(b"%d" % n, b"")], durable=True) for n in range(100)]
    engine.context.work.run_all()
    for waiter in waiters:
        result_of(waiter)
    # The first goes alone, all that came while it was under way go together.
    assert engine.context.metrics.value("storage_commits_total", "kept") == 2
    engine.abandon()


def test_every_commit_syncs(tmp_path: Path) -> None:
    engine = started(tmp_path)
    for store in engine._stores:
        assert store.opened().connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store.opened().connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    engine.abandon()


def test_appended_bytes_are_synced_before_the_batch_after_them(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*AGAIN)
    engine.disk.operations.clear()
    space.blob("blocks").append(b"block")
    result_of(space.write([(b"index", b"0")], durable=True))
    assert engine.disk.operations == ["write", "sync", "commit", "committed"]
    engine.disk.operations.clear()
    space.write(deletes=[b"index"])
    result_of(space.delete_blob("blocks"))
    assert engine.disk.operations == ["commit", "committed", "delete"]
    engine.abandon()


def test_a_cut_asked_for_while_its_bytes_are_being_written(tmp_path: Path) -> None:
    engine = started(tmp_path)
    blob = engine.namespace(*AGAIN).blob("blocks")
    blob.append(b"0123456789")
    engine.context.work.inline = False
    flushed = engine.namespace(*AGAIN).flush()
    cut = blob.truncate(4)
    assert blob.append(b"xyz") == 4
    engine.context.work.run_one()
    result_of(flushed)
    assert blob.size == 7
    engine.context.work.run_all()
    result_of(cut)
    read = blob.read(0, 99)
    engine.context.work.run_all()
    engine.context.reactor.advance(1)
    engine.context.work.run_all()
    assert result_of(read) == b"0123xyz"
    assert blob.path.read_bytes() == b"0123xyz"
    engine.abandon()


def test_files_and_folders_are_nobody_elses(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*AGAIN)
    space.blob("blocks").append(b"block")
    result_of(space.write([(b"a", b"")], durable=True))
    wrong = [p for p in tmp_path.rglob("*") if p.stat().st_mode & 0o077]
    assert not wrong
    engine.abandon()


# Bounds


def test_writers_are_held_up_and_then_refused_while_the_disk_is_slow(tmp_path: Path) -> None:
    engine = started(tmp_path, pending_bytes=65_536)
    space = engine.namespace(*AGAIN)
    metrics = engine.context.metrics
    engine.context.work.inline = False
    first = space.write([(b"a", bytes(40_000))])
    assert first.called
    second = space.write([(b"b", bytes(40_000))])
    assert not second.called
    assert result_of(space.get(b"b")) == bytes(40_000)
    third = space.write([(b"c", bytes(60_000))])
    with pytest.raises(StorageFull, match=r"storage\.pending_bytes"):
        result_of(space.write([(b"d", b"")]))
    with pytest.raises(StorageFull):
        space.blob("x").append(b"d")
    assert metrics.value("storage_refused_total") == 2
    assert metrics.value("storage_pending_bytes") > 130_000
    engine.context.work.run_all()
    result_of(second)
    result_of(third)
    assert metrics.value("storage_pending_bytes") == 0
    result_of(space.write([(b"d", b"")]))
    engine.abandon()


def test_deletes_are_let_in_longer_but_not_for_ever(tmp_path: Path) -> None:
    engine = started(tmp_path, pending_bytes=65_536)
    space = engine.namespace(*AGAIN)
    engine.disk.refuse = {"commit": errno.EIO}
    taken = 0
    with pytest.raises(StorageFull, match=r"storage\.pending_bytes"):
        while taken < 10_000:
            deleted = space.write(deletes=[b"%0100d" % taken])
            if deleted.called:
                result_of(deleted)
            taken += 1
    assert 65_536 * 3 // 200 < taken < 65_536 * 3 // 100
    engine.disk.refuse = {}
    engine.context.reactor.advance(20)
    assert engine.context.metrics.value("storage_pending_bytes") == 0
    result_of(space.write([(b"a", b"")], durable=True))
    engine.abandon()


def test_reads_that_wait_are_bounded(tmp_path: Path) -> None:
    engine = started(tmp_path, reads=2)
    engine.context.work.inline = False
    space = engine.namespace(*KEPT)
    reads = [space.get(b"%d" % n) for n in range(4)]
    with pytest.raises(StorageError, match=r"storage\.reads"):
        result_of(reads[3])
    engine.context.work.run_all()
    assert [result_of(read) for read in reads[:3]] == [None] * 3
    engine.abandon()


def test_the_floor_of_free_space_stops_growth_and_lets_go_by_itself(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, free_space=1_000_000)
    engine.disk.free_bytes = 2_000_000
    result_of(engine.start())
    space = engine.namespace(*KEPT)
    result_of(space.write([(b"a", b"1")], durable=True))
    engine.disk.free_bytes = 900_000
    engine.context.reactor.advance(10)
    for refused in (space.write([(b"b", b"1")]), space.write([(b"b", b"1")], deletes=[b"a"], durable=True)):
        with pytest.raises(StorageFull, match=r"storage\.free_space"):
            result_of(refused)
    with pytest.raises(StorageFull, match=r"storage\.free_space"):
        space.blob("x").append(b"1")
    assert result_of(space.get(b"a")) == b"1"
    result_of(space.write(deletes=[b"a"], durable=True))
    assert result_of(space.get(b"a")) is None
    assert engine.context.metrics.value("storage_free_bytes") == 900_000
    assert engine.context.metrics.value("storage_refused_total", "batch") == 2
    engine.disk.free_bytes = 3_000_000
    engine.context.reactor.advance(1)
    result_of(space.write([(b"b", b"1")], durable=True))
    engine.reconfigure(SqliteConfig(free_space=4_000_000))
    with pytest.raises(StorageFull):
        space.blob("x").append(b"1")
    engine.abandon()


def test_growth_between_two_looks_counts_against_the_floor(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, free_space=1_000_000)
    engine.disk.free_bytes = 1_100_000
    result_of(engine.start())
    blob = engine.namespace(*KEPT).blob("x")
    blob.append(bytes(90_000))
    with pytest.raises(StorageFull):
        blob.append(bytes(20_000))
    engine.abandon()


# Failing disks


@pytest.mark.parametrize("operation", ["write", "sync", "commit"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_refuses_and_recovers_without_a_hand(tmp_path: Path, operation: str, number: int) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    blob = space.blob("x")
    result_of(space.write([(b"before", b"1")], durable=True))
    engine.disk.refuse = {operation: number}
    blob.append(b"waits")
    result_of(space.write([(b"waits", b"1")]))
    kind = StorageFull if number == errno.ENOSPC else StorageError
    with pytest.raises(kind, match=str(tmp_path)):
        result_of(space.write([(b"durable", b"1")], durable=True))
    assert result_of(space.get(b"durable")) is None
    assert result_of(space.get(b"waits")) == b"1"
    assert result_of(space.get(b"before")) == b"1"
    with pytest.raises(kind, match="until the disk takes writes again"):
        result_of(space.write([(b"late", b"1")]))
    with pytest.raises(kind):
        blob.append(b"late")
    result_of(space.write(deletes=[b"before"]))
    engine.context.reactor.advance(60)
    assert engine.context.metrics.value("storage_errors_total") >= 2
    engine.disk.refuse = {}
    engine.context.reactor.advance(15)
    assert on_disk(tmp_path) == {b"waits": b"1"}
    assert blob.path.read_bytes() == b"waits"
    result_of(space.write([(b"after", b"1")], durable=True))
    result_of(engine.stop())
    assert not (tmp_path / "running").exists()


def test_a_stop_on_a_failing_disk_ends_and_says_what_is_lost(tmp_path: Path) -> None:
    engine = started(tmp_path)
    result_of(engine.namespace(*KEPT).write([(b"a", b"1")]))
    engine.disk.refuse = {"commit": errno.EIO}
    with pytest.raises(StorageError, match="written last is lost"):
        result_of(engine.stop())
    again = started(tmp_path)
    assert not again.clean_start
    result_of(again.stop())


def test_a_database_that_is_really_full(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    connection = engine._stores[0].opened().connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFull, match=r"keys\.sqlite.*SQLITE_FULL"):
        result_of(space.write([(b"big", bytes(50_000))], durable=True))
    connection.execute("PRAGMA max_page_count = 1000000")
    result_of(space.write(deletes=[b"x"], durable=True))
    result_of(space.write([(b"big", bytes(50_000))], durable=True))
    engine.abandon()


def test_a_read_that_fails_names_the_file(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    blob = space.blob("x")
    blob.append(b"0123")
    result_of(space.flush())
    engine.disk.refuse = {"read": errno.EIO}
    with pytest.raises(StorageError, match=f"reading {blob.path}"):
        result_of(blob.read(0, 4))
    engine.disk.refuse = {}
    blob.path.write_bytes(b"01")
    with pytest.raises(StorageCorrupt):
        result_of(blob.read(0, 4))
    result_of(engine.stop())
    assert (tmp_path / "running").exists(), "what was corrupt is checked at the next start"


def test_a_pool_that_turns_work_away_is_a_disk_that_fails(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    work = engine.worker._work
    engine.worker._work = lambda *args: FakeContext().work(lambda: 1 // 0)
    with pytest.raises(StorageError):
        result_of(space.write([(b"a", b"")], durable=True))
    engine.worker._work = work
    engine.context.reactor.advance(1)
    result_of(space.write(deletes=[b"b"], durable=True))
    result_of(space.write([(b"a", b"")], durable=True))
    result_of(engine.stop())


# Schemas

V1 = """
CREATE TABLE entries (network TEXT NOT NULL, owner TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
                      PRIMARY KEY (network, owner, key)) WITHOUT ROWID;
INSERT INTO entries VALUES ('', 'core.bans', x'01', x'aa');
INSERT INTO entries VALUES ('', 'core.bans', x'02', x'bb');
INSERT INTO entries VALUES ('net', 'application.x', x'01', x'cc');
PRAGMA user_version = 1;
"""


def write_database(path: Path, script: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def test_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    write_database(tmp_path / "kept" / "keys.sqlite", V1)
    engine = started(tmp_path)
    assert result_of(engine.namespace("", "core.bans").scan()) == [(b"\1", b"\xaa"), (b"\2", b"\xbb")]
    assert result_of(engine.namespace("net", "application.x").scan()) == [(b"\1", b"\xcc")]
    result_of(engine.namespace("", "core.bans").write(deletes=[b"\1"], durable=True))
    result_of(engine.stop())
    again = started(tmp_path)
    assert again._stores[0].opened().upgraded_from is None
    assert result_of(again.namespace("", "core.bans").scan()) == [(b"\2", b"\xbb")]
    again.abandon()


def test_an_upgrade_that_fails_leaves_the_first_schema(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "keys.sqlite"
    write_database(path, V1)
    engine = make_engine(tmp_path)
    engine.disk.refuse = {"commit": errno.ENOSPC}
    with pytest.raises(StartError, match="free some space"):
        result_of(engine.start())
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (3,)
    connection.close()
    result_of(started(tmp_path).stop())


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "keys.sqlite"
    write_database(path, f"CREATE TABLE something (x); PRAGMA user_version = {SCHEMA + 1};")
    before = path.read_bytes()
    with pytest.raises(StartError, match=f"schema {SCHEMA + 1}, this version of p2pframe knows up to {SCHEMA}"):
        result_of(make_engine(tmp_path).start())
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    write_database(tmp_path / "rebuildable" / "keys.sqlite", "CREATE TABLE moz_places (x)")
    with pytest.raises(StartError, match="not written by p2pframe"):
        result_of(make_engine(tmp_path).start())


# Corruption


def filled(path: Path) -> None:
    engine = started(path)
    for name in (KEPT, AGAIN):
        space = engine.namespace(*name)
        space.blob("x").append(b"bytes")
        result_of(space.write([(b"%05d" % n, bytes(100)) for n in range(1000)], durable=True))
    result_of(engine.stop())


def tear(path: Path, unclean: bool = True) -> None:
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 2048] = bytes(2048)
    path.write_bytes(data)
    if unclean:
        (path.parent.parent / "running").touch()


def test_what_can_be_rebuilt_is_set_aside_and_begun_anew(tmp_path: Path, flush_logged_errors) -> None:
    filled(tmp_path)
    tear(tmp_path / "rebuildable" / "keys.sqlite")
    engine = started(tmp_path)
    assert result_of(engine.namespace(*AGAIN).scan()) == []
    assert list(engine.namespace(*AGAIN).blobs()) == []
    assert len(result_of(engine.namespace(*KEPT).scan())) == 1000
    assert (tmp_path / "rebuildable.corrupt-1" / "keys.sqlite").exists()
    assert (tmp_path / "rebuildable.corrupt-1" / "blobs" / "net" / "protocol.x" / "x").read_bytes() == b"bytes"
    assert engine.context.metrics.value("storage_set_aside_total") == 1
    result_of(engine.stop())
    # A second time: the copies are bounded.
    (tmp_path / "rebuildable" / "keys.sqlite").write_bytes(b"not a database at all" * 1000)
    engine = started(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "rebuildable", "rebuildable.corrupt-2", "running"]
    result_of(engine.stop())


def test_what_can_not_be_rebuilt_stops_the_start(tmp_path: Path) -> None:
    filled(tmp_path)
    backup = tmp_path.with_name("backup")
    shutil.copytree(tmp_path / "kept", backup)
    tear(tmp_path / "kept" / "keys.sqlite")
    for _ in range(2):
        with pytest.raises(StartError, match="put that folder back from a backup, or move it away"):
            result_of(make_engine(tmp_path).start())
    shutil.rmtree(tmp_path / "kept")
    shutil.copytree(backup, tmp_path / "kept")
    engine = started(tmp_path)
    assert len(result_of(engine.namespace(*KEPT).scan())) == 1000
    result_of(engine.stop())


# Life


def test_calls_before_start_and_after_stop_fail(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    with pytest.raises(StorageError):
        engine.namespace(*KEPT)
    result_of(engine.start())
    space = engine.namespace(*KEPT)
    blob = space.blob("x")
    blob.append(b"1")
    result_of(engine.stop())
    result_of(engine.stop())
    for call in (space.get(b"a"), space.scan(), space.write(), space.flush(), blob.read(0, 1), blob.truncate(0),
                 space.delete_blob("x"), engine.start()):
        with pytest.raises(StorageError):
            result_of(call)
    with pytest.raises(StorageError):
        blob.append(b"1")
    assert not engine.context.reactor.getDelayedCalls()


def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    engine = started(tmp_path)
    space = engine.namespace(*KEPT)
    result_of(space.write([(b"a", b"1")]))
    space.blob("x").append(b"bytes")
    engine.context.work.inline = False
    stopped = engine.stop()
    engine.context.work.run_all()
    result_of(stopped)
    assert on_disk(tmp_path) == {b"a": b"1"}
    assert not (tmp_path / "running").exists()
