"""Bencoding (BEP 3): strings of bytes, integers, lists and dictionaries, to bytes and back.

Exactly one encoding of a value is accepted: no leading zeros, no minus zero, no key twice, keys in order. `unordered`
relaxes the last one for the outermost dictionaries only, since deployed DHT nodes send messages with keys out of order,
while what is hashed or signed (BEP 44, `v`) has to be canonical: else two nodes would see two values in one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias, Union

Value: TypeAlias = Union[bytes, int, "list[Value]", "dict[bytes, Value]"]
"""What `decode` gives."""
Encodable: TypeAlias = Union[bytes, int, "Sequence[Encodable]", "Mapping[bytes, Encodable]"]
"""What `encode` takes."""

DEPTH = 32
"""Lists and dictionaries within one another that are decoded and encoded: the DHT's own messages nest three."""
CONTAINERS = 4096
"""Lists and dictionaries in one value: each takes two bytes of input and fifty of memory, or more."""
DIGITS = 1000
"""Digits of an integer. Converting takes quadratic time; an item of BEP 44 is not larger than this as a whole."""

_LENGTH_DIGITS = 9
_PREFIXES = [b"%d:" % length for length in range(1024)]
_LENGTHS = {b"%d" % length: length for length in range(1024)}
"""Canonical lengths by their digits: a look-up refuses `05`, `+5`, ` 5` and `1_0`, all of which int() accepts."""


