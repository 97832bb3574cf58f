"""`p2pframe sim`: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pframe.cli import main

ROOT = Path(__file__).parents[2]
SCENARIO = """\
version: 1
name: small
seed: 5
duration: 60s
hosts: {nodes: {node: node.yaml, count: 4, start: 2s, override: {applications: [{plugin: bitcoin-workload,
  network: bitcoin}]}}}
graph: [{network: bitcoin, kind: line}]
timeline:
  - {at: 5s, do: kill, hosts: {names: [nodes-3]}, back_after: 2s}
  - {at: 7s, do: kill, hosts: {names: [nodes-0]}, back_after: 1s}
  - {at: 8s, do: kill, hosts: {names: [nodes-1]}}
  - {at: 55s, do: kill, hosts: {names: [nodes-3]}}
workload: [{produce: tx, every: 2s, from: [nodes], network: bitcoin, size: 250, start: 10s, stop: 19s}]
measures: {propagation: {network: bitcoin, topics: [tx]}}
expect:
  - {value: propagation.tx.items, at_least: 1}
variants:
  whole: {expect: [{value: propagation.tx.coverage_least, at_least: 0.9}]}
  flood: {hosts: {nodes: {override: {networks: {bitcoin: {relay: {plugin: flood}}}}}}}
compare:
  - {value: workload.tx.made, of: flood, to: default, difference_at_most: 50%}
