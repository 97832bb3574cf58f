"""Bitcoin's messages for people who look on: splits a stream of v1 frames from wherever it was joined, see IInspector.

Which chain it is of shows by its magic: a capture is read without a node.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from p2pframe.errors import P2PFrameError, UnreadableStream
from p2pframe.interfaces import IInspector
from p2pframe.interfaces.inspect import InspectedMessage
from p2pframe.protocols.bitcoin.chains import CHAINS
from p2pframe.protocols.bitcoin.frame import HEADER_SIZE, V1Framing
from p2pframe.protocols.bitcoin.inspected import fields_of

JUNK = 16_384
"""Bytes that are no message, of which one entry is made: more of them make more entries."""
_MAGIC = 4


@implementer(IInspector)
class Inspector:
    """One direction. Once a message of a chain was whole, the stream is of that chain."""

    def __init__(self) -> None:
        self._framings = {chain.magic: V1Framing(chain.magic) for chain in CHAINS.values()}
        self._held = bytearray()
        self._need = HEADER_SIZE
        self._junk = ""
        """Why what is held begins with no message; empty where it does, as far as is known."""
        self._looked = 0
        """How far it was looked for the next one."""

    @property
    def held(self) -> int:
        """See `IInspector.held`."""
        return len(self._held)

    def feed(self, data: bytes) -> Sequence[InspectedMessage]:
        """See `IInspector.feed`."""
        self._held += data
        found: list[InspectedMessage] = []
        at = 0
        while len(self._held) - at >= self._need:
            # Where there is nothing to take off yet, `_need` is more than there is.
            at += self._skip(at, found) if self._junk else self._message(at, found)
        if at:
            del self._held[:at]
        return found

    def end(self) -> Sequence[InspectedMessage]:
        """See `IInspector.end`."""
        raw = bytes(self._held)
        self._held = bytearray()
        return [InspectedMessage("", raw, error=self._junk or "the stream ends within a message")] if raw else []

    def _message(self, at: int, found: list[InspectedMessage]) -> int:
        """The message at `at`: its size; 0 where it is not whole yet, or none (then `_junk` says why)."""
        held = self._held
        framing = self._framings.get(bytes(held[at : at + _MAGIC]))
        if framing is None:
            self._unreadable(f"no message begins with {held[at : at + _MAGIC].hex()}")
            return 0
        try:
            command, length, checksum = framing.header(bytes(held[at : at + HEADER_SIZE]), 0)
        except UnreadableStream as error:
            self._unreadable(str(error))
            return 0
        size = HEADER_SIZE + length
        if len(held) - at < size:
            self._need = size
            return 0
        self._need = HEADER_SIZE
        raw = bytes(held[at : at + size])
        name = "".join(chr(sign) if 33 <= sign < 127 else "?" for sign in command.rstrip(b"\0"))
        payload = raw[HEADER_SIZE:]
        if not framing.intact(payload, checksum):
            found.append(InspectedMessage(name, raw, error="its checksum is wrong"))
            return size
        self._framings = {framing.magic: framing}
        try:
            found.append(InspectedMessage(name, raw, fields_of(name, payload)))
        except P2PFrameError as error:
            found.append(InspectedMessage(name, raw, error=str(error)))
        return size

    def _unreadable(self, why: str) -> None:
        self._junk, self._looked, self._need = why, 1, 0

    def _skip(self, at: int, found: list[InspectedMessage]) -> int:
        """What is no message from `at` on: its size, up to the next magic or `JUNK`; 0 where more has to come."""
        held = self._held
        places = [held.find(magic, at + self._looked) for magic in self._framings]
        size = min((place - at for place in places if place >= 0), default=JUNK + 1)
        over = size <= JUNK
        if not over:
            if len(held) - at < JUNK + _MAGIC - 1:
                # The last bytes may be the beginning of a magic.
                self._looked = max(self._looked, len(held) - at - _MAGIC + 1)
                self._need = len(held) - at + 1
                return 0
            size = JUNK
        if size:
            found.append(InspectedMessage("", bytes(held[at : at + size]), error=self._junk))
        self._looked = 0
        self._need = 0
        if over:
            self._junk, self._need = "", HEADER_SIZE
        return size