class BencodeError(ValueError):
    """Bytes that are no (canonical) bencoding, or a value that nests too deep. `position` counts bytes from 0."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} at byte {position}")
        self.position = position


class Bencoded(bytes):
    """Bytes that are bencoded already: `encode` writes them as they are.

    What has been checked once (a stored item) is sent again without being decoded and encoded anew.
    """

    __slots__ = ()


def decode(data: bytes, *, depth: int = DEPTH, containers: int = CONTAINERS, unordered: int = 0) -> Value:
    """The value that `data` is the encoding of, all of it.

    At most `depth` lists and dictionaries may lie within one another and there may be `containers` of them. In the
    outermost `unordered` levels, keys may be in any order. Raises BencodeError.
    """
    try:
        first = data[0]
        if first == 0x64:
            value: Value
            value, at = _dictionary(data, 1, depth, [containers], unordered)
        elif first == 0x6C:
            value, at = _list(data, 1, depth, [containers], unordered)
        elif first == 0x69:
            value, at = _integer(data, 1)
        else:
            value, at = _string(data, 0)
    except IndexError:
        raise BencodeError("the data ends within a value", len(data)) from None
    if at != len(data):
        raise BencodeError("more data after the value", at)
    return value


def encode(value: Encodable, *, depth: int = DEPTH) -> bytes:
    """The one encoding of a value; dictionaries are put in order of their keys.

    Raises TypeError for a type that has no encoding (bool, float, str among them) and BencodeError for lists and
    dictionaries more than `depth` within one another.
    """
    kind = type(value)
    if kind is dict or kind is list:
        parts: list[bytes] = []
        if kind is dict:
            _write_dictionary(value, parts, depth)  # type: ignore[arg-type]
        else:
            _write_list(value, parts, depth)  # type: ignore[arg-type]
        return b"".join(parts)
    out: list[bytes] = []
    _write_other(value, out, depth)
    return b"".join(out)


# --- decoding ---
#
# Strings and integers are read where they stand and only lists and dictionaries cost a call: most of a message is
# strings. A slice of the data is the only thing that is made by a length, and it is never longer than the data.


def _dictionary(data: bytes, at: int, depth: int, left: list[int], unordered: int) -> tuple[dict[bytes, Value], int]:
    """The dictionary whose first key is at `at`, and where it ends."""
    if depth <= 0 or not left[0]:
        _too_much(depth, at)
    left[0] -= 1
    entries: dict[bytes, Value] = {}
    before = b""
    size = len(data)
    find, length_of = data.find, _LENGTHS.get
    while (first := data[at]) != 0x65:
        # Nearly every key has fewer than ten bytes: its length is one digit.
        if data[at + 1] == 0x3A and 0x30 <= first <= 0x39:
            end = at + first - 0x2E
            if end > size:
                raise BencodeError("the data ends within a key", at)
            key = data[at + 2 : end]
        else:
            key, end = _string(data, at)
        if key <= before and entries:
            if key in entries:
                raise BencodeError("a key twice", at)
            if unordered <= 0:
                raise BencodeError("a key out of order", at)
        else:
            # The largest so far: one that is larger still can't be there already.
            before = key
        at = end
        first = data[at]
        if first == 0x64:
            entries[key], at = _dictionary(data, at + 1, depth - 1, left, unordered - 1)
        elif first == 0x69:
            entries[key], at = _integer(data, at + 1)
        elif first == 0x6C:
            entries[key], at = _list(data, at + 1, depth - 1, left, unordered - 1)
        elif data[at + 1] == 0x3A and 0x30 <= first <= 0x39:
            end = at + first - 0x2E
            if end > size:
                raise BencodeError("the data ends within a string", at)
            entries[key] = data[at + 2 : end]
            at = end
        else:
            colon = find(b":", at, at + 4)
            length = length_of(data[at:colon])
            if length is None or colon < 0:
                entries[key], at = _string(data, at)
            else:
                end = colon + 1 + length
                if end > size:
                    raise BencodeError("the data ends within a string", at)
                entries[key] = data[colon + 1 : end]
                at = end
    return entries, at + 1


def _list(data: bytes, at: int, depth: int, left: list[int], unordered: int) -> tuple[list[Value], int]:
    """The list whose first value is at `at`, and where it ends."""
    if depth <= 0 or not left[0]:
        _too_much(depth, at)
    left[0] -= 1
    entries: list[Value] = []
    add = entries.append
    find, length_of = data.find, _LENGTHS.get
    value: Value
    while (first := data[at]) != 0x65:
        if first == 0x64:
            value, at = _dictionary(data, at + 1, depth - 1, left, unordered - 1)
        elif first == 0x69:
            value, at = _integer(data, at + 1)
        elif first == 0x6C:
            value, at = _list(data, at + 1, depth - 1, left, unordered - 1)
        else:
            colon = find(b":", at, at + 4)
            length = length_of(data[at:colon])
            if length is None or colon < 0:
                value, at = _string(data, at)
            else:
                end = colon + 1 + length
                value = data[colon + 1 : end]
                if len(value) != length:
                    raise BencodeError("the data ends within a string", at)
                at = end
        add(value)
    return entries, at + 1


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """The string whose length starts at `at`, and where it ends: of any length, and with what is wrong with it."""
    colon = data.find(b":", at, at + _LENGTH_DIGITS + 1)
    digits = data[at : colon if colon >= 0 else at + _LENGTH_DIGITS]
    if not digits.isdigit():
        raise BencodeError("neither a value nor the end of one", at)
    if colon < 0:
        if at + len(digits) >= len(data):
            raise IndexError
        raise BencodeError("a length without a colon", at)
    if digits[0] == 0x30 and len(digits) > 1:
        raise BencodeError("a length with a leading zero", at)
    end = colon + 1 + int(digits)
    if end > len(data):
        raise BencodeError(f"a string of {digits.decode()} bytes, more than there is", at)
    return data[colon + 1 : end], end


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """The integer whose digits start at `at`, and where it ends."""
    end = data.find(b"e", at, at + DIGITS + 2)
    if end < 0:
        if len(data) <= at + DIGITS + 1:
            raise IndexError
        raise BencodeError(f"an integer of more than {DIGITS} digits", at)
    digits = data[at:end]
    bare = digits[1:] if digits[:1] == b"-" else digits
    # bytes.isdigit is true of ASCII digits alone.
    if not bare.isdigit() or len(bare) > DIGITS:
        raise BencodeError("an integer that is none", at)
    if bare[0] == 0x30 and len(digits) > 1:
        raise BencodeError("an integer with a leading zero, or minus zero", at)
    return int(digits), end + 1


def _too_much(depth: int, at: int) -> NoReturn:
    if depth <= 0:
        raise BencodeError("too many lists and dictionaries within one another", at)
    raise BencodeError("too many lists and dictionaries", at)


# --- encoding ---


def _write_dictionary(value: Mapping[bytes, Encodable], parts: list[bytes], depth: int) -> None:
    if depth <= 0:
        raise BencodeError("too many lists and dictionaries within one another", sum(map(len, parts)))
    add = parts.append
    add(b"d")
    for key in sorted(value):
        if not isinstance(key, bytes):
            raise TypeError(f"a key is of bytes, not {type(key).__name__}")
        length = len(key)
        add(_PREFIXES[length] if length < 1024 else b"%d:" % length)
        add(key)
        entry = value[key]
        kind = type(entry)
        if kind is bytes:
            length = len(entry)  # type: ignore[arg-type]
            add(_PREFIXES[length] if length < 1024 else b"%d:" % length)
            add(entry)  # type: ignore[arg-type]
        elif kind is int:
            add(b"i%de" % entry)  # type: ignore[str-format]
        elif kind is dict:
            _write_dictionary(entry, parts, depth - 1)  # type: ignore[arg-type]
        elif kind is list:
            _write_list(entry, parts, depth - 1)  # type: ignore[arg-type]
        else:
            _write_other(entry, parts, depth - 1)
    add(b"e")


def _write_list(value: Sequence[Encodable], parts: list[bytes], depth: int) -> None:
    if depth <= 0:
        raise BencodeError("too many lists and dictionaries within one another", sum(map(len, parts)))
    add = parts.append
    add(b"l")
    for entry in value:
        kind = type(entry)
        if kind is bytes:
            length = len(entry)  # type: ignore[arg-type]
            add(_PREFIXES[length] if length < 1024 else b"%d:" % length)
            add(entry)  # type: ignore[arg-type]
        elif kind is dict:
            _write_dictionary(entry, parts, depth - 1)  # type: ignore[arg-type]
        elif kind is list:
            _write_list(entry, parts, depth - 1)  # type: ignore[arg-type]
        else:
            _write_other(entry, parts, depth - 1)
    add(b"e")


def _write_other(value: Encodable, parts: list[bytes], depth: int) -> None:
    """What is met seldom: other classes than the four, `Bencoded`, and what has no encoding."""
    if isinstance(value, Bencoded):
        parts.append(value)
    elif isinstance(value, bytes):
        parts.append(b"%d:%s" % (len(value), value))
    elif isinstance(value, int) and not isinstance(value, bool):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        _write_dictionary(value, parts, depth)
    elif isinstance(value, list | tuple):
        _write_list(value, parts, depth)
    else:
        raise TypeError(f"{type(value).__name__} has no bencoding: bytes, int, list and dict have")
