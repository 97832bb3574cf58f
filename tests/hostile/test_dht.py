"""A DHT node on the open internet: nonsense, forged sources, lies and floods, through a whole endpoint."""

import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pframe.interfaces import IAddressBook
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.compact import pack_node
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.guard import headers
from p2pframe.protocols.mainline.searches import Search
from p2pframe.testing.context import FakeContext
from tests.mainline.test_network import dht, start

LONG = int(os.environ.get("P2PFRAME_FUZZ") == "long") * 20_000 + 300
OURS = PeerAddress("81.2.69.142", 6881)
PEER = PeerAddress("8.8.4.4", 6881)


class Port:
    address = OURS

    def __init__(self):
        self.sent = []

    def send(self, data, target):
        self.sent.append((data, target))


class Node:
    """One endpoint, and what it sends."""

    def __init__(self, **options):
        self.context = FakeContext("protocol.mainline")
        self.context.provide(IAddressBook, self)
        self.dht = Dht(MainlineConfig(**options), self.context)
        self.port = Port()
        self.endpoint = self.dht.endpoint(self.port)
        self.endpoint.opened(None)
        self.clock = self.context.reactor

    def hears(self, data, source=PEER):
        before = len(self.port.sent)
        self.endpoint.datagram_received(data, source)
        return self.port.sent[before:]

    def asked_of(self, target):
        """The queries that it has sent to an address."""
        return [krpc.parse(data) for data, to in self.port.sent if to == target]

    def knows(self, source, identity):
        """Have a node in the table, as if it had answered."""
        self.endpoint.ping(source)
        query = self.asked_of(source)[-1]
        self.hears(krpc.response(query.transaction, {b"id": identity.to_bytes(20, "big")}), source)

    def count(self, name, *labels):
        return self.context.metrics.value(name, *labels)


def query(method=b"ping", asker=7, **arguments):
    return krpc.query(b"aa", method, asker.to_bytes(20, "big"), {k.encode(): v for k, v in arguments.items()})


GOOD = [
    query(),
    query(b"find_node", target=bytes(20)),
    query(b"get_peers", info_hash=bytes(20), want=[b"n4", b"n6"], scrape=1),
    query(b"announce_peer", info_hash=bytes(20), port=1, token=b"12345678"),
    query(b"put", v=[b"x", {b"y": 1}], k=bytes(32), sig=bytes(64), seq=1, salt=b"s", token=b"12345678"),
    query(b"sample_infohashes", target=bytes(20)),
    krpc.response(b"aaaa", {b"id": bytes(20), b"nodes": bytes(52), b"values": [bytes(6)]}, bytes(6)),
    krpc.refusal(b"aaaa", 203, "no"),
]


@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.data())
@settings(max_examples=LONG)
def test_fuzz_any_mutation_of_any_message_is_answered_or_counted(good, changes, data):
    node = Node()
    changed = bytearray(good)
    for at, byte in changes:
        if data.draw(st.booleans()):
            changed[at % len(changed)] = byte
        else:
            del changed[at % len(changed)]
    node.hears(bytes(changed))
    assert len(node.port.sent) <= 2, "an answer, and a ping back"


@pytest.mark.parametrize(
    "data",
    [b"", b"d", b"l" * 60_000, b"d" * 60_000, b"9" * 60_000, b"i" + b"9" * 60_000 + b"e", b"99999999999:", b"de", b"le",
     b"d1:ad2:id20:" + bytes(20) + b"e1:q4:ping1:t99:1:y1:qe", b"\xff" * 65_507],
)  # fmt: skip
def test_nonsense_is_counted_and_nothing_more(data):
    node = Node()
    assert len(node.hears(data)) <= 1
    assert node.endpoint.table.size == 0


def test_a_reply_that_nobody_asked_for_teaches_nothing():
    node = Node()
    reply = krpc.response(b"aaaa", {b"id": bytes(20), b"nodes": pack_node(5, PEER)}, b"\x01\x02\x03\x04\x05\x06")
    for _ in range(1000):
        assert node.hears(reply) == []
    assert node.endpoint.table.size == 0
    assert node.endpoint.voting.address is None
    assert node.count("dht_calls_total", "not asked") == 1000


