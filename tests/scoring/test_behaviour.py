"""Behaviour: points by kind of fact that decay, verdicts that explain themselves, nothing for forgeries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IReconfigurable, IScorer
from p2pframe.model import ALLOW, Action, Fact, SessionCounters
from p2pframe.scoring.behaviour import POINTS, BehaviourConfig, BehaviourScorer
from p2pframe.testing.context import FakeContext

COUNTERS = SessionCounters(0.0)


def behaviour(**config) -> BehaviourScorer:
    return BehaviourScorer(BehaviourConfig(**config), FakeContext("scoring.behaviour"))


def fact(kind: str = "rude", weight: float = 1.0, proven: bool = True, evidence: str = "") -> Fact:
    return Fact(kind, evidence=evidence, proven=proven, weight=weight)


def points_of(scorer: BehaviourScorer, session: int = 1, now: float = 0.0) -> float:
    return scorer.sample(session, COUNTERS, now).parts[0].raw


def test_it_is_a_scorer() -> None:
    scorer = behaviour()
    verifyObject(IScorer, scorer)
    verifyObject(IReconfigurable, scorer)
    assert scorer.sample(1, COUNTERS, 0.0).value == 1.0


def test_thresholds_for_disconnect_discourage_and_ban() -> None:
    scorer = behaviour(points={"rude": 25})
    actions = [scorer.observed(1, fact(), 0.0).action for _ in range(9)]
    assert actions == [Action.ALLOW] + [Action.DISCONNECT] * 2 + [Action.DISCOURAGE] * 4 + [Action.BAN] * 2
    assert scorer.observed(2, fact(), 0.0) is ALLOW, "another session has its own account"


def test_points_come_from_the_config_then_the_table_then_the_default_times_the_weight() -> None:
    scorer = behaviour(points={"bad-headers": 7}, default=3)
    for session, one, points in (
        (1, fact("bad-headers"), 7),
        (2, fact("bad-block", weight=0.5), POINTS["bad-block"] / 2),
        (3, fact("never-heard-of"), 3),
        (4, fact("useful-block", weight=100), 0),
        (5, fact("bad-block", weight=-5), 0),
        (6, fact("bad-block", weight=float("nan")), 0),
    ):
        scorer.observed(session, one, 0.0)
        assert points_of(scorer, session) == points


def test_points_halve_with_time() -> None:
    scorer = behaviour(points={"rude": 40}, half_life="10min")
    assert scorer.observed(1, fact(), 0.0) is ALLOW
    assert points_of(scorer, now=600.0) == 20
    assert scorer.observed(1, fact(), 1200.0).action is Action.DISCONNECT
    assert points_of(scorer, now=1200.0) == 50


def test_the_score_is_what_is_left_until_the_ban() -> None:
    scorer = behaviour(points={"rude": 50})
    scorer.observed(1, fact(), 0.0)
    score = scorer.sample(1, COUNTERS, 0.0)
    assert score.value == 0.75
    assert [(p.name, p.value, p.weight, p.raw) for p in score.parts] == [
        ("conduct", 0.75, 1.0, 50.0),
        ("unproven", 1.0, 0.0, 0.0),
    ]
    for _ in range(10):
        scorer.observed(1, fact(), 0.0)
    assert scorer.sample(1, COUNTERS, 0.0).value == 0.0


def test_forged_facts_neither_lead_to_a_verdict_nor_lower_the_score() -> None:
    scorer = behaviour()
    for _ in range(1000):
        assert scorer.observed(1, fact("bad-block", proven=False), 0.0) is ALLOW
    score = scorer.sample(1, COUNTERS, 0.0)
    assert score.value == 1.0
    assert score.parts[1].raw == 100_000.0
    assert scorer.observed(1, fact("rude"), 0.0) is ALLOW, "nor do they weigh in once something proven comes"


def test_a_verdict_carries_points_threshold_and_the_latest_facts() -> None:
    scorer = behaviour(points={"rude": 60}, evidence=2)
    scorer.observed(1, fact(evidence="first"), 0.0)
    scorer.observed(1, fact(evidence="second\nwith a break"), 0.0)
    verdict = scorer.observed(1, fact("bad-block", evidence="x" * 100_000), 0.0)
    assert (verdict.action, verdict.rule, verdict.reason) == (Action.BAN, "scoring.behaviour", "misbehaviour")
    assert verdict.duration == 86_400
    assert verdict.evidence.startswith("220 points, ban at 200: rude +60 (second with a break); bad-block +100 (xxx")
    assert "first" not in verdict.evidence
    assert len(verdict.evidence) < 500


def test_a_stalled_peer_is_sent_away_and_not_banned_for_what_was_one_offence() -> None:
    scorer = behaviour()
    verdicts = [scorer.observed(1, fact("timeout"), 0.0) for _ in range(100)]
    assert all(verdict is ALLOW for verdict in verdicts)
    again = [scorer.observed(1, fact("timeout"), 60.0).action for _ in range(120)]
    assert again[-1] is Action.DISCONNECT


def test_a_fact_before_the_session_opened_counts_and_ended_sessions_are_forgotten() -> None:
    scorer = behaviour()
    scorer.observed(1, fact("bad-headers"), 0.0)
    scorer.opened(1, 1.0)
    assert points_of(scorer) == 100
    scorer.closed(1)
    assert scorer._records == {}


def test_the_table_of_sessions_is_bounded() -> None:
    context = FakeContext("scoring.behaviour")
    scorer = BehaviourScorer(BehaviourConfig(sessions=10), context)
    for session in range(1000):
        scorer.observed(session, fact(), 0.0)
    assert len(scorer._records) == 10
    assert context.metrics.value("scorer_sessions_forgotten_total", "behaviour") == 990


def test_the_config_refuses_thresholds_out_of_order_and_negative_points() -> None:
    with pytest.raises(ValidationError, match="thresholds must grow"):
        BehaviourConfig(disconnect=300)
    with pytest.raises(ValidationError):
        BehaviourConfig(points={"rude": -1})


def test_live_values_apply_to_what_is_already_counted() -> None:
    scorer = behaviour(points={"rude": 40})
    scorer.observed(1, fact(), 0.0)
    scorer.reconfigure(BehaviourConfig(disconnect=10, points={"rude": 0.5}, dry_run=True))
    assert scorer.observed(1, fact(), 0.0).action is Action.DISCONNECT
    assert scorer.dry_run


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 10), st.booleans()), max_size=50))
def test_points_never_grow_by_waiting_and_verdicts_follow_them(steps) -> None:
    scorer = behaviour(points={"rude": 20})
    now = 0.0
    for wait, weight, proven in steps:
        before = points_of(scorer, now=now)
        now += wait
        assert 0.0 <= points_of(scorer, now=now) <= before + 1e-9
        verdict = scorer.observed(1, fact(weight=weight, proven=proven), now)
        points = points_of(scorer, now=now)
        if verdict:
            assert points < 50 or not proven or weight == 0
        else:
            assert proven
            assert points >= {Action.DISCONNECT: 50, Action.DISCOURAGE: 100, Action.BAN: 200}[verdict.action]
