"""The items that others have put with us (BEP 44): bounded in number, in bytes by their size, and for each subnet.

What is not put again is forgotten. When the store is full the item longest not put again makes room. An item is only
ever replaced by one with a higher sequence number and a signature that holds: that is checked before it comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from p2pframe.interfaces import Counter
from p2pframe.protocols.mainline.bencode import BencodeError, decode, encode
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.signed_items import immutable_target, mutable_target, verify


class StoredValue:
    """One item: its bencoded value; for a mutable one its key, salt, sequence number and signature."""

    __slots__ = ("encoded", "key", "put", "salt", "sequence", "signature", "subnet")

    def __init__(
        self, encoded: bytes, key: bytes, salt: bytes, sequence: int, signature: bytes, put: float, subnet: str
    ) -> None:
        self.encoded = encoded
        self.key = key
        self.salt = salt
        self.sequence = sequence
        self.signature = signature
        self.put = put
        self.subnet = subnet


class ItemStore:
    """Items by target. Times are seconds of the reactor's clock."""

    def __init__(self, config: Callable[[], MainlineConfig], turned_away: Counter) -> None:
        self._config = config
        self._turned_away = turned_away
        self._items: dict[bytes, StoredValue] = {}
        self._subnets: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Items held."""
        return len(self._items)

    def get(self, target: bytes, now: float) -> StoredValue | None:
        """The item of that target, if it is there and not too old."""
        item = self._items.get(target)
        return item if item is not None and now - item.put < self._config().item_lifetime else None

    def put(self, target: bytes, item: StoredValue) -> bool:
        """Take an item, in place of the one that was there. False where its subnet has too many."""
        config = self._config()
        before = self._items.get(target)
        if before is not None:
            # Whoever keeps another's item alive is not charged for it.
            item.subnet = before.subnet
            self._drop(target)
        elif self._subnets.get(item.subnet, 0) >= config.items_per_subnet:
            self._turned_away.add(1, "items of a subnet")
            return False
        while len(self._items) >= config.items:
            self._drop(next(iter(self._items)))
            self._turned_away.add(1, "items")
        self._items[target] = item
        self._subnets[item.subnet] = self._subnets.get(item.subnet, 0) + 1
        return True

    def expire(self, now: float) -> None:
        """Forget what was not put again; the oldest is in front."""
        lifetime = self._config().item_lifetime
        while self._items:
            target = next(iter(self._items))
            if now - self._items[target].put < lifetime:
                return
            self._drop(target)

    def dump(self, now: float) -> Iterator[tuple[bytes, bytes]]:
        """Rows for storage."""
        for target, item in self._items.items():
            yield (
                b"item/" + target,
                encode(
                    {
                        b"a": max(0, int(now - item.put)), b"g": item.signature, b"k": item.key, b"n":
                        item.subnet.encode(), b"q": item.sequence, b"s": item.salt, b"v": item.encoded,
                    }
                ),
            )  # fmt: skip

    def load(self, key: bytes, row: bytes, now: float, away: float) -> bool:
        """Take what `dump` gave, `away` seconds later; False for a row that it did not give, or that was changed."""
        try:
            stored = decode(row)
        except BencodeError:
            return False
        if not isinstance(stored, dict):
            return False
        age, sequence = stored.get(b"a"), stored.get(b"q")
        texts = [stored.get(name) for name in (b"v", b"k", b"s", b"g", b"n")]
        read = [one for one in texts if isinstance(one, bytes)]
        if not isinstance(age, int) or not isinstance(sequence, int) or len(read) < len(texts):
            return False
        encoded, public, salt, signature, subnet = read
        target = mutable_target(public, salt) if public else immutable_target(encoded)
        if key != b"item/" + target or (public and not verify(public, salt, sequence, encoded, signature)):
            return False
        if age + away < self._config().item_lifetime:
            source = subnet.decode("ascii", "replace")
            self.put(target, StoredValue(encoded, public, salt, sequence, signature, now - age - away, source))
        return True

    def _drop(self, target: bytes) -> None:
        item = self._items.pop(target)
        left = self._subnets[item.subnet] - 1
        if left:
            self._subnets[item.subnet] = left
        else:
            del self._subnets[item.subnet]
