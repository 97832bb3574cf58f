"""Block bodies: which are wanted, of whom, and what happens when they join up.

The bodies of the best chain are fetched within a window ahead of the joined ones, from every peer that has them, by the
scheduler. A body that does not fit its header is its sender's offence, and the hash stays wanted: only a body that no
sender could have forged marks the block itself as bad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2pframe.interfaces import IContext, IItems, IScheduler, ISession, IValidator
from p2pframe.model import Fact, Floor, Item, ItemId, Outcome, SessionId, Slot, Topic, Validation
from p2pframe.protocols.bitcoin.block import BadBlock, Block, check_block
from p2pframe.protocols.bitcoin.block_store import TOPIC, BlockStore
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header import hash_hex
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.transaction import coinbase_height

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

LONGEST_STALL = 64.0
NEWS = 8
"""Blocks that may be joined behind the best header and still be news to tell."""


def block_item(block: Block) -> Item:
    """A block as an item."""
    return Item(TOPIC, ItemId(block.hash), block, block.size)


@implementer(IValidator)
class BlockValidator:
    """Whether a block's body is that of its header: merkle root, witness commitment, size, height in the coinbase.

    Neither scripts nor amounts nor signet's signature are checked.
    """

    topics: Sequence[Topic] = (TOPIC,)

    def __init__(self, index: HeaderIndex, invalid: Callable[[bytes, str], None]) -> None:
        self._index = index
        self._invalid = invalid

    def validate(self, item: Item) -> Validation:
        """See `IValidator.validate`."""
        block = item.body
        index = self._index
        if not isinstance(block, Block) or item.id not in index:
            return Validation(Outcome.IGNORE, "its header is not known")
        height = index.height_of(item.id)
        chain = index.chain
        try:
            check_block(block, segwit=height >= chain.segwit_height)
            if height >= chain.bip34_height and coinbase_height(block.transaction(0)) != height:
                raise BadBlock("bad-cb-height", f"the coinbase does not say {height}")
        except BadBlock as error:
            evidence = f"{hash_hex(item.id)}: {error}"[:300]
            fact = Fact("bad-block", Floor.END_AND_DISCOURAGE, evidence, proven=True)
            if error.mutated:
                return Validation(Outcome.IGNORE, error.reason, fact)
            self._invalid(item.id, evidence)
            return Validation(Outcome.REJECT, error.reason, fact)
        return Validation(Outcome.ACCEPT, spread=False)


class BlockSync:
    """Of one network.

    `tip_changed` is called with the blocks that the joined chain has lost (newest first) and gained (oldest first), as
    hashes, and what gives a block's body where it is still at hand.
    """

    def __init__(
        self,
        config: Callable[[], BitcoinConfig],
        context: IContext,
        index: HeaderIndex,
        store: BlockStore,
        items: IItems,
        scheduler: IScheduler,
        tip_changed: Callable[[Sequence[bytes], Sequence[bytes], Callable[[bytes], Block | None]], None],
    ) -> None:
        self._config = config
        self._context = context
        self._index = index
        self._store = store
        self._items = items
        self._scheduler = scheduler
        self._tip_changed = tip_changed
        self._peers: dict[SessionId, Conversation] = {}
        self._wanted: dict[bytes, float] = {}
        self._next = 1
        self._stall = 0.0
        self._stalled: tuple[bytes, float] = (b"", 0.0)
        self._joined_hash = b""
        self._fresh: dict[bytes, tuple[Item, ISession | None]] = {}
        metrics = context.metrics
        self._stalls = metrics.counter("block_stalls_total", "Times that one peer held up the block window.")
        self._joined_gauge = metrics.gauge("joined_height", "Height up to which every block is held.")
        scheduler.on_exhausted(TOPIC, self._exhausted)

    def start(self) -> None:
        """The index and the store are loaded."""
        self._joined_hash = self._index.hash_at(self._store.joined_height)
        self._next = self._store.joined_height + 1
        self._joined_gauge.set(self._store.joined_height)

    def opened(self, peer: Conversation) -> None:
        """A session has opened."""
        self._peers[peer.session.id] = peer

    def closed(self, peer: Conversation) -> None:
        """A session has ended; the scheduler asks others for what it had."""
        self._peers.pop(peer.session.id, None)

    def has(self, peer: Conversation, hash: bytes, height: int) -> bool:
        """Whether a peer should have a block: it is on the chain of the best header that it showed."""
        best = peer.best_header
        if not best or not peer.serves_blocks:
            return False
        index = self._index
        best_height = index.height_of(best)
        if best_height < height or (peer.limited and best_height - height > 288):
            return False
        return index.ancestor(best, height) == hash

    def schedule(self, again: bool = False) -> None:
        """Want what is missing within the window. `again` looks at all of it, as after a reorganisation."""
        index, store, config = self._index, self._store, self._config()
        if not index.has_minimum_work or not self._peers:
            return
        joined = store.joined_height
        last = min(index.height, joined + config.block_window)
        first = joined + 1 if again or self._next <= joined or self._next > last + 1 else self._next
        for height in range(first, last + 1):
            hash = index.hash_at(height)
            if hash in self._wanted or store.have(ItemId(hash)):
                continue
            candidates = [id for id, peer in self._peers.items() if self.has(peer, hash, height)]
            if not candidates:
                last = height - 1
                break
            # Spread the window: without it the first peer would be everyone's first choice.
            turn = height % len(candidates)
            self._wanted[hash] = 0.0
            self._scheduler.want(TOPIC, ItemId(hash), candidates[turn:] + candidates[:turn], config.block_timeout)
        self._next = last + 1

    def showed(self, peer: Conversation) -> None:
        """A peer showed new headers: it may be asked for what others are asked for already."""
        index = self._index
        timeout = self._config().block_timeout
        for hash in self._wanted:
            if hash in index and self.has(peer, hash, index.height_of(hash)):
                self._scheduler.want(TOPIC, ItemId(hash), [peer.session.id], timeout)
        self.schedule(again=True)

    def received(self, session: ISession, block: Block) -> None:
        """A block whose header is known: on its way through validator and store."""
        requested = self._wanted.pop(block.hash, None) is not None
        self._items.delivered(session, block_item(block), requested)
        if requested and not self._store.have(ItemId(block.hash)) and not self._items.known(TOPIC, ItemId(block.hash)):
            self._next = min(self._next, self._store.joined_height + 1)
        self.schedule()

    def accepted(self, item: Item, source: ISession | None) -> None:
        """A block was stored: see what joins up, and tell of what is news."""
        self._wanted.pop(item.id, None)
        self._stall *= 0.85
        if self._index.height_of(item.id) >= self._index.height - NEWS:
            self._fresh[item.id] = (item, source)
            while len(self._fresh) > 4 * NEWS:
                del self._fresh[next(iter(self._fresh))]
        self.join()

    def join(self) -> None:
        """Follow the joined chain as far as it goes now."""
        index, store = self._index, self._store
        before = self._joined_hash
        height = store.joined_height
        tip = index.hash_at(height)
        if tip == before:
            return
        self._joined_hash = tip
        self._joined_gauge.set(height)
        fork = index.fork_of(before, tip)
        joined = index.hashes_between(index.height_of(fork) + 1, height - index.height_of(fork))
        left: list[bytes] = []
        while before != fork:
            left.append(before)
            before = index.parent_of(before)
        self._tip_changed(left, joined, self._at_hand)
        if index.height - height < NEWS:
            for hash in joined[-NEWS:]:
                fresh = self._fresh.pop(hash, None)
                if fresh is not None:
                    self._items.spread(fresh[0], fresh[1] if fresh[1] is not None and not fresh[1].closing else None)

    def _at_hand(self, hash: bytes) -> Block | None:
        fresh = self._fresh.get(hash)
        return fresh[0].body if fresh is not None and isinstance(fresh[0].body, Block) else None

    def submit(self, block: Block) -> Deferred[Validation]:
        """A block of our own."""
        return self._items.publish(block_item(block))

    def tick(self, now: float) -> None:
        """Called about once a second: one peer must not hold up the window while others wait."""
        index, store, config = self._index, self._store, self._config()
        joined = store.joined_height
        if joined >= index.height or self._next <= joined + config.block_window or self._next > index.height:
            # Nothing wanted, or the window still moves: what is late is the scheduler's.
            self._stalled = (b"", now)
            if joined < index.height:
                self.schedule(again=True)
            return
        first = index.hash_at(joined + 1)
        if first != self._stalled[0]:
            self._stalled = (first, now)
            return
        limit = min(max(self._stall, config.stall_timeout), LONGEST_STALL)
        if now - self._stalled[1] < limit:
            return
        for id, peer in list(self._peers.items()):
            if ItemId(first) in self._scheduler.in_flight(id, TOPIC):
                self._stalls.add()
                self._stall = min(limit * 2, LONGEST_STALL)
                self._stalled = (first, now)
                evidence = f"held up block {joined + 1} for {limit:g} s"
                peer.session.fact(Fact("stalled", evidence=evidence, proven=True))
                self._scheduler.failed(TOPIC, ItemId(first), id)
                if peer.session.slot is not Slot.MANUAL and len(self._peers) > 1:
                    peer.session.close("stalled", evidence)
                return

    def _exhausted(self, id: ItemId) -> None:
        """Everyone who should have it has failed: it is wanted again of whoever is there at the next look."""
        self._wanted.pop(id, None)
        self._next = min(self._next, self._store.joined_height + 1)
