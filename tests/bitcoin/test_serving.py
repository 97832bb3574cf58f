"""Serving blocks and transactions to a peer that a test scripts."""

from __future__ import annotations

import pytest

from p2pframe.model import Outcome
from p2pframe.protocols.bitcoin.api import build_transaction, hash256, parse_block
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    MSG_WTX,
    Locator,
    decode_entries,
    decode_headers,
    decode_inventory,
    encode_entries,
    encode_locator,
)
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput
from tests.bitcoin.conftest import mine, protocol
from tests.hostile.peer import dial

NODE = "192.0.2.1"
GENESIS = bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")


class Server:
    def __init__(self, bitcoins, **how):
        self.bitcoins, self.net = bitcoins, bitcoins.net
        self.node = bitcoins.start(NODE, **how)
        self.protocol = protocol(self.node)

    def mine(self, count=1, **how):
        return self.bitcoins.mine(self.node, count, **how)

    def raw(self, hash):
        return self.bitcoins.wait(self.protocol.block(hash))

    def peer(self, source="203.0.113.9", **how):
        return dial(self.net, source, NODE).shake(**how)

    def session(self, source="203.0.113.9"):
        (found,) = [s for s in self.node.networks["bitcoin"].sessions.values() if s.address.host == source]
        return found

    def count(self, metric, *labels):
        values = self.node.metrics.snapshot()[f"p2pframe_{metric}_total"]
        return sum(value for key, value in values.items() if not labels or key[1:] == labels)


@pytest.fixture
def server(bitcoins):
    return Server(bitcoins)


def spend(seed, size=64):
    one = TxInput(hash256(b"%d" % seed), 0, b"", 0xFFFFFFFF, (b"\x01" * size,))
    return build_transaction([one], [TxOutput(1000, b"\x00\x14" + bytes(20))])


def ask(peer, *entries):
    return peer.say("getdata", encode_entries(list(entries)))


def test_blocks_come_in_the_order_of_the_request_and_unknown_ones_are_passed_over(server):
    hashes = server.mine(5)
    peer = server.peer()
    wanted = [hashes[3], bytes(32), hashes[0], hashes[4]]
    ask(peer, *[(MSG_WITNESS_BLOCK, hash) for hash in wanted]).wait(1.0)
    assert [hash256(raw[:80]) for raw in peer.heard("block")] == [hashes[3], hashes[0], hashes[4]]
    assert "notfound" not in peer.kinds()


def test_unknown_transactions_are_named_in_one_notfound(server):
    server.mine()
    peer = server.peer()
    ask(peer, (MSG_TX, bytes(32)), (MSG_WTX, b"\x01" * 32)).wait(0.5)
    (answer,) = peer.heard("notfound")
    assert decode_entries(answer, "notfound") == [(MSG_TX, bytes(32)), (MSG_WTX, b"\x01" * 32)]


def test_who_asks_without_witnesses_gets_a_block_without_them(server):
    (hash,) = server.mine(transactions=[spend(1)])
    peer = server.peer()
    ask(peer, (MSG_BLOCK, hash), (MSG_WITNESS_BLOCK, hash)).wait(0.5)
    stripped, whole = (parse_block(raw) for raw in peer.heard("block"))
    assert whole.witness
    assert not stripped.witness
    assert stripped.hash == whole.hash == hash
    assert [tx.txid for tx in stripped.transactions()] == [tx.txid for tx in whole.transactions()]


def test_a_transaction_is_served_by_either_id_once_it_was_announced(server):
    server.mine()
    peer = server.peer()
    tx = spend(2)
    assert server.bitcoins.wait(server.protocol.submit_transaction(tx.raw)).outcome is Outcome.ACCEPT
    ask(peer, (MSG_WITNESS_TX, tx.txid)).wait(0.1)
    assert peer.kinds()[-1] == "notfound"
    server.net.run(60.0)
    ask(peer, (MSG_WITNESS_TX, tx.txid), (MSG_TX, tx.txid), (MSG_WTX, tx.wtxid)).wait(0.5)
    whole, stripped, by_wtxid = peer.heard("tx")
    assert whole == by_wtxid == tx.raw
    assert len(stripped) < len(tx.raw)


