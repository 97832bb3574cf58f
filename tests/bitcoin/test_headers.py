"""Headers are judged by each chain's rules, and the judgement says which header broke which rule."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST, SIGNET, TESTNET4
from p2pframe.protocols.bitcoin.header import header_hash, parse_header
from p2pframe.protocols.bitcoin.headers import (
    BadProofOfWork,
    HeaderContext,
    HeaderError,
    NotContinuous,
    RuleBroken,
    TimeTooNew,
    check_headers,
    claimed_work,
    decode_bits,
    encode_bits,
    genesis_context,
    median_time,
    meets_target,
    minimum_version,
    next_bits,
    permitted_transition,
    retarget,
    run_headers,
    validate_headers,
    work_of_bits,
)
from tests.bitcoin.chain_makers import chain_of, digest, easy, mine, unmined, vector

LATER = 4_000_000_000


# The compact form, with the corner cases of Core's arith_uint256.


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0, 0),
        (0x00123456, 0),
        (0x01003456, 0),
        (0x02000056, 0),
        (0x01123456, 0x12),
        (0x02008000, 0x80),
        (0x05009234, 0x92340000),
        (0x20123456, 0x123456 << 232),
        (0x1D00FFFF, 0xFFFF << 208),
        (0x04923456, 0),
        (0x01FEDCBA, 0),
        (0xFF123456, 0),
        (0x217FFFFF, 0),
        (0x2200FFFF, 0),
        (0x220000FF, 0xFF << 248),
    ],
)
def test_compact_targets(bits: int, target: int) -> None:
    assert decode_bits(bits) == target


@given(st.integers(1, (1 << 256) - 1))
def test_a_target_survives_its_compact_form_up_to_what_is_cut_off(target: int) -> None:
    again = decode_bits(encode_bits(target))
    assert again <= target and target - again < target / 0x7FFF
    assert encode_bits(again) == encode_bits(target)


def test_work_is_the_expected_number_of_hashes() -> None:
    assert work_of_bits(0x1D00FFFF) == 0x100010001
    assert work_of_bits(0x207FFFFF) == 2
    assert work_of_bits(0) == work_of_bits(0x04923456) == 0


def test_easier_targets_than_the_limit_prove_nothing() -> None:
    assert meets_target(bytes(32), 0x1D00FFFF, MAINNET.pow_limit)
    assert not meets_target(bytes(32), 0x1E00FFFF, MAINNET.pow_limit)
    assert not meets_target(b"\xff" * 32, 0x207FFFFF, REGTEST.pow_limit)


# Retargeting: the values of Core's pow_tests, which are mainnet's history.


@pytest.mark.parametrize(
    ("first", "last", "bits", "expected"),
    [
        (1261130161, 1262152739, 0x1D00FFFF, 0x1D00D86A),
        (1231006505, 1233061996, 0x1D00FFFF, 0x1D00FFFF),
        (1279008237, 1279297671, 0x1C05A3F4, 0x1C0168FD),
        (1263163443, 1269211443, 0x1C387F6F, 0x1D00E1FD),
    ],
)
def test_mainnet_retargets_as_it_did(first: int, last: int, bits: int, expected: int) -> None:
    assert retarget(MAINNET, first, last, bits) == expected
    assert permitted_transition(MAINNET, 2016, bits, expected)


def test_the_difficulty_changes_at_most_fourfold() -> None:
    month = 60 * 24 * 3600
    assert decode_bits(retarget(MAINNET, 0, month * 12, 0x1C387F6F)) == decode_bits(
        retarget(MAINNET, 0, month, 0x1C387F6F)
    )
    assert decode_bits(retarget(MAINNET, 0, 1, 0x1C387F6F)) == decode_bits(retarget(MAINNET, 9, 3, 0x1C387F6F))
    assert not permitted_transition(MAINNET, 2016, 0x1C05A3F4, 0x1C0168FC)
    assert not permitted_transition(MAINNET, 2016, 0x1C387F6F, 0x1D00E1FE)
    assert not permitted_transition(MAINNET, 2017, 0x1C387F6F, 0x1C387F6E)
    assert permitted_transition(TESTNET4, 2017, 0x1C387F6F, 0x1D00FFFF)


def context(height: int, **changes: object) -> HeaderContext:
    base = HeaderContext(bytes(32), height, 10_000_000, 0x1C05A3F4, (10_000_000,), 9_000_000, 0x1C05A3F4, 0x1C05A3F4, 1)
    return base._replace(**changes)


def test_bits_change_at_the_first_header_of_a_period_only() -> None:
    assert next_bits(MAINNET, context(2014), 0) == 0x1C05A3F4
    assert next_bits(MAINNET, context(2015), 0) == retarget(MAINNET, 9_000_000, 10_000_000, 0x1C05A3F4) != 0x1C05A3F4
    assert next_bits(MAINNET, context(2016), 0) == 0x1C05A3F4
    assert next_bits(SIGNET, context(2015, bits=0x1E0377AE), 0) == retarget(SIGNET, 9_000_000, 10_000_000, 0x1E0377AE)


def test_regtest_never_retargets() -> None:
    assert next_bits(REGTEST, context(143, bits=0x207FFFFF), 0) == 0x207FFFFF
    assert next_bits(REGTEST, context(2015, bits=0x207FFFFF), 0) == 0x207FFFFF


def test_testnet4_allows_the_minimum_after_more_than_twenty_minutes() -> None:
    assert next_bits(TESTNET4, context(50), 10_000_000 + 1200) == 0x1C05A3F4
    assert next_bits(TESTNET4, context(50), 10_000_000 + 1201) == 0x1D00FFFF


def test_testnet4_returns_to_the_ordinary_difficulty_after_an_exception() -> None:
    after = context(50, bits=0x1D00FFFF, ordinary_bits=0x1C05A3F4)
    assert next_bits(TESTNET4, after, after.time + 1) == 0x1C05A3F4


def test_testnet4_gives_no_exception_to_the_first_header_of_a_period_and_retargets_from_the_first_of_the_last() -> None:
    last = context(2015, bits=0x1D00FFFF, period_bits=0x1C05A3F4)
    expected = retarget(TESTNET4, 9_000_000, 10_000_000, 0x1C05A3F4)
    assert next_bits(TESTNET4, last, last.time + 5000) == expected
    assert decode_bits(expected) < decode_bits(0x1D00FFFF) // 4


# Whole runs.


def test_a_regtest_chain_validates_and_its_context_goes_on() -> None:
    headers = chain_of(300)
    whole = validate_headers(REGTEST, genesis_context(REGTEST), b"".join(headers), LATER)
    assert whole.hashes == [digest(header) for header in headers] == check_headers(REGTEST, b"".join(headers))
    assert whole.context.work == whole.works[-1] == 2 * 301
    assert claimed_work(b"".join(headers)) == 600
    half = validate_headers(REGTEST, genesis_context(REGTEST), b"".join(headers[:145]), LATER)
    assert validate_headers(REGTEST, half.context, b"".join(headers[145:]), LATER).context == whole.context


def test_the_bulk_path_requires_what_next_bits_requires_on_every_kind_of_chain() -> None:
    dice = random.Random(7)
    for chain in (easy(MAINNET, target_timespan=7 * 600), easy(TESTNET4, target_timespan=7 * 600)):
        at, headers = genesis_context(chain), []
        kinds = set()
        for number in range(210):
            # Fast and slow periods by turns, so that the difficulty leaves its minimum and comes back to it.
            spacing = dice.choice((30, 300, 1200, 1201) if number // 7 % 4 < 2 else (5000, 5000, 1200))
            bits = next_bits(chain, at, at.time + spacing)
            kinds.add((bits, at.height % 7 == 6))
            headers.append(mine(at.hash, at.time + spacing, bits, seed=bytes([number])))
            at = validate_headers(chain, at, headers[-1], LATER).context
        assert len(kinds) > 6 and (chain.pow_limit_bits, True) in kinds
        assert validate_headers(chain, genesis_context(chain), b"".join(headers), LATER).context == at
        wrong = mine(at.hash, at.time + 1, next_bits(chain, at, at.time + 1) - 1)
        with pytest.raises(RuleBroken, match="bad-bits"):
            validate_headers(chain, at, wrong, LATER)


def broken(headers: list[bytes], now: float = LATER, chain=REGTEST) -> HeaderError:
    with pytest.raises(HeaderError) as caught:
        validate_headers(chain, genesis_context(chain), b"".join(headers), now)
    return caught.value


def test_a_gap_is_not_continuous_and_says_where() -> None:
    headers = chain_of(10)
    error = broken(headers[:4] + headers[5:])
    assert isinstance(error, NotContinuous) and (error.index, error.rule, error.offence) == (4, "not-continuous", True)
    with pytest.raises(NotContinuous) as caught:
        check_headers(REGTEST, b"".join(headers[:4] + headers[5:]))
    assert caught.value.index == 4


def test_a_hash_above_its_target_is_bad_proof_of_work() -> None:
    headers = chain_of(3)
    headers.append(unmined(digest(headers[-1]), 1296688602 + 4000, 0x207FFFFF))
    error = broken(headers)
    assert isinstance(error, BadProofOfWork) and error.index == 3 and error.offence
    with pytest.raises(BadProofOfWork):
        check_headers(REGTEST, headers[-1])


def test_a_claimed_target_that_can_not_be_one_is_bad_proof_of_work() -> None:
    header = chain_of(1)[0]
    for bits in (0, 0x04923456, 0x217FFFFF, 0xFF123456):
        with pytest.raises(BadProofOfWork):
            check_headers(REGTEST, header[:72] + bits.to_bytes(4, "little") + header[76:])


def test_a_time_must_be_above_the_median_of_eleven_but_may_go_back() -> None:
    headers = chain_of(12)
    times = tuple(parse_header(header).time for header in headers)
    median = median_time(times)
    assert median == times[6]
    at = digest(headers[-1])
    assert isinstance(error := broken([*headers, mine(at, median, 0x207FFFFF)]), RuleBroken)
    assert (error.index, error.rule) == (12, "time-too-old")
    validate_headers(REGTEST, genesis_context(REGTEST), b"".join([*headers, mine(at, median + 1, 0x207FFFFF)]), LATER)


@given(st.lists(st.integers(-3000, 3000), min_size=1, max_size=40))
def test_the_short_cut_for_the_median_is_the_median(steps: list[int]) -> None:
    at, times = genesis_context(REGTEST), [genesis_context(REGTEST).time]
    for step in steps:
        time = at.time + step
        run = run_headers(REGTEST, at, mine(at.hash, time, 0x207FFFFF), None)
        good = time > sorted(times[-11:])[len(times[-11:]) // 2]
        assert (run.error is None) == good
        if good:
            times.append(time)
        at = run.context


def test_a_time_may_be_two_hours_ahead_and_nobody_is_blamed_for_more() -> None:
    header = chain_of(1)[0]
    time = parse_header(header).time
    validate_headers(REGTEST, genesis_context(REGTEST), header, time - 7200)
    error = broken([header], now=time - 7201)
    assert isinstance(error, TimeTooNew) and not error.offence
    assert run_headers(REGTEST, genesis_context(REGTEST), header, None).error is None


def test_old_versions_are_refused_from_their_heights_on() -> None:
    heights = (227930, 227931, 363724, 363725, 388380, 388381)
    assert [minimum_version(MAINNET, height) for height in heights] == [-(1 << 31), 2, 2, 3, 3, 4]
    chain = easy(MAINNET, bip34_height=3, bip66_height=5, bip65_height=7)
    at = genesis_context(chain)
    for height in range(1, 9):
        least = minimum_version(chain, height)
        if height >= 3:
            with pytest.raises(RuleBroken, match="bad-version"):
                validate_headers(chain, at, mine(at.hash, at.time + 600, at.bits, version=least - 1), LATER)
        at = validate_headers(chain, at, mine(at.hash, at.time + 600, at.bits, version=max(least, -5)), LATER).context


def test_bip94_stops_a_period_from_starting_in_the_past() -> None:
    chain = easy(TESTNET4, target_timespan=4 * 600)
    headers = chain_of(3, chain=chain, spacing=1000)
    at = validate_headers(chain, genesis_context(chain), b"".join(headers), LATER).context
    bits = next_bits(chain, at, at.time - 600)
    validate_headers(chain, at, mine(at.hash, at.time - 600, bits), LATER)
    with pytest.raises(RuleBroken, match="timewarp"):
        validate_headers(chain, at, mine(at.hash, at.time - 601, bits), LATER)
    loose = replace(chain, bip94=False)
    validate_headers(loose, at, mine(at.hash, at.time - 601, next_bits(loose, at, at.time - 601)), LATER)


def test_bytes_that_are_no_headers_are_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="81 bytes"):
        validate_headers(REGTEST, genesis_context(REGTEST), bytes(81), LATER)


# Mainnet's rules against real proof of work.


def test_the_alternative_mainnet_headers_validate_through_a_retarget() -> None:
    headers = vector("mainnet_alt_headers.bin")
    run = validate_headers(MAINNET, genesis_context(MAINNET), headers, LATER)
    assert run.context.height == 2016 and run.context.bits != MAINNET.pow_limit_bits
    assert run.context.hash == header_hash(headers[-80:])


def test_the_alternative_mainnet_headers_fail_when_any_byte_is_changed() -> None:
    headers = vector("mainnet_alt_headers.bin")
    dice = random.Random(94)
    at = genesis_context(MAINNET)
    for start in range(0, len(headers), 80):
        good = headers[start : start + 80]
        for place in range(80):
            bad = bytearray(good)
            bad[place] ^= dice.randrange(1, 256)
            error = run_headers(MAINNET, at, bytes(bad), LATER).error
            assert error is not None and error.index == 0, (start, place)
        at = validate_headers(MAINNET, at, good, LATER).context


@given(st.integers(0, 2016 * 80 - 1), st.integers(1, 255))
def test_one_changed_byte_fails_the_whole_file_at_its_own_header(place: int, change: int) -> None:
    headers = bytearray(vector("mainnet_alt_headers.bin"))
    headers[place] ^= change
    run = run_headers(MAINNET, genesis_context(MAINNET), bytes(headers), LATER)
    assert run.error is not None and run.error.index == len(run.hashes) == place // 80
