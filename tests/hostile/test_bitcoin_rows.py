"""Every row of what a good Bitcoin node does with what it gets, each against a whole node."""

from __future__ import annotations

import struct

import pytest

from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    Locator,
    decode_entries,
    decode_headers,
    decode_locator,
    encode_entries,
    encode_headers,
    encode_locator,
)
from tests.bitcoin.conftest import height, mine
from tests.hostile.conftest import NODE
from tests.hostile.peer import HEAD, SERVES, listen

ATTACKER = "203.0.113.9"


def header(kind: str, length: int, magic: bytes = REGTEST.magic, check: bytes = b"\0\0\0\0") -> bytes:
    return HEAD.pack(magic, kind.encode().ljust(12, b"\0"), length, check)


def test_version_and_verack_are_answered_in_order_and_the_first_words_follow(victim):
    peer = victim.peer().wait()
    assert peer.got == [], "who dialled speaks first"
    peer.version().wait()
    assert peer.kinds() == ["version", "wtxidrelay", "sendaddrv2", "verack"]
    assert peer.theirs().nonce != 7 and peer.theirs().services == 1 | 8 | 1024
    peer.got.clear()
    peer.say("verack").wait()
    assert {"ping", "getheaders", "feefilter", "sendheaders"} <= set(peer.kinds())
    assert peer.ping() and victim.session(ATTACKER).state == "open"


@pytest.mark.parametrize(
    ("number", "offered"), [(70015, False), (70016, True), (70017, True), (31800, False)]
)
def test_a_peer_below_70016_is_offered_no_wtxidrelay_and_no_sendaddrv2(victim, number, offered):
    peer = victim.peer().version(number).wait()
    assert ("wtxidrelay" in peer.kinds(), "sendaddrv2" in peer.kinds()) == (offered, offered)
    assert peer.kinds()[-1] == "verack"


def test_a_peer_below_31800_is_closed(victim):
    peer = victim.peer().version(31799).wait(0.5)
    assert peer.lost and victim.closed() == ["obsolete-version"]


def test_a_second_version_and_a_second_verack_are_ignored(victim):
    peer = victim.friend(ATTACKER)
    before = victim.session(ATTACKER).handshake
    peer.version(70015, services=0, nonce=99).say("verack").version().wait()
    assert peer.ping() and peer.heard("version") == []
    assert victim.session(ATTACKER).handshake is before


@pytest.mark.parametrize("kind", ["verack", "ping", "inv", "getaddr", "mempool", "headers", "nonsense"])
def test_what_comes_before_version_is_ignored(victim, kind):
    peer = victim.peer().say(kind, b"\x00").wait()
    assert peer.got == [] and not peer.lost
    assert peer.shake().ping()


def test_between_version_and_verack_only_the_handshake_is_answered(victim):
    peer = victim.peer().version().wait()
    peer.got.clear()
    peer.say("ping", b"12345678").say("getaddr").say("version", b"\x00").wait()
    assert peer.got == [] and not peer.lost
    assert peer.say("verack").wait().ping()


def test_its_own_nonce_closes(bitcoins):
    node = bitcoins.start(NODE, (NODE,))
    bitcoins.net.run(3.0)
    assert not [s for s in node.view.sessions() if s.state == "open"]
    reasons = [e.fields["reason"] for e in node.view.events() if e.kind == "session.closed"]
    assert "self-connection" in reasons


def test_another_networks_magic_closes_at_the_header(victim):
    peer = victim.peer().raw(header("version", 100, bytes.fromhex("f9beb4d9"))).wait(0.5)
    assert peer.lost and victim.closed() == ["bad-magic"]


def test_a_bad_checksum_drops_the_message_and_the_session_stays(victim):
    peer = victim.friend(ATTACKER)
    peer.raw(header("ping", 8, check=b"\1\2\3\4") + b"12345678").wait()
    assert peer.heard("pong") == [] and peer.ping()
    assert victim.count("messages_dropped", "checksum") == 1


@pytest.mark.parametrize("kind", ["nonsense", "cmpctblock", "sendcmpct", "getcfilters", "reject", "alert"])
def test_a_type_that_is_unknown_or_not_served_is_let_pass(victim, kind):
    peer = victim.friend(ATTACKER)
    assert peer.say(kind, b"whatever").ping()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("ping", b"1234"),
        ("inv", b"\x02" + bytes(36)),
        ("inv", b"\xfd\x01\x00" + bytes(36)),
        ("inv", b"\x01" + bytes(35)),
        ("getdata", b"\x01"),
        ("getdata", b""),
        ("headers", b"\x01" + bytes(80)),
        ("headers", b"\x01" + bytes(80) + b"\x01"),
        ("getheaders", bytes(10)),
        ("getblocks", bytes(3)),
        ("addr", b"\x01" + bytes(29)),
        ("addr", b"\xfe\x01\x00\x00\x00" + bytes(30)),
        ("addrv2", b"\x01\x00"),
        ("tx", b"\x01\x00\x00\x00"),
        ("tx", bytes(60)),
        ("block", bytes(79)),
        ("block", bytes(81)),
        ("feefilter", bytes(7)),
        ("notfound", b"\x09"),
    ],
)
def test_a_truncated_or_non_canonical_payload_drops_the_message_and_the_session_stays(victim, kind, payload):
    peer = victim.friend(ATTACKER)
    peer.say(kind, payload)
    assert peer.ping(b"still up"), victim.closed()


