"""BlockPlaces: which blocks are held, and where in the block files each one stands.

In memory 16 bytes a header, in arrays by the header's position in the index: a dict by hash would cost ten times that
for a whole chain. Blocks whose header is not known (the headers were lost and are being fetched again) wait in a
dict until it is.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import NamedTuple

from p2pframe.protocols.bitcoin.header_index import HeaderIndex

_ROW = Struct(">IIII")


class Place(NamedTuple):
    """Where a block stands.

    The number of its file, offset and length in bytes, and the first four bytes of its SHA-256 (as a number).
    """

    file: int
    offset: int
    length: int
    checksum: int

    def pack(self) -> bytes:
        """The value of its row in the store's index."""
        return _ROW.pack(*self)


def unpack_place(row: bytes) -> Place | None:
    """The place that a row says; None where it is no such row."""
    return Place._make(_ROW.unpack(row)) if len(row) == _ROW.size else None


class BlockPlaces:
    """The places of held blocks, by hash."""

    def __init__(self, index: HeaderIndex) -> None:
        self._index = index
        self._files = array("I")
        self._offsets = array("I")
        self._lengths = array("I")
        self._checksums = array("I")
        self._waiting: dict[bytes, Place] = {}
        self.count = 0

    def __contains__(self, hash: bytes) -> bool:
        position = self._index.position(hash)
        if position is not None and position < len(self._lengths) and self._lengths[position]:
            return True
        return hash in self._waiting

    def get(self, hash: bytes) -> Place | None:
        """Where a block stands; None where it is not held."""
        position = self._index.position(hash)
        if position is None or position >= len(self._lengths) or not self._lengths[position]:
            return self._waiting.get(hash)
        return Place(self._files[position], self._offsets[position], self._lengths[position], self._checksums[position])

    def put(self, hash: bytes, place: Place) -> None:
        """Note where a block stands that was not held."""
        position = self._index.position(hash)
        self.count += 1
        if position is None:
            self._waiting[hash] = place
            return
        missing = position + 1 - len(self._lengths)
        if missing > 0:
            for numbers in (self._files, self._offsets, self._lengths, self._checksums):
                numbers.frombytes(bytes(missing * numbers.itemsize))
        self._files[position], self._offsets[position], self._lengths[position], self._checksums[position] = place

    def drop(self, hash: bytes) -> None:
        """Forget a block; nothing happens where it is not held."""
        if hash not in self:
            return
        self.count -= 1
        if self._waiting.pop(hash, None) is None:
            position = self._index.position(hash)
            assert position is not None
            self._lengths[position] = 0

    def in_file(self, file: int) -> list[bytes]:
        """The hashes of the blocks in a file."""
        hash_of, lengths = self._index.hash_of, self._lengths
        held = [hash_of(at) for at, number in enumerate(self._files) if number == file and lengths[at]]
        held.extend(hash for hash, place in self._waiting.items() if place.file == file)
        return held
