"""Results go through JSON and back without a loss, and are summed up over seeds as statistics has it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.sim.results import (
    Curve,
    FaultNote,
    Judgement,
    ResultsError,
    RunResult,
    aggregate,
    aggregates,
    groups,
    student_t,
    value_names,
)

numbers = st.floats(allow_nan=False)
# Lone surrogates too: a peer's name may be anything that somebody decoded.
texts = st.text(st.characters(), max_size=20)
results = st.builds(
    RunResult,
    scenario=texts,
    seed=st.integers(),
    variant=texts,
    settings=st.dictionaries(texts, texts, max_size=3),
    trace=texts,
    duration=numbers,
    cpu=numbers,
    events=st.integers(0),
    deliveries=st.integers(0),
    hosts=st.integers(0),
    values=st.dictionaries(texts, numbers, max_size=5),
    curves=st.lists(
        st.builds(
            Curve,
            texts,
            texts,
            texts,
            texts,
            st.lists(st.tuples(numbers, numbers), max_size=5),
            st.sampled_from(["line", "steps", "histogram", "bars"]),
            texts,
            st.lists(texts, max_size=3),
        ),
        max_size=3,
    ),
    faults=st.lists(st.builds(FaultNote, st.integers(), numbers, st.none() | numbers, texts), max_size=3),
    failures=st.lists(texts, max_size=3),
    judgements=st.lists(st.builds(Judgement, texts, st.booleans(), st.none() | numbers, texts), max_size=3),
    command=texts,
)


@given(results)
def test_json_and_back_is_exact(result):
    text = result.to_json()
    assert RunResult.from_json(text) == result
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)


def test_a_value_that_is_no_number_survives_too():
    again = RunResult.from_json(RunResult("s", 1, values={"x": math.nan}).to_json())
    assert math.isnan(again.values["x"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        RunResult("s", 1).to_json().replace('"seed": 1', '"seeed": 1'),
        RunResult("s", 1, values={"x": 1.0}).to_json().replace("1.0", '"many"'),
        RunResult("s", 1, values={"x": 1.0}).to_json().replace("1.0", "true"),
        RunResult("s", 1, curves=[Curve("c", "", "", "", [(1.0, 2.0)])]).to_json().replace("[1.0, 2.0]", "[1.0]"),
    ],
)
def test_what_is_no_result_is_refused(text):
    with pytest.raises(ResultsError, match="not the result of a run"):
        RunResult.from_json(text)


@pytest.mark.parametrize(
    ("freedom", "confidence", "quantile"),
    [
        # The tables of any book of statistics; two-sided.
        (1, 0.95, 12.7062),
        (2, 0.95, 4.30265),
        (3, 0.95, 3.18245),
        (4, 0.95, 2.77645),
        (5, 0.90, 2.01505),
        (9, 0.95, 2.26216),
        (10, 0.99, 3.16927),
        (19, 0.95, 2.09302),
        (30, 0.999, 3.64596),
        (120, 0.95, 1.97993),
        (1000, 0.95, 1.96234),
    ],
)
def test_students_t(freedom, confidence, quantile):
    assert student_t(freedom, confidence) == pytest.approx(quantile, rel=3e-6)


@pytest.mark.parametrize(("freedom", "confidence"), [(0, 0.95), (-1, 0.95), (3, 0.0), (3, 1.0)])
def test_students_t_has_limits(freedom, confidence):
    with pytest.raises(ValueError, match="degree of freedom"):
        student_t(freedom, confidence)


def test_an_aggregate():
    found = aggregate([1.0, 2.0, 3.0, 4.0])
    assert (found.n, found.mean, found.least, found.most) == (4, 2.5, 1.0, 4.0)
    assert found.deviation == pytest.approx(1.2909944)
    # 2.5 -+ 3.18245 * 1.2909944 / 2
    assert found.interval == pytest.approx((0.445739, 4.554261), abs=1e-5)


def test_one_run_has_no_interval():
    assert aggregate([7.0]).interval is None
    assert aggregate([7.0, 7.0]).interval == (7.0, 7.0)


def test_what_never_arrived_has_no_spread():
    found = aggregate([1.0, math.inf])
    assert (found.mean, found.least, found.most, found.interval) == (math.inf, 1.0, math.inf, None)
    assert math.isnan(aggregate([math.inf, -math.inf]).mean)
    assert math.isnan(aggregate([1.0, math.nan]).least)


def test_no_values_have_no_aggregate():
    with pytest.raises(ValueError, match="no values"):
        aggregate([])


def test_runs_that_differ_in_the_seed_alone_are_one_group():
    runs = [
        RunResult("s", 1, "flood", {"degree": "8"}, values={"a": 1.0}),
        RunResult("s", 1, "flood", {"degree": "4"}, values={"a": 2.0}),
        RunResult("s", 2, "flood", {"degree": "8"}, values={"b": 3.0, "a": 5.0}),
    ]
    found = groups(runs)
    assert [(group.label, [run.seed for run in members]) for group, members in found.items()] == [
        ("flood degree=8", [1, 2]),
        ("flood degree=4", [1]),
    ]
    summed = aggregates([runs[0], runs[2]])
    assert (summed["a"].n, summed["a"].mean, summed["b"].n) == (2, 3.0, 1)
    assert value_names(runs) == ["a", "b"]