def test_a_block_of_a_stale_branch_is_not_served(server):
    server.mine(2)
    stale = mine(server.protocol.template(), b"\x00stale")
    (live,) = server.mine(1)
    server.bitcoins.wait(server.protocol.submit_block(stale))
    server.mine(1)
    peer = server.peer()
    ask(peer, (MSG_WITNESS_BLOCK, hash256(stale[:80])), (MSG_WITNESS_BLOCK, live)).wait(0.5)
    assert [hash256(raw[:80]) for raw in peer.heard("block")] == [live]


def test_thousands_of_blocks_asked_for_at_once_are_served_one_after_another(server):
    (hash,) = server.mine()
    peer = server.peer()
    ask(peer, *[(MSG_WITNESS_BLOCK, hash)] * 5000).wait(3.0)
    assert len(peer.heard("block")) == 5000


def test_thousands_of_blocks_that_are_gone_cost_a_look_each_and_no_depth(server):
    (hash, *_) = server.mine(2)
    server.protocol.blocks.forget(hash)
    peer = server.peer()
    ask(peer, *[(MSG_WITNESS_BLOCK, hash)] * 50_000).wait(0.5)
    assert peer.ping()
    assert not peer.heard("block")


def test_who_does_not_read_is_given_no_more_than_a_buffer_full(server):
    (hash,) = server.mine(transactions=[spend(3, 200_000)])
    peer = server.peer().stop_reading()
    ask(peer, *[(MSG_WITNESS_BLOCK, hash)] * 1000).wait(5.0)
    session = server.session()
    assert session.queued < 1_000_000
    assert session.counters.messages_out["block"] < 10
    # When it reads on it gets the rest.
    before = session.counters.messages_out["block"]
    peer.transport.resumeProducing()
    peer.wait(2.0)
    assert session.counters.messages_out["block"] > before + 10


def test_transactions_asked_for_a_thousand_times_wait_for_the_peer_too(server, monkeypatch):
    server.mine()
    tx = spend(4, 90_000)
    server.bitcoins.wait(server.protocol.submit_transaction(tx.raw))
    peer = server.peer()
    monkeypatch.setattr(type(server.protocol.items), "may_serve", lambda *_: True)
    peer.stop_reading()
    ask(peer, *[(MSG_WITNESS_TX, tx.txid)] * 10_000).wait(2.0)
    session = server.session()
    assert session.counters.messages_out["tx"] < 20
    assert session.queued < 1_000_000
    peer.transport.resumeProducing()
    peer.wait(1.0)
    assert len(peer.heard("tx")) > 20


def test_the_queue_of_one_peer_is_bounded_and_says_so(bitcoins):
    server = Server(bitcoins, options=", getdata_queue: 100")
    (hash,) = server.mine(transactions=[spend(5, 200_000)])
    peer = server.peer().stop_reading()
    for _ in range(5):
        ask(peer, *[(MSG_WITNESS_BLOCK, hash)] * 100)
    peer.wait(1.0)
    assert server.count("turned_away", "getdata-queue") > 300
    assert not peer.lost


def test_getblocks_is_answered_and_the_last_block_of_a_full_answer_brings_the_tip(server):
    hashes = server.mine(505)
    peer = server.peer()
    peer.say("getblocks", encode_locator(Locator(70016, [GENESIS]))).wait(0.5)
    (answer,) = peer.heard("inv")
    ids = decode_inventory(answer)[MSG_BLOCK]
    assert ids == hashes[:500]
    peer.got.clear()
    ask(peer, (MSG_WITNESS_BLOCK, ids[-2]), (MSG_WITNESS_BLOCK, ids[-1])).wait(0.5)
    assert peer.kinds() == ["block", "block", "inv"]
    assert decode_inventory(peer.heard("inv")[0])[MSG_BLOCK] == [hashes[-1]]


def test_getheaders_is_answered_up_to_our_blocks_up_to_the_stop_and_with_nothing(server):
    hashes = server.mine(5)
    peer = server.peer()

    def headers(locator, stop=bytes(32)):
        peer.got.clear()
        peer.say("getheaders", encode_locator(Locator(70016, locator, stop))).wait(0.1)
        (answer,) = peer.heard("headers")
        return [hash256(header) for header in decode_headers(answer)]

    assert headers([GENESIS]) == hashes
    assert headers([hashes[2]], hashes[3]) == [hashes[3]]
    assert headers([bytes(32)]) == hashes
    assert headers([], hashes[1]) == [hashes[1]]
    assert headers([], bytes(32)) == []
    assert headers([hashes[-1]]) == []


