"""The latency scorer of plugins/: a score by ping time alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IScorer
from p2pframe.model import ALLOW, Fact, SessionCounters
from p2pframe.testing.context import FakeContext

FILE = Path(__file__).parents[2] / "plugins" / "latency_scorer.py"


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("latency_scorer", FILE)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_faster_the_better(module) -> None:
    scorer = module.LatencyScorer(module.LatencyConfig(good="100ms", bad="1100ms"), FakeContext("scoring.latency"))
    verifyObject(IScorer, scorer)
    counters = SessionCounters(0.0)
    scorer.opened(1, 0.0)
    assert scorer.sample(1, counters, 1.0).value == 0.5
    for ping, value in ((0.02, 1.0), (0.1, 1.0), (0.6, 0.5), (1.1, 0.0), (60.0, 0.0)):
        counters.ping = ping
        score = scorer.sample(1, counters, 1.0)
        assert score.value == pytest.approx(value)
        assert score.parts[0].raw == ping
    assert scorer.observed(1, Fact("timeout", proven=True), 1.0) is ALLOW
    scorer.closed(1)


def test_it_is_a_plugin_of_its_kind_and_checks_its_config(module) -> None:
    spec = module.LatencyScorer.__p2pframe_plugin__
    assert (spec.kind, spec.name) == ("scoring", "latency")
    with pytest.raises(ValidationError, match="good must be less than bad"):
        module.LatencyConfig(good=3, bad=2)
