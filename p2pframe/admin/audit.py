"""What was changed through the admin, by whom: a bounded list for the pages, and a file that is only ever added to."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from p2pframe.admin.routes import Call
from p2pframe.admin.values import Happened

_TEXT = 500
_REFUSED = ("login refused", "token refused")
"""What anybody who reaches the port can have noted, as often as he likes."""
_REFUSALS = 20
_PER = 60.0
"""At most so many of those are noted in so many seconds: a flood of them pushes no other line out of the log."""
_log = Logger(namespace="p2pframe.admin")


class Audit:
    """The audit log. The file has a line of JSON each, and mode 0600; over `largest` bytes it becomes `.1`.

    What was refused is kept apart from what was done and noted only now and then, with how many were left out.
    """

    def __init__(self, path: Path, kept: int = 1000, largest: int = 10_000_000) -> None:
        self._path = path
        self._largest = largest
        self._kept: deque[Happened] = deque(maxlen=kept)
        self._refused: deque[Happened] = deque(maxlen=_REFUSALS * 5)
        self._number = 0
        self._window = 0.0
        self._in_window = 0
        self._left_out = 0

    def note(self, call: Call, what: str, **fields: str | int | float | bool) -> None:
        """Something was done, or refused. That it could not be written is logged, and stops nobody."""
        refused = what in _REFUSED
        if refused:
            if not 0 <= call.now - self._window < _PER:
                self._window, self._in_window = call.now, 0
            if self._in_window >= _REFUSALS:
                self._left_out += 1
                return
            self._in_window += 1
            if self._left_out:
                fields["left_out"], self._left_out = self._left_out, 0
        short = {name: value[:_TEXT] if isinstance(value, str) else value for name, value in fields.items()}
        self._number += 1
        session, network = short.pop("session", None), short.pop("network", "")
        row = Happened(
            number=self._number, time=call.now, kind=what, network=str(network),
            session=session if isinstance(session, int) else None, address=call.source,
            fields={"who": call.who or "nobody", **short},
        )  # fmt: skip
        (self._refused if refused else self._kept).append(row)
        _log.info("{what} by {who} from {source}", what=what, who=call.who or "nobody", source=call.source, **short)
        try:
            self._write(json.dumps(row.model_dump(exclude={"number"})).encode() + b"\n")
        except OSError as error:
            _log.error("the audit log {path} was not written: {why}", path=str(self._path), why=error.strerror)

    def since(self, after: int, limit: int) -> Sequence[Happened]:
        """At most `limit` entries with a number over `after`, oldest first."""
        both = sorted((*self._kept, *self._refused), key=lambda row: row.number)
        return [row for row in both if row.number > after][:limit]

    def latest(self, limit: int) -> Sequence[Happened]:
        """At most `limit` entries, newest first."""
        return sorted((*self._kept, *self._refused), key=lambda row: -row.number)[:limit]

    def _write(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._path.is_file() and self._path.stat().st_size + len(line) > self._largest:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        descriptor = os.open(self._path, flags, 0o600)
        try:
            # It may have been there before, as somebody else's umask left it.
            os.fchmod(descriptor, 0o600)
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            # Who reads that something was done finds who did it, after a power cut as well.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
