"""v1 framing: magic, 12 bytes of command, length, checksum, payload. Both directions.

A header is 24 bytes: 4 of the chain's magic; the command as ASCII, padded with NULs; the payload's length and the
first 4 bytes of its double SHA-256. Types are looked up by their raw 12 bytes: a padding that is not NUL is just an
unknown type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from struct import Struct
from typing import TypeVar

from p2pframe.errors import UnreadableStream
from p2pframe.framing.loop import UNREAD, Entry, Handler, IRejections

HEADER_SIZE = 24
MAX_PAYLOAD = 4_000_000
"""What Bitcoin Core takes at most (MAX_PROTOCOL_MESSAGE_LENGTH, src/net.h)."""

_KEPT = 1024
"""The longest payload, in bytes, whose frame is kept for the next peer."""
_unpack = Struct("<4s12sI4s").unpack_from

C = TypeVar("C", bound=IRejections)


def command_bytes(kind: str) -> bytes:
    """A message type as the 12 bytes of a header; ValueError where it has more, or is not printable ASCII."""
    raw = kind.encode("ascii", "replace")
    if not 0 < len(raw) <= 12 or not kind.isascii() or not kind.isprintable():
        raise ValueError(f"{kind!r} is not a message type: 1 to 12 printable ASCII characters")
    return raw.ljust(12, b"\0")


def command_table(
    handlers: Mapping[str, Handler[C]], known: Iterable[str] = (), longest: Mapping[str, int] | None = None
) -> dict[bytes, Entry[C]]:
    """A state's table for a FrameLoop: the types that it handles, and other `known` ones, which only get counted.

    `longest` has the payload lengths, in bytes, over which a handled type is not even held (`messages.LONGEST`).
    Whatever is in neither counts as unknown. Made once for a class of conversations, not for each of them.
    """
    table: dict[bytes, Entry[C]] = {command_bytes(kind): (kind, None, UNREAD) for kind in known}
    for kind, handler in handlers.items():
        table[command_bytes(kind)] = (kind, handler, (longest or {}).get(kind, MAX_PAYLOAD))
    return table


class V1Framing:
    """v1 framing on one chain: a `Framing` for loops, and the encoder. Shared by all sessions of a network."""

    __slots__ = ("_frame", "_heads", "_kind", "_payload", "_pong_head", "header_size", "magic", "max_payload")

    def __init__(self, magic: bytes, max_payload: int = MAX_PAYLOAD) -> None:
        if len(magic) != 4:
            raise ValueError(f"a magic has 4 bytes, not {len(magic)}")
        self.magic = magic
        self.header_size = HEADER_SIZE
        self.max_payload = max_payload
        # Grows only by the types that we send.
        self._heads: dict[str, bytes] = {}
        # What was framed last: an announcement goes to one peer after another.
        self._kind: str | None = None
        self._payload = self._frame = b""
        self._pong_head = magic + command_bytes("pong") + b"\x08\0\0\0"

    def header(self, data: bytes, at: int) -> tuple[bytes, int, bytes]:
        """Command, payload length and checksum of the header at `at`.

        UnreadableStream: `bad-magic` where it is another chain's, or no header at all; `oversized` where it claims
        more than a payload may have.
        """
        magic, command, length, checksum = _unpack(data, at)
        if magic != self.magic:
            raise UnreadableStream("bad-magic", f"{magic.hex()} where {self.magic.hex()} starts every message")
        if length > self.max_payload:
            raise UnreadableStream("oversized", f"a header claims {length} bytes, over {self.max_payload}")
        return command, length, checksum

    def intact(self, payload: bytes, checksum: bytes) -> bool:
        """True where `checksum` is that of `payload`."""
        return sha256(sha256(payload).digest()).digest()[:4] == checksum

    def frame(self, kind: str, payload: bytes = b"") -> bytes:
        """A message ready to send. ValueError for a type that has no 12 bytes, or a payload that peers would refuse."""
        if payload == self._payload and kind == self._kind:
            return self._frame
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = self.magic + command_bytes(kind)
        length = len(payload)
        if length > MAX_PAYLOAD:
            raise ValueError(f"a {kind} of {length} bytes: peers hang up on more than {MAX_PAYLOAD}")
        check = sha256(sha256(payload).digest()).digest()[:4]
        framed = head + length.to_bytes(4, "little") + check + payload
        if length <= _KEPT:
            self._kind, self._payload, self._frame = kind, payload, framed
        return framed

    def pong(self, nonce: bytes) -> bytes:
        """The pong that answers a ping, by the 8 bytes of its nonce: most of what an open session sends."""
        return self._pong_head + sha256(sha256(nonce).digest()).digest()[:4] + nonce


def frame(magic: bytes, kind: str, payload: bytes = b"") -> bytes:
    """A single message on the chain of `magic`: for tools and tests; a session keeps its `V1Framing`."""
    return V1Framing(magic).frame(kind, payload)
