"""Whether anything was lost: items that the workload made and nodes took, and that nobody has in the end.

What a host made and told nobody of before it went down is told apart (`unheard`): the network never had it. Whether the
host should have told is another question; look at it before you leave it out.
"""

from __future__ import annotations

from functools import partial

from p2pframe.interfaces import ISession
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig


class KeptConfig(MeasureConfig):
    """Options of the `kept` measure."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics of that network's items.")
    settle: Duration = Field(30.0, description="Items younger than this at the end are left out.")


class Kept(Measure):
    """Of the items that were made: how many nobody holds, and how many places lack one.

    `lost` are those that some host had taken from another, `unheard` those that never came so far.
    """

    config = KeptConfig
    options: KeptConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._heard: dict[str, set[ItemId]] = {topic: set() for topic in self.options.topics}

    def prepared(self, host: Host) -> None:
        """See `Measure.prepared`."""
        node = host.node
        if node is None or self.options.network not in node.networks:
            return
        items = node.networks[self.options.network].items
        for topic in self.options.topics:
            items.subscribe(Topic(topic), partial(self._accepted, self._heard[topic]))

    def _accepted(self, heard: set[ItemId], item: Item, source: ISession | None) -> None:
        if source is not None:
            heard.add(item.id)

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
            missing = lost = unheard = 0
            for produced in made:
                without = 0
                for host in hosts:
                    assert host.node is not None
                    network = host.node.networks.get(self.options.network)
                    without += network is None or not network.items.known(Topic(topic), produced.id)
                missing += without
                if without == len(hosts):
                    if produced.id in self._heard[topic]:
                        lost += 1
                    else:
                        unheard += 1
            self.put(f"{topic}.made", len(made))
            self.put(f"{topic}.lost", lost)
            self.put(f"{topic}.unheard", unheard)
            self.put(f"{topic}.missing", missing)
