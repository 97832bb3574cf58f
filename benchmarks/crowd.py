"""Simulated Bitcoin nodes by the thousand, measured from inside: one measure a process, so that its memory is its own.

Each prints one line of JSON:

    python -m benchmarks.crowd messages MIX NODES    messages a CPU-second in one of `MIXES`
    python -m benchmarks.crowd idle NODES            memory and CPU of nodes that hold 8 sessions each, and do nothing
    python -m benchmarks.crowd clock PENDING         the simulator's clock beside a bare heapq
    python -m benchmarks.crowd propagation NODES     blocks and transactions, from the first start to the last word

`--profile` behind `messages` prints the functions that took the most time in its place.
"""

from __future__ import annotations

import cProfile
import gc
import json
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from statistics import median

from twisted.logger import globalLogBeginner

from p2pframe.sim import groups
from p2pframe.sim.clock import HeapClock
from p2pframe.sim.collector import Collector
from p2pframe.sim.links import Links
from p2pframe.sim.scenario import Scenario
from p2pframe.sim.scenario_file import load_scenario
from p2pframe.sim.simulation import Simulation
from p2pframe.sim.workload import Workload

NODE = """\
version: 1
storage: {plugin: sqlite}
applications: [{plugin: bitcoin-workload, network: bitcoin}]
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
    topology: {plugin: random, outbound: 0, block_relay: 0, feeler: 0, manual: 20}
    scoring: [{plugin: weighted}, {plugin: behaviour}]
"""
"""A whole node, as in examples/scenarios/propagation.yaml: the graph is given, and nobody looks for others."""
SCENARIO = """\
version: 1
seed: 1
duration: 1h
hosts:
  nodes:
    node: node.yaml
    count: {nodes}
    start: 10s
    override: {{networks: {{bitcoin: {{relay: {{plugin: {relay}}}}}}}}}
graph: [{{network: bitcoin, kind: regular, degree: 8, groups: [nodes]}}]
links: {{default: {{latency: {{lognormal: {{median: 80ms, p99: 250ms}}}}}}}}
workload: [{workload}]
"""
SETTLED = 30.0
"""Virtual second by which all handshakes are over, and what follows them."""
WORKLOAD = (
    "{{produce: block, every: {block}s, network: bitcoin, size: 20kB, start: {start}s, stop: {stop}s}},"
    " {{produce: tx, every: {{exponential: {{mean: {tx}s}}}}, network: bitcoin, size: 250, start: {start}s,"
    " stop: {stop}s}}"
)
MIXES = {"flood": ("flood", 0.2), "inventory": ("inventory", 0.2), "calm": ("inventory", 2.0)}
"""The relay policy, and the seconds between two transactions; a block comes every 10 s."""
MEASURED = 30.0
"""Virtual seconds of a mix, of which the last `TAIL` bring nothing new: what there is gets everywhere."""
TAIL = 15.0


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Crowd:
    """A simulation of so many nodes on a random graph of degree 8, in a folder of its own."""

    def __init__(self, nodes: int, relay: str = "inventory", workload: str = "") -> None:
        with tempfile.TemporaryDirectory(prefix="p2pframe-bench-") as folder:
            (Path(folder) / "node.yaml").write_text(NODE)
            path = Path(folder) / "crowd.yaml"
            path.write_text(SCENARIO.format(nodes=nodes, relay=relay, workload=workload))
            self.scenario: Scenario = load_scenario(path)
        self.simulation = Simulation(1, Links(self.scenario.links, 1))
        groups.build(self.simulation, self.scenario)
        self.workload = Workload(self.scenario.workload, self.simulation, [])
        self.workload.begin()
        # As a run of `p2pframe sim` does.
        Collector(self.simulation.clock).begin()

    def messages(self) -> int:
        """Protocol messages that nodes have received, in all."""
        return sum(
            count
            for host in self.simulation.hosts.values()
            if host.node is not None
            for network in host.node.view.networks()
            for count, _ in network.messages.values()
        )

    def kinds(self) -> dict[str, int]:
        """The same by type."""
        kinds: dict[str, int] = {}
        for host in self.simulation.hosts.values():
            if host.node is not None:
                for kind, (count, _) in host.node.view.networks()[0].messages.items():
                    kinds[kind] = kinds.get(kind, 0) + count
        return kinds


def messages(mix: str, nodes: int, profile: bool = False) -> dict[str, object]:
    """Messages a CPU-second while blocks and transactions spread among nodes whose sessions are open."""
    relay, tx = MIXES[mix]
    crowd = Crowd(nodes, relay, WORKLOAD.format(block=10, tx=tx, start=SETTLED, stop=SETTLED + MEASURED - TAIL))
    clock = crowd.simulation.clock
    clock.run(SETTLED)
    before, calls = crowd.kinds(), clock.calls
    profiler = cProfile.Profile() if profile else None
    began = time.process_time()
    if profiler is not None:
        profiler.enable()
    clock.run(SETTLED + MEASURED)
    if profiler is not None:
        profiler.disable()
    used = time.process_time() - began
    if profiler is not None:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
    kinds = {kind: count - before.get(kind, 0) for kind, count in crowd.kinds().items()}
    delivered = sum(kinds.values())
    return {
        "messages": delivered,
        "cpu": used,
        "per_second": delivered / used,
        "calls": clock.calls - calls,
        "kinds": dict(sorted(kinds.items(), key=lambda kind: -kind[1])),
        "made": crowd.workload.values(),
        "resident": resident(),
    }


