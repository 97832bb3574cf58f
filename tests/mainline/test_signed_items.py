"""The items of BEP 44: its three vectors, and that no signature holds for anything but what was signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.mainline.signed_items import (
    SEQUENCES,
    immutable_target,
    mutable_target,
    public_key,
    sign,
    signed_bytes,
    verify,
)

KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
VALUE = b"12:Hello World!"
PLAIN = bytes.fromhex(
    "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
)
SALTED = bytes.fromhex(
    "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
)


def test_the_targets_of_bep_44():
    assert immutable_target(VALUE).hex() == "e5f96f6f38320f0f33959cb4d3d656452117aadb"
    assert mutable_target(KEY).hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert mutable_target(KEY, b"foobar").hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"


def test_the_bytes_that_are_signed():
    assert signed_bytes(b"", 1, VALUE) == b"3:seqi1e1:v12:Hello World!"
    assert signed_bytes(b"foobar", 1, VALUE) == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"


def test_the_signatures_of_bep_44_hold_for_what_they_were_made_for_alone():
    # Its private keys are expanded ones, of which no seed is known: what it signed can be checked, not signed again.
    for salt, signature in ((b"", PLAIN), (b"foobar", SALTED)):
        assert verify(KEY, salt, 1, VALUE, signature)
        assert not verify(KEY, salt, 2, VALUE, signature)
        assert not verify(KEY, salt + b"x", 1, VALUE, signature)
        assert not verify(KEY, salt, 1, b"12:Hello World?", signature)
        for at in range(64):
            assert not verify(KEY, salt, 1, VALUE, signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :])
    assert not verify(KEY, b"foobar", 1, VALUE, PLAIN)


def test_the_first_keys_of_rfc_8032():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert public_key(seed).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@given(
    st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(0, SEQUENCES - 1), st.binary(max_size=200)
)
def test_what_is_signed_verifies(seed, salt, sequence, value):
    key, signature = public_key(seed), sign(seed, salt, sequence, value)
    assert verify(key, salt, sequence, value, signature)
    assert not verify(key, salt, sequence, value + b"x", signature)


@given(st.binary(max_size=70), st.binary(max_size=80), st.integers(), st.binary(max_size=20), st.binary(max_size=80))
def test_fuzz_verify_says_no_to_anything_else(key, salt, sequence, value, signature):
    assert verify(key, salt, sequence, value, signature) is False


def test_a_sequence_number_has_63_bits():
    seed = bytes(32)
    key = public_key(seed)
    assert verify(key, b"", SEQUENCES - 1, VALUE, sign(seed, b"", SEQUENCES - 1, VALUE))
    for sequence in (-1, SEQUENCES, 10**900):
        with pytest.raises(ValueError, match="sequence number"):
            sign(seed, b"", sequence, VALUE)
        assert not verify(key, b"", sequence, VALUE, PLAIN)


def test_a_salt_has_64_bytes_at_most():
    seed = bytes(32)
    key = public_key(seed)
    assert verify(key, b"s" * 64, 1, VALUE, sign(seed, b"s" * 64, 1, VALUE))
    with pytest.raises(ValueError, match="salt"):
        sign(seed, b"s" * 65, 1, VALUE)
    assert not verify(key, b"s" * 65, 1, VALUE, PLAIN)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size):
    with pytest.raises(ValueError, match="32 bytes"):
        public_key(bytes(size))
