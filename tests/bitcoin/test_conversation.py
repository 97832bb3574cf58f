"""What is said over one session: handshake, keep-alive, announcements, addresses."""

from __future__ import annotations

import sys
import tracemalloc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from p2pframe.model import FoundAddress, Outcome, PeerAddress, Slot
from p2pframe.protocols.bitcoin import conversation
from p2pframe.protocols.bitcoin.addresses import decode_addr, decode_addrv2
from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.block_store import TOPIC as BLOCK
from p2pframe.protocols.bitcoin.conversation import Conversation
from p2pframe.protocols.bitcoin.frame import V1Framing
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WTX,
    Locator,
    decode_entries,
    decode_headers,
    decode_inventory,
    encode_entries,
    encode_headers,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import decode_feefilter, encode_feefilter
from p2pframe.testing.context import FakeEntropy
from tests.bitcoin.conftest import mine, protocol
from tests.bitcoin.test_serving import GENESIS, NODE, Server, spend
from tests.hostile.peer import SERVES, dial, listen

OTHER = "198.51.100.9"


@pytest.fixture
def server(bitcoins):
    return Server(bitcoins)


def dialled(bitcoins, slot=Slot.MANUAL, **how):
    """The node's own connection to a scripted peer, before the peer has said anything."""
    taken = listen(bitcoins.net, OTHER)
    server = Server(bitcoins, **how)
    network = server.node.networks["bitcoin"]
    if slot is Slot.MANUAL:
        connecting = server.node.control.connect("bitcoin", PeerAddress(OTHER, 18444))
        connecting.addErrback(lambda _: None)
    else:
        network.dialer.dial(PeerAddress(OTHER, 18444), slot, None)
    bitcoins.net.run(0.2)
    return server, taken[0]


# --- the handshake ---


def test_what_is_said_in_the_handshake_and_behind_it(server):
    peer = dial(server.net, "203.0.113.9", NODE)
    peer.wait()
    assert peer.got == []
    peer.version().wait()
    assert peer.kinds() == ["version", "wtxidrelay", "sendaddrv2", "verack"]
    theirs = peer.theirs()
    assert (theirs.version, theirs.services, theirs.relay) == (70016, 1 | 8 | 1024, True)
    assert theirs.start_height == 0
    assert theirs.user_agent.startswith(b"/p2pframe:")
    peer.got.clear()
    peer.say("verack").wait()
    assert peer.kinds() == ["sendheaders", "ping", "getheaders", "feefilter"]


def test_an_old_peer_is_offered_nothing_that_it_does_not_know(server):
    peer = dial(server.net, "203.0.113.9", NODE)
    peer.version(60002).say("verack").wait()
    assert not {"wtxidrelay", "sendaddrv2", "sendheaders", "feefilter"} & set(peer.kinds())
    assert not peer.lost


def test_a_peer_below_the_oldest_version_is_closed(server):
    peer = dial(server.net, "203.0.113.9", NODE)
    peer.version(31799).wait()
    assert peer.lost


def test_wtxidrelay_decides_by_which_id_transactions_are_announced(server):
    server.mine()
    new, old = (dial(server.net, f"203.0.113.{n}", NODE) for n in (8, 9))
    for peer in (new, old):
        peer.version()
    new.say("wtxidrelay")
    for peer in (new, old):
        peer.say("verack").wait()
        peer.got.clear()
    tx = spend(1)
    server.bitcoins.wait(server.protocol.submit_transaction(tx.raw))
    server.net.run(90.0)
    assert decode_inventory(new.heard("inv")[0]) == {MSG_WTX: [tx.wtxid]}
    assert decode_inventory(old.heard("inv")[0]) == {MSG_TX: [tx.txid]}


def test_sendaddrv2_decides_in_which_form_addresses_are_told(bitcoins):
    server = Server(bitcoins, options=f", external: ['{NODE}:18444']")
    new, old = (dial(server.net, f"203.0.113.{n}", NODE) for n in (8, 9))
    for peer in (new, old):
        peer.version()
    new.say("sendaddrv2")
    for peer in (new, old):
        peer.say("verack").wait(2.0)
    (ours,) = decode_addrv2(new.heard("addrv2")[0])
    (same,) = decode_addr(old.heard("addr")[0])
    assert ours.port == same.port == 18444


