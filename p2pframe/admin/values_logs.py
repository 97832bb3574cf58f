"""What is asked of the log, and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from p2pframe.admin.routes import Closed
from p2pframe.admin.values import Cursor, Plain

Level = Literal["debug", "info", "warn", "error", "critical"]
Part = Annotated[str, StringConstraints(max_length=200)]


class LogLine(Closed):
    """One line of the log, without control characters; `fields` are those of its plain values."""

    number: int
    time: float
    level: Level
    namespace: str
    text: str
    fields: dict[str, Plain]
    traceback: str


class Logs(Closed):
    """Lines, newest first; `next` is the cursor of older ones. Below the level `least` the node keeps none."""

    lines: list[LogLine]
    least: str
    next: str | None


class _Fitting(Closed):
    level: Level = "info"
    namespace: Part = ""
    text: Part = ""


class LogsQuery(_Fitting):
    """Which lines: at least as grave as `level`, of `namespace` or of one in it, with `text` in them."""

    cursor: Cursor | None = None
    limit: int = Field(100, ge=1, le=1000)


class LogsStreamQuery(_Fitting):
    """Which lines, and where to go on: the number of the last line seen; a Last-Event-ID header says the same."""

    after: int | None = Field(None, ge=0)


class LogsPageQuery(_Fitting):
    """Which lines a page shows, and of older ones those before which number."""

    cursor: Cursor | None = None
