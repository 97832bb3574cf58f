"""The wire form of DNS as a server of one zone needs it: questions in, answers out (RFC 1035, 6891). No I/O.

A parser of its own: it reads one question without compression and skips one OPT record, looks at each byte at most
once, and so cannot be sent round in circles by pointers.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

A, NS, SOA, HINFO, TXT, AAAA, SRV, OPT, IXFR, AXFR, ANY = 1, 2, 6, 13, 16, 28, 33, 41, 251, 252, 255
IN = 1
NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 3, 4, 5, 16
PLAIN_UDP = 512
"""Bytes of an answer over UDP to who has no EDNS0 (RFC 1035, section 4.2.1)."""
LARGEST_UDP = 1232
"""Bytes of an answer over UDP at the most: it fits a packet on any path (DNS flag day 2020), so is never fragmented."""
LARGEST_TCP = 16_384
"""Pointers of compressed names reach no further, and no answer of ours is that long."""

_HEADER = struct.Struct("!6H")
_PAIR = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_QR, _AA, _TC, _RD = 0x8000, 0x0400, 0x0200, 0x0100
_OPCODE = 0x7800


class Malformed(Exception):
    """A query that has no answer but an error: `code` is the response code, `id` and `flags` are of the query."""

    def __init__(self, id: int, flags: int, code: int) -> None:
        super().__init__(f"code {code}")
        self.id = id
        self.flags = flags
        self.code = code


class Query:
    """One question. `name` is lower case, labels from the left; `edns` the asker's UDP size, None without EDNS0."""

    __slots__ = ("cls", "edns", "flags", "id", "name", "question", "size", "type", "version")

    def __init__(self, id: int, flags: int, name: tuple[bytes, ...], type: int, cls: int, question: bytes) -> None:
        self.id = id
        self.flags = flags
        self.name = name
        self.type = type
        self.cls = cls
        self.question = question
        """As it came: resolvers check that the case of the letters comes back (draft-vixie-dnsext-dns0x20)."""
        self.edns: int | None = None
        self.version = 0
        self.size = 0

    @property
    def room(self) -> int:
        """Bytes that an answer over UDP may have."""
        return PLAIN_UDP if self.edns is None else max(PLAIN_UDP, min(self.edns, LARGEST_UDP))


class Record:
    """A record of an answer: its owner, its type, its life in seconds and its data; no names in it are compressed."""

    __slots__ = ("data", "owner", "ttl", "type")

    def __init__(self, owner: tuple[bytes, ...], type: int, ttl: int, data: bytes) -> None:
        self.owner = owner
        self.type = type
        self.ttl = ttl
        self.data = data


def parse_query(data: bytes) -> Query | None:
    """The question of a message; None for what must not be answered (an answer, or too short to be anything).

    Raises `Malformed` for what is answered by an error.
    """
    if len(data) < 12:
        return None
    id, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & _QR:
        # Two servers must not answer each other's answers for ever.
        return None
    if flags & _OPCODE:
        raise Malformed(id, flags, NOTIMP)
    if questions != 1 or answers or additional > 4:
        raise Malformed(id, flags, FORMERR)
    try:
        name, end = _read_name(data, 12)
        type, cls = _PAIR.unpack_from(data, end)
    except (ValueError, struct.error):
        raise Malformed(id, flags, FORMERR) from None
    query = Query(id, flags, name, type, cls, data[12 : end + 4])
    query.size = len(data)
    if authorities:
        # IXFR brings a record there (RFC 1995): refused by its type before anyone looks at it.
        if type != IXFR:
            raise Malformed(id, flags, FORMERR)
        return query
    _read_additional(query, data, end + 4, additional)
    return query


