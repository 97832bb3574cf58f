"""Peer exchange: who is asked and told, how often, what counts of the answers, and what a hostile peer can do."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from p2pframe.model import PeerAddress, Slot
from p2pframe.protocols.bitcoin.addresses import IPV4, NetworkAddress, decode_addr, encode_addr, peer_address
from p2pframe.protocols.bitcoin.gossip import AddressGossip
from tests.bitcoin.conftest import protocol
from tests.bitcoin.test_serving import NODE, Server
from tests.hostile.peer import SERVES, listen

EXCHANGE = "    discovery: [{plugin: peer-exchange, announce: false, enough: 0, interval: 1h}]"
"""The plugin's part of the config where a test itself asks and tells: it looks once, while there is nobody."""


def others(number):
    return [f"203.0.{n}.9" for n in range(number)]


class Exchange(Server):
    """A node whose exchange a test drives, and scripted peers that it has dialled."""

    def __init__(self, bitcoins, peers=0, slot=Slot.MANUAL, extra=EXCHANGE, **how):
        super().__init__(bitcoins, extra=extra, **how)
        self.network = self.node.networks["bitcoin"]
        self.net.run(2.0)
        self.peers = [self.dialled(host, slot) for host in others(peers)]

    def dialled(self, host, slot=Slot.MANUAL):
        taken = listen(self.net, host)
        self.network.dialer.dial(PeerAddress(host, 18444), slot, None)
        self.net.run(0.5)
        peer = taken[0]
        peer.polite = True
        peer.version(services=SERVES).say("verack").wait()
        return peer

    def ask(self, limit=1000, peers=100):
        done = self.protocol.ask(limit, peers)
        results = []
        done.addBoth(results.append)
        self.net.run(0.2)
        return done, results

    def entries(self, number, first=0, port=18444):
        time = int(self.protocol.context.unix_time())
        return [
            NetworkAddress(time, SERVES, IPV4, bytes([100, 64, n >> 8, n & 255]), port)
            for n in range(first, first + number)
        ]

    def asked(self):
        return [peer.kinds().count("getaddr") for peer in self.peers]

    def metric(self, name, *labels):
        values = self.node.metrics.snapshot().get(f"p2pframe_{name}_total", {})
        return sum(value for key, value in values.items() if not labels or key[1:] == labels)


@pytest.fixture
def exchange(bitcoins):
    return lambda *args, **how: Exchange(bitcoins, *args, **how)


def hosts(told):
    return [one.address.host for found in told.values() for one in found]


# --- asking ---


@pytest.mark.parametrize(("extra", "asks"), [("", 1), (EXCHANGE, 0)])
def test_without_the_plugin_a_dialled_peer_is_asked_at_once_and_with_it_when_it_says(exchange, extra, asks):
    assert exchange(2, extra=extra).asked() == [asks, asks]


def test_a_bounded_number_is_asked_each_of_them_once(exchange):
    node = exchange(5, options=", getaddr_timeout: 1s")
    node.ask(peers=2)
    assert sum(node.asked()) == 2
    assert node.metric("turned_away", "getaddr-peers") == 3
    first = node.asked()
    node.ask(peers=2)
    assert sum(node.asked()) == 4 and all(now >= before for now, before in zip(node.asked(), first, strict=True))
    node.ask(peers=2)
    assert node.asked() == [1] * 5
    _, results = node.ask(peers=2)
    assert node.asked() == [1] * 5 and results == [{}]


@pytest.mark.parametrize("slot", [Slot.BLOCK_RELAY, Slot.FEELER])
def test_who_relays_blocks_only_and_a_feeler_are_not_asked(exchange, slot):
    node = exchange(1, slot=slot)
    asked = node.asked()
    _, results = node.ask()
    assert results == [{}] and node.asked() == asked


def test_who_dialled_us_is_not_asked(exchange):
    node = exchange()
    peer = node.peer()
    _, results = node.ask()
    assert results == [{}] and "getaddr" not in peer.kinds()


