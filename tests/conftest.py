"""What holds for every test: nothing logged as a failure goes unseen, and hypothesis runs by a named profile."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import LogEvent, globalLogBeginner
from twisted.python.failure import Failure

from p2pframe.testing.logged import LoggedFailures

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


@pytest.fixture(autouse=True)
def _logged_errors() -> Iterator[LoggedFailures]:
    """Fails the test in which a failure is logged or a Deferred's error goes unhandled."""
    with LoggedFailures() as logged:
        yield logged
        report = ""
        try:
            logged.check()
        except AssertionError as error:
            report = str(error)
    if report:
        pytest.fail(report, pytrace=False)


@pytest.fixture
def flush_logged_errors(
    _logged_errors: LoggedFailures,
) -> Callable[..., list[Failure | LogEvent]]:
    """`flush_logged_errors(*types)` takes out, and gives, the failures logged so far that the test expects."""
    return _logged_errors.flush
