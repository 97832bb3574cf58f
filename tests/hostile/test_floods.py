"""Floods, silence and half-open wires against a whole Bitcoin node: it keeps its bounds, counts, serves the others."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from p2pframe.protocols.bitcoin.inventory import (
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WTX,
    Locator,
    encode_entries,
    encode_ids,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import KINDS
from tests.bitcoin.conftest import mine
from tests.bitcoin.test_network import transaction
from tests.hostile.peer import dial

ATTACKER = "203.0.113.9"


def ids(count: int, seed: int = 0) -> list[bytes]:
    return [struct.pack("<IQ20x", seed, number) for number in range(count)]


SMALL = {
    "inv": encode_ids(MSG_TX, ids(1)),
    "getdata": encode_ids(MSG_TX, ids(1)),
    "notfound": encode_ids(MSG_TX, ids(1)),
    "ping": b"12345678",
    "pong": b"12345678",
    "feefilter": struct.pack("<q", 1000),
    "headers": b"\x00",
    "getheaders": bytes(4) + b"\x00" + bytes(32),
    "getblocks": bytes(4) + b"\x00" + bytes(32),
    "addr": b"\x00",
    "addrv2": b"\x00",
    "tx": transaction(1).raw,
    "nonsense": b"what",
}
ENDING = {
    "mempool",
    "filterload",
    "filteradd",
    "filterclear",
    "wtxidrelay",
    "sendaddrv2",
    "sendtxrcncl",
    "feature",
}


@pytest.mark.parametrize("kind", sorted({*KINDS, "nonsense"} - ENDING))
def test_a_flood_of_any_type_is_read_no_faster_than_the_budget_and_others_do_not_feel_it(victim, kind):
    honest = victim.friend()
    attacker = victim.friend(ATTACKER)
    session = victim.session(ATTACKER)
    limits = victim.network.limits
    before, start = session.counters.received, victim.net.clock.seconds()
    from p2pframe.protocols.bitcoin.frame import frame

    payload = SMALL.get(kind, b"" if kind != "block" else mine(victim.protocol.template()))
    message = frame(attacker.magic, kind, payload)
    flood = message * min(20_000, 3_000_000 // len(message))
    for at in range(0, len(flood), 60_000):
        attacker.raw(flood[at : at + 60_000]).wait(0.02)  # as sockets do: so much at a time
    for _ in range(12):
        honest.got.clear()
        assert honest.ping(), "the honest peer waits for its pong"
    elapsed = victim.net.clock.seconds() - start
    read = session.counters.received - before
    if not session.closing and session.state == "open":
        allowed = limits.messages_burst + limits.messages_per_second * (elapsed + 1)
        assert read <= allowed
        assert victim.count("over_budget") > 0 and session.counters.turned_away > 0
        assert session.unread == victim.network.unread < 1_000_000
    else:
        assert victim.closed()[0] in {"misbehaviour", "malformed"}, victim.closed()
    assert session.counters.messages_in.keys() <= {*KINDS, "*"}


@pytest.mark.parametrize("kind", sorted(ENDING))
def test_what_ends_a_session_ends_it_at_the_first(victim, kind):
    honest = victim.friend()
    attacker = victim.friend(ATTACKER)
    session = victim.session(ATTACKER)
    before = session.counters.received
    attacker.raw(b"".join(attacker_frames(attacker, kind, 5000))).wait(0.5)
    assert attacker.lost and session.counters.received - before == 1
    assert honest.ping()


def attacker_frames(peer, kind, count):
    from p2pframe.protocols.bitcoin.frame import frame

    return [frame(peer.magic, kind)] * count


def test_sustained_excess_is_a_fact(victim):
    victim.network.limits = victim.network.limits.model_copy(update={"excess_time": 3.0})
    attacker = victim.friend(ATTACKER)
    attacker.raw(b"".join(attacker_frames(attacker, "getaddr", 20_000)))
    victim.net.run(8.0)
    assert victim.count("facts", "excess") >= 1


def test_handshakes_of_one_byte_a_second_end_at_the_deadline_and_cost_nobody_else(victim):
    from p2pframe.protocols.bitcoin.frame import frame
    from p2pframe.protocols.bitcoin.messages import Version, encode_version

    version = encode_version(Version(70016, 9, 0, user_agent=b"/slow:1/"))
    slow = [victim.peer(f"203.{n}.113.9") for n in range(20)]
    words = frame(slow[0].magic, "version", version)
    for second in range(75):
        for peer in slow:
            if not peer.lost and second < len(words):
                peer.raw(words[second : second + 1])
        victim.net.run(1.0)
        if second == 30:
            assert len([peer for peer in slow if not peer.lost]) == 20
            assert victim.friend().ping()
    assert all(peer.lost for peer in slow)
    assert victim.closed().count("handshake-timeout") == 20
    assert victim.network.gate.handshakes == 0


def test_half_open_connections_end_and_leave_nothing(attack):
    """The other end is gone without a word: its host lost power. What we send is never taken, nothing ever comes."""
    victim = attack(
        options=", ping_timeout: 100s, ping_interval: 20s", extra="    limits: {idle_timeout: 60s}"
    )
    peers = [victim.friend(f"203.{n}.113.9") for n in range(10)]
    silent = [victim.peer(f"198.{n}.113.9") for n in range(10)]
    honest = victim.friend()
    for peer in peers + silent:
        peer.transport.silent = peer.transport.other.silent = True
    for _ in range(30):
        victim.net.run(5.0)
        assert honest.say("headers", b"\x00").ping()
    assert set(victim.closed()) <= {"idle", "handshake-timeout", "ping-timeout", "headers-timeout"}
    assert len(victim.closed()) == 20
    assert len(victim.network.sessions) == 1 and victim.network.queued == 0


def test_five_hundred_dials_from_one_netgroup_are_bounded_and_others_get_in(victim):
    limits = victim.network.limits
    crowd = [dial(victim.net, f"203.0.{n // 250}.{n % 250 + 1}", "192.0.2.1") for n in range(500)]
    refused = victim.count("refusals", "netgroup-rate")
    elapsed = victim.net.clock.seconds()
    taken = 500 - len([peer for peer in crowd if peer.lost])
    assert taken <= limits.netgroup_accepts_burst + limits.netgroup_accepts_per_second * (elapsed + 1)
    assert refused >= 500 - limits.netgroup_accepts_burst - limits.netgroup_accepts_per_second * (elapsed + 1)
    assert victim.network.gate.handshakes <= limits.handshakes
    assert victim.friend().ping()


def test_the_gates_other_bounds_hold_whoever_knocks(victim):
    """Five hundred netgroups: the rate of all, and the handshakes under way."""
    limits = victim.network.limits
    crowd = [victim.network.accept(_address(n), victim.network.parts.transports[0]) for n in range(500)]
    taken = [session for session in crowd if session is not None]
    assert len(taken) <= limits.accepts_burst
    assert victim.network.gate.handshakes <= limits.handshakes
    assert victim.count("refusals", "accept-rate") == 500 - len(taken)
    for session in taken:
        session.connectionLost()


def _address(number):
    from p2pframe.model import PeerAddress

    return PeerAddress(f"{20 + number // 250}.{number % 250}.1.1", 5000)


def synced(victim, count=1):
    """A victim that takes transactions: it has its blocks."""
    victim.cluster.mine(victim.node, count)
    return victim


@pytest.mark.parametrize("kind", [MSG_TX, MSG_WTX])
def test_invs_of_fifty_thousand_are_bounded_in_what_they_leave_and_the_honest_one_is_asked(victim, kind):
    synced(victim)
    attackers = [victim.peer(f"203.{n}.113.9") for n in range(4)]
    for peer in attackers:
        peer.wait().version().wait()
        peer.say("wtxidrelay").say("verack").wait()
    tracemalloc.start()
    try:
        for turn in range(2):
            for number, peer in enumerate(attackers):
                peer.say("inv", encode_ids(kind, ids(50_000, 10 * turn + number)))
            victim.net.run(0.5)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    topic = victim.network.scheduler._topics["tx"]
    assert len(topic.items) <= 50_000
    assert all(len(peer.ids) <= topic.rules.announcements for peer in topic.peers.values())
    assert all(len(peer.flying) <= topic.rules.in_flight for peer in topic.peers.values())
    assert kind != MSG_WTX or victim.count("scheduler_announcements_refused") >= 4 * 2 * 45_000
    assert held < 30_000_000
    friend = victim.friend()
    friend.say("inv", encode_ids(MSG_TX, ids(1, 999))).wait(3.0)
    assert any(ids(1, 999)[0] in payload for payload in friend.heard("getdata"))


def test_a_peer_that_asks_for_everything_and_reads_nothing_is_bounded_and_ended(attack):
    victim = attack(extra="    limits: {idle_timeout: 100s}")
    hashes = victim.cluster.mine(victim.node, 3, transactions=[big_transaction()])[:1]
    honest = victim.friend()
    greedy = [victim.friend(f"203.{n}.113.9").stop_reading() for n in range(5)]
    for _ in range(4):
        for peer in greedy:
            if not peer.lost:
                peer.say("getdata", encode_entries([(MSG_WITNESS_BLOCK, hashes[0])] * 50_000))
        victim.net.run(0.5)
        assert victim.network.queued <= victim.network.limits.send_buffers_total
        for session in victim.network.sessions.values():
            assert session.queued <= victim.network.limits.send_buffer_max
    for _ in range(11):
        assert honest.ping()
        victim.net.run(10.0)
    assert [reason for reason in victim.closed() if reason in ("does-not-read", "idle")] == victim.closed()
    assert len(victim.closed()) == 5 and victim.network.queued == 0
    assert honest.lost is False


def big_transaction():
    from p2pframe.protocols.bitcoin.api import build_transaction
    from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput

    spends = [TxInput(bytes([n]) * 32, 0, b"", 0xFFFFFFFF, (b"\x01" * 64,)) for n in range(1, 3)]
    return build_transaction(spends, [TxOutput(1000, b"\x6a" + b"\x00" * 9000) for _ in range(10)])


def test_announcements_to_a_peer_that_does_not_read_are_held_within_bounds(victim):
    """50,000 transactions become known to a node while a peer takes nothing."""
    synced(victim)
    deaf = victim.peer(ATTACKER).wait().version().wait()
    deaf.say("verack").wait()
    deaf.stop_reading()
    honest = victim.friend()
    session = victim.session(ATTACKER)
    session.pauseProducing()
    for number in range(3000):
        victim.protocol.submit_transaction(transaction(number + 10).raw)
        if number % 300 == 0:
            victim.net.run(1.0)
    victim.net.run(30.0)
    assert session.queued < 200_000
    assert honest.ping() and len(honest.heard("inv")) > 0


def test_the_heaviest_answers_stop_in_the_middle_of_a_read(victim):
    """A getheaders of 61 bytes is answered with 160 kB: a thousand of them in one read are not a hundred megabytes."""
    victim.cluster.mine(victim.node, 500)
    honest = victim.friend()
    attacker = victim.friend(ATTACKER).stop_reading()
    from p2pframe.protocols.bitcoin.frame import frame

    session = victim.session(ATTACKER)
    ask = frame(
        attacker.magic, "getheaders", encode_locator(Locator(70016, [victim.protocol.index.hash_at(0)]))
    )
    tracemalloc.start()
    try:
        attacker.raw(ask * 1000).wait(0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert session.queued <= victim.network.limits.send_buffer + 2_000_000
    assert peak < 8_000_000, f"{peak} bytes"
    assert honest.ping()
