"""--check: equal runs are equal, whatever they hash by; where two differ it says where, and what it can't vouch for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2pframe.errors import P2PFrameError
from p2pframe.sim.check import Different, _apart, check, refuse_unrepeatable
from p2pframe.sim.fresh import Crew
from p2pframe.sim.run import Job
from p2pframe.sim.scenario_file import load_scenario

PLUGINS = Path(__file__).parent / "plugins"
SCENARIO = """\
version: 1
seed: 5
duration: 80s
hosts:
  nodes:
    node: node.yaml
    count: 6
    start: 2s
    override: {node: {plugin_path: [PLUGINS]}, applications: [{plugin: bitcoin-workload, network: bitcoin}]}
graph: [{network: bitcoin, kind: complete}]
workload: [{produce: tx, every: 2s, from: [nodes], network: bitcoin, size: 250, start: 15s, stop: 35s}]
measures: {propagation: {network: bitcoin, topics: [tx]}}
expect: [{value: propagation.tx.coverage, at_least: 0.5}]
variants:
  set-order: {hosts: {nodes: {override: {networks: {bitcoin: {relay: {plugin: set-order}}}}}}}
"""


@pytest.fixture
def path(scenarios, tmp_path):
    # The node's plugins are trusted by who owns them and may write there.
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    for file in PLUGINS.glob("*.py"):
        (folder / file.name).write_text(file.read_text())
        (folder / file.name).chmod(0o644)
    return str(scenarios.write("scenario.yaml", SCENARIO.replace("PLUGINS", "plugins")))


def test_a_scenario_repeats_in_fresh_processes_that_hash_differently(path):
    reached = []
    result = check(Job(path), Crew(), progress=lambda *at: reached.append(at))
    assert result.ok and not result.failures
    assert result.deliveries > 100
    assert {number for number, _ in reached} == {0, 1}


def test_a_plugin_that_goes_by_the_order_of_a_set_is_caught_at_its_first_delivery(path):
    with pytest.raises(Different) as caught:
        check(Job(path, variant="set-order"), Crew())
    text = str(caught.value)
    assert text.startswith("two runs of seed 5 differ in their trace")
    assert "the first delivery that differs:  " in text and "and in the other run:  " in text
    mine, theirs = (line.split(":  ", 1)[1] for line in text.splitlines() if ":  " in line)
    assert mine != theirs
    assert " > nodes-" in mine and "bitcoin" in mine
    assert "p2pframe lint" in text


def test_the_linter_sees_it_too():
    from p2pframe.testing.determinism import lint

    [found] = lint([PLUGINS / "set_order_relay.py"])
    assert "walked over by a comprehension" in found


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("by_hash", ["differ in their trace", "all deliveries are the same"]),
        ("by_memory", ["differ in their values", "pid: "]),
    ],
)
def test_it_says_what_differs(runner, said):
    with pytest.raises(Different) as caught:
        check(Job("s.yaml", 3), Crew(f"tests.sim.runners:{runner}"))
    for part in said:
        assert part in str(caught.value)
    assert "steady" not in str(caught.value)


def test_what_a_run_costs_this_machine_is_not_compared():
    """Its process is another each time; its CPU time too."""
    result = check(Job("s.yaml", 3), Crew("tests.sim.runners:two_faults"))
    assert result.seed == 3


def test_a_run_that_can_not_be_run_is_told_of():
    with pytest.raises(P2PFrameError, match="could not be checked: its process was ended by SIGKILL"):
        check(Job("s.yaml", 1), Crew("tests.sim.runners:troubled"))


A, B, C, D, E = ((float(time), name) for time, name in enumerate("abcde"))


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ([A, B, C], [A, B, D], (1.0, 2.0)),
        ([A, B], [A, B, C], (1.0, 2.0)),
        # One was thinned out.
        ([B, D], [A, B, C, E], (1.0, 2.0)),
        ([A], [B], (0.0, 0.0)),
        ([], [], (0.0, float("inf"))),
        ([A, B], [A, B], (1.0, float("inf"))),
    ],
)
def test_where_two_traces_part(one, other, apart):
    assert _apart(one, other) == apart


def test_plugins_that_do_not_repeat_are_refused_by_name(path):
    scenario = load_scenario(path)
    refuse_unrepeatable(scenario)
    group = scenario.groups["nodes"]
    network = group.spec.networks["bitcoin"]
    [tcp] = network.transports
    odd = replace(tcp, spec=replace(tcp.spec, unrepeatable="it rolls its own dice"), where="node.yaml:6:18")
    spec = replace(group.spec, networks={"bitcoin": replace(network, transports=(odd,))})
    with pytest.raises(P2PFrameError) as caught:
        refuse_unrepeatable(replace(scenario, groups={"nodes": replace(group, spec=spec)}))
    assert "node.yaml:6:18: transport.tcp (nodes) does not repeat: it rolls its own dice" in str(caught.value)


def test_tls_is_one_of_them():
    from p2pframe.transports.tls.transport import TlsTransport

    assert TlsTransport.__p2pframe_plugin__.unrepeatable
