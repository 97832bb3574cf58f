"""JoinedChain: the chain that we hold every block of, which is what we follow, serve and build on.

Headers alone never move it: whoever shows a longer chain and keeps its bodies to himself would take our blocks away.
So it may for a while be another branch than that of the best header; once the bodies are there it changes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from p2pframe.model import ItemId
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.headers import MAXIMUM_HEADERS

LONGEST_BRANCH = 288
"""Blocks behind our tip at which a branch beside the best header's may leave our chain and still be followed."""

LATEST = 4000
"""Headers among which a branch is looked for at start."""


class Move(NamedTuple):
    """How the chain changed: hashes that it lost (newest first) and gained (oldest first)."""

    lost: Sequence[bytes]
    gained: Sequence[bytes]


class JoinedChain:
    """`tip` is its last block's hash."""

    def __init__(self, index: HeaderIndex, store: BlockStore) -> None:
        self._index = index
        self._store = store
        self.tip = index.hash_at(0)

    def start(self) -> None:
        """The index and the store are loaded."""
        index = self._index
        self.tip = index.hash_at(self._store.joined_height)
        # Headers that others kept the blocks of may be the best ones still: ours is among the latest, then.
        for position in range(len(index) - 1, max(0, len(index) - LATEST), -1):
            hash = index.hash_of(position)
            if self._store.have(ItemId(hash)) and not index.is_active(hash):
                self.change_to(hash)

    @property
    def height(self) -> int:
        """The tip's height."""
        return self._index.height_of(self.tip)

    @property
    def work(self) -> int:
        """The total work up to the tip."""
        return self._index.work_of(self.tip)

    def __contains__(self, hash: bytes) -> bool:
        """Whether a block is on this chain; False for one whose header is not held."""
        index = self._index
        if hash not in index:
            return False
        height = index.height_of(hash)
        return height <= self.height and index.ancestor(self.tip, height) == hash

    def follow(self) -> Move | None:
        """Go on along the best header's chain as far as its blocks are held, where that is more work."""
        index = self._index
        end = index.hash_at(self._store.joined_height)
        if end == self.tip or not (index.work_of(end) > self.work or index.is_invalid(self.tip)):
            return None
        return self._move(end)

    def missing(self, hash: bytes) -> list[bytes] | None:
        """The blocks to fetch, oldest first, before the chain could end in `hash`.

        None where it can't be better than ours, or leaves it too far back.
        """
        index = self._index
        if hash not in index or index.is_invalid(hash) or index.work_of(hash) <= self.work:
            return None
        ours = self.tip
        height = index.height_of(hash)
        our_height = index.height_of(ours)
        furthest = our_height - LONGEST_BRANCH
        missing: list[bytes] = []
        # Step by step on both sides and not by `fork_of`: a branch of headers can be long, and this is asked often.
        while furthest <= height <= our_height + LONGEST_BRANCH and our_height >= furthest:
            if hash == ours:
                missing.reverse()
                return missing
            if height >= our_height:
                if not self._store.have(ItemId(hash)):
                    missing.append(hash)
                hash, height = index.parent_of(hash), height - 1
            else:
                ours, our_height = index.parent_of(ours), our_height - 1
        return None

    def change_to(self, hash: bytes) -> Move | None:
        """Follow a branch whose blocks are all held, where it is more work than ours."""
        return self._move(hash) if self.missing(hash) == [] else None

    def after(self, locator: Sequence[bytes], stop: bytes, maximum: int = MAXIMUM_HEADERS) -> list[bytes]:
        """Hashes of this chain after the first of a peer's hashes that is on it, up to `stop`, at most `maximum`."""
        index = self._index
        start = next((hash for hash in locator if hash in self), index.hash_at(0))
        first = index.height_of(start) + 1
        count = min(maximum, self.height - first + 1)
        if count <= 0:
            return []
        if index.is_active(self.tip):
            hashes = index.hashes_between(first, count)
        else:
            hashes = []
            hash = index.ancestor(self.tip, first + count - 1)
            while hash != start:
                hashes.append(hash)
                hash = index.parent_of(hash)
            hashes.reverse()
        return hashes[: hashes.index(stop) + 1] if stop in hashes else hashes

    def _move(self, end: bytes) -> Move:
        index = self._index
        fork = index.fork_of(self.tip, end)
        lost, gained = [], []
        hash = self.tip
        while hash != fork:
            lost.append(hash)
            hash = index.parent_of(hash)
        hash = end
        while hash != fork:
            gained.append(hash)
            hash = index.parent_of(hash)
        gained.reverse()
        self.tip = end
        return Move(lost, gained)
