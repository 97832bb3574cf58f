"""The small messages: round trips, limits, and what Core tolerates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin import messages
from p2pframe.protocols.bitcoin.messages import Feature, Reject, SendCompact, Version
from p2pframe.protocols.bitcoin.transaction import MAX_MONEY
from p2pframe.protocols.bitcoin.wire import MalformedMessage, var_bytes

u64 = st.integers(0, 2**64 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)
versions = st.builds(
    Version,
    version=i32,
    services=u64,
    time=st.integers(-(2**63), 2**63 - 1),
    receiver=st.binary(min_size=26, max_size=26),
    sender=st.binary(min_size=26, max_size=26),
    nonce=u64,
    user_agent=st.binary(max_size=256),
    start_height=i32,
    relay=st.booleans(),
)


@given(versions)
def test_a_version_comes_back(version):
    assert messages.decode_version(messages.encode_version(version)) == version


@given(versions, st.binary(min_size=1, max_size=50))
def test_a_version_may_lack_its_relay_flag_and_may_have_more_behind_it(version, more):
    payload = messages.encode_version(version)
    assert messages.decode_version(payload[:-1]) == version._replace(relay=True)
    assert messages.decode_version(payload + more) == version


@given(versions)
def test_a_version_may_end_between_the_fields_that_came_later_and_nowhere_else(version):
    payload = messages.encode_version(version)
    agent = len(var_bytes(version.user_agent))
    ends = {46, 80, 80 + agent, 84 + agent, 85 + agent}
    for end in range(len(payload)):
        if end in ends:
            shorter = messages.decode_version(payload[:end])
            assert shorter[:4] == version[:4]
        else:
            with pytest.raises(MalformedMessage):
                messages.decode_version(payload[:end])


def test_the_shortest_version_has_the_defaults_of_core():
    payload = messages.encode_version(Version(31800, 1, 2))[:46]
    assert messages.decode_version(payload) == Version(31800, 1, 2, start_height=-1, relay=True)


def test_a_user_agent_has_at_most_256_bytes():
    with pytest.raises(ValueError, match="257"):
        messages.encode_version(Version(70016, 0, 0, user_agent=b"x" * 257))
    payload = messages.encode_version(Version(70016, 0, 0, user_agent=b"x" * 256))
    longer = payload.replace(b"\xfd\x00\x01" + b"x" * 256, b"\xfd\x01\x01" + b"x" * 257)
    with pytest.raises(MalformedMessage, match="257 bytes"):
        messages.decode_version(longer)


def test_only_safe_characters_of_an_agent_are_shown():
    assert Version(1, 0, 0, user_agent=b"/Sato\x1b[31mshi:0.1\xff\n/").agent == "/Sato31mshi:0.1/"


@given(versions)
def test_btclib_reads_our_version(version):
    handshake = pytest.importorskip("btclib.p2p.handshake", reason="btclib is not installed")
    version = version._replace(receiver=bytes(26), sender=bytes(26))
    theirs = handshake.Version.parse(messages.encode_version(version))
    assert (theirs.version, theirs.services, theirs.timestamp, theirs.nonce) == (
        version.version, version.services, version.time, version.nonce,
    )  # fmt: skip
    assert (theirs.user_agent, theirs.start_height, theirs.relay) == version[6:]


def test_services_have_names_both_ways():
    names = frozenset({"NETWORK", "WITNESS", "NETWORK_LIMITED", "P2P_V2"})
    assert messages.service_bits(names) == 1 | 8 | 1024 | 2048
    assert messages.service_names(1 | 8 | 1024 | 2048) == names
    assert messages.service_names(1 << 33) == {"BIT33"}
    with pytest.raises(ValueError, match="unknown services FOO"):
        messages.service_bits(frozenset({"FOO", "WITNESS"}))


@pytest.mark.parametrize("kind", ["verack", "getaddr", "mempool", "sendaddrv2", "sendheaders", "wtxidrelay"])
def test_empty_messages_are_empty(kind):
    assert kind in messages.KINDS
    messages.decode_empty(b"", kind)
    with pytest.raises(MalformedMessage, match=kind):
        messages.decode_empty(b"\0", kind)


@given(u64)
def test_a_nonce_is_eight_bytes(nonce):
    payload = messages.encode_nonce(nonce)
    assert messages.decode_nonce(payload) == payload and int.from_bytes(payload, "little") == nonce


@pytest.mark.parametrize(
    ("decode", "size"), [(messages.decode_nonce, 8), (messages.decode_feefilter, 8), (messages.decode_sendcmpct, 9)]
)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_message_of_fixed_size_has_that_size(decode, size, off):
    with pytest.raises(MalformedMessage):
        decode(bytes(size + off))


@given(st.integers(0, MAX_MONEY))
def test_a_fee_filter_comes_back(rate):
    assert messages.decode_feefilter(messages.encode_feefilter(rate)) == rate


@pytest.mark.parametrize("rate", [-1, MAX_MONEY + 1])
def test_a_fee_filter_that_is_no_amount_is_malformed(rate):
    with pytest.raises(MalformedMessage, match=str(rate)):
        messages.decode_feefilter(messages.encode_feefilter(rate))


@given(st.builds(SendCompact, st.booleans(), u64))
def test_a_sendcmpct_comes_back(message):
    assert messages.decode_sendcmpct(messages.encode_sendcmpct(message)) == message


def test_the_flag_of_a_sendcmpct_is_zero_or_one():
    with pytest.raises(MalformedMessage, match="flag of 2"):
        messages.decode_sendcmpct(b"\x02" + bytes(8))


features = st.builds(Feature, st.binary(min_size=4, max_size=80), st.binary(max_size=512))


@given(features)
def test_a_feature_comes_back_and_btclib_reads_it(feature):
    payload = messages.encode_feature(feature)
    assert messages.decode_feature(payload) == feature
    with pytest.raises(MalformedMessage):
        messages.decode_feature(payload[:-1])
    with pytest.raises(MalformedMessage, match="too many"):
        messages.decode_feature(payload + b"\0")
    negotiation = pytest.importorskip("btclib.p2p.negotiation", reason="btclib is not installed")
    if feature.id.isascii():
        assert negotiation.Feature.parse(payload).serialize() == payload


@pytest.mark.parametrize(("identity", "data"), [(3, 0), (81, 0), (4, 513)])
def test_a_feature_keeps_the_lengths_of_bip434(identity, data):
    feature = Feature(b"x" * identity, bytes(data))
    with pytest.raises(ValueError, match="feature id"):
        messages.encode_feature(feature)
    with pytest.raises(MalformedMessage, match="are allowed"):
        messages.decode_feature(var_bytes(feature.id) + var_bytes(feature.data))


@given(st.builds(Reject, st.binary(max_size=12), st.integers(0, 255), st.binary(max_size=111), st.binary(max_size=40)))
def test_a_reject_is_read(reject):
    assert messages.decode_reject(messages.encode_reject(reject)) == reject
