"""What happened, kept to be explained afterwards: a bounded store of numbered events, and those who listen.

Every event gets the next number. When the store is full the oldest event of the most frequent kind goes, so a flood of
one kind (refusals, short sessions) washes out its own past and not the ban that someone will ask about tomorrow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter

from twisted.logger import Logger

from p2pframe.interfaces.context import Metrics
from p2pframe.interfaces.node import Event
from p2pframe.model import PeerAddress, SessionId

TEXT = 1000
"""Characters of one field that are kept: evidence may quote what a peer sent."""
KINDS = 128
"""Kinds that are told apart when room is made."""

_Row = tuple[int, float, str, str, SessionId | None, PeerAddress | None, dict[str, object]]


class Events:
    """The events of a node; `limit` of them are kept."""

    log = Logger()

    def __init__(self, limit: int, unix_time: Callable[[], float], metrics: Metrics) -> None:
        self._limit = limit
        self._time = unix_time
        self._kept: dict[str, deque[_Row]] = {}
        self._size = 0
        self._subscribers: dict[int, Callable[[Event], None]] = {}
        self._next_subscriber = 0
        self.last = 0
        """The number of the latest event; 0 before the first."""
        self._forgotten = metrics.counter("events_forgotten", "Events dropped to make room for later ones.", ("kind",))
        self._raised = metrics.counter("event_subscriber_errors", "Exceptions of those who listen to events.")

    def emit(
        self,
        kind: str,
        network: str = "",
        session: SessionId | None = None,
        address: PeerAddress | None = None,
        **fields: object,
    ) -> int:
        """Note that something happened; returns its number. Never raises, whatever the listeners do."""
        for name, value in fields.items():
            if type(value) is str and len(value) > TEXT:
                fields[name] = value[:TEXT] + "..."
        self.last += 1
        row: _Row = (self.last, self._time(), kind, network, session, address, fields)
        kept = self._kept.get(kind)
        if kept is None:
            kept = self._kept.setdefault(kind if len(self._kept) < KINDS else "", deque())
        kept.append(row)
        self._size += 1
        while self._size > self._limit:
            self._forget_one()
        if self._subscribers:
            self._tell(Event(*row))
        return self.last

    def since(self, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """At most `limit` events that are still kept, with a number greater than `after`, oldest first."""
        newer = [_newer(rows, after, limit) for rows in self._kept.values()]
        return [Event(*row) for row in islice(merge(*newer, key=itemgetter(0)), limit)]

    def latest(
        self,
        limit: int,
        network: str | None = None,
        session: SessionId | None = None,
        kinds: Collection[str] | None = None,
        before: int | None = None,
    ) -> Sequence[Event]:
        """At most `limit` of those that are still kept, newest first; see `INodeView.latest`."""
        # Kinds beyond the bound stand together under the empty one.
        kept = [rows for kind, rows in self._kept.items() if kinds is None or not kind or kind in kinds]
        backwards = merge(*map(reversed, kept), key=itemgetter(0), reverse=True)
        fitting = (
            row for row in backwards
            if (network is None or row[3] == network) and (session is None or row[4] == session)
            and (kinds is None or row[2] in kinds) and (before is None or row[0] < before)
        )  # fmt: skip
        return [Event(*row) for row in islice(fitting, limit)]

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back with every event from now on, in order. Returns what ends it."""
        self._next_subscriber += 1
        key = self._next_subscriber
        self._subscribers[key] = callback

        def end() -> None:
            self._subscribers.pop(key, None)

        return end

    def resize(self, limit: int) -> None:
        """Keep `limit` events from now on (`node.events` is live)."""
        self._limit = limit
        while self._size > limit:
            self._forget_one()

    def __len__(self) -> int:
        return self._size

    def _forget_one(self) -> None:
        kind, rows = max(self._kept.items(), key=_length)
        rows.popleft()
        self._size -= 1
        if not rows:
            del self._kept[kind]
        self._forgotten.add(1, kind)

    def _tell(self, event: Event) -> None:
        for callback in tuple(self._subscribers.values()):
            try:
                callback(event)
            except Exception:  # noqa: BLE001 - what happened has happened: a listener's fault must not undo it
                self._raised.add()
                self.log.failure("A listener to events raised at {kind}", kind=event.kind)


def _length(item: tuple[str, deque[_Row]]) -> int:
    return len(item[1])


def _newer(rows: deque[_Row], after: int, limit: int) -> Iterator[_Row]:
    """The first rows numbered above `after`. Who catches up asks again and again: none of those before is gone over."""
    start = bisect_right(rows, after, key=itemgetter(0))
    return (rows[at] for at in range(start, min(len(rows), start + limit)))
