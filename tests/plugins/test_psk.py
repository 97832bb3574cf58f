"""The pre-shared-key upgrade: any split of the bytes, and everything that an attacker on the way can do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.errors import HandshakeFailed, StartError, UnreadableStream
from p2pframe.interfaces import IUpgrade, IUpgradeState
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext
from plugins.psk import HELLO, MAGIC, MAX_PLAIN, TAG, PskConfig, PskState, PskUpgrade

KEY = "5a" * 32
ADDRESS = PeerAddress("192.0.2.1", 8333)


def upgrade(seed=0, key=KEY):
    return PskUpgrade(PskConfig(key=key), FakeContext("upgrade.psk", seed=seed))


def pair(seed=1, key=KEY, other_key=KEY):
    dialer = upgrade(seed, key).begin(ADDRESS, inbound=False, peer_id=None)
    listener = upgrade(seed + 1000, other_key).begin(ADDRESS, inbound=True, peer_id=None)
    return dialer, listener


def shake(dialer, listener):
    """Run the handshake; returns all that went each way."""
    to_listener, to_dialer = dialer.start(), listener.start()
    first = dialer.receive(to_dialer)
    second = listener.receive(to_listener)
    assert first.received == second.received == b""
    dialer.receive(second.to_wire)
    listener.receive(first.to_wire)
    assert dialer.ready
    assert listener.ready
    return to_listener + first.to_wire, to_dialer + second.to_wire


def split(data, cuts):
    cuts = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_it_is_an_upgrade():
    verifyClass(IUpgrade, PskUpgrade)
    verifyObject(IUpgrade, upgrade())
    verifyClass(IUpgradeState, PskState)
    verifyObject(IUpgradeState, pair()[0])


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 5000), max_size=20), st.booleans())
def test_any_split_of_the_bytes_gives_the_same_stream(messages, cuts, from_dialer):
    sender, receiver = pair()
    if not from_dialer:
        sender, receiver = receiver, sender
    wire = sender.start()
    wire += sender.receive(receiver.start()).to_wire
    # The sender is ready only after the receiver's proof, which needs the hello first.
    proof = receiver.receive(wire[:HELLO]).to_wire
    sender.receive(proof)
    rest = wire[HELLO:] + b"".join(sender.send(message) for message in messages)
    received = b""
    for part in split(rest, cuts):
        step = receiver.receive(part)
        assert step.to_wire == b""
        received += step.received
    assert receiver.ready
    assert received == b"".join(messages)


@given(st.lists(st.integers(0, 200), max_size=10))
def test_any_split_of_the_handshake_works(cuts):
    whole_dialer, whole_listener = pair()
    _, to_dialer = shake(whole_dialer, whole_listener)
    dialer, _ = pair()
    dialer.start()
    for part in split(to_dialer, cuts):
        dialer.receive(part)
    assert dialer.ready


def test_long_data_goes_in_packets_and_the_buffer_stays_below_one():
    dialer, listener = pair()
    shake(dialer, listener)
    data = bytes(range(256)) * 400
    wire = dialer.send(data)
    assert len(wire) == len(data) + (2 + TAG) * -(-len(data) // MAX_PLAIN)
    received = b""
    for start in range(0, len(wire), 1000):
        received += listener.receive(wire[start : start + 1000]).received
        assert len(listener._buffer) < 2 + MAX_PLAIN + TAG
    assert received == data


def test_the_plain_text_is_not_on_the_wire():
    dialer, listener = pair()
    shake(dialer, listener)
    assert b"attack at dawn" not in dialer.send(b"attack at dawn")
    assert dialer.send(b"twice") != dialer.send(b"twice")
    assert "ChaCha20-Poly1305" in dialer.info().encryption
    assert dialer.info().peer_id is None


def test_another_key_is_refused():
    dialer, listener = pair(other_key="11" * 32)
    answer = listener.receive(dialer.start()).to_wire
    mine = dialer.receive(listener.start()).to_wire
    with pytest.raises(HandshakeFailed, match=r"psk-tag.*same key"):
        dialer.receive(answer)
    with pytest.raises(HandshakeFailed, match="psk-tag"):
        listener.receive(mine)
    assert not dialer.ready
    assert not listener.ready


def test_nothing_is_sent_before_the_peer_has_proven_the_key():
    dialer, listener = pair()
    dialer.receive(listener.start())
    with pytest.raises(RuntimeError, match="not done"):
        dialer.send(b"too early")


def test_a_replayed_session_opens_nothing():
    dialer, listener = pair()
    to_listener, _ = shake(dialer, listener)
    recorded = to_listener + dialer.send(b"pay 100")
    assert listener.receive(recorded[len(to_listener) :]).received == b"pay 100"
    fresh = upgrade(seed=77).begin(ADDRESS, inbound=True, peer_id=None)
    with pytest.raises(HandshakeFailed, match="psk-tag"):
        fresh.receive(recorded)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda a, b: a + a,
        lambda a, b: b + a,
        lambda a, b: b,
        lambda a, b: a[:-1] + bytes([a[-1] ^ 1]),
        lambda a, b: a[:-1] + b,
        lambda a, b: bytes([a[0], a[1] - 1]) + a[2:],
        lambda a, b: b"\x00\x00",
        lambda a, b: b"\xff\xff",
    ],
    ids=["again", "swapped", "left out", "changed", "cut", "shorter length", "no length", "too long"],
)
def test_packets_can_not_be_replayed_moved_left_out_changed_or_cut(tamper):
    dialer, listener = pair()
    shake(dialer, listener)
    first, second = dialer.send(b"first"), dialer.send(b"second")
    with pytest.raises(UnreadableStream):
        listener.receive(tamper(first, second))
    # And it stays closed, whatever comes then.
    with pytest.raises(UnreadableStream):
        listener.receive(second)


def test_half_a_packet_gives_nothing():
    dialer, listener = pair()
    shake(dialer, listener)
    assert listener.receive(dialer.send(b"x" * 100)[:-1]).received == b""


def test_our_own_bytes_sent_back_are_refused():
    dialer, listener = pair()
    with pytest.raises(HandshakeFailed, match="psk-reflected"):
        dialer.receive(dialer.start())
    dialer, listener = pair()
    shake(dialer, listener)
    with pytest.raises(UnreadableStream):
        dialer.receive(dialer.send(b"mine"))


def test_a_point_of_low_order_is_refused():
    dialer, _ = pair()
    with pytest.raises(HandshakeFailed, match="psk-point"):
        dialer.receive(MAGIC + bytes(32))


def test_another_protocol_is_told_by_its_first_byte():
    dialer, _ = pair()
    with pytest.raises(HandshakeFailed, match="psk-magic"):
        dialer.receive(b"\xf9")


def test_the_first_packet_has_to_be_the_proof_alone():
    dialer, listener = pair()
    dialer.receive(listener.start())
    dialer.ready = True  # a peer that has the key and does not keep to the protocol
    listener.receive(dialer.start())
    dialer._sealed = 0
    with pytest.raises(HandshakeFailed, match="psk-proof"):
        listener.receive(dialer.send(b"data"))


@given(st.binary(max_size=400))
def test_garbage_ends_in_a_refusal_and_nothing_else(data):
    dialer, _ = pair()
    try:
        step = dialer.receive(data)
    except HandshakeFailed:
        return
    assert step.received == b""
    assert not dialer.ready


def test_the_key_may_be_in_a_file_that_only_we_may_read(tmp_path):
    path = tmp_path / "team.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    from_file = PskUpgrade(PskConfig(key_file=path), FakeContext(seed=4))
    dialer = upgrade(seed=5).begin(ADDRESS, inbound=False, peer_id=None)
    shake(dialer, from_file.begin(ADDRESS, inbound=True, peer_id=None))
    path.chmod(0o644)
    with pytest.raises(StartError, match="chmod 600"):
        PskUpgrade(PskConfig(key_file=path), FakeContext())
    path.chmod(0o600)
    path.write_text("password")
    with pytest.raises(StartError, match="64 hex digits"):
        PskUpgrade(PskConfig(key_file=path), FakeContext())
    with pytest.raises(StartError, match=r"nowhere"):
        PskUpgrade(PskConfig(key_file=tmp_path / "nowhere"), FakeContext())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either key or key_file"),
        ({"key": KEY, "key_file": "a"}, "either key or key_file"),
        ({"key": "password"}, "64 hex digits"),
        ({"key": "5a" * 31}, "64 hex digits"),
    ],
)
def test_mistakes_in_the_config_are_told_without_the_secret(options, said):
    with pytest.raises(ValidationError, match=said) as caught:
        PskConfig(**options)
    assert "password" not in str(caught.value)


def test_the_key_is_not_shown():
    config = PskConfig(key=KEY)
    assert KEY not in repr(config)
    assert KEY not in config.model_dump_json()
