"""The ways in which a stream's bytes may be split: none of them may make a difference to whoever reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

Split = Callable[[bytes, Random], Sequence[bytes]]
"""Parts bytes into what the reads will be; the stream of chance is for those that draw."""


def whole(data: bytes, rng: Random) -> Sequence[bytes]:
    """All at once."""
    return [data] if data else []


def bytewise(data: bytes, rng: Random) -> Sequence[bytes]:
    """Byte by byte."""
    return [data[at : at + 1] for at in range(len(data))]


def drawn(data: bytes, rng: Random) -> Sequence[bytes]:
    """Parts of any length, most of them short."""
    parts = []
    at = 0
    while at < len(data):
        length = rng.choice([1, 2, 7, 50, 1460, 65_536])
        parts.append(data[at : at + length])
        at += length
    return parts


SPLITS: Mapping[str, Split] = {"whole": whole, "byte by byte": bytewise, "random": drawn}