"""


@pytest.fixture
def path(scenarios, monkeypatch):
    monkeypatch.chdir(scenarios.path)
    # Tables as wide as they like.
    monkeypatch.setenv("COLUMNS", "200")
    scenarios.write("scenario.yaml", SCENARIO)
    return scenarios.path


@pytest.fixture
def run(path):
    return lambda *arguments: CliRunner().invoke(
        main, ["sim", *arguments], prog_name="p2pframe", catch_exceptions=False
    )


def test_a_run_that_is_as_expected_has_status_0(run):
    result = run("scenario.yaml")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("small: default, seed 5: 60 s of 4 hosts in ")
    assert "pass   propagation.tx.items is at least 1" in result.stdout
    assert "to run again" not in result.stdout


def test_options_may_come_before_the_file_and_seeds_make_another_run(run):
    assert "seed 9:" in run("--seed", "9", "scenario.yaml").stdout
    assert "seed 9:" in run("scenario.yaml", "--seed", "9").stdout


def test_a_run_that_fails_has_status_1_and_its_printed_command_repeats_it(run, path):
    result = run("scenario.yaml", "--seed", "7", "--variant", "whole", "--set", "duration=50s")
    assert result.exit_code == 1
    assert "FAIL   propagation.tx.coverage_least is at least 0.9" in result.stdout
    lines = result.stdout.splitlines()
    [command] = [line.strip() for line in lines if line.strip().startswith("p2pframe sim ")]
    words = shlex.split(command)
    assert words[:3] == ["p2pframe", "sim", "scenario.yaml"]
    again = subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", *words[1:]], cwd=path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "COLUMNS": "200"},
    )  # fmt: skip
    assert again.returncode == 1
    assert again.stdout.splitlines()[0].rpartition("trace ")[2] == lines[0].rpartition("trace ")[2]


def test_a_failing_run_is_shrunk_to_the_fault_that_it_takes(run):
    result = run("scenario.yaml", "--variant", "whole", "--shrink")
    assert result.exit_code == 1
    last = result.stdout[result.stdout.index("shrunk in ") :].splitlines()
    assert last[0].endswith("runs: 1 fault of 4 make it fail")
    assert "nodes-1" in last[1] and last[1].split()[0] == "3"
    assert last[2:] == ["to run it:", "  p2pframe sim scenario.yaml --variant whole --faults 3"]
    assert "shrinking: " in result.stderr
    assert run("scenario.yaml", "--variant", "whole", "--faults", "3").exit_code == 1
    assert run("scenario.yaml", "--variant", "whole", "--faults", "1,2,4").exit_code == 0
    assert run("scenario.yaml", "--variant", "whole", "--faults", "none").exit_code == 0


def test_there_may_be_nothing_to_shrink(run):
    result = run("scenario.yaml", "--shrink")
    assert result.exit_code == 0
    assert result.stdout.endswith("nothing to shrink: no run failed\n")


def test_a_sweep_runs_all_combinations_compares_and_writes(run, path):
    result = run(
        "scenario.yaml", "--seeds", "2", "--variants", "default,flood", "--sweep", "hosts.nodes.count=4,5",
        "--jobs", "2", "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("small: 8 runs\n")
    assert "workload.tx.made: flood to default" in result.stdout
    data = json.loads((path / "out" / "results.json").read_text())
    assert [(run["seed"], run["variant"], run["settings"]) for run in data["results"]] == [
        (seed, variant, {"hosts.nodes.count": count})
        for count in ("4", "5")
        for variant in ("default", "flood")
        for seed in (5, 6)
    ]
    assert len(data["comparisons"]) == 2
    assert (path / "out" / "values.csv").exists()
    # In a process of its own, or in this one: the same run.
    alone = run("scenario.yaml", "--seed", "6", "--variant", "flood", "--set", "hosts.nodes.count=5")
    [trace] = [r["trace"] for r in data["results"] if (r["seed"], r["variant"], r["settings"]["hosts.nodes.count"])
               == (6, "flood", "5")]  # fmt: skip
    assert trace in alone.stdout.splitlines()[0]


def test_all_variants_are_run_by_one_word_and_a_comparison_of_what_was_not_run_is_none(run):
    result = run("scenario.yaml", "--variants", "all", "--jobs", "2")
    assert result.stdout.startswith("small: 3 runs\n")
    assert result.exit_code == 1, "the variant `whole` fails"
    assert "compared" not in run("scenario.yaml", "--variants", "whole,default").stdout


def test_check_says_that_both_runs_are_the_same(run):
    result = run("scenario.yaml", "--check")
    assert result.exit_code == 0
    assert result.stdout.startswith("small: default, seed 5: both runs are the same: ")


def test_check_judges_and_writes_what_it_ran_as_well(run, path):
    result = run("scenario.yaml", "--check", "--variant", "whole", "--out", "out")
    assert result.exit_code == 1, "it repeats, and it fails"
    assert "both runs are the same" in result.stdout
    assert "FAIL   propagation.tx.coverage_least" in result.stdout
    assert (path / "out" / "results.json").exists()


def test_check_refuses_tls_by_name(run, scenarios):
    node = (scenarios.path / "node.yaml").read_text()
    scenarios.write("tls.yaml", node.replace("{plugin: tcp,", "{plugin: tls,"))
    scenarios.write("scenario.yaml", SCENARIO.replace("node.yaml", "tls.yaml"))
    result = run("scenario.yaml", "--check")
    assert result.exit_code == 1
    assert "tls.yaml:6:18: transport.tls (nodes) does not repeat: OpenSSL draws its own keys" in result.stderr


def test_replay_prints_what_happened_around_a_time(run):
    result = run("replay", "scenario.yaml", "--at", "8s", "--window", "500ms")
    assert result.exit_code == 0
    assert "fault 3  kill nodes-1" in result.stdout
    assert "lines; seed 5, trace " in result.stderr
    assert run("replay", "scenario.yaml", "--item", "00112233").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'SCENARIO'"),
        (["scenario.yaml", "--variant", "flood", "--variants", "all"], "--variant is one"),
        (["scenario.yaml", "--check", "--shrink"], "two questions"),
        (["scenario.yaml", "--check", "--dask", "tcp://127.0.0.1:1"], "leave --dask out"),
        (["scenario.yaml", "--faults", "a"], "write numbers of faults"),
        (["scenario.yaml", "--seeds", "0"], "--seeds"),
        (["replay", "scenario.yaml"], "--at TIME or --item HEX"),
        (["replay", "scenario.yaml", "--at", "1s", "--item", "00"], "one of the two"),
        (["replay", "scenario.yaml", "--at", "soon"], "not a duration"),
    ],
)
def test_what_is_not_understood_has_status_2(run, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml"], "can't read none.yaml"),
        (["scenario.yaml", "--set", "duration"], "write a path and its value"),
        (["scenario.yaml", "--set", "hosts.node.count=3"], "did you mean 'nodes'?"),
        (["scenario.yaml", "--sweep", "hosts.nodes.count=4,x"], "hosts.nodes.count"),
        (["scenario.yaml", "--sweep", "seed=1", "--sweep", "seed=2"], "--sweep seed is there twice"),
        (["scenario.yaml", "--variants", "default,floood"], "did you mean 'flood'?"),
        (["scenario.yaml", "--variant", "floood"], "did you mean 'flood'?"),
        (["scenario.yaml", "--faults", "99"], "there is no fault 99"),
        (["scenario.yaml", "--out", "scenario.yaml"], "--out"),
        (["replay", "scenario.yaml", "--at", "2h"], "after the end"),
        (["replay", "scenario.yaml", "--item", "zz"], "is no id"),
    ],
)
def test_a_mistake_is_told_of_before_anything_runs(run, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_help_tells_of_replay_and_imports_nothing_heavy(run):
    assert "p2pframe sim replay SCENARIO" in run("--help").stdout
    assert "--item" in run("replay", "--help").stdout
    code = (
        "import sys, p2pframe.cli; "
        "print([m for m in ('pydantic', 'twisted', 'rich', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
