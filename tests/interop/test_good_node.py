"""What a good node does with what it gets.

One test a row, by a scripted peer over real sockets, under each policy and scorer.

The rows are those of the field: what Bitcoin Core's nodes do. One node a configuration takes all of them, one after the
other, so that each row also shows that the rows before it have not hurt anybody else.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin.addresses import encode_addr, network_address
from p2pframe.protocols.bitcoin.api import Block, hash256
from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_TX,
    decode_entries,
    decode_locator,
    encode_entries,
    encode_headers,
    encode_ids,
)
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_WITNESS, decode_version
from p2pframe.protocols.bitcoin.wire import compact_size
from tests.interop.configs import PLUGINS, node
from tests.interop.made_chain import headers_of, make_block, make_chain
from tests.interop.processes import P2PNode, wait_until
from tests.interop.wire_peer import Closed, Listener, WirePeer
from tests.interop.wire_tls import WireTls

pytestmark = [pytest.mark.interop]

MANY = {
    "netgroup_accepts_burst": 10_000, "accepts_burst": 10_000, "netgroup_accepts_per_second": 1000,
    "accepts_per_second": 1000, "dial_interval": "100ms",
}  # fmt: skip
"""All peers of these tests come from loopback, one after the other."""

BLOCKS = 20
CHAIN: list[Block] = []


@pytest.fixture(scope="module", params=[*PLUGINS, "memory", "tls"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[P2PNode]:
    """A node with 20 blocks, under one of the configurations."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if not CHAIN:
        CHAIN.extend(make_chain(BLOCKS))
    changes = PLUGINS.get(request.param, {}) | {"limits": MANY}
    if request.param == "tls":
        changes["transports"] = [{"plugin": "tls", "listen": ["127.0.0.1:{port}"]}]
    config = node(changes, storage="memory" if request.param == "memory" else "sqlite")
    with ExitStack() as ended, P2PNode("ours", folder, config) as ours:
        if request.param == "tls":
            WirePeer.tls = WireTls(folder)
            ended.callback(setattr, WirePeer, "tls", None)
        ours.start()
        with WirePeer.dial(ours.port) as feeder:
            feeder.handshake(height=BLOCKS)
            feeder.show(headers_of(CHAIN))
            for block in CHAIN:
                feeder.send("block", block.raw)
            feeder.sync()
            # The answer to its getheaders may have been ours already: an empty one ends the sync in any case.
            feeder.show([])
            wait_until("it has the blocks", lambda: len(feeder.headers()) == BLOCKS, 20, ours.tail)
        yield ours
        assert ours.process is not None and ours.process.poll() is None, ours.tail()
        ours.stop()


@pytest.fixture
def peer(good: P2PNode) -> Iterator[WirePeer]:
    """A peer that has said nothing yet."""
    with WirePeer.dial(good.port) as peer:
        yield peer


@pytest.fixture
def open_peer(peer: WirePeer) -> WirePeer:
    """A peer behind its handshake."""
    peer.handshake()
    peer.sync()
    return peer


def must_close(peer: WirePeer) -> None:
    assert peer.hung_up(10), f"still open; received {peer.kinds()}"


def must_stay_open(peer: WirePeer) -> None:
    try:
        peer.sync()
    except Closed:
        pytest.fail(f"hung up; received {peer.kinds()}")


# --- the handshake ---


def test_version_and_verack_are_answered_in_order(peer: WirePeer) -> None:
    """Core says sendcmpct too; ours has no compact blocks to offer."""
    peer.say_version()
    peer.expect("version")
    peer.expect("verack")
    assert peer.kinds() == ["version", "wtxidrelay", "sendaddrv2", "verack"]
    peer.send("verack")
    peer.expect("ping")
    peer.expect("getheaders")
    peer.expect("feefilter")
    assert peer.kinds()[4:5] == ["sendheaders"]


def test_its_version_says_what_it_serves(peer: WirePeer) -> None:
    peer.say_version()
    said = decode_version(peer.expect("version"))
    assert said.agent.startswith("/p2pframe:")
    assert said.services & NODE_NETWORK and said.services & NODE_WITNESS
    assert said.start_height == BLOCKS and said.relay
    assert abs(said.time - time.time()) < 60


def test_a_peer_below_70016_is_offered_neither_wtxidrelay_nor_sendaddrv2(peer: WirePeer) -> None:
    peer.handshake(number=70015)
    must_stay_open(peer)
    assert not {"wtxidrelay", "sendaddrv2"} & set(peer.kinds())


@pytest.mark.parametrize("kind", ["version", "verack"])
def test_a_second_version_or_verack_is_ignored(kind: str, open_peer: WirePeer) -> None:
    before = open_peer.kinds().count(kind)
    open_peer.say_version() if kind == "version" else open_peer.send("verack")
    must_stay_open(open_peer)
    assert open_peer.kinds().count(kind) == before


