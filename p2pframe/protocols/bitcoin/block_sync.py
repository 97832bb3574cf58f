"""Block bodies: which are wanted, of whom, and what happens when they join up.

The bodies of the best chain are fetched within a window ahead of the joined ones, from every peer that has them, by the
scheduler; near our tip those of any branch that would be better than ours too, as nobody says that the best header's
bodies will ever come. What a block costs is bounded by `CANDIDATES`, not by how many peers or wanted blocks there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from p2pframe.interfaces import IContext, IItems, IScheduler, ISession
from p2pframe.model import Fact, Item, ItemId, SessionId, Slot, Validation
from p2pframe.protocols.bitcoin.block import Block
from p2pframe.protocols.bitcoin.block_store import KEPT_BLOCKS, TOPIC, BlockStore
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.joined_chain import JoinedChain, Move

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

LONGEST_STALL = 64.0
NEWS = 8
"""Blocks that may be joined behind the best header and still be news to tell."""
FRESH_BYTES = 16_000_000
"""Bytes of the latest blocks that are kept at hand until they join: at least one, whatever its size."""
CANDIDATES = 8
"""Peers that one block is wanted of at a time: dialled ones first, as inbound ones choose us."""
RETRY = 10.0
"""Seconds until a block that nobody gave, or that could not be stored, is asked for again."""
LOST = 1000
"""Damaged blocks that are fetched again at a time."""
BRANCH = 16
"""Blocks of a branch beside the best chain that are wanted at a time."""


def block_item(block: Block) -> Item:
    """A block as an item."""
    return Item(TOPIC, ItemId(block.hash), block, block.size)


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
        self._reactor = context.reactor
        self._index = index
        self._store = store
        self._items = items
        self._scheduler = scheduler
        self._tip_changed = tip_changed
        self.chain = JoinedChain(index, store)
        self._peers: dict[SessionId, Conversation] = {}
        self._dialled: list[Conversation] = []
        self._inbound: list[Conversation] = []
        self._wanted: dict[bytes, None] = {}
        self._retry: dict[bytes, float] = {}
        self._lost: dict[bytes, None] = {}
        self._next = 1
        self._turn = 0
        self._stall = 0.0
        self._stalled: tuple[bytes, float] = (b"", 0.0)
        self._fresh: dict[bytes, tuple[Item, ISession | None]] = {}
        self._fresh_bytes = 0
        metrics = context.metrics
        self._stalls = metrics.counter("block_stalls_total", "Times that one peer held up the block window.")
        self._unwanted = metrics.counter(
            "blocks_unwanted_total", "Blocks that nobody asked for and that were not taken, by reason.", ("reason",)
        )
        self._joined_gauge = metrics.gauge("joined_height", "Height up to which every block is held.")
        scheduler.on_exhausted(TOPIC, self._exhausted)

    def start(self) -> None:
        """The index and the store are loaded."""
        self.chain.start()
        self._next = self._store.joined_height + 1
        self._joined_gauge.set(self.chain.height)

    # --- peers ---

    def opened(self, peer: Conversation) -> None:
        """A session has opened."""
        self._peers[peer.session.id] = peer
        (self._inbound if peer.session.inbound else self._dialled).append(peer)

    def closed(self, peer: Conversation) -> None:
        """A session has ended; the scheduler asks others for what it had."""
        if self._peers.pop(peer.session.id, None) is not None:
            (self._inbound if peer.session.inbound else self._dialled).remove(peer)

    def has(self, peer: Conversation, hash: bytes, height: int) -> bool:
        """Whether a peer should have a block: it is on the chain of the best header that it showed."""
        best = peer.best_header
        if not best or not peer.serves_blocks or peer.session.closing:
            return False
        index = self._index
        best_height = index.height_of(best)
        if best_height < height or (peer.limited and best_height - height > KEPT_BLOCKS):
            return False
        return index.ancestor(best, height) == hash

    def showed(self, peer: Conversation, before: bytes) -> None:
        """A peer showed a better header than `before` (empty: it had shown none).

        It may be asked for what others are asked for already.
        """
        index = self._index
        covered = index.height_of(before) if before and index.is_active(before) else 0
        if covered < max(self._next - 1, self._store.joined_height + 1) and index.is_active(peer.best_header):
            timeout = self._config().block_timeout
            for hash in self._wanted:
                height = index.height_of(hash)
                if height > covered and self.has(peer, hash, height):
                    self._scheduler.want(TOPIC, ItemId(hash), [peer.session.id], timeout)
            # A new candidate: no need to wait any longer for what the others could not give.
            self._retry.clear()
            self.schedule(again=True)
        else:
            self.schedule()
        if not index.is_active(peer.best_header):
            self._branch(peer)

    # --- what is wanted ---

    def schedule(self, again: bool = False) -> None:
        """Want what is missing within the window. `again` looks at all of it, as after a reorganisation."""
        index, store = self._index, self._store
        if not index.has_minimum_work or not self._peers:
            return
        joined = store.joined_height
        last = min(index.height, joined + self._config().block_window)
        first = joined + 1 if again or self._next <= joined or self._next > last + 1 else self._next
        for height in range(first, last + 1):
            hash = index.hash_at(height)
            if self._is_missing(hash) and not self._want(hash, height):
                last = height - 1
                break
        self._next = last + 1

    def _is_missing(self, hash: bytes) -> bool:
        """Whether a block is to be asked for now."""
        return not (
            hash in self._wanted
            or self._store.have(ItemId(hash))
            or hash in self._retry
            or self._items.known(TOPIC, ItemId(hash))
        )

    def _want(self, hash: bytes, height: int) -> bool:
        candidates = self._candidates(hash, height)
        if candidates:
            self._wanted[hash] = None
            self._scheduler.want(TOPIC, ItemId(hash), candidates, self._config().block_timeout)
        return bool(candidates)

    def _candidates(self, hash: bytes, height: int) -> list[SessionId]:
        found: list[SessionId] = []
        for peers in (self._dialled, self._inbound):
            # Spread the window: without it the first peer would be everyone's first choice.
            turn = (height + self._turn) % len(peers) if peers else 0
            for peer in peers[turn:] + peers[:turn]:
                if self.has(peer, hash, height):
                    found.append(peer.session.id)
                    if len(found) == CANDIDATES:
                        return found
        return found

    def _branch(self, peer: Conversation) -> None:
        """A peer's best header is not on the best chain.

        Where its branch would be better than ours all the same, want it.
        """
        end = peer.best_header
        missing = self.chain.missing(end) if end else None
        if missing == []:
            self._moved(self.chain.change_to(end))
        for hash in (missing or ())[:BRANCH]:
            if self._is_missing(hash):
                self._want(hash, self._index.height_of(hash))

    def reorganised(self) -> None:
        """The best chain has another branch: want that one's blocks instead."""
        for hash in [hash for hash in self._wanted if not self._index.is_active(hash)]:
            del self._wanted[hash]
            self._scheduler.unwant(TOPIC, ItemId(hash))
        self.schedule(again=True)

    def damaged(self, hash: bytes) -> None:
        """A block of our chain was read back damaged, and is forgotten: fetch it again."""
        if len(self._lost) < LOST and hash in self.chain and self._index.height_of(hash) >= self._store.pruned_height:
            self._lost[hash] = None
            self._want_lost()

    def _want_lost(self) -> None:
        for hash in list(self._lost):
            if self._store.have(ItemId(hash)) or hash not in self.chain:
                del self._lost[hash]
            elif self._is_missing(hash):
                self._want(hash, self._index.height_of(hash))

    def _exhausted(self, id: ItemId) -> None:
        """Everyone who was asked has failed: it is wanted again in a while, of others where there are any."""
        if id in self._wanted:
            del self._wanted[id]
            self._turn += 1
            self._retry[id] = self._reactor.seconds() + RETRY
            self._next = min(self._next, self._store.joined_height + 1)

    # --- what comes ---

    def received(self, session: ISession, block: Block) -> None:
        """A block that is `wanted`: on its way through validator and store."""
        hash = block.hash
        requested = hash in self._wanted
        self._wanted.pop(hash, None)
        now = self._reactor.seconds()
        # Until it is accepted: what can't be stored is not fetched in a circle.
        self._retry[hash] = now + RETRY
        self._items.delivered(session, block_item(block), requested)
        if session.closing and not self._store.have(ItemId(hash)):
            # Its sender made it up: another one is asked at once.
            self._retry.pop(hash, None)
            if requested and self._is_missing(hash) and not self._index.is_invalid(hash):
                self._want(hash, self._index.height_of(hash))
            self._next = min(self._next, self._store.joined_height + 1)
        self.schedule()

    def wanted(self, hash: bytes) -> bool:
        """Whether to take a block whose header is known.

        One that nobody asked for is taken only where it makes our chain better, and not far ahead of it: else anyone
        could fill the disk with blocks that cost next to nothing.
        """
        reason = "" if hash in self._wanted else self._why_unwanted(hash)
        if reason:
            self._unwanted.add(1, reason)
        return not reason

    def _why_unwanted(self, hash: bytes) -> str:
        index = self._index
        if self._items.known(TOPIC, ItemId(hash)):
            return "known"
        if index.is_invalid(hash):
            return "invalid"
        if not index.has_minimum_work or index.work_of(hash) <= self.chain.work:
            return "little-work"
        # One of the window may have been asked for and given up: it is late, and the next one would have been asked.
        window = self._store.joined_height + self._config().block_window if index.is_active(hash) else 0
        furthest = max(window, self.chain.height + KEPT_BLOCKS)
        return "too-far" if index.height_of(hash) > furthest else ""

    def accepted(self, item: Item, source: ISession | None) -> None:
        """A block was stored: see what joins up, and tell of what is news."""
        index = self._index
        self._wanted.pop(item.id, None)
        self._retry.pop(item.id, None)
        self._lost.pop(item.id, None)
        self._stall *= 0.85
        height = index.height_of(item.id)
        if height >= index.height - NEWS or (height >= self.chain.height - NEWS and not index.is_active(item.id)):
            self._keep_fresh(item, source)
        self.join()
        if not index.is_active(item.id):
            self._moved(self.chain.change_to(item.id))
            # What came before it was its turn.
            for hash in list(self._fresh):
                self._moved(self.chain.change_to(hash))

    def _keep_fresh(self, item: Item, source: ISession | None) -> None:
        fresh = self._fresh
        if item.id not in fresh:
            fresh[item.id] = (item, source)
            self._fresh_bytes += item.size
        while len(fresh) > 1 and (len(fresh) > 4 * NEWS or self._fresh_bytes > FRESH_BYTES):
            self._fresh_bytes -= fresh.pop(next(iter(fresh)))[0].size

    def join(self) -> None:
        """Follow the best chain as far as its blocks are held now."""
        self._moved(self.chain.follow())

    def _moved(self, move: Move | None) -> None:
        if move is None:
            return
        height = self.chain.height
        self._joined_gauge.set(height)
        self._tip_changed(move.lost, move.gained, self._at_hand)
        # Not in a long sync; but headers ahead whose bodies nobody gives must not make us dumb.
        news = self._index.height - height < NEWS or not self._index.is_active(self.chain.tip)
        for hash in move.gained[-NEWS:]:
            fresh = self._fresh.pop(hash, None)
            if fresh is not None:
                item, source = fresh
                self._fresh_bytes -= item.size
                if news:
                    self._items.spread(item, source if source is not None and not source.closing else None)

    def _at_hand(self, hash: bytes) -> Block | None:
        fresh = self._fresh.get(hash)
        return fresh[0].body if fresh is not None and isinstance(fresh[0].body, Block) else None

    def submit(self, block: Block) -> Deferred[Validation]:
        """A block of our own."""
        return self._items.publish(block_item(block))

    # --- once a second ---

    def tick(self, now: float) -> None:
        """Called about once a second: ask again for what did not come, and let no one peer hold up the window."""
        due = [hash for hash, when in self._retry.items() if when <= now]
        for hash in due:
            del self._retry[hash]
        if self._lost:
            self._want_lost()
        index, store, config = self._index, self._store, self._config()
        joined = store.joined_height
        if joined >= index.height:
            self._stalled = (b"", now)
            return
        first = index.hash_at(joined + 1)
        if due or first not in self._wanted or self._next <= min(index.height, joined + config.block_window):
            self.schedule(again=True)
        for peer in list(self._peers.values()):
            if peer.best_header and not index.is_active(peer.best_header):
                self._branch(peer)
        if self._next <= joined + config.block_window or first != self._stalled[0]:
            # The window still moves, or is not full: what is late then is the scheduler's.
            self._stalled = (first, now)
            return
        limit = min(max(self._stall, config.stall_timeout), LONGEST_STALL)
        if now - self._stalled[1] >= limit:
            self._look_for_staller(first, joined + 1, limit, now)

    def _look_for_staller(self, first: bytes, height: int, limit: float, now: float) -> None:
        """Drop who holds up the window, where somebody else could go on with it."""
        for id, peer in list(self._peers.items()):
            flying = self._scheduler.in_flight(id, TOPIC)
            if ItemId(first) not in flying:
                continue
            if not any(other is not peer and self.has(other, first, height) for other in self._peers.values()):
                return
            self._stalls.add()
            self._stall = min(limit * 2, LONGEST_STALL)
            self._stalled = (first, now)
            evidence = f"held up block {height} for {limit:g} s"
            peer.session.fact(Fact("stalled", evidence=evidence, proven=True))
            for hash in flying:
                self._scheduler.failed(TOPIC, hash, id)
            if peer.session.slot is not Slot.MANUAL:
                peer.session.close("stalled", evidence)
            return
