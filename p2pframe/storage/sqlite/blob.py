"""A blob: a plain file, and the end of it that is not on disk yet.

The first `stable` bytes of the file are what the blob holds there; behind them stands `tail`, in memory, until the
group that carries it is on disk. `generation` counts cuts: a group settled after a later cut says nothing about the
blob.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from p2pframe.errors import StorageCorrupt, StorageError
from p2pframe.interfaces import IBlob
from p2pframe.storage.sqlite.disk import explained

if TYPE_CHECKING:
    from p2pframe.storage.sqlite.store import Store


@implementer(IBlob)
class FileBlob:
    """See the module and `IBlob`."""

    def __init__(self, store: Store, name: str, path: Path, size: int, made: bool) -> None:
        self.name = name
        self.path = path
        self.stable = size
        self.made = made
        self.generation = 0
        self._store = store
        self._tail = bytearray()

    @property
    def size(self) -> int:
        """Bytes, counting what is not on disk yet."""
        return self.stable + len(self._tail)

    def append(self, data: bytes) -> int:
        """Queue bytes at the end; returns their offset. Raises `StorageFull`."""
        return self._store.append(self, data)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """What was appended; shorter at the end."""
        store = self._store
        try:
            store.host.check()
            if offset < 0 or length < 0:
                raise StorageError(f"reading {self.path}: offset {offset} and length {length} can't be negative")
        except StorageError:
            return fail()
        end = min(offset + length, self.size)
        if offset >= end:
            return succeed(b"")
        tail = bytes(self._tail[max(offset - self.stable, 0) : max(end - self.stable, 0)])
        on_disk = min(end, self.stable) - offset
        if on_disk <= 0:
            return succeed(tail)
        return store.read(lambda: self._read(offset, on_disk) + tail)

    def _read(self, offset: int, length: int) -> bytes:
        with explained("reading", self.path):
            data = self._store.host.disk.read(self.path, offset, length)
        if len(data) < length:
            raise StorageCorrupt(f"reading {self.path}: {length} bytes at {offset} were written, {len(data)} are there")
        return data

    def truncate(self, size: int) -> Deferred[None]:
        """Cut the end off; fires when it is durable."""
        try:
            self._store.host.check()
            if not 0 <= size <= self.size:
                raise StorageError(f"cutting {self.path} to {size}: it has {self.size} bytes")
            return self._store.remove(self, size)
        except StorageError:
            return fail()

    # For the store and its groups

    def extend(self, data: bytes) -> int:
        """Take bytes into the tail; returns their offset."""
        offset = self.size
        self._tail += data
        self.made = True
        return offset

    def tail_from(self, offset: int) -> bytes:
        """What stands in the tail from an offset of the blob on."""
        return bytes(self._tail[offset - self.stable :])

    def cut(self, size: int, made: bool) -> None:
        """Forget what is behind `size`; the file follows."""
        self.generation += 1
        del self._tail[max(size - self.stable, 0) :]
        self.stable = min(self.stable, size)
        self.made = made and self.made

    def settle(self, generation: int, size: int) -> None:
        """The first `size` bytes are on disk, unless a cut came since."""
        if generation == self.generation:
            del self._tail[: size - self.stable]
            self.stable = size
