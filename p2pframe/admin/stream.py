"""Events as they come, to whoever listens: server-sent events (HTML standard, 9.2), bounded, resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request

from p2pframe.admin import rows
from p2pframe.admin.routes import Problem
from p2pframe.interfaces import Event, INodeView

_AT_ONCE = 100
"""Missed events that are written before it is looked whether there is room for more."""
_BEAT = 15.0
"""Seconds between signs of life, so that what is in between keeps the connection."""


class Streams:
    """The open ones; there are at most `most()`."""

    def __init__(self, view: INodeView, clock: IReactorTime, most: Callable[[], int]) -> None:
        self.view = view
        self.clock = clock
        self.open: dict[Stream, None] = {}
        self._most = most

    def begin(self, request: Request, last: int | None) -> Stream:
        """One more, of what happened after the event numbered `last`, or from now on."""
        stream = Stream(self, request, last)
        self.open[stream] = None
        stream.begin()
        return stream

    def check(self) -> None:
        """Raises `Problem` where there are as many as there may be."""
        if len(self.open) >= self._most():
            raise Problem(503, "Service unavailable", "there are as many event streams as there may be")


class Stream:
    """One open stream of events. What it is behind is not kept here but read from the node's own store."""

    def __init__(self, streams: Streams, request: Request, last: int | None) -> None:
        self._streams = streams
        self._request = request
        self._last = last or 0
        self._behind = last is not None
        self._full = False
        self._ended = False
        self._unsubscribe = streams.view.subscribe(self._happened)
        self._beat = streams.clock.callLater(_BEAT, self._still_there)

    def begin(self) -> None:
        """Write what was missed; what happens meanwhile comes after it."""
        request = self._request
        request.write(b"retry: 2000\n\n")
        transport: Any = request
        transport.registerProducer(self, True)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._behind and not self._full and not self._ended:
            missed = self._streams.view.events(self._last, _AT_ONCE)
            self._behind = bool(missed)
            for event in missed:
                self._tell(event)

    def _happened(self, event: Event) -> None:
        # While it is behind, this one comes out of the store too.
        if self._behind or self._ended:
            return
        if self._full:
            self._drop()
            return
        self._tell(event)

    def _tell(self, event: Event) -> None:
        self._last = event.number
        head = f"id: {event.number}\nevent: {event.kind}\ndata: ".encode()
        self._request.write(head + rows.event(event).encoded() + b"\n\n")

    def _drop(self) -> None:
        # It comes again with the number of the last event that it has.
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
        """No more events."""
        if not self._ended:
            self._ended = True
            self._streams.open.pop(self, None)
            self._unsubscribe()
            if self._beat.active():
                self._beat.cancel()
