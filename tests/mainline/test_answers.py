"""What is answered to whom: BEP 5, 32, 33, 43, 44, 51, and never more than three times a forged flood."""

from random import Random

import pytest

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.answers import Answers, Stores
from p2pframe.protocols.mainline.bencode import encode
from p2pframe.protocols.mainline.bloom import Bloom
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.guard import Guard, headers
from p2pframe.protocols.mainline.signed_items import immutable_target, mutable_target, public_key, sign
from p2pframe.testing.context import FakeContext

OWN = 99
HASH = bytes(range(20))
SEED = bytes(32)


class Server:
    """One node's answering side, and eight nodes of each family to tell of."""

    def __init__(self, **options):
        self.config = MainlineConfig(**options)
        self.context = FakeContext("protocol.mainline")
        self.stores = Stores(self.config, self.context)
        self.guard = Guard(self.config, self.context)
        self.answers = Answers(self.config, self.context, self.stores, self.guard)

    def nodes(self, target, six):
        return bytes(range(1, 39 if six else 27)) * 8

    def send(self, source, method, asker=7, transaction=b"aa", **arguments):
        """The datagram that asks, and the one that answers."""
        asked = krpc.query(
            transaction, method, asker.to_bytes(20, "big"), {key.encode(): value for key, value in arguments.items()}
        )
        query = krpc.parse(asked)
        return asked, self.answers.answer(query, source, len(asked), OWN, self.nodes)

    def ask(self, source, method, **arguments):
        _, reply = self.send(source, method, **arguments)
        return None if reply is None else krpc.parse(reply)

    def proven(self, source):
        self.guard.prove(source, self.context.reactor.seconds())
        return source

    def token(self, source, target=HASH, method=b"get_peers"):
        key = "info_hash" if method == b"get_peers" else "target"
        return self.ask(source, method, **{key: target}).values[b"token"]

    def count(self, name, *labels):
        return self.context.metrics.value(name, *labels)


ALICE = PeerAddress("8.8.4.4", 6881)
BOB = PeerAddress("9.9.9.9", 6881)
SIX = PeerAddress("2600:1:2::1", 6881)


def test_every_answer_says_who_answers_and_how_it_sees_the_asker():
    server = Server()
    for method, arguments in (
        (b"ping", {}), (b"find_node", {"target": HASH}), (b"get_peers", {"info_hash": HASH}),
        (b"get", {"target": HASH}),
        (b"sample_infohashes", {"target": HASH}), (b"vote", {"target": HASH}),
    ):  # fmt: skip
        reply = server.ask(ALICE, method, **arguments)
        assert (reply.id, reply.ip, reply.transaction) == (OWN, ALICE, b"aa")


def test_who_announces_is_told_of():
    server = Server()
    assert server.ask(ALICE, b"announce_peer", info_hash=HASH, port=7000, token=server.token(ALICE)).id == OWN
    server.ask(BOB, b"announce_peer", info_hash=HASH, port=1, implied_port=1, seed=1, token=server.token(BOB))
    values = server.ask(ALICE, b"get_peers", info_hash=HASH).values[b"values"]
    assert sorted(values) == [b"\x08\x08\x04\x04\x1b\x58", b"\x09\x09\x09\x09\x1a\xe1"]
    assert server.ask(ALICE, b"get_peers", info_hash=HASH, noseed=1).values[b"values"] == [b"\x08\x08\x04\x04\x1b\x58"]
    assert b"values" not in server.ask(SIX, b"get_peers", info_hash=HASH).values
    server.context.reactor.advance(1801)
    assert b"values" not in server.ask(ALICE, b"get_peers", info_hash=HASH).values


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"port": 0}, 203),
        ({"port": 65536}, 203),
        ({"port": b"80"}, 203),
        ({"port": 80, "info_hash": HASH[:19]}, 203),
        ({"port": 80, "token": b"wrong"}, 203),
        ({"port": 80, "token": 5}, 203),
    ],
)
def test_a_wrong_announcement_is_refused(arguments, code):
    server = Server()
    token = server.token(ALICE)
    reply = server.ask(ALICE, b"announce_peer", **{"info_hash": HASH, "token": token, **arguments})
    assert reply.code == code
    assert server.stores.peers.size == 0


