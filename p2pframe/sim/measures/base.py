"""What a measure is: something that watches a run and says in the end what it saw, as named values and curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from p2pframe.model import ItemId, Topic
from p2pframe.plugin import Field, PluginConfig
from p2pframe.sim.host import Host
from p2pframe.sim.references import GroupName, NetworkName
from p2pframe.sim.results import Curve
from p2pframe.sim.simulation import Simulation
from p2pframe.sim.world_graph import WorldGraph


@dataclass(frozen=True, slots=True)
class Produced:
    """An item that the workload made: when (virtual seconds) and where."""

    time: float
    host: Host
    network: str
    topic: Topic
    id: ItemId


@dataclass(slots=True)
class Run:
    """What the measures of one run share, and what they give: `values` by name, and curves."""

    simulation: Simulation
    duration: float
    produced: list[Produced] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    graphs: list[WorldGraph] = field(default_factory=list)

    def hosts(self, groups: Sequence[str] = (), alive: bool = True) -> list[Host]:
        """The honest hosts, of these groups where any are given, that run now."""
        return [
            host
            for host in self.simulation.hosts.values()
            if (host.group in groups if groups else host.honest)
            and (not alive or (host.alive and host.node is not None))
        ]

    def every(self, interval: float, call: Callable[[float], None]) -> None:
        """Call with the time now and then, from the first interval to the end of the run."""
        clock = self.simulation.clock

        def again() -> None:
            call(clock.now)
            if clock.now + interval <= self.duration:
                clock.at(clock.now + interval, None, again)

        clock.at(clock.now + interval, None, again)


class MeasureConfig(PluginConfig):
    """Options that every measure has."""

    network: NetworkName = Field(description="The network, by its name in the node files.")
    groups: tuple[GroupName, ...] = Field((), description="Hosts of these groups; unset: all honest ones.")


class Measure:
    """One measure of one run. `name` begins the names of its values."""

    config: ClassVar[type[MeasureConfig]] = MeasureConfig

    def __init__(self, name: str, config: PluginConfig, run: Run) -> None:
        assert isinstance(config, self.config)
        self.name = name
        self.options: MeasureConfig = config
        self.run = run

    def begin(self) -> None:
        """Called once, before anything runs."""

    def prepared(self, host: Host) -> None:
        """Called at each boot of a host, when its node is built and has not started."""

    def finish(self) -> None:
        """Called once, at the end of the run: put what was seen into `run.values` and `run.curves`."""

    def put(self, name: str, value: float) -> None:
        """Give a value."""
        self.run.values[f"{self.name}.{name}"] = float(value)

    def mine(self, host: Host) -> bool:
        """Whether a host is among those that are measured."""
        groups = self.options.groups
        return host.group in groups if groups else host.honest

    def hosts(self) -> list[Host]:
        """Those that run now."""
        return self.run.hosts(self.options.groups)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values (sorted) does not exceed: nearest rank; NaN of nothing."""
    if not values:
        return float("nan")
    return values[max(0, min(len(values) - 1, -(-int(share * len(values) * 1_000_000) // 1_000_000) - 1))]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")
