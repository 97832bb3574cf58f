"""One run: a scenario, a variant of it and a seed in; values, curves, judgements and a trace out."""

from __future__ import annotations

# real world: time: how long a run took this machine is told with its result
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from p2pframe.registry import Registry
from p2pframe.sim import groups
from p2pframe.sim.collector import Collector
from p2pframe.sim.expectations import judge
from p2pframe.sim.faults import Fault, chosen, draw
from p2pframe.sim.host import Host, Incarnation
from p2pframe.sim.injection import Injector
from p2pframe.sim.links import Links
from p2pframe.sim.measures import MEASURES, Measure, Run
from p2pframe.sim.results import RunResult
from p2pframe.sim.scenario import DEFAULT, Scenario
from p2pframe.sim.scenario_file import load_scenario
from p2pframe.sim.simulation import Simulation
from p2pframe.sim.trace import Watcher
from p2pframe.sim.workload import Workload

STEPS = 200
"""How often progress is told of in a run."""
KEPT_FAILURES = 100
"""Logged failures that a result quotes; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to run. `seed` None: the scenario's own; `faults` None: all that its timeline and churn draw."""

    path: str
    seed: int | None = None
    variant: str = DEFAULT
    settings: tuple[tuple[str, str], ...] = ()
    faults: tuple[int, ...] | None = None

    @property
    def command(self) -> str:
        """The command that does it again."""
        words = ["p2pframe", "sim", quote(self.path)]
        if self.seed is not None:
            words += ["--seed", str(self.seed)]
        if self.variant != DEFAULT:
            words += ["--variant", self.variant]
        for key, value in self.settings:
            words += ["--set", quote(f"{key}={value}")]
        if self.faults is not None:
            words += ["--faults", ",".join(map(str, self.faults)) or "none"]
        return " ".join(words)


@dataclass(slots=True)
class Watch:
    """What a replay looks at while a run goes: each is called where it is set."""

    deliveries: Watcher | None = None
    faults: Callable[[float, Fault], None] | None = None
    items: Callable[[float, Host, str, bytes, Host | None], None] | None = None
    """Virtual time, who took it, topic, id, who it came from (None: made there)."""
    traces: list[tuple[float, str]] = field(default_factory=list)
    """Filled with the trace's checkpoints at the end."""
    began: Callable[[Simulation], None] | None = None
    """Given the simulation before there is anything in it."""


@implementer(ILogObserver)
class Failures:
    """Failures that are logged while a run goes: with the time and the host in whose call they happened."""

    def __init__(self, simulation: Simulation) -> None:
        self.count = 0
        self.texts: list[str] = []
        self._simulation = simulation

    def __call__(self, event: LogEvent) -> None:
        """Take an event of the log."""
        failure = event.get("log_failure")
        if failure is None:
            return
        self.count += 1
        if len(self.texts) < KEPT_FAILURES:
            owner = self._simulation.clock.current
            where = f" on {owner.host.name}" if isinstance(owner, Incarnation) else ""
            place = failure.frames[-1] if failure.frames else None
            at = f" ({Path(place[1]).name}:{place[2]} in {place[0]})" if place else ""
            self.texts.append(
                f"{self._simulation.clock.now:.3f} s{where}: {failure.type.__name__}: {failure.getErrorMessage()}{at}"
            )


def run(
    job: Job,
    progress: Callable[[float], None] | None = None,
    watch: Watch | None = None,
    registry: Registry | None = None,
) -> RunResult:
    """Run it. `progress` is told of virtual seconds. Raises `ConfigError` for a scenario with mistakes."""
    scenario = load_scenario(Path(job.path), job.variant, dict(job.settings), seed=job.seed, registry=registry)
    return run_scenario(scenario, job, progress, watch)


def run_scenario(
    scenario: Scenario, job: Job, progress: Callable[[float], None] | None = None, watch: Watch | None = None
) -> RunResult:
    """Run a scenario that is loaded."""
    began = time.process_time()
    simulation = Simulation(scenario.seed, Links(scenario.links, scenario.seed))
    measured = Run(simulation, scenario.duration)
    failures = Failures(simulation)
    globalLogPublisher.addObserver(failures)
    collector = Collector(simulation.clock)
    try:
        measures = [MEASURES[name](name, options, measured) for name, options in scenario.measures.items()]
        simulation.prepared.append(lambda host: _prepared(measures, host))
        if watch is not None:
            _watch(watch, simulation)
        groups.build(simulation, scenario)
        schedule = draw(scenario, simulation)
        happening = schedule if job.faults is None else chosen(schedule, job.faults)
        if watch is not None and watch.faults is not None:
            for fault in happening:
                simulation.clock.at(fault.time, None, watch.faults, fault.time, fault)
        Injector(simulation).arm(happening)
        workload = Workload(scenario.workload, simulation, measured.produced)
        workload.begin()
        for measure in measures:
            measure.begin()
        collector.begin()
        _go(simulation, scenario.duration, progress)
        for measure in measures:
            measure.finish()
        digest = simulation.finish()
        result = RunResult(
            scenario=scenario.name,
            seed=int(scenario.seed),
            variant=scenario.variant,
            settings=dict(job.settings),
            trace=digest,
            duration=scenario.duration,
            events=simulation.clock.calls,
            deliveries=simulation.trace.deliveries,
            hosts=len(simulation.hosts),
            values=dict(sorted({**measured.values, **workload.values()}.items())),
            curves=measured.curves,
            graphs=measured.graphs,
            faults=[fault.note() for fault in happening],
            command=job.command,
        )
        result.failures = _failures(simulation, failures)
        result.failures += workload.failures()
        result.judgements = judge(
            scenario.expect, result, [scenario.places[f"expect.{n}"] for n in range(len(scenario.expect))]
        )
        if watch is not None:
            watch.traces = list(simulation.trace.checkpoints)
        result.cpu = time.process_time() - began
        return result
    finally:
        globalLogPublisher.removeObserver(failures)
        simulation.close()
        collector.end()


def _prepared(measures: list[Measure], host: Host) -> None:
    for measure in measures:
        measure.prepared(host)


def _go(simulation: Simulation, duration: float, progress: Callable[[float], None] | None) -> None:
    for step in range(1, STEPS + 1):
        simulation.clock.run(duration * step / STEPS)
        if progress is not None:
            progress(simulation.clock.now)


def _failures(simulation: Simulation, failures: Failures) -> list[str]:
    texts = [text for host in simulation.hosts.values() for text in host.failures] + failures.texts
    if failures.count > len(failures.texts):
        texts.append(f"{failures.count - len(failures.texts)} more logged failures")
    return texts


def _watch(watch: Watch, simulation: Simulation) -> None:
    simulation.trace.watcher = watch.deliveries
    if watch.began is not None:
        watch.began(simulation)
    if watch.items is None:
        return
    told = watch.items

    def prepared(host: Host) -> None:
        assert host.node is not None
        for network in host.node.networks.values():
            for topic in network.protocol.topics:
                network.items.subscribe(topic, _teller(host, topic))

    def _teller(host: Host, topic: str) -> Callable[[Any, Any], None]:
        def tell(item: Any, source: Any) -> None:
            other = simulation.network.find(source.address.host) if source is not None else None
            told(simulation.clock.now, host, topic, item.id, other)

        return tell

    simulation.prepared.append(prepared)


__all__ = ["Job", "Watch", "run", "run_scenario"]
