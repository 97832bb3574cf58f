"""Presync: cheap chains cost their sender time and us no memory; real ones come through in two passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.header_intake import HeaderIntake
from p2pframe.protocols.bitcoin.headers import BadProofOfWork, HeaderError, NotContinuous, genesis_context
from p2pframe.protocols.bitcoin.presync import HeadersPresync, Phase
from tests.bitcoin.chain_makers import chain_of, digest, mine, unmined, vector

START = int.from_bytes(REGTEST.genesis_header[68:72], "little")
# Small figures, so that a few thousand headers show everything.
CHAIN = replace(REGTEST, minimum_chain_work=2 * 3001, commitment_period=20, redownload_buffer=500)
REAL = chain_of(3200)
NOW = START + 3300 * 600


class Entropy:
    """Repeatable, for tests."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed

    def bytes(self, length: int) -> bytes:
        return bytes([self.seed]) * length

    def integer(self, bits: int) -> int:
        return self.seed * 7919 % (1 << bits)


def presync(seed: int = 1, chain=CHAIN, now: float = NOW) -> HeadersPresync:
    start = genesis_context(chain)
    return HeadersPresync(chain, start, [start.hash], chain.minimum_chain_work, now, Entropy(seed))


def batch(headers: list[bytes], number: int, size: int = 1000) -> bytes:
    return b"".join(headers[number * size : (number + 1) * size])


def test_a_chain_with_enough_work_comes_out_whole_and_in_order_after_two_passes() -> None:
    sync = presync()
    for number in range(3):
        step = sync.feed(batch(REAL, number), True)
        assert step.more and not step.released
        assert sync.phase is Phase.REDOWNLOAD or (sync.height, sync.work) == (
            1000 * number + 1000,
            2002 + 2000 * number,
        )
    assert sync.phase is Phase.REDOWNLOAD and (sync.height, sync.work) == (0, 2)
    assert sync.locator() == [REGTEST.genesis_hash] * 2
    released = b""
    for number in range(4):
        step = sync.feed(batch(REAL, number), number < 3)
        released += step.released
        if number == 1:
            assert len(released) == (2000 - 500) * 80
        if not step.more:
            break
    assert step.failure == "" and sync.phase is Phase.DONE and sync.memory == 0
    assert released == b"".join(REAL[:3000])


def test_a_chain_that_ends_with_too_little_work_gives_nothing() -> None:
    sync = presync()
    assert sync.feed(batch(REAL, 0), True).more
    step = sync.feed(batch(REAL, 1), False)
    assert (step.released, step.more, step.failure) == (b"", False, "too-little-work") and sync.memory == 0


def test_another_chain_on_the_second_pass_fails_before_anything_of_it_is_released() -> None:
    fake = chain_of(3200, seed=b"other")
    released = 0
    failures = []
    for seed in range(1, 11):
        sync = presync(seed)
        for number in range(3):
            sync.feed(batch(REAL, number), True)
        step = sync.feed(batch(fake, 0, 400), True)
        while step.more:
            step = sync.feed(b"".join(fake[sync.height : sync.height + 400]), True)
            released += len(step.released)
        failures.append(step.failure)
        assert sync.memory == 0
    assert set(failures) == {"commitment-mismatch"} and released == 0


def test_leaving_the_real_chain_in_the_second_pass_fails_and_releases_only_what_was_real() -> None:
    sync = presync()
    for number in range(3):
        sync.feed(batch(REAL, number), True)
    released = sync.feed(b"".join(REAL[:1000]), True).released
    fake = chain_of(2000, digest(REAL[999]), START + 1000 * 600, seed=b"fake")
    step = sync.feed(b"".join(fake[:1000]), True)
    assert step.failure == "commitment-mismatch" and step.released == b""
    assert released == b"".join(REAL[:500])


def test_a_peer_that_does_not_go_on_is_given_up() -> None:
    sync = presync()
    for number in range(3):
        sync.feed(batch(REAL, number), True)
    step = sync.feed(batch(REAL, 0), False)
    assert step.failure == "chain-withdrawn" and not step.more and len(step.released) == 500 * 80
    assert sync.feed(batch(REAL, 1), True).failure == "no-headers"


def test_headers_from_elsewhere_end_it_without_offence() -> None:
    sync = presync()
    sync.feed(batch(REAL, 0), True)
    assert sync.feed(batch(REAL, 2), True).failure == "does-not-follow"


@pytest.mark.parametrize("kind", [BadProofOfWork, NotContinuous])
def test_what_no_honest_peer_sends_is_an_offence_and_ends_it(kind) -> None:
    sync = presync()
    sync.feed(batch(REAL, 0), True)
    bad = [unmined(digest(REAL[1000]), NOW, 0x207FFFFF)] if kind is BadProofOfWork else REAL[1002:1004]
    with pytest.raises(kind):
        sync.feed(b"".join([REAL[1000], *bad]), True)
    assert sync.phase is Phase.DONE and sync.memory == 0


def test_more_headers_than_the_clock_allows_are_given_up() -> None:
    sync = presync(chain=replace(CHAIN, minimum_chain_work=1 << 60), now=START - 7200 + 100)
    step = sync.feed(b"".join(REAL[:500]), True)
    assert step.more
    assert sync.feed(b"".join(REAL[500:1000]), True).failure == "too-long"


