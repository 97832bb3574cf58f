"""The latest lines of a node's log, kept to be looked at: bounded in number, in rate and in length.

A line is kept as text and plain values, so that no object lives longer because something was said of it. Of like
lines, that is of one format, `node.log_rate` in a second are kept and the rest counted, so that a flood of one does not
wash out the others. Below `node.log_level` nothing is done but to look at the level.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter

from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from p2pframe.config.settings import NodeSettings
from p2pframe.core.log_event import LEVELS, clean, fields_of, format_of, level_of, namespace_of, text_of
from p2pframe.interfaces.context import Metrics
from p2pframe.interfaces.node import LogLine

FIELDS, NAME, VALUE = 16, 40, 300
"""Fields of one line, characters of a field's name, and of its value."""
TRACEBACK, TRACEBACK_LINE = 30, 300
"""Lines of a traceback, the last ones, and characters of each."""
NAMESPACE = 200
"""Characters of a namespace."""
FORMATS = 500
"""Formats whose rate is looked at in one second; lines of further ones are taken for one kind."""


@implementer(ILogObserver)
class LogLines:
    """The lines of one node. It observes the log of the `World` that the node lives in, in the reactor's thread."""

    log = Logger()

    def __init__(self, settings: NodeSettings, unix_time: Callable[[], float], metrics: Metrics) -> None:
        self._time = unix_time
        self._kept: deque[LogLine] = deque()
        self._number = 0
        self._second = 0.0
        self._seen: dict[str, _Like] = {}
        self._subscribers: dict[int, Callable[[LogLine], None]] = {}
        self._next_subscriber = 0
        self._telling = False
        self._forgotten = metrics.counter("log_lines_forgotten", "Log lines dropped to make room for later ones.")
        self._suppressed = metrics.counter("log_lines_suppressed", "Log lines that were too many of one kind to keep.")
        self._raised = metrics.counter("log_subscriber_errors", "Exceptions of those who follow the log.")
        self.resize(settings)

    def resize(self, settings: NodeSettings) -> None:
        """Take other settings (`node.log_lines`, `node.log_level` and `node.log_rate` are live)."""
        self._limit = settings.log_lines
        self._rate = settings.log_rate
        self.least = LEVELS[settings.log_level]
        """What is less grave is not kept."""
        self._make_room()

    def wants(self, event: LogEvent) -> bool:
        """Whether a line would be kept, by its level: asked in whatever thread logs."""
        return LEVELS[level_of(event)] >= self.least

    def __call__(self, event: LogEvent) -> None:
        """Keep an event that is wanted, or count it."""
        now = self._time()
        if not 0.0 <= now - self._second < 1.0:
            self._next_second(now)
        level, namespace, format = level_of(event), namespace_of(event), format_of(event)
        key = format if format in self._seen or len(self._seen) < FORMATS else ""
        like = self._seen.get(key)
        if like is None:
            like = self._seen[key] = _Like(level, namespace)
        like.count += 1
        if like.count > self._rate and level != "critical":
            self._suppressed.add()
            return
        text, trace = text_of(event)
        plain: dict[str, str | int | float | bool | None] = {}
        for name, value in fields_of(event).items():
            if len(plain) >= FIELDS:
                break
            if value is None or isinstance(value, (str, bool, int, float)):
                plain[name[:NAME]] = _cut(value)
        lines = "\n".join(clean(line)[:TRACEBACK_LINE] for line in trace.splitlines()[-TRACEBACK:])
        self._keep(now, level, namespace, text, plain, lines)

    def since(
        self, after: int = 0, limit: int = 1000, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """At most `limit` lines with a number greater than `after` that fit, oldest first."""
        self._catch_up()
        kept = self._kept
        newer = islice(kept, bisect_right(kept, after, key=attrgetter("number")), None)
        return list(islice((line for line in newer if line.fits(level, namespace, text)), limit))

    def latest(
        self, limit: int = 100, before: int | None = None, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """At most `limit` lines that fit, with a number less than `before`, newest first."""
        self._catch_up()
        found: list[LogLine] = []
        for line in reversed(self._kept):
            if len(found) >= limit:
                break
            if (before is None or line.number < before) and line.fits(level, namespace, text):
                found.append(line)
        return found

    def subscribe(self, callback: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call back with every line from now on, in order. Returns what ends it."""
        self._next_subscriber += 1
        key = self._next_subscriber
        self._subscribers[key] = callback

        def end() -> None:
            self._subscribers.pop(key, None)

        return end

    def lost(self) -> None:
        """A line could not be handed over from another thread."""
        self._suppressed.add()

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(
        self,
        now: float,
        level: str,
        namespace: str,
        text: str,
        fields: dict[str, str | int | float | bool | None],
        trace: str,
    ) -> None:
        self._number += 1
        line = LogLine(self._number, now, level, clean(namespace)[:NAMESPACE], clean(text), fields, trace)
        self._kept.append(line)
        self._make_room()
        # What is logged by those who are told is kept, and told to nobody: it would have no end.
        if self._subscribers and not self._telling:
            self._telling = True
            try:
                for callback in tuple(self._subscribers.values()):
                    try:
                        callback(line)
                    except Exception:  # noqa: BLE001 - a listener's fault must not undo what was logged
                        self._raised.add()
                        self.log.failure("who follows the log raised")
            finally:
                self._telling = False

    def _make_room(self) -> None:
        while len(self._kept) > self._limit:
            self._kept.popleft()
            self._forgotten.add()

    def _catch_up(self) -> None:
        # So that who looks after a flood sees that there was one, though nothing was logged since.
        now = self._time()
        if self._seen and not 0.0 <= now - self._second < 1.0:
            self._next_second(now)

    def _next_second(self, now: float) -> None:
        seen, self._seen = self._seen, {}
        self._second = now
        for format, like in seen.items():
            over = like.count - self._rate
            if over > 0 and like.level != "critical":
                text = f"{over} more suppressed like: {format or '(other formats)'}"
                self._keep(now, like.level, like.namespace, text, {"suppressed": over}, "")


class _Like:
    """How often a format came within a second, and of whom first."""

    __slots__ = ("count", "level", "namespace")

    def __init__(self, level: str, namespace: str) -> None:
        self.level = level
        self.namespace = namespace
        self.count = 0


def _cut(value: str | int | float | bool | None) -> str | int | float | bool | None:
    if isinstance(value, str):
        return clean(value[: VALUE + 1])[:VALUE]
    # JSON has no numbers of thousands of digits.
    return hex(value)[:VALUE] if isinstance(value, int) and value.bit_length() > 64 else value
