"""The log of a node: a line for each event, for people or as JSON; bounded in rate and in files.

Whatever a peer says may end up in a line: see `p2pframe.core.log_event`. Like lines, that is of one format, are written
so many a second; the rest are counted.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent
from twisted.python.logfile import LogFile
from zope.interface import implementer

from p2pframe.core.log_event import LEVELS, LINE, clean, fields_of, format_of, level_of, namespace_of, text_of

TRACEBACK = 40
"""Lines of a traceback at most: the last ones."""
FORMATS = 500
"""Formats whose rate is remembered: a plugin that makes its formats up could fill memory else."""
EARLY = 1000
"""Lines kept until the log file is open."""


class Output:
    """Where lines go: a stream at once, or a file that rotates, once `open` was called; until then a few are kept.

    A full disk loses lines rather than the node; how many is said as soon as a line can be written again.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._write: Callable[[str], object] | None = None
        self._flush: Callable[[], object] | None = None
        self._file: LogFile | None = None
        self._early: list[str] = []
        self._lost = 0
        if stream is not None:
            self._write, self._flush = stream.write, stream.flush

    @property
    def is_file(self) -> bool:
        """Whether it goes to a file of its own, open by now."""
        return self._file is not None

    def open(self, path: Path, size: int, files: int) -> None:
        """Write to a file from now on: at `size` bytes it becomes `path.1`, of which there are `files`.

        Raises OSError.
        """
        file = LogFile(path.name, str(path.parent), rotateLength=size, defaultMode=0o640, maxRotatedFiles=files)
        if size and os.stat(path).st_size >= size:
            file.rotate()
        self._file = file
        self._write, self._flush = file.write, file.flush
        early, self._early = self._early, []
        for line in early:
            self.line(line)

    def reopen(self) -> None:
        """Open the file anew, where another program has moved it."""
        if self._file is not None:
            self._file.reopen()

    def close(self) -> None:
        """Close the file; lines are kept again from now on."""
        file, self._file = self._file, None
        if file is not None:
            self._write = self._flush = None
            file.close()

    def line(self, text: str) -> None:
        """Write a line."""
        if self._write is None:
            if len(self._early) < EARLY:
                self._early.append(text)
            else:
                self._lost += 1
            return
        try:
            if self._lost:
                self._write(f"({self._lost} log lines were lost)\n")
                self._lost = 0
            self._write(text + "\n")
            if self._flush is not None:
                self._flush()
        except (OSError, ValueError):
            self._lost += 1


@implementer(ILogObserver)
class NodeLog:
    """An observer for twisted.logger. `level` is the least that is written, `rate` the like lines in a second."""

    def __init__(self, output: Output, as_json: bool = False, level: str = "info", rate: int = 20) -> None:
        self.output = output
        self.as_json = as_json
        self.level = level
        self.rate = rate
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._swept = 0.0

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        level = level_of(event)
        if LEVELS[level] < LEVELS[self.level]:
            return
        now = float(event.get("log_time") or 0.0)
        if now - self._swept >= 1.0:
            self.flush(now)
        if level == "critical" or self._admit(event, level, now):
            self._put(now, level, namespace_of(event), event)

    def flush(self, now: float) -> None:
        """Say how many lines were suppressed in windows that are over. `now` is unix time in seconds."""
        self._swept = now
        # A clock that was set back ends every window, too.
        over = [key for key, window in self._windows.items() if not 0.0 <= now - window.begun < 1.0]
        for key in over:
            self._report(now, self._windows.pop(key))

    def close(self, now: float) -> None:
        """Say it for all windows."""
        windows, self._windows = list(self._windows.values()), OrderedDict()
        for window in windows:
            self._report(now, window)

    def _admit(self, event: LogEvent, level: str, now: float) -> bool:
        key = format_of(event)
        window = self._windows.get(key)
        if window is None or not 0.0 <= now - window.begun < 1.0:
            if window is not None:
                self._report(now, self._windows.pop(key))
            if len(self._windows) >= FORMATS:
                self._report(now, self._windows.popitem(last=False)[1])
            window = self._windows[key] = _Window(now, key, level, namespace_of(event))
        window.count += 1
        return window.count <= self.rate

    def _report(self, now: float, window: _Window) -> None:
        suppressed = window.count - self.rate
        if suppressed > 0:
            text = f"{suppressed} more suppressed like: {window.format}"
            self._line(now, window.level, window.namespace, text, {"suppressed": suppressed}, "")

    def _put(self, now: float, level: str, namespace: str, event: LogEvent) -> None:
        text, trace = text_of(event)
        self._line(now, level, namespace, text, _fields(event) if self.as_json else {}, trace)

    def _line(
        self, now: float, level: str, namespace: str, text: str, fields: Mapping[str, object], trace: str
    ) -> None:
        moment = datetime.fromtimestamp(now, UTC)
        if self.as_json:
            data = {"time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "level": level,
                    "from": namespace, "text": clean(text), **fields}  # fmt: skip
            if trace:
                data["traceback"] = trace[-8000:]
            self.output.line(json.dumps(data, ensure_ascii=True, default=str))
            return
        mark = "" if level == "info" else f" {level}:"
        where = f" {namespace}:" if namespace else ""
        self.output.line(clean(f"{moment:%Y-%m-%d %H:%M:%S}Z{mark}{where} {text}"))
        for line in trace.splitlines()[-TRACEBACK:]:
            self.output.line("    " + clean(line))


class _Window:
    """How often a format came within one second."""

    __slots__ = ("begun", "count", "format", "level", "namespace")

    def __init__(self, begun: float, format: str, level: str, namespace: str) -> None:
        self.begun = begun
        self.format = format
        self.level = level
        self.namespace = namespace
        self.count = 0


def _fields(event: LogEvent) -> dict[str, object]:
    """The fields of an event that JSON may carry."""
    fields: dict[str, object] = {}
    for key, value in fields_of(event).items():
        if isinstance(value, (bool, int, float)) or value is None:
            fields[f"field_{key}" if key in ("time", "level", "from", "text") else key] = value
        else:
            try:
                text = str(value)
            except Exception:  # noqa: BLE001 - an object that can't be shown must not cost the line
                text = f"<{type(value).__name__}>"
            fields[f"field_{key}" if key in ("time", "level", "from", "text") else key] = clean(text)[:500]
    return fields


__all__ = ["EARLY", "FORMATS", "LINE", "TRACEBACK", "NodeLog", "Output", "clean"]
