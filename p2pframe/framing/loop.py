"""FrameLoop: from the bytes of a session to calls of handlers, one charge a message, one write a read.

The loop keeps what is missing of one frame and nothing else. It allocates by what has arrived, never by what a header
claims; an idle loop holds no buffer. Any segmentation of the same bytes gives the same calls in the same order.

A state of a conversation is a table: a dict from a type as it stands in the header to the type's name and its handler.
Handlers are plain functions that take the conversation and the payload, so that ten thousand sessions share one table;
changing the state is assigning `loop.table`, and a message costs one look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeVar

from p2pframe.errors import UnreadableStream
from p2pframe.framing.errors import MalformedMessage, TooMany
from p2pframe.interfaces.session import ISession

K = TypeVar("K", bound=Hashable)
"""A message type as the frame's header carries it: raw bytes or a number, whatever needs no decoding."""
K_co = TypeVar("K_co", bound=Hashable, covariant=True)
C = TypeVar("C", bound="IRejections")

Handler = Callable[[C, bytes], None]
Entry = tuple[str, Handler[C] | None, int]
"""What a message type is called, who handles it, and the longest payload in bytes that is worth holding for it.

The name is for counters and charges; a handler of None lets the message pass unread in this state; a longer payload is
let go as it arrives.
"""
Table = Mapping[K, Entry[C]]

UNKNOWN = "*"
"""The name under which all types count that a table does not have."""
UNREAD = 65_536
"""The longest payload of a type without a handler that is held to see whether it is intact."""
_UNKNOWN_ENTRY: tuple[str, None, int] = (UNKNOWN, None, UNREAD)
# A paused session's transport may still deliver reads that were under way: TCP one of 64 KiB, TLS a few.
_LATE_READS = 262_144


class IRejections(Protocol):
    """What a conversation is told of messages that did not reach, or did not please, a handler.

    Each may close the session or stop the loop, as a handler may.
    """

    def corrupt(self, kind: str, length: int) -> None:
        """A message failed its checksum and is dropped; `length` is the payload's, in bytes."""

    def malformed(self, kind: str, error: MalformedMessage) -> None:
        """A payload is not decodable, or longer than its type can be; the message is dropped, the stream goes on."""

    def excessive(self, kind: str, error: TooMany) -> None:
        """A payload had more entries than allowed. The loop has stopped: the conversation closes its session."""


class Framing(Protocol[K_co]):
    """How one protocol marks messages. Shared by all sessions of a network: it keeps no state of a stream."""

    header_size: int
    """Bytes of the header, which come before every payload."""
    max_payload: int
    """The longest payload in bytes; `header` raises for more."""

    def header(self, data: bytes, at: int) -> tuple[K_co, int, bytes]:
        """The message type, payload length and checksum of the header at `at`; UnreadableStream where there is none."""

    def intact(self, payload: bytes, checksum: bytes) -> bool:
        """True where the payload is what its header says."""


