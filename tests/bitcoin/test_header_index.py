"""The header index: the tree, the chain with the most work, what is served from it, and the blob it comes back from."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST, TESTNET4
from p2pframe.protocols.bitcoin.header import parse_header
from p2pframe.protocols.bitcoin.header_index import (
    DoesNotConnect,
    HeaderIndex,
    IndexFull,
    InvalidAncestor,
    TooLittleWork,
)
from p2pframe.protocols.bitcoin.header_loader import CorruptHeaders, HeaderLoader, load_headers
from p2pframe.protocols.bitcoin.headers import BadProofOfWork, NotContinuous, RuleBroken, next_bits, validate_headers
from tests.bitcoin.chain_makers import chain_of, digest, easy, mine, unmined, vector

LATER = 4_000_000_000
TRUNK = chain_of(40)
HASHES = [REGTEST.genesis_hash, *map(digest, TRUNK)]


def fork(height: int, count: int, seed: bytes = b"fork") -> list[bytes]:
    """`count` headers after the trunk's header at `height`."""
    time = REGTEST_TIME if not height else parse_header(TRUNK[height - 1]).time
    return chain_of(count, HASHES[height], time, seed=seed)


REGTEST_TIME = parse_header(REGTEST.genesis_header).time


def index_of(*branches: list[bytes]) -> HeaderIndex:
    index = HeaderIndex(REGTEST)
    for branch in branches:
        index.add_headers(branch, LATER)
    return index


# Adding.


def test_a_fresh_index_has_the_genesis_header() -> None:
    index = HeaderIndex(REGTEST)
    assert len(index) == 1 and index.height == 0 and index.tip == REGTEST.genesis_hash
    assert index.locator() == [REGTEST.genesis_hash] and index.parent_of(index.tip) == index.tip


def test_headers_extend_the_best_chain_and_give_what_to_append() -> None:
    index = HeaderIndex(REGTEST)
    result = index.add_headers(b"".join(TRUNK), LATER)
    assert (result.new, result.known, result.stored, result.last) == (40, 0, b"".join(TRUNK), HASHES[-1])
    assert result.change is not None and list(result.change.connected) == HASHES[1:]
    assert result.change.disconnected == () and result.change.fork_height == 0
    assert index.height == 40 and index.tip == HASHES[-1] and index.work == 2 * 41
    assert [index.hash_at(height) for height in range(41)] == HASHES == index.hashes_between(0, 99)
    assert index.header(HASHES[7]) == TRUNK[6] and index.height_of(HASHES[7]) == 7 and index.position(HASHES[7]) == 7
    assert index.tip_time == parse_header(TRUNK[-1]).time == index.time_of(HASHES[-1])


def test_known_headers_are_not_stored_twice() -> None:
    index = index_of(TRUNK[:30])
    again = index.add_headers(TRUNK[:30], LATER)
    assert (again.new, again.known, again.stored, again.change, again.last) == (0, 30, b"", None, HASHES[30])
    more = index.add_headers(TRUNK[20:], LATER)
    assert (more.new, more.known, more.stored) == (10, 10, b"".join(TRUNK[30:]))
    assert index.add_headers([], LATER).new == 0


def test_headers_that_do_not_connect_ask_for_the_gap_without_offence() -> None:
    index = index_of(TRUNK[:10])
    with pytest.raises(DoesNotConnect) as caught:
        index.add_headers(TRUNK[20:], LATER)
    assert caught.value.previous == HASHES[20] and not caught.value.offence
    with pytest.raises(BadProofOfWork):
        index.add_headers(unmined(b"\1" * 32, LATER, 0x207FFFFF), LATER)


