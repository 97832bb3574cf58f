"""What a test logs as a failure: so that nothing goes unseen that nobody raised."""

from __future__ import annotations

import gc
from typing import Self

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ILogObserver)
class LoggedFailures:
    """The failures and critical events logged while it is entered, and errors of Deferreds that nobody took."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __enter__(self) -> Self:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *raised: object) -> None:
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """See `twisted.logger.ILogObserver`."""
        level = event.get("log_level")
        if event.get("log_format") == "Unhandled error in Deferred:" and event.get("log_failure") is None:
            # Twisted's own headline: the failure itself follows in an event of its own.
            return
        if (
            event.get("log_failure") is not None
            or event.get("isError")
            or (level is not None and level >= LogLevel.critical)
        ):
            self.events.append(event)

    def flush(self, *types: type[BaseException]) -> list[Failure | LogEvent]:
        """Take out what was logged so far: failures of these types, or everything where no type is named.

        Returns what it took: the failure, or the event where a critical one carried none.
        """
        # A Deferred says that its error went unhandled only when it is collected.
        gc.collect()
        taken: list[Failure | LogEvent] = []
        kept: list[LogEvent] = []
        for event in self.events:
            failure = event.get("log_failure")
            if not types:
                taken.append(failure if failure is not None else event)
            elif failure is not None and failure.check(*types):
                taken.append(failure)
            else:
                kept.append(event)
        self.events = kept
        return taken

    def check(self) -> None:
        """Raise AssertionError with all that is left, tracebacks included, where something is."""
        gc.collect()
        if not self.events:
            return
        lines = [f"{len(self.events)} failure(s) were logged (`flush` takes those that are expected):"]
        for event in self.events:
            lines.append(f"[{event.get('log_namespace', '?')}] {formatEvent(event)}")
            failure = event.get("log_failure")
            if failure is not None:
                lines.append(failure.getTraceback())
        # The tracebacks hold the test's own objects: let them go before the next one counts anything.
        self.events.clear()
        raise AssertionError("\n".join(lines))


__all__ = ["LoggedFailures"]
