"""v1 framing: what a header may say, and the bytes of what we send."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.errors import UnreadableStream
from p2pframe.framing import FrameLoop
from p2pframe.protocols.bitcoin.frame import (
    MAX_PAYLOAD,
    V1Framing,
    command_bytes,
    command_table,
    frame,
)
from p2pframe.protocols.bitcoin.header import hash256
from p2pframe.protocols.bitcoin.messages import KINDS, LONGEST

MAGIC = bytes.fromhex("fabfb5da")
FRAMING = V1Framing(MAGIC)


class Listener:
    """A session and a conversation in one: hears everything, at no cost."""

    closing = False

    def __init__(self) -> None:
        self.heard: list[tuple] = []
        self.charges: list[tuple[str, int]] = []
        self.loop = FrameLoop(self, FRAMING, self, TABLE)

    def charge(self, kind, length):
        self.charges.append((kind, length))
        return True

    def write(self, data):
        raise AssertionError("nothing to say")

    def corrupt(self, kind, length):
        self.heard.append(("corrupt", kind))


TABLE = command_table(
    {
        "ping": lambda listener, payload: listener.heard.append(("ping", payload)),
        "tx": lambda listener, payload: listener.heard.append(("tx", payload)),
    },
    KINDS,
)


def hear(*pieces):
    listener = Listener()
    for piece in pieces:
        listener.loop.receive(piece)
    return listener


@given(st.lists(st.tuples(st.sampled_from(["ping", "tx"]), st.binary(max_size=200)), max_size=8), st.data())
def test_frames_come_back_from_any_split(messages, data):
    stream = b"".join(FRAMING.frame(kind, payload) for kind, payload in messages)
    edges = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    edges = [0, *edges, len(stream)]
    listener = hear(*(stream[left:right] for left, right in pairwise(edges)))
    assert listener.heard == messages
    assert listener.charges == [(kind, 24 + len(payload)) for kind, payload in messages]


def test_the_bytes_of_a_verack_are_the_documented_ones():
    assert frame(bytes.fromhex("f9beb4d9"), "verack").hex() == "f9beb4d976657261636b000000000000000000005df6e0e2"


@given(st.binary(min_size=8, max_size=8))
def test_the_fast_pong_is_the_plain_one(nonce):
    assert FRAMING.pong(nonce) == FRAMING.frame("pong", nonce)


def test_another_magic_is_unreadable():
    with pytest.raises(UnreadableStream) as caught:
        hear(frame(b"\xf9\xbe\xb4\xd9", "ping", bytes(8)))
    assert caught.value.reason == "bad-magic"


@pytest.mark.parametrize("length", [MAX_PAYLOAD + 1, 0xFFFFFFFF])
def test_a_header_over_the_limit_is_unreadable_before_any_body(length):
    header = MAGIC + command_bytes("tx") + length.to_bytes(4, "little") + bytes(4)
    listener = hear(header[:23])
    with pytest.raises(UnreadableStream) as caught:
        listener.loop.receive(header[23:])
    assert caught.value.reason == "oversized" and listener.charges == [] and listener.loop.buffered == 0


def test_the_longest_payload_is_read():
    payload = bytes(MAX_PAYLOAD)
    assert hear(FRAMING.frame("tx", payload)).heard == [("tx", payload)]
    with pytest.raises(ValueError, match="hang up"):
        FRAMING.frame("tx", payload + b"\0")


def test_a_bad_checksum_drops_one_message():
    bad = bytearray(FRAMING.frame("ping", bytes(8)))
    bad[20] ^= 1
    assert hear(bytes(bad) + FRAMING.frame("ping", b"12345678")).heard == [("corrupt", "ping"), ("ping", b"12345678")]


@pytest.mark.parametrize(
    "command", [b"unheard\0\0\0\0\0", b"ping\0x\0\0\0\0\0\0", b"\xff" * 12, bytes(12), b"ping        "]
)
def test_unknown_types_and_padding_that_is_not_nul_count_as_unknown(command):
    strange = MAGIC + command + b"\x01\0\0\0" + hash256(b"!")[:4] + b"!"
    listener = hear(strange + FRAMING.frame("ping", b"12345678") + FRAMING.frame("inv"))
    assert listener.heard == [("ping", b"12345678")]
    assert listener.charges == [("*", 25), ("ping", 32), ("inv", 24)]


@pytest.mark.parametrize("kind", ["", "thirteenchars", "käse", "a\0b", "a\n"])
def test_what_is_no_message_type_has_no_frame(kind):
    with pytest.raises(ValueError, match="is not a message type"):
        frame(MAGIC, kind)


def test_a_ping_of_megabytes_is_not_held():
    listener = Listener()
    refused = []
    listener.malformed = lambda kind, error: refused.append(kind)
    listener.loop.table = command_table({"ping": TABLE[command_bytes("ping")][1]}, KINDS, LONGEST)
    stream = FRAMING.frame("ping", bytes(3_000_000)) + FRAMING.frame("ping", b"12345678")
    for start in range(0, len(stream), 65536):
        listener.loop.receive(stream[start : start + 65536])
        assert listener.loop.buffered < 100
    assert refused == ["ping"] and listener.heard == [("ping", b"12345678")]


def test_a_magic_has_four_bytes():
    with pytest.raises(ValueError, match="4 bytes"):
        V1Framing(b"abc")
