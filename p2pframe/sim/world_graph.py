"""Who was connected with whom at one moment of a run, as plain data; of a large world by group and netgroup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class WorldNode:
    """A host, or `hosts` of them together. `score` is the mean of what the peers of it think of it, None without any.

    `dialled` counts the sessions that it opened to others of the graph, `dialled_by` those that others opened to it.
    """

    name: str
    group: str
    netgroup: str
    honest: bool
    hosts: int = 1
    dialled: int = 0
    dialled_by: int = 0
    score: float | None = None


@dataclass(slots=True)
class WorldGraph:
    """The graph of a network at a time (virtual seconds).

    `edges` are (who dialled, who was dialled, sessions), by the place of the nodes in `nodes`. `together` says by what
    hosts were put together, "" where each has a node of its own.
    """

    name: str
    network: str
    time: float
    nodes: list[WorldNode] = field(default_factory=list)
    edges: list[tuple[int, int, int]] = field(default_factory=list)
    together: str = ""

    def to_data(self) -> dict[str, Any]:
        """Plain data that JSON takes."""
        return {
            "name": self.name, "network": self.network, "time": self.time, "together": self.together,
            "nodes": [asdict(node) for node in self.nodes], "edges": [list(edge) for edge in self.edges],
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Any) -> WorldGraph:
        """What `to_data` made this of. Raises TypeError, KeyError or ValueError where it did not."""
        nodes = [WorldNode(**node) for node in data["nodes"]]
        edges: list[tuple[int, int, int]] = []
        for source, target, count in data["edges"]:
            if not 0 <= min(source, target) <= max(source, target) < len(nodes):
                raise ValueError(f"the edge {source} to {target} is of no nodes")
            edges.append((source, target, count))
        return cls(**{**data, "nodes": nodes, "edges": edges})


def drawable(
    name: str, network: str, time: float, hosts: Mapping[int, WorldNode], sessions: Iterable[tuple[int, int]],
    scores: Mapping[int, list[float]], most: int,
) -> WorldGraph:  # fmt: skip
    """The graph of these hosts, by number, and (who dialled, who was dialled); at most `most` nodes.

    More hosts than that are put together by group and netgroup, or where these are too many as well by group alone; of
    too many groups those of fewest hosts are one.
    """
    keys: dict[int, tuple[str, ...]] = {number: (str(number),) for number in hosts}
    together = ""
    for how, key in (
        ("group and netgroup", lambda one: (one.group, one.netgroup)), ("group", lambda one: (one.group,)),
    ):  # fmt: skip
        if len({*keys.values()}) > most:
            together = how
            keys = {number: key(one) for number, one in hosts.items()}
    sizes: dict[tuple[str, ...], int] = {}
    for one in keys.values():
        sizes[one] = sizes.get(one, 0) + 1
    if len(sizes) > most:
        kept = set(sorted(sizes, key=lambda one: (-sizes[one], one))[: most - 1])
        keys = {number: one if one in kept else ("others",) for number, one in keys.items()}
    graph = WorldGraph(name, network, time, together=together)
    places: dict[tuple[str, ...], int] = {}
    sums: list[list[float]] = []
    for number, host in hosts.items():
        found = keys[number]
        place = places.get(found)
        if place is None:
            place = places[found] = len(graph.nodes)
            sums.append([])
            title = " ".join(found) if together else host.name
            graph.nodes.append(WorldNode(title, host.group, host.netgroup, host.honest, 0))
        node = graph.nodes[place]
        node.hosts += 1
        node.honest = node.honest and host.honest
        node.netgroup = node.netgroup if node.netgroup == host.netgroup else "several"
        node.group = node.group if node.group == host.group else "several"
        sums[place] += scores.get(number, [])
    edges: dict[tuple[int, int], int] = {}
    for source, target in sessions:
        if source in keys and target in keys:
            edge = places[keys[source]], places[keys[target]]
            edges[edge] = edges.get(edge, 0) + 1
            graph.nodes[edge[0]].dialled += 1
            graph.nodes[edge[1]].dialled_by += 1
    for node, given in zip(graph.nodes, sums, strict=True):
        node.score = sum(given) / len(given) if given else None
    graph.edges = [(source, target, count) for (source, target), count in sorted(edges.items())]
    return graph


__all__ = ["WorldGraph", "WorldNode", "drawable"]
