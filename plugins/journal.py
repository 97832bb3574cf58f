"""A storage engine in one file: everything in memory, and a journal on disk to begin from again.

An example of `IStorage`.

    storage: {plugin: journal, size: 200MB}

What it holds has to fit into memory, so it is for small nodes. In return it has no database: one file of records,
appended to.

    record    length of the body (4 bytes), CRC-32 of the body (4 bytes), body
    body      JSON: [network, owner, operation, ...], bytes in base64

A record is one batch or one change of a blob; all changes of all plugins stand in the order in which they were made. So
what is durable is always a beginning of what was written, and a batch can't be there without the blobs that it points
into.

How it keeps the contract:

- the wire never waits: changes are made in memory at once, and a worker's thread writes and syncs them, one group after
  the other. `durable` ones are written at once, the others within `write_behind`;
- after a power cut the last record may be torn. It is cut off at the start, kept beside the journal, and told of;
- bounds: keys and blobs together stay below `size`; a journal more than twice as large as what it says is written anew
  at a start;
- a disk that refuses to write makes everything fail from then on, with words that say why: nothing is said to be
  durable that is not.
"""

from __future__ import annotations

import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import StartError, StorageError, StorageFull
from p2pframe.interfaces import IBlob, IContext, INamespace, IStorage
from p2pframe.keyspace import OrderedKeys, check_blob_name
from p2pframe.plugin import Duration, Field, PluginConfig, Size, plugin

HEAD = 8
ENTRY = 200
"""What an entry costs in memory, beside its key and value."""


class JournalConfig(PluginConfig):
    """Options of the `journal` storage."""

    size: Size = Field(200_000_000, ge=100_000, description="Bytes of keys, values and blobs at most; more is refused.")
    write_behind: Duration = Field(2.0, gt=0, le=5, description="How long what is not durable at once may wait.")


