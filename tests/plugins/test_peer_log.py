"""The peer log: events as lines of JSON, bounded in memory and on disk, whatever the disk does."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from p2pframe.interfaces import Event, IApplication, INodeView
from p2pframe.model import PeerAddress, Score, ScorePart, SessionId
from p2pframe.testing.context import FakeContext, result_of


class View:
    def __init__(self):
        self.callbacks = []
        self.number = 0

    def subscribe(self, callback):
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def happen(self, kind, network="chat", **fields):
        self.number += 1
        event = Event(self.number, 1_700_000_000.5, kind, network, SessionId(7), PeerAddress("192.0.2.1", 7777), fields)
        for callback in self.callbacks:
            callback(event)


@pytest.fixture
def context(tmp_path):
    return FakeContext("application.peer-log", "", data_dir=tmp_path, services={INodeView: View()})


@pytest.fixture
def view(context):
    return context.services[INodeView]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_with_its_fields_and_scores(made, context, view, tmp_path):
    log = made("application", "peer-log", context)
    verifyObject(IApplication, log)
    log.start()
    score = Score("weighted", 0.5, (ScorePart("latency", 0.5, 0.2, 0.1),))
    view.happen("session.closed", reason="bad-magic", evidence="no", peer="not the peer", scores=(score,))
    view.happen("item.accepted")
    context.reactor.advance(1.0)
    (line,) = lines(tmp_path / "peers.jsonl")
    assert (line["kind"], line["peer"], line["reason"], line["session"]) == (
        "session.closed",
        "192.0.2.1:7777",
        "bad-magic",
        7,
    )
    assert line["scores"][0]["parts"][0]["name"] == "latency"
    result_of(log.stop())
    assert view.callbacks == [] and context.reactor.getDelayedCalls() == []


def test_what_waits_is_written_at_stop(made, context, view, tmp_path):
    log = made("application", "peer-log", context)
    log.start()
    view.happen("session.opened")
    result_of(log.stop())
    assert len(lines(tmp_path / "peers.jsonl")) == 1


def test_kinds_and_networks_can_be_chosen(made, context, view, tmp_path):
    log = made("application", "peer-log", context, events=["peer.banned"], networks=["bitcoin"])
    log.start()
    for kind, network in [("peer.banned", "chat"), ("peer.banned", "bitcoin"), ("session.opened", "bitcoin")]:
        view.happen(kind, network)
    context.reactor.advance(1.0)
    assert [(line["kind"], line["network"]) for line in lines(tmp_path / "peers.jsonl")] == [("peer.banned", "bitcoin")]
    result_of(log.stop())


def test_two_files_within_their_bound_are_kept(made, context, view, tmp_path):
    log = made("application", "peer-log", context, size="1kB")
    log.start()
    for _ in range(100):
        view.happen("session.opened", agent="x" * 100)
        context.reactor.advance(1.0)
    result_of(log.stop())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peers.jsonl", "peers.jsonl.1"]
    assert all(path.stat().st_size < 1500 for path in tmp_path.iterdir())
    assert lines(tmp_path / "peers.jsonl")[-1]["number"] == 100


def test_a_slow_disk_fills_the_queue_and_no_more(made, context, view):
    writing = []
    context.work = lambda *args: writing.append(Deferred()) or writing[-1]
    log = made("application", "peer-log", context, queue=10)
    log.start()
    view.happen("session.opened")
    context.reactor.advance(1.0)
    for _ in range(50):
        view.happen("session.opened")
        context.reactor.advance(1.0)
    assert len(writing) == 1
    assert context.metrics.value("peer_log_lost_total", "queue full") == 40
    stopping = log.stop()
    writing[0].callback(None)
    writing[1].callback(None)
    result_of(stopping)


def test_a_disk_that_refuses_is_counted_and_tried_again(made, context, view, tmp_path):
    log = made("application", "peer-log", context)
    log.start()
    (tmp_path / "peers.jsonl").mkdir()
    view.happen("session.opened")
    context.reactor.advance(1.0)
    assert context.metrics.value("peer_log_lost_total", "not written") == 1
    (tmp_path / "peers.jsonl").rmdir()
    view.happen("session.opened")
    context.reactor.advance(1.0)
    assert len(lines(tmp_path / "peers.jsonl")) == 1
    result_of(log.stop())