@pytest.mark.parametrize("kind", ["wtxidrelay", "sendaddrv2", "sendtxrcncl", "feature"])
def test_what_is_agreed_on_before_verack_ends_the_session_after_it(server, kind):
    assert server.peer().say(kind).wait().lost


@pytest.mark.parametrize(
    ("slot", "relay", "asks"),
    [(Slot.MANUAL, True, True), (Slot.OUTBOUND, True, True), (Slot.BLOCK_RELAY, False, False)],
)
def test_a_block_relay_session_says_so_and_asks_for_no_addresses(bitcoins, slot, relay, asks):
    _, peer = dialled(bitcoins, slot, options=f", external: ['{NODE}:18444']")
    assert peer.theirs().relay is relay
    peer.version(services=SERVES).say("verack").wait(3.0)
    assert not peer.lost
    assert ("getaddr" in peer.kinds()) is asks
    assert ("feefilter" in peer.kinds()) is relay
    assert (("addr" in peer.kinds()) or ("addrv2" in peer.kinds())) is asks


def test_a_transaction_over_a_block_relay_session_ends_it(bitcoins):
    server, peer = dialled(bitcoins, Slot.BLOCK_RELAY)
    peer.version().say("verack").wait()
    peer.say("tx", spend(2).raw).wait()
    assert peer.lost
    assert not len(server.protocol.pool)


def test_a_feeler_ends_with_the_handshake_and_asks_for_no_transactions(bitcoins):
    server, peer = dialled(bitcoins, Slot.FEELER)
    assert not peer.theirs().relay
    peer.version().say("verack").wait()
    assert peer.lost
    assert "getaddr" not in peer.kinds()
    assert not server.protocol._conversations
    assert not server.protocol.nonces


@pytest.mark.parametrize(("services", "stays"), [(SERVES, True), (1024 | 8, True), (1, False), (8, False), (0, False)])
def test_a_dialled_peer_has_to_serve_blocks_with_witnesses(bitcoins, services, stays):
    _, peer = dialled(bitcoins, Slot.OUTBOUND)
    # At the genesis block of a chain without a minimum nothing is known to be missing.
    peer.version(services=services).say("verack").wait()
    assert peer.lost is not stays


def test_while_we_sync_a_dialled_peer_that_prunes_is_of_no_use(bitcoins, monkeypatch):
    server, peer = dialled(bitcoins, Slot.OUTBOUND)
    monkeypatch.setattr(type(server.protocol), "syncing", True)
    peer.version(services=1024 | 8).say("verack").wait()
    assert peer.lost


def test_our_own_nonce_closes_the_session_whichever_end_says_it(bitcoins):
    server, peer = dialled(bitcoins, Slot.OUTBOUND)
    peer.version(nonce=peer.theirs().nonce).wait()
    assert peer.lost
    assert not server.protocol.nonces


def test_a_node_that_dials_itself_ends_both_ends_and_never_dials_there_again(bitcoins):
    server = Server(bitcoins)
    network = server.node.networks["bitcoin"]
    network.dialer.dial(PeerAddress(NODE, 18444), Slot.OUTBOUND, None)
    bitcoins.net.run(1.0)
    assert not network.sessions
    assert not server.protocol.nonces
    reasons = [e.fields["reason"] for e in server.node.view.events() if e.kind == "session.closed"]
    assert reasons == ["self-connection"] * 2


# --- keep-alive ---


def test_a_session_is_pinged_at_once_and_then_now_and_then_and_a_wrong_pong_means_nothing(bitcoins):
    server = Server(bitcoins, options=", ping_interval: 10s, ping_timeout: 30s")
    peer = dial(server.net, "203.0.113.9", NODE)
    peer.version().say("verack").wait()
    (first,) = peer.heard("ping")
    peer.say("pong", bytes(8)).wait()
    assert server.session().counters.ping is None
    peer.say("pong", first).wait()
    assert server.session().counters.ping == pytest.approx(0.22, abs=0.2)
    peer.wait(13.0)
    assert len(peer.heard("ping")) == 2
    assert peer.heard("ping")[1] != first
    peer.wait(34.0)
    assert peer.lost
    reasons = [e.fields["reason"] for e in server.node.view.events() if e.kind == "session.closed"]
    assert reasons == ["ping-timeout"]


