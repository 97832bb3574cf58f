"""The filters of BEP 33: how many different addresses, without saying which. 256 bytes, two bits for each address."""

from __future__ import annotations

from hashlib import sha1
from math import log

BYTES = 256
_BITS = 8 * BYTES


class Bloom:
    """A set of addresses that can be counted, about, and united with others."""

    __slots__ = ("_bits",)

    def __init__(self, packed: bytes = bytes(BYTES)) -> None:
        if len(packed) != BYTES:
            raise ValueError(f"a filter has {BYTES} bytes, this has {len(packed)}")
        self._bits = int.from_bytes(packed, "little")

    def add(self, host: bytes) -> None:
        """Add an address of 4 or 16 bytes."""
        self._bits |= _bits_of(host)

    def union(self, other: Bloom) -> None:
        """Add whatever the other holds."""
        self._bits |= other._bits

    def estimate(self) -> float:
        """How many addresses were added, about; beyond 6000 it says too little."""
        if not self._bits:
            return 0.0  # where the formula says one half
        zeros = min(_BITS - 1, _BITS - self._bits.bit_count())
        return log(max(zeros, 1) / _BITS) / (2 * log(1 - 1 / _BITS))

    def __contains__(self, host: bytes) -> bool:
        """Whether an address may have been added: never wrong about one that was."""
        bits = _bits_of(host)
        return self._bits & bits == bits

    def __bytes__(self) -> bytes:
        return self._bits.to_bytes(BYTES, "little")


def _bits_of(host: bytes) -> int:
    digest = sha1(host, usedforsecurity=False).digest()
    return 1 << (digest[0] | digest[1] << 8) % _BITS | 1 << (digest[2] | digest[3] << 8) % _BITS
