"""What goes wrong, and when: the entries of `timeline` and `churn`, and the numbered list that is drawn from them.

The list is drawn before the run, each entry from chance of its own, and says everything: time, hosts, end. A run may
then leave any of it out, which is how a failing schedule is cut down to the few faults that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from p2pframe.errors import P2PFrameError
from p2pframe.plugin import Duration, Field, PluginConfig, Size
from p2pframe.sim.distributions import Times
from p2pframe.sim.links import LinkConfig
from p2pframe.sim.references import GroupName, HostName
from p2pframe.sim.results import FaultNote

if TYPE_CHECKING:
    from p2pframe.sim.scenario import Scenario
    from p2pframe.sim.simulation import Simulation

MOST_FAULTS = 200_000
"""Of one run: beyond that it is the scenario that is wrong."""
_SHOWN = 4

Kind = Literal[
    "partition", "cut", "half-open", "kill", "power-off", "stop", "start", "slow-readers", "slow-links"
]  # fmt: skip
Streams = Callable[..., Random]
"""Chance by labels: `Simulation.stream`."""
Groups = Mapping[str, Sequence[str]]
"""The names of the hosts of each group."""


class FaultError(P2PFrameError):
    """A schedule can't be drawn; the text names the entry and says what to change."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as drawn. Times are virtual seconds; `until` is when it ends by itself, None: never.

    `sides` are the hosts that it is about: the sides of a partition, from and to of a cut or of slow links, else one.
    `back` says when each of them is started again, where they are. `entry` is the path of the entry in the scenario.
    """

    number: int
    time: float
    kind: Kind
    sides: tuple[tuple[str, ...], ...]
    until: float | None = None
    back: tuple[float, ...] = ()
    share: float = 1.0
    rate: int = 0
    link: LinkConfig | None = None
    entry: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The first side: of most kinds all that are hit."""
        return self.sides[0]

    @property
    def end(self) -> float | None:
        """When all of it is over: also the last host back."""
        return max(self.back) if self.back else self.until

    @property
    def text(self) -> str:
        """For people: `#3 12.5 s kill nodes-17, nodes-40, back after 30 s`."""
        return f"#{self.number} {seconds(self.time)} {self.what}"

    @property
    def what(self) -> str:
        """The same without number and time."""
        between = {"partition": " | ", "cut": " > ", "slow-links": " > "}.get(self.kind, ", ")
        parts = [f"{self.kind} " + between.join(_listed(side) for side in self.sides)]
        if self.kind == "half-open" and self.share < 1:
            parts.append(f"{self.share:.0%} of their connections")
        if self.kind == "slow-readers":
            parts.append(f"{self.rate} bytes/s" if self.rate else "reading nothing")
        if self.back:
            first, last = (seconds(time - self.time) for time in (min(self.back), max(self.back)))
            parts.append(f"back after {first}" if first == last else f"back after {first} to {last}")
        if self.until is not None:
            parts.append(f"for {seconds(self.until - self.time)}")
        return ", ".join(parts)

    def note(self) -> FaultNote:
        """As the results show it."""
        return FaultNote(self.number, self.time, self.end, self.what)

    def only(self, hosts: Sequence[str]) -> Fault:
        """The same fault for some of its hosts, of those kinds that hit each host by itself."""
        chosen = [index for index, name in enumerate(self.hosts) if name in hosts]
        back = tuple(self.back[index] for index in chosen) if self.back else ()
        return replace(self, sides=(tuple(self.hosts[index] for index in chosen),), back=back)


def seconds(time: float) -> str:
    """A time for people, to the millisecond."""
    return f"{time:.3f}".rstrip("0").rstrip(".") + " s"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN + 1:
        return ", ".join(names)
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN} more"