# --- transactions ---


def test_a_peer_that_relays_none_is_told_of_none_and_what_it_sends_is_dropped(server):
    server.mine()
    peer = server.peer(relay=False)
    mine_tx, theirs = spend(3), spend(4)
    server.bitcoins.wait(server.protocol.submit_transaction(mine_tx.raw))
    peer.say("tx", theirs.raw)
    peer.say("inv", encode_entries([(MSG_TX, theirs.txid)]))
    server.net.run(60.0)
    assert "inv" not in peer.kinds()
    assert "getdata" not in peer.kinds()
    assert len(server.protocol.pool) == 1
    assert not peer.lost


def test_while_we_sync_transactions_are_neither_asked_for_nor_taken(server, monkeypatch):
    server.mine()
    peer = server.peer()
    monkeypatch.setattr(type(server.protocol), "syncing", True)
    tx = spend(5)
    peer.say("inv", encode_entries([(MSG_TX, tx.txid)])).say("tx", tx.raw)
    server.net.run(10.0)
    assert "getdata" not in peer.kinds()
    assert not len(server.protocol.pool)
    assert not peer.lost


def test_a_peers_fee_filter_is_kept_to(server):
    server.mine()
    peer = server.peer()
    peer.say("feefilter", encode_feefilter(5_000)).wait()
    conversation = server.session()._conversation
    items = [
        SimpleNamespace(id=bytes([n]) * 32, aliases=(), priority=rate) for n, rate in enumerate((None, 4_999, 5_000))
    ]
    conversation.announce(next(iter(server.protocol.topics)), items)
    peer.wait()
    assert decode_inventory(peer.heard("inv")[0]) == {MSG_TX: [bytes(32), b"\x02" * 32]}


def test_a_changed_fee_filter_is_told(server):
    peer = server.peer()
    server.protocol.reconfigure(server.protocol.config.model_copy(update={"fee_filter": 777}))
    peer.wait()
    assert [decode_feefilter(payload) for payload in peer.heard("feefilter")] == [777]


# --- blocks and headers ---


def told(server, peer, count=1):
    """What a peer hears of new blocks."""
    peer.got.clear()
    hashes = server.mine(count)
    peer.wait(0.3)
    heads = [hash256(h) for payload in peer.heard("headers") for h in decode_headers(payload)]
    ids = [id for payload in peer.heard("inv") for id in decode_inventory(payload).get(MSG_BLOCK, [])]
    return hashes, heads, ids


def test_a_new_block_is_told_by_its_header_where_the_peer_wants_that_and_it_connects(server):
    server.mine(3)
    peer = server.peer()
    peer.say("sendheaders").wait()
    hashes, heads, ids = told(server, peer)
    assert (heads, ids) == ([], hashes)
    # After an answer to getheaders it knows what the next one follows.
    peer.say("getheaders", encode_locator(Locator(70016, [GENESIS]))).wait()
    hashes, heads, ids = told(server, peer, 2)
    assert (heads, ids) == (hashes, [])


def test_a_peer_that_did_not_ask_for_headers_is_told_by_ids(server):
    peer = server.peer()
    peer.say("getheaders", encode_locator(Locator(70016, [GENESIS]))).wait()
    hashes, heads, ids = told(server, peer)
    assert (heads, ids) == ([], hashes)


def told_together(server, peer, hashes):
    """What a peer hears of blocks that were announced at once: the headers' hashes, the ids."""
    peer.got.clear()
    conversation = server.session()._conversation
    conversation.announce(BLOCK, [SimpleNamespace(id=hash) for hash in hashes])
    peer.wait(0.3)
    heads = [hash256(h) for payload in peer.heard("headers") for h in decode_headers(payload)]
    ids = [id for payload in peer.heard("inv") for id in decode_inventory(payload).get(MSG_BLOCK, [])]
    return heads, ids


@contextmanager
def silent(monkeypatch):
    """Meanwhile nobody is told of anything, as in a long sync."""
    with monkeypatch.context() as patch:
        patch.setattr(Conversation, "announce", lambda *_: None)
        yield


