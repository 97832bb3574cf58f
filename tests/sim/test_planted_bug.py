"""A bug that shows now and then, in a relay policy: a sweep finds it, its command repeats it, --shrink cuts it down.

The policy (plugins/forgetful_relay.py) drops one announcement in a hundred to peers that have reconnected. Hosts stand
in a line, so that nobody hears of an item twice, and all faults are over before the first item is made: an honest
policy has nothing to lose.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugins" / "forgetful_relay.py"
SEEDS = 6
FAULTS = 8
SCENARIO = """\
version: 1
seed: 1
duration: 4min
hosts:
  nodes:
    node: node.yaml
    count: 8
    start: 2s
    override:
      node: {plugin_path: [plugins]}
      applications: [{plugin: bitcoin-workload, network: bitcoin}]
      networks: {bitcoin: {relay: {plugin: forgetful}}}
graph: [{network: bitcoin, kind: line}]
timeline:
""" + FAULTS * """\
  - {at: {uniform: {low: 10s, high: 60s}}, do: kill, hosts: {count: 1}, back_after: 5s}
""" + """\
workload: [{produce: tx, every: 3s, network: bitcoin, start: 110s, stop: 200s}]
measures: {propagation: {network: bitcoin, topics: [tx]}}
expect:
  - {value: propagation.tx.coverage_least, equals: 1}
variants:
  honest: {hosts: {nodes: {override: {networks: {bitcoin: {relay: {plugin: flood}}}}}}}
"""


def p2pframe(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", *words], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def folder(scenarios, monkeypatch):
    monkeypatch.chdir(scenarios.path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Plugins are trusted where nobody else may write.
    plugins = scenarios.path / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / PLUGIN.name).write_text(PLUGIN.read_text())
    (plugins / PLUGIN.name).chmod(0o644)
    scenarios.write("scenario.yaml", SCENARIO)
    return scenarios.path


def test_it_is_found_by_a_sweep_repeated_by_its_command_and_shrunk(folder):
    swept = p2pframe("sim", "scenario.yaml", "--seeds", str(SEEDS), "--shrink")
    assert swept.returncode == 1, swept.stdout + swept.stderr
    assert "FAIL" in swept.stdout and "propagation.tx.coverage_least" in swept.stdout

    commands = re.findall(r"^  p2pframe (sim scenario\.yaml --seed \d+)$", swept.stdout, re.MULTILINE)
    assert 0 < len(commands) <= SEEDS
    again = p2pframe(*commands[0].split())
    assert again.returncode == 1
    assert "FAIL" in again.stdout and f"p2pframe {commands[0]}" in again.stdout

    shrunk = re.search(rf"shrunk in \d+ runs: (\d+) faults? of {FAULTS} make it fail", swept.stdout)
    assert shrunk is not None, swept.stdout
    assert 1 <= int(shrunk[1]) <= FAULTS // 2
    [fewest] = re.findall(r"^  p2pframe (sim scenario\.yaml --seed \d+ --faults [\d,]+)$", swept.stdout, re.MULTILINE)
    assert fewest.startswith(commands[0])
    smallest = p2pframe(*fewest.split())
    assert smallest.returncode == 1
    assert "FAIL" in smallest.stdout

    # It is the faults that bring it out.
    assert p2pframe(*commands[0].split(), "--faults", "none").returncode == 0


def test_without_the_bug_the_same_sweep_finds_nothing(folder):
    swept = p2pframe("sim", "scenario.yaml", "--variant", "honest", "--seeds", str(SEEDS))
    assert swept.returncode == 0, swept.stdout + swept.stderr
