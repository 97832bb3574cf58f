"""Address gossip: what is taken, whom it is told on to, and what getaddr is answered."""

from __future__ import annotations

from collections import Counter

import pytest

from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.protocols.bitcoin.addresses import IPV4, TORV3, NetworkAddress, peer_address
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.gossip import ANSWERS, RELAYED, REMEMBERED, AddressGossip
from p2pframe.testing.context import FakeContext

NOW = 1_700_000_000.0
DAY = 86_400


class Book:
    def __init__(self, *found):
        self.found = list(found)
        self.asked = []

    def sample(self, maximum, percent=100):
        self.asked.append((maximum, percent))
        return self.found[:maximum]


class Session:
    """What gossip uses of one: it takes at most `budget` addresses."""

    def __init__(self, id, budget=10_000, host="198.51.100.1"):
        self.id = id
        self.closing = False
        self.budget = budget
        self.address = PeerAddress.of(host, 5000)
        self.taken = []

    def found(self, addresses):
        taken = list(addresses)[: self.budget]
        self.budget -= len(taken)
        self.taken += taken
        return len(taken)


def entry(number=1, age=60, services=1, port=8333, network=IPV4, address=None):
    return NetworkAddress(int(NOW) - age, services, network, address or bytes([8, 8, number >> 8, number & 255]), port)


class Gossip(AddressGossip):
    def received(self, session, entries, solicited, sessions, now):
        """As the protocol does it."""
        is_news = not solicited and len(entries) <= RELAYED
        return self.take(session, self.vetted(entries, now), is_news, sessions, now)


def gossip(book=None, public=True, seed=0, **options):
    context = FakeContext("protocol.bitcoin", seed=seed)
    return Gossip(BitcoinConfig(**options), context, book or Book(), public), context


@pytest.fixture
def peers():
    return [Session(number) for number in range(1, 21)]


def told(result):
    return dict(result)


def test_fresh_addresses_go_into_the_book_and_on_to_two_peers(peers):
    one, context = gossip()
    source = peers[4]
    news = [entry(number) for number in range(10)]
    result = one.received(source, news, False, peers, NOW)
    assert [found.address for found in source.taken] == [peer_address(each) for each in news]
    assert source.taken[0].last_seen == NOW - 60
    times = Counter(each for _, entries in result for each in entries)
    assert times == dict.fromkeys(news, 2)
    assert source.id not in told(result)
    assert all(len(entries) <= 10 for _, entries in result)
    assert context.metrics.value("gossip_forwarded_total") == 20


def test_old_ones_answers_and_long_messages_are_no_news(peers):
    one, _ = gossip()
    assert one.received(peers[0], [entry(1, age=600)], False, peers, NOW) == []
    assert one.received(peers[0], [entry(2)], True, peers, NOW) == []
    assert one.received(peers[0], [entry(number) for number in range(3, 14)], False, peers, NOW) == []
    assert len(peers[0].taken) == 13
    assert one.received(peers[0], [entry(20, age=599)], False, peers, NOW)


@pytest.mark.parametrize("age", [-601, -(2**31), int(NOW), int(NOW) - 100_000_000])
def test_impossible_times_are_days_ago(peers, age):
    one, _ = gossip()
    odd = entry()._replace(time=min(max(int(NOW) - age, 0), 2**32 - 1))
    assert one.received(peers[0], [odd], False, peers, NOW) == []
    assert peers[0].taken[0].last_seen == NOW - 5 * DAY


def test_a_clock_that_is_a_little_ahead_is_believed(peers):
    one, _ = gossip()
    assert one.received(peers[0], [entry(age=-600)], False, peers, NOW)
    assert peers[0].taken[0].last_seen == NOW + 600


def test_on_public_chains_only_what_is_routable_and_nobody_elses(peers):
    bad = [
        entry(address=bytes([10, 0, 0, 1])), entry(address=bytes([127, 0, 0, 1])), entry(address=bytes([192, 0, 2, 1])),
        entry(port=22), entry(port=0), entry(services=0), entry(services=8),
    ]  # fmt: skip
    one, context = gossip()
    assert one.received(peers[0], bad, False, peers, NOW) == []
    assert peers[0].taken == []
    for reason, number in (("not-routable", 4), ("no-port", 1), ("no-blocks", 2)):
        assert context.metrics.value("gossip_left_total", reason) == number
    one, _ = gossip(public=False)
    assert told(one.received(peers[0], bad[:4], False, peers, NOW))
    assert len(peers[0].taken) == 4
    onion = entry(network=TORV3, address=bytes(32))
    one, _ = gossip()
    assert one.received(peers[0], [onion, entry(services=1024)], False, peers, NOW)


