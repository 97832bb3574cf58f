"""What becomes durable together: batches, appended bytes, and then cuts and deletes of blobs.

Within a group the order on disk is: bytes appended to blobs, synced; the batches, in one transaction; cuts and deletes.
So an index row never points at bytes that are not there, whichever moment the power goes. What is written after a cut
or a delete goes to the next group. Doing a group twice leaves what doing it once does: a failed one is simply tried
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from p2pframe.keyspace import OrderedKeys

if TYPE_CHECKING:
    from p2pframe.storage.sqlite.blob import FileBlob

Name = tuple[str, str]


class Batch:
    """One atomic batch; `waiter` is who waits until it is durable."""

    __slots__ = ("deletes", "name", "puts", "size", "waiter")

    def __init__(
        self,
        name: Name,
        puts: Sequence[tuple[bytes, bytes]],
        deletes: Sequence[bytes],
        size: int,
        waiter: Deferred[None] | None,
    ) -> None:
        self.name = name
        self.puts = puts
        self.deletes = deletes
        self.size = size
        self.waiter = waiter


class Removal:
    """A cut or, where `keep` is None, a delete of a blob."""

    __slots__ = ("blob", "keep", "waiter")

    def __init__(self, blob: FileBlob, keep: int | None, waiter: Deferred[None]) -> None:
        self.blob = blob
        self.keep = keep
        self.waiter = waiter


class Group:
    """See the module. `since` is when its first write came, in seconds of the reactor's clock."""

    __slots__ = ("appends", "batches", "closed", "flushes", "overlay", "removals", "settles", "since", "size", "starts")

    def __init__(self, since: float) -> None:
        self.since = since
        self.size = 0
        self.closed = False
        self.batches: list[Batch] = []
        self.overlay: dict[Name, OrderedKeys[bytes | None]] = {}
        self.starts: dict[FileBlob, int] = {}
        self.appends: list[tuple[FileBlob, int, bytes]] = []
        self.removals: list[Removal] = []
        self.settles: dict[FileBlob, tuple[int, int]] = {}
        self.flushes: list[Deferred[None]] = []

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it."""
        return (
            bool(self.flushes)
            or any(batch.waiter is not None for batch in self.batches)
            or any(not removal.waiter.called for removal in self.removals)
        )

    def add(self, batch: Batch) -> None:
        """Take a batch; reads see it from now on."""
        self.batches.append(batch)
        self.size += batch.size
        self._overlay(batch)

    def _overlay(self, batch: Batch) -> None:
        keys = self.overlay.get(batch.name)
        if keys is None:
            keys = self.overlay[batch.name] = OrderedKeys()
        for key in batch.deletes:
            keys.set(key, None)
        for key, value in batch.puts:
            keys.set(key, value)

    def drop(self, refused: Sequence[Batch]) -> None:
        """Take refused batches out again, and what they hid."""
        gone = {id(batch) for batch in refused}
        self.batches = [batch for batch in self.batches if id(batch) not in gone]
        self.size -= sum(batch.size for batch in refused)
        self.overlay = {}
        for batch in self.batches:
            self._overlay(batch)

    def close(self) -> None:
        """Let nothing more in, and keep what was appended as it is now: cuts come after."""
        if not self.closed:
            self.closed = True
            for blob, start in self.starts.items():
                self.appends.append((blob, start, blob.tail_from(start)))
                self.settles[blob] = (blob.generation, blob.size)
