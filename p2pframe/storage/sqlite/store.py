"""One folder of the engine: a database, its blobs, and the groups of writes that wait for them.

Reads look at the waiting groups first, newest first, then ask the database. One group is committed at a time. When a
commit fails, those who waited for it are told, their batches are taken out again, and the rest is tried again until it
succeeds; meanwhile nothing that grows is let in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from p2pframe.errors import StorageError, StorageFull
from p2pframe.interfaces import IContext
from p2pframe.storage.sqlite.blob import FileBlob
from p2pframe.storage.sqlite.database import Database
from p2pframe.storage.sqlite.disk import Disk, explained
from p2pframe.storage.sqlite.group import Batch, Group, Name, Removal
from p2pframe.storage.sqlite.worker import Worker

T = TypeVar("T")

DATABASE = "keys.sqlite"

RETRY_LONGEST = 15.0
"""Seconds between two tries to write at most, while the disk refuses."""


class Host(Protocol):
    """What a store needs of its engine."""

    context: IContext
    worker: Worker
    disk: Disk
    # Options, read when they are needed: they may change while the node runs.
    @property
    def write_behind(self) -> float: ...
    @property
    def pending_bytes(self) -> int: ...
    @property
    def reads(self) -> int: ...
    def check(self) -> None: ...
    def spare(self) -> int: ...
    def refuse(self, what: str, error: StorageError) -> StorageError: ...
    def committed(self, store: Store, seconds: float, free: int) -> None: ...
    def failed(self, store: Store, error: StorageError, first: bool) -> None: ...
    def changed(self) -> None: ...


class _Progress:
    """How far a group got on the worker."""

    __slots__ = ("error", "free", "written")

    def __init__(self) -> None:
        self.written = False
        self.error: StorageError | None = None
        self.free = 0


class Store:
    """See the module; `label` names it in metrics and messages."""

    def __init__(self, host: Host, label: str, folder: Path) -> None:
        self.host = host
        self.label = label
        self.folder = folder
        self.database: Database | None = None
        self.blobs: dict[tuple[Name, str], FileBlob] = {}
        self.pending = 0
        self.trouble: StorageError | None = None
        self.groups: deque[Group] = deque()
        self._committing = False
        self._timer: IDelayedCall | None = None
        self._retry = 0.0
        self._room: deque[Deferred[None]] = deque()
        # Blobs whose name in the folder is on disk; the worker's own.
        self.named: set[Path] = set()
        self.found: dict[Path, dict[str, int]] = {}

    # Opening and closing, on the worker

    def open(self, check: bool) -> None:
        """Open the database and note what blobs there are. Raises `StartError` and `StorageError`."""
        disk = self.host.disk
        with explained("making", self.folder):
            disk.make_folder(self.folder)
        self.database = Database.open(disk, self.folder / DATABASE, check)
        with explained("listing the blobs of", self.folder):
            disk.sync_folder(self.folder)
            root = self.folder / "blobs"
            for network in disk.list(root) if disk.exists(root) else []:
                for owner in disk.list(network):
                    sizes = {path.name: disk.size(path) for path in disk.list(owner)}
                    self.found[owner] = sizes
                    self.named.update(owner / name for name in sizes)

    def close(self) -> None:
        """Close the database; its log is brought in."""
        database, self.database = self.database, None
        if database is not None:
            database.close()

    # Writing

    def write(self, name: Name, puts: list[tuple[bytes, bytes]], deletes: list[bytes], durable: bool) -> Deferred[None]:
        """A batch; raises `StorageError` where it is refused."""
        size = (
            sum(len(key) + len(value) for key, value in puts) + sum(map(len, deletes)) + 64 * (len(puts) + len(deletes))
        )
        self.host.check()
        self.admit("batch", size if puts else 0, f"{name[0] or 'node'}/{name[1]}")
        done: Deferred[None] = Deferred()
        self._open_group().add(Batch(name, puts, deletes, size, done if durable else None))
        self._added(size)
        if not durable:
            if self.pending > self.host.pending_bytes:
                self._room.append(done)
            else:
                done.callback(None)
        self._schedule()
        return done

    def append(self, blob: FileBlob, data: bytes) -> int:
        """Bytes for the end of a blob; raises `StorageError` where they are refused."""
        self.host.check()
        self.admit("append", len(data), str(blob.path))
        group = self._open_group()
        offset = blob.extend(data)
        group.starts.setdefault(blob, offset)
        group.size += len(data)
        self._added(len(data))
        self._schedule()
        return offset

    def remove(self, blob: FileBlob, keep: int | None) -> Deferred[None]:
        """Cut a blob to `keep` bytes, or delete it."""
        self.host.check()
        group = self.groups[-1] if self.groups else self._new_group()
        if self._committing and group is self.groups[0]:
            group = self._new_group()
        # What was appended before stays as it is: it is cut once it stands on disk.
        group.close()
        done: Deferred[None] = Deferred()
        group.removals.append(Removal(blob, keep, done))
        blob.cut(0 if keep is None else keep, keep is not None)
        group.settles[blob] = (blob.generation, blob.size)
        self._schedule()
        return done

    def flush(self) -> Deferred[None]:
        """Fires once everything written so far is durable."""
        self.host.check()
        done: Deferred[None] = Deferred()
        if self.groups:
            self.groups[-1].flushes.append(done)
            self._schedule()
        else:
            done.callback(None)
        return done

    def admit(self, what: str, size: int, where: str) -> None:
        """Raises `StorageError` for growth that can't be taken now.

        What grows by nothing (deletes) is let in on a full disk, until what waits in memory is thrice `pending_bytes`.
        """
        error: StorageError
        if self.trouble is not None and size:
            error = type(self.trouble)(f"{what} in {where} refused until the disk takes writes again: {self.trouble}")
        elif size and self.host.spare() < size:
            error = StorageFull(
                f"{what} in {where} refused: the disk of {self.folder} has less free than storage.free_space leaves "
                "alone: free "
                "some space, or lower storage.free_space"
            )
        elif self.pending > (2 if size else 3) * self.host.pending_bytes:
            error = StorageFull(
                f"{what} in {where} refused: {self.pending} bytes wait to be written, more than twice "
                "storage.pending_bytes: "
                "wait for the Deferreds of earlier writes, or raise it"
            )
        else:
            return
        raise self.host.refuse(what, error)

    def _open_group(self) -> Group:
        if self.groups and not self.groups[-1].closed:
            return self.groups[-1]
        return self._new_group()

    def _new_group(self) -> Group:
        group = Group(self.host.context.reactor.seconds())
        self.groups.append(group)
        return group

    def _added(self, size: int) -> None:
        self.pending += size
        self.host.changed()

    # Committing

    def _schedule(self) -> None:
        if self._committing or not self.groups:
            return
        now = self.host.context.reactor.seconds()
        if self.trouble is not None and not any(group.urgent for group in self.groups):
            due = now + self._retry
        elif self.pending * 2 > self.host.pending_bytes or any(group.urgent for group in self.groups):
            due = now
        else:
            due = self.groups[0].since + self.host.write_behind
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due <= now:
            self._commit()
        else:
            self._timer = self.host.context.reactor.callLater(due - now, self._due)

    def _due(self) -> None:
        self._timer = None
        self._commit()

    def _commit(self) -> None:
        group = self.groups[0]
        group.close()
        self._committing = True
        started = self.host.context.reactor.seconds()
        self.host.worker.write(lambda: self._write(group)).addBoth(self._finished, group, started)

    def _write(self, group: Group) -> _Progress:
        progress = _Progress()
        try:
            self._write_blobs(group)
            if group.overlay:
                self.opened().commit((name, keys.items()) for name, keys in group.overlay.items())
            progress.written = True
            for removal in group.removals:
                self._remove(removal)
            with explained("looking at the free space of", self.folder):
                progress.free = self.host.disk.free(self.folder)
        except StorageError as error:
            progress.error = error
        return progress

    def _write_blobs(self, group: Group) -> None:
        disk = self.host.disk
        for blob, offset, data in group.appends:
            with explained("appending to", blob.path):
                if blob.path not in self.named:
                    disk.make_folder(blob.path.parent)
                disk.write(blob.path, offset, data)
                disk.sync(blob.path)
                if blob.path not in self.named:
                    disk.sync_folder(blob.path.parent)
                    self.named.add(blob.path)

    def _remove(self, removal: Removal) -> None:
        disk, path = self.host.disk, removal.blob.path
        if path not in self.named:
            return
        if removal.keep is None:
            with explained("deleting", path):
                disk.delete(path)
                disk.sync_folder(path.parent)
            self.named.discard(path)
        else:
            with explained("cutting", path):
                disk.truncate(path, removal.keep)
                disk.sync(path)

    def _finished(self, result: _Progress | Failure, group: Group, started: float) -> None:
        self._committing = False
        if not self.groups or self.groups[0] is not group:
            return  # abandoned meanwhile
        error: StorageError | None = None
        if isinstance(result, Failure):
            # The pool refused the job, or something that no disk does: either way nothing was written.
            error = StorageError(f"writing {self.folder}: {result.getErrorMessage()}")
            written = False
        else:
            written = result.written
            error = result.error
        waiters: list[Deferred[None]] = []
        if written:
            waiters += [batch.waiter for batch in group.batches if batch.waiter is not None]
            group.batches.clear()
            group.overlay.clear()
            group.appends.clear()
            self.pending -= group.size
            group.size = 0
        if error is None:
            self.groups.popleft()
            for blob, (generation, size) in group.settles.items():
                blob.settle(generation, size)
            waiters += [removal.waiter for removal in group.removals]
            waiters += group.flushes
            self.trouble = None
            self._retry = 0.0
            assert not isinstance(result, Failure)
            self.host.committed(self, self.host.context.reactor.seconds() - started, result.free)
        failed = [] if error is None else self._refuse_waiting()
        if error is not None:
            first, self.trouble = self.trouble is None, error
            self._retry = min(RETRY_LONGEST, max(1.0, self._retry * 2))
            self.host.failed(self, error, first)
        self.host.changed()
        while self._room and self.pending <= self.host.pending_bytes:
            waiters.append(self._room.popleft())
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)
        for waiter in failed:
            if not waiter.called:
                waiter.errback(error)
        self._schedule()

    def _refuse_waiting(self) -> list[Deferred[None]]:
        failed: list[Deferred[None]] = []
        for group in self.groups:
            refused = [batch for batch in group.batches if batch.waiter is not None]
            if refused:
                self.pending -= sum(batch.size for batch in refused)
                group.drop(refused)
                failed += [batch.waiter for batch in refused if batch.waiter is not None]
            failed += [removal.waiter for removal in group.removals if not removal.waiter.called]
            failed += group.flushes
            group.flushes = []
        return failed

    # Reading

    def opened(self) -> Database:
        """The database, which is there between start and stop."""
        if self.database is None:
            raise StorageError(f"{self.folder} is not open")
        return self.database

    def read(self, run: Callable[[], T]) -> Deferred[T]:
        """A read on the worker; the engine hears of its errors."""
        return self.host.worker.read(run, self.host.reads).addErrback(self._read_failed)

    def _read_failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, StorageError):
            self.host.failed(self, failure.value, False)
        return failure

    def waiting(self, name: Name, key: bytes) -> tuple[bool, bytes | None]:
        """Whether a waiting write has the last word on a key, and its value."""
        for group in reversed(self.groups):
            keys = group.overlay.get(name)
            if keys is not None and key in keys:
                return True, keys[key]
        return False, None

    # Stopping

    async def drain(self) -> None:
        """Write all that waits; raises `StorageError` where the disk does not take it."""
        while self.groups:
            done: Deferred[None] = Deferred()
            self.groups[-1].flushes.append(done)
            self._schedule()
            await done

    def forget(self, tell: bool) -> None:
        """Forget what waits; with `tell` those who wait for it hear so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error = self.trouble or StorageError(f"{self.folder} was closed before this was written")
        waiters = self._refuse_waiting() + list(self._room)
        self._room.clear()
        self.groups.clear()
        self.pending = 0
        for waiter in waiters if tell else ():
            if not waiter.called:
                waiter.errback(error)