class HostsConfig(PluginConfig):
    """Which hosts: all of a group, so many of it, a share of it, or those named."""

    group: GroupName | None = Field(default=None, description="Of this group; unset: of all groups.")
    count: int | None = Field(default=None, ge=1, description="So many, at random; unset: all.")
    fraction: float | None = Field(default=None, gt=0, le=1, description="This share, at random: at least one.")
    names: tuple[HostName, ...] = Field(default=(), description="These and no others.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("count", "fraction", "names") if getattr(self, name)]
        if len(given) > 1:
            raise PydanticCustomError("hosts", "give one of {given}", {"given": " and ".join(given)})
        if self.names and self.group is not None:
            raise PydanticCustomError("hosts", "'names' say which hosts: leave 'group' out")
        return self

    def choose(self, groups: Groups, rng: Random) -> tuple[str, ...]:
        """Their names, in the order of the groups. Raises ValueError where there are not so many."""
        pool = members(groups, (self.group,) if self.group is not None else ())
        if self.names:
            return tuple(name for name in pool if name in self.names)
        count = len(pool)
        if self.count is not None:
            count = self.count
        elif self.fraction is not None:
            count = max(1, round(len(pool) * self.fraction))
        if count > len(pool):
            raise ValueError(f"{count} hosts are to be chosen, and there are {len(pool)}")
        return tuple(pool[index] for index in sorted(rng.sample(range(len(pool)), count)))


def members(groups: Groups, names: Sequence[str]) -> list[str]:
    """The hosts of these groups, of all where none is named."""
    return [host for name in names or groups for host in groups[name]]


class TimelineConfig(PluginConfig):
    """What every entry of `timeline` has."""

    at: Times = Field(description="When.")

    def drawn(self, number: int, kind: Kind, groups: Groups, rng: Random) -> list[Fault]:
        """The faults that this entry comes to."""
        return [self.fault(Fault(number, self.at.draw(rng), kind, ()), groups, rng)]

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """A fault of a drawn time, completed."""
        raise NotImplementedError


class OfHostsConfig(TimelineConfig):
    """What entries have that hit each host by itself."""

    hosts: HostsConfig = Field(default=HostsConfig(), description="Which hosts; unset: all.")
    each: bool = Field(default=False, description="Whether each host has a time of its own, drawn from `at`.")

    def drawn(self, number: int, kind: Kind, groups: Groups, rng: Random) -> list[Fault]:
        """See `TimelineConfig.drawn`."""
        hosts = self.hosts.choose(groups, rng)
        if not self.each:
            return [self.fault(Fault(number, self.at.draw(rng), kind, (hosts,)), groups, rng)]
        return [self.fault(Fault(number, self.at.draw(rng), kind, ((host,),)), groups, rng) for host in hosts]

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        return fault


class DownConfig(OfHostsConfig):
    """Hosts go down."""

    back_after: Times | None = Field(default=None, description="Start each again after this; unset: not at all.")

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        after = self.back_after
        return fault if after is None else replace(
            fault, back=tuple(fault.time + after.draw(rng) for _ in fault.hosts)
        )  # fmt: skip


class KillConfig(DownConfig):
    """The process ends at once: peers see the connection close; what was not durable is lost."""

    do: Literal["kill"] = Field(default="kill", description="What happens.")


class PowerOffConfig(DownConfig):
    """The power goes: peers notice nothing until they time out; what was not durable is lost."""

    do: Literal["power-off"] = Field(default="power-off", description="What happens.")


class StopConfig(DownConfig):
    """A clean stop."""

    do: Literal["stop"] = Field(default="stop", description="What happens.")


class StartConfig(OfHostsConfig):
    """Hosts that are down are started, whatever it was that took them down."""

    do: Literal["start"] = Field(default="start", description="What happens.")


class HalfOpenConfig(OfHostsConfig):
    """Established connections go silent for good, and neither end is told."""

    do: Literal["half-open"] = Field(default="half-open", description="What happens.")
    share: float = Field(default=1.0, gt=0, le=1, description="Share of their connections, at random.")

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        return replace(fault, share=self.share)


class SlowReadersConfig(OfHostsConfig):
    """Hosts read what comes slowly, or not at all."""

    do: Literal["slow-readers"] = Field(default="slow-readers", description="What happens.")
    rate: Size = Field(default=0, description="Bytes per second that they read of each connection; 0: nothing.")
    for_: Times | None = Field(default=None, alias="for", description="For how long; unset: for good.")

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        return replace(fault, rate=self.rate, until=_until(fault.time, self.for_, rng))


class PartitionConfig(TimelineConfig):
    """Sides that cannot reach one another. Hosts on no side reach all."""

    do: Literal["partition"] = Field(default="partition", description="What happens.")
    groups: tuple[tuple[GroupName, ...], ...] = Field(default=(), description="The sides, each a list of groups.")
    split: float | None = Field(default=None, gt=0, lt=1, description="Or: this share of the hosts against the rest.")
    of: tuple[GroupName, ...] = Field(default=(), description="With `split`: the hosts of these groups; unset: all.")
    for_: Times | None = Field(default=None, alias="for", description="For how long; unset: for good.")

    @model_validator(mode="after")
    def _sides(self) -> Self:
        if bool(self.groups) == (self.split is not None):
            raise PydanticCustomError("sides", "give one of 'groups' (the sides) and 'split' (a share)")
        if self.of and self.split is None:
            raise PydanticCustomError("sides", "'of' goes with 'split': leave it out")
        if self.groups and (len(self.groups) < 2 or not all(self.groups)):
            raise PydanticCustomError("sides", "a partition has two sides or more, with a group or more on each")
        named = [name for side in self.groups for name in side]
        if len(dict.fromkeys(named)) != len(named):
            raise PydanticCustomError("sides", "a group is there twice")
        return self

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        if self.split is None:
            sides = tuple(tuple(members(groups, side)) for side in self.groups)
        else:
            pool = members(groups, self.of)
            if len(pool) < 2:
                raise ValueError("a single host can't be split")
            count = min(max(round(len(pool) * self.split), 1), len(pool) - 1)
            first = frozenset(rng.sample(pool, count))
            sides = (
                tuple(host for host in pool if host in first),
                tuple(host for host in pool if host not in first),
            )
        return replace(fault, sides=sides, until=_until(fault.time, self.for_, rng))


class BetweenConfig(TimelineConfig):
    """What entries have that are about one way between groups."""

    from_: tuple[GroupName, ...] = Field(alias="from", min_length=1, description="From the hosts of these groups.")
    to: tuple[GroupName, ...] = Field(min_length=1, description="To the hosts of these.")
    for_: Times | None = Field(default=None, alias="for", description="For how long; unset: for good.")

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        sides = tuple(members(groups, self.from_)), tuple(members(groups, self.to))
        return replace(fault, sides=sides, until=_until(fault.time, self.for_, rng))


class CutConfig(BetweenConfig):
    """Nothing passes one way. A connection needs both: its bytes wait; datagrams pass the other way."""

    do: Literal["cut"] = Field(default="cut", description="What happens.")


class SlowLinksConfig(BetweenConfig):
    """Links are other than usual, one way; what `link` leaves out stays."""

    do: Literal["slow-links"] = Field(default="slow-links", description="What happens.")
    link: LinkConfig = Field(description="The link in the place of the usual one, or its latency.")

    def fault(self, fault: Fault, groups: Groups, rng: Random) -> Fault:
        """See `TimelineConfig.fault`."""
        return replace(super().fault(fault, groups, rng), link=self.link)


FAULTS: Mapping[str, type[TimelineConfig]] = {
    "partition": PartitionConfig,
    "cut": CutConfig,
    "half-open": HalfOpenConfig,
    "kill": KillConfig,
    "power-off": PowerOffConfig,
    "stop": StopConfig,
    "start": StartConfig,
    "slow-readers": SlowReadersConfig,
    "slow-links": SlowLinksConfig,
}
"""By the `do` of an entry of `timeline`."""

_KINDS: Mapping[type[PluginConfig], Kind] = {
    PartitionConfig: "partition",
    CutConfig: "cut",
    HalfOpenConfig: "half-open",
    KillConfig: "kill",
    PowerOffConfig: "power-off",
    StopConfig: "stop",
    StartConfig: "start",
    SlowReadersConfig: "slow-readers",
    SlowLinksConfig: "slow-links",
}


class ChurnConfig(PluginConfig):
    """Hosts of a group come and go, each by itself: sessions and absences of drawn lengths."""

    group: GroupName = Field(description="Whose hosts come and go.")
    up: Times = Field(description="How long a host stays.")
    down: Times = Field(description="How long it is away then.")
    share: float = Field(default=1.0, gt=0, le=1, description="Share of the hosts that do; the rest stay.")
    kill: float = Field(default=0.0, ge=0, le=1, description="Share of the leaves that are no clean stop but a kill.")
    start: Duration = Field(default=0.0, description="From when on sessions count.")
    stop: Duration | None = Field(default=None, description="Nobody leaves after this time; who is away comes back.")

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.up.constant == 0:
            raise PydanticCustomError("up", "'up' is 0: nobody would ever stay")
        return self

    def drawn(self, groups: Groups, duration: float, rng: Streams) -> list[Fault]:
        """Each leave with its return, until the end of the run."""
        hosts: Sequence[str] = groups[self.group]
        if self.share < 1:
            chance = rng("hosts")
            hosts = [host for host in hosts if chance.random() < self.share]
        stop = duration if self.stop is None else min(self.stop, duration)
        faults: list[Fault] = []
        for host in hosts:
            chance = rng(host)
            time = self.start + self.up.draw(chance)
            while time < stop:
                kind: Kind = "kill" if chance.random() < self.kill else "stop"
                back = time + self.down.draw(chance)
                faults.append(Fault(0, time, kind, ((host,),), back=(back,)))
                if len(faults) > MOST_FAULTS:
                    raise ValueError(f"more than {MOST_FAULTS} leaves: make `up` and `down` longer")
                time = back + self.up.draw(chance)
        return faults


def draw(scenario: Scenario, simulation: Simulation) -> list[Fault]:
    """The schedule of a scenario's run, of chance that follows from the simulation's seed. Raises `FaultError`."""
    groups = {name: group.hosts() for name, group in scenario.groups.items()}
    return plan(scenario.timeline, scenario.churn, groups, scenario.duration, simulation.stream)


def plan(
    timeline: Sequence[TimelineConfig],
    churn: Sequence[ChurnConfig],
    groups: Groups,
    duration: float,
    rng: Streams,
) -> list[Fault]:
    """The schedule of a run of `duration` seconds, by time, numbered from 1. What comes after the end is left out.

    `rng` gives chance by labels; each entry has its own, so that one more entry changes nothing of the others. Raises
    `FaultError`.
    """
    faults: list[Fault] = []
    for index, entry in enumerate(timeline):
        path = f"timeline.{index}"
        try:
            made = entry.drawn(0, _KINDS[type(entry)], groups, rng("fault", path))
        except ValueError as error:
            raise FaultError(f"{path}: {error}") from error
        faults += [replace(fault, entry=path) for fault in made]
    for index, one in enumerate(churn):
        path = f"churn.{index}"
        try:
            made = one.drawn(groups, duration, lambda *labels, path=path: rng("fault", path, *labels))
        except ValueError as error:
            raise FaultError(f"{path}: {error}") from error
        faults += [replace(fault, entry=path) for fault in made]
    faults = sorted((fault for fault in faults if fault.time <= duration), key=lambda fault: fault.time)
    if len(faults) > MOST_FAULTS:
        raise FaultError(f"the timeline and churn come to {len(faults)} faults, more than {MOST_FAULTS}")
    return [replace(fault, number=number) for number, fault in enumerate(faults, 1)]


def chosen(faults: Sequence[Fault], numbers: Sequence[int]) -> list[Fault]:
    """Those of these numbers. Raises `FaultError` for a number that there is not."""
    by_number = {fault.number: fault for fault in faults}
    missing = [number for number in numbers if number not in by_number]
    if missing:
        raise FaultError(f"there is no fault {missing[0]}: this schedule has 1 to {len(faults)}")
    return [by_number[number] for number in sorted(dict.fromkeys(numbers))]


def _until(time: float, length: Times | None, rng: Random) -> float | None:
    return None if length is None else time + length.draw(rng)
