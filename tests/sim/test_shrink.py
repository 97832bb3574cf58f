"""Shrinking: what is left fails, and nothing of it can be left out."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.errors import P2PFrameError
from p2pframe.sim.results import Judgement, RunResult
from p2pframe.sim.run import Job
from p2pframe.sim.shrink import ddmin, shrink, symptoms
from tests.sim import runners

JOB = Job("s.yaml", 7)


def searching(fails, asked):
    """A search that notes what it asks."""

    def first(subsets):
        asked.extend(subsets)
        return next((index for index, subset in enumerate(subsets) if fails(frozenset(subset))), None)

    return first


@given(st.integers(1, 24), st.lists(st.frozensets(st.integers(1, 24), max_size=4), min_size=1, max_size=3))
def test_what_is_left_fails_and_with_one_less_does_not(count, causes):
    whole = tuple(range(1, count + 1))
    causes = [cause for cause in causes if cause <= frozenset(whole)] or [frozenset(whole)]

    def fails(subset):
        return any(cause <= subset for cause in causes)

    asked = []
    left = ddmin(whole, searching(fails, asked))
    assert fails(frozenset(left))
    assert not any(fails(frozenset(less)) for less in combinations(left, max(0, len(left) - 1)) if left)
    assert list(left) == sorted(left) and set(left) <= set(whole)


@given(st.integers(0, 2**32))
def test_a_failure_that_more_faults_can_hide_still_ends_in_one_that_fails(salt):
    def fails(subset):
        return subset == frozenset(range(1, 13)) or sum((salt >> n) * n for n in subset) % 3 == 0

    left = ddmin(tuple(range(1, 13)), searching(fails, []))
    assert fails(frozenset(left))


def test_one_cause_of_a_thousand_takes_few_runs():
    asked = []
    assert ddmin(tuple(range(1000)), searching(lambda subset: 618 in subset, asked)) == (618,)
    assert len(asked) < 60


def failing(*judgements, failures=()):
    return RunResult("s", 7, trace="00", judgements=list(judgements), failures=list(failures))


def test_symptoms_are_what_failed_without_what_is_another_in_each_run():
    assert symptoms(failing()) == {}
    assert symptoms(failing(Judgement("coverage is 1", True, 1.0, "s.yaml:1:1"))) == {}
    one = failing(Judgement("coverage is 1", False, 0.5, "s.yaml:1:1"))
    other = failing(Judgement("coverage is 1", False, 0.7, "s.yaml:1:1"))
    assert symptoms(one) == symptoms(other) != {}
    first = failing(failures=["12.250 s on nodes-3: KeyError: '00ff12' (items.py:31 in take)"])
    second = failing(failures=["99.000 s on nodes-17: KeyError: 'ab12cd' (items.py:31 in take)"])
    assert symptoms(first) == symptoms(second)
    third = failing(failures=["99.000 s on nodes-17: ValueError: no (items.py:31 in take)"])
    assert symptoms(first) != symptoms(third)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_failing_run_is_shrunk_to_the_two_faults_that_it_takes(at_once):
    steps = []

    def run(jobs):
        assert len(jobs) <= at_once
        return [runners.two_faults(job) for job in jobs]

    shrunk = shrink(JOB, runners.two_faults(JOB), run, at_once, lambda *step: steps.append(step))
    assert shrunk.faults == (3, 8)
    assert [fault.number for fault in shrunk.result.faults] == [3, 8]
    assert shrunk.result.command == "p2pframe sim s.yaml --seed 7 --faults 3,8"
    assert shrunk.runs == steps[-1][0] and steps[-1][1] == 2


def test_another_failure_is_not_mistaken_for_the_one():
    """Without 3 the run fails by fault 5, which is not what is looked for."""
    assert runners.two_faults(Job("s.yaml", 7, faults=(5,))).failures
    shrunk = shrink(JOB, runners.two_faults(JOB), lambda jobs: [runners.two_faults(job) for job in jobs])
    assert 5 not in shrunk.faults


def test_what_fails_without_any_fault_is_said_to():
    def run(jobs):
        return [runners.result(job, failures=["1.0 s: KeyError: x"]) for job in jobs]

    whole = runners.two_faults(JOB)
    whole.judgements, whole.failures = [], ["2.0 s: KeyError: x"]
    assert shrink(JOB, whole, run).faults == ()


def test_a_run_that_passed_or_passes_now_is_not_shrunk():
    with pytest.raises(P2PFrameError, match="the run did not fail"):
        shrink(JOB, failing(), lambda jobs: [])
    with pytest.raises(P2PFrameError, match="does not fail again"):
        shrink(JOB, runners.two_faults(JOB), lambda jobs: [runners.result(job) for job in jobs])
    with pytest.raises(P2PFrameError, match="the run died"):
        shrink(JOB, RunResult("s", 7, failures=["its process was ended by SIGKILL"]), lambda jobs: [])
