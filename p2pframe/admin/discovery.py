"""Discovery and addresses: what the sources yield, the address book by netgroup and age, and a DHT's buckets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite

from twisted.logger import Logger

from p2pframe.admin import rows, values
from p2pframe.admin import values_maps as v
from p2pframe.admin.access import Role
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Route
from p2pframe.admin.section import Maker, no_network
from p2pframe.interfaces import BucketView, INodeView, IRoutingTables
from p2pframe.interfaces.node import AddressGroups, AddressView, AgeHolds

ADDRESSES = 200
"""Addresses of a network that the page shows."""
BUCKETS = 500
"""Buckets of a network that are told of."""
_V1 = "/api/v1/networks/{network}"
_log = Logger(namespace="p2pframe.admin")


class DiscoverySection:
    """Where addresses come from, in the API and on its page."""

    def __init__(self, view: INodeView, maker: Maker, node: Callable[[Call], values.Node]) -> None:
        self._view = view
        self._maker = maker
        self._node = node

    def routes(self) -> Sequence[Route]:
        """All of them."""
        viewer = Role.VIEWER
        return [
            Route("GET", _V1 + "/addresses", viewer, "The address book.", self.addresses, v.AddressesQuery,
                  answer=v.Addresses, refusals=(404,)),
            Route("GET", _V1 + "/addresses/groups", viewer, "The address book by netgroup and age.", self.groups,
                  answer=v.AddressGroups, refusals=(404,)),
            Route("GET", _V1 + "/buckets", viewer, "The routing tables of a DHT.", self.buckets, answer=v.Buckets,
                  refusals=(404,)),
            self._maker.page("/addresses", "Discovery and addresses.", self.page),
        ]  # fmt: skip

    def addresses(self, call: Call) -> v.Addresses:
        """A page of the book."""
        offset = json.loads(call.query.cursor)[0] if call.query.cursor else 0
        limit = call.query.limit
        try:
            found = self._view.addresses(call.path["network"], offset, limit + 1, call.query.source)
        except KeyError:
            raise no_network(call.path["network"]) from None
        more = f"[{offset + limit}]" if len(found) > limit else None
        return v.Addresses(addresses=[address(one) for one in found[:limit]], next=more)

    def groups(self, call: Call) -> v.AddressGroups:
        """As it was when it was last counted."""
        try:
            return groups(self._view.address_groups(call.path["network"]))
        except KeyError:
            raise no_network(call.path["network"]) from None

    def buckets(self, call: Call) -> v.Buckets:
        """By table and depth."""
        name = call.path["network"]
        if name not in {one.name for one in self._view.networks()}:
            raise no_network(name)
        return v.Buckets(buckets=self._buckets(name))

    def page(self, call: Call) -> Made:
        """Each network: sources, the book, buckets."""
        node = self._node(call)
        books = {}
        for network in node.networks:
            found = [address(one) for one in self._view.addresses(network.name, 0, ADDRESSES)]
            counted = groups(self._view.address_groups(network.name))
            books[network.name] = found, counted, _tables(self._buckets(network.name))
        return self._maker.made(
            "addresses.html", call, "/addresses", title="Discovery", node=node, books=books, most=ADDRESSES
        )

    def _buckets(self, network: str) -> list[v.Bucket]:
        found: list[v.Bucket] = []
        for label, plugin in self._view.providers(IRoutingTables):
            if label.partition(": ")[0] == network:
                try:
                    found += [bucket(one) for one in list(plugin.buckets())[:BUCKETS]]
                except Exception:  # noqa: BLE001 - a plugin's mistake is told with its name
                    _log.failure("{plugin} could not tell of its buckets", plugin=label)
        return found[:BUCKETS]


def address(one: AddressView) -> v.Address:
    """One of the address book."""
    return v.Address(
        address=str(one.address), source=one.source, first_seen=one.first_seen, last_seen=one.last_seen,
        last_attempt=one.last_attempt, last_success=one.last_success, failures=one.failures, tried=one.tried,
        services=one.services,
    )  # fmt: skip


def groups(one: AddressGroups) -> v.AddressGroups:
    """The book by netgroup and age."""
    return v.AddressGroups(
        addresses=one.addresses, netgroups=one.groups, counted=one.counted or None,
        largest=[v.GroupHolds(netgroup=group.netgroup, held=group.held, tried=group.tried) for group in one.largest],
        known=[_age(age) for age in one.known], heard=[_age(age) for age in one.heard],
    )  # fmt: skip


def bucket(one: BucketView) -> v.Bucket:
    """One of a routing table."""
    return v.Bucket(
        table=str(one.table)[: rows.TEXT], depth=one.depth, own=one.own, room=one.room, nodes=one.nodes, good=one.good,
        questionable=one.questionable, bad=one.bad, replacements=one.replacements, last_changed=one.last_changed,
    )  # fmt: skip


def _age(one: AgeHolds) -> v.AgeHolds:
    return v.AgeHolds(below=one.below if isfinite(one.below) else None, held=one.held, tried=one.tried)


def _tables(buckets: Sequence[v.Bucket]) -> dict[str, list[v.Bucket]]:
    found: dict[str, list[v.Bucket]] = {}
    for one in buckets:
        found.setdefault(one.table, []).append(one)
    return found