def test_a_token_is_for_one_address_one_infohash_and_some_minutes():
    server = Server()
    token = server.token(ALICE)
    put = {"port": 80, "token": token}
    assert server.ask(BOB, b"announce_peer", info_hash=HASH, **put).code == 203
    assert server.ask(ALICE, b"announce_peer", info_hash=bytes(20), **put).code == 203
    server.context.reactor.advance(299)
    server.token(BOB)
    assert server.ask(ALICE, b"announce_peer", info_hash=HASH, **put).id == OWN
    server.context.reactor.advance(302)
    server.token(BOB)
    server.context.reactor.advance(301)
    assert server.ask(ALICE, b"announce_peer", info_hash=HASH, **put).code == 203


def test_want_chooses_the_families():
    server = Server()
    server.proven(ALICE)
    assert set(server.ask(ALICE, b"find_node", target=HASH).values) == {b"id", b"nodes"}
    assert set(server.ask(ALICE, b"find_node", target=HASH, want=[b"n6"]).values) == {b"id", b"nodes6"}
    assert set(server.ask(ALICE, b"find_node", target=HASH, want=[b"n4", b"n6"]).values) == {b"id", b"nodes", b"nodes6"}
    assert set(server.ask(ALICE, b"find_node", target=HASH, want=[b"n8"]).values) == {b"id", b"nodes"}
    assert set(server.ask(server.proven(SIX), b"find_node", target=HASH).values) == {b"id", b"nodes6"}


def test_a_scrape_counts_seeds_and_peers():
    server = Server()
    server.proven(ALICE)
    for number in range(30):
        server.stores.peers.add(HASH, bytes((9, 1, 1, number)), 80, number < 10, 0.0)
    values = server.ask(ALICE, b"get_peers", info_hash=HASH, scrape=1).values
    assert Bloom(values[b"BFsd"]).estimate() == pytest.approx(10, abs=1)
    assert Bloom(values[b"BFpe"]).estimate() == pytest.approx(20, abs=1)
    _, reply = server.send(ALICE, b"get_peers", info_hash=HASH, scrape=1, want=[b"n4", b"n6"])
    assert len(reply) <= 1400


def put(server, source, value=b"hello", sequence=None, salt=b"", signature=None, **more):
    encoded = encode(value)
    arguments = {"v": value}
    if sequence is not None:
        key = public_key(SEED)
        arguments |= {"k": key, "seq": sequence, "sig": signature or sign(SEED, salt, sequence, encoded)}
        if salt:
            arguments["salt"] = salt
        target = mutable_target(key, salt)
    else:
        target = immutable_target(encoded)
    arguments |= more
    arguments.setdefault("token", server.token(source, target, b"get"))
    return target, server.ask(source, b"put", **arguments)


def test_items_are_kept_and_given():
    server = Server()
    server.proven(ALICE)
    target, reply = put(server, ALICE, [b"any", {b"value": 1}])
    assert reply.id == OWN
    assert server.ask(ALICE, b"get", target=target).values[b"v"] == [b"any", {b"value": 1}]
    target, _ = put(server, ALICE, b"one", 1, b"salt")
    values = server.ask(ALICE, b"get", target=target).values
    assert (values[b"v"], values[b"seq"], values[b"k"]) == (b"one", 1, public_key(SEED))
    assert b"v" not in server.ask(ALICE, b"get", target=target, seq=1).values
    server.context.reactor.advance(7201)
    server.stores.expire(7201)
    assert server.stores.items.size == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"value": b"x" * 1000}, 205),
        ({"value": b"one", "sequence": 4, "signature": bytes(64)}, 206),
        ({"value": b"one", "sequence": 4, "sig": b"short"}, 206),
        ({"value": b"one", "sequence": 1, "salt": b"s" * 65, "signature": bytes(64)}, 207),
        ({"value": b"one", "sequence": 1, "k": b"short"}, 203),
        ({"value": b"one", "sequence": -1, "signature": bytes(64)}, 203),
        ({"value": b"one", "sequence": 4, "cas": 9}, 301),
        ({"value": b"one", "sequence": 2}, 302),
        ({"value": b"other", "sequence": 3}, 302),
        ({"value": b"one", "token": b"none"}, 203),
    ],
)
def test_a_wrong_put_is_refused_with_the_code_of_bep_44(arguments, code):
    server = Server()
    server.proven(ALICE)
    target, reply = put(server, ALICE, b"three", 3)
    assert reply.id == OWN
    _, reply = put(server, ALICE, **arguments)
    assert reply.code == code
    assert server.ask(ALICE, b"get", target=target).values[b"v"] == b"three"


