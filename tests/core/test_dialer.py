"""Dials: how many at once, to whom, how often; those that never connect, are cancelled, or meet a failing plugin."""

from __future__ import annotations

from itertools import pairwise

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from p2pframe.errors import SessionClosed
from p2pframe.model import FoundAddress, PeerAddress, Slot, netgroup
from p2pframe.sim.reactor import HostReactor

ALICE, BOB = "192.0.2.1", "198.51.100.1"


@pytest.fixture
def hole(cluster, monkeypatch):
    """The dials to addresses that no host has, from which nothing ever comes back: (time, address) of each."""
    dialled = []
    dial = HostReactor.connectTCP

    def noted(self, host, *args, **kwargs):
        if cluster.net.network.find(host) is None:
            dialled.append((self.seconds(), host))
        return dial(self, host, *args, **kwargs)

    monkeypatch.setattr(HostReactor, "connectTCP", noted)
    return dialled


def fill(network, addresses):
    network.book.add([FoundAddress(PeerAddress(host, 7777), 1) for host in addresses], "test")


def results(network):
    return {labels[1]: value for labels, value in network.dialer._results.values.items()}


def test_dials_at_once_are_bounded_and_end_by_their_time_limit(cluster, hole):
    network = cluster.start(ALICE).networks["chat"]
    fill(network, [f"{n}.{n}.1.1" for n in range(20, 90)])
    most = 0
    for _ in range(400):
        cluster.net.run(0.1)
        most = max(most, len(network.dialer.under_way))
    assert 2 < most <= network.limits.dial_concurrency
    assert len(hole) > most, "those that did not connect made room for others"
    assert results(network)["timeout"] >= len(hole) - most
    seen = [host for _, host in hole]
    assert len(seen) == len(set(seen)), "retry_interval: nobody is tried again so soon"


def test_dials_to_one_netgroup_are_bounded_at_once(cluster, hole):
    network = cluster.start(ALICE).networks["chat"]
    fill(network, [f"66.66.{n}.1" for n in range(200)])
    for _ in range(200):
        cluster.net.run(0.1)
        groups = [netgroup(address) for address, _ in network.dialer.under_way]
        assert len(groups) <= network.limits.dials_per_netgroup
    assert hole


def test_retry_and_draws_are_what_the_config_says(cluster, hole):
    extra = "    limits: {retry_interval: 20s, draws: 1, connect_timeout: 1s}"
    network = cluster.start(ALICE, extra=extra).networks["chat"]
    fill(network, ["66.66.1.1"])
    cluster.net.run(70.0)
    times = [at for at, _ in hole]
    assert len(times) >= 2 and all(later - before >= 19.9 for before, later in pairwise(times))
    drawn = []
    draw = network.book.draw
    network.book.draw = lambda *a, **k: drawn.append(1) or draw(*a, **k)
    fill(network, ["66.67.1.1"])  # a book that has changed is looked at again at once
    network.addresses.draw(
        next(iter(network.topology.wants(network.view()))), network.view(), lambda group: 0
    )
    assert len(drawn) == 1


def test_a_book_in_which_nothing_was_found_is_left_alone_for_a_while(cluster, hole):
    network = cluster.start(ALICE).networks["chat"]
    fill(network, [f"66.{n}.1.1" for n in range(10)])
    cluster.net.run(30.0)
    assert len(hole) == 10  # all of them within a few seconds, and none again so soon
    drawn = []
    draw = network.book.draw
    network.book.draw = lambda *a, **k: drawn.append(1) or draw(*a, **k)
    cluster.net.run(60.0)
    looks = len(drawn) / network.limits.draws
    assert 5 < looks < 60.0 / network.limits.dial_interval / 2
    fill(network, ["77.1.1.1"])
    cluster.net.run(2.0)
    assert len(hole) == 11


def test_a_manual_peer_that_is_not_there_is_tried_ever_less_often_up_to_the_bound(cluster, hole):
    extra = "    limits: {connect_timeout: 1s, manual_retry: 10s}"
    cluster.start(ALICE, (BOB,), extra=extra)
    cluster.net.run(100.0)
    gaps = [later - before for (before, _), (later, _) in pairwise(hole)]
    assert gaps[0] < 3.0 and all(8.0 < gap < 13.0 for gap in gaps[5:])


def test_a_stop_cancels_what_is_under_way_and_leaves_no_timer(cluster, hole):
    node = cluster.start(ALICE, (BOB,))
    cluster.net.run(1.0)
    waiting = node.control.connect("chat", PeerAddress("203.0.113.1", 7777))
    failures = []
    waiting.addErrback(failures.append)
    assert len(node.networks["chat"].dialer.under_way) == 2
    cluster.stop()
    assert failures[0].check(SessionClosed)
    assert node.networks["chat"].dialer.under_way == ()
    cluster.net.run(0.1)  # what was on its way already
    assert cluster.net.clock.getDelayedCalls() == []


