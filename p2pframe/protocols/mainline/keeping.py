"""What survives a restart: ids, the nodes of the routing tables, what is stored for others, what is kept for us.

Nodes are asked anew before they count: an address that was good yesterday is somebody else's today. A row that can't be
read is left out and counted; all of it can be learnt again.

A million peers are half a second of work: they are written, and read, a slice in each turn of the reactor. Each slice
is a batch of whole rows, and each row of the stores says when it was written: what a crash between two slices leaves,
older rows beside newer ones, loads like any other state.

    id/<endpoint>       20 bytes
    nodes/<endpoint>    compact nodes, one after another
    kept/<target>       an item that we put again
    peer..., item...    8 bytes: the unix time of the save, then what the stores dump
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from p2pframe.protocols.mainline.compact import pack_node, unpack_nodes
from p2pframe.protocols.mainline.endpoint import Endpoint

if TYPE_CHECKING:
    from p2pframe.protocols.mainline.dht import Dht
    from p2pframe.protocols.mainline.items import Items

NODES = 4096
"""Nodes of one table that are kept, at most."""
SLICE = 2_000
"""Records (peers, items, nodes) of one slice, unless a single row has more: an infohash has 6,000 peers at most."""
_TIME = 8
_WIDTHS = {b"peer4/": 11, b"peer6/": 23, b"nodes/": 26}
_STORED = b"stored"
"""What the stores name the time of a dump."""
_Change = tuple[bytes | None, bytes | None, int]
"""A key, its row, and how many records it has; without a row the key goes, without a key all stays as it is."""


class Keeping:
    """Loads and saves the state of a `Dht`."""

    def __init__(self, dht: Dht, items: Items) -> None:
        self._dht = dht
        self._items = items
        self._ids: dict[bytes, bytes] = {}
        self._nodes: dict[bytes, bytes] = {}
        self._round = 0
        self._written: dict[bytes, int] = {}
        """Each key on disk, and the round that wrote it the last time."""
        self._left_out = dht.context.metrics.counter("dht_rows_left_out_total", "Stored rows that could not be read.")

    async def load(self) -> None:
        """Read everything; called before the ports are open. Fails with `StorageError`."""
        rest: list[tuple[bytes, bytes]] = []
        for key, value in await self._dht.context.storage.scan():
            self._written[key] = 0
            if key.startswith(b"id/"):
                self._ids[key[3:]] = value
            elif key.startswith(b"nodes/"):
                self._nodes[key[6:]] = value
            elif key.startswith(b"kept/"):
                self._load_item(key, value)
            else:
                rest.append((key, value))
        await self._load_stores(rest)

    def restore(self, endpoint: Endpoint) -> None:
        """An endpoint's port is open: give it back its id and the nodes that it knew."""
        label = endpoint.label.encode()
        own = self._ids.get(label)
        endpoint.opened(int.from_bytes(own, "big") if own is not None and len(own) == 20 else None)
        try:
            nodes = unpack_nodes(self._nodes.pop(label, b""), 38 if endpoint.six else 26, NODES)
        except ValueError:
            self._left_out.add(1)
            return
        endpoint.remembered = [one for one in nodes if endpoint.admissible(*one)]

    def save(self) -> Deferred[None]:
        """Write everything, in slices; one that is still under way ends where it is. Fails with `StorageError`.

        Ids, nodes and what is kept are those of now; the stores may change while they are gone through.
        """
        self._round += 1
        return Deferred.fromCoroutine(self._save(self._round))

    async def _save(self, now: int) -> None:
        storage, reactor = self._dht.context.storage, self._dht.context.reactor
        for number, (puts, deletes) in enumerate(_slices(self._changes(now))):
            if number:
                await deferLater(reactor, 0)
                if self._round != now:
                    return
            if puts or deletes:
                await storage.write(puts, deletes)
            for key in deletes:
                self._written.pop(key, None)

    def _changes(self, now: int) -> Iterator[_Change]:
        """All that is written, and then what is not there any more."""
        for key, row in self._rows():
            self._written[key] = now
            yield key, row, _records(key, row)
        for key in list(self._written):
            yield None if self._written[key] == now else key, None, 1

    def _rows(self) -> Iterator[tuple[bytes, bytes]]:
        endpoints = [(one.label.encode(), one) for one in self._dht.endpoints]
        for label, endpoint in endpoints:
            self._ids[label] = endpoint.own.to_bytes(20, "big")
        for label, own in list(self._ids.items()):
            yield b"id/" + label, own
        for label, endpoint in endpoints:
            nodes = [(one.id, one.address) for one in endpoint.table.contacts()] or endpoint.remembered
            yield b"nodes/" + label, b"".join([pack_node(*one) for one in nodes[:NODES]])
        for target, row in self._items.dump():
            yield b"kept/" + target, row
        time = bytes(_TIME)
        for key, row in self._dht.stores.dump():
            if key == _STORED:
                time = int(row).to_bytes(_TIME, "big")
            else:
                yield key, time + row

    async def _load_stores(self, rows: list[tuple[bytes, bytes]]) -> None:
        for number, (batch, _) in enumerate(_slices((key, row, _records(key, row)) for key, row in rows)):
            if number:
                await deferLater(self._dht.context.reactor, 0)
            by_time: dict[bytes, list[tuple[bytes, bytes]]] = {}
            for key, row in batch:
                if key == _STORED or len(row) <= _TIME:
                    self._left_out.add(1)
                else:
                    by_time.setdefault(row[:_TIME], []).append((key, row[_TIME:]))
            for time, dumped in by_time.items():
                stored = _STORED, b"%d" % int.from_bytes(time, "big")
                self._left_out.add(self._dht.stores.load([stored, *dumped]))
        self._dht.stores.items.sort()

    def _load_item(self, key: bytes, row: bytes) -> None:
        try:
            self._items.load(row)
        except ValueError as error:
            self._left_out.add(1)
            self._dht.context.log.warn("a kept item ({key}) is left out: {error}", key=key, error=str(error))


def _records(key: bytes, row: bytes) -> int:
    """How many records a row holds."""
    for start, width in _WIDTHS.items():
        if key.startswith(start):
            return max(1, len(row) // width)
    return 1


def _slices(changes: Iterable[_Change]) -> Iterator[tuple[list[tuple[bytes, bytes]], list[bytes]]]:
    """What is put and deleted, slice by slice."""
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    size = 0
    for key, row, records in changes:
        if size and size + records > SLICE:
            yield puts, deletes
            puts, deletes, size = [], [], 0
        size += records
        if key is not None and row is not None:
            puts.append((key, row))
        elif key is not None:
            deletes.append(key)
    if size:
        yield puts, deletes
