"""Messages that are lists of hashes or headers: inv, getdata, notfound, headers, getheaders, getblocks.

They are the bulk of what a node reads, so entries stay bytes: no object is made for one. Counts are checked first,
against what the type may have and against the payload's length, before anything is built from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from p2pframe.protocols.bitcoin.header import HEADER_SIZE
from p2pframe.protocols.bitcoin.wire import MalformedMessage, Reader, compact_size, read_count

MAX_INVENTORY = 50_000
MAX_HEADERS = 2000
MAX_LOCATOR = 101

MSG_TX = 1
MSG_BLOCK = 2
MSG_FILTERED_BLOCK = 3
MSG_CMPCT_BLOCK = 4
MSG_WTX = 5
"""BIP339: the id is a wtxid."""
MSG_WITNESS_FLAG = 1 << 30
MSG_WITNESS_TX = MSG_WITNESS_FLAG | MSG_TX
MSG_WITNESS_BLOCK = MSG_WITNESS_FLAG | MSG_BLOCK

_ENTRY_SIZE = 36
_FEW = 12
_ENTRY = Struct("<I32s")
_ENTRY_ID = Struct("<4x32s")
_HASH = Struct("<32s")
_HEADER_ENTRY = Struct("<80sx")
_U32 = Struct("<I")


def _body(payload: bytes, limit: int, size: int, what: str) -> memoryview:
    """The entries of `size` bytes that `payload` consists of, their count taken off and found true."""
    count, at = read_count(payload, 0, limit, what)
    if len(payload) - at != count * size:
        raise MalformedMessage(f"{len(payload) - at} bytes for {count} entries of {size}", what)
    return memoryview(payload)[at:]


def decode_inventory(payload: bytes, what: str = "inv") -> dict[int, list[bytes]]:
    """The ids of an inv, getdata or notfound by their kind (`MSG_TX`, ...); in each kind in the order of the message.

    TooMany over 50,000 entries. Kinds that this node does not know are among the keys, in the order of their first
    entry.
    """
    body = _body(payload, MAX_INVENTORY, _ENTRY_SIZE, what)
    if not body:
        return {}
    first = bytes(body[:4])
    # Nearly always all entries are of one kind: then the four bytes of the kind repeat down the columns. Of few entries
    # it costs less to look at each.
    if len(body) > _FEW * _ENTRY_SIZE and all(
        bytes(body[column::_ENTRY_SIZE]).count(first[column]) * _ENTRY_SIZE == len(body) for column in range(4)
    ):
        return {_U32.unpack(first)[0]: [identity for (identity,) in _ENTRY_ID.iter_unpack(body)]}
    kinds: dict[int, list[bytes]] = {}
    for kind, identity in _ENTRY.iter_unpack(body):
        ids = kinds.get(kind)
        if ids is None:
            # As many keys as entries are possible, and no more: bounded by the message.
            kinds[kind] = [identity]
        else:
            ids.append(identity)
    return kinds


def decode_entries(payload: bytes, what: str = "getdata") -> list[tuple[int, bytes]]:
    """The entries of an inv, getdata or notfound as (kind, id), in the order of the message; TooMany over 50,000."""
    return list(_ENTRY.iter_unpack(_body(payload, MAX_INVENTORY, _ENTRY_SIZE, what)))


class EntryQueue:
    """Entries that wait, as the bytes that they came in: 36 each, where tuples would take over 160."""

    __slots__ = ("_at", "_raw")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._at = 0

    def __len__(self) -> int:
        return (len(self._raw) - self._at) // _ENTRY_SIZE

    def extend(self, payload: bytes, room: int, what: str = "getdata") -> int:
        """Take the entries of a getdata payload, at most `room`; how many were left out. TooMany over 50,000."""
        body = _body(payload, MAX_INVENTORY, _ENTRY_SIZE, what)
        taken = max(0, room) * _ENTRY_SIZE
        if self._at:
            del self._raw[: self._at]
            self._at = 0
        self._raw += body[:taken]
        return max(0, len(body) - taken) // _ENTRY_SIZE

    def popleft(self) -> tuple[int, bytes]:
        """The next entry: (kind, id). Raises IndexError where there is none."""
        if self._at >= len(self._raw):
            raise IndexError("no entry waits")
        kind, identity = _ENTRY.unpack_from(self._raw, self._at)
        self._at += _ENTRY_SIZE
        if self._at == len(self._raw):
            self.clear()
        return kind, identity

    def clear(self) -> None:
        """Forget them all."""
        self._raw = bytearray()
        self._at = 0


def encode_entries(entries: Sequence[tuple[int, bytes]]) -> bytes:
    """An inv, getdata or notfound payload of (kind, id) entries; ValueError over 50,000."""
    if len(entries) > MAX_INVENTORY:
        raise ValueError(f"{len(entries)} entries: peers hang up on more than {MAX_INVENTORY}")
    pack = _ENTRY.pack
    return compact_size(len(entries)) + b"".join([pack(kind, identity) for kind, identity in entries])


def encode_ids(kind: int, ids: Sequence[bytes]) -> bytes:
    """An inv, getdata or notfound payload of ids that are all of one kind; ValueError over 50,000."""
    if len(ids) > MAX_INVENTORY:
        raise ValueError(f"{len(ids)} entries: peers hang up on more than {MAX_INVENTORY}")
    if not ids:
        return b"\x00"
    mark = _U32.pack(kind)
    return compact_size(len(ids)) + mark + mark.join(ids)


def decode_headers(payload: bytes) -> list[bytes]:
    """The headers of a headers message, 80 bytes each; TooMany over 2000.

    Each is followed by a count of transactions, which is zero in this message.
    """
    body = _body(payload, MAX_HEADERS, HEADER_SIZE + 1, "headers")
    if any(body[HEADER_SIZE :: HEADER_SIZE + 1]):
        raise MalformedMessage("a header with transactions behind it", "headers")
    return [header for (header,) in _HEADER_ENTRY.iter_unpack(body)]


def encode_headers(headers: Sequence[bytes]) -> bytes:
    """A headers payload of 80-byte headers; ValueError over 2000."""
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"{len(headers)} headers: peers hang up on more than {MAX_HEADERS}")
    return compact_size(len(headers)) + b"".join([header + b"\x00" for header in headers])


class Locator(NamedTuple):
    """What getheaders and getblocks ask: what follows the first of `hashes` that is known, up to `stop` (zeros: all).

    `hashes` go from the sender's tip back to genesis, ever sparser.
    """

    version: int
    hashes: Sequence[bytes]
    stop: bytes = bytes(32)


def decode_locator(payload: bytes, what: str = "getheaders") -> Locator:
    """A getheaders or getblocks payload; TooMany over 101 hashes."""
    reader = Reader(payload, what)
    version = reader.u32()
    count = reader.count(MAX_LOCATOR)
    hashes = [identity for (identity,) in _HASH.iter_unpack(reader.take(32 * count))]
    stop = reader.take(32)
    reader.end()
    return Locator(version, hashes, stop)


def encode_locator(locator: Locator) -> bytes:
    """A getheaders or getblocks payload; ValueError over 101 hashes."""
    if len(locator.hashes) > MAX_LOCATOR:
        raise ValueError(f"{len(locator.hashes)} hashes: peers hang up on more than {MAX_LOCATOR}")
    return b"".join([_U32.pack(locator.version), compact_size(len(locator.hashes)), *locator.hashes, locator.stop])
