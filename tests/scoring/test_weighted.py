"""The weighted score: four parts between 0 and 1, shown with what was measured, and their weighted sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IReconfigurable, IScorer
from p2pframe.model import ALLOW, Fact, Score, SessionCounters
from p2pframe.plugin import is_live
from p2pframe.scoring.weighted import WeightedConfig, WeightedScorer
from p2pframe.testing.context import FakeContext


def weighted(**config) -> WeightedScorer:
    return WeightedScorer(WeightedConfig(**config), FakeContext("scoring.weighted"))


def counters(opened: float = 100.0, **values) -> SessionCounters:
    made = SessionCounters(opened)
    made.opened = opened
    for name, value in values.items():
        setattr(made, name, value)
    return made


def part(score: Score, name: str):
    return next(part for part in score.parts if part.name == name)


def test_it_is_a_scorer_that_judges_nobody() -> None:
    scorer = weighted()
    verifyObject(IScorer, scorer)
    verifyObject(IReconfigurable, scorer)
    assert scorer.observed(1, Fact("bad-block", proven=True, weight=1000), 0.0) is ALLOW
    assert not scorer.dry_run
    assert weighted(dry_run=True).dry_run


def test_the_parts_and_their_weights_are_the_documented_ones() -> None:
    score = weighted().sample(1, counters(), 100.0)
    assert [(p.name, p.weight) for p in score.parts] == [
        ("activity", 0.3),
        ("stability", 0.2),
        ("bandwidth", 0.3),
        ("latency", 0.2),
    ]
    assert score.scorer == "weighted"
    assert score.value == 0.0, "a newcomer has shown nothing yet"


def test_each_part_is_one_half_at_its_reference() -> None:
    scorer = weighted()
    activity = part(scorer.sample(1, counters(last_receive=400.0, last_item=400.0), 1000.0), "activity")
    assert (activity.value, activity.raw) == (0.5, 600.0)
    stability = part(scorer.sample(2, counters(opened=100.0), 3700.0), "stability")
    assert (stability.value, stability.raw) == (0.5, 3600.0)
    latency = part(scorer.sample(3, counters(ping=0.25), 200.0), "latency")
    assert (latency.value, latency.raw) == (0.5, 0.25)
    busy = counters()
    scorer.opened(4, 100.0)
    for second in range(1, 401):
        busy.bytes_in = 20_000 * 10 * second
        score = scorer.sample(4, busy, 100.0 + 10 * second)
    bandwidth = part(score, "bandwidth")
    assert bandwidth.raw == pytest.approx(20_000, rel=0.01)
    assert bandwidth.value == pytest.approx(0.5, rel=0.01)


def test_messages_without_items_are_half_of_the_activity() -> None:
    scorer = weighted()
    chatter = part(scorer.sample(1, counters(last_receive=500.0), 500.0), "activity")
    useful = part(scorer.sample(2, counters(last_receive=500.0, last_block=500.0), 500.0), "activity")
    assert (chatter.value, useful.value) == (0.5, 1.0)


def test_what_was_withheld_lowers_stability() -> None:
    scorer = weighted()
    reliable = part(scorer.sample(1, counters(accepted_items=9), 36_100.0), "stability").value
    withholding = part(scorer.sample(2, counters(accepted_items=9, timeouts=90), 36_100.0), "stability").value
    assert withholding == pytest.approx(reliable / 10)


def test_bandwidth_is_the_recent_rate_and_fades() -> None:
    scorer = weighted()
    peer = counters()
    scorer.opened(1, 100.0)
    peer.bytes_in = 60_000_000
    burst = part(scorer.sample(1, peer, 160.0), "bandwidth").raw
    later = part(scorer.sample(1, peer, 460.0), "bandwidth").raw
    much_later = part(scorer.sample(1, peer, 3460.0), "bandwidth").raw
    assert burst > later > much_later
    assert later == pytest.approx(burst * 2.718281828**-1, rel=1e-6)
    assert part(scorer.sample(1, peer, 3460.0), "bandwidth").raw == much_later, "no time, no change"


def test_it_forgets_sessions_that_ended_and_bounds_those_it_knows() -> None:
    context = FakeContext("scoring.weighted")
    scorer = WeightedScorer(WeightedConfig(sessions=10), context)
    for session in range(25):
        scorer.opened(session, 100.0)
    assert len(scorer._sampled) == 10
    assert context.metrics.value("scorer_sessions_forgotten_total", "weighted") == 15
    for session in range(25):
        scorer.closed(session)
    assert scorer._sampled == {}


def test_weights_must_sum_to_one_and_are_live() -> None:
    with pytest.raises(ValidationError, match=r"must sum to 1, found 1\.2"):
        WeightedConfig(activity=0.5)
    scorer = weighted()
    scorer.reconfigure(WeightedConfig(activity=0, stability=0, bandwidth=0, latency=1, dry_run=True))
    assert scorer.sample(1, counters(ping=0.0), 100.0).value == 1.0
    assert scorer.dry_run
    assert is_live(WeightedConfig, "activity")
    assert not is_live(WeightedConfig, "sessions")


@given(
    now=st.floats(0, 1e9),
    opened=st.floats(0, 1e9),
    receive=st.floats(0, 1e9),
    item=st.floats(0, 1e9),
    bytes_in=st.integers(0, 2**60),
    accepted=st.integers(0, 10**9),
    timeouts=st.integers(0, 10**9),
    ping=st.one_of(st.none(), st.floats(-1, 1e6)),
)
def test_every_part_stays_between_zero_and_one(now, opened, receive, item, bytes_in, accepted, timeouts, ping) -> None:
    scorer = weighted()
    peer = counters(
        opened,
        last_receive=receive,
        last_item=item,
        bytes_in=bytes_in,
        accepted_items=accepted,
        timeouts=timeouts,
        ping=ping,
    )
    for at in (now, now + 30.0, now + 31.0):
        score = scorer.sample(1, peer, at)
        assert all(0.0 <= p.value <= 1.0 for p in score.parts)
        assert 0.0 <= score.value <= 1.0
        assert score.value == pytest.approx(sum(p.value * p.weight for p in score.parts))
