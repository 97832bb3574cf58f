"""What something costs, in lines of Python that ran: the same on every machine, however busy it is.

Work inside C (a regular expression, a hash) counts as the line that asked for it.
"""

from __future__ import annotations

import sys
from types import FrameType, TracebackType
from typing import Any


class TooMuch(AssertionError):
    """More lines ran than should have."""


class Work:
    """Counts the lines that run inside its block, of this thread, and ends it with `TooMuch` beyond `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lines = 0

    def __enter__(self) -> Work:
        self._before = sys.gettrace()
        sys.settrace(self._entered)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.settrace(self._before)
        # What was under test may have taken it for a mistake of its own.
        if self.lines > self.most and kind is not TooMuch:
            raise TooMuch(f"more than {self.most} lines ran")

    def _entered(self, frame: FrameType, event: str, argument: object) -> Any:
        if self.lines > self.most:
            raise TooMuch(f"more than {self.most} lines ran")
        return self._line

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines > self.most:
                raise TooMuch(f"more than {self.most} lines ran")
        return self._line