def quietly(server, monkeypatch, count):
    with silent(monkeypatch):
        return server.mine(count)


def test_who_goes_by_ids_is_told_of_each_of_several_blocks_in_their_order(server):
    hashes = server.mine(3)
    assert told_together(server, server.peer(), hashes) == ([], hashes)


@pytest.mark.parametrize("way", ["getblocks", "getheaders", "inv", "its own headers"])
def test_who_goes_by_ids_is_told_of_the_blocks_that_we_passed_over(server, monkeypatch, way):
    # An orphan with each new block: bcoin asks with getblocks for each of those, and again after each answer.
    first = server.mine(2)
    peer = server.peer()
    if way == "inv":
        assert told_together(server, peer, first) == ([], first)
    elif way == "its own headers":
        peer.say("headers", encode_headers([server.protocol.header(hash) for hash in first])).wait()
    else:
        peer.say(way, encode_locator(Locator(70016, [GENESIS]))).wait()
    later = quietly(server, monkeypatch, 4)
    assert told_together(server, peer, later[-1:]) == ([], later)
    assert told_together(server, peer, later[-1:]) == ([], [])


def test_who_never_said_what_it_has_is_told_of_the_news_alone(server):
    hashes = server.mine(4)
    assert told_together(server, server.peer(), hashes[3:]) == ([], hashes[3:])


def test_who_is_further_behind_than_an_answer_to_getblocks_is_told_of_the_news_alone(server, monkeypatch):
    monkeypatch.setattr("p2pframe.protocols.bitcoin.conversation.MOST_IDS_TOLD", 3)
    peer = server.peer()
    peer.say("getblocks", encode_locator(Locator(70016, [GENESIS]))).wait()
    hashes = quietly(server, monkeypatch, 4)
    assert told_together(server, peer, hashes[3:]) == ([], hashes[3:])
    # It gets the rest by getblocks, and is told of what follows.
    peer.say("getblocks", encode_locator(Locator(70016, [GENESIS]))).wait()
    more = quietly(server, monkeypatch, 2)
    assert told_together(server, peer, more[1:]) == ([], more)


def test_a_block_of_another_branch_is_told_with_those_before_it_there(server, monkeypatch):
    template = server.protocol.template()
    peer = server.peer()
    told(server, peer, 2)
    raws = [mine(template, b"branch")]
    for n in (1, 2):
        previous = hash256(raws[-1][:80])
        raws.append(mine(template._replace(previous=previous, height=template.height + n, time=template.time + n)))
    with silent(monkeypatch):
        for raw in raws:
            server.bitcoins.wait(server.protocol.submit_block(raw))
    branch = [hash256(raw[:80]) for raw in raws]
    assert server.protocol.tip().hash == branch[-1]
    assert told_together(server, peer, branch[-1:]) == ([], branch)


def test_who_wants_headers_that_do_not_connect_is_told_of_the_last_block_alone(server):
    hashes = server.mine(4)
    peer = server.peer()
    peer.say("sendheaders").wait()
    assert told_together(server, peer, hashes[1:]) == ([], hashes[-1:])


def test_who_goes_by_ids_is_told_of_no_more_than_an_answer_to_getblocks_has(server, monkeypatch):
    monkeypatch.setattr("p2pframe.protocols.bitcoin.conversation.MOST_IDS_TOLD", 2)
    hashes = server.mine(3)
    assert told_together(server, server.peer(), hashes) == ([], hashes[1:])


def test_the_first_block_connects_to_what_everyone_has(server):
    peer = server.peer()
    peer.say("sendheaders").wait()
    hashes, heads, _ = told(server, peer)
    assert heads == hashes


def test_a_peer_that_showed_a_block_is_not_told_of_it(server):
    peer, other = server.peer(), server.peer("203.0.113.10")
    raw = mine(server.protocol.template())
    peer.say("headers", encode_headers([raw[:80]])).wait(0.3)
    assert decode_entries(peer.heard("getdata")[0]) == [(MSG_WITNESS_BLOCK, hash256(raw[:80]))]
    peer.got.clear()
    peer.say("block", raw).wait(0.3)
    assert server.protocol.tip().height == 1
    assert "inv" not in peer.kinds()
    assert "headers" not in peer.kinds()
    assert "inv" in other.kinds()


