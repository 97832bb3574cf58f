"""Regtest headers, blocks and transactions made for the benchmarks.

Valid where that is cheap, and the same in every run.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from struct import Struct

from p2pframe.protocols.bitcoin.block import build_coinbase
from p2pframe.protocols.bitcoin.chains import REGTEST

_HEADER = Struct("<i32s32sII")
_BITS = REGTEST.pow_limit_bits
_VERSION = 0x2000_0000
_SUBSIDY = 25 * 100_000_000
_ANYONE = b"\x51"
"""A script that anyone can spend."""


def mined(previous: bytes, root: bytes, time: int) -> tuple[bytes, bytes]:
    """A header with its proof of work (two tries on average), and its hash."""
    base = sha256()
    head = _HEADER.pack(_VERSION, previous, root, time, _BITS)
    base.update(head)
    for nonce in count():
        work = base.copy()
        tail = nonce.to_bytes(4, "little")
        work.update(tail)
        digest = sha256(work.digest()).digest()
        if digest[31] < 0x7F:
            return head + tail, digest
    raise AssertionError("unreachable")


def headers(number: int) -> tuple[list[bytes], list[bytes]]:
    """That many headers on top of genesis, 2 s apart, and their hashes."""
    time = int.from_bytes(REGTEST.genesis_header[68:72], "little")
    hash = REGTEST.genesis_hash
    chain, hashes = [], []
    for height in range(1, number + 1):
        header, hash = mined(hash, height.to_bytes(32, "little"), time + 2 * height)
        chain.append(header)
        hashes.append(hash)
    return chain, hashes


def block(previous: bytes, height: int, time: int) -> tuple[bytes, bytes]:
    """A block of one coinbase, and its hash."""
    only = build_coinbase(height, _SUBSIDY, _ANYONE, extra=b"bench", commit=False).raw
    header, hash = mined(previous, sha256(sha256(only).digest()).digest(), time)
    return header + b"\x01" + only, hash


def large_block(transactions: int) -> bytes:
    """A block in mainnet's usual mix, to be parsed only.

    One to three signed witness inputs, two outputs, about 330 bytes each.
    """
    raw = bytearray(mined(bytes(32), bytes(32), 1_600_000_000)[0])
    raw += b"\xfd" + (transactions).to_bytes(2, "little") + build_coinbase(1, _SUBSIDY, _ANYONE, commit=False).raw
    for number in range(1, transactions):
        seed = sha256(number.to_bytes(4, "little")).digest()
        inputs = (1, 1, 2, 3)[number % 4]
        raw += b"\x02\0\0\0\0\x01" + bytes([inputs])
        for index in range(inputs):
            raw += sha256(seed + bytes([index])).digest() + bytes([index, 0, 0, 0]) + b"\0" + b"\xfd\xff\xff\xff"
        raw += b"\x02"
        for value in (50_000 + number, 60_000 + number):
            raw += value.to_bytes(8, "little") + b"\x16\x00\x14" + seed[:20]
        for _ in range(inputs):
            raw += b"\x02\x47" + seed * 2 + seed[:7] + b"\x21\x02" + seed
        raw += bytes(4)
    return bytes(raw)