def test_a_sample_is_drawn_and_stays_for_its_interval():
    server = Server(sample_interval="1h")
    for number in range(100):
        server.stores.peers.add(number.to_bytes(20, "big"), b"\x09\x09\x09\x09", 80, False, 0.0)
    first = server.ask(server.proven(ALICE), b"sample_infohashes", target=HASH).values
    assert (first[b"num"], first[b"interval"], len(first[b"samples"])) == (100, 3600, 400)
    server.context.reactor.advance(1800)
    later = server.ask(server.proven(ALICE), b"sample_infohashes", target=HASH).values
    assert (later[b"samples"], later[b"interval"]) == (first[b"samples"], 1800)
    server.context.reactor.advance(1801)
    assert server.ask(server.proven(ALICE), b"sample_infohashes", target=HASH).values[b"samples"] != first[b"samples"]


def test_an_unknown_query_without_a_target_is_refused():
    assert Server().ask(ALICE, b"vote", colour=b"blue").code == 204


# --- bounds ---


def test_one_address_is_answered_so_often():
    server = Server(queries_per_second=10, queries_burst=20)
    answered = sum(server.ask(ALICE, b"ping") is not None for _ in range(100))
    assert answered == 20
    assert server.count("dht_answers_dropped_total", "rate") == 80
    assert server.ask(BOB, b"ping") is not None
    server.context.reactor.advance(1.0)
    assert sum(server.ask(ALICE, b"ping") is not None for _ in range(100)) == 10


def test_one_subnet_stores_so_much():
    server = Server(stores_per_second=1, stores_burst=3, items_per_subnet=2)
    server.proven(ALICE)
    replies = [put(server, PeerAddress(f"8.8.4.{n}", 1), b"%d" % n)[1] for n in range(1, 6)]
    assert [getattr(one, "code", 0) for one in replies] == [0, 0, 202, 202, 202]
    assert server.count("dht_stores_turned_away_total", "items of a subnet") == 1


def test_an_infohash_has_so_many_peers_and_then_gives_no_token():
    server = Server(peers_per_infohash=3)
    for number in range(5):
        server.stores.peers.add(HASH, bytes((9, 9, 9, number)), 80, False, 0.0)
    assert server.stores.peers.size == 3
    assert server.count("dht_stores_turned_away_total", "peers of an infohash") == 2
    assert b"token" not in server.ask(server.proven(ALICE), b"get_peers", info_hash=HASH).values


def test_the_oldest_infohash_makes_room():
    server = Server(infohashes=3, peers=100)
    for number in range(5):
        server.stores.peers.add(number.to_bytes(20, "big"), b"\x09\x09\x09\x09", 80, False, 0.0)
    assert server.stores.peers.infohashes == 3
    assert server.count("dht_stores_turned_away_total", "infohashes") == 2
    assert server.stores.peers.values(bytes(20), False, 9, 0.0) == []
    server = Server(infohashes=100, peers=3)
    for number in range(5):
        server.stores.peers.add(number.to_bytes(20, "big"), b"\x09\x09\x09\x09", 80, False, 0.0)
    assert server.stores.peers.size == 3
    assert server.count("dht_stores_turned_away_total", "peers") == 2


def test_the_oldest_item_makes_room():
    server = Server(items=3)
    server.proven(ALICE)
    targets = [put(server, PeerAddress(f"8.{n}.4.4", 1), b"%d" % n)[0] for n in range(1, 6)]
    assert [server.stores.items.get(one, 0.0) is not None for one in targets] == [False, False, True, True, True]
    assert server.count("dht_stores_turned_away_total", "items") == 2


def test_sources_are_forgotten_and_that_is_counted():
    server = Server(sources=2)
    for number in range(1, 6):
        server.ask(PeerAddress(f"8.8.{number}.1", 1), b"ping")
        server.proven(PeerAddress(f"8.8.{number}.1", 1))
    server.guard.count()
    assert server.count("dht_sources_forgotten_total", "proof") == 3
    assert server.count("dht_sources_forgotten_total", "rate") == 3


