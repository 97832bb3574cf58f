"""Keys in order, in memory: what the memory engine keeps, and what the sqlite engine has not yet written.

New keys wait in a list of their own until somebody scans: a batch of a thousand random keys then costs one merge of
sorted runs, not a thousand shifts of the whole list.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import ItemsView, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class OrderedKeys(Generic[V]):
    """A mapping of byte keys that can be walked in order from any key; changes while it is walked are not allowed."""

    __slots__ = ("_dead", "_fresh", "_sorted", "_values")

    def __init__(self) -> None:
        self._values: dict[bytes, V] = {}
        self._sorted: list[bytes] = []
        self._fresh: list[bytes] = []
        # Deleted keys that still stand in `_sorted` or `_fresh`.
        self._dead: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: bytes) -> bool:
        return key in self._values

    def __getitem__(self, key: bytes) -> V:
        return self._values[key]

    def items(self) -> ItemsView[bytes, V]:
        """All pairs, in no order."""
        return self._values.items()

    def get(self, key: bytes) -> V | None:
        """The value, or None."""
        return self._values.get(key)

    def set(self, key: bytes, value: V) -> None:
        """Put a key, or change its value."""
        if key not in self._values:
            if key in self._dead:
                self._dead.discard(key)
            else:
                self._fresh.append(key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        """Take a key out; nothing happens where there is none."""
        if key in self._values:
            del self._values[key]
            self._dead.add(key)

    def clear(self) -> None:
        """Take every key out."""
        self._values.clear()
        self._sorted.clear()
        self._fresh.clear()
        self._dead.clear()

    def range(self, start: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, V]]:
        """Pairs with start <= key < end, in order."""
        self._settle()
        keys = self._sorted
        dead = self._dead
        for index in range(bisect_left(keys, start), len(keys) if end is None else bisect_left(keys, end)):
            key = keys[index]
            if key not in dead:
                yield key, self._values[key]

    def _settle(self) -> None:
        if len(self._fresh) > 32:
            self._sorted.extend(self._fresh)
            self._sorted.sort()
        else:
            for key in self._fresh:
                insort(self._sorted, key)
        self._fresh.clear()
        if len(self._dead) > 32 + len(self._sorted) // 2:
            self._sorted = [key for key in self._sorted if key not in self._dead]
            self._dead.clear()