def test_what_is_told_comes_by_who_told_it_and_does_not_enter_the_book_by_itself(exchange):
    node = exchange(2)
    _, results = node.ask()
    for number, peer in enumerate(node.peers):
        peer.say("addr", encode_addr(node.entries(20, 100 * number))).wait()
    [told] = results
    assert {address.host: len(found) for address, found in told.items()} == dict.fromkeys(others(2), 20)
    assert node.metric("getaddr", "answered") == 2 and node.network.book.size == 0


def test_a_few_addresses_count_too_once_the_patience_is_over_and_are_news_as_ever(exchange):
    node = exchange(1, options=", getaddr_timeout: 5s")
    _, results = node.ask()
    node.peers[0].say("addr", encode_addr(node.entries(3))).wait()
    assert not results and node.network.book.size == 3
    node.net.run(5.0)
    assert hosts(results[0]) == ["100.64.0.0", "100.64.0.1", "100.64.0.2"]
    assert node.metric("getaddr", "few") == 1


def test_the_limit_is_shared_by_all_who_tell(exchange):
    node = exchange(3)
    _, results = node.ask(limit=30)
    for number, peer in enumerate(node.peers):
        peer.say("addr", encode_addr(node.entries(1000 if number == 0 else 11 + number, 2000 * number))).wait()
    assert [len(found) for found in results[0].values()] == [10, 10, 10]
    assert node.metric("getaddr_left", "over-limit") == 1000 + 12 + 13 - 30


def test_a_session_that_ends_is_not_waited_for(exchange):
    node = exchange(2)
    _, results = node.ask()
    node.peers[0].say("addr", encode_addr(node.entries(12))).wait()
    assert not results
    node.peers[1].transport.loseConnection()
    node.net.run(1.0)
    assert len(hosts(results[0])) == 12 and node.metric("getaddr", "gone") == 1


def test_who_never_answers_is_waited_for_no_longer_than_the_patience(exchange):
    node = exchange(2, options=", getaddr_timeout: 20s")
    _, results = node.ask()
    node.net.run(19.0)
    assert not results
    node.net.run(1.0)
    assert results == [{}] and node.metric("getaddr", "silent") == 2
    # A late answer is taken as what a peer tells by itself, under core's budget.
    node.peers[0].say("addr", encode_addr(node.entries(20))).wait()
    assert node.network.book.size == node.metric("told_addresses", "new") > 15


def test_asking_can_be_cancelled_and_leaves_no_timer(exchange):
    node = exchange(2)
    done, results = node.ask()
    done.cancel()
    results[0].trap(CancelledError)
    node.peers[0].say("addr", encode_addr(node.entries(20))).wait(100.0)
    assert len(results) == 1 and node.metric("getaddr", "cancelled") == 2
    assert not node.protocol.exchange._waiting


# --- hostile answers ---


def test_a_thousand_unroutable_addresses_are_worth_nothing_on_a_public_chain(exchange, monkeypatch):
    node = exchange(1)
    monkeypatch.setattr(node.protocol.gossip, "_public", True)
    _, results = node.ask()
    node.peers[0].say("addr", encode_addr(node.entries(1000))).wait()
    assert results == [{}] and node.metric("gossip_left", "not-routable") == 1000


def test_a_thousand_times_the_same_address_is_one(exchange):
    node = exchange(1)
    _, results = node.ask()
    node.peers[0].say("addr", encode_addr(node.entries(1) * 1000)).wait()
    assert hosts(results[0]) == ["100.64.0.0"] and node.metric("getaddr_left", "repeated") == 999


def test_over_a_thousand_in_one_answer_end_the_session(exchange):
    node = exchange(1)
    _, results = node.ask()
    node.peers[0].say("addr", b"\xfd\xe9\x03" + bytes(30 * 1001)).wait(1.0)
    assert node.peers[0].lost and results == [{}]


