"""Fuzz through whole conversations: any payload in a valid frame, and any stream, in every state.

Whatever a peer says: nothing is logged as a failure, no plugin error is counted, nothing is held beyond the bounds,
and an honest peer gets its pong at once. P2PFRAME_FUZZ=long makes it a long run.
"""

from __future__ import annotations

import struct
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    Locator,
    encode_entries,
    encode_headers,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import KINDS, Version, encode_version
from tests.bitcoin.conftest import BitcoinCluster, mine
from tests.bitcoin.test_network import transaction
from tests.hostile.conftest import Victim
from tests.hostile.peer import HEAD

STATES = ("open", "open", "open", "versioned", "new")
KNOWN = tuple(sorted(KINDS))
_number = count()


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """One node with a few blocks for all examples, and an honest peer."""
    nodes = BitcoinCluster(tmp_path_factory.mktemp("fuzz"))
    victim = Victim(nodes)
    nodes.mine(victim.node, 5)
    victim.honest = victim.friend()
    victim.seeds = {}
    yield victim
    nodes.stop()


def enter(victim, state: str):
    """A new peer, of a netgroup of its own, in a state of the handshake."""
    number = next(_number)
    peer = victim.peer(f"{20 + number // 62_500 % 80}.{number // 250 % 250}.{number % 250}.9")
    if state != "new":
        peer.wait(0.02).version().wait(0.05)
    if state == "open":
        peer.say("verack").wait(0.05)
    assert not peer.lost and (state == "new" or "verack" in peer.kinds()), "the fuzz does not get in"
    return peer


def leave(victim, peer) -> None:
    """What must be true whatever was said."""
    victim.net.run(0.05)
    honest = victim.honest
    honest.got.clear()
    assert honest.ping()
    assert not victim.network._plugin_errors.values, victim.network._plugin_errors.values
    assert victim.network.unread <= 5_000_000 and victim.network.queued <= 20_000_000
    assert set(victim.network._closed_total.values) <= REASONS, victim.network._closed_total.values
    if not peer.lost:
        peer.transport.abortConnection()
    victim.net.run(0.3)
    assert list(victim.network.sessions.values()) == [victim.session("198.51.100.7")]
    assert victim.network.unread == 0 == victim.network.gate.handshakes


REASONS = {
    (reason,)
    for reason in (
        "closed-by-peer", "bad-magic", "oversized", "too-many", "malformed", "misbehaviour", "bad-headers", "bad-block",
        "bad-transaction", "late-negotiation", "no-such-service", "obsolete-version", "self-connection", "unwanted-tx",
        "flood", "services", "unreadable", "bad-item", "protocol-violation", "timeout",
    )
}  # fmt: skip


def seeds(victim) -> dict[str, bytes]:
    """A valid payload of every type that has one, for mutations; made anew when the tip moves."""
    index = victim.protocol.index
    tip = index.tip
    made = victim.seeds.get(tip)
    if made is None:
        victim.seeds.clear()
        made = victim.seeds[tip] = _seeds(victim, index, tip)
    return made


def _seeds(victim, index, tip) -> dict[str, bytes]:
    block = mine(victim.protocol.template())
    tx = transaction(77).raw
    return {
        "version": encode_version(Version(70016, 9, 0, nonce=5, user_agent=b"/fuzz:1/", start_height=5)),
        "inv": encode_entries([(MSG_TX, hash256(tx)), (MSG_BLOCK, hash256(block[:80]))]),
        "getdata": encode_entries([(MSG_BLOCK, tip), (MSG_TX, hash256(tx))]),
        "notfound": encode_entries([(MSG_TX, hash256(tx))]),
        "headers": encode_headers([block[:80]]),
        "getheaders": encode_locator(Locator(70016, index.locator())),
        "getblocks": encode_locator(Locator(70016, index.locator())),
        "addr": b"\x01"
        + struct.pack("<IQ", 1_700_000_000, 9)
        + bytes(10)
        + b"\xff\xff"
        + bytes([99, 1, 2, 3])
        + b"\x48\x0c",
        "addrv2": b"\x01"
        + struct.pack("<I", 1_700_000_000)
        + b"\x09\x01\x04"
        + bytes([99, 1, 2, 3])
        + b"\x48\x0c",
        "tx": tx,
        "block": block,
        "ping": bytes(8),
        "pong": bytes(8),
        "feefilter": struct.pack("<q", 1000),
        "sendcmpct": b"\x00" + struct.pack("<Q", 2),
    }