@pytest.mark.parametrize("known", [0, 5, 12])
def test_a_batch_with_a_mistake_changes_nothing_and_says_where(known: int) -> None:
    index = index_of(TRUNK[:known])
    before = (len(index), index.tip, index.stored())
    with pytest.raises(NotContinuous) as gap:
        index.add_headers(TRUNK[:12] + TRUNK[13:], LATER)
    assert gap.value.index == 12
    with pytest.raises(BadProofOfWork) as proof:
        index.add_headers([*TRUNK[:20], unmined(HASHES[20], LATER, 0x207FFFFF)], LATER)
    assert proof.value.index == 20
    with pytest.raises(RuleBroken, match="bad-bits"):
        index.add_headers([*TRUNK[:20], mine(HASHES[20], LATER, 0x207FFFFE)], LATER)
    assert (len(index), index.tip, index.stored()) == before


def test_the_number_of_headers_is_bounded_and_counted() -> None:
    index = HeaderIndex(REGTEST, limit=21)
    index.add_headers(TRUNK[:20], LATER)
    with pytest.raises(IndexFull):
        index.add_headers(TRUNK[20:], LATER)
    assert index.turned_away == 20 and index.height == 20


def test_headers_off_the_best_chain_are_bounded_but_never_those_of_a_better_one() -> None:
    index = HeaderIndex(REGTEST, side_limit=5)
    index.add_headers(TRUNK, LATER)
    index.add_headers(fork(30, 5), LATER)
    with pytest.raises(IndexFull, match="too-many-branches") as caught:
        index.add_headers(fork(30, 1, b"x"), LATER)
    assert not caught.value.offence and index.turned_away == 1
    better = fork(35, 6, b"y")
    assert index.add_headers(better, LATER).change is not None and index.tip == digest(better[-1])


# Reorganisation.


def test_a_fork_with_less_or_equal_work_is_held_and_not_followed() -> None:
    index = index_of(TRUNK)
    result = index.add_headers(fork(30, 10), LATER)
    assert result.new == 10 and result.change is None and index.tip == HASHES[-1]
    assert not index.is_active(result.last) and index.is_active(HASHES[35])


def test_more_work_reorganises_and_reports_both_sides_in_order() -> None:
    index, branch = index_of(TRUNK), fork(37, 4)
    index.add_headers(branch[:3], LATER)
    change = index.add_headers(branch[3:], LATER).change
    assert change is not None and change.fork_height == 37
    assert list(change.disconnected) == HASHES[:37:-1] and list(change.connected) == [
        digest(header) for header in branch
    ]
    assert index.height == 41 and index.hash_at(38) == digest(branch[0]) and index.hash_at(37) == HASHES[37]
    assert not index.is_active(HASHES[40])
    back = index.add_headers(chain_of(2, HASHES[-1], parse_header(TRUNK[-1]).time), LATER).change
    assert back is not None and list(back.connected)[:3] == HASHES[38:] and len(back.disconnected) == 4


def test_ancestors_and_fork_points() -> None:
    first, second = fork(30, 6, b"a"), fork(25, 9, b"b")
    index = index_of(TRUNK, first, second)
    a, b = digest(first[-1]), digest(second[-1])
    assert index.fork_of(a, b) == HASHES[25] and index.fork_of(a, HASHES[-1]) == HASHES[30]
    deep = fork(20, 3, b"deep")
    index.add_headers(deep, LATER)
    assert index.fork_of(digest(deep[-1]), a) == HASHES[20]
    assert index.fork_of(a, HASHES[28]) == HASHES[28] and index.fork_of(a, a) == a
    assert index.ancestor(a, 31) == digest(first[0]) and index.ancestor(a, 12) == HASHES[12]
    for height in (-1, 37):
        with pytest.raises(ValueError, match="height"):
            index.ancestor(a, height)
    with pytest.raises(IndexError):
        index.hash_at(-1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=12), st.randoms(use_true_random=False))
