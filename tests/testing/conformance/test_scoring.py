"""The suite of scorers: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pframe.model import ALLOW, Action, Score, ScorePart, Verdict
from p2pframe.plugin import plugin
from p2pframe.scoring.behaviour import BehaviourScorer
from p2pframe.scoring.weighted import WeightedScorer
from p2pframe.testing.conformance import NonConformance, check


def test_behaviour(conforms):
    conforms("scoring", "behaviour", hash_seeds=True)


def test_weighted(conforms):
    conforms("scoring", "weighted")


def test_latency(conforms):
    conforms("scoring", "latency")


def wrong(base=BehaviourScorer, **members):
    """A scorer that differs from a good one in these members."""
    members = {"__doc__": "Does one thing wrong.", "__module__": __name__, "name": "wrong", **members}
    cls = type("Wrong", (base,), members)
    return plugin("wrong", config=base.__p2pframe_plugin__.config)(cls)


PARTS = (ScorePart("all", 0.5, 1.0),)


def score(self, value=0.5, parts=PARTS, name="wrong"):
    return Score(name, value, parts)


def ban(reason="bad", rule="scoring.wrong", evidence="", duration=None):
    return lambda self, session, fact, now: Verdict(Action.BAN, rule, reason, evidence, duration)


def counts_what_is_forged(self, session, fact, now):
    return BehaviourScorer.observed(self, session, replace(fact, proven=True), now)


def remembers_what_is_forged(self, session, fact, now):
    verdict = BehaviourScorer.observed(self, session, replace(fact, proven=True), now)
    return verdict if fact.proven else ALLOW


def divides(self, session, counters, now):
    return score(self, min(1.0, counters.accepted_items / counters.received))


def changes_the_counters(self, session, counters, now):
    counters.timeouts = 0
    return WeightedScorer.sample(self, session, counters, now)


def forgets_only_the_opened(self, session):
    del self._sampled[session]


def keeps_a_time_of_its_own(self, session, now):
    WeightedScorer.opened(self, session, now)
    self.times = getattr(self, "times", 0) + 1
    self.context.reactor.callLater(60, lambda: None)


class Timed(WeightedScorer):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.context = context


def always(**fields):
    return lambda self, session, counters, now: score(self, **fields)


WRONG = [
    (wrong(name="other"), "IScorer.name", "The plugin's name"),
    (wrong(dry_run=None), "IScorer.dry_run", "not acted on"),
    (wrong(dry_run=False), "IScorer.dry_run", "with the option at True it is False"),
    (wrong(sample=divides), "IScorer.sample", "ZeroDivisionError"),
    (wrong(sample=lambda self, session, counters, now: 0.5), "IScorer.sample", "it answers 0.5"),
    (wrong(sample=always(name="somebody")), "IScorer.sample", "of 'somebody'"),
    (wrong(sample=always(value=1.5)), "IScorer.sample", "0..1"),
    (wrong(sample=always(value=float("nan"))), "IScorer.sample", "0..1"),
    (wrong(sample=always(parts=())), "IScorer.sample", "named parts"),
    (wrong(sample=always(parts=(ScorePart("a", 0.5, 0.5),) * 2)), "IScorer.sample", "named parts"),
    (wrong(sample=always(parts=(ScorePart("a", 2.0, 0.5),))), "IScorer.sample", "normalised"),
    (wrong(sample=always(parts=(ScorePart("a", 1.0, -1.0),))), "IScorer.sample", "normalised"),
    (wrong(sample=always(parts=(ScorePart("a", 1.0, 1.0, float("inf")),))), "IScorer.sample", "measured"),
    (wrong(WeightedScorer, sample=changes_the_counters), "IScorer.sample", "changed the counters"),
    (wrong(observed=lambda self, session, fact, now: None), "IScorer.observed", "it answers None"),
    (wrong(observed=lambda self, session, fact, now: Verdict(Action(int(fact.weight)))), "IScorer.observed", "Error: "),
    (wrong(observed=ban(reason="")), "IScorer.observed", "always with a reason"),
    (wrong(observed=ban(reason="Too bad!")), "IScorer.observed", "a stable word"),
    (wrong(observed=ban(rule="")), "IScorer.observed", "names who decided"),
    (wrong(observed=ban(evidence="x" * 10_000)), "IScorer.observed", "within a bound"),
    (wrong(observed=ban(duration=-1.0)), "IScorer.observed", "seconds"),
    (wrong(observed=ban()), "IScorer.observed", "may only limit rates"),
    (wrong(observed=counts_what_is_forged), "IScorer.observed", "may only limit rates"),
    (wrong(observed=remembers_what_is_forged), "IScorer.observed", "a harmless proven one leads to"),
    (wrong(closed=lambda self, session: None), "IScorer.closed", "forget it"),
    (wrong(WeightedScorer, closed=lambda self, session: None), "IScorer.closed", "300 ids are still kept"),
    (wrong(WeightedScorer, closed=forgets_only_the_opened), "IScorer.closed", "KeyError"),
    (wrong(Timed, opened=keeps_a_time_of_its_own), "IScorer:", ""),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)