class FrameLoop(Generic[K, C]):
    """The reading half of a conversation, and the collector of its replies.

    `table` is the state (see the module). Handlers answer by `send`, or by appending to `out` while they run: what one
    read produced is written once. A handler may call `stop`, swap `table`, close the session, even cause `receive`.
    """

    __slots__ = (
        "_at", "_charged", "_conversation", "_framing", "_need", "_paused", "_pending", "_running", "_session",
        "_skip", "_stopped", "out", "table",
    )  # fmt: skip

    def __init__(self, session: ISession, framing: Framing[K], conversation: C, table: Table[K, C]) -> None:
        self._session = session
        self._framing = framing
        self._conversation = conversation
        self.table = table
        self.out: list[bytes] = []
        # What was received and not handled; it starts at _at. None when there is nothing: the idle case.
        self._pending: bytes | bytearray | None = None
        self._at = 0
        self._need = 0
        # Bytes to come of a payload that is not held.
        self._skip = 0
        self._charged = False
        self._paused = False
        self._running = False
        self._stopped = False

    @property
    def buffered(self) -> int:
        """How many received bytes wait for the rest of their message, or for the budget."""
        return len(self._pending) - self._at if self._pending is not None else 0

    @property
    def paused(self) -> bool:
        """True between a charge that was refused and `resume`."""
        return self._paused

    @property
    def stopped(self) -> bool:
        return self._stopped

    def send(self, data: bytes) -> None:
        """Send to the peer: with the replies of the current read inside a handler, at once outside of one."""
        if self._running:
            self.out.append(data)
        else:
            self._session.write(data)

    def stop(self) -> None:
        """Handle nothing more, and let go of what is buffered. Replies that were collected are still written."""
        self._stopped = True
        self._pending = None
        self._at = 0
        self._skip = 0

    def receive(self, data: bytes) -> None:
        """Take what was read, in any segmentation. Raises UnreadableStream, and stops, where it can't be split."""
        if self._stopped:
            return
        pending = self._pending
        if pending is None and not self._running:
            skip = self._skip
            if skip >= len(data):
                self._skip = skip - len(data)
                return
            self._skip = 0
            self._run(data, skip)
            return
        if pending is None:
            pending = self._pending = bytearray()
        elif not isinstance(pending, bytearray):
            pending = self._pending = bytearray(memoryview(pending)[self._at :])
            self._at = 0
        pending += data
        if self._paused or self._running:
            if len(pending) > self._framing.header_size + self._framing.max_payload + _LATE_READS:
                self.stop()
                raise UnreadableStream("flood", "more was received than the session was asked to read")
            return
        if len(pending) >= self._need:
            self._pending = None
            self._run(bytes(pending), 0)

    def resume(self) -> None:
        """Go on after a refused charge; the message that was refused has been charged and is not charged again."""
        pending, at = self._pending, self._at
        if pending is None or self._running or not self._paused:
            return
        self._paused = False
        self._pending = None
        self._at = 0
        self._run(pending if isinstance(pending, bytes) else bytes(pending), at)

    def _run(self, data: bytes, at: int) -> None:
        self._running = True
        try:
            self._parse(data, at)
            # More than one turn only where a handler caused bytes to arrive.
            while (pending := self._pending) is not None and not self._paused and len(pending) >= self._need:
                self._pending = None
                self._parse(bytes(pending), 0)
        except BaseException:
            self.stop()
            raise
        finally:
            self._running = False
            if self.out:
                out, self.out = self.out, []
                self._session.write(out[0] if len(out) == 1 else b"".join(out))

    def _parse(self, data: bytes, at: int) -> None:
        """Handle all whole messages in `data` from `at` on, and keep the rest."""
        session, framing, conversation = self._session, self._framing, self._conversation
        charge, header, intact = session.charge, framing.header, framing.intact
        header_size = need = framing.header_size
        charged = self._charged
        end = len(data)
        while end - at >= header_size:
            key, length, checksum = header(data, at)
            kind, handler, longest = self.table.get(key, _UNKNOWN_ENTRY)
            if not charged and not charge(kind, header_size + length):
                self._charged = True
                if self._stopped or session.closing:
                    self.stop()
                    return
                self._paused = True
                self._keep(data, at, header_size)
                return
            start = at + header_size
            if length > longest:
                charged = self._charged = False
                at = start + length
                if handler is not None:
                    what = f"{length} bytes where at most {longest} are of use"
                    conversation.malformed(kind, MalformedMessage(what, kind))
                if self._stopped or session.closing:
                    self.stop()
                    return
                continue
            if end - start < length:
                self._charged = True
                self._keep(data, at, header_size + length)
                return
            charged = self._charged = False
            at = start + length
            payload = data[start:at]
            if not intact(payload, checksum):
                conversation.corrupt(kind, length)
            elif handler is not None:
                try:
                    handler(conversation, payload)
                except MalformedMessage as error:
                    conversation.malformed(kind, error)
                except TooMany as error:
                    self.stop()
                    conversation.excessive(kind, error)
            if self._stopped or session.closing:
                self.stop()
                return
        if at == end and self._pending is None:
            # Nothing is left over: nearly always so.
            self._need = need
            return
        self._keep(data, at, need)

    def _keep(self, data: bytes, at: int, need: int) -> None:
        """Hold what follows `at` until `need` bytes of it are there; in front of what has arrived meanwhile."""
        self._need = need
        late = self._pending
        if at > len(data):
            self._skip = at - len(data)
            at = len(data)
            if late is not None:
                cut = min(self._skip, len(late))
                self._skip -= cut
                late = late[cut:] or None
                self._pending = None
        if late is None and self._paused:
            # All of it may be whole messages: resume goes on at the offset, so that no refill of the budget copies
            # them.
            self._pending, self._at = data, at
        elif late is not None or at < len(data):
            self._pending = bytearray(memoryview(data)[at:])
            self._at = 0
            if late is not None:
                self._pending += late