def idle(nodes: int) -> dict[str, object]:
    """Bytes that a node with 8 sessions takes, and CPU-seconds for a virtual second of it."""
    gc.collect()
    before = resident()
    crowd = Crowd(nodes)
    clock = crowd.simulation.clock
    clock.run(SETTLED)
    began = time.process_time()
    clock.run(SETTLED + MEASURED)
    used = time.process_time() - began
    return {
        "bytes": (resident() - before) / nodes,
        "cpu": used / MEASURED / nodes,
        "messages": sum(crowd.kinds().values()),
    }


def propagation(nodes: int) -> dict[str, object]:
    """The whole of a scenario of this size, starts and all: its memory and CPU."""
    began = time.process_time()
    work = WORKLOAD.format(block=10, tx=1.0, start=SETTLED, stop=SETTLED + MEASURED - TAIL)
    crowd = Crowd(nodes, "inventory", work)
    crowd.simulation.clock.run(SETTLED + MEASURED)
    used = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    delivered = sum(crowd.kinds().values())
    heights = [host.node.view.networks()[0].status["height"] for host in crowd.simulation.hosts.values() if host.node]
    at_tip = heights.count(max(heights))
    return {"peak": peak, "cpu": used, "messages": delivered, "at_tip": at_tip, "made": crowd.workload.values()}


# --- the clock ---

EVENTS = 100_000
DELAYS = [Random(1).random() for _ in range(1024)]


def _bare_events(pending: int) -> Callable[[], None]:
    """A bare heapq of (time, number, function): each call puts in the next one."""
    heap: list[tuple[float, int, Callable[[], None]]] = []
    now, number = 0.0, 0

    def event() -> None:
        nonlocal number
        number += 1
        heappush(heap, (now + DELAYS[number & 1023], number, event))

    for _ in range(pending):
        event()

    def go() -> None:
        nonlocal now
        for _ in range(EVENTS):
            now, _, function = heappop(heap)
            function()

    return go


def _bare_timers(pending: int) -> Callable[[], None]:
    """The same, where each call also moves one timer and cancels another: a list that is marked, and a new entry."""
    heap: list[tuple[float, int, list[Callable[[], None] | None]]] = []
    now, number = 0.0, 0

    def put(delay: float, function: Callable[[], None]) -> list[Callable[[], None] | None]:
        nonlocal number
        number += 1
        entry: list[Callable[[], None] | None] = [function]
        heappush(heap, (now + delay, number, entry))
        return entry

    def event() -> None:
        put(DELAYS[number & 1023], event)
        at = number % len(moved)
        moved[at][0] = None
        moved[at] = put(1.5, nothing)
        cancelled[at][0] = None
        cancelled[at] = put(1.0, nothing)

    def nothing() -> None:
        pass

    moved, cancelled = ([put(1.5, nothing) for _ in range(pending // 4)] for _ in range(2))
    for _ in range(pending // 2):
        put(DELAYS[number & 1023], event)

    def go() -> None:
        nonlocal now
        made = 0
        while made < EVENTS:
            now, _, entry = heappop(heap)
            function = entry[0]
            if function is not None:
                made += function is event
                function()

    return go


def _clock_events(pending: int) -> Callable[[], None]:
    """The simulator's clock, by the way of its network: each call asks for the next one."""
    clock = HeapClock()
    number = 0

    def event() -> None:
        nonlocal number
        number += 1
        clock.at(clock.now + DELAYS[number & 1023], None, event)

    for _ in range(pending):
        event()
    return lambda: _run(clock, lambda: number)


def _clock_calls(pending: int) -> Callable[[], None]:
    """The same by `callLater`, as nodes do."""
    clock = HeapClock()
    number = 0

    def event() -> None:
        nonlocal number
        number += 1
        clock.callLater(DELAYS[number & 1023], event)

    for _ in range(pending):
        event()
    return lambda: _run(clock, lambda: number)


def _clock_timers(pending: int) -> Callable[[], None]:
    """The same, where each call also moves one timer and cancels another."""
    clock = HeapClock()
    number = 0

    def event() -> None:
        nonlocal number
        number += 1
        clock.callLater(DELAYS[number & 1023], event)
        at = number % len(moved)
        if moved[at].active():
            moved[at].reset(1.5)
        else:
            moved[at] = clock.callLater(1.5, nothing)
        if cancelled[at].active():
            cancelled[at].cancel()
        cancelled[at] = clock.callLater(1.0, nothing)

    def nothing() -> None:
        pass

    moved, cancelled = ([clock.callLater(1.5, nothing) for _ in range(pending // 4)] for _ in range(2))
    for _ in range(pending // 2):
        clock.callLater(DELAYS[number & 1023], event)
    return lambda: _run(clock, lambda: number)


def _run(clock: HeapClock, number: Callable[[], int]) -> None:
    """Until so many events have been; in a few steps, as there is no telling how long they take."""
    first = number()
    while number() - first < EVENTS:
        clock.run(clock.now + 0.02)


def clock(pending: int) -> dict[str, object]:
    """Seconds for the same work, by either."""
    ways: dict[str, Callable[[int], Callable[[], None]]] = {
        "bare_events": _bare_events,
        "events": _clock_events,
        "calls": _clock_calls,
        "bare_timers": _bare_timers,
        "timers": _clock_timers,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            go = way(pending)
            gc.collect()
            began = time.process_time()
            go()
            found[name].append(time.process_time() - began)
    return {name: median(times) for name, times in found.items()}


def main(arguments: list[str]) -> None:
    """See the module."""
    # Nobody reads them, and what is not begun keeps all that was logged.
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False, discardBuffer=True)
    profile = "--profile" in arguments
    name, *values = [word for word in arguments if word != "--profile"]
    if name == "messages":
        found = messages(values[0], int(values[1]), profile)
    else:
        found = {"idle": idle, "clock": clock, "propagation": propagation}[name](int(values[0]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
