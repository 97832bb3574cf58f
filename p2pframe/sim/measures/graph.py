"""Who is connected with whom: the graph of the whole world at one moment, for the report to draw and for others."""

from __future__ import annotations

from p2pframe.model import PeerAddress, netgroup
from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig
from p2pframe.sim.world_graph import WorldNode, drawable


class GraphConfig(MeasureConfig):
    """Options of the `graph` measure. Unlike elsewhere, without `groups` attackers are in it too."""

    at: Duration | None = Field(None, description="When it is taken; unset: at the end of the run.")
    nodes: int = Field(
        1000, ge=2, le=1000, description="Nodes at most: more hosts are put together by group and netgroup."
    )


class Graph(Measure):
    """The hosts that run, who has dialled whom, and what the peers of each think of it."""

    config = GraphConfig
    options: GraphConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        if self.options.at is not None:
            self.run.simulation.clock.at(self.options.at, None, self._take)

    def finish(self) -> None:
        """See `Measure.finish`."""
        if self.options.at is None or self.options.at > self.run.simulation.clock.now:
            self._take()

    def hosts(self) -> list[Host]:
        """Those that run now, the attackers among them."""
        groups = self.options.groups
        return [
            host for host in self.run.simulation.hosts.values()
            if (not groups or host.group in groups) and host.alive and host.node is not None
        ]  # fmt: skip

    def _take(self) -> None:
        simulation, options = self.run.simulation, self.options
        nodes: dict[int, WorldNode] = {}
        sessions: list[tuple[int, int]] = []
        scores: dict[int, list[float]] = {}
        for host in self.hosts():
            assert host.node is not None
            network = host.node.networks.get(options.network)
            if network is None:
                continue
            group = netgroup(PeerAddress.of(host.addresses[0], 1)) if host.addresses else ""
            nodes[host.number] = WorldNode(host.name, host.group, group, host.honest)
            for session in network.sessions.values():
                other = simulation.network.find(session.address.host) if session.state == "open" else None
                if other is None:
                    continue
                if not session.inbound:
                    sessions.append((host.number, other.number))
                values = [score.value for score, counts in network.scores_of(session.id) if counts]
                if values:
                    scores.setdefault(other.number, []).append(sum(values) / len(values))
        graph = drawable(self.name, options.network, simulation.clock.now, nodes, sessions, scores, options.nodes)
        self.run.graphs.append(graph)
        self.put("hosts", len(nodes))
        self.put("sessions", sum(count for _, _, count in graph.edges))
