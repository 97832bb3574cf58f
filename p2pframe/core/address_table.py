"""Where an address stands in the book: salted places, in buckets of 64, as in Bitcoin Core's addrman.

The salt is secret, so nobody can aim an address at a place. What a source may fill is bounded by its netgroup: 64
buckets of the new table; what a netgroup may fill of the tried table is 8 buckets. Eclipsing a node then takes many
netgroups, not many addresses (Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network", 2015).
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import Generic, TypeVar

from p2pframe.model import PeerAddress

E = TypeVar("E")

BUCKET = 64
"""Places of a bucket."""
SOURCE_BUCKETS = 64
"""Buckets of the new table that one source's netgroup can reach."""
GROUP_BUCKETS = 8
"""Buckets of the tried table that one netgroup can reach."""


class Placement:
    """The places of addresses, by a secret salt of 32 bytes. A place is bucket * 64 + position.

    Without tried buckets it is a plain table: an address has one place, whoever told of it.
    """

    __slots__ = ("_new", "_salt", "_tried", "new_buckets", "tried_buckets")

    def __init__(self, salt: bytes, new_buckets: int, tried_buckets: int) -> None:
        self._salt = salt
        self._new = blake2b(b"new", key=salt, digest_size=8)
        self._tried = blake2b(b"tried", key=salt, digest_size=8)
        self.new_buckets = new_buckets
        self.tried_buckets = tried_buckets

    @property
    def salt(self) -> bytes:
        """The secret; kept with the book, or its addresses would move at each start."""
        return self._salt

    @property
    def plain(self) -> bool:
        """Whether it is one table without a memory of who answered."""
        return not self.tried_buckets

    def new(self, address: PeerAddress, group: str, source: str) -> int:
        """Where an address of a netgroup stands in the new table when this source group has told of it."""
        if self.plain:
            return self._hash(self._new, f"plain {address.host} {address.port}") % (self.new_buckets * BUCKET)
        which = self._hash(self._new, f"which {group} {source}") % SOURCE_BUCKETS
        bucket = self._hash(self._new, f"bucket {source} {which}") % self.new_buckets
        return bucket * BUCKET + self._hash(self._new, f"at {bucket} {address.host} {address.port}") % BUCKET

    def tried(self, address: PeerAddress, group: str) -> int:
        """Where an address of a netgroup stands in the tried table, where there is one."""
        which = self._hash(self._tried, f"which {address.host} {address.port}") % GROUP_BUCKETS
        bucket = self._hash(self._tried, f"bucket {group} {which}") % self.tried_buckets
        return bucket * BUCKET + self._hash(self._tried, f"at {bucket} {address.host} {address.port}") % BUCKET

    @staticmethod
    def _hash(keyed: blake2b, text: str) -> int:
        state = keyed.copy()
        state.update(text.encode())
        return int.from_bytes(state.digest(), "big")


class Table(Generic[E]):
    """Buckets of 64 places, kept sparsely: a book of ten addresses costs ten entries, not 65,536 places."""

    __slots__ = ("_buckets", "_filled", "_where", "size")

    def __init__(self) -> None:
        self.size = 0
        self._buckets: dict[int, dict[int, E]] = {}
        self._filled: list[int] = []
        """The buckets that are not empty, in no order; `_where` has the index of each."""
        self._where: dict[int, int] = {}

    def get(self, place: int) -> E | None:
        """Who stands there."""
        bucket = self._buckets.get(place // BUCKET)
        return None if bucket is None else bucket.get(place % BUCKET)

    def put(self, place: int, entry: E) -> None:
        """Stand an entry there; the place must be free."""
        number = place // BUCKET
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            self._where[number] = len(self._filled)
            self._filled.append(number)
        bucket[place % BUCKET] = entry
        self.size += 1

    def clear(self, place: int) -> None:
        """Free a place; somebody must stand there."""
        number = place // BUCKET
        bucket = self._buckets[number]
        del bucket[place % BUCKET]
        self.size -= 1
        if not bucket:
            del self._buckets[number]
            index, last = self._where.pop(number), self._filled.pop()
            if last != number:
                self._filled[index] = last
                self._where[last] = index

    def pick(self, rng: Random) -> E | None:
        """A random entry of a random bucket that has any: who fills few buckets to the brim gains little by it."""
        if not self._filled:
            return None
        bucket = self._buckets[self._filled[int(rng.random() * len(self._filled))]]
        # Not by trying positions: most buckets of most books have one entry or two.
        return [*bucket.values()][int(rng.random() * len(bucket))]

    def __len__(self) -> int:
        return self.size

    def spread(self) -> dict[int, int]:
        """How many entries stand in each bucket that has any."""
        return {number: len(bucket) for number, bucket in sorted(self._buckets.items())}
