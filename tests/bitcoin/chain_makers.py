"""Makes headers for tests: mined where that is trivial (regtest), unmined where proof of work is not what is tested."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from p2pframe.protocols.bitcoin.chains import REGTEST, Chain
from p2pframe.protocols.bitcoin.headers import decode_bits

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "bitcoin"


def vector(name: str) -> bytes:
    """A shared test vector; skips the test where there is none."""
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"needs the vector {path.name}, which is not in ../shared/vectors/bitcoin")
    return path.read_bytes()


def easy(chain: Chain, **changes: object) -> Chain:
    """The same rules at regtest's least difficulty, from a genesis header to match: mining is trivial."""
    bits = REGTEST.pow_limit_bits
    genesis = chain.genesis_header[:72] + bits.to_bytes(4, "little") + chain.genesis_header[76:]
    return replace(
        chain, genesis_header=genesis, pow_limit=REGTEST.pow_limit, pow_limit_bits=bits, minimum_chain_work=0, **changes
    )


def digest(header: bytes) -> bytes:
    return sha256(sha256(header).digest()).digest()


def mine(previous: bytes, time: int, bits: int, version: int = 4, seed: bytes = b"") -> bytes:
    """One header with proof of work for `bits`."""
    target = decode_bits(bits)
    base = struct.pack("<i32s32sII", version, previous, sha256(seed).digest(), time, bits)
    nonce = 0
    while True:
        header = base + nonce.to_bytes(4, "little")
        if int.from_bytes(digest(header), "little") <= target:
            return header
        nonce += 1


def unmined(previous: bytes, time: int, bits: int, seed: bytes = b"") -> bytes:
    """One header whose hash is no proof of anything."""
    target = decode_bits(bits)
    base = struct.pack("<i32s32sII", 4, previous, sha256(seed).digest(), time, bits)
    nonce = 0
    while int.from_bytes(digest(header := base + nonce.to_bytes(4, "little")), "little") <= target:
        nonce += 1
    return header


def chain_of(
    count: int,
    previous: bytes | None = None,
    time: int | None = None,
    chain: Chain = REGTEST,
    seed: bytes = b"",
    spacing: int = 600,
) -> list[bytes]:
    """`count` headers at the easiest difficulty, one `spacing` apart."""
    previous = chain.genesis_hash if previous is None else previous
    time = int.from_bytes(chain.genesis_header[68:72], "little") if time is None else time
    headers = []
    for number in range(count):
        time += spacing
        headers.append(mine(previous, time, chain.pow_limit_bits, seed=seed + number.to_bytes(4, "big")))
        previous = digest(headers[-1])
    return headers
