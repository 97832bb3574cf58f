"""What the hosts have to spread: items made at drawn times by applications of drawn hosts (`IWorkload`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure

from p2pframe.interfaces import IWorkload
from p2pframe.model import ItemId, Topic
from p2pframe.plugin import Duration, Field, PluginConfig, Size
from p2pframe.sim.distributions import Times
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Produced
from p2pframe.sim.references import GroupName, NetworkName
from p2pframe.sim.simulation import Simulation

SHORTEST = 1e-6
"""Seconds between two items of one entry at least, whatever is drawn."""
_GUESSES = 16
"""Hosts drawn before all that there are are looked at."""
_MOST_REASONS = 100


class WorkloadConfig(PluginConfig):
    """An entry of `workload`: items of one topic."""

    produce: str = Field(min_length=1, description="The topic of the items.")
    network: NetworkName = Field(description="The network that they are for.")
    every: Times = Field(description="The time from one item to the next.")
    from_: tuple[GroupName, ...] = Field(
        default=(), alias="from", description="Made by hosts of these groups, any of them each time; unset: of all."
    )
    size: Size = Field(default=250, ge=1, description="About how large an item is.")
    start: Duration = Field(default=0.0, description="The first one comes after this, and the time between two.")
    stop: Duration | None = Field(default=None, description="None is made after this; unset: until the end.")
    count: int | None = Field(default=None, ge=1, description="So many and no more; unset: any number.")

    @model_validator(mode="after")
    def _passes(self) -> Self:
        if self.every.constant == 0:
            raise PydanticCustomError("every", "'every' is 0: time would never pass")
        if self.stop is not None and self.stop < self.start:
            raise PydanticCustomError("stop", "'stop' is before 'start'")
        return self


class Workload:
    """Drives the entries of a scenario; what was made is added to `produced`, at the time that a node took it."""

    def __init__(self, entries: Sequence[WorkloadConfig], simulation: Simulation, produced: list[Produced]) -> None:
        self.produced = produced
        self.reasons: dict[str, int] = {}
        """Why items were not made, how often."""
        self._simulation = simulation
        self._made = {entry.produce: 0 for entry in entries}
        self._failed = dict(self._made)
        self._entries = [_Entry(self, number, entry, simulation) for number, entry in enumerate(entries)]

    def begin(self) -> None:
        """Have the first of each entry come. To be called at the start of the run."""
        for entry in self._entries:
            entry.next()

    def values(self) -> dict[str, float]:
        """`workload.TOPIC.made` and `.failed`, for each topic of an entry."""
        found: dict[str, float] = {}
        for topic in self._made:
            found[f"workload.{topic}.made"] = self._made[topic]
            found[f"workload.{topic}.failed"] = self._failed[topic]
        return found

    def failures(self) -> list[str]:
        """Why items were not made, in words."""
        return [f"workload: {why}" + (f" ({times} times)" if times > 1 else "") for why, times in self.reasons.items()]

    def made(self, host: Host, entry: WorkloadConfig, id: ItemId) -> None:
        """A node has taken an item."""
        self._made[entry.produce] += 1
        time = self._simulation.clock.now
        self.produced.append(Produced(time, host, entry.network, Topic(entry.produce), id))

    def failed(self, entry: WorkloadConfig, why: str) -> None:
        """An item was not made."""
        self._failed[entry.produce] += 1
        if why not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            why = "other reasons"
        self.reasons[why] = self.reasons.get(why, 0) + 1


class _Entry:
    """One entry under way, with chance of its own."""

    def __init__(self, workload: Workload, number: int, config: WorkloadConfig, simulation: Simulation) -> None:
        self.config = config
        self._workload = workload
        self._simulation = simulation
        self._rng: Random = simulation.stream("workload", number)
        self._hosts: list[Host] | None = None
        self._time = config.start
        self._left = config.count

    def next(self) -> None:
        """Have the next one come at its time, if there is to be one."""
        if self._left == 0:
            return
        self._time += max(self.config.every.draw(self._rng), SHORTEST)
        if self.config.stop is None or self._time <= self.config.stop:
            self._simulation.clock.at(self._time, None, self._produce)

    def _produce(self) -> None:
        if self._left is not None:
            self._left -= 1
        self.next()
        config = self.config
        chosen = self._choose()
        if chosen is None:
            groups = ", ".join(config.from_) or "any group"
            self._workload.failed(config, f"no running host of {groups} makes {config.produce} for {config.network}")
            return
        host, application = chosen
        # What the application does is its host's doing.
        self._simulation.clock.current = host.incarnation
        making = maybeDeferred(application.produce, Topic(config.produce), config.size)
        making.addCallbacks(partial(self._workload.made, host, config), partial(self._failed, host))

    def _failed(self, host: Host, failure: Failure) -> None:
        kind = failure.type.__name__ if failure.type is not None else "Failure"
        self._workload.failed(
            self.config, f"{self.config.produce} on {host.name}: {kind}: {failure.getErrorMessage()}"
        )

    def _choose(self) -> tuple[Host, IWorkload] | None:
        """A host that can, each with equal chance."""
        if self._hosts is None:
            groups = self.config.from_
            self._hosts = [host for host in self._simulation.hosts.values() if not groups or host.group in groups]
        for _ in range(_GUESSES if self._hosts else 0):
            host = self._rng.choice(self._hosts)
            application = self._application(host)
            if application is not None:
                return host, application
        able = [(host, made) for host in self._hosts if (made := self._application(host)) is not None]
        return self._rng.choice(able) if able else None

    def _application(self, host: Host) -> IWorkload | None:
        if not host.ready or host.node is None:
            return None
        for place in host.node.builder.places_of(""):
            application = place.instance
            if (
                IWorkload.providedBy(application)
                and self.config.produce in application.topics
                and self._serves(place.choice.network, host)
            ):
                return IWorkload(application)
        return None

    def _serves(self, network: str | None, host: Host) -> bool:
        """An application that names no network is for the only one."""
        assert host.node is not None
        return network == self.config.network or (network is None and list(host.node.networks) == [self.config.network])
