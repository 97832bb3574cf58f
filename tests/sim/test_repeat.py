"""Every scenario that is shipped repeats: `--check` runs it twice, in fresh processes that hash differently."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from p2pframe.sim.scenario_file import load_scenario

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "scenarios"
PLUGIN = Path(__file__).parent / "plugins" / "set_order_relay.py"
HOSTS = 8
"""Of each group at the most."""


def p2pframe(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", *words],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
    )  # fmt: skip


def small(name: str) -> list[str]:
    """Settings that keep what makes a scenario, with fewer hosts and for a shorter time."""
    scenario = load_scenario(FOLDER / name)
    # What it expects is of its full size.
    settings = {"duration": f"{min(scenario.duration, 150)}s", "expect": "[]"}
    for group, found in scenario.groups.items():
        settings[f"hosts.{group}.count"] = str(min(found.config.count, HOSTS))
        settings[f"hosts.{group}.start"] = "5s"
        if found.config.after:
            settings[f"hosts.{group}.after"] = "20s"
    for number, graph in enumerate(scenario.graph):
        if graph.degree:
            settings[f"graph.{number}.degree"] = "4"
    for number, entry in enumerate(scenario.workload):
        settings[f"workload.{number}.start"] = "20s"
        if entry.stop is not None:
            settings[f"workload.{number}.stop"] = "140s"
    for number in range(len(scenario.timeline)):
        settings[f"timeline.{number}.at"] = f"{50 + 5 * number}s"
    for number in range(len(scenario.churn)):
        settings[f"churn.{number}.start"] = "30s"
        settings[f"churn.{number}.up"] = "{exponential: {mean: 60s}}"
        settings[f"churn.{number}.down"] = "{exponential: {mean: 10s}}"
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.yaml")))
def test_a_shipped_scenario_repeats_on_any_hash_seed(name):
    checked = p2pframe("sim", f"examples/scenarios/{name}", "--check", *small(name))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "both runs are the same" in checked.stdout


def test_a_plugin_that_goes_by_the_order_of_a_set_is_caught(tmp_path):
    """The propagation scenario with a relay policy that tells its links in the order of a set of texts.

    All links are alike, so that who is told first hears of it first.
    """
    folder = tmp_path / "plugins"
    # Plugins are trusted where nobody else may write.
    folder.mkdir(mode=0o755)
    (folder / PLUGIN.name).write_text(PLUGIN.read_text())
    (folder / PLUGIN.name).chmod(0o644)
    checked = p2pframe(
        "sim", "examples/scenarios/propagation.yaml", "--check", *small("propagation.yaml"),
        "--set", "links={default: 50ms}",
        "--set", f"hosts.nodes.override.node.plugin_path=['{folder}']",
        "--set", "hosts.nodes.override.networks.bitcoin.relay={plugin: set-order}",
    )  # fmt: skip
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "differ in their trace" in checked.stderr
    assert "the first delivery that differs:" in checked.stderr and " > nodes-" in checked.stderr
    assert "to look again: p2pframe sim examples/scenarios/propagation.yaml" in checked.stderr
