"""Blocks ready to send: read from the store once, framed once, and shared by the peers that ask for them.

A new block is asked for by every peer within a second. Without this each of them would have its own copy of up to 4 MB
in memory for as long as it takes to read it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from p2pframe.interfaces import IContext
from p2pframe.model import ItemId
from p2pframe.protocols.bitcoin.block import join_block, parse_block
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.frame import V1Framing
from p2pframe.protocols.bitcoin.header import HEADER_SIZE
from p2pframe.protocols.bitcoin.transaction import parse_transaction

_Key = tuple[bytes, bool]


class BlockFrames:
    """Of one network: the latest `block_cache` bytes of framed blocks, and who waits for one that is being read."""

    def __init__(
        self, config: Callable[[], BitcoinConfig], context: IContext, store: BlockStore, framing: V1Framing
    ) -> None:
        self._config = config
        self._context = context
        self._store = store
        self._framing = framing
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._size = 0
        self._waiting: dict[_Key, list[Deferred[bytes | None]]] = {}
        self._reads = context.metrics.counter("block_frames_total", "Blocks given to peers, by source.", ("source",))

    def get(self, id: ItemId, witness: bool) -> Deferred[bytes | None]:
        """The whole `block` message; None where the block is not held. Fails with `StorageError`."""
        key = (id, witness)
        frame = self._kept.get(key)
        if frame is not None:
            self._kept.move_to_end(key)
            self._reads.add(1, "shared")
            return succeed(frame)
        waiter: Deferred[bytes | None] = Deferred()
        waiters = self._waiting.get(key)
        if waiters is not None:
            self._reads.add(1, "shared")
            waiters.append(waiter)
            return waiter
        self._reads.add(1, "store")
        self._waiting[key] = [waiter]
        Deferred.fromCoroutine(self._read(id, witness)).addBoth(self._read_done, key)
        return waiter

    async def _read(self, id: ItemId, witness: bool) -> bytes | None:
        item = await self._store.get(id)
        if item is None or not isinstance(item.body, bytes):
            return None
        raw = item.body
        if not witness:
            # Taking a large block apart takes a while, and peers may ask for it again and again.
            raw = await self._context.work(stripped, raw)
        return self._framing.frame("block", raw)

    def _read_done(self, result: bytes | Failure | None, key: _Key) -> None:
        if isinstance(result, bytes):
            self._keep(key, result)
        for waiter in self._waiting.pop(key):
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)

    def _keep(self, key: _Key, frame: bytes) -> None:
        self._kept[key] = frame
        self._size += len(frame)
        while self._kept and self._size > self._config().block_cache:
            self._size -= len(self._kept.popitem(last=False)[1])


def stripped(raw: bytes) -> bytes:
    """A block as peers know it that did not ask for witnesses (BIP144)."""
    block = parse_block(raw)
    if not block.witness:
        return raw
    return join_block(raw[:HEADER_SIZE], [parse_transaction(tx.stripped()) for tx in block.transactions()])
