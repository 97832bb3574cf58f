"""Keeps the transaction pool in step with the chain.

What was mined leaves it, what a reorganisation unmined may come back.

Blocks are taken in the order of the chain. While their bodies are at hand that happens at once, so that nobody is given
a template with transactions that are mined already; else they are read from the store, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from p2pframe.interfaces import IContext
from p2pframe.model import ItemId
from p2pframe.protocols.bitcoin.block import Block, parse_block
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.pool import TransactionPool

MOST = 288
"""Blocks followed at once: in a first sync the older ones can't hold what is in the pool."""


class PoolFollower:
    """Of one network. `withdrawn` is called with the ids that have left the pool."""

    def __init__(
        self, context: IContext, store: BlockStore, pool: TransactionPool, withdrawn: Callable[[Iterable[ItemId]], None]
    ) -> None:
        self._context = context
        self._store = store
        self._pool = pool
        self._withdrawn = withdrawn
        self._waiting: list[tuple[bytes, bool]] = []
        self._running: Deferred[None] | None = None
        self._unread = context.metrics.counter("pool_unread_blocks_total", "Blocks that the pool could not follow.")

    def changed(
        self, disconnected: Sequence[bytes], connected: Sequence[bytes], at_hand: Callable[[bytes], Block | None]
    ) -> None:
        """The chain has lost and gained blocks (hashes; those lost newest first, those gained oldest first)."""
        steps = [(hash, False) for hash in disconnected[:MOST]] + [(hash, True) for hash in connected[-MOST:]]
        while steps and not self._waiting:
            block = at_hand(steps[0][0])
            if block is None:
                break
            self._follow(block, steps.pop(0)[1])
        self._waiting += steps
        if len(self._waiting) > 2 * MOST:
            # The disk is slower than the chain: what the oldest of them mined stays in the pool until it expires.
            self._unread.add(len(self._waiting) - 2 * MOST)
            del self._waiting[: -2 * MOST]
        if self._waiting and self._running is None:
            self._running = Deferred.fromCoroutine(self._read_on())
            self._running.addBoth(self._ended)

    async def _read_on(self) -> None:
        while self._waiting:
            step = hash, mined = self._waiting[0]
            try:
                item = await self._store.get(ItemId(hash))
            finally:
                if self._waiting and self._waiting[0] is step:
                    self._waiting.pop(0)
            if item is not None and isinstance(item.body, bytes):
                self._follow(parse_block(item.body), mined)
            else:
                self._unread.add()

    def _follow(self, block: Block, mined: bool) -> None:
        gone = self._pool.mined(block) if mined else self._pool.unmined(block)
        self._withdrawn(gone)

    def _ended(self, result: Failure | None) -> None:
        self._running = None
        if isinstance(result, Failure):
            self._unread.add()
            self._context.log.error("the pool could not follow the chain: {error}", error=result.getErrorMessage())
