"""The address book on disk: rows of entries, each with its version and checksum.

A head row holds what places the entries (salt and table sizes); chunk rows hold `CHUNK` entries each. Whatever does not
check out is for the caller to set aside: addresses can be learnt again, and a wrong one costs a dial.

    head:   "pbk" version u8 | salt 32 | new buckets u32 | tried buckets u32 | checksum 8
    chunk:  "pbc" version u8 | entries... | checksum 8
    entry:  host u8+text | port u16 | kind u8 | services u64 | seen, attempt, success, first f64
            | failures u8 | tried u8 | source u8+text | peer id u8+bytes | places u8 + u32 each  (integers big-endian)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from p2pframe.errors import StorageCorrupt
from p2pframe.model import AddressKind, PeerAddress, PeerId

VERSION = 2
"""Of what is written. Rows of version 1, which had no time of the first sight, are read as well."""
CHUNK = 1000
"""Entries of one row."""
LONGEST = 255
"""Bytes of a text of an entry."""
_HEAD = b"pbk" + bytes([VERSION])
_CHUNK = b"pbc" + bytes([VERSION])
_TABLES = struct.Struct(">II")
_MIDDLE = struct.Struct(">HBQddddBB")
_MIDDLE_1 = struct.Struct(">HBQdddBB")
_KINDS: tuple[AddressKind, ...] = ("ip", "name", "onion", "i2p")


class Row(NamedTuple):
    """One entry as it stands on disk."""

    address: PeerAddress
    services: int
    last_seen: float
    last_attempt: float
    last_success: float
    failures: int
    tried: bool
    source: str
    peer_id: PeerId | None
    places: tuple[int, ...]
    first_seen: float


class Head(NamedTuple):
    """What the places of entries depend on."""

    salt: bytes
    new_buckets: int
    tried_buckets: int


def encode_head(head: Head) -> bytes:
    """The head row."""
    return _seal(_HEAD + head.salt + _TABLES.pack(head.new_buckets, head.tried_buckets))


def decode_head(data: bytes) -> Head:
    """Raises `StorageCorrupt` for anything that `encode_head` did not write."""
    body, _ = _open(data, _HEAD, "head")
    if len(body) != 40:
        raise StorageCorrupt(f"address book: the head row has {len(body)} bytes, not 40")
    return Head(body[:32], *_TABLES.unpack(body[32:]))


def encode_chunk(rows: Sequence[Row]) -> bytes:
    """A chunk row."""
    parts = [_CHUNK]
    for row in rows:
        host, source, peer_id = row.address.host.encode(), row.source.encode()[:255], row.peer_id or b""
        parts += (
            bytes([len(host)]), host,
            _MIDDLE.pack(
                row.address.port, _KINDS.index(row.address.kind), row.services, row.last_seen, row.last_attempt,
                row.last_success, row.first_seen, min(row.failures, 255), row.tried,
            ),
            bytes([len(source)]), source, bytes([len(peer_id)]), peer_id,
            struct.pack(f">B{len(row.places)}I", len(row.places), *row.places),
        )  # fmt: skip
    return _seal(b"".join(parts))


def decode_chunk(data: bytes) -> list[Row]:
    """Raises `StorageCorrupt` for anything that `encode_chunk` did not write."""
    body, version = _open(data, _CHUNK, "chunk")
    rows: list[Row] = []
    at = 0
    try:
        while at < len(body):
            host, at = _text(body, at)
            if version == 1:
                port, kind, services, seen, attempt, success, failures, tried = _MIDDLE_1.unpack_from(body, at)
                at, first = at + _MIDDLE_1.size, seen
            else:
                port, kind, services, seen, attempt, success, first, failures, tried = _MIDDLE.unpack_from(body, at)
                at += _MIDDLE.size
            source, at = _text(body, at)
            peer_id, at = _short(body, at)
            count = body[at]
            places = struct.unpack_from(f">{count}I", body, at + 1)
            at += 1 + 4 * count
            if not host or not all(map(math.isfinite, (seen, attempt, success, first))):
                raise StorageCorrupt(f"address book: an entry has no host or no time: {host!r}")
            address = PeerAddress(host, port, _KINDS[kind])
            known = PeerId(peer_id) if peer_id else None
            rows.append(
                Row(address, services, seen, attempt, success, failures, bool(tried), source, known, places, first)
            )
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise StorageCorrupt(f"address book: a chunk ends or turns to nonsense at byte {at}: {error}") from None
    return rows


def _text(body: bytes, at: int) -> tuple[str, int]:
    raw, after = _short(body, at)
    return raw.decode(), after


def _short(body: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + body[at]
    if end > len(body):
        raise IndexError("a text runs over the end")
    return body[at + 1 : end], end


def _seal(body: bytes) -> bytes:
    return body + blake2b(body, digest_size=8).digest()


def _open(data: bytes, magic: bytes, what: str) -> tuple[bytes, int]:
    body, checksum = data[:-8], data[-8:]
    if body[:3] != magic[:3] or len(body) < 4:
        raise StorageCorrupt(f"address book: the {what} row is none")
    if blake2b(body, digest_size=8).digest() != checksum:
        raise StorageCorrupt(f"address book: the {what} row's checksum does not fit")
    if not 1 <= body[3] <= VERSION:
        raise StorageCorrupt(f"address book: the {what} row is of version {body[3]}, this program knows {VERSION}")
    return body[4:], body[3]