def test_a_block_heard_of_by_its_id_is_fetched_through_its_header(server):
    peer = server.peer()
    raw = mine(server.protocol.template())
    peer.say("headers", encode_headers([])).wait()
    peer.got.clear()
    peer.say("inv", encode_entries([(MSG_BLOCK, hash256(raw[:80]))])).wait()
    assert "getheaders" in peer.kinds()
    peer.say("headers", encode_headers([raw[:80]])).wait()
    assert "getdata" in peer.kinds()
    peer.say("block", raw).wait()
    assert server.protocol.tip().height == 1


def test_fifty_thousand_unknown_blocks_in_one_inv_bring_one_question(server):
    peer = server.peer()
    peer.say("headers", encode_headers([])).wait()
    peer.got.clear()
    peer.say("inv", encode_entries([(MSG_BLOCK, n.to_bytes(32, "big")) for n in range(50_000)])).wait()
    assert peer.kinds().count("getheaders") == 1


def test_headers_whose_blocks_never_come_change_nothing_for_others(server):
    server.mine(5)
    bystander, liar = server.peer("203.0.113.20"), server.peer()
    bystander.got.clear()
    tip = server.protocol.tip()
    template = server.protocol.template()
    raws = [mine(template, b"secret")]
    for n in range(9):
        previous = hash256(raws[-1][:80])
        raws.append(mine(template._replace(previous=previous, height=template.height + 1 + n, time=template.time + n)))
    liar.say("headers", encode_headers([raw[:80] for raw in raws])).wait(1.0)
    assert server.protocol.index.height == 15
    assert server.protocol.tip() == tip
    assert not server.protocol.syncing
    bystander.say("getdata", encode_entries([(MSG_WITNESS_BLOCK, tip.hash)])).wait()
    assert bystander.heard("block")
    # A block of our own on our own tip goes out.
    own = mine(server.protocol.template(), b"own")
    assert server.bitcoins.wait(server.protocol.submit_block(own)).outcome is Outcome.ACCEPT
    assert server.protocol.tip().hash == hash256(own[:80])
    bystander.wait(0.3)
    assert any(hash256(own[:80]) in decode_inventory(p).get(MSG_BLOCK, ()) for p in bystander.heard("inv"))


def test_a_block_that_is_not_wanted_is_not_even_taken_apart(server, monkeypatch):
    (hash,) = server.mine()
    raw = server.raw(hash)
    peer = server.peer()
    monkeypatch.setattr("p2pframe.protocols.bitcoin.protocol.parse_block", lambda raw: pytest.fail("was parsed"))
    peer.say("block", raw).say("block", mine(server.protocol.template()._replace(previous=hash256(b"?")))).wait()
    assert server.count("blocks_unwanted", "known") == 1
    assert server.count("messages_dropped", "unknown-block") == 1
    assert not peer.lost


def test_a_broken_block_is_asked_of_somebody_else_at_once(server):
    raw = mine(server.protocol.template())
    first, second = server.peer(), server.peer("203.0.113.10")
    for peer in (first, second):
        peer.say("headers", encode_headers([raw[:80]])).wait()
    assert "getdata" in first.kinds()
    assert "getdata" not in second.kinds()
    first.say("block", raw[:-3]).wait()
    assert "getdata" in second.kinds()
    assert not first.lost
    first.say("block", b"short").wait()
    assert not first.lost
    second.say("block", raw).wait()
    assert server.protocol.tip().height == 1


@pytest.mark.parametrize(("kind", "answer"), [("getheaders", "headers"), ("getblocks", "inv")])
def test_small_questions_with_large_answers_wait_until_the_peer_reads(server, kind, answer):
    server.mine(510)
    peer = server.peer().stop_reading()
    question = encode_locator(Locator(70016, [GENESIS]))
    for _ in range(600):
        peer.say(kind, question)
    peer.wait(0.5)
    session = server.session()
    assert session.counters.messages_out[answer] * (500 * 36) < 3_000_000
    assert session.queued < 2_000_000
    assert not peer.lost