def test_anything_but_version_first_is_ignored(peer: WirePeer) -> None:
    peer.send("ping", bytes(8))
    peer.send("getaddr")
    peer.send("verack")
    peer.send("mempool")
    peer.handshake()
    must_stay_open(peer)
    assert peer.kinds()[0] == "version"


@pytest.mark.parametrize("kind", ["wtxidrelay", "sendaddrv2"])
def test_what_is_negotiated_before_verack_ends_the_session_after_it(kind: str, open_peer: WirePeer) -> None:
    open_peer.send(kind)
    must_close(open_peer)


def dialled(good: P2PNode, host: str) -> WirePeer:
    """A connection that the node makes to us, having been told by another peer that we are there."""
    with Listener(host) as listener, WirePeer.dial(good.port) as gossip:
        gossip.handshake()
        place = network_address(PeerAddress.of(host, listener.port), NODE_NETWORK | NODE_WITNESS, int(time.time()) - 1)
        assert place is not None
        gossip.send("addr", encode_addr([place]))
        return listener.accept()


def test_its_own_nonce_closes(good: P2PNode, peer: WirePeer) -> None:
    with dialled(good, "127.11.0.1") as out:
        nonce = decode_version(out.expect("version")).nonce
        peer.say_version(nonce=nonce)
        must_close(peer)
        assert "verack" not in peer.kinds()


def test_a_dialled_peer_without_the_services_it_needs_is_closed(good: P2PNode) -> None:
    with dialled(good, "127.12.0.1") as out:
        out.expect("version")
        out.say_version(services=0)
        out.send("verack")
        must_close(out)


def test_a_dialled_peer_with_them_is_kept(good: P2PNode) -> None:
    with dialled(good, "127.13.0.1") as out:
        out.expect("version")
        out.say_version()
        out.send("verack")
        out.expect("verack")
        # Whom it dialled is asked for addresses; a feeler would have been closed by now.
        must_stay_open(out)


# --- the stream ---


def test_another_networks_magic_closes(peer: WirePeer) -> None:
    peer.send_raw(frame(MAINNET.magic, "version", bytes(86)))
    must_close(peer)


def test_another_networks_magic_closes_an_open_session_too(open_peer: WirePeer) -> None:
    open_peer.send_raw(frame(MAINNET.magic, "ping", bytes(8)))
    must_close(open_peer)


def test_a_bad_checksum_is_dropped(open_peer: WirePeer) -> None:
    bad = bytearray(frame(REGTEST.magic, "ping", b"bad sum!"))
    bad[20] ^= 1
    open_peer.send_raw(bytes(bad))
    must_stay_open(open_peer)
    assert ("pong", b"bad sum!") not in open_peer.received


def test_an_unknown_type_is_dropped(open_peer: WirePeer) -> None:
    open_peer.send("nobodyknows", b"\x01" * 1000)
    open_peer.send_raw(frame(REGTEST.magic, "ping", b"") [:4] + b"\xff" * 12 + bytes(4) + hash256(b"")[:4])
    must_stay_open(open_peer)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("inv", compact_size(2) + struct.pack("<I", MSG_TX) + bytes(32)),
        ("inv", b"\xfd\x01\x00" + struct.pack("<I", MSG_TX) + bytes(32)),
        ("getdata", compact_size(1)),
        ("headers", compact_size(1) + bytes(80)),
        ("addr", b"\x01" + bytes(29)),
        ("getheaders", bytes(3)),
        ("ping", bytes(3)),
        ("tx", b"\x01\x00\x00\x00\x01"),
        ("block", bytes(79)),
        ("feefilter", bytes(7)),
    ],
    ids=[
        "inv truncated", "inv not canonical", "getdata truncated", "headers truncated", "addr truncated",
        "getheaders truncated", "ping truncated", "tx truncated", "block truncated", "feefilter truncated",
    ],
)
def test_a_malformed_payload_is_dropped(kind: str, payload: bytes, open_peer: WirePeer) -> None:
    open_peer.send(kind, payload)
    must_stay_open(open_peer)


def test_a_header_that_claims_over_4_000_000_bytes_closes_at_the_header(open_peer: WirePeer) -> None:
    open_peer.send_raw(REGTEST.magic + b"block".ljust(12, b"\0") + struct.pack("<I", 4_000_001) + bytes(4))
    must_close(open_peer)


def test_a_header_that_claims_4_gigabytes_in_the_handshake_closes(peer: WirePeer) -> None:
    peer.send_raw(REGTEST.magic + b"version".ljust(12, b"\0") + b"\xff" * 4 + bytes(4))
    must_close(peer)


