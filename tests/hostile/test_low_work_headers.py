"""Headers that cost their maker little, told to a node of the main chain: no memory of ours, nothing on disk."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.chains import MAINNET
from p2pframe.protocols.bitcoin.inventory import encode_headers
from tests.hostile.peer import dial

NODE = "192.0.2.1"
VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "bitcoin" / "mainnet_alt_headers.bin"
CONFIG = """
version: 1
node: {{data_dir: {folder}/data, watchdog: 0}}
storage: {{plugin: sqlite}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: mainnet}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:8333"]}}]
    discovery: []
"""


@pytest.fixture
def mainnet(bitcoins, tmp_path):
    """A node of the main chain that knows genesis only, and nobody."""
    path = tmp_path / "main.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    node = bitcoins.start_file(NODE, path)
    assert node.networks["bitcoin"].protocol.chain is MAINNET
    return bitcoins, node


def friend(bitcoins, source="203.0.113.9"):
    peer = dial(bitcoins.net, source, NODE, 8333, "mainnet")
    peer.polite = True
    return peer.shake()


def blob_size(tmp_path) -> int:
    return sum(path.stat().st_size for path in (tmp_path / "data").rglob("*headers*") if path.is_file())


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the vector {VECTORS} is not there")
def test_a_real_chain_of_little_work_is_refused_storing(mainnet, tmp_path):
    bitcoins, node = mainnet
    protocol = node.networks["bitcoin"].protocol
    data = VECTORS.read_bytes()
    headers = [data[at : at + 80] for at in range(0, len(data), 80)]
    assert len(headers) == 2016 and hash256(MAINNET.genesis_header) == headers[0][4:36]
    peer, honest = friend(bitcoins), friend(bitcoins, "198.51.100.7")
    peer.wait(1.0)
    peer.say("headers", encode_headers(headers[:2000])).wait(1.0)
    asked = len(peer.heard("getheaders"))
    peer.say("headers", encode_headers(headers[2000:])).wait(1.0)
    assert asked >= 1, "a full message may be the start of more: it asks on"
    assert protocol.index.height == 0 and len(protocol.index) == 1
    assert honest.ping() and node.view.penalties() == [], "little work is no offence"
    bitcoins.net.run(10.0)
    assert blob_size(tmp_path) == 0


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the vector {VECTORS} is not there")
@pytest.mark.parametrize("at", [0, 40, 70, 76, 79])
def test_a_changed_byte_in_it_ends_its_sender(mainnet, at):
    bitcoins, node = mainnet
    data = bytearray(VECTORS.read_bytes())
    data[80 * 1000 + at] ^= 1
    headers = [bytes(data[begin : begin + 80]) for begin in range(0, len(data), 80)]
    peer = friend(bitcoins)
    peer.say("headers", encode_headers(headers[:2000])).wait(1.0)
    assert peer.lost and len(node.networks["bitcoin"].protocol.index) == 1
    assert [e.fields["reason"] for e in node.view.events() if e.kind == "session.closed"] == ["bad-headers"]


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the vector {VECTORS} is not there")
def test_the_same_headers_again_and_again_from_many_cost_no_memory(mainnet, tmp_path):
    """100,000 headers in all: 25 peers, each of whom shows the first 2000 twice."""
    bitcoins, node = mainnet
    protocol = node.networks["bitcoin"].protocol
    data = VECTORS.read_bytes()
    message = encode_headers([data[at : at + 80] for at in range(0, 80 * 2000, 80)])
    peers = [friend(bitcoins, f"203.{n}.113.9") for n in range(25)]
    tracemalloc.start()
    try:
        for peer in peers:
            for _ in range(2):
                if not peer.lost:
                    peer.say("headers", message).wait(0.3)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(protocol.index) == 1
    assert held < 10_000_000, f"{held} bytes"
    bitcoins.net.run(10.0)
    assert blob_size(tmp_path) == 0


def test_headers_of_no_work_at_all_end_their_sender_at_once(mainnet):
    """100,000 of them would be regtest's: the first message is enough."""
    bitcoins, node = mainnet
    protocol = node.networks["bitcoin"].protocol
    previous, headers = hash256(MAINNET.genesis_header), []
    for number in range(2000):
        raw = struct.pack("<I32s32sIII", 1, previous, bytes(32), 1_231_006_506 + number, 0x1D00FFFF, 0)
        headers.append(raw)
        previous = hash256(raw)
    peer = friend(bitcoins)
    peer.say("headers", encode_headers(headers)).wait(0.5)
    assert peer.lost and len(protocol.index) == 1
    easy = [raw[:72] + struct.pack("<I", 0x207FFFFF) + raw[76:] for raw in headers[:1]]
    second = friend(bitcoins, "203.1.113.9")
    second.say("headers", encode_headers(easy)).wait(0.5)
    assert second.lost and len(protocol.index) == 1
