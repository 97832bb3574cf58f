"""Block headers: 80 bytes, their fields and their hash. Hashes are in the order of the wire throughout."""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from p2pframe.framing.errors import MalformedMessage

HEADER_SIZE = 80
_FIELDS = Struct("<i32s32sIII")


def hash256(data: bytes) -> bytes:
    """SHA-256 of the SHA-256 of `data`: 32 bytes, which is what Bitcoin's ids are made of."""
    return sha256(sha256(data).digest()).digest()


class Header(NamedTuple):
    """The fields of a block header. `time` is unix seconds, `bits` the compact form of the target."""

    version: int
    previous: bytes
    merkle_root: bytes
    time: int
    bits: int
    nonce: int


def parse_header(data: bytes, offset: int = 0) -> Header:
    """The header that starts at `offset`; MalformedMessage where fewer than 80 bytes are left."""
    if len(data) - offset < HEADER_SIZE:
        raise MalformedMessage(f"{len(data) - offset} bytes where a header has {HEADER_SIZE}", "header")
    return Header._make(_FIELDS.unpack_from(data, offset))


def serialize_header(header: Header) -> bytes:
    """The 80 bytes of a header."""
    return _FIELDS.pack(*header)


def header_hash(header: bytes) -> bytes:
    """The block hash of 80 header bytes, in wire order (people read it reversed)."""
    return sha256(sha256(header).digest()).digest()


def hash_hex(block_or_tx_id: bytes) -> str:
    """A hash as people read it: hexadecimal of the reversed bytes."""
    return block_or_tx_id[::-1].hex()


def hash_from_hex(text: str) -> bytes:
    """The wire bytes of a hash as people write it; ValueError where it is not 64 hexadecimal digits."""
    raw = bytes.fromhex(text)
    if len(raw) != 32:
        raise ValueError(f"{text!r} is not a hash of 64 hexadecimal digits")
    return raw[::-1]
