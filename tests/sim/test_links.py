"""Links: latency of a pair, jitter, bandwidth, loss, copies, segmentation: all from the seed and the names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from math import isclose
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.config.check import check
from p2pframe.config.reader import read
from p2pframe.config.tree import Problems
from p2pframe.sim.links import LOOPBACK, MAX_RETRANSMISSIONS, LinkConfig, Links, LinksConfig


@dataclass
class End:
    name: str
    region: str = ""


A, B, C = End("a", "europe"), End("b", "america"), End("c", "asia")


def path(seed=1, **link):
    return Links(LinksConfig(default=LinkConfig.model_validate(link)), seed).path(A, B)


def mistakes(text, tmp_path):
    file = tmp_path / "links.yaml"
    file.write_text(text)
    problems = Problems()
    check(LinksConfig, read(file, {}, problems), "links", problems)
    return [f"{p.line}:{p.column}: {p.path}: {p.message}" for p in problems.sorted()]


# --- which link, which latency ---


def test_with_nothing_said_there_is_only_latency():
    plain = Links().path(A, B)
    assert plain.plain
    assert plain.stream_arrival(10.0, 1_000_000) == 10.05
    assert plain.datagram_arrivals(10.0, 1000) == [10.05]
    assert plain.split(b"abc") == [b"abc"]


def test_a_host_reaches_itself_at_once():
    assert Links(LinksConfig(default=LinkConfig(loss=0.9))).path(A, A).datagram_arrivals(1.0, 9) == [1.0 + LOOPBACK]


def test_a_latency_is_drawn_once_for_a_pair_and_is_the_same_both_ways():
    config = LinksConfig.model_validate({"default": {"lognormal": {"median": "90ms", "p99": "200ms"}}})
    links = Links(config, 1)
    there = links.path(A, B).latency
    assert links.path(B, A).latency == there
    assert links.path(A, B).latency == there
    assert len({there, links.path(A, C).latency, links.path(B, C).latency, Links(config, 2).path(A, B).latency}) == 4


def test_the_order_in_which_paths_are_asked_for_changes_nothing():
    config = LinksConfig.model_validate({"default": {"latency": {"uniform": {"low": 0, "high": 1}}, "loss": 0.5}})
    one, other = Links(config, 1), Links(config, 1)
    first, _, last = one.path(A, B), one.path(A, C), one.path(B, C)
    assert other.path(B, C).latency == last.latency and other.path(A, B).latency == first.latency
    again = other.path(A, B)
    assert [first.stream_arrival(0, 9) for _ in range(50)] == [again.stream_arrival(0, 9) for _ in range(50)]


def test_regions_have_their_own_links_and_the_way_back_is_the_same_where_left_out():
    links = Links(
        LinksConfig.model_validate_json(
            json.dumps(
                {
                    "default": {"latency": "10ms", "loss": 0.01},
                    "regions": {
                        "europe": {"america": "90ms", "asia": {"latency": "200ms", "loss": 0}},
                        "asia": {"europe": {"fixed": "220ms"}},
                    },
                }
            ),
            strict=True,
        )
    )
    assert links.path(A, B).latency == links.path(B, A).latency == 0.09
    assert links.path(A, C).latency == 0.2 and links.path(C, A).latency == 0.22
    assert links.path(B, C).latency == 0.01
    # What a pair of regions says nothing of is as in the default.
    assert links.path(A, B).loss == 0.01 and links.path(A, C).loss == 0 and links.path(C, A).loss == 0.01


def test_a_yaml_that_is_wrong_says_where(tmp_path):
    text = """\
default: {los: 1%}
regions:
  europe:
    america: {latency: {lognormal: {median: 90ms, p98: 1s}}}
    asia: fast
    africa: {loss: 1, mtu: 10}
