"""Whole nodes of the DHT among one another, in the simulator."""

import pytest

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.api import infohash

NODE = """
version: 1
node: {{data_dir: ./data-{name}}}
storage: {{plugin: memory}}
networks:
  dht:
    protocol: {{plugin: mainline, public: false{options}}}
    transports: [{{plugin: udp, listen: "{address}:6881"}}]
    discovery: [{{plugin: static, peers: ["{router}:6881"]}}]
"""


def address(number):
    return f"10.{number // 250}.0.{number % 250 + 1}"


def start(simulation, count, options=""):
    hosts = []
    for number in range(count):
        at = address(number)
        config = NODE.format(name=number, address=at, router=address(0 if number else 1), options=options)
        hosts.append(simulation.start(config, at))
    return hosts


def dht(host):
    return host.node.networks["dht"].protocol


@pytest.fixture
def thirty(simulation):
    hosts = start(simulation, 30)
    for host in hosts:
        simulation.wait(dht(host).when_ready(), 120)
    simulation.run(60)
    return hosts


def test_nodes_find_one_another_and_the_peers_of_an_infohash(simulation, thirty):
    assert all(dht(host).held >= 8 for host in thirty)
    target = infohash("my-app")
    noted = simulation.wait(dht(thirty[3]).announce_peer(target, 7000), 60)
    assert noted == 8
    found = simulation.wait(dht(thirty[20]).get_peers(target), 60)
    assert found.peers == (PeerAddress(address(3), 7000),)
    everybody = {dht(host).dht.endpoints[0].own for host in thirty if host is not thirty[20]}
    wanted = sorted(everybody, key=lambda one: one ^ int.from_bytes(target, "big"))[:8]
    assert [int.from_bytes(node.id, "big") for node in found.nodes] == wanted
    assert found.complete
