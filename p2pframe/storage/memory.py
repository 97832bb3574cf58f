"""The storage engine that keeps nothing: everything in memory, within a bound, gone with the process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from p2pframe.errors import StorageError, StorageFull
from p2pframe.interfaces import Gauge, IBlob, IContext, INamespace, IReconfigurable, IStorage
from p2pframe.keyspace import OrderedKeys, check_blob_name
from p2pframe.plugin import PluginConfig, Size, live, plugin

ENTRY_BYTES = 200
"""What an entry costs beside its key and value: two bytes objects, a place in the table and one in the order."""


class MemoryConfig(PluginConfig):
    """Options of `memory`."""

    limit: Size = live(256_000_000, description="Keys, values and blobs kept at most; beyond it writes are refused.")


@plugin("memory", config=MemoryConfig)
@implementer(IStorage, IReconfigurable)
class MemoryStorage:
    """Keeps everything in memory, within a bound; nothing survives a restart."""

    def __init__(self, config: MemoryConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.used = 0
        self.running = False
        self._namespaces: dict[tuple[str, str], MemoryNamespace] = {}
        self._used_gauge: Gauge = context.metrics.gauge("storage_bytes", "Bytes that the storage engine keeps.")
        self._refused = context.metrics.counter(
            "storage_refused_total", "Writes that the storage engine refused, by what they were.", ("what",)
        )

    def start(self) -> Deferred[None]:
        """Nothing to open: a new process begins empty."""
        self.running = True
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Forget everything."""
        self.running = False
        self._namespaces.clear()
        self.used = 0
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """Take a new limit; what is kept already stays, even where it is more."""
        assert isinstance(config, MemoryConfig)
        self.config = config

    def namespace(self, network: str, owner: str) -> INamespace:
        """The namespace of a plugin; the same one each time."""
        self.check()
        space = self._namespaces.get((network, owner))
        if space is None:
            space = self._namespaces[network, owner] = MemoryNamespace(self, f"{network or 'node'}/{owner}")
        return space

    def check(self) -> None:
        """Raises `StorageError` unless the engine is between start and stop."""
        if not self.running:
            raise StorageError("the memory storage is not running: use it between its start and its stop")

    def grow(self, amount: int, what: str, where: str) -> None:
        """Account for more (or less) bytes; raises `StorageFull` over the limit."""
        if amount > 0 and self.used + amount > self.config.limit:
            self._refused.add(1, what)
            raise StorageFull(
                f"{what} in {where}: {self.used + amount} bytes are more than storage.limit, {self.config.limit}: "
                "raise it, or use the sqlite storage"
            )
        self.used += amount
        self._used_gauge.set(self.used)


@implementer(INamespace)
class MemoryNamespace:
    """The keys and blobs of one plugin, in memory."""

    def __init__(self, engine: MemoryStorage, where: str) -> None:
        self._engine = engine
        self._where = where
        self._keys: OrderedKeys[bytes] = OrderedKeys()
        self._blobs: dict[str, MemoryBlob] = {}

    def get(self, key: bytes) -> Deferred[bytes | None]:
        """The value, or None."""
        try:
            self._engine.check()
        except StorageError:
            return fail()
        return succeed(self._keys.get(key))

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Deferred[list[tuple[bytes, bytes]]]:
        """Pairs with start <= key < end, in order."""
        try:
            self._engine.check()
        except StorageError:
            return fail()
        return succeed(list(islice(self._keys.range(start, end), limit)))

    def write(
        self, puts: Sequence[tuple[bytes, bytes]] = (), deletes: Sequence[bytes] = (), durable: bool = False
    ) -> Deferred[None]:
        """One atomic batch; as durable as anything here, which is not at all."""
        changes: dict[bytes, bytes | None] = {bytes(key): None for key in deletes}
        changes.update((bytes(key), bytes(value)) for key, value in puts)
        try:
            self._engine.check()
            self._engine.grow(sum(self._growth(key, value) for key, value in changes.items()), "batch", self._where)
        except StorageError:
            return fail()
        for key, value in changes.items():
            if value is None:
                self._keys.delete(key)
            else:
                self._keys.set(key, value)
        return succeed(None)

    def _growth(self, key: bytes, value: bytes | None) -> int:
        old = self._keys.get(key)
        before = 0 if old is None else len(key) + len(old) + ENTRY_BYTES
        return (0 if value is None else len(key) + len(value) + ENTRY_BYTES) - before

    def blob(self, name: str) -> IBlob:
        """The blob of that name; it counts as being there from its first append."""
        blob = self._blobs.get(check_blob_name(name))
        if blob is None:
            blob = self._blobs[name] = MemoryBlob(self._engine, name, f"{self._where}/{name}")
        return blob

    def blobs(self) -> Sequence[str]:
        """The names of the blobs there are, sorted."""
        return sorted(name for name, blob in self._blobs.items() if blob.made)

    def delete_blob(self, name: str) -> Deferred[None]:
        """Forget a blob."""
        try:
            self._engine.check()
        except StorageError:
            return fail()
        blob = self._blobs.get(check_blob_name(name))
        if blob is not None:
            blob.empty()
        return succeed(None)

    def flush(self) -> Deferred[None]:
        """Fires at once."""
        try:
            self._engine.check()
        except StorageError:
            return fail()
        return succeed(None)


@implementer(IBlob)
class MemoryBlob:
    """An append-only run of bytes in memory."""

    def __init__(self, engine: MemoryStorage, name: str, where: str) -> None:
        self._engine = engine
        self._where = where
        self._data = bytearray()
        self.name = name
        self.made = False

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._data)

    def append(self, data: bytes) -> int:
        """Add bytes at the end; returns their offset. Raises `StorageFull`."""
        self._engine.check()
        self._engine.grow(len(data), "append", self._where)
        offset = len(self._data)
        self._data += data
        self.made = True
        return offset

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """What was appended; shorter at the end."""
        try:
            self._engine.check()
            check_range(offset, length, self._where)
        except StorageError:
            return fail()
        return succeed(bytes(self._data[offset : offset + length]))

    def truncate(self, size: int) -> Deferred[None]:
        """Cut the end off."""
        try:
            self._engine.check()
            if not 0 <= size <= len(self._data):
                raise StorageError(f"truncate of {self._where} to {size}: it has {len(self._data)} bytes")
        except StorageError:
            return fail()
        self._engine.grow(size - len(self._data), "truncate", self._where)
        del self._data[size:]
        return succeed(None)

    def empty(self) -> None:
        """Forget the bytes, and that there were any."""
        self._engine.grow(-len(self._data), "delete", self._where)
        self._data.clear()
        self.made = False


def check_range(offset: int, length: int, where: str) -> None:
    """Raises `StorageError` for a range that can't be read."""
    if offset < 0 or length < 0:
        raise StorageError(f"read of {where}: offset {offset} and length {length} can't be negative")