@pytest.mark.parametrize("kind", ["version", "block", "nonsense"])
def test_a_header_that_claims_over_four_million_bytes_closes_and_allocates_nothing(victim, kind):
    import tracemalloc

    peer = victim.peer() if kind == "version" else victim.friend(ATTACKER)
    tracemalloc.start()
    try:
        peer.raw(header(kind, 4_000_001)).wait(0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peer.lost and victim.closed() == ["oversized"]
    assert peak < 1_000_000


def test_a_header_of_four_million_bytes_is_no_offence_and_is_held_by_what_came(victim):
    peer = victim.friend(ATTACKER)
    peer.raw(header("block", 4_000_000) + bytes(1000)).wait()
    assert not peer.lost and victim.session(ATTACKER).unread < 2000


def count_of(number: int) -> bytes:
    return b"\xfd" + struct.pack("<H", number) if number < 65536 else b"\xfe" + struct.pack("<I", number)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("inv", count_of(50_001) + bytes(36 * 50_001)),
        ("getdata", count_of(50_001) + bytes(36 * 50_001)),
        ("notfound", count_of(50_001) + bytes(36 * 50_001)),
        ("addr", count_of(1001) + bytes(30 * 1001)),
        ("addrv2", count_of(1001) + bytes(1000)),
        ("headers", count_of(2001) + bytes(81 * 2001)),
        ("getheaders", bytes(4) + b"\x66" + bytes(32 * 102) + bytes(32)),
        ("getblocks", bytes(4) + b"\x66" + bytes(32 * 102) + bytes(32)),
    ],
)
def test_more_entries_than_allowed_close(victim, kind, payload):
    peer = victim.friend(ATTACKER)
    peer.say(kind, payload).wait(0.5)
    assert peer.lost and victim.closed() == ["too-many"]
    assert victim.count("messages_dropped", "too-many") == 1


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("inv", count_of(50_000) + bytes(36 * 50_000)),
        ("getdata", count_of(50_000) + bytes(36 * 50_000)),
        ("getheaders", bytes(4) + b"\x65" + bytes(32 * 101) + bytes(32)),
        ("addr", count_of(1000) + bytes(30 * 1000)),
    ],
)
def test_as_many_entries_as_allowed_do_not(victim, kind, payload):
    peer = victim.friend(ATTACKER)
    assert peer.say(kind, payload).wait(0.5).ping(), victim.closed()


def test_a_ping_is_answered_with_its_nonce_and_a_pong_that_matches_none_is_ignored(victim):
    peer = victim.friend(ATTACKER)
    for nonce in (b"\x00" * 8, b"\xff" * 8, b"abcdefgh"):
        assert peer.ping(nonce)
    before = victim.session(ATTACKER).counters.ping
    peer.say("pong", b"notyours").say("pong", b"").wait()
    assert peer.ping() and victim.session(ATTACKER).counters.ping == before


def test_the_answer_to_our_ping_is_measured(victim):
    peer = victim.peer()
    peer.version().wait()
    peer.say("verack").wait()
    (nonce,) = peer.heard("ping")
    peer.say("pong", nonce).wait()
    assert victim.session(ATTACKER).counters.ping is not None


def forged(victim, count=3, **changes):
    """Headers on top of the victim's tip, without proof of work."""
    previous, headers = victim.protocol.tip().hash, []
    for number in range(count):
        raw = struct.pack(
            "<I32s32sIII", 0x20000000, previous, bytes([number] * 32), 1_700_000_000 + number, 0x207FFFFF, 0
        )
        while (int.from_bytes(hash256(raw), "little") < 1 << 255) is bool(changes.get("no_work")):
            raw = raw[:76] + struct.pack("<I", struct.unpack("<I", raw[76:])[0] + 1)
        headers.append(raw)
        previous = hash256(raw)
    return headers


def test_headers_without_proof_of_work_close(victim):
    peer = victim.friend(ATTACKER).say("headers", encode_headers(forged(victim, no_work=True))).wait(0.5)
    assert peer.lost and victim.closed() == ["bad-headers"]
    assert victim.protocol.index.height == 0


def test_headers_that_are_not_continuous_close(victim):
    headers = forged(victim)
    peer = victim.friend(ATTACKER).say("headers", encode_headers([headers[0], headers[2]])).wait(0.5)
    assert peer.lost and victim.closed() == ["bad-headers"]
    assert victim.protocol.index.height == 0


