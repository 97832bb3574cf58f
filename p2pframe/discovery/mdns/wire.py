"""Messages of multicast DNS (RFC 1035, section 4; RFC 6762, section 18). No I/O.

A codec of its own: records are kept as their data without compression, which is what conflicts are judged by (RFC 6762,
section 8.2), the top bit of the class is a flag of its own, and each pointer of a name must lead further back than the
one before it, so that no name goes round in circles.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from p2pframe.errors import P2PFrameError

A, PTR, TXT, AAAA, SRV, NSEC, ANY = 1, 12, 16, 28, 33, 47, 255
IN = 1
LARGEST = 9000
"""Bytes of a message at the most, headers of IP and UDP included (RFC 6762, section 17)."""
ROOM = 1440
"""Bytes of a message of ours: one packet on an Ethernet, over IPv6 too."""
MOST_RECORDS = 1000
"""Questions and records of one message. The largest message of the smallest records would hold 800."""

Name = tuple[bytes, ...]
"""Labels from the left, without the root's empty one, as they were written; compared in lower case."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_OPCODE, _RCODE = 0x7800, 0x000F
_TOP = 0x8000
_POINTERS = 0x4000
_MOST_POINTERS = 32
"""Pointers of one name. Without a bound 700 names of 4000 pointers each could be made of one message."""
_MOST_LABELS = 4000
"""Labels of all names of one message. A pointer of two bytes stands for up to 127 of them, and each costs time."""


class MdnsError(P2PFrameError):
    """Bytes that are no message of multicast DNS."""


class Question(NamedTuple):
    """`unicast` is the QU bit: the asker would take the answer alone (RFC 6762, section 5.4)."""

    name: Name
    type: int
    unicast: bool = False


class Record(NamedTuple):
    """A record: `ttl` in seconds; `flush`: there are no others of its name and type; `data` without compression."""

    name: Name
    type: int
    ttl: int
    data: bytes
    flush: bool = False

    @property
    def key(self) -> tuple[Name, int]:
        """Whose set of records it belongs to."""
        return key(self.name), self.type

    @property
    def identity(self) -> tuple[Name, int, bytes]:
        """What makes two records the same: all but how long they live. Names within compare in any case."""
        return key(self.name), self.type, self.data.lower() if self.type == PTR else self.data


class Message(NamedTuple):
    """A query with its known answers and what it proposes (`authorities`), or a response."""

    response: bool
    questions: Sequence[Question] = ()
    answers: Sequence[Record] = ()
    authorities: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    truncated: bool = False
    id: int = 0


def key(name: Name) -> Name:
    """As names are compared: ASCII letters in lower case."""
    return tuple(label.lower() for label in name)


def parse(data: bytes) -> Message | None:
    """A message, without the records of classes other than IN.

    None for what is to be ignored: operations and errors of unicast DNS (RFC 6762, sections 18.3 and 18.11). Raises
    `MdnsError` for what is malformed.
    """
    if not 12 <= len(data) <= LARGEST:
        raise MdnsError(f"{len(data)} bytes are no message of 12 to {LARGEST}")
    id, flags, questions, *counts = _HEADER.unpack_from(data)
    if flags & (_OPCODE | _RCODE):
        return None
    if questions + sum(counts) > MOST_RECORDS:
        raise MdnsError(f"more than {MOST_RECORDS} records")
    at = 12
    labels = 0
    asked = []
    sections: list[list[Record]] = []
    try:
        for _ in range(questions):
            name, at = _read_name(data, at)
            labels = _counted(labels, name)
            type, cls = _QUESTION.unpack_from(data, at)
            at += _QUESTION.size
            if cls & ~_TOP in (IN, ANY):
                asked.append(Question(name, type, bool(cls & _TOP)))
        for count in counts:
            section: list[Record] = []
            sections.append(section)
            for _ in range(count):
                name, at = _read_name(data, at)
                labels = _counted(labels, name)
                type, cls, ttl, length = _RECORD.unpack_from(data, at)
                at += _RECORD.size
                end = at + length
                if end > len(data):
                    raise MdnsError("a record ends beyond the message")
                if cls & ~_TOP == IN:
                    read, within = _read_data(data, type, at, end)
                    labels = _counted(labels, within)
                    section.append(Record(name, type, ttl, read, bool(cls & _TOP)))
                at = end
    except struct.error:
        raise MdnsError("the message ends within a record") from None
    answers, authorities, additional = sections
    return Message(bool(flags & _RESPONSE), asked, answers, authorities, additional, bool(flags & _TRUNCATED), id)


def encode(message: Message) -> bytes:
    """The bytes of a message, names compressed where they may be. Raises ValueError for labels over 63 bytes."""
    flags = _RESPONSE | _AUTHORITATIVE if message.response else 0
    if message.truncated:
        flags |= _TRUNCATED
    sections = (message.answers, message.authorities, message.additional)
    out = bytearray(_HEADER.pack(message.id, flags, len(message.questions), *map(len, sections)))
    seen: dict[Name, int] = {}
    for question in message.questions:
        _write_name(out, question.name, seen)
        out += _QUESTION.pack(question.type, IN | (_TOP if question.unicast else 0))
    for section in sections:
        for record in section:
            _write_name(out, record.name, seen)
            out += _RECORD.pack(record.type, IN | (_TOP if record.flush else 0), record.ttl, len(record.data))
            out += record.data
    return bytes(out)


