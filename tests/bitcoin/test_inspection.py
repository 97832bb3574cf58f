"""What people are shown of Bitcoin's messages: each type in fields, any split alike, nothing raised, nothing lost."""

from __future__ import annotations

import json
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import IInspectable, IInspector
from p2pframe.interfaces.inspect import DEEPEST, LONGEST_TEXT, MOST_VALUES
from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin.addresses import (
    encode_addr,
    encode_addrv2,
    legacy_address,
    network_address,
)
from p2pframe.protocols.bitcoin.block import assemble_block, build_coinbase
from p2pframe.protocols.bitcoin.chains import CHAINS, REGTEST
from p2pframe.protocols.bitcoin.frame import HEADER_SIZE, MAX_PAYLOAD, frame
from p2pframe.protocols.bitcoin.header import hash_hex, header_hash, parse_header
from p2pframe.protocols.bitcoin.inspected import SHOWN
from p2pframe.protocols.bitcoin.inspection import JUNK, Inspector
from p2pframe.protocols.bitcoin.inventory import (
    MSG_TX,
    MSG_WTX,
    Locator,
    encode_entries,
    encode_headers,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import (
    KINDS,
    Feature,
    Reject,
    SendCompact,
    Version,
    encode_feature,
    encode_feefilter,
    encode_nonce,
    encode_reject,
    encode_sendcmpct,
    encode_version,
)
from p2pframe.protocols.bitcoin.protocol import BitcoinProtocol
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput, build_transaction
from p2pframe.protocols.bitcoin.wire import compact_size, var_bytes

MAGIC = REGTEST.magic
WHERE = PeerAddress("192.0.2.7", 8333)
HASH = bytes(range(32))
SHOWN_HASH = HASH[::-1].hex()
GENESIS = REGTEST.genesis_header
COINBASE = build_coinbase(7, 5_000_000_000, b"\x51")
PAYMENT = build_transaction(
    [TxInput(HASH, 3, b"\x01\x02", 9, (b"\xaa", b""))], [TxOutput(1234, b"\x00\x14" + bytes(20))]
)
BLOCK = assemble_block(parse_header(GENESIS), [COINBASE, PAYMENT])
ADDRESS = network_address(WHERE, 9, 1_700_000_000)
VERSION = Version(
    70016, 1033, 1_700_000_000, legacy_address(WHERE, 1), legacy_address(None), 0xAB, b"/some: <b>agent/", 5, True
)
PAYLOADS = {
    "addr": encode_addr([ADDRESS]),
    "addrv2": encode_addrv2([ADDRESS] * 12),
    "block": BLOCK,
    "blocktxn": HASH + b"\x01" + PAYMENT.raw,
    "cfcheckpt": b"\x00" + HASH + b"\x01" + HASH,
    "cfheaders": b"\x00" + HASH * 2 + b"\x01" + HASH,
    "cfilter": b"\x00" + HASH + var_bytes(b"filter"),
    "cmpctblock": GENESIS + bytes(8) + b"\x01" + bytes(range(6)) + b"\x01\x00" + COINBASE.raw,
    "feature": encode_feature(Feature(b"some", b"\x01")),
    "feefilter": encode_feefilter(1000),
    "filteradd": var_bytes(b"x"),
    "filterload": var_bytes(b"\xff") + pack("<IIB", 1, 2, 3),
    "getblocks": encode_locator(Locator(70016, [HASH])),
    "getblocktxn": HASH + b"\x02\x01\x02",
    "getcfcheckpt": b"\x00" + HASH,
    "getcfheaders": b"\x00" + pack("<I", 7) + HASH,
    "getcfilters": b"\x00" + pack("<I", 7) + HASH,
    "getdata": encode_entries([(MSG_WTX, HASH)]),
    "getheaders": encode_locator(Locator(70016, [HASH])),
    "headers": encode_headers([GENESIS]),
    "inv": encode_entries([(MSG_TX, HASH)] * 12),
    "merkleblock": GENESIS + pack("<I", 5) + b"\x01" + HASH + b"\x01\x07",
    "notfound": encode_entries([(MSG_TX, HASH)]),
    "ping": encode_nonce(0xABCD),
    "pong": encode_nonce(1),
    "reject": encode_reject(Reject(b"tx", 16, b"bad <i>", HASH)),
    "sendcmpct": encode_sendcmpct(SendCompact(True, 2)),
    "sendtxrcncl": pack("<IQ", 1, 2),
    "tx": PAYMENT.raw,
    "version": encode_version(VERSION),
} | dict.fromkeys(
    ("filterclear", "getaddr", "mempool", "sendaddrv2", "sendheaders", "verack", "wtxidrelay"), b""
)  # fmt: skip
STREAM = b"".join(frame(MAGIC, kind, payload) for kind, payload in PAYLOADS.items())


def inspected(*parts):
    inspector = Inspector()
    found = [message for part in parts for message in inspector.feed(part)]
    return [*found, *inspector.end()]


def said(kind, payload=None):
    [message] = inspected(frame(MAGIC, kind, PAYLOADS[kind] if payload is None else payload))
    assert message.name == kind
    assert message.error == ""
    return message.fields


def values_of(value, deep=0):
    """Every value there is, each within the bounds of the interface."""
    assert deep <= DEEPEST
    if isinstance(value, dict):
        assert all(isinstance(name, str) and len(name) <= LONGEST_TEXT for name in value)
        return 1 + sum(values_of(one, deep + 1) for one in value.values())
    if isinstance(value, list):
        return 1 + sum(values_of(one, deep + 1) for one in value)
    assert value is None or isinstance(value, (str, int, float, bool)), value
    assert not isinstance(value, str) or len(value) <= LONGEST_TEXT
    return 1


def test_it_is_what_the_interface_says_with_a_node_and_without():
    assert IInspectable.implementedBy(BitcoinProtocol)
    assert IInspectable.providedBy(BitcoinProtocol), "a capture is read without a node"
    assert verifyClass(IInspectable, BitcoinProtocol)
    assert verifyObject(IInspector, BitcoinProtocol.inspector("in"))


def test_every_type_there_is_has_its_fields():
    assert set(PAYLOADS) == set(KINDS)
    for kind, payload in PAYLOADS.items():
        assert bool(said(kind)) == bool(payload), kind


def test_a_version_in_words():
    fields = said("version")
    assert fields["user_agent"] == "/some: <b>agent/"
    assert fields["services"] == "NETWORK, NETWORK_LIMITED, WITNESS"
    assert (fields["receiver"], fields["date"]) == ("192.0.2.7:8333", "2023-11-14 22:13:20 UTC")
    assert (fields["start_height"], fields["relay"], fields["nonce"]) == (5, True, "00000000000000ab")


def test_hashes_are_as_people_read_them_and_lists_are_cut_with_their_count():
    assert said("getdata") == {"count": 1, "entries": [{"type": "transaction (wtxid)", "id": SHOWN_HASH}]}
    assert said("inv")["count"] == 12
    assert len(said("inv")["entries"]) == SHOWN
    assert (said("addrv2")["count"], len(said("addrv2")["addresses"])) == (12, SHOWN)
    assert said("headers")["headers"][0]["hash"] == hash_hex(header_hash(GENESIS))
    assert said("getblocktxn")["indexes"] == [1, 4]
    assert said("ping") == {"nonce": "000000000000abcd"}
    assert said("ping", b"") == {}


def test_a_transaction_and_a_block_in_words():
    fields = said("tx")
    [spend], [pay] = fields["inputs"]["spends"], fields["outputs"]["pays"]
    assert (spend["txid"], spend["vout"], spend["script"], spend["sequence"]) == (SHOWN_HASH, 3, "0102", 9)
    assert spend["witness"] == {"count": 2, "values": ["aa", ""]}
    assert pay == {"satoshi": 1234, "script": "0014" + "00" * 20}
    assert fields["txid"] == hash_hex(PAYMENT.txid)
    fields = said("block")
    assert (fields["transactions"]["count"], fields["size"]) == (2, len(BLOCK))
    assert [one["txid"] for one in fields["transactions"]["first"]] == [hash_hex(COINBASE.txid), hash_hex(PAYMENT.txid)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_short_or_long_is_an_error_in_words_or_less_of_it(kind):
    payload = PAYLOADS[kind]
    for other in (payload[:-1], payload + b"x", payload[: len(payload) // 2], b"\xff" * 300, b"\xfe\xff\xff\xff\x01"):
        [message] = inspected(frame(MAGIC, kind, other))
        assert message.name == kind
        assert message.raw == frame(MAGIC, kind, other)
        assert values_of(message.fields) <= MOST_VALUES


def test_the_largest_there_can_be_stays_within_the_bounds_and_is_quick():
    many = build_transaction(
        [TxInput(HASH, n, b"s" * 500, 0, (b"w" * 500,) * 12) for n in range(15)], [TxOutput(1, b"o" * 500)] * 500
    )
    full = assemble_block(parse_header(GENESIS), [COINBASE, *[PAYMENT] * 9000])
    swollen = GENESIS + compact_size(1) + bytes(4) + compact_size(MAX_PAYLOAD - 100) + bytes(MAX_PAYLOAD - 89)
    for kind, payload in {
        "tx": many.raw, "block": full, "inv": encode_entries([(MSG_TX, HASH)] * 50_000),
        "headers": encode_headers([GENESIS] * 2000), "unheard-of": bytes(100_000),
        "getblocks": encode_locator(Locator(1, [HASH] * 101)),
    }.items():  # fmt: skip
        assert values_of(said(kind, payload)) <= MOST_VALUES, kind
    [message] = inspected(frame(MAGIC, "block", swollen[:MAX_PAYLOAD]))
    assert values_of(message.fields) <= MOST_VALUES


def test_joined_in_the_middle_it_says_so_and_goes_on_with_the_next():
    one, other = frame(MAGIC, "ping", bytes(8)), frame(MAGIC, "verack")
    for cut in range(1, len(one)):
        lost, found = inspected(one[cut:] + other)
        assert (lost.name, lost.raw, bool(lost.error)) == ("", one[cut:], True)
        assert found.name == "verack"


def test_a_wrong_checksum_another_chain_and_a_claim_too_large_are_told():
    wrong = bytearray(frame(MAGIC, "ping", bytes(8)))
    wrong[-1] ^= 1
    ping = frame(MAGIC, "ping", bytes(8))
    assert [(one.name, one.error) for one in inspected(bytes(wrong) + ping)] == [
        ("ping", "its checksum is wrong"), ("ping", ""),
    ]  # fmt: skip
    foreign = frame(CHAINS["mainnet"].magic, "ping", bytes(8))
    assert [one.name for one in inspected(ping + foreign + ping)] == ["ping", "", "ping"]
    assert [one.name for one in inspected(foreign)] == ["ping"], "of whatever chain it is"
    huge = MAGIC + b"ping" + bytes(8) + pack("<I", MAX_PAYLOAD + 1) + bytes(4)
    [lost, found] = inspected(huge + ping)
    assert (lost.raw, "claims 4000001 bytes" in lost.error, found.name) == (huge, True, "ping")


def test_it_holds_one_message_and_no_more():
    inspector = Inspector()
    inspector.feed(MAGIC + b"block" + bytes(7) + pack("<I", MAX_PAYLOAD) + bytes(4))
    most = 0
    for _ in range(2 * MAX_PAYLOAD // 65_536):
        inspector.feed(bytes(65_536))
        most = max(most, inspector.held)
    assert most <= MAX_PAYLOAD + HEADER_SIZE
    assert inspector.held < JUNK + 4


pieces = st.lists(
    st.one_of(
        st.sampled_from([frame(MAGIC, kind, payload) for kind, payload in PAYLOADS.items()]),
        st.binary(max_size=60), st.sampled_from([MAGIC, MAGIC[:2], bytes(JUNK), bytes(JUNK + 1), bytes(3 * JUNK)]),
    ), max_size=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(pieces, st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=4), st.randoms())
def test_any_split_of_any_bytes_is_the_same_and_no_byte_is_lost(parts, changes, random):
    data = bytearray(b"".join(parts))
    for at, value in changes:
        if at < len(data):
            data[at] = value
    data = bytes(data)
    whole = inspected(data)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice([1, 3, 50])))
    assert inspected(*(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))) == whole
    if len(data) < 2000:
        assert inspected(*(data[at : at + 1] for at in range(len(data)))) == whole
    assert b"".join(message.raw for message in whole) == data
    for message in whole:
        assert message.name or message.error
        assert values_of(message.fields) <= MOST_VALUES
        json.dumps(message.fields)


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=300), st.integers(0, 400))
def test_fuzz_no_payload_of_any_type_raises(kind, data, keep):
    for payload in (data, PAYLOADS[kind][:keep] + data):
        [message] = inspected(frame(MAGIC, kind, payload))
        assert message.name == kind
        assert values_of(message.fields) <= MOST_VALUES
