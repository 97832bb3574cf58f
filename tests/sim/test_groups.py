"""Host groups come to hosts: places, clocks, NATs, what they run, whom they dial, when they start."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest

from p2pframe.errors import P2PFrameError
from p2pframe.model import Slot
from p2pframe.sim.groups import build
from p2pframe.sim.links import Links
from p2pframe.sim.simulation import Simulation

HEAD = "version: 1\nduration: 1min\n"


def built(scenario):
    simulation = Simulation(scenario.seed, Links(scenario.links, scenario.seed))
    build(simulation, scenario)
    return simulation


@pytest.fixture
def world(scenarios):
    return lambda text, **options: built(scenarios.load(HEAD + text, **options))


def peers(host, network="bitcoin"):
    [choice] = host.spec.networks[network].discovery
    return [str(found.address) for found in choice.config.peers]


def test_hosts_are_named_and_placed_as_their_group_says(world):
    simulation = world("""\
hosts:
  nodes:
    node: node.yaml
    count: 90
    region: {europe: 2, america: 1}
    lan: home
    honest: false
    bandwidth: {up: 1MB, down: 5MB}
    clock: {skew: {uniform: {low: -2s, high: 2s}}, drift: 20}
  miner: {node: node.yaml}
""")
    assert list(simulation.hosts) == [f"nodes-{number}" for number in range(90)] + ["miner-0"]
    nodes = [host for host in simulation.hosts.values() if host.group == "nodes"]
    assert Counter(host.region for host in nodes) == {"europe": 60, "america": 30}
    assert all((host.lan, host.honest, host.up.rate, host.down.rate) == ("home", False, 1e6, 5e6) for host in nodes)
    assert all(-2 <= host.skew <= 2 and -20 <= host.drift <= 20 for host in nodes)
    assert len({host.skew for host in nodes}) == len({host.drift for host in nodes}) == 90
    miner = simulation.hosts["miner-0"]
    assert (miner.skew, miner.drift, miner.up, miner.region, miner.lan, miner.honest) == (0.0, 0.0, None, "", "", True)


def test_a_share_is_behind_nats_of_their_own(world):
    simulation = world(
        "hosts: {nodes: {node: node.yaml, count: 100, nat: {kind: symmetric, share: 0.3, timeout: 1min}}}\n"
    )
    hidden = [host for host in simulation.hosts.values() if host.nat is not None]
    assert len(hidden) == 30
    assert len({host.nat.public for host in hidden}) == 30
    assert {host.addresses for host in hidden} == {("192.168.1.2",)}
    for host in hidden:
        assert simulation.network.find(host.nat.public) is None
        assert simulation.network.nats[host.nat.public] is host.nat


def test_who_shares_a_lan_shares_its_nat(world):
    simulation = world("hosts: {nodes: {node: node.yaml, count: 600, lan: home, nat: {kind: full-cone}}}\n")
    hosts = list(simulation.hosts.values())
    assert len({id(host.nat) for host in hosts}) == 1
    assert len({host.addresses for host in hosts}) == 600
    assert hosts[0].addresses == ("192.168.1.2",)


def test_a_nat_of_kind_none_is_no_nat(world):
    simulation = world("hosts: {nodes: {node: node.yaml, count: 2, nat: {kind: none}}}\n")
    assert all(host.nat is None for host in simulation.hosts.values())


def test_each_edge_is_dialled_by_one_end_at_the_others_port(world):
    simulation = world("""\
hosts:
  nodes: {node: node.yaml, count: 100}
  others:
    node: node.yaml
    count: 20
    override: {networks: {bitcoin: {transports: [{plugin: tcp, listen: ["0.0.0.0:4"]}]}}}
  apart: {node: node.yaml}
graph: [{network: bitcoin, kind: regular, degree: 8, groups: [nodes, others]}]
""")
    at = {address: host for host in simulation.hosts.values() for address in host.addresses}
    edges = []
    for host in [h for h in simulation.hosts.values() if h.group != "apart"]:
        assert host.spec.networks["bitcoin"].discovery[0].label == "discovery.graph"
        assert len(peers(host)) == 4
        for peer in peers(host):
            address, port = peer.split(":")
            assert int(port) == (4 if at[address].group == "others" else 18444)
            edges.append(frozenset((host.name, at[address].name)))
    assert len(edges) == len(set(edges)) == 480
    assert simulation.hosts["apart-0"].spec.networks["bitcoin"].discovery == ()


def test_hosts_with_ipv6_alone_are_dialled_there(scenarios):
    scenarios.write("node.yaml", (scenarios.path / "node.yaml").read_text().replace('"0', '"[::]:5", "0'))
    simulation = built(
        scenarios.load(
            HEAD + "hosts: {a: {node: node.yaml, count: 3, addresses: {ipv4: 0, ipv6: 1}}}\n"
            "graph: [{network: bitcoin, kind: ring}]\n"
        )
    )
    hosts = list(simulation.hosts.values())
    assert [peers(host) for host in hosts] == [[f"[{hosts[i].addresses[0]}]:5"] for i in (1, 2, 0)]


def test_the_middle_of_a_star_dials_nobody_and_holds_no_other_discovery(world):
    simulation = world("hosts: {a: {node: node.yaml, count: 9}}\ngraph: [{network: bitcoin, kind: star}]\n")
    assert [len(peers(host)) for host in simulation.hosts.values()] == [0, *[1] * 8]


def test_two_graphs_of_one_network_add_up(world):
    simulation = world("""\
