"""The fixture `simulation`, as a project that writes plugins has it: found by its entry point, closed, unforgiving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from p2pframe.sim.links import LinkConfig, LinksConfig
from p2pframe.testing.simulation import NodeSimulation

PLUGINS = Path(__file__).parents[2] / "plugins"
NODE = f"""
version: 1
node: {{plugin_path: ["{PLUGINS}"]}}
storage: {{plugin: sqlite}}
networks:
  chat:
    protocol: {{plugin: lines}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:7777"]}}]
    discovery: DISCOVERY
"""
ALICE, BOB = "192.0.2.1", "198.51.100.1"


def node(*peers):
    quoted = ", ".join(f'"{peer}:7777"' for peer in peers)
    return NODE.replace("DISCOVERY", f"[{{plugin: static, peers: [{quoted}]}}]" if peers else "[]")


def opened(host):
    return any(session.state == "open" for session in host.node.view.sessions())


ELSEWHERE = f"NODE = {node()!r}" + """
import pytest
from twisted.internet.defer import fail
from p2pframe.errors import ConfigError, StartError

kept = []
BAD = NODE.replace("0.0.0.0", "203.0.113.77")

@pytest.mark.simulation(seed=5, links={"default": {"latency": "70ms"}})
def test_seed_and_links_are_those_of_the_marker(simulation):
    kept.append((simulation, simulation.start(NODE, "192.0.2.1", region="europe")))
    simulation.run(600.0)
    assert simulation.clock.now >= 600.0 and simulation.seed == 5
    other = simulation.at("203.0.113.1").host
    assert simulation.network.path(other, kept[0][1]).latency == 0.07

def test_all_of_the_last_one_is_closed(simulation):
    [(former, host)] = kept
    assert simulation is not former and not host.alive and simulation.clock.now == 0.0
    assert host.node.networks["chat"].running is False

def test_what_is_expected_is_taken_out(simulation):
    simulation.at("192.0.2.9").reactor.callLater(1.0, lambda: 1 / 0)
    simulation.run(2.0)
    [failure] = simulation.logged.flush(ZeroDivisionError)
    assert failure.check(ZeroDivisionError)

def test_a_config_with_mistakes_is_told_of_in_the_test_itself(simulation):
    with pytest.raises(ConfigError, match="plugn"):
        simulation.start(NODE.replace("plugin: lines", "plugn: lines"), "192.0.2.1")

def test_bad_logged(simulation):
    simulation.at("192.0.2.9").reactor.callLater(1.0, lambda: 1 / 0)
    simulation.run(2.0)

def test_bad_unhandled(simulation):
    fail(KeyError("nobody took this"))

def test_bad_stop(simulation):
    simulation.start(NODE, "192.0.2.1").node.stop = lambda: fail(OSError("stuck"))

def test_bad_start(simulation):
    with pytest.raises(StartError, match="203.0.113.77"):
        simulation.start(BAD, "192.0.2.2")
"""


def test_the_plugin_alone_imports_nothing_of_ours_or_of_twisted():
    check = (
        "import sys, p2pframe.testing.pytest_plugin; "
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('twisted', 'pydantic', 'p2pframe')))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['p2pframe', 'p2pframe.testing', 'p2pframe.testing.pytest_plugin']"


def test_in_another_project_it_is_there_closes_all_and_fails_what_only_the_log_knows(pytester):
    pytester.makepyfile(test_it=ELSEWHERE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers")
    tests, bad = ELSEWHERE.count("def test_"), ELSEWHERE.count("def test_bad_")
    result.assert_outcomes(passed=tests, errors=bad)
    said = result.stdout.str()
    for name, why in [
        ("logged", "ZeroDivisionError: division by zero"),
        ("unhandled", "nobody took this"),
        ("stop", "192.0.2.1 did not stop: stuck"),
        ("start", "192.0.2.2 did not start: "),
    ]:
        assert f"ERROR at teardown of test_bad_{name}" in said and why in said


def test_a_partition_is_silent_and_ends(tmp_path):
    world = NodeSimulation(tmp_path, links=LinksConfig(default=LinkConfig(latency=0.02)))
    alice, bob = world.start(node(), ALICE), world.start(node(ALICE), BOB)
    world.run_until(lambda: opened(alice) and opened(bob))
    mend = world.partition([alice], [bob])
    world.wait(bob.node.networks["chat"].protocol.say("one"))
    world.run(5.0)
    assert alice.node.networks["chat"].protocol.lines() == [] and opened(alice)
    mend()
    world.run_until(lambda: alice.node.networks["chat"].protocol.lines() == ["one"], limit=10.0)
    world.stop()
    assert not alice.alive and not bob.alive and world.complaints() == []
    world.close()


def test_folders_are_real_where_that_is_asked_for(tmp_path):
    simulated, real = NodeSimulation(tmp_path / "a"), NodeSimulation(tmp_path / "b", real_folders=True)
    for world in (simulated, real):
        world.folder.mkdir()
        text = node().replace("node: {", "node: {data_dir: kept, ")
        host = world.start(text, ALICE)
        world.wait(host.node.networks["chat"].protocol.say("one"))
        world.stop()
        world.wait(host.restart())
        world.stop()
        world.close()
    assert not (tmp_path / "a" / "kept").exists()
    assert list((tmp_path / "b" / "kept").rglob("*.sqlite*")) or list((tmp_path / "b" / "kept").iterdir())
