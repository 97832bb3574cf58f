"""Bencoding: one encoding for a value, one value for an encoding, and an error that says where for anything else."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.mainline.bencode import DEPTH, DIGITS, Bencoded, BencodeError, decode, encode

VALUES = st.recursive(
    st.binary(max_size=40) | st.integers() | st.integers(-(10**300), 10**300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.binary(max_size=12), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        # The examples of BEP 3.
        (b"4:spam", b"spam"),
        (b"i3e", 3),
        (b"i-3e", -3),
        (b"i0e", 0),
        (b"l4:spam4:eggse", [b"spam", b"eggs"]),
        (b"d3:cow3:moo4:spam4:eggse", {b"cow": b"moo", b"spam": b"eggs"}),
        (b"d4:spaml1:a1:bee", {b"spam": [b"a", b"b"]}),
        (b"0:", b""),
        (b"le", []),
        (b"de", {}),
        (b"d0:0:1:ai1ee", {b"": b"", b"a": 1}),
        (b"lld1:ai-1eeei2e2:xye", [[{b"a": -1}], 2, b"xy"]),
        (b"d1:al1:be1:cd1:di1eee", {b"a": [b"b"], b"c": {b"d": 1}}),
    ],
)
def test_each_kind_there_and_back(encoded, value):
    assert decode(encoded) == value
    assert encode(value) == encoded


@pytest.mark.parametrize("length", [1023, 1024, 9_999, 10_000, 65_000, 1_000_000])
def test_strings_of_any_length_as_value_key_and_entry(length):
    text = b"x" * length
    for value in (text, [text], {text: text}, {b"a": text}):
        assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "encoded",
    [
        b"", b"x", b":", b"-1:", b"i", b"ie", b"i-e", b"i-0e", b"i00e", b"i03e", b"i-03e", b"i+3e", b"i 3e", b"i3 e",
        b"i1_0e", b"i3", b"i3.5e", b"i--3e", b"i\xd9\xa3e", b"1", b"1:", b"5:spam", b"04:spam", b"00:", b"4 :spam",
        b"+4:spam", b"4_0:spam", b"99999999:x", b"9999999999:x", b"99999999999999999999:x", b"1111111111111111",
        b"l", b"l1:a", b"li1e", b"d", b"d1:a", b"d1:a1:b", b"d1:ae", b"di1e1:ae", b"dle1:ae", b"d01:a0:e", b"d5:a",
        b"d1:a01:be", b"l01:ae", b"l5:ae", b"d1:a5:be", b"e", b"i1ei2e", b"4:spame", b"lee", b"dee", b"d1:ai1ei2ee",
        b"4spam", b"12345678901", b"l12x", b"d12x", b"d1:a12x",
    ],
)  # fmt: skip
def test_what_is_no_bencoding_is_refused_with_its_place(encoded):
    with pytest.raises(BencodeError) as error:
        decode(encoded)
    assert 0 <= error.value.position <= len(encoded)
    assert f"at byte {error.value.position}" in str(error.value)


def test_keys_have_to_be_in_order_except_in_the_levels_that_say_otherwise():
    outer, inner = b"d1:b1:x1:a1:ye", b"d1:ad1:b1:x1:a1:yee"
    for encoded, enough in ((outer, 1), (inner, 2)):
        with pytest.raises(BencodeError, match="out of order"):
            decode(encoded, unordered=enough - 1)
        decode(encoded, unordered=enough)
    assert decode(outer, unordered=1) == {b"b": b"x", b"a": b"y"}
    with pytest.raises(BencodeError, match="out of order"):
        decode(b"d1:ald1:b1:x1:a1:yeee", unordered=2)


@pytest.mark.parametrize("encoded", [b"d1:a1:x1:a1:ye", b"d1:a1:x1:b1:x1:a1:ye", b"d0:1:x0:1:ye"])
@pytest.mark.parametrize("unordered", [0, 9])
def test_a_key_twice_is_refused_always(encoded, unordered):
    with pytest.raises(BencodeError, match="a key twice"):
        decode(encoded, unordered=unordered)


def test_a_key_twice_is_found_where_the_order_hides_it():
    with pytest.raises(BencodeError, match="a key twice"):
        decode(b"d1:b0:1:a0:1:b0:e", unordered=1)
    with pytest.raises(BencodeError, match="a key twice"):
        decode(b"d1:y0:1:a0:1:q0:1:y0:e", unordered=1)


def test_nesting_is_bounded_both_ways():
    for opening, closing in ((b"l", b"e"), (b"d0:", b"e")):
        deep = opening * (DEPTH - 1) + b"le" + closing * (DEPTH - 1)
        assert encode(decode(deep)) == deep
        with pytest.raises(BencodeError, match="within one another"):
            decode(opening + deep + closing)
        with pytest.raises(BencodeError, match="within one another"):
            decode(opening * 30_000)
    value: list = []
    for _ in range(DEPTH):
        value = [value]
    with pytest.raises(BencodeError, match="within one another"):
        encode(value)
    with pytest.raises(BencodeError, match="within one another"):
        encode({b"a": value})
    ring: dict = {}
    ring[b"a"] = ring
    with pytest.raises(BencodeError, match="within one another"):
        encode(ring)


def test_the_number_of_lists_and_dictionaries_is_bounded():
    assert decode(b"lledee", containers=3) == [[], {}]
    for encoded in (b"lledee", b"lldeee", b"d1:adee"):
        with pytest.raises(BencodeError, match="too many lists"):
            decode(encoded, containers=1)
    with pytest.raises(BencodeError, match="too many lists"):
        decode(b"l" + b"le" * 32_000 + b"e")


def test_an_integer_is_as_long_as_an_item_at_most():
    most = b"9" * DIGITS
    assert decode(b"i%be" % most) == int(most)
    assert decode(b"i-%be" % most) == -int(most)
    for digits in (most + b"9", b"-" + most + b"9", b"1" * 1_000_000):
        with pytest.raises(BencodeError):
            decode(b"i%be" % digits)


@pytest.mark.parametrize("value", [True, 1.5, "text", None, {1: b""}, {"a": b""}, [None], {b"a": None}, {b"a"}])
def test_what_has_no_encoding_is_a_type_error(value):
    with pytest.raises(TypeError):
        encode(value)


def test_what_is_encoded_already_is_written_as_it_is():
    stored = Bencoded(b"d1:ai1ee")
    assert encode({b"v": stored, b"a": 1}) == b"d1:ai1e1:vd1:ai1eee"
    assert encode([stored]) == b"ld1:ai1eee"
    assert encode(stored) == stored


def test_other_sequences_mappings_and_subclasses_are_encoded_too():
    class Bytes(bytes):
        pass

    assert encode((1, (b"a",), Bytes(b"xy"))) == b"li1el1:ae2:xye"
    assert encode(MappingProxyType({b"b": 1, b"a": MappingProxyType({})})) == b"d1:ade1:bi1ee"


@given(VALUES)
def test_any_value_there_and_back(value):
    encoded = encode(value)
    assert decode(encoded) == value
    assert encode(decode(encoded)) == encoded


@given(VALUES)
def test_libtorrent_agrees(value):
    libtorrent = pytest.importorskip("libtorrent", reason="libtorrent gives the second opinion")

    def small(value):
        """Their integers have 64 bits, and the least of those they write and do not read."""
        if isinstance(value, int):
            return max(1 - 2**63, min(value, 2**63 - 1))
        if isinstance(value, list):
            return [small(one) for one in value]
        return {key: small(one) for key, one in value.items()} if isinstance(value, dict) else value

    value = small(value)
    theirs = libtorrent.bencode(value)
    assert encode(value) == theirs
    assert decode(theirs) == libtorrent.bdecode(theirs) == value
