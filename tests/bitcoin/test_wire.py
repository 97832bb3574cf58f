"""CompactSize and the bounded reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.wire import (
    MAX_COMPACT,
    MAX_SIZE,
    MalformedMessage,
    Reader,
    TooMany,
    compact_size,
    read_compact,
    read_count,
    var_bytes,
)

EDGES = [0, 0xFC, 0xFD, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000, MAX_COMPACT]


@given(st.one_of(st.integers(0, MAX_COMPACT), st.sampled_from(EDGES)), st.binary(max_size=3), st.binary(max_size=3))
def test_a_compact_size_comes_back_from_wherever_it_stands(value, before, behind):
    encoded = compact_size(value)
    assert read_compact(before + encoded + behind, len(before), MAX_COMPACT) == (value, len(before) + len(encoded))


@pytest.mark.parametrize(("value", "length"), list(zip(EDGES, [1, 1, 3, 3, 5, 5, 9, 9], strict=True)))
def test_a_compact_size_has_its_shortest_form(value, length):
    assert len(compact_size(value)) == length


@pytest.mark.parametrize("encoded", ["fdfc00", "feffff0000", "ffffffffff00000000", "fd0000", "fe00000000"])
def test_a_longer_form_than_needed_is_malformed(encoded):
    with pytest.raises(MalformedMessage, match="shortest"):
        read_compact(bytes.fromhex(encoded), 0, MAX_COMPACT)


@given(st.sampled_from(EDGES).map(compact_size), st.data())
def test_a_truncated_compact_size_is_malformed(encoded, data):
    kept = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(MalformedMessage):
        read_compact(encoded[:kept], 0, MAX_COMPACT)


def test_what_counts_or_measures_is_at_most_max_size():
    assert read_compact(compact_size(MAX_SIZE), 0) == (MAX_SIZE, 5)
    with pytest.raises(MalformedMessage, match="over"):
        read_compact(compact_size(MAX_SIZE + 1), 0)


@pytest.mark.parametrize("value", [-1, MAX_COMPACT + 1])
def test_a_number_outside_of_64_bits_has_no_compact_size(value):
    with pytest.raises(ValueError, match="CompactSize"):
        compact_size(value)


def test_too_many_is_told_apart_from_malformed():
    assert read_count(b"\x05", 0, 5, "things") == (5, 1)
    with pytest.raises(TooMany) as caught:
        read_count(b"\x06", 0, 5, "things")
    assert (caught.value.count, caught.value.limit) == (6, 5) and "things" in str(caught.value)
    assert not isinstance(caught.value, MalformedMessage)


def test_a_reader_reads_each_kind_of_number_and_knows_its_end():
    reader = Reader(
        bytes.fromhex("01 02000000 0300000000000000 ffffffff feffffffffffffff 208d 04".replace(" ", "")), "x"
    )
    numbers = [reader.u8(), reader.u32(), reader.u64(), reader.i32(), reader.i64(), reader.u16_big(), reader.compact()]
    assert numbers == [1, 2, 3, -1, -2, 8333, 4] and reader.left == 0
    reader.end()


@pytest.mark.parametrize("method", ["u8", "u32", "u64", "i32", "i64", "u16_big", "compact"])
def test_a_reader_never_reads_past_the_end_and_says_where(method):
    reader = Reader(b"\x01", "thing")
    reader.take(1)
    with pytest.raises(MalformedMessage, match="byte 1"):
        getattr(reader, method)()


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_strings_keep_their_bounds(data, least, most):
    reader = Reader(var_bytes(data) + b"!", "string")
    if least <= len(data) <= most:
        assert reader.var_bytes(most, least) == data and reader.left == 1
        with pytest.raises(MalformedMessage, match="1 bytes too many"):
            reader.end()
    else:
        with pytest.raises(MalformedMessage, match="are allowed"):
            reader.var_bytes(most, least)


def test_a_string_that_ends_early_is_malformed():
    with pytest.raises(MalformedMessage, match="5 bytes announced, 2 left"):
        Reader(b"\x05ab", "string").var_bytes(10)


def test_a_readers_count_is_bounded():
    assert Reader(b"\x02", "x").count(2) == 2
    with pytest.raises(TooMany):
        Reader(b"\x03", "x").count(2)
