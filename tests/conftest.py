"""What holds for every test: nothing logged as a failure goes unseen, and hypothesis runs by a named profile."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure

settings.register_profile(
    "ci",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
settings.register_profile("short", parent=settings.get_profile("ci"), max_examples=500, derandomize=False)
settings.register_profile("long", parent=settings.get_profile("short"), max_examples=20_000)
# P2PFRAME_FUZZ=short or long: more examples for each property, and others each time.
settings.load_profile(os.environ.get("P2PFRAME_FUZZ") or "ci")


def pytest_configure() -> None:
    # Until logging has begun, Twisted keeps 64 K of events, and with them all that they refer to, and prints the
    # critical ones a second time.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def pytest_collection_finish() -> None:
    # What was imported so far lives until the end: without it a collection after every test costs next to nothing.
    gc.collect()
    gc.freeze()


class LoggedErrors:
    """The failures and critical events that one test logs; those that it takes out are expected, the rest fail it."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def observe(self, event: LogEvent) -> None:
        level = event.get("log_level")
        if event.get("log_format") == "Unhandled error in Deferred:" and event.get("log_failure") is None:
            # Twisted's own headline: the failure itself follows in an event of its own.
            return
        if event.get("log_failure") is not None or event.get("isError") or (
            level is not None and level >= LogLevel.critical
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

    def report(self) -> str:
        lines = [f"{len(self.events)} failure(s) were logged (flush_logged_errors takes those that are expected):"]
        for event in self.events:
            lines.append(f"[{event.get('log_namespace', '?')}] {formatEvent(event)}")
            failure = event.get("log_failure")
            if failure is not None:
                lines.append(failure.getTraceback())
        return "\n".join(lines)


@pytest.fixture(autouse=True)
def _logged_errors() -> Iterator[LoggedErrors]:
    """Fails the test in which a failure is logged or a Deferred's error goes unhandled."""
    logged = LoggedErrors()
    globalLogPublisher.addObserver(logged.observe)
    try:
        yield logged
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(logged.observe)
    if logged.events:
        report = logged.report()
        # The tracebacks hold the test's own objects: let them go before the next one counts anything.
        logged.events.clear()
        pytest.fail(report, pytrace=False)


@pytest.fixture
def flush_logged_errors(
    _logged_errors: LoggedErrors,
) -> Callable[..., list[Failure | LogEvent]]:
    """`flush_logged_errors(*types)` takes out, and gives, the failures logged so far that the test expects."""
    return _logged_errors.flush
