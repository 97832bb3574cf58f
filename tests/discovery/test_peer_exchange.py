"""The discovery `peer-exchange`: when it asks and tells, how many, where, and that it stops."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from twisted.internet.defer import Deferred, succeed

from p2pframe.discovery.peer_exchange import PeerExchangeConfig, PeerExchangeDiscovery
from p2pframe.interfaces import DiscoveryState, IPeerExchange
from p2pframe.model import FoundAddress, NetworkInterface, PeerAddress
from p2pframe.testing.context import FakeContext

ALICE, BOB = PeerAddress("192.0.2.1", 8333), PeerAddress("198.51.100.1", 8333)
FOUND = [FoundAddress(PeerAddress(f"203.0.113.{n}", 8333)) for n in range(10)]


class Exchange:
    """A protocol that notes what it is asked for; `answer` is what comes of it."""

    def __init__(self):
        self.handed_over = 0
        self.asked, self.told = [], []
        self.answer = {}
        self.fault = None

    def hand_over(self):
        self.handed_over += 1

    def ask(self, limit, peers):
        self.asked.append((limit, peers))
        return self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)

    def tell(self, addresses, peers):
        self.told.append((list(addresses), peers))
        if self.fault:
            raise self.fault
        return 2


class Made:
    def __init__(self, **options):
        self.exchange = Exchange()
        self.context = FakeContext("discovery.peer-exchange", services={IPeerExchange: self.exchange})
        self.plugin = PeerExchangeDiscovery(PeerExchangeConfig(**options), self.context)

    def due(self, outbound, last):
        return self.plugin.due(DiscoveryState(1000.0, outbound, 8, 100, last))


def test_the_protocol_leaves_it_to_the_plugin_as_soon_as_that_is_built():
    assert Made().exchange.handed_over == 1


def test_it_asks_sooner_while_there_are_too_few_sessions():
    made = Made(enough=3, interval=600, retry=10)
    assert made.due(0, None) and made.due(5, None)
    assert [made.due(2, last) for last in (9.9, 10.0)] == [False, True]
    assert [made.due(3, last) for last in (10.0, 599.0, 600.0)] == [False, False, True]


def test_as_many_are_asked_as_the_config_says_and_their_answers_stand_under_their_names():
    made = Made(ask_peers=2)
    made.exchange.answer = {ALICE: FOUND[:6], BOB: FOUND[4:]}
    found = []
    made.plugin.find(50).addCallback(found.extend)
    assert made.exchange.asked == [(50, 2)]
    assert [one.address for one in found] == [one.address for one in FOUND[:6] + FOUND[4:]]
    assert [one.told_by for one in found] == [ALICE] * 6 + [BOB] * 6
    made.plugin.reconfigure(PeerExchangeConfig(ask_peers=7))
    made.plugin.find(1)
    assert made.exchange.asked[-1] == (1, 7)


def test_what_is_bound_is_told_again_and_again_to_a_bounded_number_until_it_is_withdrawn():
    made = Made(tell_peers=2, tell_interval=100)
    made.plugin.announce([ALICE])
    assert made.exchange.told == [([ALICE], 2)]
    times = []
    for _ in range(20):
        waits = [call.getTime() for call in made.context.reactor.getDelayedCalls()]
        assert len(waits) == 1, "one timer"
        times.append(waits[0] - made.context.reactor.seconds())
        made.context.reactor.advance(times[-1])
    assert all(50 <= time <= 150 for time in times) and len(set(times)) == 20
    assert len(made.exchange.told) == 21
    assert made.context.metrics.value("peer_exchange_told_total") == 42
    made.plugin.announce([BOB])
    assert len(made.context.reactor.getDelayedCalls()) == 1, "an announcement that is repeated replaces the first"
    made.plugin.withdraw()
    made.plugin.withdraw()
    assert not made.context.reactor.getDelayedCalls()


def test_a_protocol_that_fails_is_tried_again(flush_logged_errors):
    made = Made(tell_interval=10)
    made.exchange.fault = KeyError("x")
    made.plugin.announce([ALICE])
    assert len(flush_logged_errors(KeyError)) == 1
    made.exchange.fault = None
    made.context.reactor.advance(15.0)
    assert len(made.exchange.told) >= 2
    made.plugin.withdraw()


def test_nobody_is_told_where_the_config_says_so():
    made = Made(announce=False)
    made.plugin.announce([ALICE])
    assert not made.exchange.told and not made.context.reactor.getDelayedCalls()


@pytest.mark.parametrize(
    ("bound", "told"),
    [("0.0.0.0", ["192.0.2.7", "10.0.0.7"]), ("::", ["2001:db8::7"]), ("192.0.2.1", ["192.0.2.1"])],
)
def test_where_all_addresses_of_the_host_are_bound_those_that_it_has_are_told(bound, told):
    made = Made()
    here = ("127.0.0.1/8", "192.0.2.7/24", "10.0.0.7/8", "169.254.3.3/16", "::1/128", "fe80::7/64", "2001:db8::7/64")
    made.context.host_interfaces = [NetworkInterface("eth0", 2, tuple(ip_interface(one) for one in here))]
    made.plugin.announce([PeerAddress(bound, 8333)])
    assert made.exchange.told[0][0] == [PeerAddress(host, 8333) for host in told]
    made.plugin.withdraw()