def test_a_peer_that_accepts_and_says_nothing_holds_its_dial_until_the_handshake_is_late(cluster):
    mute = Factory()
    mute.protocol = Protocol
    mute.noisy = False
    cluster.net.at("66.66.1.1").reactor.listenTCP(7777, mute)
    network = cluster.start(ALICE, extra="    limits: {handshake_timeout: 10s}").networks["chat"]
    fill(network, ["66.66.1.1"])
    cluster.net.run(5.0)
    assert [slot for _, slot in network.dialer.under_way] in (
        [Slot.OUTBOUND],
        [Slot.BLOCK_RELAY],
        [Slot.FEELER],
    )
    cluster.net.run(9.0)
    assert network.dialer.under_way == () and not network.sessions
    assert network._closed_total.values["handshake-timeout",] == 1


def test_a_transport_that_raises_or_never_answers_is_named_and_no_dial_is_left(cluster, flush_logged_errors):
    network = cluster.start(ALICE).networks["chat"]
    via = network.parts.transports[0]

    def broken(address, peer_id):
        raise RuntimeError("a bug of the transport's")

    via.dial = broken
    with pytest.raises(SessionClosed, match="a bug of the transport"):
        cluster.wait(network.dialer.connect(PeerAddress(BOB, 7777)))

    class Endpoint:
        def connect(self, factory):
            return Deferred()

    via.dial = lambda address, peer_id: Endpoint()
    with pytest.raises(SessionClosed, match="timed out"):
        cluster.wait(network.dialer.connect(PeerAddress(BOB, 7777)))
    assert network.dialer.under_way == ()
    flush_logged_errors(RuntimeError)


def test_a_protocol_that_cannot_begin_leaves_no_dial(cluster, flush_logged_errors, monkeypatch):
    cluster.start(BOB)
    network = cluster.start(ALICE).networks["chat"]

    def broken(session):
        raise RuntimeError("a bug of the plugin's")

    monkeypatch.setattr(network.protocol, "conversation", broken)
    with pytest.raises(SessionClosed):
        cluster.wait(network.dialer.connect(PeerAddress(BOB, 7777)))
    assert network.dialer.under_way == () and not network.sessions
    flush_logged_errors(RuntimeError)


class Source:
    """A discovery plugin of the test's."""

    name = "test"
    manual = False

    def __init__(self, find):
        self.find = find
        self.asked = 0

    def due(self, state):
        self.asked += 1
        return True

    def announce(self, addresses):
        pass

    def withdraw(self):
        pass


def with_source(network, find):
    from p2pframe.core.finder import _Source

    source = Source(find)
    network.finder._sources[:] = [_Source(source, source.name)]
    return source


def test_what_one_look_of_a_discovery_gives_is_bounded(cluster):
    network = cluster.start(ALICE, extra="    limits: {discovery_addresses: 10}").networks["chat"]
    calls = []
    with_source(network, lambda maximum: calls.append(maximum) or [
        FoundAddress(PeerAddress(f"{n % 200 + 20}.{n // 200}.1.1", 7777), 1) for n in range(500)
    ])  # fmt: skip
    cluster.net.run(1.5)
    assert set(calls) == {10} and network.book.size <= 10


def test_a_discovery_that_never_answers_is_given_up_and_tried_later(cluster):
    network = cluster.start(ALICE, extra="    limits: {discovery_timeout: 5s}").networks["chat"]
    looks = []
    with_source(network, lambda maximum: looks.append(Deferred()) or looks[-1])
    cluster.net.run(120.0)
    assert 3 <= len(looks) <= 8
    assert network.finder._errors.values["test",] == len([look for look in looks if look.called])


def test_an_announcement_that_is_under_way_is_cancelled_when_the_network_stops(cluster):
    network = cluster.start(ALICE).networks["chat"]
    cancelled = []
    telling = Deferred(cancelled.append)
    source = with_source(network, lambda maximum: [])
    source.announce = lambda addresses: telling
    network.finder.announce(network.ports.bound)
    cluster.net.run(2.0)
    assert not cancelled
    cluster.stop()
    assert cancelled == [telling]


@pytest.mark.parametrize("answer", [None, "nonsense", [1, 2]])
def test_a_discovery_that_gives_nonsense_is_counted_and_the_node_goes_on(cluster, answer):
    network = cluster.start(ALICE).networks["chat"]
    with_source(network, lambda maximum: answer)
    cluster.net.run(3.0)
    assert network.finder._errors.values["test",] >= 1 and network.running


def test_addresses_that_one_session_tells_are_bounded_at_once_and_in_the_long_run(cluster):
    extra = "    limits: {addresses_burst: 50, addresses_per_second: 1}"
    alice = cluster.start(ALICE, extra=extra)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: [s for s in alice.view.sessions() if s.state == "open"])
    network = alice.networks["chat"]
    (session,) = network.sessions.values()
    told = [FoundAddress(PeerAddress(f"{n % 200 + 20}.{n // 200}.1.1", 7777), 1) for n in range(5000)]
    assert session.found(told) == 50
    assert alice.metrics.snapshot()["p2pframe_told_addresses_total"]["chat", "over-rate"] == 4950
    cluster.net.run(10.0)
    session.tick(cluster.net.clock.seconds())
    assert 9 <= session.found(told) <= 13
    assert bob.networks["chat"].running
