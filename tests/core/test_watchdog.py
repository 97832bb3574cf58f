"""The watchdog names who blocks the reactor, once for each block, and keeps the worst beat of a minute."""

from __future__ import annotations

import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from p2pframe.core.metrics import NodeMetrics
from p2pframe.core.watchdog import Watchdog, _Worst

LAG = "p2pframe_reactor_lag_seconds"


def blocked(metrics):
    return metrics.snapshot().get("p2pframe_reactor_blocked_total", {})


@pytest_twisted.ensureDeferred
async def test_whoever_blocks_the_reactor_is_named_once():
    metrics = NodeMetrics()
    told: Deferred = Deferred()
    watchdog = Watchdog(reactor, lambda: 0.05, metrics.view("", "core"))
    tell = watchdog._tell

    def noticed(where):
        tell(where)
        told.callback(where)

    watchdog._tell = noticed
    watchdog.start()
    try:
        # Blocks the reactor for longer than the limit; nobody else is waited for.
        reactor.callLater(0.01, threading.Event().wait, 0.4)
        where = await told.addTimeout(10, reactor)
    finally:
        watchdog.stop()
    assert where
    assert sum(blocked(metrics).values()) == 1


def test_a_limit_of_zero_and_a_reactor_without_threads_are_not_watched():
    for world, limit in ((reactor, 0.0), (Clock(), 0.5)):
        metrics = NodeMetrics()
        watchdog = Watchdog(world, lambda limit=limit: limit, metrics.view("", "core"))
        watchdog.start()
        assert watchdog._thread is None
        assert LAG not in metrics.snapshot(), "no 0 where nothing is measured"
        watchdog.stop()


@implementer(IReactorFromThreads)
class Blockable(Clock):
    """A clock that can be watched; what the watching thread finds is not of interest."""

    def callFromThread(self, call, *args):
        pass

    def go(self, seconds):
        """It turns as it should."""
        for _ in range(round(seconds * 8)):
            self.advance(0.125)

    def block(self, seconds):
        """Nothing runs for so long."""
        self.advance(seconds)


@pytest.fixture
def watched():
    clock, metrics = Blockable(), NodeMetrics()
    watchdog = Watchdog(clock, lambda: 0.5, metrics.view("", "core"))
    watchdog.start()
    yield clock, lambda: metrics.snapshot()[LAG][("",)]
    watchdog.stop()


def test_a_beat_that_was_late_is_shown_for_a_minute_and_no_longer(watched):
    clock, lag = watched
    clock.go(100.0)
    assert lag() == 0.0
    clock.block(2.0)
    assert lag() == 1.75
    clock.go(30.0)
    clock.block(1.0)
    assert lag() == 1.75, "the worst of the two"
    clock.go(28.5)
    assert lag() == 1.75
    clock.go(12.0)
    assert lag() == 0.75, "the second is left"
    clock.go(30.0)
    assert lag() == 0.0


def test_a_block_longer_than_the_minute_forgets_what_was_before_and_is_shown_itself(watched):
    clock, lag = watched
    clock.block(5.0)
    clock.block(3600.0)
    assert lag() == 3599.75
    clock.go(60.0)
    assert lag() == 3599.75
    clock.go(10.0)
    assert lag() == 0.0


def test_a_year_of_beats_keeps_no_more_than_a_minute_of_them():
    worst = _Worst(0.0)
    for hour in range(365 * 24):
        worst.add(hour, hour * 3600.0)
        assert worst.add(0.0, hour * 3600.0 + 59.0) == hour
        assert len(worst._slices) <= 7