def test_a_reply_from_another_address_than_was_asked_counts_for_nothing():
    node = Node()
    node.endpoint.ping(PEER)
    (asked,) = node.asked_of(PEER)
    reply = krpc.response(asked.transaction, {b"id": (7).to_bytes(20, "big")})
    node.hears(reply, PeerAddress("8.8.4.5", 6881))
    node.hears(reply, PeerAddress("8.8.4.4", 6882))
    assert node.endpoint.table.size == 0
    node.hears(reply)
    assert node.endpoint.table.size == 1
    node.hears(reply)
    assert node.count("dht_calls_total", "not asked") == 3


def test_a_flood_forged_from_a_peers_address_leaves_that_peer_in_its_place():
    """10,000 queries a second with its address on them: it stays in the table, and what it answers is heard."""
    node = Node()
    node.knows(PEER, 7)
    for number in range(20_000):
        node.clock.advance(0.0001)
        node.hears(query(b"find_node", asker=number % 3 + 7, target=bytes(20)))
    assert [one.id for one in node.endpoint.table.contacts()] == [7]
    heard = []
    node.endpoint.ask(b"find_node", {b"target": bytes(20)}, PEER, lambda reply, late: heard.append(reply))
    asked = node.asked_of(PEER)[-1]
    reply = krpc.response(asked.transaction, {b"id": (7).to_bytes(20, "big")})
    assert node.endpoint.awaited(reply, PEER), "the gate lets it through the flood"
    assert not node.endpoint.awaited(krpc.response(b"abcd", {b"id": bytes(20)}), PEER)
    node.hears(reply)
    assert len(heard) == 1