def test_the_difficulty_can_not_jump_in_the_first_pass() -> None:
    headers = vector("mainnet_alt_headers.bin")
    start = genesis_context(MAINNET)
    sync = HeadersPresync(MAINNET, start, [start.hash], MAINNET.minimum_chain_work, NOW, Entropy())
    assert sync.feed(headers, True).more
    steep = genesis_context(MAINNET)._replace(bits=0x1B3FFFC0)
    sync = HeadersPresync(MAINNET, steep, [start.hash], MAINNET.minimum_chain_work, NOW, Entropy())
    assert sync.feed(headers, True).failure == "difficulty-jump"


def test_a_hundred_thousand_cheap_headers_cost_a_bit_for_each_period() -> None:
    chain = replace(REGTEST, minimum_chain_work=1 << 80, commitment_period=641, redownload_buffer=15218)
    index = HeaderIndex(chain)
    intake = HeaderIntake(index, Entropy())
    previous, time, sent, most = REGTEST.genesis_hash, START, 0, 0
    while sent < 100_000:
        headers = chain_of(2000, previous, time, spacing=1)
        previous, time, sent = digest(headers[-1]), time + 2000, sent + 2000
        step = intake.receive(b"".join(headers), NOW)
        assert step.note == "presync" and step.ask[0] == previous
        most = max(most, intake.presync.memory)
    assert len(index) == 1 and most == -(-(100_000 // 641) // 8)
    assert intake.receive([], NOW).note == "no-headers" and intake.presync is None


def test_a_longer_chain_of_less_work_on_the_second_pass_runs_out_of_commitments() -> None:
    """The first pass sees few headers of much work, the second many of little.

    Only a chain that allows both can be asked.
    """
    chain = replace(CHAIN, min_difficulty_blocks=True, minimum_chain_work=10_000, redownload_buffer=50_000)
    hard, previous, time = [], REGTEST.genesis_hash, START
    for number in range(50):
        hard.append(mine(previous, time := time + 600, 0x2000FFFF, seed=bytes([number])))
        previous = digest(hard[-1])
    failures = set()
    for seed in range(1, 9):
        sync = presync(seed, chain)
        assert sync.feed(b"".join(hard), True).more and sync.phase is Phase.REDOWNLOAD
        failures.add(sync.feed(batch(REAL, 0), True).failure)
    assert failures <= {"commitment-mismatch", "commitment-overrun"} and "commitment-overrun" in failures


# The intake: what a session does with each message.


def intake_of(chain=CHAIN) -> tuple[HeaderIndex, HeaderIntake]:
    index = HeaderIndex(chain)
    return index, HeaderIntake(index, Entropy())


def serve(headers: list[bytes], locator, size: int = 2000) -> list[bytes]:
    hashes = {digest(header): number + 1 for number, header in enumerate(headers)}
    first = next((hashes[hash] for hash in locator if hash in hashes), 0)
    return headers[first : first + size]


def test_a_real_chain_arrives_through_presync_by_following_the_locators() -> None:
    index, intake = intake_of()
    step = intake.receive(serve(REAL, [REGTEST.genesis_hash]), NOW)
    messages, new = 1, 0
    while step.ask:
        step = intake.receive(serve(REAL, step.ask), NOW)
        messages += 1
        new += step.added.new if step.added else 0
    assert index.height == 3200 == new and index.has_minimum_work and intake.presync is None
    assert messages == 4


def test_once_there_is_a_chain_further_headers_skip_presync() -> None:
    index, intake = intake_of()
    index.add_headers(REAL[:3100], NOW)
    step = intake.receive(REAL[3000:], NOW)
    assert step.added is not None and step.added.new == 100 and step.ask == () and step.note == ""


def test_a_fork_far_behind_the_tip_is_not_stored() -> None:
    index, intake = intake_of()
    index.add_headers(REAL, NOW)
    step = intake.receive(chain_of(10, digest(REAL[99]), START + 100 * 600, seed=b"old"), NOW)
    assert step == (None, (), "too-little-work") and len(index) == 3201


def test_headers_that_do_not_connect_are_answered_with_our_locator() -> None:
    index, intake = intake_of()
    step = intake.receive(REAL[50:60], NOW)
    assert step.note == "does-not-connect" and step.ask == index.locator()
    with pytest.raises(NotContinuous):
        intake.receive([REAL[50], REAL[52]], NOW)


def test_an_announcement_during_presync_is_taken_like_any_other() -> None:
    index, intake = intake_of()
    assert intake.receive(REAL[:2000], NOW).note == "presync"
    assert intake.receive(REAL[3000:3001], NOW).note == "does-not-connect"
    assert intake.presync is None


def test_regtest_takes_headers_at_once() -> None:
    index, intake = intake_of(REGTEST)
    step = intake.receive(REAL[:2000], NOW)
    assert step.added is not None and index.height == 2000 and step.ask[0] == digest(REAL[1999])
    assert intake.receive(REAL[2000:], NOW).ask == ()


def test_a_mainnet_node_stores_nothing_of_the_alternative_headers() -> None:
    headers = vector("mainnet_alt_headers.bin")
    index, intake = intake_of(MAINNET)
    step = intake.receive(headers[: 2000 * 80], NOW)
    assert step.note == "presync"
    step = intake.receive(headers[2000 * 80 :], NOW)
    assert step == (None, (), "too-little-work") and len(index) == 1 and intake.presync is None
    broken = bytearray(headers[: 2000 * 80])
    broken[80 * 1999] ^= 1
    with pytest.raises(HeaderError) as caught:
        intake.receive(bytes(broken), NOW)
    assert caught.value.offence
