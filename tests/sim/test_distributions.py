"""Distributions: what the YAML may say, what is drawn, and how mistakes are told."""

from __future__ import annotations

import json
import re
from math import isclose
from random import Random
from statistics import fmean, median, quantiles, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from p2pframe.config.check import check
from p2pframe.config.reader import read
from p2pframe.config.schema import model_schema
from p2pframe.config.tree import Problems
from p2pframe.plugin import PluginConfig
from p2pframe.sim.distributions import SHAPES, Numbers, Offsets, Times


class Draws(PluginConfig):
    """One option of each kind."""

    time: Times = Times(fixed=1.0)
    offset: Offsets = Offsets(fixed=0.0)
    number: Numbers = Numbers(fixed=0.0)


def drawn(value, count=20_000, kind=Times):
    rng = Random(1)
    distribution = kind.model_validate(value)
    return [distribution.draw(rng) for _ in range(count)]


def mistakes(text, tmp_path):
    """What the strict reader of configs has to say, with line and column."""
    file = tmp_path / "draws.yaml"
    file.write_text(text)
    problems = Problems()
    check(Draws, read(file, {}, problems), "", problems)
    return [f"{p.line}:{p.column}: {p.path}: {p.message}" for p in problems.sorted()]


def test_a_plain_duration_is_always_that():
    assert drawn("250ms", 3) == [0.25, 0.25, 0.25]
    assert Times.model_validate("250ms").constant == 0.25
    assert Times.model_validate({"exponential": {"mean": 1}}).constant is None


def test_uniform():
    values = drawn({"uniform": {"low": "1s", "high": "3s"}})
    assert min(values) >= 1 and max(values) <= 3 and isclose(fmean(values), 2, rel_tol=0.02)


def test_normal():
    values = drawn({"normal": {"mean": "-1s", "deviation": "2s"}}, kind=Offsets)
    assert isclose(fmean(values), -1, abs_tol=0.05) and isclose(stdev(values), 2, rel_tol=0.03)


def test_lognormal_is_given_by_what_people_measure():
    values = drawn({"lognormal": {"median": "90ms", "p99": "200ms"}})
    assert isclose(median(values), 0.09, rel_tol=0.02) and isclose(quantiles(values, n=100)[98], 0.2, rel_tol=0.03)


def test_exponential():
    values = drawn({"exponential": {"mean": "5s"}})
    assert isclose(fmean(values), 5, rel_tol=0.03) and isclose(median(values), 5 * 0.6931, rel_tol=0.04)


def test_pareto():
    values = drawn({"pareto": {"minimum": "2s", "shape": 3}})
    assert min(values) >= 2 and isclose(median(values), 2 * 2 ** (1 / 3), rel_tol=0.02)


def test_weibull():
    values = drawn({"weibull": {"scale": "1h", "shape": 0.5}})
    below = sum(value < 3600 for value in values) / len(values)
    assert isclose(below, 0.632, abs_tol=0.02)


def test_a_length_of_time_is_never_below_zero():
    assert min(drawn({"normal": {"mean": 0, "deviation": "1s"}})) == 0.0


def test_values_are_moved_to_the_bounds():
    values = drawn({"normal": {"mean": 5, "deviation": 3}, "least": 4, "most": 6}, kind=Numbers)
    assert min(values) == 4 and max(values) == 6 and any(4 < value < 6 for value in values)
    assert drawn({"fixed": 9, "most": 6}, 1, Numbers) == [6]


SHAPED = {
    "fixed": 1.0,
    "uniform": {"low": 1.0, "high": 3.0},
    "normal": {"mean": 1.0, "deviation": 0.5},
    "lognormal": {"median": 1.0, "p99": 4.0},
    "exponential": {"mean": 1.0},
    "pareto": {"minimum": 1.0, "shape": 2.0},
    "weibull": {"scale": 1.0, "shape": 0.5},
}


@given(st.sampled_from(SHAPES), st.integers(), st.floats(0.1, 1), st.floats(1, 10))
def test_the_same_chance_draws_the_same_within_bounds_whatever_the_shape(shape, seed, least, most):
    distribution = Times.model_validate({shape: SHAPED[shape], "least": least, "most": most})
    again = Times.model_validate_json(json.dumps(distribution.model_dump(mode="json")))
    one, other = Random(seed), Random(seed)
    values = [distribution.draw(one) for _ in range(10)]
    assert values == [again.draw(other) for _ in range(10)]
    assert all(least <= value <= most for value in values)


def test_it_is_written_down_as_short_as_it_was_said():
    assert Draws.model_validate({"time": "2s", "number": {"uniform": {"low": 1, "high": 2}}}).model_dump() == {
        "time": 2.0,
        "offset": 0.0,
        "number": {"uniform": {"low": 1.0, "high": 2.0}},
    }


def test_mistakes_are_told_where_they_stand(tmp_path):
    text = """\
time: {lognormal: {median: 90ms, p98: 200ms}}
offset: {unifrm: {low: -1s, high: 1s}}
number: {normal: {mean: x, deviation: -1}}
"""
    assert mistakes(text, tmp_path) == [
        "1:34: time.lognormal.p98: unknown key 'p98' (did you mean 'p99'?)",
        "2:10: offset.unifrm: unknown key 'unifrm' (did you mean 'uniform'?)",
        "3:25: number.normal.mean: must be a number, found 'x'",
        "3:39: number.normal.deviation: must be at least 0.0, found -1",
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("soon", "1:7: time: not a duration"),
        ("-1s", "can't be negative|not a duration"),
        ("{least: 1s}", "1:7: time: has no distribution: give one of fixed, uniform"),
        ("{fixed: 1s, exponential: {mean: 1s}}", "1:7: time: has fixed and exponential: give one of"),
        ("{uniform: {low: 2s, high: 1s}}", "time.uniform: low is above high"),
        ("{lognormal: {median: 2s, p99: 1s}}", "time.lognormal: p99 is below the median"),
        ("{exponential: {mean: 1s}, least: 2s, most: 1s}", "least is above most"),
        ("{weibull: {scale: 1s, shape: 0}}", "time.weibull.shape: must be over 0"),
    ],
)
def test_what_can_not_be_drawn_from(value, why, tmp_path):
    found = mistakes(f"time: {value}\n", tmp_path)
    assert len(found) == 1 and re.search(why, found[0]), found


def test_numbers_that_are_none():
    for value in (True, float("inf"), float("nan"), "1"):
        with pytest.raises(ValidationError, match="number"):
            Numbers.model_validate(value)


def test_editors_complete_both_ways_of_writing_it():
    made = model_schema(Draws)
    plain, full = made["$defs"]["Times"]["anyOf"]
    assert plain["examples"] == ["30s"]
    assert {*SHAPES, "least", "most"} == set(full["properties"])
