"""Chance that repeats: a stream is derived from the seed and from who draws, so that nobody shifts another's draws."""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def seed_of(*labels: object) -> bytes:
    """32 bytes that follow from the labels, the same in every process. Labels are told apart by their text."""
    digest = blake2b(digest_size=32, person=b"p2pframe-sim")
    for label in labels:
        text = str(label).encode()
        digest.update(len(text).to_bytes(4, "little") + text)
    return digest.digest()


def stream(*labels: object) -> Random:
    """A stream of its own for these labels: `stream(seed, "host", name, plugin)`."""
    return Random(seed_of(*labels))


class SimulatedEntropy:
    """Keys, tokens, nonces and salts that repeat: what `context.entropy` is in a simulation, and nowhere else.

    BLAKE2b over a counter: a generator of its own costs 100 bytes, where one of Python's takes 2500, and a node has
    dozens.
    """

    __slots__ = ("_count", "_key")

    def __init__(self, *labels: object) -> None:
        self._key = seed_of("entropy", *labels)
        self._count = 0

    def bytes(self, length: int) -> bytes:
        """See `Entropy.bytes`."""
        blocks = []
        for _ in range((length + 63) // 64):
            self._count += 1
            blocks.append(blake2b(self._count.to_bytes(8, "little"), key=self._key).digest())
        return b"".join(blocks)[:length]

    def integer(self, bits: int) -> int:
        """See `Entropy.integer`."""
        return int.from_bytes(self.bytes((bits + 7) // 8), "big") >> (-bits % 8)
