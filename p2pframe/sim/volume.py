"""What stands on a simulated disk, and what of it a crash takes back.

What is written stands in the tables of its volume at once, so that reads see it. What is not durable yet waits in
groups that know what stood there before: a crash takes them back, newest first. A group that is being made durable when
the crash comes is found half done: part of the appended bytes, or all of them, or the batches too, or everything, as
the disk's own stream draws.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from hashlib import blake2b
from random import Random

from twisted.internet.defer import Deferred

from p2pframe.keyspace import OrderedKeys

ENTRY_BYTES = 64
"""What a key takes on the disk beside itself and its value."""
_NO_KEYS: OrderedKeys[bytes] = OrderedKeys()
"""Stands in every volume until a key is put: a host has a dozen volumes, and most stay empty."""


class Extent:
    """The bytes of a blob, as the pieces that they were appended in."""

    __slots__ = ("pieces", "size", "starts")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.starts: list[int] = []
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if data:
            self.starts.append(self.size)
            self.pieces.append(data)
            self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on; shorter at the end."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        parts = []
        index = bisect_right(self.starts, offset) - 1
        while offset < end:
            start, piece = self.starts[index], self.pieces[index]
            parts.append(piece[offset - start : end - start])
            offset = start + len(piece)
            index += 1
        return b"".join(parts)

    def cut(self, size: int) -> list[bytes]:
        """Keep the first `size` bytes; returns the pieces that came behind them."""
        behind: list[bytes] = []
        while self.size > size:
            start, piece = self.starts.pop(), self.pieces.pop()
            self.size = start
            kept = max(size - start, 0)
            behind.append(piece[kept:])
            self.append(piece[:kept])
        return behind[::-1]

    def copy(self) -> Extent:
        """Another one with the same bytes."""
        other = Extent()
        other.pieces, other.starts, other.size = self.pieces.copy(), self.starts.copy(), self.size
        return other


class Volume:
    """The part of the disk that belongs to one namespace, with what is written to it and not yet durable."""

    __slots__ = ("blobs", "groups", "keys", "used")

    def __init__(self) -> None:
        self.keys = _NO_KEYS
        self.blobs: dict[str, Extent] = {}
        # A list, though its first goes first: there are few, and most of the time none.
        self.groups: list[Group] = []
        self.used = 0

    def set(self, key: bytes, value: bytes | None) -> None:
        """Put a key, or take it out."""
        old = self.keys.get(key)
        if old is not None:
            self.used -= len(key) + len(old) + ENTRY_BYTES
        if value is None:
            self.keys.delete(key)
        else:
            if self.keys is _NO_KEYS:
                self.keys = OrderedKeys()
            self.keys.set(key, value)
            self.used += len(key) + len(value) + ENTRY_BYTES

    def append(self, name: str, data: bytes) -> None:
        """Bytes for the end of a blob, which is made where there is none."""
        extent = self.blobs.get(name)
        if extent is None:
            extent = self.blobs[name] = Extent()
        extent.append(data)
        self.used += len(data)

    def cut(self, name: str, size: int) -> list[bytes]:
        """Keep the first bytes of a blob; returns what came behind."""
        behind = self.blobs[name].cut(size)
        self.used -= sum(map(len, behind))
        return behind

    def delete(self, name: str) -> Extent:
        """Take a blob out."""
        extent = self.blobs.pop(name)
        self.used -= extent.size
        return extent

    def restore(self, name: str, extent: Extent) -> None:
        """Put a deleted blob back."""
        self.blobs[name] = extent.copy()
        self.used += extent.size

    def crash(self, rng: Callable[[], Random]) -> None:
        """Take back what is not durable; `rng` says how far the group under way got."""
        groups, self.groups = self.groups, []
        while groups:
            group = groups.pop()
            if groups or not group.under_way:
                group.undo(self)
            else:
                group.tear(self, rng())

    def digest(self) -> bytes:
        """32 bytes that follow from what is durable."""
        durable = self._durable() if self.groups else self
        digest = blake2b(digest_size=32)
        for key, value in sorted(durable.keys.items()):
            digest.update(b"k%d:%d:" % (len(key), len(value)) + key + value)
        for name, extent in sorted(durable.blobs.items()):
            digest.update(b"b%d:%d:" % (len(name), extent.size) + name.encode())
            for piece in extent.pieces:
                digest.update(piece)
        return digest.digest()

    def _durable(self) -> Volume:
        other = Volume()
        for key, value in self.keys.items():
            other.set(key, value)
        other.blobs = {name: extent.copy() for name, extent in self.blobs.items()}
        for group in reversed(self.groups):
            group.undo(other)
        return other


class Group:
    """What becomes durable together, in this order: appended bytes, the batches, cuts and deletes of blobs.

    It holds what stood there before. What is written after a cut or a delete goes to the next group.
    """

    __slots__ = ("before", "closed", "made", "removals", "since", "size", "starts", "under_way", "waiters")

    def __init__(self, since: float) -> None:
        self.since = since
        self.size = 0
        self.closed = False
        self.under_way = False
        self.before: dict[bytes, bytes | None] = {}
        self.starts: dict[str, int] = {}
        self.made: list[str] = []
        self.removals: list[tuple[str, Extent | list[bytes]]] = []
        self.waiters: list[Deferred[None]] = []

    def undo(self, volume: Volume) -> None:
        """Put everything back as it was."""
        self._undo_removals(volume)
        self._undo_batches(volume)
        for name, start in self.starts.items():
            volume.cut(name, start)
        for name in self.made:
            volume.delete(name)

    def tear(self, volume: Volume, rng: Random) -> None:
        """Leave what a crash finds of it on the disk."""
        got = rng.randrange(4)
        if got < 3:
            self._undo_removals(volume)
        if got < 2:
            self._undo_batches(volume)
        if got < 1:
            for name, start in self.starts.items():
                volume.cut(name, rng.randint(start, volume.blobs[name].size))

    def _undo_removals(self, volume: Volume) -> None:
        for name, lost in reversed(self.removals):
            if isinstance(lost, Extent):
                volume.restore(name, lost)
            else:
                for piece in lost:
                    volume.append(name, piece)

    def _undo_batches(self, volume: Volume) -> None:
        for key, value in self.before.items():
            volume.set(key, value)