def test_a_second_answer_and_a_flood_unasked_are_no_answers_and_bounded(exchange):
    node = exchange(2, extra=f"{EXCHANGE}\n    limits: {{addresses_burst: 50}}")
    node.peers[1].say("addr", encode_addr(node.entries(1000, 5000))).wait()
    assert node.network.book.size <= 50, "it was not asked yet"
    _, results = node.ask(peers=2)
    for start in range(0, 30_000, 1000):
        node.peers[0].say("addr", encode_addr(node.entries(1000, start)))
    node.net.run(1.0)
    node.net.run(45.0)
    assert set(hosts(results[0])) == {peer_address(one).host for one in node.entries(1000)}
    assert node.metric("messages_dropped", "addr-rate") >= 19
    assert node.metric("told_addresses", "over-rate") > 0
    assert node.network.book.size <= 120


# --- telling ---


def own(peer):
    return [str(peer_address(entry)) for payload in peer.heard("addr") for entry in decode_addr(payload)]


def test_a_bounded_number_is_told_each_about_once_a_day(exchange):
    node = exchange(5, options=", own_address_interval: 1000s")
    bound = [PeerAddress(NODE, 18444)]
    assert [node.protocol.tell(bound, 2) for _ in range(4)] == [2, 2, 1, 0]
    node.net.run(0.2)
    assert [own(peer) for peer in node.peers] == [[f"{NODE}:18444"]] * 5
    assert node.metric("turned_away", "own-address-peers") == 3 + 1
    node.net.run(799.0)
    assert node.protocol.tell(bound, 5) == 0
    node.net.run(402.0)
    assert node.protocol.tell(bound, 5) == 5


def test_what_the_operator_gave_goes_before_what_is_bound_and_is_not_told_unasked(exchange):
    node = exchange(1, options=", external: ['192.0.2.77:1234']")
    node.net.run(100.0)
    assert own(node.peers[0]) == []
    assert node.protocol.tell([PeerAddress(NODE, 18444)], 1) == 1
    node.net.run(0.2)
    assert own(node.peers[0]) == ["192.0.2.77:1234"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1"])
def test_a_place_that_means_nothing_to_others_is_not_told(exchange, host):
    node = exchange(1)
    assert node.protocol.tell([PeerAddress(host, 18444)], 1) == 0
    assert node.metric("gossip_left", "own-not-routable") == 1
    assert node.protocol.tell([PeerAddress(host, 18444), PeerAddress(NODE, 18444)], 1) == 1, "it still waits its turn"


def test_on_a_public_chain_no_unroutable_address_is_told(exchange, monkeypatch):
    node = exchange(1)
    monkeypatch.setattr(node.protocol.gossip, "_public", True)
    for host in (NODE, "10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"):
        assert node.protocol.tell([PeerAddress(host, 8333)], 1) == 0
    assert node.protocol.tell([PeerAddress("8.8.8.8", 8333)], 1) == 1
    assert isinstance(node.protocol.gossip, AddressGossip)


# --- the plugin in a network ---


def test_twenty_nodes_that_know_one_each_come_to_know_nearly_all(bitcoins):
    addresses = [f"11.{n}.0.1" for n in range(20)]
    nodes = []
    for number, address in enumerate(addresses):
        known = f'{{plugin: static, peers: ["{addresses[number - 1]}:18444"]}}, ' if number else ""
        nodes.append(bitcoins.start(address, extra=f"    discovery: [{known}{{plugin: peer-exchange}}]"))
    bitcoins.net.run(3600.0)
    known = [
        {host for host in addresses if PeerAddress(host, 18444) in node.networks["bitcoin"].book} for node in nodes
    ]
    assert min(len(one) for one in known) >= 18, sorted(len(one) for one in known)
    for node in nodes:
        asked = protocol(node).exchange._asked
        dialled = [s for s in node.view.sessions() if not s.inbound]
        assert len(asked) <= len(dialled)


def test_peers_are_asked_and_what_they_tell_is_theirs_in_the_book(exchange):
    node = exchange(1, extra="    discovery: [{plugin: peer-exchange, announce: false, retry: 1s}]")
    node.net.run(3.0)
    assert node.asked() == [1]
    node.peers[0].say("addr", encode_addr(node.entries(20))).wait()
    assert node.network.book.size == node.metric("discovery_addresses", "peer-exchange", "yes") > 15
    assert node.metric("discovery_addresses") == 20
    views = node.node.view.addresses("bitcoin")
    assert {view.source for view in views} == {"peers of v4:203.0"}
