"""IStorage: what survives a crash?"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class IBlob(Interface):
    """An append-only run of bytes, for what is large: block files, header chains."""

    name: str = Attribute("Its name within the namespace: lower-case letters, digits, dashes.")
    size: int = Attribute("Bytes, counting what is appended and not yet written.")

    def append(data: bytes) -> int:
        """Queue bytes at the end; returns the offset at which they will stand.

        Raises `StorageFull` under the floor of free space.

        Written behind, within `write_behind` seconds. A batch written to the same namespace afterwards never becomes
        durable before them: an index row never points at what is not there.
        """

    def read(offset: int, length: int) -> Deferred[bytes]:
        """What was appended, also what is not on disk yet; shorter at the end. Fails with `StorageError`."""

    def truncate(size: int) -> Deferred[None]:
        """Cut the end off (a torn tail after a crash). Fires when it is durable."""


class INamespace(Interface):
    """The keys and blobs of one plugin in one network; nobody else sees them.

    Keys and values are bytes, ordered by key. Writes are atomic batches. Reads see every batch written before.
    """

    def get(key: bytes) -> Deferred[bytes | None]:
        """The value, or None."""

    def scan(
        start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Deferred[list[tuple[bytes, bytes]]]:
        """Pairs with start <= key < end, in order, at most `limit`."""

    def write(
        puts: Sequence[tuple[bytes, bytes]] = (), deletes: Sequence[bytes] = (), durable: bool = False
    ) -> Deferred[None]:
        """One atomic batch.

        With `durable` the Deferred fires once it would survive a power cut; without, at once, and it is written behind
        within `write_behind` (at most 5 s). Batches become durable in the order written.

        Fails (or has failed the next write with) `StorageError`; `StorageFull` refuses the batch and keeps what was
        there.
        """

    def blob(name: str) -> IBlob:
        """The blob of that name, made at its first append."""

    def blobs() -> Sequence[str]:
        """The names of the blobs there are, sorted."""

    def delete_blob(name: str) -> Deferred[None]:
        """Delete a blob; fires when its space is free. Index rows are to be deleted (durably) before."""

    def flush() -> Deferred[None]:
        """Fires once everything written so far is durable."""


class IStorage(Interface):
    """The storage engine of a node.

    The wire never waits for it: it works on `context.work` threads and writes behind.
    """

    def start() -> Deferred[None]:
        """Called once, before any plugin that stores is started: open, check, migrate.

        Fails with `StartError` that says what to do, where the data is of a newer schema, or corrupt beyond rebuilding.
        """

    def stop() -> Deferred[None]:
        """Called last: write everything and close."""

    def namespace(network: str, owner: str) -> INamespace:
        """The namespace of a plugin: `owner` is its kind and name (`protocol.bitcoin`), or core's own (`core.bans`);
        `network` is empty for what is the node's. Called after `start`."""
