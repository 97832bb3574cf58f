"""Whole nodes of the DHT among one another, in the simulator."""

import pytest

from p2pframe.config import load
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


def test_each_shows_its_buckets_and_counts_what_came_in_by_type(simulation, thirty):
    for host in thirty:
        buckets = dht(host).buckets()
        assert [one.depth for one in buckets] == sorted(one.depth for one in buckets)
        assert [one.own for one in buckets] == [False] * (len(buckets) - 1) + [True]
        assert sum(one.nodes for one in buckets) == dht(host).held
        assert all(one.nodes <= one.room == 8 and one.bad == 0 for one in buckets)
        # Depths cover the whole space: each but the last halves what is left.
        assert sum(2.0**-one.depth for one in buckets) == 1.0
        assert all(one.last_changed > 0 for one in buckets)
    messages = thirty[0].node.networks["dht"].describe().messages
    assert {"find_node", "response"} <= set(messages) and "unreadable" not in messages
    received = thirty[0].node.metrics.snapshot()["p2pframe_datagrams_received_total"]["dht", "taken"]
    assert sum(count for count, _ in messages.values()) == received
    asked = thirty[0].node.networks["dht"].datagram_gates[0]
    for data in (b"nonsense", b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:vote1:t1:x1:y1:qe"):
        asked.datagram_received(data, PeerAddress("10.9.9.9", 6881))
    later = thirty[0].node.networks["dht"].describe().messages
    assert later["unreadable"] == (1, 8) and later["other query"][0] == 1
    # Those that have gone silent are questionable at first.
    for host in thirty[1:]:
        host.kill()
    simulation.run(16 * 60)
    table = dht(thirty[0]).buckets()
    assert sum(one.questionable + one.bad for one in table) == sum(one.nodes for one in table)


def test_id_nodes_items_and_peers_survive_a_restart(simulation):
    hosts = [start(simulation, 12)[0]]
    everybody = list(simulation.hosts.values())
    for host in everybody:
        simulation.wait(dht(host).when_ready(), 120)
    host = hosts[0]
    config = NODE.format(name=0, address=address(0), router=address(1), options="").replace("memory", "sqlite")
    simulation.wait(host.stop())
    path = simulation.folder / "restarted.yaml"
    path.write_text(config)
    simulation.wait(host.start(load(path)))
    simulation.wait(dht(host).when_ready(), 120)
    for number in range(6):
        put = simulation.wait(dht(everybody[5]).put_immutable(b"kept %d" % number), 60)
        simulation.wait(dht(everybody[4]).announce_peer(infohash(f"app {number}"), 7000), 60)
    kept = simulation.wait(dht(host).put_immutable(b"ours", keep=True), 60)
    before, endpoint = dht(host).status(), dht(host).dht.endpoints[0]
    known = {one.id for one in endpoint.table.contacts()}
    assert before["items"] > 0 and before["peers"] > 0
    simulation.wait(host.stop())
    simulation.run(60)
    simulation.wait(host.start(load(path)))
    simulation.run(0.1)
    endpoint = dht(host).dht.endpoints[0]
    assert {one for one, _ in endpoint.remembered} >= known - {endpoint.own}
    after = dht(host).status()
    assert after[f"id {endpoint.label}"] == before[f"id {endpoint.label}"]
    assert (after["items"], after["peers"]) == (before["items"], before["peers"])
    assert endpoint.table.size == 0, "who was known yesterday is asked before it counts"
    simulation.wait(dht(host).when_ready(), 60)
    simulation.run(120)
    assert {one.id for one in endpoint.table.contacts()} >= known
    assert simulation.wait(dht(host).get_immutable(put.target), 60).value == b"kept 5"
    assert list(dht(host)._items._kept) == [kept.target]
