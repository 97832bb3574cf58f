"""The wire form of DNS answers as far as peers can be in them (RFC 1035, 2782). No I/O.

A decoder of its own, as the server that is asked may be hostile: pointers lead backwards only, a name is no longer than
255 bytes, and all names of a message together cost a bounded number of steps. twisted.names takes names of any length,
so that one answer of 64 KiB over TCP, a long name and a thousand pointers to it, keeps it busy for many seconds.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

A, CNAME, TXT, AAAA, SRV = 1, 5, 16, 28, 33
IN = 1

_HEADER = struct.Struct("!6H")
_PAIR = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_SERVICE = struct.Struct("!3H")
_QR, _TC, _CODE = 0x8000, 0x0200, 0xF
_LONGEST_NAME = 255
_STEPS = 65_536
"""Labels and pointers of all names of one message: one for each byte of the longest."""


class Service(NamedTuple):
    """The data of an SRV record."""

    priority: int
    weight: int
    port: int
    target: bytes


class Record(NamedTuple):
    """A record of class IN; `data` is an address as text, a name, the text of a TXT record in one, or a service."""

    owner: bytes
    type: int
    data: str | bytes | Service


class Message(NamedTuple):
    """An answer to one question. Names are in lower case, without the last dot."""

    id: int
    truncated: bool
    code: int
    name: bytes
    type: int
    cls: int
    answers: list[Record]
    additional: list[Record]
    others: int
    """Records in the answer section that are none of the above: of other types and classes."""


def parse(data: bytes) -> Message:
    """An answer. Raises ValueError for what is none.

    One that ends in the middle is taken for the records that it holds; where it holds none it must say that it is
    truncated.
    """
    names = _Names(data)
    try:
        id, flags, questions, *counts = _HEADER.unpack_from(data)
        if not flags & _QR or questions != 1:
            raise ValueError("no answer to one question")
        name, at = names.read(12)
        type, cls = _PAIR.unpack_from(data, at)
    except (struct.error, IndexError):
        raise ValueError("cut off in its question") from None
    sections: list[list[Record]] = [[], [], []]
    others = 0
    at += 4
    try:
        for section, count in zip(sections, counts, strict=True):
            for _ in range(count):
                owner, at = names.read(at)
                record_type, record_cls, _, length = _RECORD.unpack_from(data, at)
                at += 10
                if at + length > len(data):
                    raise IndexError
                held = _payload(names, data[at : at + length], record_type, at) if record_cls == IN else None
                at += length
                if held is not None:
                    section.append(Record(owner, record_type, held))
                elif section is sections[0]:
                    others += 1
    except (struct.error, IndexError):
        if not sections[0] and not flags & _TC:
            raise ValueError("cut off before its first record") from None
    answers, _, additional = sections
    return Message(id, bool(flags & _TC), flags & _CODE, name, type, cls, answers, additional, others)


def _payload(names: _Names, data: bytes, type: int, at: int) -> str | bytes | Service | None:
    """What a record carries; None where it is of no type that is of use, or not of the form that its type has."""
    if type in (A, AAAA):
        return str(ipaddress.ip_address(data)) if len(data) == (4 if type == A else 16) else None
    if type == TXT:
        return _text(data)
    if type == CNAME or (type == SRV and len(data) > _SERVICE.size):
        before = _SERVICE.size if type == SRV else 0
        name, end = names.read(at + before)
        if end != at + len(data):
            return None
        if not before:
            return name
        priority, weight, port = _SERVICE.unpack_from(data)
        return Service(priority, weight, port, name)
    return None


def _text(data: bytes) -> bytes | None:
    parts = []
    at = 0
    while at < len(data):
        after = at + 1 + data[at]
        parts.append(data[at + 1 : after])
        at = after
    return b"".join(parts) if at == len(data) else None


class _Names:
    """Reads the names of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _STEPS

    def read(self, at: int) -> tuple[bytes, int]:
        """The name that begins at a place, and where it ends there.

        Raises ValueError for what is no name and where all of them cost too much, IndexError at the end of the message.
        """
        data = self._data
        labels: list[bytes] = []
        size, end, begin = 1, 0, at
        while True:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many names")
            length = data[at]
            at += 1
            if not length:
                return b".".join(labels), end or at
            if length >= 0xC0:
                end = end or at + 1
                at = (length & 0x3F) << 8 | data[at]
                if at >= begin:
                    raise ValueError("a pointer that does not lead back")
                begin = at
                continue
            size += length + 1
            if length > 63 or size > _LONGEST_NAME:
                raise ValueError("no name")
            # A dot within a label is no end of it.
            labels.append(data[at : at + length].lower().replace(b".", b"\\."))
            at += length
