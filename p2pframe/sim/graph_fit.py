"""Whether a scenario's graphs can be: whether they can be drawn, and the hosts be dialled and hold as many peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from p2pframe.sim.graph import impossible
from p2pframe.sim.listening import dialable_at
from p2pframe.sim.scenario import GraphConfig, Group


def among(graph: GraphConfig, groups: Mapping[str, Group]) -> list[Group]:
    """The groups that a graph connects: those it names, or all that take part in the network."""
    if graph.groups:
        return [groups[name] for name in graph.groups if name in groups]
    return [group for group in groups.values() if graph.network in group.spec.networks]


def misfits(graphs: Mapping[int, GraphConfig], groups: Mapping[str, Group]) -> Iterator[tuple[int, str, str]]:
    """What is wrong with the graphs: the number of one, the key to blame, and why."""
    manual: dict[tuple[str, str], int] = {}
    inbound: dict[tuple[str, str], int] = {}
    for number, graph in graphs.items():
        members = among(graph, groups)
        size = sum(group.config.count for group in members)
        for index, group in enumerate(members):
            if graph.network not in group.spec.networks:
                yield number, f"groups.{index}", f"hosts.{group.name} does not take part in network {graph.network!r}"
        if any(graph.network not in group.spec.networks for group in members):
            continue
        if size < 2:
            yield number, "groups" if graph.groups else "network", "a graph takes two hosts at the least"
            continue
        problem = impossible(size, graph.degree) if graph.degree is not None else ""
        if problem:
            yield number, "degree", problem
            continue
        for index, group in enumerate(members):
            key = f"groups.{index}" if graph.groups else "network"
            text = _not_dialable(graph, group)
            if text and (graph.kind != "star" or not index):
                yield number, key, text
            dials, accepts = _wanted(graph, size, index == 0)
            at = (group.name, graph.network)
            manual[at] = manual.get(at, 0) + dials
            inbound[at] = inbound.get(at, 0) + accepts
            for option, more, wanted in (("manual", dials, manual[at]), ("inbound", accepts, inbound[at])):
                topology = group.spec.networks[graph.network].topology
                room = getattr(topology.config, option, None) if topology is not None else None
                if more and isinstance(room, int) and room < wanted:
                    verb = "dial" if option == "manual" else "are dialled by"
                    yield number, key, (
                        f"hosts of {group.name} {verb} up to {wanted} neighbours; their topology has {option}: {room}; "
                        f"override: {{networks: {{{graph.network}: {{topology: {{{option}: {wanted}}}}}}}}}"
                    )  # fmt: skip


def _not_dialable(graph: GraphConfig, group: Group) -> str:
    config = group.config
    families = ["192.0.2.1"] * bool(config.addresses.ipv4) + ["2001:db8::1"] * bool(config.addresses.ipv6)
    if config.nat is not None and config.nat.kind != "none" and config.nat.share:
        return f"hosts of {group.name} are behind NATs, where nobody can dial them"
    own = [str(one.network_address) for one in config.addresses.ranges if one.num_addresses == 1]
    if dialable_at(group.spec.networks[graph.network], [*families, *own]) is None:
        return (
            f"hosts of {group.name} can't be dialled in network {graph.network!r}: "
            "have one of its transports listen on a port at 0.0.0.0 (or at [::], for hosts with IPv6 addresses)"
        )
    return ""


def _wanted(graph: GraphConfig, size: int, first: bool) -> tuple[int, int]:
    """How many neighbours a host dials, and how many dial it, at the most."""
    if graph.kind == "star":
        return (0, size - 1) if first else (1, 0)
    if graph.kind in ("ring", "line"):
        return 1, 1
    degree = size - 1 if graph.degree is None else graph.degree
    return (degree + 1) // 2, (degree + 1) // 2
