"""Whether anything was lost: items that the workload made and a node took, and that nobody has in the end."""

from __future__ import annotations

from p2pframe.model import Topic
from p2pframe.plugin import Duration, Field
from p2pframe.sim.measures.base import Measure, MeasureConfig


class KeptConfig(MeasureConfig):
    """Options of the `kept` measure."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics of that network's items.")
    settle: Duration = Field(30.0, description="Items younger than this at the end are left out.")


class Kept(Measure):
    """Of the items that were made: how many nobody holds, and how many places lack one."""

    config = KeptConfig
    options: KeptConfig

    def finish(self) -> None:
        """See `Measure.finish`."""
        latest = self.run.simulation.clock.now - self.options.settle
        hosts = self.hosts()
        for topic in self.options.topics:
            made = [
                produced
                for produced in self.run.produced
                if produced.network == self.options.network and produced.topic == topic and produced.time <= latest
            ]
            missing = lost = 0
            for produced in made:
                without = 0
                for host in hosts:
                    assert host.node is not None
                    network = host.node.networks.get(self.options.network)
                    without += network is None or not network.items.known(Topic(topic), produced.id)
                missing += without
                lost += without == len(hosts)
            self.put(f"{topic}.made", len(made))
            self.put(f"{topic}.lost", lost)
            self.put(f"{topic}.missing", missing)
