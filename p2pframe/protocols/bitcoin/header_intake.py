"""HeaderIntake: what a peer's headers messages lead to: held, asked for again in two passes, ignored, or an offence.

One for each session, without I/O: it says which locator to ask with; sending, and not asking too often, is the
caller's. The order is Bitcoin Core's (`ProcessHeadersMessage` in `src/net_processing.cpp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from p2pframe.interfaces.context import Entropy
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, header_hash
from p2pframe.protocols.bitcoin.header_index import AddResult, HeaderIndex
from p2pframe.protocols.bitcoin.headers import MAXIMUM_HEADERS, check_headers, claimed_work
from p2pframe.protocols.bitcoin.presync import HeadersPresync


class IntakeStep(NamedTuple):
    """What headers led to.

    What was held (None: nothing), the locator to send getheaders with (empty: ask nothing), and a word for the log and
    counters where nothing was held (`does-not-connect`, `too-little-work`, `presync`, a presync's failure).
    """

    added: AddResult | None = None
    ask: Sequence[bytes] = ()
    note: str = ""


class HeaderIntake:
    """A peer's headers, one message after another. `presync` is the two passes under way, or None."""

    __slots__ = ("_entropy", "_index", "presync")

    def __init__(self, index: HeaderIndex, entropy: Entropy) -> None:
        self._index = index
        self._entropy = entropy
        self.presync: HeadersPresync | None = None

    def receive(self, headers: bytes | Sequence[bytes], now: float) -> IntakeStep:
        """Headers (80 bytes each) of one message; `now` is unix time in seconds.

        Raises `HeaderError`: where its `offence` is True the session closes (bad proof of work, not continuous, a
        broken rule); where it is False (a time too far ahead, a full index) nothing was held, and nobody is to blame.
        """
        raw = headers if isinstance(headers, bytes) else b"".join(headers)
        full = len(raw) >= MAXIMUM_HEADERS * HEADER_SIZE
        if self.presync is not None:
            step = self._go_on(self.presync, raw, full, now)
            if step is not None:
                return step
        if not raw:
            return IntakeStep()
        index = self._index
        if raw[4:36] not in index:
            check_headers(index.chain, raw)
            return IntakeStep(ask=index.locator(), note="does-not-connect")
        missing = index.work_wanted - index.work_of(raw[4:36])
        if missing > 0 and claimed_work(raw) < missing and header_hash(raw[-HEADER_SIZE:]) not in index:
            return self._too_little(raw, full, now)
        added = index.add_headers(raw, now)
        return IntakeStep(added, index.locator(added.last) if full else ())

    def _too_little(self, raw: bytes, full: bool, now: float) -> IntakeStep:
        """Not enough work by what the headers claim. A full message may be the start of more: presync finds out."""
        if not full:
            check_headers(self._index.chain, raw)
            return IntakeStep(note="too-little-work")
        index, start = self._index, raw[4:36]
        context = index.context_of(start)
        presync = HeadersPresync(index.chain, context, index.locator(start), index.work_wanted, now, self._entropy)
        step = presync.feed(raw, full)
        if not step.more:
            return IntakeStep(note=step.failure)
        self.presync = presync
        return IntakeStep(ask=presync.locator(), note="presync")

    def _go_on(self, presync: HeadersPresync, raw: bytes, full: bool, now: float) -> IntakeStep | None:
        """Feed the presync; None where the message was not part of it, and is to be taken like any other."""
        self.presync = None
        step = presync.feed(raw, full)
        if step.failure == "does-not-follow":
            return None
        added = self._index.add_headers(step.released, now, work_proven=True) if step.released else None
        if step.more:
            self.presync = presync
            return IntakeStep(added, presync.locator(), "presync")
        if added is not None and full and not step.failure:
            return IntakeStep(added, self._index.locator(added.last))
        return IntakeStep(added, note=step.failure)
