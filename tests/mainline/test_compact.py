"""Compact addresses and nodes: every address there and back as the rest of the program writes it, nothing made up."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.compact import (
    pack_address,
    pack_host,
    pack_node,
    unpack_address,
    unpack_host,
    unpack_nodes,
)

HERE = PeerAddress("192.0.2.7", 6881)
HERE6 = PeerAddress("2001:db8::7", 6881)


def test_the_bytes_are_those_of_bep_5_and_bep_32():
    assert pack_address(HERE) == bytes.fromhex("c0000207") + b"\x1a\xe1"
    assert pack_address(HERE6) == bytes.fromhex("20010db8000000000000000000000007") + b"\x1a\xe1"
    assert pack_node(1, HERE) == bytes(19) + b"\x01" + pack_address(HERE)
    assert pack_node(1, HERE6) == bytes(19) + b"\x01" + pack_address(HERE6)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_is_read_as_the_model_writes_it(ip, port):
    assert unpack_address(ip.packed + port.to_bytes(2, "big")) == PeerAddress.of(str(ip), port)
    assert pack_host(str(ip)) == ip.packed


@pytest.mark.parametrize(
    "text",
    ["::", "::1", "::2", "::1.2.3.4", "::ffff", "::1:0", "::ffff:1.2.3.4", "1::", "1:0:2::", "fe80::1", "1:0:0:2::"],
)
def test_the_addresses_that_libraries_write_differently(text):
    ip = ipaddress.ip_address(text)
    assert unpack_address(ip.packed + b"\0\1") == PeerAddress.of(text, 1)


@pytest.mark.parametrize("size", [0, 1, 5, 7, 17, 19, 36])
def test_an_address_of_another_length_is_refused(size):
    with pytest.raises(ValueError, match="6 or 18 bytes"):
        unpack_address(bytes(size))


@pytest.mark.parametrize("host", ["example.org", "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "::x", "1.2.3.4\0", "a.onion"])
def test_a_name_is_not_packed(host):
    with pytest.raises(ValueError, match="no IP address"):
        pack_address(PeerAddress(host, 1))


def test_a_host_of_another_length_is_refused():
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        unpack_host(bytes(5))


@given(st.ip_addresses())
def test_a_host_there_and_back(ip):
    assert unpack_host(pack_host(str(ip))) == PeerAddress.of(str(ip), 1).host


@given(st.lists(st.tuples(st.integers(0, 2**160 - 1), st.integers(1, 65535)), max_size=20))
def test_nodes_there_and_back(entries):
    for host, size in (("192.0.2.7", 26), ("2001:db8::7", 38), ("::1", 38), ("127.0.0.1", 26)):
        nodes = [(identity, PeerAddress(host, port)) for identity, port in entries]
        packed = b"".join(pack_node(*node) for node in nodes)
        assert unpack_nodes(packed, size, 100) == nodes


def test_no_more_nodes_are_taken_than_are_wanted():
    nodes = [(number, HERE) for number in range(30)]
    packed = b"".join(pack_node(*node) for node in nodes)
    assert unpack_nodes(packed, 26, 8) == nodes[:8]
    assert unpack_nodes(packed, 26, 30) == nodes
    assert unpack_nodes(packed, 26, 0) == []


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("192.0.2.7", 0), ("0.0.0.0", 1), ("0.1.2.3", 1), ("224.0.0.1", 1), ("255.255.255.255", 1), ("240.0.0.1", 1),
        ("2001:db8::7", 0), ("::", 1), ("ff02::1", 1), ("::ffff:192.0.2.7", 1), ("::192.0.2.7", 1),
    ],
)  # fmt: skip
def test_a_node_that_nothing_can_be_sent_to_is_left_out(host, port):
    good = HERE6 if ":" in host else HERE
    packed = pack_node(1, good) + pack_node(2, PeerAddress(host, port)) + pack_node(3, good)
    assert unpack_nodes(packed, 38 if ":" in host else 26, 8) == [(1, good), (3, good)]


@pytest.mark.parametrize(("length", "size"), [(25, 26), (27, 26), (1, 26), (37, 38), (26, 38), (38, 26)])
def test_nodes_cut_short_are_refused(length, size):
    with pytest.raises(ValueError, match="no multiple"):
        unpack_nodes(bytes(length), size, 8)


def test_nodes_have_two_sizes():
    with pytest.raises(ValueError, match="26 or 38"):
        unpack_nodes(b"", 6, 8)
