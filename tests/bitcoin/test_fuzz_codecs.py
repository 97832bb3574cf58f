"""Any bytes give messages or the three errors of a conversation, and nothing else: payloads, frames, whole streams.

P2PFRAME_FUZZ=long makes each property run over 20,000 examples.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.errors import UnreadableStream
from p2pframe.framing import FrameLoop
from p2pframe.protocols.bitcoin import addresses, block, inventory, messages, transaction
from p2pframe.protocols.bitcoin.frame import V1Framing, command_table
from p2pframe.protocols.bitcoin.header import Header
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput
from p2pframe.protocols.bitcoin.wire import MalformedMessage, TooMany

FRAMING = V1Framing(bytes.fromhex("fabfb5da"))


def _block(payload):
    parsed = block.parse_block(payload)
    try:
        block.check_block(parsed)
    except block.BadBlock as error:
        assert error.reason
    return parsed


def _transaction(payload):
    parsed = transaction.parse_transaction(payload)
    assert parsed.inputs
    transaction.coinbase_height(parsed)
    try:
        transaction.check_transaction(parsed)
    except transaction.BadTransaction as error:
        assert error.reason
    return parsed


def _addresses(decode):
    def decoded(payload):
        entries = decode(payload)
        for entry in entries:
            addresses.peer_address(entry)
        return entries

    return decoded


def _version(payload):
    version = messages.decode_version(payload)
    assert isinstance(version.agent, str)
    addresses.read_legacy_address(version.receiver)
    return version


DECODERS = {
    "version": _version,
    "verack": lambda payload: messages.decode_empty(payload, "verack"),
    "ping": messages.decode_nonce,
    "feefilter": messages.decode_feefilter,
    "sendcmpct": messages.decode_sendcmpct,
    "feature": messages.decode_feature,
    "reject": messages.decode_reject,
    "inv": inventory.decode_inventory,
    "getdata": inventory.decode_entries,
    "headers": inventory.decode_headers,
    "getheaders": inventory.decode_locator,
    "addr": _addresses(addresses.decode_addr),
    "addrv2": _addresses(addresses.decode_addrv2),
    "tx": _transaction,
    "block": _block,
}

_SPEND = transaction.build_transaction(
    [TxInput(bytes([7]) * 32, 1, b"\x51", 0, (b"signature", b"key")), TxInput(bytes([8]) * 32, 0)],
    [TxOutput(5000, b"\x00\x14" + bytes(20)), TxOutput(1, b"")],
)
_COINBASE = block.build_coinbase(300, 50, b"\x51", [_SPEND])
SEEDS = {
    "version": messages.encode_version(messages.Version(70016, 1033, 1_700_000_000, user_agent=b"/x:1/", nonce=7)),
    "verack": b"",
    "ping": bytes(8),
    "feefilter": messages.encode_feefilter(1000),
    "sendcmpct": messages.encode_sendcmpct(messages.SendCompact(True, 2)),
    "feature": messages.encode_feature(messages.Feature(b"BIP434", b"data")),
    "reject": messages.encode_reject(messages.Reject(b"tx", 16, b"bad", bytes(32))),
    "inv": inventory.encode_entries([(1, bytes(32)), (5, bytes([1]) * 32), (1, bytes([2]) * 32)]),
    "getdata": inventory.encode_ids(inventory.MSG_WITNESS_BLOCK, [bytes([3]) * 32]),
    "headers": inventory.encode_headers([bytes(range(80)), bytes(80)]),
    "getheaders": inventory.encode_locator(inventory.Locator(70016, [bytes(32), bytes([1]) * 32])),
    "addr": addresses.encode_addr([addresses.NetworkAddress(1, 9, addresses.IPV4, b"\x08\x08\x08\x08", 8333)] * 2),
    "addrv2": addresses.encode_addrv2(
        [
            addresses.NetworkAddress(1, 1033, network, b"\xfc" + bytes(length - 1), 8333)
            for network, length in addresses.ADDRESS_LENGTHS.items()
        ]
    ),
    "tx": _SPEND.raw,
    "block": block.assemble_block(Header(4, bytes(32), bytes(32), 1, 0x207FFFFF, 0), [_COINBASE, _SPEND]),
}


@st.composite
def mutated(draw, seeds):
    """One of `seeds` with bytes changed, cut out, doubled or put in: near enough to the format to get deep into it."""
    raw = bytearray(draw(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        what = draw(st.integers(0, 4))
        if what == 0 and at < len(raw):
            raw[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0xFC, 0xFD, 0xFE, 0xFF])))
        elif what == 1:
            del raw[at : at + draw(st.integers(1, 40))]
        elif what == 2:
            raw[at:at] = raw[at : at + draw(st.integers(1, 40))]
        elif what == 3:
            raw[at:at] = draw(st.binary(max_size=9))
        else:
            del raw[at:]
    return bytes(raw)


payloads = st.sampled_from(sorted(SEEDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.one_of(st.binary(max_size=200), mutated(st.just(SEEDS[kind]))))
)


@pytest.mark.parametrize("kind", sorted(SEEDS))
def test_the_seeds_themselves_are_read(kind):
    DECODERS[kind](SEEDS[kind])


@pytest.mark.parametrize("kind", sorted(SEEDS))
def test_any_payload_is_read_or_malformed_or_too_many(kind):
    decode = DECODERS[kind]

    @given(st.one_of(st.binary(max_size=200), mutated(st.just(SEEDS[kind]))))
    def check(payload):
        try:
            decode(payload)
        except MalformedMessage as error:
            assert error.what and str(error)
        except TooMany as error:
            assert error.count > error.limit

    check()


class Everything:
    """A conversation that decodes all it gets."""

    closing = False

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []
        self.charged = 0
        self.loop = FrameLoop(self, FRAMING, self, TABLE)

    def charge(self, kind, length):
        self.charged += 1
        assert 24 <= length <= 4_000_024
        return True

    def write(self, data):
        raise AssertionError("nothing to say")

    def corrupt(self, kind, length):
        self.heard.append((kind, "corrupt"))

    def malformed(self, kind, error):
        self.heard.append((kind, str(error)))

    def excessive(self, kind, error):
        self.heard.append((kind, str(error)))
        self.closing = True


def _listen(kind):
    decode = DECODERS[kind]
    return lambda conversation, payload: conversation.heard.append((kind, decode(payload) is not None))


TABLE = command_table({kind: _listen(kind) for kind in DECODERS}, messages.KINDS)


def hear(pieces):
    conversation = Everything()
    ended = ""
    try:
        for piece in pieces:
            conversation.loop.receive(piece)
    except UnreadableStream as error:
        ended = str(error)
    return conversation.heard, conversation.charged, ended, conversation.loop.buffered


framed = payloads.map(lambda pair: FRAMING.frame(*pair))


@given(st.lists(framed, max_size=6), st.lists(st.integers(0, 10**6), max_size=6))
def test_fuzzed_payloads_in_valid_frames_give_the_same_in_any_split(frames, places):
    stream = b"".join(frames)
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    whole = hear([stream])
    assert hear([stream[left:right] for left, right in pairwise(edges)]) == whole
    assert whole[2] == "", "valid frames are readable whatever is in them"


@given(
    st.one_of(st.binary(max_size=400), mutated(st.lists(framed, min_size=1, max_size=4).map(b"".join))),
    st.lists(st.integers(0, 10**6), max_size=6),
)
def test_fuzzed_streams_give_messages_or_end_and_the_same_in_any_split(stream, places):
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    assert hear([stream[left:right] for left, right in pairwise(edges)]) == hear([stream])
