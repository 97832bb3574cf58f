"""The format of captures: what one session sent and received, as it stood on the stream. Opens no file.

    "p2pcap1\n"                            8 bytes
    one line of JSON, ended by "\n"        network, address, transport, protocol, agent, began (unix seconds), slot
                                           (`inbound`: the peer dialled), heard (messages of the peer before it began),
                                           part (a full file goes on in a next one, with the same `began`: of a later
                                           one `heard` counts the peer's reads before it too)
    records                                microseconds since `began` u64 | way u8 (0 in, 1 out) | length u32 | bytes

Integers are big-endian. A file may end within a record, where the disk was full or the node was killed: what is whole
before that is good. The bytes are those of the protocol, after decryption.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import BinaryIO, NamedTuple

from p2pframe.errors import P2PFrameError

MAGIC = b"p2pcap1\n"
LONGEST_HEAD = 10_000
LONGEST = 64 * 1024 * 1024
"""Bytes of one record: no transport hands over as much at once."""
_PIECE = 1024 * 1024
_RECORD = struct.Struct(">QBI")
_WAYS = ("in", "out")


class CaptureError(P2PFrameError):
    """A file that is no capture, or no further from a point on."""


class Record(NamedTuple):
    """What went one way (`in` or `out`) at once; `seconds` since the capture began."""

    seconds: float
    way: str
    data: bytes


def encode_head(head: Mapping[str, str | float]) -> bytes:
    """What a file begins with."""
    return MAGIC + json.dumps(dict(head)).encode() + b"\n"


def encode_record(record: Record) -> bytes:
    """One record."""
    return _RECORD.pack(round(record.seconds * 1e6), _WAYS.index(record.way), len(record.data)) + record.data


class Records(Iterator[Record]):
    """The records of a file, one at a time. Raises `CaptureError` where one is malformed."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file = file
        self._at = at
        self.cut = 0
        """At the end: bytes of a record that is not whole."""

    def __next__(self) -> Record:
        """See Iterator."""
        head = self._file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            self.cut = self.cut or len(head)
            raise StopIteration
        micro, way, length = _RECORD.unpack(head)
        if way >= len(_WAYS) or length > LONGEST:
            raise CaptureError(f"the record at byte {self._at} is malformed")
        parts: list[bytes] = []
        missing = length
        # In pieces: the length is a number in a file, and nothing is allocated by that.
        while missing and (part := self._file.read(min(missing, _PIECE))):
            parts.append(part)
            missing -= len(part)
        if missing:
            self.cut = _RECORD.size + length - missing
            raise StopIteration
        self._at += _RECORD.size + length
        return Record(micro / 1e6, _WAYS[way], b"".join(parts))


def read(file: BinaryIO) -> tuple[dict[str, object], Records]:
    """The head and the records of an open file, of which a record at a time is in memory.

    Raises `CaptureError`; so does the iterator, where a record is malformed.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise CaptureError("this is no capture: it does not begin with p2pcap1")
    line = file.readline(LONGEST_HEAD)
    if not line.endswith(b"\n"):
        raise CaptureError("the head of the capture has no end")
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise CaptureError("the head of the capture is no JSON object")
    return head, Records(file, len(MAGIC) + len(line))


def decode(data: bytes) -> tuple[dict[str, object], Records]:
    """`read`, of bytes in memory."""
    return read(BytesIO(data))
