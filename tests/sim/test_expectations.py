"""Expectations and comparisons: what they accept, and that none is judged kept which is not."""

import json
import math
import re

import pytest
from pydantic import ValidationError

from p2pframe.sim.expectations import Comparison, Expectation, compare, judge
from p2pframe.sim.results import RunResult


def expectation(**fields):
    """As the strict reader makes it of a file."""
    return Expectation.model_validate_json(json.dumps({"value": "block.delay", **fields}), strict=True)


def comparison(**fields):
    data = {"value": "captured", "of": "off", "to": "default", **fields}
    return Comparison.model_validate_json(json.dumps(data), strict=True)


def runs(variant, *values, name="captured", **settings):
    return [RunResult("s", seed, variant, settings, values={name: value}) for seed, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"at_least": 1.0}, [1.0, 2, math.inf], [0.999, math.nan, -math.inf]),
        ({"at_most": 3}, [3.0, -1], [3.001, math.nan, math.inf]),
        ({"between": [3, 6]}, [3, 4.5, 6], [2.99, 6.01, math.nan]),
        ({"equals": 0.3}, [0.1 + 0.2], [0.31, math.nan]),
        ({"equals": 0}, [0, 1e-15], [0.001]),
        ({"at_least": 1, "at_most": 2}, [1, 2], [0, 3]),
        ({"at_most": "2s"}, [2], [2.1]),
        ({"at_most": "250ms"}, [0.25], [0.26]),
        ({"at_most": "64KiB"}, [65536], [65537]),
        ({"at_least": "95%"}, [0.95], [0.94]),
        ({"between": ["-5%", "5%"]}, [-0.05, 0.05], [-0.06]),
    ],
)
def test_limits(fields, good, bad):
    wanted = expectation(**fields)
    for measured in good + bad:
        (found,) = judge([wanted], RunResult("s", 1, values={"block.delay": measured}), ["sim.yaml:3:5"])
        assert found.ok is (measured in good)
        assert found.measured == measured or math.isnan(measured)
        assert found.where == "sim.yaml:3:5"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "nothing is expected"),
        ({"between": [6, 3]}, "smaller one first"),
        ({"between": [6]}, "between.1"),
        ({"at_least": 2, "at_most": 1}, "swap them"),
        ({"at_least": 1, "only": ["a"], "except": ["b"]}, "take `except` away"),
        ({"at_least": 1, "only": []}, "at least 1 item"),
        ({"at_least": "much"}, "not a number"),
        ({"at_least": True}, "not a number"),
        ({"at_least": 10**400}, "not a number"),
        ({"at_least": 1, "except_": ["a"]}, "Extra inputs"),
        ({"atleast": 1}, "Extra inputs"),
    ],
)
def test_what_says_nothing_or_contradicts_itself_is_refused(fields, error):
    with pytest.raises(ValidationError, match=error):
        expectation(**fields)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_limits_are_finite(number):
    with pytest.raises(ValidationError, match="not a number"):
        Expectation.model_validate_json(f'{{"value": "x", "at_least": {number}}}', strict=True)


def test_only_and_except_choose_the_variants():
    both = [expectation(at_least=1, only=["flood"]), expectation(at_least=2, **{"except": ["flood"]})]
    for variant, measured, texts in (("flood", 1, ["at least 1"]), ("default", 2, ["at least 2"])):
        found = judge(both, RunResult("s", 1, variant, values={"block.delay": measured}))
        assert [judgement.text for judgement in found] == [f"block.delay is {text}" for text in texts]


def test_what_was_not_measured_fails_and_the_name_meant_is_said():
    for names, said in (
        (["block.delays"], "did you mean 'block.delays'?"),
        (["block.coverage.all", "tx.coverage.all"], ": there is block.coverage.all"),
        ([f"v{n:02}" for n in range(20)], ": there is v00, .*, v11, 8 more"),
        ([], "'block.delay'$"),
    ):
        (found,) = judge([expectation(at_most=1)], RunResult("s", 1, values=dict.fromkeys(names, 0.0)))
        assert not found.ok
        assert found.measured is None
        assert re.search(said, found.text), found.text


