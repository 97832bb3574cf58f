"""What any storage engine must do, as one function; and a disk that fails, for the engine built in.

::

    def test_my_engine(tmp_path):
        result_of(Deferred.fromCoroutine(check_storage(lambda: MyStorage(MyConfig(), FakeContext(data_dir=tmp_path)))))
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from zope.interface.verify import verifyObject

from p2pframe.errors import StorageError
from p2pframe.interfaces import IBlob, INamespace, IStorage
from p2pframe.storage.sqlite.disk import Disk


async def check_storage(make: Callable[[], IStorage], keeps: bool = True) -> None:
    """Raises AssertionError where an engine does not keep the contract of `IStorage`.

    `make` builds an engine, each time over the same data; `keeps` is False for one that keeps nothing. All Deferreds of
    the engine must fire without a clock being advanced, except for what is written behind.
    """
    engine = make()
    verifyObject(IStorage, engine)
    await engine.start()
    space = engine.namespace("testnet", "protocol.check")
    verifyObject(INamespace, space)
    await _check_keys(space)
    await _check_batches(space)
    await _check_scans(space)
    await _check_blobs(space)
    await _check_apart(engine)
    await space.write(puts=[(b"last", b"word")])
    blob = space.blob("kept")
    blob.append(b"last bytes")
    await engine.stop()
    await _fails(space.get(b"last"), "a read after stop")
    await _fails(space.write(puts=[(b"late", b"")]), "a write after stop")
    if keeps:
        await _check_kept(make())


async def _check_keys(space: INamespace) -> None:
    _same(await space.get(b"none"), None, "a key that nobody wrote")
    await space.write(puts=[(b"b", b"2"), (b"a", b"1"), (b"\xff\xff", b"high"), (b"", b"empty key"), (b"e", b"")])
    _same(await space.get(b"a"), b"1", "a write is seen at once")
    _same(await space.get(b""), b"empty key", "the empty key is a key")
    _same(await space.get(b"e"), b"", "an empty value is a value")
    await space.flush()
    _same(await space.get(b"a"), b"1", "and seen after it is durable")
    await space.write(puts=[(b"a", b"one")])
    _same(await space.get(b"a"), b"one", "the last word counts")
    await space.write(deletes=[b"a", b"never there"], durable=True)
    _same(await space.get(b"a"), None, "a delete is seen")


async def _check_batches(space: INamespace) -> None:
    await space.write(puts=[(b"x", b"1")], deletes=[b"x"])
    _same(await space.get(b"x"), b"1", "where a batch puts and deletes a key, the put counts")
    first = space.write(puts=[(b"x", b"2")], durable=True)
    second = space.write(puts=[(b"x", b"3"), (b"y", b"3")])
    third = space.write(deletes=[b"y"], durable=True)
    for each in (first, second, third):
        await each
    _same((await space.get(b"x"), await space.get(b"y")), (b"3", None), "batches count in the order written")
    await space.write()
    await space.write(durable=True)


async def _check_scans(space: INamespace) -> None:
    await space.write(puts=[(b"k%03d" % n, b"old") for n in range(100)])
    await space.flush()
    await space.write(deletes=[b"k%03d" % n for n in range(0, 100, 2)])
    await space.write(puts=[(b"k%03d" % n, b"new") for n in range(0, 100, 4)])
    expected = [(b"k%03d" % n, b"new" if n % 4 == 0 else b"old") for n in range(100) if n % 2 or n % 4 == 0]
    _same(await space.scan(b"k", b"l"), expected, "a scan sees what is written and what still waits, in order")
    _same(
        await space.scan(b"k010", b"k020"),
        [e for e in expected if b"k010" <= e[0] < b"k020"],
        "start is in, end is not",
    )
    for limit in (0, 1, 7, 75, 76, 1000):
        _same(await space.scan(b"k", b"l", limit), expected[:limit], f"a scan of at most {limit}")
    _same(await space.scan(b"k", b"k"), [], "an empty range")
    _same([key for key, _ in await space.scan()][:1], [b""], "a scan of everything begins at the first key")
    _same((await space.scan(b"\xff"))[-1:], [(b"\xff\xff", b"high")], "and goes to the last one")
    await space.flush()
    _same(await space.scan(b"k", b"l"), expected, "the same once it is durable")


async def _check_blobs(space: INamespace) -> None:
    blob = space.blob("data")
    verifyObject(IBlob, blob)
    _same((blob.size, list(space.blobs())), (0, []), "a blob is not there before its first append")
    _same([blob.append(b"0123"), blob.append(b"4567"), blob.size], [0, 4, 8], "append gives the offset")
    _same(await blob.read(2, 4), b"2345", "what was appended is read at once")
    await space.flush()
    _same(blob.append(b"89"), 8, "and goes on after a flush")
    _same(await blob.read(6, 100), b"6789", "a read over what is durable and what waits, shorter at the end")
    _same(await blob.read(10, 5), b"", "nothing behind the end")
    _same(list(space.blobs()), ["data"], "it is there now")
    cut = blob.truncate(5)
    _same(blob.size, 5, "a cut counts at once")
    _same(blob.append(b"xyz"), 5, "and appends go on from there")
    await cut
    _same(await blob.read(0, 100), b"01234xyz", "what is read after a cut")
    await space.flush()
    _same(await blob.read(0, 100), b"01234xyz", "the same once it is durable")
    space.blob("also").append(b"")
    space.blob("also").append(b"1")
    _same(list(space.blobs()), ["also", "data"], "names are sorted")
    await space.delete_blob("data")
    await space.delete_blob("never-there")
    _same((space.blob("data").size, list(space.blobs())), (0, ["also"]), "a deleted blob is gone")
    _same(space.blob("data").append(b"again"), 0, "and may be begun again")
    _same(await space.blob("data").read(0, 9), b"again", "with its own bytes only")
    for wrong in ("", "UPPER", "../up", "a/b", ".hidden", "a" * 101):
        try:
            space.blob(wrong)
        except ValueError:
            continue
        raise AssertionError(f"a blob may not be called {wrong!r}")
    await _fails(blob.truncate(10_000), "a cut behind the end")


async def _check_apart(engine: IStorage) -> None:
    spaces = [
        engine.namespace(network, owner)
        for network, owner in [
            ("", "core.bans"),
            ("one", "protocol.x"),
            ("two", "protocol.x"),
            ("one", "application.x"),
            ("..", "."),
        ]
    ]
    for number, space in enumerate(spaces):
        await space.write(puts=[(b"who", b"%d" % number)], durable=number % 2 == 0)
        space.blob("who").append(b"%d" % number)
    await spaces[0].flush()
    for number, space in enumerate(spaces):
        _same(await space.get(b"who"), b"%d" % number, "a namespace sees its own keys")
        _same(await space.scan(), [(b"who", b"%d" % number)], "and no others")
        _same(await space.blob("who").read(0, 9), b"%d" % number, "and its own blobs")


async def _check_kept(engine: IStorage) -> None:
    await engine.start()
    space = engine.namespace("testnet", "protocol.check")
    _same(await space.get(b"last"), b"word", "a stop writes everything")
    _same(await space.blob("kept").read(0, 99), b"last bytes", "blobs too")
    _same(list(space.blobs()), ["also", "data", "kept"], "and knows them again")
    _same(len(await space.scan(b"k", b"l")), 75, "and the keys")
    _same(await engine.namespace("..", ".").get(b"who"), b"4", "in every namespace")
    await engine.stop()


def _same(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r:.300}, found {found!r:.300}")


async def _fails(deferred: Awaitable[Any], what: str) -> None:
    try:
        await deferred
    except StorageError:
        return
    raise AssertionError(f"{what} does not fail with StorageError")


class PowerCut(BaseException):
    """Raised by `FaultyDisk` at the operation during which the power goes; nothing catches it by accident."""


class _FaultyConnection(sqlite3.Connection):
    disk: FaultyDisk
    file: Path

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.disk.touch("commit")
        cursor = super().execute(sql, *args)
        if sql == "COMMIT":
            # Written to the log, and nobody knows yet whether it is safe.
            self.disk.touch("committed")
            self.disk.committed(self.file)
        return cursor


class FaultyDisk(Disk):
    """The disk of the sqlite engine, failing on demand.

    `refuse` maps operations (`write`, `sync`, `read`, `commit`, `truncate`, `delete`) to the errno that they fail with;
    `free_bytes` stands in for the free space; `cut_after` counts writing operations down, and the power goes during the
    one at zero. `remains` copies what would be found after the power cut.
    """

    def __init__(self) -> None:
        self.refuse: dict[str, int] = {}
        self.free_bytes: int | None = None
        self.cut_after: int | None = None
        self.operations: list[str] = []
        # By file: its bytes at the last sync. A file that was never synced is not in it.
        self._synced: dict[Path, bytes] = {}
        self._dirty: set[Path] = set()
        # By log of a database: how long it was when its last commit returned.
        self._logs: dict[Path, int] = {}

    def touch(self, operation: str) -> None:
        """An operation begins."""
        self.operations.append(operation)
        if self.cut_after is not None and operation != "read":
            if self.cut_after == 0:
                raise PowerCut(operation)
            self.cut_after -= 1
        number = self.refuse.get(operation)
        if number is None:
            return
        if operation == "commit":
            full = number == errno.ENOSPC
            error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
            error.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
            raise error
        raise OSError(number, os.strerror(number))

    def committed(self, path: Path) -> None:
        """A commit of the database at `path` returned."""
        log = path.with_name(path.name + "-wal")
        if log.exists():
            self._logs[log] = log.stat().st_size

    def connect(self, path: Path) -> sqlite3.Connection:
        """A connection whose COMMIT may fail."""
        super().connect(path).close()
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=1.0, factory=_FaultyConnection
        )
        connection.disk = self
        connection.file = path
        return connection

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Half of it is written when it fails."""
        if path not in self._dirty and path.exists():
            self._synced.setdefault(path, path.read_bytes())
        self._dirty.add(path)
        try:
            self.touch("write")
        except BaseException:
            super().write(path, offset, data[: len(data) // 2])
            raise
        super().write(path, offset, data)

    def sync(self, path: Path) -> None:
        """Notes what is safe from here on."""
        self.touch("sync")
        self._synced[path] = path.read_bytes()
        self._dirty.discard(path)

    def sync_folder(self, path: Path) -> None:
        """Nothing: tests need not wait for a real disk."""

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Reads, or fails."""
        self.touch("read")
        return super().read(path, offset, length)

    def truncate(self, path: Path, size: int) -> None:
        """Cuts, or fails."""
        self.touch("truncate")
        super().truncate(path, size)

    def delete(self, path: Path) -> None:
        """Deletes, or fails."""
        self.touch("delete")
        super().delete(path)
        self._synced.pop(path, None)
        self._dirty.discard(path)

    def free(self, path: Path) -> int:
        """What the test says."""
        return super().free(path) if self.free_bytes is None else self.free_bytes

    def remains(self, source: Path, target: Path, rng: Random) -> None:
        """Copy the folder as it would be found after the power went: unsynced bytes lost, kept in part, or garbled."""
        for path in sorted(source.rglob("*")):
            place = target / path.relative_to(source)
            if path.is_dir():
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                continue
            if path.name.endswith("-shm"):
                continue
            data = path.read_bytes()
            if path in self._dirty:
                safe = self._synced.get(path)
                if safe is None and rng.random() < 0.3:
                    continue
                data = _torn(data, len(safe or b""), rng)
            elif path in self._logs:
                data = _torn(data, self._logs[path], rng)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_bytes(data)


def _torn(data: bytes, safe: int, rng: Random) -> bytes:
    """`data` with what stands behind `safe` lost from some point on, and perhaps a torn page before that."""
    kept = bytearray(data[: safe + rng.randint(0, max(len(data) - safe, 0))])
    if len(kept) > safe and rng.random() < 0.5:
        start = rng.randrange(safe, len(kept))
        length = min(512, len(kept) - start)
        kept[start : start + length] = rng.randbytes(length)
    return bytes(kept)