@pytest.mark.parametrize("slot", [Slot.OUTBOUND, Slot.BLOCK_RELAY, Slot.MANUAL])
@pytest.mark.parametrize("shows", ["our tip when asked", "less", "nothing"])
def test_a_dialled_peer_that_stays_behind_gives_its_slot_to_another(bitcoins, slot, shows):
    server, peer = dialled(bitcoins, slot, options=", behind_timeout: 60s, headers_timeout: 1000s")
    peer.version().say("verack").wait()
    peer.say("headers", encode_headers([])).wait()
    first, tip = server.mine(2)
    index = server.protocol.index
    if shows == "less":
        peer.say("headers", encode_headers([index.header(first)])).wait()
    peer.got.clear()
    server.net.run(65.0)
    assert ("getheaders" in peer.kinds()) is (slot is not Slot.MANUAL)
    if shows == "our tip when asked":
        peer.say("headers", encode_headers([index.header(first), index.header(tip)])).wait()
    server.net.run(125.0)
    assert peer.lost is (slot is not Slot.MANUAL and shows != "our tip when asked")


# --- addresses ---


def test_getaddr_is_answered_inbound_and_once(server):
    server.node.networks["bitcoin"].book.add(
        [
            FoundAddress(PeerAddress(f"11.{n}.0.1", 18444), 9, server.protocol.context.unix_time())
            for n in range(100)
        ],
        PeerAddress("192.0.2.200", 1),
    )
    peer = server.peer()
    peer.say("getaddr").wait()
    assert len([k for k in peer.kinds() if k.startswith("addr")]) == 1
    peer.say("getaddr").wait()
    assert len([k for k in peer.kinds() if k.startswith("addr")]) == 1


def test_a_flood_of_addresses_is_dropped_undecoded(server, monkeypatch):
    decoded = []
    monkeypatch.setattr(conversation, "decode_addr", lambda payload: decoded.append(payload) or [])
    peer = server.peer()
    for _ in range(30):
        peer.say("addr", b"\x00")
    peer.wait()
    assert len(decoded) == 10
    assert server.count("messages_dropped", "addr-rate") == 20
    server.net.run(10.0)
    peer.say("addr", b"\x00").wait()
    assert len(decoded) == 11
    assert server.session().state == "open"


def test_a_dialled_peer_that_asks_for_addresses_hears_none(bitcoins):
    _, peer = dialled(bitcoins)
    peer.version().say("verack").wait()
    peer.got.clear()
    peer.say("getaddr").wait()
    assert not [kind for kind in peer.kinds() if kind.startswith("addr")]


def test_our_own_address_is_told_about_once_a_day(bitcoins):
    server = Server(bitcoins, options=f", external: ['{NODE}:18444'], own_address_interval: 100s")
    peer = server.peer()
    peer.say("headers", encode_headers([])).wait(2.0)
    assert peer.kinds().count("addr") == 1
    server.net.run(125.0)
    assert peer.kinds().count("addr") == 2


# --- what a session costs ---


def test_an_idle_conversation_takes_less_than_a_kilobyte_and_a_half():
    stand_in = SimpleNamespace(framing=V1Framing(b"abcd"), context=SimpleNamespace(entropy=FakeEntropy(1)), nonces={})
    held = [None] * 500
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(len(held)):
        made = held[n] = Conversation(stand_in, SimpleNamespace(inbound=True))
        made.start()
        made.best_header = made.last_unknown = n.to_bytes(32, "big")
    each = (tracemalloc.get_traced_memory()[0] - before) / len(held)
    tracemalloc.stop()
    assert each < 1536
    assert not hasattr(held[0], "__dict__")
    assert sys.getsizeof(held[0]) < 400


def test_a_hundred_sessions_that_have_ended_leave_nothing(server):
    server.mine(3)
    for n in range(100):
        peer = dial(server.net, f"203.0.{n}.9", NODE)
        if n % 2:
            peer.version().say("verack").wait(0.05)
        peer.transport.abortConnection()
        peer.wait(0.05)
    server.net.run(1.0)
    ours = server.protocol
    assert not ours.nonces
    assert not ours._conversations
    assert not ours.header_sync._peers
    assert not ours.header_sync._waiting
    assert not ours.laggards._watched
    assert not ours.block_sync._peers
    assert not ours.block_sync._inbound
    assert protocol(server.node) is ours
