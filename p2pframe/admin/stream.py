"""What comes, to whoever listens, as it comes: server-sent events (HTML standard, 9.2), bounded, resumed.

A stream is of a `Source`: the node's events, or the lines of its log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.http import Request

from p2pframe.admin.routes import Call, Problem
from p2pframe.admin.slices import Slices

_AT_ONCE = 100
"""What was missed that is asked for at a time."""
_BEAT = 15.0
"""Seconds between signs of life, so that what is in between keeps the connection."""


class Numbered(Protocol):
    """What a stream may be of: each has a greater number than the one before."""

    @property
    def number(self) -> int:
        """Its own."""


T = TypeVar("T", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """What a stream is of.

    `since(number, limit)` gives what is still kept of what came after a number, oldest first; `subscribe` calls back
    with what comes, and gives what ends that; `wants` says which of both is told; `told` gives of each the name of its
    kind, and its data as JSON; `latest(limit)` gives what came last and is kept, newest first.
    """

    since: Callable[[int, int], Sequence[T]]
    subscribe: Callable[[Callable[[T], None]], Callable[[], None]]
    told: Callable[[T], tuple[str, bytes]]
    latest: Callable[[int], Sequence[T]]
    wants: Callable[[T], bool] = lambda one: True


def place(after: int, latest: Sequence[Numbered]) -> int:
    """After which number to go on where somebody has seen `after`; `latest` has the newest there is.

    A node that was started anew counts from 1: a number that is still to come is of the time before, and all that is
    kept is new to who has it.
    """
    return after if latest and after <= latest[0].number else 0


def resumed(call: Call) -> int | None:
    """After which number the stream goes on that is asked for: `after` of the query, or the header; None: from now."""
    last: int | None = call.query.after
    given = call.headers.get("last-event-id", "")
    if last is None and given.isascii() and given.isdigit() and len(given) < 20:
        return int(given)
    return last


class Streams:
    """The open ones, of whatever they are; there are at most `most()`."""

    def __init__(self, clock: IReactorTime, most: Callable[[], int]) -> None:
        self.clock = clock
        self.open: dict[Stream[Any], None] = {}
        self._most = most
        self.turned_away: Callable[[str], None] = lambda bound: None
        """Called with the name of a bound that somebody met."""

    def begin(self, request: Request, source: Source[T], last: int | None) -> Stream[T]:
        """One more, of what came after the number `last`, or from now on."""
        stream = Stream(self, request, source, last)
        self.open[stream] = None
        try:
            stream.begin()
        except Exception:
            # It takes nobody's place.
            stream.end()
            raise
        return stream

    def check(self) -> None:
        """Raises `Problem` where there are as many as there may be."""
        if len(self.open) >= self._most():
            self.turned_away("streams")
            raise Problem(503, "Service unavailable", "there are as many event streams as there may be")


class Stream(Generic[T]):
    """One open stream. What it is behind is not kept here but read from the node's own store."""

    def __init__(self, streams: Streams, request: Request, source: Source[T], last: int | None) -> None:
        self._streams = streams
        self._request = request
        self._source = source
        self._last = last or 0
        self._behind = last is not None
        self._full = False
        self._ended = False
        self._more: IDelayedCall | None = None
        """The turn of the reactor in which the rest of what was missed is written."""
        self._unsubscribe = source.subscribe(self._happened)
        self._beat = streams.clock.callLater(_BEAT, self._still_there)

    def begin(self) -> None:
        """Write what was missed; what happens meanwhile comes after it."""
        request = self._request
        request.write(b"retry: 2000\n\n")
        transport: Any = request
        transport.registerProducer(self, True)
        self._last = place(self._last, self._source.latest(1))
        self._catch_up()

    def _catch_up(self) -> None:
        slices = Slices(self._streams.clock)
        while self._behind and self._more is None and self._has_room():
            missed = self._source.since(self._last, _AT_ONCE)
            self._behind = bool(missed)
            for one in missed:
                if not self._has_room():
                    return
                if slices.over:
                    self._more = self._streams.clock.callLater(0, self._go_on)
                    return
                self._last = one.number
                if self._source.wants(one):
                    self._tell(one)

    def _has_room(self) -> bool:
        return not self._full and not self._ended

    def _go_on(self) -> None:
        self._more = None
        self._catch_up()

    def _happened(self, one: T) -> None:
        # While it is behind, this one comes out of the store too.
        if self._behind or self._ended or not self._source.wants(one):
            return
        if self._full:
            self._drop()
            return
        self._tell(one)

    def _tell(self, one: T) -> None:
        self._last = one.number
        kind, data = self._source.told(one)
        self._request.write(f"id: {self._last}\nevent: {kind}\ndata: ".encode() + data + b"\n\n")

    def _drop(self) -> None:
        # It comes again with the number of the last one that it has.
        self._request.loseConnection()
        self.end()

    def _still_there(self) -> None:
        if self._full:
            self._drop()
            return
        self._request.write(b": still here\n\n")
        self._beat = self._streams.clock.callLater(_BEAT, self._still_there)

    def pauseProducing(self) -> None:
        """It reads more slowly than things happen."""
        self._full = True

    def resumeProducing(self) -> None:
        """It has caught up with what was written."""
        self._full = False
        self._catch_up()

    def stopProducing(self) -> None:
        """It has gone."""
        self.end()

    def end(self) -> None:
        """No more of it."""
        if not self._ended:
            self._ended = True
            self._streams.open.pop(self, None)
            self._unsubscribe()
            if self._beat.active():
                self._beat.cancel()
            if self._more is not None:
                self._more.cancel()
                self._more = None