def test_ratio_of_means_and_intervals():
    wanted = comparison(ratio_at_least=5, intervals_apart=True)
    good = runs("off", 0.6, 0.5, 0.7) + runs("default", 0.1, 0.1, 0.1)
    found = compare([wanted], good, ["sim.yaml:9:5"])
    assert [judgement.ok for judgement in found] == [True, True]
    assert found[0].measured == pytest.approx(6)
    assert found[0].where == "sim.yaml:9:5"
    assert "off to default" in found[0].text
    bad = runs("off", 0.45, 0.5, 0.4) + runs("default", 0.1, 0.1, 0.1)
    assert [judgement.ok for judgement in compare([wanted], bad)] == [False, True]


def test_intervals_that_touch_are_not_apart():
    # Means 1 and 2; with t(1) = 12.7 each interval is far wider than what lies between.
    (found,) = compare([comparison(intervals_apart=True)], runs("off", 1.8, 2.2) + runs("default", 0.9, 1.1))
    assert not found.ok
    assert found.measured < 0
    (found,) = compare([comparison(intervals_apart=True)], runs("off", 2, 2) + runs("default", 2, 2))
    assert not found.ok


def test_one_seed_has_no_interval():
    (found,) = compare([comparison(intervals_apart=True)], runs("off", 9) + runs("default", 1))
    assert not found.ok
    assert "two seeds" in found.text


@pytest.mark.parametrize(
    ("fields", "of", "to", "ok"),
    [
        ({"ratio_at_most": 0.5}, 1, 2, True),
        ({"ratio_at_most": 0.5}, 1.1, 2, False),
        ({"difference_at_most": "10%"}, 9, 10, True),
        ({"difference_at_most": "10%"}, 11.01, 10, False),
        ({"difference_at_most": 0.1}, 8.9, 10, False),
        # None captured where the defences are on: any that are where they are off are infinitely more.
        ({"ratio_at_least": 5}, 0.2, 0, True),
        ({"ratio_at_most": 5}, 0.2, 0, False),
        ({"ratio_at_least": 5}, 0, 0, False),
        ({"ratio_at_most": 5}, 0, 0, False),
        ({"difference_at_most": 0.1}, 0, 0, True),
        ({"difference_at_most": 0.1}, 0.1, 0, False),
        ({"difference_at_most": 0.1}, math.inf, math.inf, False),
        ({"ratio_at_least": 5}, math.nan, 1, False),
    ],
)
def test_each_comparison(fields, of, to, ok):
    (found,) = compare([comparison(**fields)], runs("off", of) + runs("default", to))
    assert found.ok is ok


def test_a_comparison_without_its_runs_or_values_fails():
    wanted = [comparison(ratio_at_least=1)]
    for results, said in (
        ([], "no run of 'off'"),
        (runs("of", 1) + runs("default", 1), "no run of 'off' .did you mean 'of'"),
        (runs("off", 1, name="capturd") + runs("default", 1), "did you mean 'capturd'"),
        (runs("off", 1, 2) + runs("default", 1) + [RunResult("s", 7)], r"default measured no such value .seeds 7.$"),
    ):
        (found,) = compare(wanted, results)
        assert not found.ok
        assert re.search(said, found.text), found.text


def test_each_setting_of_a_sweep_is_compared_by_itself():
    results = [
        *runs("off", 10, degree="8"),
        *runs("default", 1, degree="8"),
        *runs("off", 1, degree="4"),
        *runs("default", 1, degree="4"),
    ]
    found = compare([comparison(ratio_at_least=5)], results)
    assert [(judgement.ok, judgement.text.split()[-1]) for judgement in found] == [
        (True, "degree=8"),
        (False, "degree=4"),
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "nothing is compared"),
        ({"intervals_apart": False}, "nothing is compared"),
        ({"of": "default", "ratio_at_least": 1}, "compared to itself"),
        ({"difference_at_most": -1}, "greater than or equal to 0"),
    ],
)
def test_comparisons_that_compare_nothing_are_refused(fields, error):
    with pytest.raises(ValidationError, match=error):
        comparison(**fields)