# --- amplification ---


def crowded(**options):
    """A server with much to tell: an infohash with many peers of both families, and filters."""
    server = Server(**options)
    for number in range(200):
        server.stores.peers.add(HASH, bytes((9, 9, number, 9)), 80, False, 0.0)
        server.stores.peers.add(HASH, bytes((38, number)) + bytes(14), 80, False, 0.0)
    return server


@pytest.mark.parametrize("source", [ALICE, SIX])
def test_nodes_alone_to_an_unproven_source_are_under_three_times_its_bytes(source):
    server = Server(budget_burst=0, subnet_burst=0)
    asked, reply = server.send(source, b"find_node", target=HASH)
    assert reply is not None
    assert len(reply) + headers(source.host) < 3 * (len(asked) + headers(source.host))
    told = krpc.parse(reply).values[b"nodes6" if ":" in source.host else b"nodes"]
    assert len(told) >= 5 * 38 if ":" in source.host else len(told) == 8 * 26


def test_who_gets_fewer_nodes_gets_the_nearest():
    server = Server(subnet_burst=0, budget_burst=0)
    rng = Random(3)
    nodes = [rng.randbytes(26) for _ in range(20)]
    server.nodes = lambda target, six: b"".join(nodes)
    told = server.ask(ALICE, b"find_node", target=HASH).values[b"nodes"]
    assert 0 < len(told) < 20 * 26
    wanted = int.from_bytes(HASH, "big")
    nodes.sort(key=lambda one: int.from_bytes(one[:20], "big") ^ wanted)
    assert told == b"".join(nodes)[: len(told)]


def test_a_strangers_first_query_succeeds_in_peace():
    server = crowded()
    values = server.ask(ALICE, b"get_peers", info_hash=HASH, want=[b"n4", b"n6"]).values
    assert values[b"values"]
    assert len(values[b"nodes"]) == 8 * 26
    assert len(values[b"nodes6"]) == 8 * 38


WHO = {
    "one address": lambda rng: PeerAddress("8.8.4.4", 6881),
    "one subnet": lambda rng: PeerAddress(f"8.8.4.{rng.randrange(256)}", rng.randrange(1, 65536)),
    "anywhere": lambda rng: PeerAddress(
        f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}", 6881
    ),
    "anywhere on IPv6": lambda rng: PeerAddress(f"2600:{rng.randrange(65536):x}:{rng.randrange(65536):x}::1", 6881),
}


ASKED = {
    "get_peers": (b"get_peers", {"info_hash": HASH}),
    "all of get_peers": (b"get_peers", {"info_hash": HASH, "want": [b"n4", b"n6"], "scrape": 1}),
    "immutable": (b"get", {"target": immutable_target(b"990:" + b"x" * 990)}),
    "mutable": (b"get", {"target": mutable_target(public_key(SEED))}),
    "sample": (b"sample_infohashes", {"target": HASH}),
    "find_node": (b"find_node", {"target": HASH}),
    "nonsense": (b"vote", {}),
}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("asked", ASKED)
def test_a_forged_flood_is_never_answered_with_more_than_three_times_its_bytes(who, asked):
    """10,000 a second, from the first tenth of a second on: the shortest queries that bring the longest answers."""
    rng, server = Random(1), crowded()
    for number in range(100):
        server.stores.peers.add(number.to_bytes(20, "big"), b"\x09\x09\x09\x09", 80, False, 0.0)
    put(server, server.proven(BOB), b"x" * 990)
    put(server, server.proven(BOB), b"x" * 990, 1)
    brought = sent = 0
    clock = server.context.reactor
    method, arguments = ASKED[asked]
    for number in range(1, 20_001):
        clock.advance(0.0001)
        source = WHO[who](rng)
        query, reply = server.send(source, method, transaction=b"a", **arguments)
        brought += len(query) + headers(source.host)
        if reply is not None:
            sent += len(reply) + headers(source.host)
        if number % 1000 == 0:
            assert sent <= 3 * brought, f"after {number / 10_000:g} s"


