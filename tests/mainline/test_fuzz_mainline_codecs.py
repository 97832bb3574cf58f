"""Any bytes give messages, nodes and addresses or the errors that their modules name, and nothing else.

P2PFRAME_FUZZ=long makes each property run over 20,000 examples.
"""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.bencode import BencodeError, decode, encode
from p2pframe.protocols.mainline.compact import pack_node, unpack_address, unpack_nodes

OWN = bytes(range(20))
NODES = b"".join(pack_node(1 << at, PeerAddress("192.0.2.7", 6881)) for at in range(8))
MESSAGES = [
    krpc.query(b"aa", b"get_peers", OWN, {b"info_hash": OWN, b"want": [b"n4", b"n6"]}, b"LT\1\2", True),
    krpc.query(b"\0\1", b"put", OWN, {b"v": {b"a": [1, -2, b""]}, b"seq": 1, b"k": bytes(32), b"sig": bytes(64)}),
    krpc.response(b"aa", {b"id": OWN, b"nodes": NODES, b"values": [b"abcdef"] * 3, b"token": b"12345678"}, b"abcdef"),
    krpc.refusal(b"aa", 203, "no", b"abcdef", b"LT\1\2"),
]


@st.composite
def _mutated(draw):
    """A message with a few bytes changed, left out or put in."""
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(message) - 1)))
        change = draw(st.sampled_from(["set", "cut", "put", "drop", "double"]))
        if change == "set" and message:
            message[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del message[at:]
        elif change == "put":
            message[at:at] = draw(st.binary(max_size=8) | st.sampled_from([b"d", b"l", b"e", b"i-0e", b"99:", b"1:t"]))
        elif change == "drop":
            del message[at : at + draw(st.integers(1, 8))]
        else:
            message[at:at] = message[at : at + 40]
    return bytes(message)


DATAGRAMS = _mutated() | st.binary(max_size=200) | st.text("dlei0123456789:-aqrtvy", max_size=60).map(str.encode)


@given(DATAGRAMS)
def test_fuzz_a_datagram_is_a_message_or_malformed(data):
    try:
        message = krpc.parse(data)
    except krpc.Malformed as error:
        assert error.reason in {
            "bencoding", "no dictionary", "transaction", "kind", "method", "arguments", "values", "id", "error"
        }  # fmt: skip
        assert error.transaction is None or len(error.transaction) <= krpc.TRANSACTION_BYTES
        return
    assert len(message.transaction) <= krpc.TRANSACTION_BYTES
    if isinstance(message, krpc.Query):
        assert 0 <= message.id < 2**160


@given(DATAGRAMS)
def test_fuzz_looking_for_a_transaction_agrees_with_parsing(data):
    found = krpc.transaction_of(data)
    try:
        message = krpc.parse(data)
    except krpc.Malformed:
        return
    # Not found is allowed (keys in an odd order), another one than the message's is not.
    if isinstance(message, krpc.Query):
        assert found is None
    else:
        assert found in (None, message.transaction)


@given(DATAGRAMS, st.integers(0, 3))
def test_fuzz_bytes_are_a_value_or_a_bencode_error(data, unordered):
    try:
        value = decode(data, unordered=unordered)
    except BencodeError as error:
        assert 0 <= error.position <= len(data)
        return
    encoded = encode(value)
    assert len(encoded) == len(data)
    if not unordered:
        assert encoded == data


@given(st.binary(max_size=300), st.sampled_from([26, 38]), st.integers(0, 8))
def test_fuzz_nodes_are_nodes_or_a_value_error(data, size, most):
    try:
        nodes = unpack_nodes(data, size, most)
    except ValueError:
        assert len(data) % size
        return
    assert len(nodes) <= most
    for identity, address in nodes:
        assert PeerAddress.of(address.host, address.port) == address
        assert pack_node(identity, address) in data


@given(st.binary(max_size=20))
def test_fuzz_an_address_is_one_or_a_value_error(data):
    try:
        address = unpack_address(data)
    except ValueError:
        assert len(data) not in (6, 18)
        return
    assert PeerAddress.of(address.host, address.port) == address


@pytest.mark.parametrize(
    "unit", [b"d", b"l", b"le", b"de", b"0:", b"i0e", b"1:a", b"d0:", b"1", b"9", b"i", b"e", b"1:t", b"1:t2:aa1:y1:re"]
)
def test_no_datagram_takes_much_memory(unit):
    for before in (b"", b"l", b"d1:a", b"d1:rl"):
        data = (before + unit * (65_507 // len(unit)))[:65_507]
        closed = data[: len(data) - len(data) % len(unit)] + b"ee"
        tracemalloc.start()
        for datagram in (data, closed):
            krpc.transaction_of(datagram)
            try:
                krpc.parse(datagram)
            except krpc.Malformed as error:
                assert error.transaction is None
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # 65,507 bytes are at most that many references of 8 bytes, twice while a list grows.
        assert most < 2_000_000