TOO_MANY = {
    "inv": compact_size(50_001) + (struct.pack("<I", MSG_TX) + bytes(32)) * 50_001,
    "getdata": compact_size(50_001) + (struct.pack("<I", MSG_TX) + bytes(32)) * 50_001,
    "addr": compact_size(1001) + bytes(30) * 1001,
    "addrv2": compact_size(1001) + (bytes(4) + b"\0\x01\x04" + bytes(4) + bytes(2)) * 1001,
    "headers": compact_size(2001) + bytes(81) * 2001,
    "getheaders": struct.pack("<I", 70016) + compact_size(102) + bytes(32) * 103,
    "getblocks": struct.pack("<I", 70016) + compact_size(102) + bytes(32) * 103,
}


@pytest.mark.parametrize("kind", TOO_MANY)
def test_more_entries_than_allowed_close(kind: str, open_peer: WirePeer) -> None:
    open_peer.send(kind, TOO_MANY[kind])
    must_close(open_peer)


# --- ping ---


def test_a_ping_is_answered_with_its_nonce(open_peer: WirePeer) -> None:
    open_peer.send("ping", b"\x01\x02\x03\x04\x05\x06\x07\x08")
    open_peer.expect("pong", lambda payload: payload == b"\x01\x02\x03\x04\x05\x06\x07\x08")


def test_a_pong_that_matches_no_ping_is_ignored(open_peer: WirePeer) -> None:
    open_peer.send("pong", b"nobody's")
    open_peer.send("pong", b"")
    must_stay_open(open_peer)


# --- headers ---


def test_headers_without_proof_of_work_close(open_peer: WirePeer) -> None:
    good = make_block(CHAIN[-1].header_bytes, BLOCKS + 1, CHAIN[-1].header.time + 1, extra=b"pow")
    nonce = 0
    bad = good.header_bytes
    while hash256(bad)[31] < 0x80:
        nonce += 1
        bad = good.header_bytes[:76] + nonce.to_bytes(4, "little")
    open_peer.show([bad])
    must_close(open_peer)


def test_headers_that_are_not_continuous_close(open_peer: WirePeer) -> None:
    branch = make_chain(3, CHAIN[-1].header_bytes, BLOCKS, extra=b"gap", when=CHAIN[-1].header.time)
    open_peer.show([branch[0].header_bytes, branch[2].header_bytes])
    must_close(open_peer)


def test_headers_that_do_not_connect_are_asked_for_and_not_punished(open_peer: WirePeer) -> None:
    branch = make_chain(5, CHAIN[-1].header_bytes, BLOCKS, extra=b"far", when=CHAIN[-1].header.time)
    # What it asked for at the start is answered, so that it may ask again.
    open_peer.show([])
    open_peer.sync()
    open_peer.show([branch[4].header_bytes])
    asked = decode_locator(
        open_peer.expect("getheaders", lambda payload: CHAIN[-1].hash in decode_locator(payload).hashes)
    )
    assert asked.hashes[0] == CHAIN[-1].hash
    must_stay_open(open_peer)


# --- data ---


def test_getdata_for_an_unknown_transaction_is_answered_by_notfound(open_peer: WirePeer) -> None:
    wanted = [(MSG_WITNESS_TX, b"\x07" * 32), (MSG_TX, b"\x08" * 32)]
    open_peer.send("getdata", encode_entries(wanted))
    assert decode_entries(open_peer.expect("notfound"), "notfound") == wanted


def test_getdata_for_an_unknown_block_is_answered_by_silence(open_peer: WirePeer) -> None:
    open_peer.send("getdata", encode_ids(MSG_BLOCK, [b"\x07" * 32]))
    must_stay_open(open_peer)
    assert not {"notfound", "block"} & set(open_peer.kinds())


def test_getdata_for_a_known_block_is_answered_with_it(open_peer: WirePeer) -> None:
    assert open_peer.block(CHAIN[7].hash) == CHAIN[7].raw


def test_getheaders_is_answered_with_what_follows(open_peer: WirePeer) -> None:
    assert open_peer.headers([CHAIN[4].hash]) == headers_of(CHAIN[5:])


@pytest.mark.parametrize("kind", ["mempool", "filterload", "filteradd", "filterclear"])
def test_a_service_that_it_does_not_offer_closes(kind: str, open_peer: WirePeer) -> None:
    open_peer.send(kind, b"" if kind in ("mempool", "filterclear") else b"\x01\x00" + bytes(9))
    must_close(open_peer)


def test_after_all_this_it_is_as_good_as_before(open_peer: WirePeer) -> None:
    assert open_peer.all_headers() == headers_of(CHAIN)
    assert encode_headers(open_peer.headers()) == encode_headers(headers_of(CHAIN))