def size(record: Record) -> int:
    """Bytes that a record takes at the most."""
    return sum(map(len, record.name)) + len(record.name) + 11 + len(record.data)


def packed(records: Iterable[Record], room: int) -> list[list[Record]]:
    """Records in as many lots as it takes for each lot to fit `room` bytes; one larger than that is alone."""
    lots: list[list[Record]] = []
    left = 0
    for record in records:
        needed = size(record)
        if not lots or needed > left:
            lots.append([])
            left = room
        lots[-1].append(record)
        left -= needed
    return lots


def name_data(name: Name) -> bytes:
    """The data of a record that is a name."""
    out = bytearray()
    _write_name(out, name, None)
    return bytes(out)


def srv_data(port: int, target: Name) -> bytes:
    """The data of an SRV record of priority and weight 0 (RFC 2782)."""
    return struct.pack("!3H", 0, 0, port) + name_data(target)


def txt_data(texts: Iterable[str]) -> bytes:
    """The data of a TXT record, `key=value` each (RFC 6763, section 6). Raises ValueError over 255 bytes of one."""
    encoded = [text.encode() for text in texts]
    if any(len(text) > 255 for text in encoded):
        raise ValueError("a text of a TXT record has at most 255 bytes")
    return b"".join(bytes([len(text)]) + text for text in encoded) or b"\0"


def nsec_data(name: Name, types: Iterable[int]) -> bytes:
    """The data of an NSEC record that says which types a name has, all of them under 256 (RFC 6762, section 6.1)."""
    bits = bytearray(32)
    for type in types:
        bits[type >> 3] |= 0x80 >> (type & 7)
    bitmap = bytes(bits).rstrip(b"\0")
    return name_data(name) + bytes([0, len(bitmap)]) + bitmap


def address_data(host: str) -> bytes:
    """The data of an A or AAAA record."""
    return ipaddress.ip_address(host).packed


def read_target(record: Record) -> Name | None:
    """The name that a PTR record points at; None where its data is none."""
    try:
        return _read_name(record.data, 0)[0]
    except MdnsError:
        return None


def read_srv(record: Record) -> tuple[int, Name] | None:
    """The port and the target of an SRV record; None where its data is none."""
    if len(record.data) < 7:
        return None
    try:
        return int.from_bytes(record.data[4:6], "big"), _read_name(record.data, 6)[0]
    except MdnsError:
        return None


def read_txt(record: Record) -> dict[str, str]:
    """The keys of a TXT record, in lower case, and their values; of one that comes twice the first (RFC 6763, 6.4)."""
    found: dict[str, str] = {}
    at = 0
    while at < len(record.data):
        text = record.data[at + 1 : at + 1 + record.data[at]]
        at += 1 + record.data[at]
        name, _, value = text.partition(b"=")
        if name:
            found.setdefault(name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace"))
    return found


def read_address(record: Record) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of an A or AAAA record; None where its data has another length."""
    if record.type == A and len(record.data) == 4:
        return ipaddress.IPv4Address(record.data)
    if record.type == AAAA and len(record.data) == 16:
        return ipaddress.IPv6Address(record.data)
    return None


def _read_name(data: bytes, at: int) -> tuple[Name, int]:
    labels: list[bytes] = []
    end = 0
    total = 1
    back = at
    pointers = 0
    while at < len(data):
        length = data[at]
        if length >= 0xC0:
            if at + 1 >= len(data):
                break
            target = (length & 0x3F) << 8 | data[at + 1]
            end = end or at + 2
            pointers += 1
            if not 12 <= target < back or pointers > _MOST_POINTERS:
                raise MdnsError("a name points at itself, forward, or on and on")
            at = back = target
        elif length > 63:
            raise MdnsError("a label of a kind that nobody uses")
        elif not length:
            return tuple(labels), end or at + 1
        else:
            total += length + 1
            if total > 255 or at + 1 + length > len(data):
                break
            labels.append(data[at + 1 : at + 1 + length])
            at += 1 + length
    raise MdnsError("a name is longer than 255 bytes, or than the message")


def _counted(labels: int, name: Name) -> int:
    labels += len(name)
    if labels > _MOST_LABELS:
        raise MdnsError(f"more than {_MOST_LABELS} labels")
    return labels


def _read_data(data: bytes, type: int, at: int, end: int) -> tuple[bytes, Name]:
    """The data of a record, with the name in it written out; and that name."""
    if type not in (PTR, SRV):
        return data[at:end], ()
    begin = at + 6 if type == SRV else at
    if begin >= end:
        raise MdnsError("a record is too short for the name in it")
    name, after = _read_name(data, begin)
    if after != end:
        raise MdnsError("a record is longer or shorter than the name in it")
    return data[at:begin] + name_data(name), name


def _write_name(out: bytearray, name: Name, seen: dict[Name, int] | None) -> None:
    if sum(map(len, name)) + len(name) > 254:
        raise ValueError("a name has at most 255 bytes")
    for number, label in enumerate(name):
        rest = name[number:]
        if seen is not None:
            at = seen.get(rest)
            if at is not None:
                out += (0xC000 | at).to_bytes(2, "big")
                return
            if len(out) < _POINTERS:
                seen[rest] = len(out)
        if not 0 < len(label) < 64:
            raise ValueError(f"a label has 1 to 63 bytes, not {len(label)}")
        out.append(len(label))
        out += label
    out.append(0)
