"""The primitives of Bitcoin's serialisation: CompactSize, bounded byte strings, and a reader that can't overrun.

Only shortest forms are accepted, and a CompactSize that counts or measures something is at most `MAX_SIZE`
(Bitcoin Core, src/serialize.h). Truncated input is always a MalformedMessage.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from p2pframe.framing.errors import MalformedMessage, TooMany

__all__ = [
    "MAX_COMPACT",
    "MAX_SIZE",
    "MalformedMessage",
    "Reader",
    "TooMany",
    "compact_size",
    "read_compact",
    "read_count",
    "var_bytes",
]

MAX_SIZE = 0x02000000
"""The most that a CompactSize may say where it counts entries or measures bytes."""
MAX_COMPACT = 0xFFFFFFFFFFFFFFFF

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_I32 = Struct("<i")
_I64 = Struct("<q")
_U16_BIG = Struct(">H")
_PREFIXED_U16 = Struct("<BH")
_PREFIXED_U32 = Struct("<BI")
_PREFIXED_U64 = Struct("<BQ")
_SINGLE = tuple(bytes([value]) for value in range(0xFD))


def compact_size(value: int) -> bytes:
    """`value` (0 to 2**64 - 1) as a CompactSize in its shortest form; ValueError outside that range."""
    if 0 <= value < 0xFD:
        return _SINGLE[value]
    if value < 0:
        raise ValueError(f"a CompactSize can't be negative: {value}")
    if value <= 0xFFFF:
        return _PREFIXED_U16.pack(0xFD, value)
    if value <= 0xFFFFFFFF:
        return _PREFIXED_U32.pack(0xFE, value)
    if value <= MAX_COMPACT:
        return _PREFIXED_U64.pack(0xFF, value)
    raise ValueError(f"a CompactSize has at most 64 bits: {value}")


def var_bytes(data: bytes) -> bytes:
    """`data` behind its length."""
    return compact_size(len(data)) + data


def read_compact(data: bytes, at: int, limit: int = MAX_SIZE) -> tuple[int, int]:
    """The CompactSize at `at`, and the offset behind it.

    MalformedMessage where it is truncated, not in its shortest form, or over `limit`.
    """
    try:
        first = data[at]
        if first < 0xFD:
            return first, at + 1
        if first == 0xFD:
            value, least, after = _U16.unpack_from(data, at + 1)[0], 0xFD, at + 3
        elif first == 0xFE:
            value, least, after = _U32.unpack_from(data, at + 1)[0], 0x10000, at + 5
        else:
            value, least, after = _U64.unpack_from(data, at + 1)[0], 0x100000000, at + 9
    except (IndexError, StructError):
        raise MalformedMessage("ends inside a CompactSize", f"byte {at}") from None
    if value < least:
        raise MalformedMessage("CompactSize not in its shortest form", f"byte {at}")
    if value > limit:
        raise MalformedMessage(f"CompactSize {value} over {limit}", f"byte {at}")
    return value, after


def read_count(data: bytes, at: int, limit: int, what: str) -> tuple[int, int]:
    """The number of entries at `at`, and the offset behind it; TooMany where there are more than `limit`."""
    count, after = read_compact(data, at)
    if count > limit:
        raise TooMany(what, count, limit)
    return count, after


class Reader:
    """Reads one payload from front to back; every method raises MalformedMessage where the payload ends first."""

    __slots__ = ("at", "data", "what")

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.at = 0
        self.what = what

    def _number(self, form: Struct) -> int:
        try:
            value: int = form.unpack_from(self.data, self.at)[0]
        except StructError:
            raise MalformedMessage(f"ends inside a number of {form.size} bytes", self._where()) from None
        self.at += form.size
        return value

    def _where(self) -> str:
        return f"{self.what} at byte {self.at}"

    def u8(self) -> int:
        return self._number(_U8)

    def u32(self) -> int:
        return self._number(_U32)

    def u64(self) -> int:
        return self._number(_U64)

    def i32(self) -> int:
        return self._number(_I32)

    def i64(self) -> int:
        return self._number(_I64)

    def u16_big(self) -> int:
        """A port: two bytes, big-endian, unlike all other numbers of the protocol."""
        return self._number(_U16_BIG)

    def compact(self, limit: int = MAX_SIZE) -> int:
        value, self.at = read_compact(self.data, self.at, limit)
        return value

    def count(self, limit: int) -> int:
        """A number of entries; TooMany where it is over `limit`."""
        value, self.at = read_count(self.data, self.at, limit, self.what)
        return value

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            left = len(self.data) - self.at
            raise MalformedMessage(f"{length} bytes announced, {left} left", self._where())
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def var_bytes(self, limit: int, least: int = 0) -> bytes:
        """Bytes behind their length, which must be between `least` and `limit`."""
        length = self.compact()
        if not least <= length <= limit:
            raise MalformedMessage(f"a string of {length} bytes where {least} to {limit} are allowed", self._where())
        return self.take(length)

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self.data) - self.at

    def end(self) -> None:
        """Says that the payload must be over; MalformedMessage where it is not."""
        if self.at != len(self.data):
            raise MalformedMessage(f"{self.left} bytes too many", self._where())
