"""How much gets through: items that honest hosts made and honest hosts took, a second."""

from __future__ import annotations

from collections import Counter
from functools import partial

from p2pframe.interfaces import ISession
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig


class ThroughputConfig(MeasureConfig):
    """Options of the `throughput` measure."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics of that network's items.")
    after: Duration = Field(0.0, description="What came before this time is not counted.")


class Throughput(Measure):
    """Items of honest origin that a measured host took, a second and host; those of others are counted apart."""

    config = ThroughputConfig
    options: ThroughputConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._honest: dict[str, set[ItemId]] = {topic: set() for topic in self.options.topics}
        self._taken: Counter[str] = Counter()
        self._foreign: Counter[str] = Counter()

    def prepared(self, host: Host) -> None:
        """See `Measure.prepared`."""
        node = host.node
        if node is None or not host.honest or self.options.network not in node.networks:
            return
        items = node.networks[self.options.network].items
        for topic in self.options.topics:
            items.subscribe(Topic(topic), partial(self._accepted, host, topic))

    def _accepted(self, host: Host, topic: str, item: Item, source: ISession | None) -> None:
        honest = self._honest[topic]
        if source is None:
            honest.add(item.id)
        if self.mine(host) and self.run.simulation.clock.now >= self.options.after:
            (self._taken if item.id in honest else self._foreign)[topic] += 1

    def finish(self) -> None:
        """See `Measure.finish`."""
        seconds = self.run.simulation.clock.now - self.options.after
        hosts = len(self.hosts())
        for topic in self.options.topics:
            unit = seconds * hosts
            self.put(f"{topic}.rate", self._taken[topic] / unit if unit > 0 else float("nan"))
            self.put(f"{topic}.foreign_rate", self._foreign[topic] / unit if unit > 0 else float("nan"))
