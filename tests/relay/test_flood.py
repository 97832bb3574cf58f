"""Flood tells everybody at once, nobody of what it has, and holds back within bounds for those who do not read."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IReconfigurable, IRelayPolicy
from p2pframe.relay.flood import FloodConfig, FloodRelay
from p2pframe.testing.context import FakeContext
from tests.relay.fake_link import TX, FakeLink, SmallNetwork, item


@pytest.fixture
def context() -> FakeContext:
    return FakeContext("relay.flood")


def flood(context: FakeContext, *links: FakeLink, **config) -> FloodRelay:
    relay = FloodRelay(FloodConfig(**config), context)
    for link in links:
        relay.link_added(link)
    return relay


def test_it_is_a_policy_that_needs_push_or_announce(context) -> None:
    relay = flood(context)
    verifyObject(IRelayPolicy, relay)
    verifyObject(IReconfigurable, relay)
    assert list(FloodRelay.needs) == [frozenset({"push"}), frozenset({"announce"})]
    relay.reconfigure(FloodConfig(queue=2))
    assert relay.config.queue == 2


def test_every_link_is_told_at_once_but_the_source(context) -> None:
    links = [FakeLink(n, inbound=n > 1) for n in range(4)]
    relay = flood(context, *links)
    relay.accepted(item(1), links[2])
    assert [link.announced for link in links] == [[item(1)], [item(1)], [], [item(1)]]
    assert context.metrics.value("relay_flooded_total", TX, "announce") == 3
    assert context.reactor.getDelayedCalls() == []


def test_it_gives_in_full_where_links_offer_push(context) -> None:
    pushing = FakeLink(1, verbs=frozenset({"push", "announce"}))
    telling = FakeLink(2)
    relay = flood(context, pushing, telling)
    relay.accepted(item(1), None)
    assert (pushing.pushed, pushing.announced) == ([item(1)], [])
    assert (telling.pushed, telling.announced) == ([], [item(1)])


def test_nobody_is_told_of_what_it_has_under_any_of_its_ids(context) -> None:
    one, two = FakeLink(1), FakeLink(2)
    relay = flood(context, one, two)
    relay.announced(one, [item(1).id])
    relay.announced(two, [b"txid"])
    relay.accepted(item(1, aliases=(b"txid",)), None)
    relay.accepted(item(1, aliases=(b"txid",)), None)
    assert one.announced == two.announced == []


def test_what_is_remembered_of_a_link_is_bounded(context) -> None:
    link = FakeLink(1)
    relay = flood(context, link, known=10)
    for number in range(1000):
        relay.announced(link, [item(number).id])
    told = relay._links[TX][1]
    assert len(told.current) + len(told.previous) <= 20
    relay.accepted(item(999), None)
    assert link.announced == []


def test_a_link_that_does_not_read_is_told_later_within_bounds_and_what_is_gone_never(context) -> None:
    link = FakeLink(1)
    relay = flood(context, link, queue=3)
    link.writable = False
    for number in range(6):
        relay.accepted(item(number), None)
    relay.withdrawn(TX, [item(4).id])
    assert context.metrics.value("relay_dropped_total", TX) == 3
    context.reactor.advance(1)
    assert link.announced == []
    link.writable = True
    relay.accepted(item(7), None)
    assert link.announced == [], "nothing overtakes"
    context.reactor.advance(1)
    assert link.announced == [item(3), item(5), item(7)]
    assert context.reactor.getDelayedCalls() == []


def test_a_link_that_is_gone_leaves_nothing_behind(context) -> None:
    link = FakeLink(1)
    relay = flood(context, link)
    link.writable = False
    relay.accepted(item(1), None)
    relay.link_removed(link)
    relay.link_removed(link)
    relay.announced(link, [item(2).id])
    assert context.reactor.getDelayedCalls() == []
    relay.accepted(item(3), None)
    assert link.announced == []


def test_a_session_that_ends_while_others_are_told_is_left_out(context) -> None:
    one, two = FakeLink(1), FakeLink(2)
    relay = flood(context, one, two)
    one.told = lambda _: relay.link_removed(two)
    relay.accepted(item(1), None)
    assert two.announced == []


def test_a_ring_spreads_everything_and_each_link_carries_an_item_at_most_once() -> None:
    network = SmallNetwork(
        [flood(FakeContext("relay.flood")) for _ in range(6)], [(n, (n + 1) % 6) for n in range(6)]
    )
    for number in range(20):
        network.publish(number % 6, item(number))
    assert all(len(held) == 20 for held in network.held)
    for (a, b), link in network.links.items():
        both = [told.id for told in link.announced + network.links[b, a].announced]
        assert len(set(both)) == len(both)