def test_headers_that_do_not_connect_ask_for_the_gap_without_punishment(victim):
    peer = victim.friend(ATTACKER)
    headers = forged(victim, 5)
    peer.say("headers", encode_headers([])).wait()  # the answer to the node's own getheaders
    peer.got.clear()
    peer.say("headers", encode_headers(headers[3:])).wait()
    (asked,) = peer.heard("getheaders")
    assert decode_locator(asked).hashes[-1] == victim.protocol.index.hash_at(0)
    assert peer.ping() and victim.node.view.penalties() == []
    peer.say("headers", encode_headers(headers)).wait()
    assert victim.protocol.index.height == 5


def test_headers_that_never_connect_are_not_asked_about_for_ever(victim):
    peer = victim.friend(ATTACKER)
    for number in range(100):
        raw = struct.pack("<I32s32sIII", 1, bytes([number + 1] * 32), bytes(32), 1_700_000_000, 0x207FFFFF, 0)
        while int.from_bytes(hash256(raw), "little") >= 1 << 255:
            raw = raw[:76] + struct.pack("<I", struct.unpack("<I", raw[76:])[0] + 1)
        peer.say("headers", encode_headers([raw])).wait(0.05)
    assert not peer.lost and peer.ping()
    assert len(peer.heard("getheaders")) <= victim.protocol.config.unconnected + 2
    assert victim.count("headers_dropped", "unconnected-too-often") > 80
    assert len(victim.protocol.index) == 1


def test_getdata_of_an_unknown_transaction_is_notfound_and_of_an_unknown_block_silence(victim):
    peer = victim.friend(ATTACKER)
    wanted = [(MSG_TX, b"\x01" * 32), (MSG_WITNESS_TX, b"\x02" * 32)]
    blocks = [(MSG_BLOCK, b"\x03" * 32), (MSG_WITNESS_BLOCK, b"\x04" * 32), (0x12345, b"\x05" * 32)]
    peer.say("getdata", encode_entries([*blocks, *wanted, *blocks])).wait()
    assert [decode_entries(payload) for payload in peer.heard("notfound")] == [wanted]
    assert peer.heard("block") == [] and peer.ping()


def test_headers_and_blocks_that_we_have_are_served(victim):
    hashes = victim.cluster.mine(victim.node, 5)
    peer = victim.friend(ATTACKER)
    peer.say("getheaders", encode_locator(Locator(70016, [victim.protocol.index.hash_at(2)]))).wait()
    assert [hash256(raw) for raw in decode_headers(peer.heard("headers")[0])] == hashes[2:]
    peer.say("getdata", encode_entries([(MSG_WITNESS_BLOCK, hashes[0])])).wait()
    assert hash256(peer.heard("block")[0][:80]) == hashes[0]


@pytest.mark.parametrize("kind", ["mempool", "filterload", "filteradd", "filterclear"])
def test_asking_for_a_service_that_we_do_not_offer_closes(victim, kind):
    peer = victim.friend(ATTACKER).say(kind, b"").wait(0.5)
    assert peer.lost and victim.closed() == ["no-such-service"]


@pytest.mark.parametrize("kind", ["wtxidrelay", "sendaddrv2", "sendtxrcncl", "feature"])
def test_what_may_only_be_agreed_on_before_verack_closes_after_it(victim, kind):
    peer = victim.friend(ATTACKER).say(kind).wait(0.5)
    assert peer.lost and victim.closed() == ["late-negotiation"]


@pytest.mark.parametrize(
    ("services", "kept"), [(SERVES, True), (0, False), (8, False), (1, False), (8 | 1024, True)]
)
def test_a_dialled_peer_without_the_services_it_needs_is_closed(bitcoins, services, kept):
    taken = listen(bitcoins.net, "198.51.100.50")
    node = bitcoins.start(NODE)
    from p2pframe.model import FoundAddress, PeerAddress

    network = node.networks["bitcoin"]
    network.book.add([FoundAddress(PeerAddress("198.51.100.50", 18444), 9)], "test")
    bitcoins.net.run_until(lambda: taken and taken[0].up)
    peer = taken[0].wait()
    assert peer.kinds() == ["version"], "who dials speaks first"
    peer.version(services=services).say("verack").wait(0.5)
    assert peer.lost is not kept
    if not kept:
        reasons = [e.fields["reason"] for e in node.view.events() if e.kind == "session.closed"]
        assert reasons == ["services"]


def test_a_block_that_is_not_what_its_header_says_closes_its_sender_and_may_come_from_another(victim):
    raw = mine(victim.protocol.template())
    liar, friend = victim.friend(ATTACKER), victim.friend()
    liar.say("block", raw[:-1] + bytes([raw[-1] ^ 1])).wait(0.5)
    assert liar.lost and victim.closed() == ["bad-block"] and height(victim.node) == 0
    friend.say("block", raw).wait(0.5)
    assert height(victim.node) == 1 and friend.ping()
