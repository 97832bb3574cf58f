"""One line a minute says what spread; none where nothing did."""

from __future__ import annotations

import pytest
from twisted.logger import Logger, formatEvent

from p2pframe.core.relay_log import RelayLog
from p2pframe.model import Item, Topic

BLOCK, TX = Topic("block"), Topic("tx")
ALICE, BOB = "192.0.2.1", "198.51.100.1"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def log(lines):
    return RelayLog(Logger(observer=lambda event: lines.append(formatEvent(event))))


def test_what_was_new_and_told_is_said_once_a_minute(log, lines):
    log.flush(100.0)
    for _ in range(3):
        log.accepted(TX)
    log.accepted(BLOCK)
    log.told(TX, 7)
    log.flush(159.0)
    assert lines == []
    log.flush(160.0)
    assert lines == ["items in 60 s: 1 block new, told to peers 0 times, 3 tx new, told to peers 7 times"]
    log.flush(240.0)
    assert len(lines) == 1


def test_the_rest_is_said_at_the_end(log, lines):
    log.flush(0.0)
    log.told(TX, 2)
    log.flush(9.0, everything=True)
    assert lines == ["items in 9 s: 0 tx new, told to peers 2 times"]


def test_a_node_says_it(cluster, lines):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: any(s.was_open for s in bob.networks["chat"].sessions.values()))
    bob.networks["chat"].items.relay_log._log = Logger(observer=lambda event: lines.append(formatEvent(event)))
    topic = next(iter(bob.networks["chat"].protocol.topics))
    cluster.wait(bob.networks["chat"].items.publish(Item(topic, b"\1" * 32, b"hello", 5)))
    cluster.net.run(70.0)
    assert len(lines) == 1
    assert f"1 {topic} new, told to peers 1 times" in lines[0]
    assert alice.networks["chat"].sessions
