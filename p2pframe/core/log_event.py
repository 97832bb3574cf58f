"""What an event of twisted.logger says, read so that nobody can do harm by it: bounded, and without control characters.

Whatever a peer says may end up in a line, so control characters, and those that turn the direction of writing or can't
be seen, are shown as escapes: no peer can forge a line, hide in one or move a terminal's cursor.
"""

from __future__ import annotations

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from p2pframe.interfaces.node import LOG_LEVELS
from p2pframe.visible import visible

LINE = 2000
"""Characters of one line at most."""
LEVELS = {name: number for number, name in enumerate(LOG_LEVELS)}
"""By name: how grave."""
_LEGACY = frozenset({"message", "time", "system", "isError", "format", "failure", "logLevel", "printed"})


def clean(text: str) -> str:
    """One line of at most `LINE` characters without control characters."""
    text = visible(text[: LINE + 1])
    return text if len(text) <= LINE else text[: LINE - 3] + "..."


def level_of(event: LogEvent) -> str:
    """One of `LEVELS`."""
    level = event.get("log_level")
    if level is None:
        return "error" if event.get("isError") else "info"
    name = level.name if hasattr(level, "name") else str(level)
    if name == "info" and event.get("log_namespace") == "log_legacy":
        # Twisted's own remarks on every port that opens or closes.
        return "debug"
    return name if name in LEVELS else LogLevel.info.name


def namespace_of(event: LogEvent) -> str:
    """Who says it: `bitcoin.relay.inventory`; all of Twisted is `twisted`."""
    name = str(event.get("log_namespace") or "")
    if name.startswith(("twisted.", "log_legacy")):
        return "twisted"
    return name.removeprefix("p2pframe.")


def format_of(event: LogEvent) -> str:
    """What like lines have in common."""
    return str(event.get("log_format") or event.get("format") or "")


def text_of(event: LogEvent) -> tuple[str, str]:
    """The text, not cleaned yet, with what failed; and the traceback, where there is one."""
    text = formatEvent(event)
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return text, ""
    summary = f"{failure.type.__name__ if failure.type else ''}: {failure.getErrorMessage()}"
    return f"{text}: {summary}" if text else summary, failure.getTraceback(elideFrameworkCode=True)


def fields_of(event: LogEvent) -> dict[str, object]:
    """The fields that it was made with, as they are."""
    return {key: value for key, value in event.items() if not key.startswith("log_") and key not in _LEGACY}
