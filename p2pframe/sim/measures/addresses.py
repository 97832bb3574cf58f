"""What the address books are worth: how many addresses they hold, and how many of these lead to a host that runs."""

from __future__ import annotations

from p2pframe.plugin import Duration, Field
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean
from p2pframe.sim.results import TIME, Curve


class AddressesConfig(MeasureConfig):
    """Options of the `addresses` measure."""

    every: Duration = Field(60.0, gt=0, description="How often it is looked at.")
    after: Duration = Field(0.0, description="The least values begin here.")
    sample: int = Field(100, ge=1, le=1000, description="Addresses looked at of each book.")


class Addresses(Measure):
    """The mean size of the books, and the share of a sample of each that is the address of a host that runs."""

    config = AddressesConfig
    options: AddressesConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._size: list[tuple[float, float]] = []
        self._live: list[tuple[float, float]] = []
        self._honest: list[tuple[float, float]] = []
        self.run.every(self.options.every, self._look)

    def _look(self, now: float) -> None:
        find = self.run.simulation.network.find
        sizes, live, honest = [], [], []
        for host in self.hosts():
            assert host.node is not None
            network = host.node.networks.get(self.options.network)
            if network is None:
                continue
            sizes.append(network.book.size)
            # Looked at in order, not drawn: a look must not move the node's own chance.
            found = [find(address.host) for address in network.book.addresses(self.options.sample)]
            if found:
                live.append(sum(1 for other in found if other is not None and other.alive) / len(found))
                honest.append(sum(1 for other in found if other is not None and other.honest) / len(found))
        if sizes:
            self._size.append((now, mean(sizes)))
        if live:
            self._live.append((now, mean(live)))
            self._honest.append((now, mean(honest)))

    def finish(self) -> None:
        """See `Measure.finish`."""
        self._look(self.run.simulation.clock.now)
        after = self.options.after
        for name, points in (("size", self._size), ("live", self._live), ("honest", self._honest)):
            self.put(name, points[-1][1] if points else float("nan"))
            self.put(f"{name}_least", min((value for time, value in points if time >= after), default=float("nan")))
        self.run.curves.append(
            Curve("addresses.size", "Addresses in a book", TIME, "addresses", self._size, kind="steps")
        )
        for points, series in ((self._live, "of hosts that run"), (self._honest, "of honest hosts")):
            self.run.curves.append(
                Curve(
                    "addresses", "Addresses in a book", TIME, "share of addresses", points, kind="steps", series=series
                )
            )
