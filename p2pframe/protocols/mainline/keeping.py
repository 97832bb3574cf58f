"""What survives a restart: ids, the nodes of the routing tables, what is stored for others, what is kept for us.

Nodes are asked anew before they count: an address that was good yesterday is somebody else's today. A row that can't be
read is left out and counted; all of it can be learnt again.

    id/<endpoint>       20 bytes
    nodes/<endpoint>    compact nodes, one after another
    kept/<number>       an item that we put again
    peer..., item...    what the stores dump
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from p2pframe.protocols.mainline.compact import pack_node, unpack_nodes
from p2pframe.protocols.mainline.endpoint import Endpoint

if TYPE_CHECKING:
    from p2pframe.protocols.mainline.dht import Dht
    from p2pframe.protocols.mainline.items import Items

NODES = 4096
"""Nodes of one table that are kept, at most."""


class Keeping:
    """Loads and saves the state of a `Dht`."""

    def __init__(self, dht: Dht, items: Items) -> None:
        self._dht = dht
        self._items = items
        self._ids: dict[bytes, bytes] = {}
        self._nodes: dict[bytes, bytes] = {}
        self._written: dict[bytes, None] = {}
        self._left_out = dht.context.metrics.counter("dht_rows_left_out_total", "Stored rows that could not be read.")

    async def load(self) -> None:
        """Read everything; called before the ports are open. Fails with `StorageError`."""
        rest: list[tuple[bytes, bytes]] = []
        for key, value in await self._dht.context.storage.scan():
            self._written[key] = None
            if key.startswith(b"id/"):
                self._ids[key[3:]] = value
            elif key.startswith(b"nodes/"):
                self._nodes[key[6:]] = value
            elif key.startswith(b"kept/"):
                self._load_item(key, value)
            else:
                rest.append((key, value))
        self._left_out.add(self._dht.stores.load(rest))

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
        """Write everything, as one batch. Fails with `StorageError`."""
        rows = dict(self._rows())
        gone = [key for key in self._written if key not in rows]
        self._written = dict.fromkeys(rows)
        return self._dht.context.storage.write(list(rows.items()), gone)

    def _rows(self) -> Iterator[tuple[bytes, bytes]]:
        for endpoint in self._dht.endpoints:
            label = endpoint.label.encode()
            self._ids[label] = endpoint.own.to_bytes(20, "big")
            nodes = [(one.id, one.address) for one in endpoint.table.contacts()] or endpoint.remembered
            yield b"nodes/" + label, b"".join([pack_node(*one) for one in nodes[:NODES]])
        for label, own in self._ids.items():
            yield b"id/" + label, own
        for number, row in enumerate(self._items.dump()):
            yield b"kept/%06d" % number, row
        yield from self._dht.stores.dump()

    def _load_item(self, key: bytes, row: bytes) -> None:
        try:
            self._items.load(row)
        except ValueError as error:
            self._left_out.add(1)
            self._dht.context.log.warn("a kept item ({key}) is left out: {error}", key=key, error=str(error))