def test_the_tip_is_the_first_seen_of_the_most_work_whatever_the_tree(branches, dice) -> None:
    index = HeaderIndex(REGTEST)
    seen = {REGTEST.genesis_hash: (0, REGTEST_TIME, None)}
    best = REGTEST.genesis_hash
    for number, (_, count) in enumerate(branches):
        base = dice.choice(list(seen))
        height, time, _ = seen[base]
        before = index.tip
        headers = chain_of(count, base, time, seed=bytes([number]))
        previous = base
        for header in headers:
            height, time = height + 1, parse_header(header).time
            seen[digest(header)] = (height, time, previous)
            previous = digest(header)
        change = index.add_headers(headers, LATER).change
        if height > seen[best][0]:
            best = previous
        assert index.tip == best and (change is None) == (before == best)
    walk = best
    for height in range(index.height, -1, -1):
        assert index.hash_at(height) == walk and index.height_of(walk) == height
        walk = seen[walk][2]
    again = HeaderIndex(REGTEST)
    load_headers(again, index.stored())
    assert again.tip == index.tip and again.stored() == index.stored()


def test_contexts_worked_out_afresh_equal_those_of_the_bulk_path() -> None:
    dice = random.Random(4)
    for chain in (easy(MAINNET, target_timespan=7 * 600), easy(TESTNET4, target_timespan=7 * 600)):
        index = HeaderIndex(chain)
        contexts = {chain.genesis_hash: index.context_of(chain.genesis_hash)}
        for number in range(250):
            at = contexts[dice.choice(list(contexts)[-3:])]
            time = at.time + dice.choice((30, 300, 1200, 1201) if at.height // 7 % 4 < 2 else (5000, 5000, 1200))
            header = mine(at.hash, time, next_bits(chain, at, time), seed=bytes([number]))
            contexts[digest(header)] = validate_headers(chain, at, header, LATER).context
            index.add_headers(header, LATER)
        for hash in sorted(contexts):
            assert index.context_of(hash) == contexts[hash]


def test_invalid_bodies_move_the_tip_to_the_best_chain_without_them() -> None:
    branch = fork(30, 5)
    index = index_of(TRUNK, branch)
    change = index.mark_invalid(HASHES[33])
    assert change is not None and change.fork_height == 30 and index.tip == digest(branch[-1])
    assert list(change.disconnected) == HASHES[:30:-1] and index.invalid == {HASHES[33]}
    assert index.is_invalid(HASHES[40]) and not index.is_invalid(HASHES[32])
    assert index.mark_invalid(HASHES[33]) is None and index.mark_invalid(HASHES[35]) is None
    with pytest.raises(InvalidAncestor):
        index.add_headers(chain_of(9, HASHES[-1], parse_header(TRUNK[-1]).time), LATER)
    with pytest.raises(InvalidAncestor):
        index.add_headers(TRUNK[35:], LATER)
    change = index.mark_invalid(digest(branch[0]))
    assert change is not None and index.tip == HASHES[32] and index.height == 32
    with pytest.raises(ValueError, match="genesis"):
        index.mark_invalid(REGTEST.genesis_hash)


def test_after_an_invalid_body_the_first_seen_of_equal_chains_is_followed() -> None:
    first, second = fork(30, 5, b"first"), fork(30, 5, b"second")
    index = index_of(TRUNK, first, second)
    index.mark_invalid(HASHES[31])
    assert index.tip == digest(first[-1])


# Locators and serving.


def test_a_locator_is_dense_at_the_tip_and_doubles_down_to_genesis() -> None:
    index = index_of(TRUNK)
    heights = [index.height_of(hash) for hash in index.locator()]
    assert heights == [40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 29, 25, 17, 1, 0]
    branch = fork(38, 2)
    index.add_headers(branch, LATER)
    assert index.locator(digest(branch[-1]))[:4] == [digest(branch[1]), digest(branch[0]), HASHES[38], HASHES[37]]


# Minimum work.


def test_mainnet_refuses_to_store_the_alternative_headers() -> None:
    index = HeaderIndex(MAINNET)
    with pytest.raises(TooLittleWork) as caught:
        index.add_headers(vector("mainnet_alt_headers.bin"), LATER)
    assert not caught.value.offence and len(index) == 1 and index.turned_away == 2016 and not index.has_minimum_work
    assert index.work_wanted == MAINNET.minimum_chain_work


def test_a_chain_must_be_within_a_days_work_of_the_tip() -> None:
    index = index_of(chain_of(400))
    assert index.work_wanted == index.work - 144 * 2
    assert index_of(TRUNK).work_wanted <= 0


# The blob.


def test_a_blob_loads_in_chunks_of_any_size() -> None:
    source = index_of(TRUNK[:35], fork(30, 7), TRUNK[35:], fork(3, 2))
    blob = source.stored()
    for size in (1, 79, 80, 81, 1000, 100_000):
        index = HeaderIndex(REGTEST)
        loader = HeaderLoader(index)
        for start in range(0, len(blob), size):
            loader.feed(blob[start : start + size])
        assert loader.finish() == (len(source) - 1, 0)
        assert index.tip == source.tip and index.stored() == blob and index.work == source.work


@pytest.mark.parametrize("tail", [41, 79, 80 * 3, 80 * 2 + 7])
@pytest.mark.parametrize("with_what", ["nothing", "zeros", "noise"])
def test_a_torn_end_is_cut_off_and_measured(tail: int, with_what: str) -> None:
    blob = b"".join(TRUNK)
    kept = blob[: len(blob) - tail]
    if with_what != "nothing":
        kept += bytes(tail) if with_what == "zeros" else random.Random(tail).randbytes(tail)
    index = HeaderIndex(REGTEST)
    result = load_headers(index, kept)
    whole = (len(blob) - tail) // 80
    assert result.headers == index.height == whole and result.cut == len(kept) - whole * 80
    assert index.stored() == blob[: whole * 80]


def test_damage_in_the_middle_is_an_error_that_says_what_is_good() -> None:
    blob = bytearray(b"".join(TRUNK))
    blob[80 * 12 + 40] ^= 1
    for size in (80, 100_000):
        index = HeaderIndex(REGTEST)
        loader = HeaderLoader(index)
        for start in range(0, len(blob), size):
            loader.feed(bytes(blob[start : start + size]))
        with pytest.raises(CorruptHeaders) as caught:
            loader.finish()
        # A changed regtest header may still be proof of work by chance; then it is the next one that does not follow.
        assert caught.value.good in (80 * 12, 80 * 13) and index.height == caught.value.good // 80


@given(st.integers(0, 39 * 80 - 1), st.integers(1, 255))
def test_no_damaged_byte_goes_unnoticed_but_in_the_last_header(place: int, change: int) -> None:
    blob = bytearray(b"".join(TRUNK))
    blob[place] ^= change
    index = HeaderIndex(REGTEST)
    try:
        assert load_headers(index, bytes(blob)).cut > 0
    except CorruptHeaders as error:
        assert error.good <= place + 80
    assert index.stored() == bytes(blob[: len(index.stored())])


def test_a_header_twice_in_a_blob_is_damage() -> None:
    index = HeaderIndex(REGTEST)
    assert load_headers(index, b"".join(TRUNK[:5]) + TRUNK[4]) == (5, 80)
    assert len(index) == 6


# Size and speed.


def test_memory_stays_under_300_bytes_a_header() -> None:
    blob = b"".join(chain_of(20_000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        index = HeaderIndex(REGTEST)
        for start in range(0, len(blob), 160_000):
            index.add_headers(blob[start : start + 160_000], LATER)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert index.height == 20_000
    # Tables that double are at their worst just after doubling: 950,000 headers measure 280.
    assert used / 20_000 < 330


@pytest.mark.slow
def test_100_000_headers_a_message_at_a_time_and_950_000_from_the_blob() -> None:
    blob = b"".join(chain_of(950_000, spacing=60))
    index = HeaderIndex(REGTEST)
    for start in range(0, 100_000 * 80, 160_000):
        index.add_headers(blob[start : start + 160_000], LATER)
    assert index.height == 100_000
    index = HeaderIndex(REGTEST)
    assert load_headers(index, blob) == (950_000, 0)
    assert index.height == 950_000