def test_of_a_peer_over_its_budget_nothing_is_told_on(peers):
    one, _ = gossip()
    flooder = Session(99, budget=3)
    result = one.received(flooder, [entry(number) for number in range(10)], False, peers, NOW)
    assert {each for _, entries in result for each in entries} == {entry(number) for number in range(3)}
    assert one.received(flooder, [entry(50)], False, peers, NOW) == []


def test_an_address_goes_round_once(peers):
    one, _ = gossip()
    assert one.received(peers[0], [entry()], False, peers, NOW)
    assert one.received(peers[1], [entry(age=30)], False, peers, NOW + 60) == []
    assert one.received(peers[1], [entry(age=-600)], False, peers, NOW + 601)


def test_what_was_told_on_is_forgotten_beyond_a_bound(peers):
    one, _ = gossip()
    for number in range(0, REMEMBERED + 100, 10):
        one.received(peers[0], [entry(each) for each in range(number, number + 10)], False, peers[:3], NOW)
    assert len(one._told) == REMEMBERED


def test_the_two_peers_are_the_same_all_day_and_others_the_next(peers):
    one, _ = gossip()

    def chosen(number, now):
        one._told.clear()
        return sorted(told(one.received(peers[0], [entry(number, age=int(NOW - now))], False, peers, now)))

    changes = []
    for number in range(60):
        first = chosen(number, NOW)
        assert len(first) == 2
        hours = [chosen(number, NOW + hour * 3600) for hour in range(25)]
        assert hours[0] == first
        changed = [hour for hour in range(1, 25) if hours[hour] != hours[hour - 1]]
        assert len(changed) <= 1  # one midnight in a day, at an hour of the address's own
        changes += changed
    assert len(changes) >= 50
    assert len(set(changes)) >= 12
    spread = Counter(id for number in range(200) for id in chosen(number, NOW))
    assert len(spread) == len(peers) - 1
    assert max(spread.values()) < 60


def test_another_node_tells_other_peers(peers):
    first, second = gossip(seed=1)[0], gossip(seed=2)[0]
    news = [entry(number) for number in range(10)]
    assert told(first.received(peers[0], news, False, peers, NOW)) != told(
        second.received(peers[0], news, False, peers, NOW)
    )


def test_sessions_that_end_are_told_nothing(peers):
    one, _ = gossip()
    for peer in peers[1:]:
        peer.closing = True
    assert one.received(peers[0], [entry()], False, peers, NOW) == []


def book_of(number):
    return Book(*(FoundAddress(PeerAddress(f"8.8.{n >> 8}.{n & 255}", 8333), 9, NOW - n) for n in range(number)))


def test_getaddr_is_answered_the_same_for_about_a_day():
    book = book_of(100)
    one, _ = gossip(book)
    answer = one.answer(Session(1), NOW)
    assert book.asked == [(1000, 23)]
    assert answer[0] == NetworkAddress(int(NOW), 9, IPV4, bytes([8, 8, 0, 0]), 8333)
    book.found = book.found[50:]
    assert one.answer(Session(2, host="203.0.113.5"), NOW + 21 * 3600 - 1) == answer
    assert one.answer(Session(3), NOW + 27 * 3600) != answer
    assert len(book.asked) == 2


def test_each_network_has_its_own_answer_and_they_are_few():
    book = book_of(100)
    one, _ = gossip(book)
    for host in ("198.51.100.1", "2001:db8::1", "a" * 56 + ".onion", "b" * 52 + ".b32.i2p"):
        one.answer(Session(1, host=host), NOW)
        one.answer(Session(2, host=host), NOW)
    assert len(book.asked) == 4
    assert len(one._answers) == 4 <= ANSWERS


def test_an_answer_has_only_what_may_be_told_and_an_empty_one_does_not_last():
    book = Book(
        FoundAddress(PeerAddress("10.0.0.1", 8333), 1, NOW), FoundAddress(PeerAddress("node.example", 8333, "name"))
    )
    one, _ = gossip(book)
    assert one.answer(Session(1), NOW) == []
    book.found.append(FoundAddress(PeerAddress("8.8.8.8", 8333), 1))
    assert [each.address for each in one.answer(Session(1), NOW + 1)] == [bytes([8, 8, 8, 8])]


def test_our_own_address_is_what_the_operator_gave():
    one, context = gossip()
    assert one.own(NOW, 9) == []
    one, context = gossip(external=["8.8.8.8:8333", "10.0.0.1:8333", "[2606:4700::1]:8444"])
    own = one.own(NOW, 1033)
    assert [(str(peer_address(each)), each.time, each.services) for each in own] == [
        ("8.8.8.8:8333", int(NOW), 1033), ("[2606:4700::1]:8444", int(NOW), 1033),
    ]  # fmt: skip
    assert context.metrics.value("gossip_left_total", "own-not-routable") == 1
    one.options = BitcoinConfig()
    assert one.own(NOW, 1) == []
    one, _ = gossip(public=False, external=["127.0.0.1:18444"])
    assert len(one.own(NOW, 1)) == 1
