"""The items that others have put with us (BEP 44): bounded in number, in bytes by their size, and for each subnet.

What is not put again is forgotten. When the store is full the item longest not put again makes room. An item is only
ever replaced by one with a higher sequence number and a signature that holds: the signature is checked before it comes
here. BEP 44 has publishers put again and no holder, and nobody holds an item for shorter than others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from p2pframe.interfaces import Counter
from p2pframe.kademlia.records import Reason, Record, Records, Rules
from p2pframe.protocols.mainline.bencode import BencodeError, decode, encode
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.signed_items import immutable_target, mutable_target, verify

_BOUNDS: dict[Reason, str] = {"records": "items", "records of a source": "items of a subnet", "loses": "older items"}


class StoredValue(Record):
    """One item: its bencoded value; for a mutable one its key, salt, sequence number and signature."""

    __slots__ = ("encoded", "key", "salt", "sequence", "signature")

    source: str

    def __init__(
        self, encoded: bytes, key: bytes, salt: bytes, sequence: int, signature: bytes, put: float, subnet: str
    ) -> None:
        super().__init__(put, subnet)
        self.encoded = encoded
        self.key = key
        self.salt = salt
        self.sequence = sequence
        self.signature = signature

    @property
    def size(self) -> int:
        """Bytes of all that was put."""
        return len(self.encoded) + len(self.key) + len(self.salt) + len(self.signature)


class ItemStore(Records[bytes, StoredValue]):
    """Items by target. Times are seconds of the reactor's clock."""

    def __init__(self, config: Callable[[], MainlineConfig], turned_away: Counter) -> None:
        self._config = config
        self._made_of: MainlineConfig | None = None
        self._made = Rules()
        super().__init__(
            0,
            self._of_config,
            key=_number,
            wins=lambda new, held: new.sequence >= held.sequence,
            turned_away=lambda reason, count: turned_away.add(count, _BOUNDS.get(reason, reason)),
        )

    def _of_config(self) -> Rules:
        config = self._config()
        if config is not self._made_of:
            self._made_of = config
            self._made = Rules(
                k=config.k, ttl=config.item_lifetime, publish=config.republish, most=config.items,
                per_source=config.items_per_subnet,
            )  # fmt: skip
        return self._made

    def dump(self, now: float) -> Iterator[tuple[bytes, bytes]]:
        """Rows for storage."""
        for target, item in self.items():
            yield (
                b"item/" + target,
                encode(
                    {
                        b"a": max(0, int(now - item.stored)), b"g": item.signature, b"k": item.key, b"n":
                        item.source.encode(), b"q": item.sequence, b"s": item.salt, b"v": item.encoded,
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


def _number(target: bytes) -> int:
    return int.from_bytes(target, "big")