hosts: {a: {node: node.yaml, count: 4}, b: {node: node.yaml, count: 4}}
graph:
  - {network: bitcoin, kind: ring, groups: [a]}
  - {network: bitcoin, kind: ring, groups: [b]}
  - {network: bitcoin, kind: line, groups: [a, b]}
""")
    assert len(peers(simulation.hosts["a-3"])) == 2
    assert peers(simulation.hosts["a-0"]) == [f"{simulation.hosts['a-1'].addresses[0]}:18444"]


def test_names_are_answered_with_hosts_that_can_be_dialled(world):
    simulation = world("""\
hosts: {nodes: {node: node.yaml, count: 40, nat: {kind: symmetric, share: 0.5}}}
names: {Seed.Example.: {groups: [nodes], count: 10}, all.example: {groups: [nodes], count: 100}}
""")
    names = simulation.network.names
    assert {name: len(addresses) for name, addresses in names.items()} == {"seed.example": 10, "all.example": 20}
    assert all(simulation.network.find(address) for address in names["all.example"])


def test_hosts_start_evenly_spread_in_random_order(world):
    simulation = world("hosts: {nodes: {node: node.yaml, count: 10, start: 20s, after: 5s}}\n")
    assert not any(host.boots for host in simulation.hosts.values())
    seen = []
    started = []
    for _ in range(30):
        simulation.run(1.0)
        started += [name for name, host in simulation.hosts.items() if host.boots and name not in started]
        seen.append(sum(host.boots for host in simulation.hosts.values()))
    assert seen[:8] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert seen[-1] == 10
    assert started != list(simulation.hosts)
    assert [failure for host in simulation.hosts.values() for failure in host.failures] == []


def test_the_nodes_are_the_very_ones_and_connect_as_the_graph_says(world):
    simulation = world("""\
hosts:
  nodes:
    node: node.yaml
    count: 12
    override: {networks: {bitcoin: {topology: {outbound: 0, block_relay: 0, feeler: 0}}}}
    start: 2s
graph: [{network: bitcoin, kind: regular, degree: 4}]
""")
    simulation.run(60.0)
    for host in simulation.hosts.values():
        sessions = host.node.view.sessions()
        [found] = sessions.values() if isinstance(sessions, dict) else [sessions]
        slots = Counter(one.slot for one in found)
        assert slots == {Slot.MANUAL: 2, Slot.INBOUND: 2}
        assert host.node.spec.node.watchdog == 0.0


def test_a_host_that_a_fault_has_started_is_not_started_again(world):
    simulation = world("hosts: {nodes: {node: node.yaml, count: 1, after: 10s}}\n")
    host = simulation.hosts["nodes-0"]
    simulation.run(5.0)
    host.start()
    simulation.run(1.0)
    host.kill()
    simulation.run(10.0)
    assert (host.boots, host.alive) == (1, False)


def test_equal_seeds_build_equal_worlds(scenarios):
    text = HEAD + (
        "hosts: {a: {node: node.yaml, count: 50, region: {x: 1, y: 1}, clock: {drift: 9}}}\n"
        "graph: [{network: bitcoin, kind: regular, degree: 4}]\n"
    )

    def state(seed):
        simulation = built(scenarios.load(text, seed=seed))
        return [(h.name, h.addresses, h.asn, h.region, h.drift, peers(h)) for h in simulation.hosts.values()]

    assert state(3) == state(3)
    assert state(3) != state(4)


def test_one_more_group_changes_nothing_for_the_others(scenarios):
    def state(text):
        simulation = built(scenarios.load(HEAD + text))
        return [(h.name, h.addresses, h.asn, h.drift) for h in simulation.hosts.values() if h.group == "a"]

    one = "hosts: {a: {node: node.yaml, count: 50, clock: {drift: 9}}%s}\n"
    assert state(one % "") == state(one % ", b: {node: node.yaml, count: 50}")


def test_addresses_that_there_are_not_are_told_of(scenarios):
    text = HEAD + (
        "hosts:\n  a: {node: node.yaml, count: 200, addresses: {ranges: [203.0.113.0/24]}}\n"
        "  b: {node: node.yaml, count: 200, addresses: {ranges: [203.0.113.0/24]}}\n"
    )
    with pytest.raises(P2PFrameError, match=r"hosts\.b\.addresses: no IPv4 address of the ranges is left"):
        built(scenarios.load(text))


def test_ten_thousand_hosts_share_one_spec(scenarios):
    scenario = scenarios.load(
        HEAD + "hosts: {a: {node: node.yaml, count: 10000}}\ngraph: [{network: bitcoin, kind: regular, degree: 8}]\n"
    )
    tracemalloc.start()
    try:
        simulation = built(scenario)
        used = tracemalloc.get_traced_memory()[0] / 10_000
    finally:
        tracemalloc.stop()
    # A host with its disk, address, spec and whom it dials.
    assert used < 10_000
    one, other = (simulation.hosts[name].spec for name in ("a-0", "a-9999"))
    assert one.node is other.node
    assert one.networks["bitcoin"].protocol is other.networks["bitcoin"].protocol
    assert one.networks["bitcoin"].limits is other.networks["bitcoin"].limits
