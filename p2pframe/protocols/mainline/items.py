"""Items of BEP 44 as an application uses them: got, put, and put again as long as they are to be kept.

Nobody's word counts: an immutable item hashes to its target, a mutable one carries a signature that holds. What is kept
is stored signed, so that it can be put again after a restart without the secret seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from p2pframe.errors import P2PFrameError
from p2pframe.kademlia.lookup import Candidate
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.api import Put, StoredItem
from p2pframe.protocols.mainline.bencode import BencodeError, Value, decode, encode
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.krpc import Response
from p2pframe.protocols.mainline.requests import Requests, number
from p2pframe.protocols.mainline.searches import Search
from p2pframe.protocols.mainline.signed_items import (
    SALT_BYTES,
    VALUE_BYTES,
    immutable_target,
    mutable_target,
    public_key,
    sign,
    verify,
)

_SEQUENCES = 2**63
"""A sequence number fits 64 bits with its sign: others would refuse it."""


@dataclass(slots=True)
class _Kept:
    """An item that is put again, and when."""

    item: StoredItem
    timer: IDelayedCall | None = None


class Items:
    """Gets and puts on a `Dht`, and the items that are kept."""

    def __init__(self, dht: Dht, requests: Requests) -> None:
        self._dht = dht
        self._requests = requests
        self._kept: dict[bytes, _Kept] = {}
        self._again = dht.context.metrics.counter(
            "dht_republished_total", "Items of ours that were put again, by how it went.", ["outcome"]
        )

    async def get_immutable(self, target: bytes) -> StoredItem | None:
        """See `IMainline.get_immutable`."""
        stored = self._dht.stores.items.get(target, self._dht.context.reactor.seconds())
        if stored is not None and not stored.key:
            return StoredItem(decode(stored.encoded))
        found: list[StoredItem] = []
        searches: list[Search] = []

        def heard(_: Candidate[PeerAddress], reply: Response) -> None:
            if b"v" in reply.values and not found and immutable_target(encode(reply.values[b"v"])) == target:
                found.append(StoredItem(reply.values[b"v"]))
                for search in searches:
                    search.stop()

        await self._search(target, heard, searches)
        return found[0] if found else None

    async def get_mutable(self, key: bytes, salt: bytes) -> StoredItem | None:
        """See `IMainline.get_mutable`. Raises ValueError for a key or a salt that can't be one."""
        return (await self._latest(key, salt))[0]

    async def put_immutable(self, value: Value, keep: bool) -> Put:
        """See `IMainline.put_immutable`. Raises ValueError for a value that is too large."""
        item = StoredItem(value)
        target = immutable_target(_encoded(value))
        if keep:
            self._keep(target, item)
        searches = await self._search(target, None, [])
        return Put(target, 0, await self._put(searches, item, None))

    async def put_mutable(
        self, seed: bytes, value: Value, salt: bytes, sequence: int | None, cas: int | None, keep: bool
    ) -> Put:
        """See `IMainline.put_mutable`. Raises ValueError for what can't be stored."""
        encoded = _encoded(value)
        key = public_key(seed)
        latest, searches = await self._latest(key, salt)
        if sequence is None:
            sequence = 1 if latest is None else latest.sequence + 1
        if not 0 <= sequence < _SEQUENCES:
            raise ValueError(f"a sequence number is from 0 to 2**63 - 1, not {sequence}")
        item = StoredItem(value, key, salt, sequence, sign(seed, salt, sequence, encoded))
        target = mutable_target(key, salt)
        if cas is not None and latest is not None and latest.sequence != cas:
            # A node that has no item takes any: it is not asked where the others would all refuse.
            return Put(target, latest.sequence, 0)
        if keep:
            self._keep(target, item)
        return Put(target, sequence, await self._put(searches, item, cas))

    def forget(self, target: bytes) -> None:
        """See `IMainline.forget`."""
        kept = self._kept.pop(target, None)
        if kept is not None and kept.timer is not None and kept.timer.active():
            kept.timer.cancel()

    @property
    def kept(self) -> int:
        """Items of ours that are put again."""
        return len(self._kept)

    def stop(self) -> None:
        """Put nothing again."""
        for kept in self._kept.values():
            if kept.timer is not None and kept.timer.active():
                kept.timer.cancel()
            kept.timer = None

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """What is kept, one row for each target; others may be kept or forgotten meanwhile."""
        for target, kept in list(self._kept.items()):
            item = kept.item
            yield (
                target,
                encode(
                    {
                        b"k": item.key, b"s": item.salt, b"q": item.sequence, b"g": item.signature,
                        b"v": encode(item.value),
                    }
                ),
            )  # fmt: skip

    def load(self, row: bytes) -> None:
        """Keep what `dump` gave. Raises ValueError for anything else."""
        try:
            stored = decode(row)
            if not isinstance(stored, dict):
                raise ValueError("no item")
            key, salt, sequence, signature, packed = (stored[name] for name in (b"k", b"s", b"q", b"g", b"v"))
            if not (
                isinstance(key, bytes) and isinstance(salt, bytes) and isinstance(sequence, int)
                and isinstance(signature, bytes) and isinstance(packed, bytes)
            ):  # fmt: skip
                raise ValueError("no item")
            item = StoredItem(decode(packed), key, salt, sequence, signature)
        except (BencodeError, KeyError) as error:
            raise ValueError(f"no item: {error}") from None
        if key and not verify(key, salt, sequence, packed, signature):
            raise ValueError("an item's signature does not hold")
        self._keep(mutable_target(key, salt) if key else immutable_target(packed), item)

    # --- within ---

    async def _search(self, target: bytes, heard: _Heard | None, searches: list[Search]) -> list[Search]:
        dht = self._dht
        for endpoint in dht.asked():
            searches.append(Search(endpoint, number(target), b"get", {b"target": target}, heard))
        for search in [search.start() for search in searches]:
            await search
        return searches

    async def _latest(self, key: bytes, salt: bytes) -> tuple[StoredItem | None, list[Search]]:
        if len(key) != 32:
            raise ValueError(f"a public key has 32 bytes, this has {len(key)}")
        if len(salt) > SALT_BYTES:
            raise ValueError(f"a salt has at most {SALT_BYTES} bytes, this has {len(salt)}")
        best: list[StoredItem] = []
        stored = self._dht.stores.items.get(mutable_target(key, salt), self._dht.context.reactor.seconds())
        if stored is not None:
            best.append(StoredItem(decode(stored.encoded), key, salt, stored.sequence, stored.signature))

        def heard(_: Candidate[PeerAddress], reply: Response) -> None:
            values = reply.values
            sequence, signature = values.get(b"seq"), values.get(b"sig")
            if b"v" not in values or not isinstance(sequence, int) or not isinstance(signature, bytes):
                return
            if values.get(b"k") != key or (best and sequence <= best[0].sequence):
                return
            # Dearest check last: a flood of forgeries costs a signature check for each node that answers, at most.
            if verify(key, salt, sequence, encode(values[b"v"]), signature):
                best[:] = [StoredItem(values[b"v"], key, salt, sequence, signature)]
            else:
                self._dht.turned_away.add(1, "bad signature")

        searches = await self._search(mutable_target(key, salt), heard, [])
        return (best[0] if best else None), searches

    async def _put(self, searches: list[Search], item: StoredItem, cas: int | None) -> int:
        arguments: dict[bytes, Value] = {b"v": item.value}
        if item.key:
            arguments |= {b"k": item.key, b"seq": item.sequence, b"sig": item.signature}
            if item.salt:
                arguments[b"salt"] = item.salt
            if cas is not None:
                arguments[b"cas"] = cas
        return sum([await self._requests.tell(search, b"put", arguments) for search in searches])

    def _keep(self, target: bytes, item: StoredItem) -> None:
        kept = self._kept.get(target)
        if kept is None:
            if len(self._kept) >= self._dht.config.kept_items:
                self._dht.turned_away.add(1, "kept items")
                raise P2PFrameError(f"{len(self._kept)} items are kept already (kept_items)")
            kept = self._kept[target] = _Kept(item)
        elif item.sequence >= kept.item.sequence:
            kept.item = item
        self._plan(target, kept)

    def _plan(self, target: bytes, kept: _Kept) -> None:
        if kept.timer is not None and kept.timer.active():
            kept.timer.cancel()
        # Drawn anew each time: what was put at once is not put again at once.
        wait = self._dht.stores.items.rules.publish_in(self._dht.context.rng)
        kept.timer = self._dht.context.reactor.callLater(wait, self._put_again, target)

    def _put_again(self, target: bytes) -> None:
        kept = self._kept.get(target)
        if kept is None:
            return
        self._plan(target, kept)
        Deferred.fromCoroutine(self._republish(target, kept)).addCallbacks(
            lambda stored: self._again.add(1, "stored" if stored else "nobody took it"),
            lambda _: self._again.add(1, "nobody to ask"),
        )

    async def _republish(self, target: bytes, kept: _Kept) -> int:
        item = kept.item
        if not item.key:
            return await self._put(await self._search(target, None, []), item, None)
        latest, searches = await self._latest(item.key, item.salt)
        if latest is not None and latest.sequence > item.sequence:
            # Somebody with the same key has put a newer one: that is what is kept now.
            kept.item = item = replace(latest)
        return await self._put(searches, item, None)


_Heard = Callable[[Candidate[PeerAddress], Response], None]


def _encoded(value: Value) -> bytes:
    encoded = encode(value)
    if len(encoded) > VALUE_BYTES:
        raise ValueError(f"an item's bencoding has at most {VALUE_BYTES} bytes, this has {len(encoded)}")
    return encoded