@st.composite
def damage(draw) -> list[tuple[str, int, bytes]]:
    """Changes of a payload: (what, where in thousandths, bytes)."""
    kinds = st.sampled_from(["flip", "cut", "insert", "double", "overwrite"])
    return draw(
        st.lists(st.tuples(kinds, st.integers(0, 1000), st.binary(min_size=1, max_size=9)), max_size=4)
    )


def damaged(payload: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, where, data in changes:
        at = len(payload) * where // 1000
        if what == "flip":
            payload = (
                payload[:at] + bytes([payload[at] ^ data[0]]) + payload[at + 1 :]
                if at < len(payload)
                else payload
            )
        elif what == "cut":
            payload = payload[:at]
        elif what == "insert":
            payload = payload[:at] + data + payload[at:]
        elif what == "double":
            payload = payload + payload[at:]
        else:
            payload = payload[:at] + data + payload[at + len(data) :]
    return payload


fuzzing = settings(max_examples=5 * settings.default.max_examples)  # they take a millisecond or two


@fuzzing
@given(
    state=st.sampled_from(STATES),
    said=st.lists(st.tuples(st.sampled_from(KNOWN), st.binary(max_size=300)), max_size=6),
)
def test_fuzzed_payloads_in_valid_frames(field, state, said):
    peer = enter(field, state)
    for kind, payload in said:
        peer.say(kind, payload)
    leave(field, peer)


@fuzzing
@given(
    state=st.sampled_from(STATES),
    said=st.lists(st.tuples(st.sampled_from(KNOWN), damage()), min_size=1, max_size=6),
)
def test_fuzzed_damage_to_valid_payloads_in_valid_frames(field, state, said):
    valid = seeds(field)
    peer = enter(field, state)
    for kind, changes in said:
        peer.say(kind, damaged(valid.get(kind, b""), changes))
    leave(field, peer)


@fuzzing
@given(
    state=st.sampled_from(STATES),
    kinds=st.lists(st.sampled_from(KNOWN), min_size=1, max_size=8),
    changes=damage(),
    cuts=st.lists(st.integers(1, 200), max_size=10),
)
def test_fuzzed_streams_of_frames_in_any_segmentation(field, state, kinds, changes, cuts):
    valid = seeds(field)
    stream = damaged(b"".join(frame(REGTEST.magic, kind, valid.get(kind, b"")) for kind in kinds), changes)
    peer = enter(field, state)
    for cut in cuts:
        peer.raw(stream[:cut]).wait(0.01)
        stream = stream[cut:]
    peer.raw(stream)
    leave(field, peer)


@fuzzing
@given(state=st.sampled_from(STATES), stream=st.binary(max_size=500))
def test_fuzzed_streams_of_anything(field, state, stream):
    leave(field, enter(field, state).raw(stream))


@fuzzing
@given(
    state=st.sampled_from(STATES),
    command=st.one_of(st.sampled_from(KNOWN).map(str.encode), st.binary(min_size=0, max_size=12)),
    length=st.integers(0, 2**32 - 1),
    check=st.binary(min_size=4, max_size=4),
    rest=st.binary(max_size=200),
)
def test_fuzzed_headers(field, state, command, length, check, rest):
    peer = enter(field, state).raw(HEAD.pack(REGTEST.magic, command, length, check) + rest)
    leave(field, peer)
