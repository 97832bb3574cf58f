"""The lines about peers that come and go.

Each one that we chose, and of those who chose us a few an hour and how many more.

Whoever connects, shakes hands and leaves writes two lines each time; a million times would fill a disk. The events and
counters have all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from p2pframe.core.limits import TokenBucket
from p2pframe.model import SessionId, Slot

if TYPE_CHECKING:
    from p2pframe.core.session import Session

BURST = 100
"""Inbound sessions that are told of at once."""
EVERY = 30.0
"""Seconds for each one more in the long run."""
SUMMARY = 60.0
"""Seconds between two lines about those that were left out."""


class SessionLog:
    """The log of the sessions of one network. Times are seconds of the reactor's clock."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._bucket = TokenBucket(1.0 / EVERY, BURST)
        self._told: dict[SessionId, None] = {}
        self._opened = 0
        self._ended = 0
        self._since = 0.0

    def opened(self, session: Session, now: float) -> None:
        """A session has opened."""
        if session.inbound and not self._bucket.take(1, now):
            self._left_out(now)
            self._opened += 1
            return
        self._told[session.id] = None
        self._log.info(
            "peer {peer} {agent} ({slot}, session {session})",
            peer=str(session.address), agent=session.handshake.agent if session.handshake else "",
            slot=session.slot.value, session=session.id,
        )  # fmt: skip

    def ended(self, session: Session, now: float) -> None:
        """An open session has ended: said of those whose beginning was."""
        if session.id not in self._told:
            self._left_out(now)
            self._ended += 1
            return
        del self._told[session.id]
        if session.slot is not Slot.FEELER:
            why = ": ".join(filter(None, (session.close_reason, session.close_evidence)))
            self._log.info(
                "peer {peer} dropped: {why} (session {session})", peer=str(session.address), why=why, session=session.id
            )

    def flush(self, now: float, everything: bool = False) -> None:
        """Say how many were left out; called with every tick, and at stop with `everything`."""
        if (self._opened or self._ended) and (everything or now - self._since >= SUMMARY):
            self._log.info(
                "{opened} more peers dialled us and {ended} of such left in {seconds} s; lines suppressed: "
                "{suppressed}",
                opened=self._opened, ended=self._ended, seconds=round(now - self._since),
                suppressed=self._opened + self._ended,
            )  # fmt: skip
            self._opened = self._ended = 0

    def _left_out(self, now: float) -> None:
        if not self._opened and not self._ended:
            self._since = now
