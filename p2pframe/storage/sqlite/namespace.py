"""A namespace of the sqlite engine: reads that see what waits, and writes handed to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from p2pframe.errors import StorageError
from p2pframe.interfaces import IBlob, INamespace
from p2pframe.keyspace import OrderedKeys, check_blob_name, folder_name
from p2pframe.storage.sqlite.blob import FileBlob
from p2pframe.storage.sqlite.store import Store


@implementer(INamespace)
class SqliteNamespace:
    """See `INamespace`."""

    def __init__(self, store: Store, network: str, owner: str) -> None:
        self._store = store
        self._name = (network, owner)
        self._folder: Path = store.folder / "blobs" / folder_name(network) / folder_name(owner)
        for name, size in store.found.pop(self._folder, {}).items():
            store.blobs[self._name, name] = FileBlob(store, name, self._folder / name, size, True)

    def get(self, key: bytes) -> Deferred[bytes | None]:
        """The value, or None."""
        try:
            self._store.host.check()
        except StorageError:
            return fail()
        known, value = self._store.waiting(self._name, key)
        if known:
            return succeed(value)
        database = self._store.opened()
        return self._store.read(lambda: database.get(self._name, key))

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Deferred[list[tuple[bytes, bytes]]]:
        """Pairs with start <= key < end, in order."""
        try:
            self._store.host.check()
            if limit is not None and limit < 0:
                raise StorageError(f"scanning {self._store.folder}: the limit {limit} is negative")
        except StorageError:
            return fail()
        waiting: list[tuple[bytes, bytes | None]] = []
        deleted = alive = 0
        for key, value in self._waiting(start, end):
            if limit is not None and alive >= limit:
                break
            waiting.append((key, value))
            if value is None:
                deleted += 1
            else:
                alive += 1
        most = None if limit is None else limit + deleted
        database = self._store.opened()

        def run() -> list[tuple[bytes, bytes]]:
            found = database.scan(self._name, start, end, most)
            if not waiting:
                return found
            merged: dict[bytes, bytes | None] = dict(found)
            merged.update(waiting)
            return [(key, value) for key, value in sorted(merged.items()) if value is not None][:limit]

        return self._store.read(run)

    def _waiting(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """What waits to be written in a range, in order, the last word on each key."""
        runs = []
        for age, group in enumerate(reversed(self._store.groups)):
            keys = group.overlay.get(self._name)
            if keys is not None:
                runs.append(_aged(keys, age, start, end))
        last: bytes | None = None
        # (key, age) differ everywhere, so values are never compared.
        for key, _, value in merge(*runs):
            if key != last:
                last = key
                yield key, value

    def write(
        self, puts: Sequence[tuple[bytes, bytes]] = (), deletes: Sequence[bytes] = (), durable: bool = False
    ) -> Deferred[None]:
        """One atomic batch; where a key is both put and deleted, the put counts."""
        try:
            return self._store.write(
                self._name, [(bytes(k), bytes(v)) for k, v in puts], list(map(bytes, deletes)), durable
            )
        except StorageError:
            return fail()

    def blob(self, name: str) -> IBlob:
        """The blob of that name; the same object each time."""
        blobs = self._store.blobs
        blob = blobs.get((self._name, check_blob_name(name)))
        if blob is None:
            blob = blobs[self._name, name] = FileBlob(self._store, name, self._folder / name, 0, False)
        return blob

    def blobs(self) -> Sequence[str]:
        """The names of the blobs there are, sorted."""
        return sorted(name for (owner, name), blob in self._store.blobs.items() if owner == self._name and blob.made)

    def delete_blob(self, name: str) -> Deferred[None]:
        """Delete a blob; fires when its space is free."""
        blob = self._store.blobs.get((self._name, check_blob_name(name)))
        try:
            self._store.host.check()
            if blob is None or not blob.made:
                return succeed(None)
            return self._store.remove(blob, None)
        except StorageError:
            return fail()

    def flush(self) -> Deferred[None]:
        """Fires once everything written so far is durable."""
        try:
            return self._store.flush()
        except StorageError:
            return fail()


def _aged(
    keys: OrderedKeys[bytes | None], age: int, start: bytes, end: bytes | None
) -> Iterator[tuple[bytes, int, bytes | None]]:
    for key, value in keys.range(start, end):
        yield key, age, value
