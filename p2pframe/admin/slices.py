"""Work of many pieces, done over turns of the reactor, so that it holds it for no longer than a slice at a time."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

SLICE = 0.004
"""Seconds of one turn of the reactor that one piece of work may take."""


class Slices:
    """What one piece of work takes of the reactor, from now on. Whoever does it looks often whether it is `over`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._start = clock.seconds()
        self._before = 0.0

    @property
    def over(self) -> bool:
        """Whether the slice of this turn is used up: then `next_turn` is due."""
        return self._clock.seconds() - self._start > SLICE

    @property
    def cost(self) -> float:
        """Seconds that were taken in all turns so far."""
        return self._before + self._clock.seconds() - self._start

    async def next_turn(self) -> None:
        """Let others have theirs. Who is cancelled meanwhile leaves no call behind."""
        self._before = self.cost
        await _next_turn(self._clock)
        self._start = self._clock.seconds()


def _next_turn(clock: IReactorTime) -> Awaitable[None]:
    turn: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(0, turn.callback, None)
    return turn
