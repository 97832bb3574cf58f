"""Propagation: how the latest items spread as far as this node saw, one by one and together."""

from __future__ import annotations

from collections.abc import Sequence

from p2pframe.admin import values_maps as v
from p2pframe.admin.access import Role
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Problem, Route
from p2pframe.admin.section import Maker, no_network
from p2pframe.admin.tree import drawn
from p2pframe.interfaces import INodeView
from p2pframe.interfaces.node import NetworkView, Spread, SpreadPeer
from p2pframe.model import SessionId

LATEST = 100
"""Items that the page shows, and items of a topic that are looked at together."""
_V1 = "/api/v1/networks/{network}"


class PropagationSection:
    """How items spread, in the API and on its pages."""

    def __init__(self, view: INodeView, maker: Maker) -> None:
        self._view = view
        self._maker = maker

    def routes(self) -> Sequence[Route]:
        """All of them."""
        viewer, page = Role.VIEWER, self._maker.page
        return [
            Route("GET", _V1 + "/propagation", viewer, "How the latest items of each topic spread.", self.together,
                  answer=v.Propagation, refusals=(404,)),
            Route("GET", _V1 + "/spreads", viewer, "How the latest items spread.", self.spreads, v.SpreadsQuery,
                  answer=v.Spreads, refusals=(404,)),
            Route("GET", _V1 + "/spreads/{topic}/{item}", viewer, "How one item spread, with its peers.", self.spread,
                  answer=v.SpreadDetail, refusals=(404,)),
            page("/propagation", "How items spread.", self.page),
            page("/propagation/{network}/{topic}/{item}", "How one item spread.", self.item),
        ]  # fmt: skip

    def together(self, call: Call) -> v.Propagation:
        """The latest of each topic."""
        name = call.path["network"]
        for network in self._view.networks():
            if network.name == name:
                return v.Propagation(topics=self._topics(network))
        raise no_network(name)

    def spreads(self, call: Call) -> v.Spreads:
        """As far as this node saw."""
        try:
            found = self._view.spreads(call.path["network"], call.query.limit, call.query.topic)
        except KeyError:
            raise no_network(call.path["network"]) from None
        return v.Spreads(spreads=[spread(one) for one in found])

    def spread(self, call: Call) -> v.SpreadDetail:
        """One of them."""
        found = self._one(call)
        return v.SpreadDetail(spread=spread(found), peers=[peer(one) for one in found.peers])

    def page(self, call: Call) -> Made:
        """Each network in words, its topics, its latest items."""
        networks = []
        for network in self._view.networks():
            latest = [spread(one) for one in self._view.spreads(network.name, LATEST)]
            networks.append((network.name, [one for one in self._topics(network) if one.items], latest))
        return self._maker.made(
            "propagation.html", call, "/propagation", title="Propagation", networks=networks, most=LATEST
        )

    def item(self, call: Call) -> Made:
        """The tree that one item took, drawn and as a table."""
        detail = self.spread(call)
        network = call.path["network"]
        there = {one.session for one in detail.peers if self._view.session(network, SessionId(one.session)) is not None}
        return self._maker.made(
            "item.html", call, "/propagation", title=f"{detail.spread.topic} {detail.spread.id[:16]}",
            network=network, item=detail.spread, peers=detail.peers, tree=drawn(detail), there=there,
        )  # fmt: skip

    def _one(self, call: Call) -> Spread:
        network, topic, id = (call.path[name] for name in ("network", "topic", "item"))
        try:
            found = self._view.spread(network, topic, bytes.fromhex(id))
        except KeyError:
            raise no_network(network) from None
        except ValueError:
            found = None  # the id is no hex
        if found is None:
            raise Problem(404, "Not found", f"no {topic[:100]!r} of that id is among the latest items of {network}")
        return found

    def _topics(self, network: NetworkView) -> list[v.TopicSpread]:
        return [topic(one, self._view.spreads(network.name, LATEST, one)) for one in network.topics]


def spread(one: Spread) -> v.Spread:
    """How an item spread."""
    delays = sorted(one.delays)
    return v.Spread(
        topic=one.topic, id=one.id.hex(), first_seen=one.first_seen, source=one.source,
        address=None if one.address is None else str(one.address), heard_from=one.heard_from, told=one.told,
        p50=percentile(delays, 0.5), p90=percentile(delays, 0.9), p99=percentile(delays, 0.99),
        duplicates=one.duplicates, wasted=one.wasted, present=one.present, reached=one.reached,
    )  # fmt: skip


def peer(one: SpreadPeer) -> v.SpreadPeer:
    """What a peer had to do with it."""
    return v.SpreadPeer(
        session=one.session, address=None if one.address is None else str(one.address), heard=one.heard, told=one.told,
        served=one.served, asked=one.asked,
    )  # fmt: skip


def topic(name: str, found: Sequence[Spread]) -> v.TopicSpread:
    """Items of one topic together."""
    delays = sorted(delay for one in found for delay in one.delays)
    reached = sorted(one.reached / one.present for one in found if one.present)
    return v.TopicSpread(
        topic=name, items=len(found), announcements=sum(one.heard_from for one in found),
        told=sum(one.told for one in found), p50=percentile(delays, 0.5), p90=percentile(delays, 0.9),
        p99=percentile(delays, 0.99), duplicates=sum(one.duplicates for one in found),
        wasted=sum(one.wasted for one in found), coverage=percentile(reached, 0.5),
        coverage_low=percentile(reached, 0.1),
    )  # fmt: skip


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that a share of them does not exceed; None of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
