"""Who is connected: how many sessions hosts hold, whether anybody is alone, and whether the graph hangs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2pframe.plugin import Duration, Field
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean
from p2pframe.sim.results import TIME, Curve


class ConnectionsConfig(MeasureConfig):
    """Options of the `connections` measure."""

    every: Duration = Field(10.0, gt=0, description="How often it is looked at.")
    after: Duration = Field(0.0, description="The least and most values begin here: hosts have to find peers first.")


class Connections(Measure):
    """Open sessions a host, hosts without any, and the share of hosts in the largest part of the graph."""

    config = ConnectionsConfig
    options: ConnectionsConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._hosts: list[tuple[float, float]] = []
        self._outbound: list[tuple[float, float]] = []
        self._inbound: list[tuple[float, float]] = []
        self._connected: list[tuple[float, float]] = []
        self._alone: list[tuple[float, float]] = []
        self.run.every(self.options.every, self._look)

    def _look(self, now: float) -> None:
        neighbours = self._neighbours()
        if not neighbours:
            return
        hosts = len(neighbours)
        outbound = [sum(1 for _, inbound in peers if not inbound) for peers in neighbours.values()]
        inbound = [sum(1 for _, inbound in peers if inbound) for peers in neighbours.values()]
        self._hosts.append((now, float(hosts)))
        self._outbound.append((now, mean(outbound)))
        self._inbound.append((now, mean(inbound)))
        self._alone.append((now, float(sum(1 for peers in neighbours.values() if not peers))))
        self._connected.append((now, largest_part(neighbours) / hosts))

    def _neighbours(self) -> dict[int, list[tuple[int, bool]]]:
        """By host, its peers (by number; -1 where nobody knows) and whether they dialled it."""
        find = self.run.simulation.network.find
        found: dict[int, list[tuple[int, bool]]] = {}
        for host in self.hosts():
            assert host.node is not None
            network = host.node.networks.get(self.options.network)
            peers = []
            for session in network.sessions.values() if network is not None else ():
                if session.state == "open":
                    other = find(session.address.host)
                    peers.append((other.number if other is not None else -1, session.inbound))
            found[host.number] = peers
        return found

    def finish(self) -> None:
        """See `Measure.finish`."""
        self._look(self.run.simulation.clock.now)
        if not self._hosts:
            self.put("hosts", 0)
            return
        after = self.options.after
        self.put("hosts", self._hosts[-1][1])
        self.put("outbound", self._outbound[-1][1])
        self.put("inbound", self._inbound[-1][1])
        self.put("alone", self._alone[-1][1])
        self.put("connected", self._connected[-1][1])
        self.put("alone_most", max((n for time, n in self._alone if time >= after), default=float("nan")))
        self.put("connected_least", min((n for time, n in self._connected if time >= after), default=float("nan")))
        for points, series in ((self._outbound, "outbound"), (self._inbound, "inbound")):
            self.run.curves.append(
                Curve("connections", "Open sessions", TIME, "sessions a host", points, kind="steps", series=series)
            )
        self.run.curves.append(
            Curve("connections.hosts", "Hosts that run", TIME, "hosts", self._hosts, kind="steps", series="hosts")
        )
        self.run.curves.append(
            Curve(
                "connections.connected", "Hosts in the largest part of the graph", TIME, "share of hosts",
                self._connected, kind="steps", series="connected",
            )
        )  # fmt: skip


def largest_part(neighbours: Mapping[int, Sequence[tuple[int, bool]]]) -> int:
    """How many hosts the largest part of the graph has, an edge being a session that either end holds."""
    parent = {number: number for number in neighbours}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for number, peers in neighbours.items():
        for other, _ in peers:
            if other in parent:
                parent[root(number)] = root(other)
    sizes: dict[int, int] = {}
    for number in parent:
        top = root(number)
        sizes[top] = sizes.get(top, 0) + 1
    return max(sizes.values(), default=0)


__all__ = ["Connections", "ConnectionsConfig", "largest_part"]