def _read_name(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    labels: list[bytes] = []
    begin = at
    while at < len(data):
        length = data[at]
        at += 1
        if not length:
            return tuple(labels), at
        if length > 63 or at + length > len(data) or at + length - begin > 254:
            break
        labels.append(data[at : at + length].lower())
        at += length
    raise ValueError("no name")


def _read_additional(query: Query, data: bytes, at: int, count: int) -> None:
    try:
        for _ in range(count):
            # An OPT record's owner is the root; any other record there (TSIG, SIG(0)) is skipped with its whole name.
            _, at = _read_name(data, at)
            type, cls, ttl, length = _RECORD.unpack_from(data, at)
            at += 10 + length
            if at > len(data):
                raise ValueError("cut short")
            if type == OPT:
                if query.edns is not None:
                    raise ValueError("two of them")
                query.edns, query.version = cls, ttl >> 16 & 0xFF
    except (ValueError, struct.error):
        raise Malformed(query.id, query.flags, FORMERR) from None
    if at != len(data):
        raise Malformed(query.id, query.flags, FORMERR)


def error(malformed: Malformed) -> bytes:
    """An answer of a header alone."""
    flags = _QR | malformed.flags & (_OPCODE | _RD) | malformed.code
    return _HEADER.pack(malformed.id, flags, 0, 0, 0, 0)


def encode_name(labels: Sequence[bytes]) -> bytes:
    """A name without compression."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def truncated(query: Query, code: int = NOERROR) -> bytes:
    """What says that there is more over TCP; never longer than the query."""
    return _whole(query, _QR | _AA | _TC | query.flags & _RD, code, (), (), (), PLAIN_UDP)


def answer(
    query: Query,
    room: int,
    *,
    code: int = NOERROR,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    authoritative: bool = True,
) -> bytes:
    """An answer of at most `room` bytes.

    Additional records that don't fit are left out (RFC 2181, section 9); where answers don't, it is truncated.
    """
    flags = _QR | (_AA if authoritative else 0) | query.flags & _RD
    whole = _whole(query, flags, code, answers, authority, additional, room)
    if len(whole) > room and additional:
        whole = _whole(query, flags, code, answers, authority, (), room)
    return whole if len(whole) <= room else truncated(query, code)


def _whole(
    query: Query,
    flags: int,
    code: int,
    answers: Sequence[Record],
    authority: Sequence[Record],
    additional: Sequence[Record],
    room: int,
) -> bytes:
    opt = b""
    if query.edns is not None:
        opt = b"\0" + _RECORD.pack(OPT, LARGEST_UDP, code >> 4 << 24, 0)
    head = _HEADER.pack(
        query.id, flags | code & 0xF, 1, len(answers), len(authority), len(additional) + bool(opt)
    )  # fmt: skip
    parts = [head, query.question]
    known: dict[tuple[bytes, ...], int] = {}
    at = 12
    for start, label in enumerate(query.name):
        known[query.name[start:]] = at
        at += 1 + len(label)
    size = len(head) + len(query.question) + len(opt)
    for record in (*answers, *authority, *additional):
        place = known.get(record.owner)
        owner = encode_name(record.owner) if place is None else (0xC000 | place).to_bytes(2, "big")
        part = owner + _RECORD.pack(record.type, IN, record.ttl, len(record.data)) + record.data
        parts.append(part)
        size += len(part)
        if size > room:
            break
    return b"".join(parts) + opt


def address_data(host: str) -> bytes:
    """The data of an A or AAAA record."""
    return ipaddress.ip_address(host).packed


def text_data(text: bytes) -> bytes:
    """The data of a TXT record of one string of at most 255 bytes."""
    return bytes([len(text)]) + text


def soa_data(nameserver: Sequence[bytes], contact: Sequence[bytes], serial: int, negative: int) -> bytes:
    """The data of an SOA record; `negative` is how long, in seconds, "there is none" may be kept (RFC 2308)."""
    names = encode_name(nameserver) + encode_name(contact)
    return names + struct.pack("!5I", serial & 0xFFFFFFFF, 3600, 600, 86_400, negative)


def srv_data(priority: int, weight: int, port: int, target: Sequence[bytes]) -> bytes:
    """The data of an SRV record (RFC 2782)."""
    return struct.pack("!3H", priority, weight, port) + encode_name(target)


HINFO_RFC8482 = b"\x07RFC8482\x00"
"""What stands for everything that ANY asks for (RFC 8482, section 4.2)."""
