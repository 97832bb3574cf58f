"""From a scenario's host groups to hosts: their places, clocks and lines, what runs on them, and when they start.

All hosts of a group run one `NodeSpec`; where a graph says whom a host dials, the host has a spec of its own, which
shares everything but that with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from p2pframe.config.settings import PluginChoice
from p2pframe.errors import P2PFrameError
from p2pframe.model import FoundAddress
from p2pframe.registry.registry import spec_of
from p2pframe.sim.addressing import AddressError, AddressSpace, Spot
from p2pframe.sim.graph import GraphDiscovery, GraphPeersConfig, edges, neighbours
from p2pframe.sim.graph_fit import among
from p2pframe.sim.host import Host
from p2pframe.sim.listening import dialable_at
from p2pframe.sim.nat import Nat
from p2pframe.sim.scenario import GraphConfig, Group, NamesConfig, Scenario
from p2pframe.sim.simulation import Simulation

_LAN_ROOM = 250
"""Hosts with addresses in one 192.168.x.0/24."""


def build(simulation: Simulation, scenario: Scenario) -> None:
    """Make all hosts of a scenario, and have each start when its group says.

    Raises `P2PFrameError` where the scenario wants what there is not.
    """
    space = AddressSpace()
    nats: dict[tuple[str, str, float], tuple[Nat, int]] = {}
    hosts: dict[str, list[Host]] = {}
    for name, group in scenario.groups.items():
        rng = simulation.stream("hosts", name)
        try:
            spots = space.draw(group.config.addresses, group.config.count, rng)
        except AddressError as error:
            raise P2PFrameError(f"{scenario.path}: hosts.{name}.addresses: {error}") from None
        hosts[name] = _hosts(simulation, group, spots, nats, rng)
    _specs(simulation, scenario, hosts)
    for number, (name, config) in enumerate(scenario.names.items()):
        simulation.network.names[name] = _answer(config, hosts, simulation.stream("names", number))
    for name, group in scenario.groups.items():
        _schedule(simulation, group, hosts[name])


# --- hosts ---


def _hosts(
    simulation: Simulation,
    group: Group,
    spots: Sequence[Spot],
    nats: dict[tuple[str, str, float], tuple[Nat, int]],
    rng: Random,
) -> list[Host]:
    config = group.config
    regions = _shares(config.regions, config.count, rng)
    nat = config.nat if config.nat is not None and config.nat.kind != "none" else None
    behind = {"yes": nat.share, "no": 1 - nat.share} if nat is not None else {"no": 1.0}
    hidden = _shares(behind, config.count, rng)
    made = []
    for number, name in enumerate(group.hosts()):
        addresses = spots[number].addresses
        router: Nat | None = None
        if nat is not None and nat.kind != "none" and hidden[number] == "yes":
            # Who shares a local network shares its router; else everybody has one of their own.
            key = (config.lan, nat.kind, nat.timeout) if config.lan else (name, nat.kind, nat.timeout)
            router, inside = nats.get(key) or (Nat(nat.kind, addresses[0], nat.timeout), 0)
            nats[key] = (router, inside + 1)
            addresses = (f"192.168.{1 + inside // _LAN_ROOM}.{2 + inside % _LAN_ROOM}",)
        made.append(
            simulation.host(
                *addresses,
                name=name,
                group=group.name,
                region=regions[number],
                asn=spots[number].asn,
                lan=config.lan,
                skew=config.clock.skew.draw(rng),
                drift=rng.uniform(-config.clock.drift, config.clock.drift),
                up=config.bandwidth.up,
                down=config.bandwidth.down,
                queue=config.bandwidth.queue,
                nat=router,
                honest=config.honest,
            )
        )
    return made


def _shares(weights: Mapping[str, float], count: int, rng: Random) -> list[str]:
    """A word for each host, each word as often as its weight says, but for rounding; who gets which is chance."""
    total = sum(weights.values())
    exact = {word: count * weight / total for word, weight in weights.items()}
    whole = {word: int(share) for word, share in exact.items()}
    missing = count - sum(whole.values())
    for word in sorted(exact, key=lambda word: (whole[word] - exact[word], word))[:missing]:
        whole[word] += 1
    words = [word for word, times in whole.items() for _ in range(times)]
    rng.shuffle(words)
    return words


# --- what they run ---


def _specs(simulation: Simulation, scenario: Scenario, hosts: Mapping[str, Sequence[Host]]) -> None:
    dialled: dict[str, dict[str, list[FoundAddress]]] = {}
    where: dict[str, str] = {}
    for number, graph in enumerate(scenario.graph):
        where.setdefault(graph.network, scenario.places.get(f"graph.{number}", ""))
        _dials(graph, scenario, hosts, simulation.stream("graph", number), dialled)
    spec_of_graph = spec_of(GraphDiscovery)
    for name, group in scenario.groups.items():
        # There are no threads that could watch; the watchdog's own clock is the real one.
        shared = replace(group.spec, node=group.spec.node.model_copy(update={"watchdog": 0.0}))
        for host in hosts[name]:
            host.spec = shared
            found = dialled.get(host.name)
            if found:
                networks = dict(shared.networks)
                for network, peers in found.items():
                    # Drawn here, so that there is nothing to check: of 10,000 hosts that would take a while.
                    config = GraphPeersConfig.model_construct(peers=tuple(dict.fromkeys(peers)))
                    choice = PluginChoice(
                        spec_of_graph, GraphDiscovery, config, GraphDiscovery.__module__, where[network]
                    )
                    networks[network] = replace(networks[network], discovery=(choice,))
                host.spec = replace(shared, networks=networks)


def _dials(
    graph: GraphConfig,
    scenario: Scenario,
    hosts: Mapping[str, Sequence[Host]],
    rng: Random,
    dialled: dict[str, dict[str, list[FoundAddress]]],
) -> None:
    """Add whom each host dials; the ports are those that the peers' own config says."""
    members: list[Host] = []
    found: list[FoundAddress | None] = []
    for group in among(graph, scenario.groups):
        network = group.spec.networks[graph.network]
        for host in hosts[group.name]:
            members.append(host)
            address = dialable_at(network, host.addresses) if host.nat is None else None
            found.append(None if address is None else FoundAddress(address))
    drawn = edges(graph.kind, len(members), graph.degree or 0, rng)
    for number, peers in enumerate(neighbours(len(members), drawn)):
        own = dialled.setdefault(members[number].name, {}).setdefault(graph.network, [])
        for peer in peers:
            target = found[peer]
            if target is None:
                raise P2PFrameError(
                    f"{scenario.path}: graph: {members[number].name} can't dial {members[peer].name}, which listens on "
                    f"none of its addresses in network {graph.network!r}"
                )
            own.append(target)


# --- names and starts ---


def _answer(config: NamesConfig, hosts: Mapping[str, Sequence[Host]], rng: Random) -> tuple[str, ...]:
    """Addresses of hosts that can be dialled: nobody publishes what is behind a NAT."""
    public = [host for group in config.groups for host in hosts[group] if host.nat is None]
    chosen = rng.sample(public, min(config.count, len(public)))
    return tuple(address for host in chosen for address in host.addresses)


def _schedule(simulation: Simulation, group: Group, hosts: Sequence[Host]) -> None:
    order = list(hosts)
    simulation.stream("start", group.name).shuffle(order)
    config = group.config
    for number, host in enumerate(order):
        simulation.clock.at(config.after + config.start * number / len(order), None, _start, host)


def _start(host: Host) -> None:
    if host.boots:
        # A fault of the timeline has been quicker.
        return
    # The host has noted why.
    host.start().addErrback(lambda failure: None)
