"""A simulation as a whole: waiting, cuts, and that equal seeds give equal traces in any process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from p2pframe.config import load
from p2pframe.model import Slot
from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.simulation import Simulation, _ordered, end_state
from tests.sim.ends import ALICE, BOB, CAROL, joined, pair, simulated, up

NODE = """
version: 1
node: {{data_dir: kept}}
storage: {{plugin: memory}}
applications: [{{plugin: bitcoin-workload, network: bitcoin}}]
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:18444"]}}]
    discovery: {discovery}
"""
HOSTS = 8


def run(folder, seed, size=300):
    """Bitcoin nodes on bad links that mine, are killed, cut off and come back; the trace, and what came of it."""
    latency = {"lognormal": {"median": "40ms", "p99": "200ms"}}
    link = {"latency": latency, "jitter": "5ms", "loss": 0.01, "segment": True}
    simulation = Simulation(seed, Links(LinksConfig(default=LinkConfig.model_validate(link)), seed))
    hosts = [simulation.host(f"11.{n}.0.1", name=f"n{n}", skew=n - 3.0, up=200_000) for n in range(HOSTS)]
    for number, host in enumerate(hosts):
        peers = ", ".join(f'"11.{n}.0.1:18444"' for n in {(number + 1) % HOSTS, (number + 3) % HOSTS})
        path = Path(folder) / f"n{number}.yaml"
        path.write_text(NODE.format(discovery=f"[{{plugin: static, peers: [{peers}]}}]"))
        simulation.wait(host.start(load(path)))
    simulation.run(10.0)

    def produce(host, topic):
        [workload] = host.node.applications
        simulation.wait(workload.produce(topic, size))

    for _ in range(2):
        produce(hosts[0], "block")
        simulation.run(5.0)
    hosts[2].kill()
    sides = {host.number: number % 2 for number, host in enumerate(hosts[4:])}
    simulation.network.part(sides)
    produce(hosts[1], "block")
    simulation.run(20.0)
    simulation.network.join(sides)
    hosts[3].power_off()
    simulation.wait(hosts[2].restart())
    simulation.run(60.0)
    heights = [host.node.networks["bitcoin"].protocol.tip().height for host in hosts if host.alive]
    trace = simulation.finish()
    found = [trace, simulation.trace.deliveries, simulation.clock.calls, heights, simulation.trace.checkpoints]
    simulation.close()
    return found


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The same run in two processes of different hash seeds."""
    program = (
        "import json, sys; sys.path.insert(0, '.'); from tests.sim.test_simulation import run; "
        "print(json.dumps(run(sys.argv[1], 7)))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path_factory.mktemp("run"))],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hashes},
        )
        for hashes in ("1", "2222")
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in started]


def test_equal_seeds_give_equal_traces_in_any_process(apart, tmp_path):
    first, second = apart
    assert first == second
    assert first[1] > 500 and set(first[3]) == {3}, "something happened, and all agree in the end"
    here = run(tmp_path, 7)
    assert json.loads(json.dumps(here)) == first


def test_another_seed_or_one_more_byte_gives_another_trace(apart, tmp_path):
    traces = {apart[0][0]}
    traces.add(run(tmp_path, 8)[0])
    simulations = []
    for said in (b"x" * 1000, b"x" * 500 + b"y" + b"x" * 499):
        simulation, _, _, here, _ = pair(jitter="5ms")
        here.transport.write(said)
        simulation.run(1.0)
        simulations.append(simulation)
        traces.add(simulation.finish())
    assert len(traces) == 4
    assert simulations[0].trace.deliveries == simulations[1].trace.deliveries


def test_the_end_state_of_a_host_is_in_the_trace_and_follows_what_it_counted():
    one, other = simulated(), simulated()
    for simulation in (one, other):
        up(simulation, ALICE)
        simulation.host(BOB)
    other.hosts[ALICE].kill()
    other.hosts[ALICE].boot()
    states = [json.loads(end_state(host)) for host in one.hosts.values()]
    assert [dict(state)["up"] for state in states] == [True, False]
    assert one.finish() != other.finish()


def test_an_end_state_is_written_the_same_whatever_the_order_of_sets():
    state = {"b": {3, 1, 2}, "a": frozenset({("x", 1), ("a", 2)}), 1: Slot.OUTBOUND, "none": None, "c": (1.5, True)}
    text = json.dumps(_ordered(state))
    assert text == json.dumps(_ordered(dict(reversed(list(state.items())))))
    assert "[1, 2, 3]" in text.replace('"', "")


def test_waiting_gives_the_result_or_raises_the_failure_or_gives_up():
    simulation = simulated()
    later: Deferred[int] = Deferred()
    simulation.clock.callLater(5.0, later.callback, 42)
    assert simulation.wait(later) == 42 and simulation.clock.now == 5.0
    assert simulation.wait(succeed(None)) is None
    with pytest.raises(KeyError):
        simulation.wait(fail(KeyError("x")))
    with pytest.raises(AssertionError, match=r"in 7\.5 virtual seconds"):
        simulation.wait(Deferred(), 7.5)
    assert simulation.clock.now == 12.5


def test_run_until_stops_at_the_very_event():
    simulation, _, _, here, there = pair(latency="30ms")
    start = simulation.clock.now
    here.transport.write(b"x")
    simulation.run_until(lambda: there.data)
    assert simulation.clock.now == pytest.approx(start + 0.03)
    simulation.run_until(lambda: True, 0.0)
    with pytest.raises(AssertionError):
        simulation.run_until(lambda: False, 1.0)


def test_two_cuts_take_two_mends_and_a_partition_is_apart_from_them():
    simulation = simulated()
    alice, bob, carol = (up(simulation, address) for address in (ALICE, BOB, CAROL))
    network = simulation.network

    def ways():
        hosts = (alice, bob, carol)
        return {(a.name, b.name) for a in hosts for b in hosts if a is not b and not network.reachable(a, b)}

    network.cut(alice, bob)
    network.cut(alice, bob)
    network.mend(alice, bob)
    assert ways() == {(ALICE, BOB)}
    sides = {alice.number: 0, bob.number: 1}
    network.part(sides)
    network.mend(alice, bob)
    assert ways() == {(ALICE, BOB), (BOB, ALICE)}, "carol is on no side, and reaches both"
    network.join(sides)
    assert ways() == set() and not network.cuts


def test_streams_that_are_stuck_are_each_told_once_of_a_mend():
    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB)
    ends = [joined(simulation, alice, bob) for _ in range(20)]
    for _ in range(3):
        simulation.network.cut(alice, bob)
        for here, there in ends:
            here.transport.write(b"x")
            there.transport.write(b"y")
        simulation.run(10.0)
        assert len(simulation.network.mended) == 40
        simulation.network.mend(alice, bob)
        simulation.run(10.0)
        assert simulation.network.mended == []
    assert {there.data for _, there in ends} == {b"xxx"} and {here.data for here, _ in ends} == {b"yyy"}


def test_a_closed_simulation_is_down():
    simulation, alice, bob, here, there = pair()
    simulation.close()
    simulation.run(10.0)
    assert not alice.alive and not bob.alive and here.lost is None and there.lost is None