def test_a_whole_node_sends_a_forged_flood_less_than_three_times_its_bytes_pings_included():
    rng, node = Random(2), Node()
    brought = sent = 0
    for number in range(20_000):
        node.clock.advance(0.0001)
        source = PeerAddress(f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.7", 6881)
        data = query(b"get_peers", asker=rng.getrandbits(160), info_hash=bytes(20))
        brought += len(data) + headers(source.host)
        sent += sum(len(one) + headers(to.host) for one, to in node.hears(data, source))
        if number % 2000 == 1999:
            assert sent <= 3 * brought
    assert node.count("dht_turned_away_total", "verifications") > 1000
    assert len(node.endpoint.calls) <= node.dht.config.verifications


def test_who_asks_us_is_in_the_table_only_once_it_has_answered():
    node = Node()
    node.hears(query(asker=5))
    assert node.endpoint.table.size == 0
    ping = node.asked_of(PEER)[-1]
    assert isinstance(ping, krpc.Query)
    node.hears(krpc.response(ping.transaction, {b"id": (5).to_bytes(20, "big")}))
    assert 5 in node.endpoint.table


@pytest.mark.parametrize("asker", ["10.0.0.1:6881", "127.0.0.1:6881", "8.8.4.4:0"])
def test_addresses_that_the_internet_does_not_route_are_never_asked(asker):
    node = Node()
    node.hears(query(asker=5), PeerAddress.parse(asker))
    assert [to for _, to in node.port.sent if isinstance(krpc.parse(_), krpc.Query)] == []


def test_an_id_that_does_not_fit_is_not_kept_where_that_is_enforced():
    node = Node(node_ids="enforce")
    node.hears(query(asker=5))
    assert all(not isinstance(krpc.parse(data), krpc.Query) for data, _ in node.port.sent)


def test_one_subnet_fills_no_table():
    node = Node()
    rng = Random(3)
    for number in range(1, 250):
        node.knows(PeerAddress(f"8.8.4.{number}", 6881), rng.getrandbits(160))
    assert node.endpoint.table.size <= len(node.endpoint.table.shape())
    assert node.count("dht_turned_away_total", "table: group in the bucket") > 200


def test_one_netgroup_does_not_move_our_id():
    node = Node()
    own = node.endpoint.own
    for number in range(200):
        source = PeerAddress(f"8.8.{number}.1", 6881)
        node.endpoint.ping(source)
        asked = node.asked_of(source)[-1]
        lie = b"\x09\x09\x09\x09\x1a\xe1"
        node.hears(krpc.response(asked.transaction, {b"id": number.to_bytes(20, "big")}, lie), source)
    assert node.endpoint.own == own
    assert node.endpoint.voting.address is None


def searching(node, replies, seconds=60):
    """A search in which every query is answered by `replies(query, to)`: the values of a response, or None."""
    rng = Random(1)
    for number in range(8):
        node.knows(PeerAddress(f"{40 + number}.1.1.1", 6881), rng.getrandbits(160))
    ids = {one.address: one.id for one in node.endpoint.table.contacts()}
    search = Search(node.endpoint, 0, b"find_node", {b"target": bytes(20)})
    done = []
    search.start().addCallback(done.append)
    at = 0
    while not done and at < 5000:
        while at < len(node.port.sent):
            data, to = node.port.sent[at]
            at += 1
            asked = krpc.parse(data)
            values = replies(asked, to, ids) if isinstance(asked, krpc.Query) else None
            if values is not None:
                node.hears(krpc.response(asked.transaction, values), to)
        if not done:
            node.clock.advance(0.5)
            seconds -= 0.5
            assert seconds > 0, "a search ends by its own time"
    return search


def test_nodes_that_lead_to_victims_are_not_asked():
    victims = [PeerAddress("10.0.0.1", 80), PeerAddress("127.0.0.1", 25), PeerAddress("224.0.0.1", 6881), OURS]

    def replies(asked, to, ids):
        lies = b"".join(pack_node(number, victim) for number, victim in enumerate(victims, 1))
        return {b"id": ids[to].to_bytes(20, "big"), b"nodes": lies} if to in ids else None

    node = Node()
    searching(node, replies)
    assert not {to for _, to in node.port.sent} & set(victims[:3])


def test_nodes_that_never_end_come_to_an_end():
    made = []

    def replies(asked, to, ids):
        identity = ids.get(to)
        if identity is None:
            identity = next((one for one, place in made if place == to), 0)
        found = []
        for _ in range(8):
            number = len(made) + 1
            place = PeerAddress(f"{1 + number % 200}.{number // 200 % 250}.{number // 50_000}.9", 6881)
            made.append((1 << 100 >> (number // 50) | number, place))
            found.append(pack_node(*made[-1]))
        return {b"id": identity.to_bytes(20, "big"), b"nodes": b"".join(found)}

    node = Node(candidates=100)
    search = searching(node, replies)
    assert search.lookup.queries <= 100


def test_who_answers_under_another_id_than_it_was_told_of_counts_for_nothing():
    def replies(asked, to, ids):
        return {b"id": bytes(19) + b"\x01"}

    node = Node()
    search = searching(node, replies)
    assert search.nearest() == []
    assert node.count("dht_turned_away_total", "wrong id") >= 8


def test_a_list_of_nodes_of_the_wrong_length_is_counted_and_the_search_goes_on():
    def replies(asked, to, ids):
        return {b"id": ids[to].to_bytes(20, "big"), b"nodes": bytes(25)} if to in ids else None

    node = Node()
    search = searching(node, replies)
    assert len(search.nearest()) == 8
    assert node.count("dht_malformed_total", "nodes") >= 8


def test_too_many_queries_of_ours_are_refused_and_counted():
    node = Node(calls=8)
    for number in range(1, 20):
        node.endpoint.ping(PeerAddress(f"8.8.{number}.1", 6881))
    assert len(node.port.sent) == 8
    assert node.count("dht_calls_total", "refused") == 11


def test_values_and_items_that_lie_are_left_out(simulation):
    """Two nodes of one's own network, of which one's store holds forged rows: the other believes none of it."""
    hosts = start(simulation, 2)
    for host in hosts:
        simulation.wait(dht(host).when_ready(), 120)
    liar, honest = dht(hosts[1]), dht(hosts[0])
    wrong = {b"id": liar.dht.endpoints[0].own.to_bytes(20, "big"), b"token": b"t", b"v": b"another value"}
    wrong |= {b"k": bytes(32), b"sig": bytes(64), b"seq": 99, b"values": [b"short", 7, bytes(6), b"x" * 18_000]}
    liar.dht.answers.answer = lambda query, *_: krpc.response(query.transaction, wrong)
    assert simulation.wait(honest.get_immutable(bytes(20))) is None
    assert simulation.wait(honest.get_mutable(bytes(32))) is None
    assert simulation.wait(honest.get_peers(bytes(20))).peers == ()
