"""The alerts of a DHT node: alone, or among others that do not answer; and next to each the node that is well."""

from __future__ import annotations

import pytest

from p2pframe.config import load
from p2pframe.interfaces import IAlerts
from p2pframe.protocols.mainline.alerts import ALONE
from p2pframe.protocols.mainline.endpoint import DEAF
from tests.mainline.test_network import NODE, address, dht, start


@pytest.fixture
def twelve(simulation):
    hosts = start(simulation, 12)
    for host in hosts:
        simulation.wait(dht(host).when_ready(), 120)
    return hosts


def ask(simulation, host, seconds, every=15.0):
    """What it says in the end, asked as the admin asks."""
    found = list(dht(host).alerts())
    for _ in range(int(seconds / every)):
        simulation.run(every)
        found = list(dht(host).alerts())
    return found


def test_a_node_among_others_has_none(simulation, twelve):
    host = twelve[0]
    assert [one for _, one in host.node.view.providers(IAlerts)] == [dht(host)]
    assert ask(simulation, host, 1800.0) == []


def test_a_node_that_knows_nobody_says_so_once_it_is_no_longer_young(simulation):
    (host,) = start(simulation, 1)
    assert ask(simulation, host, ALONE - 15.0) == []
    (alert,) = ask(simulation, host, 60.0)
    assert (alert.name, alert.critical, alert.network) == ("dht-alone", False, "dht")
    assert alert.text.startswith("dht: 10.0.0.1:6881 has known no other node of the DHT for ")
    # Somebody comes.
    other = simulation.start(NEXT, "10.0.0.2")
    simulation.wait(dht(other).when_ready(), 120)
    assert ask(simulation, host, 60.0) == []


def test_in_the_public_network_nobody_is_to_be_alone(simulation):
    host = simulation.start(PUBLIC, "203.0.113.1")
    (alert,) = ask(simulation, host, ALONE + 60.0)
    assert (alert.name, alert.critical) == ("dht-alone", True)


def test_a_node_that_nobody_answers_says_so_until_somebody_does(simulation):
    host, *others = start(simulation, 30)
    for one in (host, *others):
        simulation.wait(dht(one).when_ready(), 120)
    endpoint = dht(host).dht.endpoints[0]
    for one in others:
        simulation.wait(one.stop())
    while endpoint.silent < DEAF:
        assert list(dht(host).alerts()) == []
        simulation.wait(dht(host).get_peers(bytes(20)), 120)
    (alert,) = dht(host).alerts()
    assert (alert.name, alert.critical, alert.network) == ("dht-silent", False, "dht")
    assert f"none has answered its latest {endpoint.silent} queries" in alert.text
    path = simulation.folder / "again.yaml"
    path.write_text(NODE.format(name=1, address=address(1), router=address(0), options=""))
    simulation.wait(others[0].start(load(path)))
    simulation.wait(dht(others[0]).when_ready(), 120)
    assert list(dht(host).alerts()) == []


NEXT = """
version: 1
node: {data_dir: ./data-1}
storage: {plugin: memory}
networks:
  dht:
    protocol: {plugin: mainline, public: false}
    transports: [{plugin: udp, listen: "10.0.0.2:6881"}]
    discovery: [{plugin: static, peers: ["10.0.0.1:6881"]}]
"""
PUBLIC = NEXT.replace("public: false", "public: true").replace("10.0.0.2", "203.0.113.1").replace("10.0.0.1", "8.8.8.8")
