"""An application in whole nodes on simulated hosts: started, run, stopped, started again, with equal traces."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from p2pframe.config.loader import load_tree
from p2pframe.config.reader import read_text
from p2pframe.config.settings import NodeSpec, PluginChoice
from p2pframe.config.tree import Problems
from p2pframe.errors import ConfigError
from p2pframe.interfaces import IWorkload
from p2pframe.registry import Registry
from p2pframe.sim.host import Host
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.logged import no_failure_logged

MINE, OTHERS = "192.0.2.1", "192.0.2.2"
_START = "Called once, when every network of the node has started."
_STOP = "Called once at stop, before the networks stop"


def check(bench: Bench, text: str, runs: float) -> None:
    """Run the application in the node of `text` twice, with equal ends. Raises `NonConformance`, or `ConfigError`."""
    bench.twice(lambda: _run(bench, text, runs), "the trace of its node")


def _run(bench: Bench, text: str, runs: float) -> str:
    simulation = Simulation(seed=1)
    try:
        with no_failure_logged(bench, "IApplication, in a node"):
            mine, others = simulation.host(MINE), simulation.host(OTHERS)
            plain = _spec(text)
            choice = PluginChoice(bench.spec, bench.cls, bench.config, origin=bench.label, network=_network(plain))
            _up(bench, simulation, others, plain)
            _up(bench, simulation, mine, replace(plain, applications=(*plain.applications, choice)))
            simulation.run(runs)
            _produces(bench, simulation, mine)
            _down(bench, simulation, mine)
            _up(bench, simulation, mine, None)
            simulation.run(runs)
            _down(bench, simulation, mine)
            _down(bench, simulation, others)
            return simulation.finish()
    finally:
        simulation.close()


def _spec(text: str) -> NodeSpec:
    problems = Problems()
    tree = read_text(text, "node.yaml", Path.cwd(), os.environ, problems)
    spec = None if tree is None else load_tree(Path("node.yaml").absolute(), tree, problems, Registry())
    if spec is None or problems:
        raise ConfigError(problems.sorted())
    return spec


def _network(spec: NodeSpec) -> str | None:
    """The network whose services the application asks for, where it does not say: the only one there is."""
    return next(iter(spec.networks)) if len(spec.networks) == 1 else None


def _up(bench: Bench, simulation: Simulation, host: Host, spec: NodeSpec | None) -> None:
    started = host.start() if spec is None else host.start(spec)
    _wait(bench, simulation, started, "start", _START)


def _down(bench: Bench, simulation: Simulation, host: Host) -> None:
    node, incarnation = host.node, host.incarnation
    assert node is not None and incarnation is not None
    _wait(bench, simulation, node.stop(), "stop", _STOP)
    left = [str(call) for call in incarnation.reactor.getDelayedCalls()]
    left += [f"a port at {at}" for at in (*incarnation.ports, *incarnation.datagram_ports)]
    bench.require(not left, "stop", _STOP, lambda: f"after the node has stopped there is {', '.join(left[:3])}")
    host.stop()


def _produces(bench: Bench, simulation: Simulation, host: Host) -> None:
    """What can make items makes one of each topic."""
    node = host.node
    assert node is not None
    plugin = next(one for one in node.applications if isinstance(one, bench.cls))
    if not IWorkload.providedBy(plugin):
        return
    workload: IWorkload = plugin
    sentence = "Make one new valid item of about `size` bytes and hand it to the node, as one of its own."
    for topic in workload.topics:
        for size in (1, 1000):
            made = _wait(bench, simulation, workload.produce(topic, size), "IWorkload.produce", sentence)
            bench.require(isinstance(made, bytes), "IWorkload.produce", sentence, f"it fires with {made!r:.200}")


def _wait(bench: Bench, simulation: Simulation, deferred: Deferred[Any], method: str, sentence: str) -> Any:
    fired: list[object] = []
    deferred.addBoth(fired.append)
    bench.call(method, sentence, simulation.run_until, lambda: fired, 60.0)
    result = fired[0]
    failed = result.getTraceback() if isinstance(result, Failure) else ""
    bench.require(not failed, method, sentence, failed)
    return result
