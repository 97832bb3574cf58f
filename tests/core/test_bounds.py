"""What a node says of its bounds: value, origin, use and what they turned away; and which one a refusal comes from."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from p2pframe.config.settings import Limits
from p2pframe.core.events import Events
from p2pframe.model import Fact, Floor
from p2pframe.plugin import Bound, PluginConfig, Size, bound, bound_of, is_live
from p2pframe.testing.context import FakeMetrics

NODE = "10.0.0.1"
SMALL = "    limits: {handshakes: 2, netgroup_accepts_burst: 3}\n    topology: {plugin: random, inbound: 1}"


class Options(PluginConfig):
    """Of a test."""

    buffer: Size = bound(5, counter="shed", label=("a", "b"), refuses=("too-much",), description="Bytes.")
    fixed: int = bound(1, counter="", live=False, description="Fixed.")
    other: int = 3


def test_a_declaration_says_it_all():
    assert bound_of(Options, "buffer") == Bound("shed", ("a", "b"), ("too-much",), "", "bytes", False)
    assert bound_of(Options, "other") is None
    assert is_live(Options, "buffer") and not is_live(Options, "fixed")
    assert bound_of(Options, "fixed").label == ()


def of(node, path):
    (found,) = [one for one in node.view.bounds() if one.path == path]
    return found


def dial(cluster, source, count=1):
    """Connections that say nothing."""
    for _ in range(count):
        endpoint = TCP4ClientEndpoint(cluster.net.at(source).reactor, NODE, 7777)
        connectProtocol(endpoint, Protocol()).addErrback(lambda _: None)
    cluster.net.run(1.0)


def test_each_bound_says_value_origin_use_and_what_it_turned_away(cluster):
    node = cluster.start(NODE, extra=SMALL)
    path = "networks.chat.limits.handshakes"
    before = of(node, path)
    assert (before.value, before.used, before.turned_away, before.live) == (2, 0, 0, True)
    assert before.where.endswith(":14:26") and before.network == "chat"
    assert before.counter == "p2pframe_handshakes_evicted_total"
    dial(cluster, "10.1.0.9")
    dial(cluster, "10.2.0.9")
    assert of(node, path).used == 2
    dial(cluster, "10.3.0.9")
    after = of(node, path)
    assert (after.used, after.turned_away) == (2, 1)
    default = of(node, "networks.chat.limits.visits")
    assert (default.where, default.value, default.used) == ("default", Limits().visits, 0)


def test_the_counter_of_one_bound_is_told_from_that_of_another(cluster):
    node = cluster.start(NODE, extra=SMALL)
    dial(cluster, "10.1.0.9", 5)
    group = of(node, "networks.chat.limits.netgroup_accepts_burst")
    assert group.turned_away == 2 and group.label == ("netgroup-rate",)
    assert of(node, "networks.chat.limits.accepts_burst").turned_away == 0


def test_slots_are_used_by_sessions_and_who_finds_them_full_is_told_which(cluster):
    node = cluster.start(NODE, extra="    topology: {plugin: random, inbound: 1}")
    cluster.start("10.1.0.2", peers=(NODE,))
    cluster.net.run(5.0)
    slots = of(node, "networks.chat.topology.inbound")
    assert (slots.value, slots.used) == (1, 1)
    cluster.start("10.2.0.2", peers=(NODE,))
    cluster.net.run(5.0)
    (refused, *_) = node.view.latest(kinds=("peer.refused",))
    slots = of(node, "networks.chat.topology.inbound")
    assert refused.fields["reason"] in slots.refuses and slots.turned_away >= 1
    assert "inbound" in refused.fields["evidence"]


def test_a_changed_value_is_the_one_that_is_told(cluster):
    node = cluster.start(NODE, extra=SMALL)
    path = "networks.chat.limits.handshakes"
    cluster.wait(node.control.change({path: 9}))
    assert (of(node, path).value, of(node, path).where) == (9, "set while it runs")


def test_the_nodes_own_bounds_are_among_them_and_are_not_live(cluster):
    node = cluster.start(NODE)
    events = of(node, "node.events")
    assert events.used == len(node.events) and events.fills and not events.live
    assert of(node, "node.bans").used == 0


def test_what_is_said_of_a_plugin_that_can_not_say_it_is_nothing(cluster, monkeypatch, flush_logged_errors):
    from zope.interface import classImplements

    from p2pframe.interfaces import IUsage
    from p2pframe.topology.random import RandomTopology

    node = cluster.start(NODE, extra="    topology: {plugin: random, inbound: 1}")
    (place,) = [one for one in node.builder.built if isinstance(one.instance, RandomTopology)]

    class Broken(RandomTopology):
        def usage(self):
            raise ValueError("no")

    classImplements(Broken, IUsage)
    place.instance.__class__ = Broken
    assert of(node, "networks.chat.limits.visits").used == 0
    assert [type(one.value) for one in flush_logged_errors()] == [ValueError]


def test_what_is_done_about_a_peer_is_counted_by_rule_and_action(cluster):
    node = cluster.start(NODE)
    cluster.start("10.1.0.2", peers=(NODE,))
    cluster.net.run(5.0)
    network = node.networks["chat"]
    (session,) = network.sessions.values()
    network.observe(session, Fact("test", Floor.NOTE, proven=True))
    assert "p2pframe_decisions_total" in node.view.numbers() and not node.view.numbers()["p2pframe_decisions_total"]
    network.observe(session, Fact("test", Floor.END_AND_DISCOURAGE, proven=True))
    assert node.view.numbers()["p2pframe_decisions_total"] == {("chat", "floor", "discourage"): 1}


@pytest.mark.parametrize("before", [None, 5])
def test_the_latest_events_of_some_kinds(before):
    events = Events(100, lambda: 1.0, FakeMetrics())
    for number in range(8):
        events.emit(("a", "b")[number % 2])
    found = [one.number for one in events.latest(2, kinds=("a",), before=before)]
    assert found == ([7, 5] if before is None else [3, 1])
