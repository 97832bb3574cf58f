"""The watchdog names who blocks the reactor, once for each block, and keeps quiet otherwise."""

from __future__ import annotations

import threading

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.core.metrics import NodeMetrics
from p2pframe.core.watchdog import Watchdog


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
        watchdog = Watchdog(world, lambda limit=limit: limit, NodeMetrics().view("", "core"))
        watchdog.start()
        assert watchdog._thread is None
        watchdog.stop()