"""
    assert mistakes(text, tmp_path) == [
        "1:11: links.default.los: unknown key 'los' (did you mean 'loss'?)",
        "4:51: links.regions.europe.america.latency.lognormal.p98: unknown key 'p98' (did you mean 'p99'?)",
        "5:11: links.regions.europe.asia: not a duration: write a number with ms, s, min, h, d or w, such as 30s "
        "(found 'fast')",
        "6:20: links.regions.europe.africa.loss: must be under 1.0, found 1",
        "6:28: links.regions.europe.africa.mtu: must be at least 68, found 10",
    ]


# --- streams ---


def test_jitter_is_added_to_each_segment():
    jittery = path(jitter={"uniform": {"low": 0, "high": "20ms"}})
    times = [jittery.stream_arrival(0.0, 100) for _ in range(2000)]
    assert not jittery.plain
    assert min(times) >= 0.05 and max(times) <= 0.07 and isclose(fmean(times), 0.06, rel_tol=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 100_000)), min_size=2), st.integers(1000, 10**6))
def test_bandwidth_sends_one_after_another_at_its_rate(sends, rate):
    limited = path(bandwidth=rate, latency="20ms")
    now, arrivals = 0.0, []
    for wait, size in sends:
        now += wait
        arrivals.append((now, size, limited.stream_arrival(now, size)))
    for sent, size, arrival in arrivals:
        assert arrival >= sent + size / rate + 0.02 - 1e-9
    for (_, _, before), (_, size, arrival) in pairwise(arrivals):
        assert arrival >= before + size / rate - 1e-6
    # It is never idle while something waits: all is through when the sum of it is, from the last time of rest on.
    total = sum(size for _, size in sends) / rate
    assert arrivals[-1][2] <= now + total + 0.02 + 1e-6


def test_a_lost_segment_is_late_by_retransmissions_that_double():
    lossy = path(loss=0.3, retransmit="200ms", latency="10ms")
    late = [round((lossy.stream_arrival(0.0, 100) - 0.01) / 0.2, 6) for _ in range(20_000)]
    # One attempt in 0.7, two in 0.7 * 0.3, and so on: 0, 1, 1 + 2, 1 + 2 + 4 times the first timeout.
    assert {*late} <= {2.0**n - 1 for n in range(MAX_RETRANSMISSIONS + 1)}
    for again, times in enumerate((0, 1, 3)):
        assert isclose(late.count(times) / len(late), 0.7 * 0.3**again, abs_tol=0.01)


@given(st.floats(0.001, 0.6), st.integers(1, 200_000), st.integers(0, 5))
def test_a_long_segment_is_late_as_often_as_one_of_its_packets_is_lost(loss, size, seed):
    lossy = path(seed, loss=loss, retransmit="1s", latency="0s")
    packets = -(-size // 1460)
    late = sum(lossy.stream_arrival(0.0, size) > 0 for _ in range(500)) / 500
    assert abs(late - (1 - (1 - loss) ** packets)) < 0.12


def test_a_stream_is_never_late_without_end():
    lossy = path(loss=0.999, retransmit="1s", latency="0s")
    assert max(lossy.stream_arrival(0.0, 10**7) for _ in range(100)) == 2.0**MAX_RETRANSMISSIONS - 1


@given(st.binary(max_size=3000), st.integers())
def test_segmentation_loses_and_moves_no_byte(data, seed):
    cutting = path(seed, segment=True)
    for _ in range(5):
        pieces = cutting.split(data)
        assert b"".join(pieces) == data
        assert all(pieces) or pieces == [b""]
        assert 1 <= len(pieces) <= 4


def test_segmentation_cuts_headers_too():
    cutting = path(segment=True)
    firsts = [len(cutting.split(bytes(1000))[0]) for _ in range(500)]
    assert not cutting.plain
    assert 1 in firsts and 1000 in firsts and sum(first < 24 for first in firsts) > 50


# --- datagrams ---


def test_the_share_of_lost_datagrams():
    lossy = path(loss=0.2)
    arrived = sum(len(lossy.datagram_arrivals(0.0, 500)) for _ in range(20_000))
    assert isclose(arrived / 20_000, 0.8, abs_tol=0.01)
    assert lossy.lost == 20_000 - arrived


def test_of_a_fragmented_datagram_every_fragment_must_arrive():
    lossy = path(loss=0.1)
    # 1480 bytes in each fragment, the UDP header in the first.
    for size, fragments in ((1472, 1), (1473, 2), (2952, 2), (2953, 3), (65507, 45)):
        arrived = sum(len(lossy.datagram_arrivals(0.0, size)) for _ in range(10_000)) / 10_000
        assert isclose(arrived, 0.9**fragments, abs_tol=0.015), size


def test_a_small_mtu_makes_more_fragments():
    lossy = path(loss=0.1, mtu=576)
    arrived = sum(len(lossy.datagram_arrivals(0.0, 1472)) for _ in range(10_000)) / 10_000
    assert isclose(arrived, 0.9**3, abs_tol=0.015)


def test_copies():
    doubling = path(duplicate=0.25, jitter={"exponential": {"mean": "1ms"}})
    arrivals = [doubling.datagram_arrivals(0.0, 10) for _ in range(10_000)]
    twice = [two for two in arrivals if len(two) == 2]
    assert {len(one) for one in arrivals} == {1, 2}
    assert isclose(len(twice) / len(arrivals), 0.25, abs_tol=0.015)
    assert all(one != other for one, other in twice)


def test_reordering_holds_some_back():
    swapping = path(reorder=0.1, reorder_delay="80ms")
    times = [swapping.datagram_arrivals(0.0, 10)[0] for _ in range(10_000)]
    assert {round(time, 9) for time in times} == {0.05, 0.13}
    assert isclose(sum(time > 0.1 for time in times) / len(times), 0.1, abs_tol=0.01)


def test_a_full_queue_drops_datagrams_and_makes_streams_wait():
    narrow = path(bandwidth="1kB", queue="2kB", latency="0s")
    arrivals = [narrow.datagram_arrivals(0.0, 500) for _ in range(6)]
    assert arrivals == [[0.5], [1.0], [1.5], [2.0], [], []]
    assert narrow.dropped == 2
    assert narrow.stream_arrival(0.0, 500) == 2.5
    assert narrow.datagram_arrivals(2.5, 500) == [3.0]


def test_a_datagram_larger_than_the_queue_passes_an_idle_line():
    assert path(bandwidth="1kB", queue=100, latency="0s").datagram_arrivals(0.0, 500) == [0.5]


def test_a_path_can_become_another_and_keeps_what_waits():
    links = Links(LinksConfig(default=LinkConfig(bandwidth=1000, loss=0.5, latency="1s")))
    here, now = links.path(A, B), links.path(A, B, LinkConfig(latency="3s", loss=0.0))
    assert (now.latency, now.loss, now.bandwidth) == (3.0, 0.0, 1000)
    here.datagram_arrivals(0.0, 500)
    here.become(now)
    assert here.datagram_arrivals(0.0, 500) == [0.5 + 0.5 + 3.0]
    here.become(links.path(A, B))
    assert (here.latency, here.loss) == (1.0, 0.5)


@pytest.mark.parametrize("link", [{"loss": 0.5}, {"duplicate": 0.5}, {"reorder": 0.5}, {"segment": True}])
def test_equal_seeds_and_names_are_equal_luck(link):
    def luck(seed):
        one = path(seed, **link)
        return [(one.datagram_arrivals(0.0, 9), one.split(bytes(50))) for _ in range(60)]

    assert luck(1) == luck(1) != luck(2)


def test_only_a_path_that_draws_has_a_generator_of_its_own():
    quiet, lossy = Links().path(A, B), path(loss=0.5)
    for one in (quiet, lossy):
        one.stream_arrival(0.0, 10)
        one.datagram_arrivals(0.0, 10)
    assert quiet._rng is None and lossy._rng is not None
