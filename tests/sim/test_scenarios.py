"""The scenarios that are shipped: each loads, passes when it is made small, and every expectation can fail.

Small is a matter of settings (`--set`): fewer hosts, less time. What is broken here is broken the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from p2pframe.sim.run import Job, run
from p2pframe.sim.scenario_file import load_scenario

FOLDER = Path(__file__).parents[2] / "examples" / "scenarios"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
WITHOUT_RELAY = "{outbound: 0, block_relay: 0, feeler: 0, plugin: random}"


@dataclass(frozen=True)
class Small:
    """How a scenario is made small, and how each of its expectations is made to fail, by the value's name."""

    settings: dict[str, str]
    broken: dict[str, dict[str, str]] = field(default_factory=dict)


WORKLOAD = "hosts.nodes.override.applications"


def workload(*more: str) -> str:
    """The DHT in use, with few topics."""
    options = ", ".join(["topics: 5, look_up_after: 1min, look_up_every: 30s, items: 5, get_every: 30s", *more])
    return f"[{{plugin: dht-workload, network: mainline, {options}}}]"


NOBODY = {"hosts.nodes.override.networks.bitcoin.topology": WITHOUT_RELAY}
SMALL = {
    "partition.yaml": Small(
        {"hosts.east.count": "6", "hosts.west.count": "6"},
        {
            # It never heals.
            "agreement.answers": {"timeline.0.for": "1h"},
            "agreement.least_height": {"timeline.0.for": "1h"},
            "agreement.disagreed_until": {"timeline.0.for": "1h"},
            # The other side finds more.
            "agreement.most_height": {"workload.2.count": "14", "workload.2.every": "40s"},
            # There is no partition: all blocks go everywhere.
            "propagation.block.coverage_least": {"timeline": "[]"},
            "propagation.block.coverage": {"timeline": "[]"},
            # Nobody dials anybody.
            "connections.connected": {
                "hosts.east.override": f"{{networks: {{bitcoin: {{topology: {WITHOUT_RELAY}}}}}}}",
                "hosts.west.override": f"{{networks: {{bitcoin: {{topology: {WITHOUT_RELAY}}}}}}}",
            },
        },
    ),
    "churn.yaml": Small(
        {"hosts.nodes.count": "26", "duration": "40min", "workload.0.stop": "30min", "workload.1.stop": "30min",
         "workload.0.every": "3min", "workload.1.every": "3min", "expect.2.at_least": "5"},
        {
            "connections.connected": NOBODY,
            "connections.connected_least": NOBODY,
            "connections.outbound": NOBODY,
            # Most go, and stay away.
            "addresses.live_least": {"churn.0.up": "11min", "churn.0.down": "20h", "churn.0.share": "0.6"},
            # One seed, that knows five.
            "addresses.size_least": {
                "names": str({f"seed-{n}.example": {"groups": ["nodes"], "count": 2} for n in (1, 2, 3)}),
                "hosts.nodes.override.networks.bitcoin.topology": "{plugin: random, outbound: 1, block_relay: 0}",
            },
            "agreement.answers": NOBODY,
        },
    ),
    "kill.yaml": Small(
        {"hosts.nodes.count": "20", "duration": "200s", "workload.0.stop": "130s", "workload.1.stop": "130s",
         "workload.2.start": "145s",
         **{f"timeline.{n}.at": "{uniform: {low: 30s, high: 80s}}" for n in range(6)}},
        {
            # Some stay down.
            "agreement.hosts": {"timeline.5": "{at: 50s, do: kill, hosts: {fraction: 0.1}}"},
            # They come back when it is too late to learn what they missed.
            "agreement.answers": {"timeline.5": "{at: 50s, do: kill, hosts: {fraction: 0.1}, back_after: 149900ms}"},
            "connections.connected": {
                "timeline.5": "{at: 50s, do: kill, hosts: {fraction: 0.1}, back_after: 149900ms}"
            },
            # All lose the power at once, and their disks keep nothing.
            "kept.block.lost": {
                "timeline.5": "{at: 140s, do: power-off, hosts: {fraction: 1.0}, back_after: 1s}",
                "hosts.nodes.override": "{storage: {plugin: memory}}",
            },
            "kept.tx.lost": {
                "timeline.5": "{at: 140s, do: power-off, hosts: {fraction: 1.0}, back_after: 1s}",
                "hosts.nodes.override": "{storage: {plugin: memory}}",
            },
        },
    ),
    "dht.yaml": Small(
        {"hosts.nodes.count": "60", "hosts.nodes.start": "20s", "duration": "5min", "measures.lookups.after": "100s",
         WORKLOAD: workload()},
        {
            "lookups.peers.success": {WORKLOAD: workload("announce: 0")},
            "lookups.item.success": {WORKLOAD: workload("put: 0")},
            "lookups.item.p50": {"links": "{default: 400ms}"},
            "lookups.peers.first_p50": {"links": "{default: 400ms}"},
            # Who is alone goes nowhere.
            "lookups.peers.hops_by_log2": {"hosts.nodes.count": "1"},
        },
    ),
}  # fmt: skip
"""Of the scenarios whose failures are tried out here; the others have tests of their own, beside their plugins."""


def go(name: str, *settings: dict[str, str], seed: int | None = None):
    merged: dict[str, str] = {}
    for some in settings:
        merged.update(some)
    return run(Job(str(FOLDER / name), seed=seed, settings=tuple(merged.items())))


@pytest.mark.parametrize("name", FILES)
def test_each_loads_in_all_its_variants(name):
    scenario = load_scenario(FOLDER / name)
    assert scenario.expect or scenario.compare, "a scenario says what it expects"
    assert scenario.measures
    for variant in scenario.variants:
        load_scenario(FOLDER / name, variant)


@pytest.mark.parametrize("name", SMALL)
def test_each_passes_when_it_is_small(name):
    result = go(name, SMALL[name].settings)
    assert not result.failures
    assert [judgement.text for judgement in result.judgements if not judgement.ok] == []


@pytest.mark.parametrize("name", SMALL)
def test_each_expectation_has_a_way_to_fail_here(name):
    scenario = load_scenario(FOLDER / name)
    assert [expectation.value for expectation in scenario.expect] == list(
        dict.fromkeys(expectation.value for expectation in scenario.expect)
    )
    assert SMALL[name].broken.keys() == {expectation.value for expectation in scenario.expect}


def breaks():
    """Each way to break a scenario, once, with all the expectations that it makes fail."""
    for name, small in SMALL.items():
        ways: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for value, settings in small.broken.items():
            ways.setdefault(tuple(settings.items()), []).append(value)
        for settings, values in ways.items():
            yield pytest.param(name, dict(settings), values, id=f"{name}-{values[0]}")


@pytest.mark.parametrize(("name", "settings", "values"), list(breaks()))
def test_what_is_broken_fails(name, settings, values):
    result = go(name, SMALL[name].settings, settings)
    failed = [judgement.text.split(" is ")[0] for judgement in result.judgements if not judgement.ok]
    assert set(values) <= set(failed), result.values
