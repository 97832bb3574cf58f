"""Every scenario that is shipped is a good file, in each of its variants, and says what it expects."""

from __future__ import annotations

import pytest

from p2pframe.sim.scenario_file import load_scenario
from tests.scenarios.conftest import PLUGINS

FILES = sorted(PLUGINS.parent.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_passes_the_check_in_every_variant(file):
    scenario = load_scenario(file)
    for variant in scenario.variants:
        assert load_scenario(file, variant).groups.keys() == scenario.groups.keys()


def test_the_eclipse_takes_away_what_its_variants_say():
    def defences(variant):
        network = load_scenario(PLUGINS.parent / "eclipse.yaml", variant).groups["victims"].spec.networks["bitcoin"]
        topology = network.topology.config
        return {
            "buckets": network.limits.book_buckets,
            "diversity": topology.diversity,
            "anchors": topology.anchors > 0,
            "feelers": topology.feeler > 0,
            "score-blind": topology.score_blind > 0,
        }

    everything = defences("default")
    assert all(everything.values()) and not any(defences("off").values())
    for name in everything:
        assert [one for one, on in defences(name).items() if on] == [name]
