"""Topology: this node's neighbourhood, drawn by direction, score or netgroup, and the same as tables and as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pframe.admin import rows, values
from p2pframe.admin import values_maps as v
from p2pframe.admin.access import Role
from p2pframe.admin.graph import SIZE, counted, neighbourhood, netgroups
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Route
from p2pframe.admin.section import Maker, no_network
from p2pframe.interfaces import INodeView
from p2pframe.model import SessionSnapshot

MOST = 1000
"""Peers that are drawn."""


class TopologySection:
    """Who is connected with this node, in the API and on its page. `seconds` is the reactor's clock."""

    def __init__(self, view: INodeView, maker: Maker, seconds: Callable[[], float]) -> None:
        self._view = view
        self._maker = maker
        self._seconds = seconds

    def routes(self) -> Sequence[Route]:
        """Both of them."""
        return [
            Route("GET", "/api/v1/topology", Role.VIEWER, "This node and its peers as a graph.", self.graph,
                  v.GraphQuery, answer=v.Graph, refusals=(404,)),
            self._maker.page("/topology", "The node's neighbourhood, drawn.", self.page, v.ByQuery),
        ]  # fmt: skip

    def graph(self, call: Call) -> v.Graph:
        """A star: what is between the peers this node can't see."""
        wanted = call.query.network
        if wanted is not None and wanted not in {one.name for one in self._view.networks()}:
            raise no_network(wanted)
        found = self._sessions(wanted)
        chosen = found[: call.query.limit]
        own = v.GraphNode(id="self", network="", session=None, address="", netgroup="", score=None)
        return v.Graph(
            nodes=[own, *map(_node, chosen)], edges=[_edge(one) for one in chosen], left_out=len(found) - len(chosen)
        )

    def page(self, call: Call) -> Made:
        """A drawing, and the same in words."""
        found, now = self._sessions(None), self._seconds()
        peers: list[values.Peer] = [rows.peer(one, now) for one in found[:MOST]]
        dots = neighbourhood(peers, call.query.by)
        return self._maker.made(
            "topology.html", call, "/topology", title="Topology", dots=dots, keys=counted(dots),
            groups=netgroups(peers), size=SIZE, by=call.query.by, left_out=len(found) - len(peers),
        )  # fmt: skip

    def _sessions(self, network: str | None) -> list[SessionSnapshot]:
        return sorted(self._view.sessions(network), key=lambda one: (one.network, one.id))


def _name(one: SessionSnapshot) -> str:
    return f"{one.network}/{one.id}"


def _node(one: SessionSnapshot) -> v.GraphNode:
    return v.GraphNode(
        id=_name(one), network=one.network, session=one.id, address=str(one.address), netgroup=one.netgroup,
        score=one.score,
    )  # fmt: skip


def _edge(one: SessionSnapshot) -> v.GraphEdge:
    source, target = (_name(one), "self") if one.inbound else ("self", _name(one))
    return v.GraphEdge(
        source=source, target=target, network=one.network, slot=one.slot.name.lower(), items=one.accepted_items
    )
