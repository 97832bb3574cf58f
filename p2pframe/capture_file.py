"""The format of captures: what one session sent and received, as it stood on the stream. No I/O.

    "p2pcap1\n"                            8 bytes
    one line of JSON, ended by "\n"        node, network, address, transport, protocol, began (unix seconds)
    records                                microseconds since `began` u64 | way u8 (0 in, 1 out) | length u32 | bytes

Integers are big-endian. A file may end within a record, where the disk was full or the node was killed: what is whole
before that is good. The bytes are those of the protocol, after decryption.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from p2pframe.errors import P2PFrameError

MAGIC = b"p2pcap1\n"
LONGEST_HEAD = 10_000
LONGEST = 64 * 1024 * 1024
"""Bytes of one record: no transport hands over as much at once."""
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


def decode(data: bytes) -> tuple[dict[str, object], Iterator[Record]]:
    """The head and the records of a file. Raises `CaptureError`; the iterator does where a record is malformed."""
    if not data.startswith(MAGIC):
        raise CaptureError("this is no capture: it does not begin with p2pcap1")
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + LONGEST_HEAD)
    if end < 0:
        raise CaptureError("the head of the capture has no end")
    try:
        head = json.loads(data[len(MAGIC) : end])
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise CaptureError("the head of the capture is no JSON object")
    return head, _records(data, end + 1)


def _records(data: bytes, at: int) -> Iterator[Record]:
    while at + _RECORD.size <= len(data):
        micro, way, length = _RECORD.unpack_from(data, at)
        if way >= len(_WAYS) or length > LONGEST:
            raise CaptureError(f"the record at byte {at} is malformed")
        at += _RECORD.size
        if at + length > len(data):
            return
        yield Record(micro / 1e6, _WAYS[way], data[at : at + length])
        at += length
