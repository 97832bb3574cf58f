"""Headers presync: a chain is fetched twice before any of it is stored, unless its work is known to suffice.

The attack: on a fresh node, headers of the least difficulty cost nothing to make, and storing them costs memory for
good. So (as in Bitcoin Core's `src/headerssync.h`, since there is no BIP) a first pass keeps one salted bit for each
`commitment_period` headers and adds up the work. Once that suffices, a second pass fetches the same headers again and
checks them against the bits; a header is released only with a buffer full of checked ones on top of it. A peer that
shows the real chain first and another one the second time would have to guess about 24 bits.

Memory for one peer, on mainnet: at most 0.75 MB of buffer (15,218 headers of 48 bytes) and one bit for each 641 headers
that could exist by the clock (six a second, the most that the median time allows): 0.7 MB for a chain from 2009 to
2026, of 0.5 GB of headers that the peer had to mine and send.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from p2pframe.interfaces.context import Entropy
from p2pframe.protocols.bitcoin.chains import MAXIMUM_FUTURE, Chain
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, header_hash
from p2pframe.protocols.bitcoin.headers import (
    HeaderContext,
    check_headers,
    median_time,
    permitted_transition,
    work_of_bits,
)

HEADERS_A_SECOND = 6
"""The fastest that a chain can grow for good: a time must be above the median of eleven, in whole seconds."""
_BITS = Struct("<72xI4x")
_KEPT = HEADER_SIZE - 32
"""A buffered header without the hash that it follows, which is the hash of the one before."""


class Phase(Enum):
    """How far a presync has come."""

    PRESYNC = "presync"
    REDOWNLOAD = "redownload"
    DONE = "done"


class PresyncStep(NamedTuple):
    """What a message of headers led to.

    `released` are headers (80 bytes each) whose chain has the work: hold them. `more`: ask for headers after
    `locator()`. `failure` says in a word why this presync ended without result ("" while it has not): no offence, the
    peer is only of no use. Without `more` the presync is over.
    """

    released: bytes = b""
    more: bool = False
    failure: str = ""


class HeadersPresync:
    """The two passes with one peer.

    `start` is the context of the known header that the peer's chain goes on from, `start_locator` the index's locator
    for it, `now` unix time in seconds. Salt and offset are secrets, so they are entropy's.
    """

    __slots__ = (
        "_buffer", "_buffer_previous", "_chain", "_checked", "_commitments", "_committed", "_height", "_last",
        "_last_bits", "_maximum", "_minimum", "_offset", "_proven", "_salt", "_start", "_start_locator", "_work",
        "phase",
    )  # fmt: skip

    def __init__(
        self,
        chain: Chain,
        start: HeaderContext,
        start_locator: Sequence[bytes],
        minimum_work: int,
        now: float,
        entropy: Entropy,
    ) -> None:
        self.phase = Phase.PRESYNC
        self._chain = chain
        self._start = start
        self._start_locator = start_locator
        self._minimum = minimum_work
        self._salt = entropy.bytes(16)
        self._offset = entropy.integer(64) % chain.commitment_period
        seconds = max(0, int(now) - median_time(start.times) + MAXIMUM_FUTURE)
        self._maximum = HEADERS_A_SECOND * seconds // chain.commitment_period
        self._commitments = bytearray()
        self._committed = 0
        self._checked = 0
        self._buffer = bytearray()
        self._buffer_previous = start.hash
        self._proven = False
        self._begin()

    def _begin(self) -> None:
        """Both passes start after the same header."""
        self._last = self._start.hash
        self._last_bits = self._start.bits
        self._height = self._start.height
        self._work = self._start.work

    @property
    def height(self) -> int:
        """The height reached in this pass."""
        return self._height

    @property
    def work(self) -> int:
        """The work of the chain so far, in this pass."""
        return self._work

    @property
    def memory(self) -> int:
        """Bytes kept for this peer."""
        return len(self._commitments) + len(self._buffer)

    def locator(self) -> list[bytes]:
        """What the next getheaders asks for headers after."""
        return [self._last, *self._start_locator]

    def feed(self, headers: bytes, full: bool) -> PresyncStep:
        """The peer's next headers (80 bytes each).

        `full` where the message held as many as one can, so that more may follow.

        Raises `NotContinuous` or `BadProofOfWork` for what no honest peer sends; this presync is over then.
        """
        if self.phase is Phase.DONE or not headers:
            return self._end("no-headers")
        if headers[4:36] != self._last:
            # It may have changed its best chain meanwhile: no offence.
            return self._end("does-not-follow")
        try:
            hashes = check_headers(self._chain, headers)
        except Exception:
            self._end("")
            raise
        return (
            self._commit(headers, hashes, full) if self.phase is Phase.PRESYNC else self._check(headers, hashes, full)
        )

    def _commit(self, headers: bytes, hashes: list[bytes], full: bool) -> PresyncStep:
        """First pass: a bit now and then, and the sum of the work."""
        period, offset = self._chain.commitment_period, self._offset
        for (bits,), hash in zip(_BITS.iter_unpack(headers), hashes, strict=True):
            if not self._advance(bits):
                return self._end("difficulty-jump")
            if self._height % period == offset:
                if self._committed >= self._maximum:
                    return self._end("too-long")
                self._keep(self._bit(hash))
        self._last = hashes[-1]
        if self._work >= self._minimum:
            self.phase = Phase.REDOWNLOAD
            self._begin()
            return PresyncStep(more=True)
        return PresyncStep(more=True) if full else self._end("too-little-work")

    def _check(self, headers: bytes, hashes: list[bytes], full: bool) -> PresyncStep:
        """Second pass: the same bits again, and a lookahead before anything is released."""
        period, offset = self._chain.commitment_period, self._offset
        for number, ((bits,), hash) in enumerate(zip(_BITS.iter_unpack(headers), hashes, strict=True)):
            if not self._advance(bits):
                return self._end("difficulty-jump")
            # From there on the chain may be longer than it was in the first pass: there are no bits for that.
            self._proven = self._proven or self._work >= self._minimum
            if not self._proven and self._height % period == offset:
                if self._checked >= self._committed:
                    return self._end("commitment-overrun")
                if self._bit(hash) != self._commitments[self._checked >> 3] >> (self._checked & 7) & 1:
                    return self._end("commitment-mismatch")
                self._checked += 1
            at = number * HEADER_SIZE
            self._buffer += headers[at : at + 4]
            self._buffer += headers[at + 36 : at + HEADER_SIZE]
        self._last = hashes[-1]
        released = self._release(0 if self._proven else self._chain.redownload_buffer)
        if self._proven:
            self._end("")
            return PresyncStep(released)
        if not full:
            return PresyncStep(released, failure=self._end("chain-withdrawn").failure)
        return PresyncStep(released, more=True)

    def _advance(self, bits: int) -> bool:
        """One header on; False where its difficulty can't follow.

        Without that check, all the work could be claimed in a few headers that a lucky attacker mines.
        """
        self._height += 1
        if not permitted_transition(self._chain, self._height, self._last_bits, bits):
            return False
        self._last_bits = bits
        self._work += work_of_bits(bits)
        return True

    def _bit(self, hash: bytes) -> int:
        return blake2b(hash, digest_size=1, key=self._salt).digest()[0] & 1

    def _keep(self, bit: int) -> None:
        if not self._committed & 7:
            self._commitments.append(0)
        self._commitments[-1] |= bit << (self._committed & 7)
        self._committed += 1

    def _release(self, lookahead: int) -> bytes:
        """The headers that have more than `lookahead` on top of them, whole again."""
        count = len(self._buffer) // _KEPT - lookahead
        if count <= 0:
            return b""
        released, previous = bytearray(), self._buffer_previous
        for at in range(0, count * _KEPT, _KEPT):
            kept = bytes(self._buffer[at : at + _KEPT])
            header = kept[:4] + previous + kept[4:]
            previous = header_hash(header)
            released += header
        del self._buffer[: count * _KEPT]
        self._buffer_previous = previous
        return bytes(released)

    def _end(self, failure: str) -> PresyncStep:
        """Over: nothing is kept, and the salt is never used for another chain."""
        self.phase = Phase.DONE
        self._commitments = bytearray()
        self._buffer = bytearray()
        return PresyncStep(failure=failure)
