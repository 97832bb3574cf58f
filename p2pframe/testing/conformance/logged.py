"""What an application logs while it is looked at: failures and critical events are told of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from p2pframe.testing.conformance.bench import Bench


@implementer(ILogObserver)
class _Failures:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure, level = event.get("log_failure"), event.get("log_level")
        if failure is not None:
            self.seen.append(f"{formatEvent(event)}\n{failure.getTraceback()}")
        elif level is not None and level >= LogLevel.critical:
            self.seen.append(formatEvent(event))


@contextmanager
def no_failure_logged(bench: Bench, where: str) -> Iterator[None]:
    """Require that nothing is logged as a failure, or as critical, within."""
    failures = _Failures()
    globalLogPublisher.addObserver(failures)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(failures)
    bench.rule(
        not failures.seen, where, "a plugin handles what may fail, and logs what no one could have foreseen only",
        lambda: failures.seen[0][-1500:],
    )  # fmt: skip