def test_a_minute_of_a_forged_flood():
    rng, server = Random(1), crowded()
    brought = sent = 0
    for _ in range(60_000):
        server.context.reactor.advance(0.001)
        source = WHO["anywhere"](rng)
        query, reply = server.send(source, b"get_peers", transaction=b"a", info_hash=HASH)
        brought += len(query) + headers(source.host)
        sent += 0 if reply is None else len(reply) + headers(source.host)
    # At a thousand a second the budget of all is a larger part: 20,000 bytes a second beside 120,000.
    assert sent <= 3 * brought


def test_a_popular_infohash_stays_open_for_those_who_come_later():
    server = Server(peers_per_infohash=20)
    for number in range(200):
        now = number * 120.0  # fifteen of them live at a time
        assert not server.stores.peers.full(HASH, False, now)
        assert server.stores.peers.add(HASH, bytes((9, 9, number, 9)), 80, False, now)
    assert len(server.stores.peers.values(HASH, False, 50, 200 * 120.0)) >= 14


def test_neither_family_crowds_the_other_out():
    server = Server(peers=100)
    for number in range(300):
        server.stores.peers.add(number.to_bytes(20, "big"), number.to_bytes(16, "big"), 80, False, 0.0)
    for number in range(50):
        server.stores.peers.add(number.to_bytes(20, "big"), number.to_bytes(4, "big"), 80, False, 0.0)
    assert server.stores.peers.size == 100
    assert sum(bool(server.stores.peers.values(n.to_bytes(20, "big"), False, 9, 0.0)) for n in range(50)) >= 49


def test_one_subnet_does_not_own_an_infohash():
    server = Server(peers_per_subnet=5)
    for number in range(50):
        server.stores.peers.add(HASH, bytes((9, 9, 9, number)), 80, False, 0.0)
        server.stores.peers.add(HASH, bytes(15) + bytes((number,)), 80, False, 0.0)
    assert server.stores.peers.size == 10
    assert server.count("dht_stores_turned_away_total", "peers of a subnet") == 90


def test_one_subnet_of_ipv6_is_one_asker():
    server = Server(queries_burst=20)
    assert sum(server.ask(PeerAddress(f"2600:1:2:3::{n:x}", 1), b"ping") is not None for n in range(1, 101)) == 20


def test_no_answer_is_too_large_for_a_datagram():
    server = crowded()
    server.proven(ALICE)
    target, _ = put(server, ALICE, b"x" * 990, 1)
    for arguments in ({"target": target}, {"target": target, "want": [b"n4", b"n6"]}):
        _, reply = server.send(ALICE, b"get", **arguments)
        assert len(reply) <= 1472


def test_a_token_does_not_outlive_a_silence():
    server = Server()
    server.context.reactor.advance(1000)
    token = server.token(ALICE)
    server.context.reactor.advance(601)
    assert server.ask(ALICE, b"announce_peer", info_hash=HASH, port=80, token=token).code == 203


def test_who_has_answered_us_is_answered_in_full_for_ten_minutes():
    server = crowded(budget_burst=0, subnet_burst=0)
    assert b"values" not in server.ask(ALICE, b"get_peers", info_hash=HASH).values
    server.proven(ALICE)
    assert server.ask(ALICE, b"get_peers", info_hash=HASH).values[b"values"]
    server.context.reactor.advance(601)
    assert b"values" not in server.ask(ALICE, b"get_peers", info_hash=HASH).values


def test_a_token_shown_proves_too():
    server = crowded(budget_burst=0, subnet_burst=0)
    server.ask(ALICE, b"announce_peer", info_hash=HASH, port=1, token=server.token(ALICE))
    assert server.ask(ALICE, b"get_peers", info_hash=HASH).values[b"values"]


def test_what_is_stored_survives_a_restart_and_ages_meanwhile():
    server = crowded()
    server.proven(ALICE)
    target, _ = put(server, ALICE, b"one", 1)
    rows = list(server.stores.dump())
    after = Server()
    after.context.clock = server.context.reactor
    assert after.stores.load(rows) == 0
    assert after.stores.peers.size == 400
    assert after.stores.items.get(target, 0.0).encoded == b"3:one"
    broken = [(key, row[:-1] + bytes((row[-1] ^ 1,)) if key.startswith(b"item/") else row[:-1]) for key, row in rows]
    assert Server().stores.load(broken) >= 3
    late = Server()
    late.context.unix_time = lambda: server.context.unix_time() + 1900
    assert late.stores.load(rows) == 0
    assert late.stores.peers.size == 0
