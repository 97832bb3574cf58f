"""What was changed through the admin, by whom: a bounded list for the pages, and a file that is only ever added to.

Who came in, left, or was refused has a list and a file of its own: a script that asks every second logs in as often,
and pushes out nothing of what was changed.
"""

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
_ACCESS = ("logged in", "logged out", *_REFUSED)
_REFUSALS = 20
_PER = 60.0
"""At most so many of those are noted in so many seconds: a flood of them pushes no other line out of the log."""
_log = Logger(namespace="p2pframe.admin")


class Audit:
    """The audit log: `path` has the changes, and `access.jsonl` beside it the log-ins. A line of JSON each, mode 0600;
    over `largest` bytes a file becomes `.1`.

    What was refused is kept apart from what was done and noted only now and then, with how many were left out.
    """

    def __init__(self, path: Path, kept: int = 1000, largest: int = 10_000_000) -> None:
        self._path = path
        self._access_path = path.with_name("access.jsonl")
        self._largest = largest
        self._changes: deque[Happened] = deque(maxlen=kept)
        self._entered: deque[Happened] = deque(maxlen=_REFUSALS * 5)
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
        access = what in _ACCESS
        (self._refused if refused else self._entered if access else self._changes).append(row)
        _log.info("{what} by {who} from {source}", what=what, who=call.who or "nobody", source=call.source, **short)
        path = self._access_path if access else self._path
        try:
            self._write(path, json.dumps(row.model_dump(exclude={"number"})).encode() + b"\n", lasting=not access)
        except OSError as error:
            _log.error("the audit log {path} was not written: {why}", path=str(path), why=error.strerror)

    def since(self, after: int, limit: int) -> Sequence[Happened]:
        """At most `limit` entries of all kinds with a number over `after`, oldest first."""
        every = sorted((*self._changes, *self._entered, *self._refused), key=lambda row: row.number)
        return [row for row in every if row.number > after][:limit]

    def changes(self, limit: int) -> Sequence[Happened]:
        """At most `limit` of what was done, newest first."""
        return sorted(self._changes, key=lambda row: -row.number)[:limit]

    def access(self, limit: int) -> Sequence[Happened]:
        """At most `limit` log-ins, log-outs and refusals, newest first."""
        return sorted((*self._entered, *self._refused), key=lambda row: -row.number)[:limit]

    @property
    def newest(self) -> int:
        """The number of the latest entry; 0 where there is none."""
        return self._number

    def _write(self, path: Path, line: bytes, lasting: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if path.is_file() and path.stat().st_size + len(line) > self._largest:
            path.replace(path.with_name(path.name + ".1"))
        descriptor = os.open(path, flags, 0o600)
        try:
            # It may have been there before, as somebody else's umask left it.
            os.fchmod(descriptor, 0o600)
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if lasting:
                # Who reads that something was done finds who did it, after a power cut as well.
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
