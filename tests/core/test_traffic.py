"""Messages by type and bytes in the metrics: summed when they are read, bounded, and never less than before."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred

from p2pframe.core.metrics import SERIES, NodeMetrics
from p2pframe.core.traffic import Traffic
from p2pframe.model import SessionCounters

NAMES = (
    "messages_received_total", "message_bytes_received_total", "messages_sent_total", "network_bytes_received_total",
    "network_bytes_sent_total",
)  # fmt: skip


def counters(came=(), went=(), moved=(0, 0)):
    made = SessionCounters(0.0)
    for kind, (count, size) in dict(came).items():
        made.messages_in[kind], made.message_bytes_in[kind] = count, size
    made.messages_out.update(went)
    made.bytes_in, made.bytes_out = moved
    return made


class Gate:
    def __init__(self):
        self.held = {"ping": (2, 100)}
        self.moved = (130, 70)

    def add_messages(self, sums):
        for kind, (count, size) in self.held.items():
            had = sums.get(kind, (0, 0))
            sums[kind] = had[0] + count, had[1] + size


@pytest.fixture
def node():
    return NodeMetrics()


@pytest.fixture
def traffic(node):
    return Traffic(node.view("net", "core"))


def shown(node):
    numbers = node.snapshot()
    return [numbers[f"p2pframe_{name}"] for name in NAMES]


def test_sessions_and_datagrams_are_counted_together(node, traffic):
    one = counters({"ping": (1, 10), "tx": (2, 500)}, {"pong": 1}, (600, 40))
    traffic.count([one, counters({"tx": (1, 200)}, {"pong": 2}, (210, 80))], [Gate()])
    assert shown(node) == [
        {("net", "ping"): 3, ("net", "tx"): 3}, {("net", "ping"): 110, ("net", "tx"): 700}, {("net", "pong"): 3},
        {("net",): 940}, {("net",): 190},
    ]  # fmt: skip


def test_nothing_is_counted_twice_and_the_end_of_a_session_takes_nothing_away(node, traffic):
    one, two = counters({"tx": (2, 500)}, {"pong": 1}, (600, 40)), counters({"tx": (1, 200)}, {}, (210, 0))
    traffic.count([one, two], [])
    before = shown(node)
    traffic.count([one, two], [])
    assert shown(node) == before
    traffic.ended(one)
    traffic.count([two], [])
    assert shown(node) == before
    two.messages_in["tx"], two.message_bytes_in["tx"], two.bytes_in = 3, 600, 620
    traffic.ended(two)
    traffic.count([], [])
    assert shown(node)[:2] == [{("net", "tx"): 5}, {("net", "tx"): 1100}] and shown(node)[3] == {("net",): 1220}
    assert traffic.messages([], []) == {"tx": (5, 1100)}


def test_a_protocol_that_forgets_does_not_turn_a_counter_back(node, traffic):
    gate = Gate()
    traffic.count([], [gate])
    gate.held = {"ping": (1, 50)}
    traffic.count([], [gate])
    assert shown(node)[:2] == [{("net", "ping"): 2}, {("net", "ping"): 100}]
    gate.held = {"ping": (3, 150)}
    traffic.count([], [gate])
    assert shown(node)[:2] == [{("net", "ping"): 3}, {("net", "ping"): 150}]


def test_types_beyond_the_bound_and_those_nobody_knows_are_other(node, traffic):
    many = {f"type{number}": (1, 10) for number in range(SERIES + 40)}
    many["*"] = (5, 70)
    for _ in range(2):
        traffic.count([counters(many, {kind: count for kind, (count, _) in many.items()})], [])
    for numbers, other in zip(shown(node)[:3], (45, 470, 45), strict=True):
        assert len(numbers) == SERIES + 1 and numbers["net", "other"] == other and ("net", "*") not in numbers
    assert b'p2pframe_metric_labels_folded_total{metric="messages_received"} 40.0' in node.exposition()


def test_a_network_that_is_made_anew_counts_on(node, traffic):
    traffic.count([counters({"tx": (2, 500)}, {"pong": 1}, (600, 40))], [])
    Traffic(node.view("net", "core")).count([counters({"tx": (1, 100)}, {"pong": 1}, (100, 10))], [])
    assert shown(node) == [
        {("net", "tx"): 3}, {("net", "tx"): 600}, {("net", "pong"): 2}, {("net",): 700}, {("net",): 50},
    ]  # fmt: skip


def test_numbers_are_summed_whichever_way_they_are_read(node):
    asked = []
    node.before_reading = lambda: asked.append(True)
    node.snapshot()
    node.exposition()
    assert len(asked) == 2


# --- a node ---


def exposed(node):
    return {
        (sample.name.removeprefix("p2pframe_"), sample.labels["network"], sample.labels.get("type", "")): sample.value
        for family in text_string_to_metric_families(node.view.exposition().decode())
        for sample in family.samples
        if sample.name.removeprefix("p2pframe_") in NAMES
    }


def say(cluster, node, text):
    cluster.wait(node.networks["chat"].protocol.say(text))
    cluster.net.run(1.0)


def test_a_node_shows_what_its_peers_sent_and_keeps_it_when_they_leave(cluster):
    alice = cluster.start("192.0.2.1")
    bob = cluster.start("198.51.100.1", ("192.0.2.1",))
    cluster.net.run(5.0)
    say(cluster, bob, "one")
    first = exposed(alice)
    (network,) = alice.view.networks()
    (session,) = alice.view.sessions("chat")
    for kind, (messages, size) in network.messages.items():
        assert first["messages_received_total", "chat", kind] == messages
        assert first["message_bytes_received_total", "chat", kind] == size
    assert network.messages and session.messages_out
    for kind, messages in session.messages_out.items():
        assert first["messages_sent_total", "chat", kind] == messages
    assert first["network_bytes_received_total", "chat", ""] == session.bytes_in
    assert first["network_bytes_sent_total", "chat", ""] == session.bytes_out
    say(cluster, bob, "two")
    second = exposed(alice)
    assert second["network_bytes_received_total", "chat", ""] > first["network_bytes_received_total", "chat", ""]
    cluster.wait(bob.stop())
    cluster.net.run(5.0)
    assert not list(alice.view.sessions("chat"))
    third = exposed(alice)
    assert all(third[key] >= count for key, count in second.items())


def test_what_came_since_the_last_look_is_kept_when_a_network_stops(cluster):
    alice = cluster.start("192.0.2.1")
    bob = cluster.start("198.51.100.1", ("192.0.2.1",))
    cluster.net.run(5.0)
    say(cluster, bob, "one")
    received = sum(session.bytes_in for session in alice.view.sessions("chat"))
    network = alice.networks.pop("chat")
    try:
        assert "network_bytes_received_total" in {name for name, *_ in exposed(alice)}
        assert alice.metrics.snapshot()["p2pframe_network_bytes_received_total"]["chat",] == 0
        cluster.wait(Deferred.fromCoroutine(network.stop()))
        assert alice.metrics.snapshot()["p2pframe_network_bytes_received_total"]["chat",] >= received > 0
    finally:
        alice.networks["chat"] = network
