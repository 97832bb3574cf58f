"""The pages on the simulator do what they say: each is followed from top to bottom, in a folder of its own.

A file that a page shows is written under the name that the text before it gives, commands of `p2pframe sim` are run (a
shown FAIL is one that has to come), Python is executed, and a scenario that no command runs is run as it stands.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from p2pframe.config import load
from p2pframe.sim.measures import MEASURES
from p2pframe.sim.run import Job, run
from p2pframe.sim.scenario_check import TOP
from p2pframe.sim.scenario_file import load_scenario

ROOT = Path(__file__).parents[2]
SIMULATE = ROOT / "docs" / "simulate"
BLOCK = re.compile(r"^```([^\n]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOLLOWED = [
    page
    for page in sorted(SIMULATE.rglob("*.md"))
    if page.parent != SIMULATE / "scenarios" and "\n```" in page.read_text()
]
REFERENCE = SIMULATE / "scenario-files.md"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages need of a checkout; nobody else may write there, since plugins are trusted."""
    for folder in ("plugins", "examples/scenarios", "examples/captures", "tests/sim/plugins"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """The text before each block of a page, its language and its text."""
    text = page.read_text()
    found, end = [], 0
    for match in BLOCK.finditer(text):
        found.append((text[end : match.start()], match[1], match[2]))
        end = match.end()
    return found


def commands(page: Path) -> list[str]:
    """Those of the simulator that take seconds on any machine: no cluster, no scenario of hundreds of hosts."""
    return [
        line.removeprefix("$ ")
        for _, language, text in blocks(page)
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ p2pframe sim ") and "--dask" not in line and "examples/scenarios/" not in line
    ]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem if page.stem != "index" else page.parent.name)
def test_a_page_can_be_followed(page: Path, checkout: Path) -> None:
    space: dict[str, object] = {"__name__": "page"}
    todo = commands(page)
    shown = blocks(page)
    scenarios: list[Path] = []
    if page == REFERENCE:
        node = next(text for _, kind, text in shown if kind == "yaml" and "\napplications:" in text)
        (checkout / "node.yaml").write_text(node)
    for (before, language, text), after in pairwise([*shown, ("", "", "")]):
        if language == "yaml":
            assert text.startswith("version: 1\n")
            named = re.findall(r"`([\w-]+\.yaml)`", before)
            is_scenario = re.search("^hosts:", text, re.MULTILINE) is not None
            path = checkout / (named[-1] if named else "scenario.yaml" if is_scenario else "node.yaml")
            path.write_text(text)
            if not is_scenario:
                load(path)
            else:
                load_scenario(path)
                if not any(f" {path.name}" in command for command in todo):
                    result = run(Job(path.name))
                    assert (result.ok, result.failures) == (True, []), result.judgements
                scenarios.append(path)
        elif language == "console":
            for command in [line.removeprefix("$ ") for line in text.splitlines()]:
                if command in todo:
                    words = [sys.executable, "-m", "p2pframe.cli", *command.split()[1:]]
                    ran = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
                    fails = after[1] == "text" and "FAIL" in after[2]
                    assert ran.returncode == int(fails), f"{command}\n{ran.stdout}{ran.stderr}"
        elif language == "python":
            exec(compile(text, str(page), "exec"), space)
    if page.stem in ("study-a-relay-policy", "find-and-shrink-a-bug", "scenario-files"):
        assert scenarios


def test_what_the_page_on_bugs_shows_is_what_comes_of_it(checkout: Path) -> None:
    page = SIMULATE / "how-to" / "find-and-shrink-a-bug.md"
    scenario = next(text for _, language, text in blocks(page) if language == "yaml")
    (checkout / "bug.yaml").write_text(scenario)
    # Which seeds fail is a matter of the version; that the fault shown alone makes one fail is what the page is about.
    shown = re.search(r"^  p2pframe (sim bug\.yaml --seed \d+ --faults \d+)$", page.read_text(), re.MULTILINE)
    assert shown is not None
    words = [sys.executable, "-m", "p2pframe.cli", *shown[1].split()]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    assert "FAIL" in ran.stdout


def test_the_reference_has_every_section_and_every_measure() -> None:
    text = REFERENCE.read_text()
    titles = set(re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    assert set(TOP) - {"version", "name", "seed", "duration"} <= titles
    assert set(MEASURES) <= titles
    for name in MEASURES:
        assert f"```{{measure}} {name}\n" in text


EVERY_MEASURE = """\
version: 1
duration: 90s
hosts:
  nodes: {node: examples/scenarios/nodes/full.yaml, count: 5, start: 5s}
  others: {node: examples/scenarios/nodes/full.yaml, count: 1, honest: false, start: 5s}
  dht: {node: examples/scenarios/nodes/dht.yaml, count: 5, start: 5s}
names: {seed.example: {groups: [dht]}}
graph: [{network: bitcoin, kind: ring, groups: [nodes, others]}]
workload: [{produce: tx, network: bitcoin, every: 5s, from: [nodes], start: 15s, stop: 50s}]
measures:
  propagation: {network: bitcoin, topics: [tx]}
  agreement: {network: bitcoin}
  capture: {network: bitcoin, by: [others]}
  kept: {network: bitcoin, topics: [tx]}
  throughput: {network: bitcoin, topics: [tx]}
  connections: {network: bitcoin}
  traffic: {network: bitcoin}
  scores: {network: bitcoin}
  addresses: {network: bitcoin}
  lookups: {network: mainline}
  graph: {network: bitcoin}
"""


def test_the_reference_explains_every_value_that_a_run_gives_and_no_other(checkout: Path) -> None:
    (checkout / "scenario.yaml").write_text(EVERY_MEASURE)
    result = run(Job("scenario.yaml"))
    assert result.ok and {name.split(".")[0] for name in result.values} == {*MEASURES, "workload"}
    assert result.graphs
    given = set()
    for name in result.values:
        measure, *rest = name.split(".")
        if measure in ("propagation", "kept", "throughput", "workload"):
            rest[0] = "TOPIC"
        if measure == "traffic" and len(rest) == 2:
            rest[1] = "TYPE"
        if measure == "lookups" and len(rest) == 2:
            rest[0] = "KIND"
        given.add(".".join((measure, *rest)))
    rows = [line.split("|")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([a-z]+(?:\.\w+)+)`", row)}
    assert explained == given


def test_every_shipped_scenario_is_in_the_index() -> None:
    rows = re.findall(r"^\| `([\w-]+)\.yaml` \|", (SIMULATE / "scenarios.md").read_text(), re.MULTILINE)
    assert set(rows) == {path.stem for path in (ROOT / "examples" / "scenarios").glob("*.yaml")}