def test_on_mainnet_getheaders_is_answered_with_nothing_and_getblocks_not_at_all(bitcoins):
    bitcoins.start("192.0.2.77")
    text = (bitcoins.folder / "192.0.2.77.yaml").read_text()
    path = bitcoins.folder / "mainnet.yaml"
    path.write_text(text.replace("regtest", "mainnet").replace("data-192.0.2.77", "main").replace("18444", "8333"))
    node = bitcoins.start_file(NODE, path)
    peer = dial(bitcoins.net, "203.0.113.9", NODE, 8333, "mainnet").shake()
    genesis = protocol(node).index.hash_at(0)
    peer.say("getheaders", encode_locator(Locator(70016, [genesis]))).wait(0.1)
    peer.say("getblocks", encode_locator(Locator(70016, [genesis]))).wait(0.1)
    assert decode_headers(peer.heard("headers")[0]) == []
    assert "inv" not in peer.kinds()


def test_a_damaged_block_is_asked_of_a_peer_that_has_it(server, monkeypatch):
    hashes = server.mine(3)
    raws = {hash: server.raw(hash) for hash in hashes}
    peer = server.peer()
    # It shows that it has the chain.
    peer.say("inv", encode_entries([(MSG_BLOCK, hashes[-1])])).wait(0.1)
    server.protocol.blocks.forget(hashes[1])
    assert server.raw(hashes[1]) is None
    peer.wait(0.2)
    (request,) = peer.heard("getdata")
    assert decode_entries(request) == [(MSG_WITNESS_BLOCK, hashes[1])]
    peer.say("block", raws[hashes[1]]).wait(0.2)
    assert server.raw(hashes[1]) == raws[hashes[1]]


def test_a_session_that_ends_while_its_block_is_read_leaves_nothing(bitcoins):
    server = Server(bitcoins, storage="sqlite")
    hashes = server.mine(20)
    peer = server.peer()
    ask(peer, *[(MSG_WITNESS_BLOCK, hash) for hash in hashes] * 10)
    server.net.run(0.011)
    peer.transport.abortConnection()
    server.net.run(1.0)
    assert not server.node.networks["bitcoin"].sessions
    assert not server.protocol.nonces


def test_a_node_that_stops_while_it_serves_stops(bitcoins):
    server = Server(bitcoins, storage="sqlite")
    hashes = server.mine(20)
    peer = server.peer()
    ask(peer, *[(MSG_WITNESS_BLOCK, hash) for hash in hashes] * 10)
    server.net.run(0.011)
    bitcoins.wait(server.node.stop())
    bitcoins.nodes.remove(server.node)
    peer.wait(1.0)
    assert peer.lost


def test_peers_that_ask_for_one_block_share_it_within_the_cache(server):
    hashes = server.mine(3)
    one, other = server.peer("203.0.113.9"), server.peer("203.0.113.10")
    ask(one, (MSG_WITNESS_BLOCK, hashes[0]))
    ask(other, (MSG_WITNESS_BLOCK, hashes[0])).wait()
    assert one.heard("block") == other.heard("block") == [server.raw(hashes[0])]
    assert server.count("block_frames", "store") == server.count("block_frames", "shared") == 1
    frames = server.protocol.block_frames
    server.protocol.config = server.protocol.config.model_copy(update={"block_cache": 400})
    for hash in hashes[1:]:
        ask(one, (MSG_WITNESS_BLOCK, hash)).wait()
    assert sum(map(len, frames._kept.values())) == frames._size <= 400


def test_getheaders_is_answered_with_two_thousand_at_the_most(server):
    hashes = server.mine(2001)
    peer = server.peer()
    peer.say("getheaders", encode_locator(Locator(70016, [server.protocol.chain.genesis_hash]))).wait()
    answer = decode_headers(peer.heard("headers")[-1])
    assert [hash256(header) for header in answer] == hashes[:2000]


def test_getheaders_without_a_locator_asks_for_one_header(server):
    hashes = server.mine(3)
    peer = server.peer()
    peer.say("getheaders", encode_locator(Locator(70016, [], hashes[1]))).wait()
    assert [hash256(header) for header in decode_headers(peer.heard("headers")[-1])] == [hashes[1]]