@plugin("journal", config=JournalConfig)
@implementer(IStorage)
class JournalStorage:
    """Keeps everything in memory, and a journal of it on disk."""

    def __init__(self, config: JournalConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.used = 0
        self._path = Path()
        self._spaces: dict[tuple[str, str], JournalNamespace] = {}
        self._pending: list[bytes] = []
        self._waiting: list[Deferred[None]] = []
        self._writing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._broken: StorageError | None = StorageError(
            "the journal is not open: use it between its start and its stop"
        )
        self._refused = context.metrics.counter("journal_refused_total", "Writes that did not fit into `size`.")
        self._bytes = context.metrics.gauge("journal_bytes", "Bytes of keys, values and blobs.")

    def start(self) -> Deferred[None]:
        """Read the journal. Fails with `StartError` where the file can't be read or written."""
        self._path = self.context.data_dir / "journal"
        return self.context.work(read_journal, self._path).addCallbacks(self._replay, self._unreadable)

    def stop(self) -> Deferred[None]:
        """Write what waits, and close. Fails with `StorageError` where that can't be done."""
        done = self.flush()

        def closed(result: Any) -> Any:
            self._broken = StorageError("the journal is closed: use it between its start and its stop")
            self._spaces.clear()
            return result

        return done.addBoth(closed)

    def namespace(self, network: str, owner: str) -> JournalNamespace:
        """The namespace of a plugin; the same one each time."""
        space = self._spaces.get((network, owner))
        if space is None:
            space = self._spaces[network, owner] = JournalNamespace(self, network, owner)
        return space

    def check(self) -> None:
        """Raises `StorageError` unless the engine is open and its disk well."""
        if self._broken is not None:
            raise self._broken

    def grow(self, amount: int) -> None:
        """Account for more or fewer bytes in memory. Raises `StorageFull` over `size`."""
        if amount > 0 and self.used + amount > self.config.size:
            self._refused.add()
            raise StorageFull(
                f"{amount} bytes more do not fit into storage.size ({self.config.size}): raise it, or use sqlite"
            )
        self.used += amount
        self._bytes.set(self.used)

    def record(self, *body: object) -> None:
        """Have a change written behind."""
        self._pending.append(encode(body))
        self._go_on()

    def flush(self) -> Deferred[None]:
        """Fires once everything recorded so far is durable."""
        if self._broken is not None:
            return fail(self._broken)
        if not self._pending and self._writing is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self._go_on()
        return done

    def _write(self) -> None:
        """Write what waits as one group; what comes meanwhile is the next one."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        data, self._pending = b"".join(self._pending), []
        waiting, self._waiting = self._waiting, []
        self._writing = self.context.work(append, self._path, data)

        def written(result: Any) -> None:
            self._writing = None
            if isinstance(result, Failure):
                text = (
                    f"the journal {self._path} can't be written: {result.getErrorMessage()}: see to the disk and "
                    "restart"
                )
                self._broken = StorageError(text)
                self.context.log.error("{text}", text=text)
                waiting.extend(self._waiting)
                self._waiting.clear()
            for each in waiting:
                each.callback(None) if self._broken is None else each.errback(self._broken)
            if self._broken is None:
                self._go_on()

        self._writing.addBoth(written)

    def _go_on(self) -> None:
        """Write the next group: now where somebody waits for it, else in a while."""
        if self._writing is not None:
            return
        if self._waiting:
            self._write()
        elif self._pending and self._timer is None:
            self._timer = self.context.reactor.callLater(self.config.write_behind, self._write)

    def _replay(self, found: tuple[list[list[Any]], int, int]) -> Deferred[None]:
        records, length, torn = found
        self._broken = None
        self.used = 0
        for network, owner, operation, *rest in records:
            self.namespace(network, owner).replay(operation, rest)
        if torn:
            self.context.log.warn(
                "{path}: the last {torn} bytes were not whole (a power cut?) and were put into {path}.torn",
                path=str(self._path), torn=torn,
            )  # fmt: skip
        if length < 2 * self.used + 100_000:
            return succeed(None)
        rows = [body for space in self._spaces.values() for body in space.snapshot()]
        return self.context.work(rewrite, self._path, rows)

    def _unreadable(self, failure: Failure) -> None:
        raise StartError(f"storage journal: can't begin with {self._path}: {failure.getErrorMessage()}")


@implementer(INamespace)
class JournalNamespace:
    """The keys and blobs of one plugin."""

    def __init__(self, engine: JournalStorage, network: str, owner: str) -> None:
        self._engine = engine
        self._name = (network, owner)
        self._keys: OrderedKeys[bytes] = OrderedKeys()
        self._blobs: dict[str, JournalBlob] = {}

    def get(self, key: bytes) -> Deferred[bytes | None]:
        """From memory."""
        return self._checked(lambda: self._keys.get(key))

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Deferred[list[tuple[bytes, bytes]]]:
        """From memory."""
        return self._checked(lambda: list(islice(self._keys.range(start, end), limit)))

    def write(
        self, puts: Sequence[tuple[bytes, bytes]] = (), deletes: Sequence[bytes] = (), durable: bool = False
    ) -> Deferred[None]:
        """One record. Fails with `StorageFull` where it does not fit, and nothing has changed then."""
        changes: dict[bytes, bytes | None] = dict.fromkeys(map(bytes, deletes))
        changes.update((bytes(key), bytes(value)) for key, value in puts)
        try:
            self._engine.check()
            self._engine.grow(sum(self._growth(key, value) for key, value in changes.items()))
        except StorageError:
            return fail()
        if changes:
            self._apply(changes)
            self.record("batch", [[_text(k), None if v is None else _text(v)] for k, v in changes.items()])
        return self._engine.flush() if durable else succeed(None)

    def blob(self, name: str) -> JournalBlob:
        """The blob of that name; it counts as being there from its first append."""
        blob = self._blobs.get(check_blob_name(name))
        if blob is None:
            blob = self._blobs[name] = JournalBlob(self._engine, self, name)
        return blob

    def blobs(self) -> Sequence[str]:
        """The names of the blobs there are, sorted."""
        return sorted(name for name, blob in self._blobs.items() if blob.made)

    def delete_blob(self, name: str) -> Deferred[None]:
        """Fires when it is durable."""
        blob = self.blob(name)
        try:
            self._engine.check()
        except StorageError:
            return fail()
        if not blob.made:
            return succeed(None)
        blob.cut(0)
        blob.made = False
        self.record("delete", name)
        return self._engine.flush()

    def flush(self) -> Deferred[None]:
        """Fires once everything written so far is durable: of every namespace, as they share the file."""
        return self._engine.flush()

    def record(self, operation: str, *rest: object) -> None:
        """Have a change of this namespace written."""
        self._engine.record(*self._name, operation, *rest)

    def replay(self, operation: str, rest: list[Any]) -> None:
        """One record of the journal, at start."""
        if operation == "batch":
            changes = {b64decode(k): None if v is None else b64decode(v) for k, v in rest[0]}
            self._engine.used += sum(self._growth(key, value) for key, value in changes.items())
            self._apply(changes)
            return
        blob = self.blob(rest[0])
        if operation == "append":
            data = b64decode(rest[1])
            blob.data += data
            self._engine.used += len(data)
            blob.made = True
        else:
            blob.cut(rest[1] if operation == "cut" else 0)
            blob.made = operation == "cut"

    def snapshot(self) -> Iterator[list[object]]:
        """The records that a new journal needs for what is there now."""
        for key, value in self._keys.range():
            yield [*self._name, "batch", [[_text(key), _text(value)]]]
        for name in self.blobs():
            yield [*self._name, "append", name, _text(bytes(self._blobs[name].data))]

    def _growth(self, key: bytes, value: bytes | None) -> int:
        old = self._keys.get(key)
        before = 0 if old is None else len(key) + len(old) + ENTRY
        return (0 if value is None else len(key) + len(value) + ENTRY) - before

    def _apply(self, changes: dict[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._keys.delete(key)
            else:
                self._keys.set(key, value)

    def _checked(self, read: Callable[[], Any]) -> Deferred[Any]:
        try:
            self._engine.check()
        except StorageError:
            return fail()
        return execute(read)


@implementer(IBlob)
class JournalBlob:
    """An append-only run of bytes."""

    def __init__(self, engine: JournalStorage, space: JournalNamespace, name: str) -> None:
        self.name = name
        self.data = bytearray()
        self.made = False
        self._engine = engine
        self._space = space

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self.data)

    def append(self, data: bytes) -> int:
        """Add bytes at the end; returns their offset. Raises `StorageFull`."""
        self._engine.check()
        self._engine.grow(len(data))
        offset = len(self.data)
        self.data += data
        self.made = True
        self._space.record("append", self.name, _text(data))
        return offset

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """From memory; shorter at the end."""
        try:
            self._engine.check()
            if offset < 0 or length < 0:
                raise StorageError(f"blob {self.name}: offset {offset} and length {length} can't be negative")
        except StorageError:
            return fail()
        return succeed(bytes(self.data[offset : offset + length]))

    def truncate(self, size: int) -> Deferred[None]:
        """Cut the end off; fires when it is durable."""
        try:
            self._engine.check()
            if not 0 <= size <= len(self.data):
                raise StorageError(f"blob {self.name} can't be cut to {size}: it has {len(self.data)} bytes")
        except StorageError:
            return fail()
        self.cut(size)
        self._space.record("cut", self.name, size)
        return self._engine.flush()

    def cut(self, size: int) -> None:
        """Cut the end off, in memory."""
        self._engine.grow(size - len(self.data))
        del self.data[size:]


def encode(body: Sequence[object]) -> bytes:
    """A record."""
    data = json.dumps(list(body), separators=(",", ":")).encode()
    return len(data).to_bytes(4) + zlib.crc32(data).to_bytes(4) + data


def read_journal(path: Path) -> tuple[list[list[Any]], int, int]:
    """Every whole record, the length of all, and how many bytes behind them were torn: these are moved to another file.

    Runs on a worker's thread, as the functions below do.
    """
    path.touch(mode=0o600)
    data = path.read_bytes()
    records: list[list[Any]] = []
    at = 0
    while at + HEAD <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if not _whole(data, at):
            if _whole(data, at + HEAD + length):
                raise ValueError(
                    f"the record at byte {at} is damaged and whole ones follow it: put a backup in its place"
                )
            break
        records.append(json.loads(data[at + HEAD : at + HEAD + length]))
        at += HEAD + length
    torn = len(data) - at
    if torn:
        Path(f"{path}.torn").write_bytes(data[at:])
        os.truncate(path, at)
    return records, at, torn


def _whole(data: bytes, at: int) -> bool:
    """Whether a record stands at that place."""
    length, sum_ = int.from_bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + HEAD])
    body = data[at + HEAD : at + HEAD + length]
    return len(body) == length > 0 and zlib.crc32(body) == sum_


def append(path: Path, data: bytes) -> None:
    """Write at the end, and return when it would survive a power cut."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def rewrite(path: Path, bodies: Sequence[Sequence[object]]) -> None:
    """Put a journal of these records in place of the old one: either is there whole, whenever the power goes."""
    fresh = Path(f"{path}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    append(fresh, b"".join(encode(body) for body in bodies))
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _text(data: bytes) -> str:
    return b64encode(data).decode()
