"""The beacon: whole nodes over datagrams, simulated and over real sockets, and what strangers may not do."""

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from p2pframe.config import load
from p2pframe.core.node import Node
from p2pframe.errors import ConfigError
from p2pframe.interfaces import IAddressBook, INetworkProtocol
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.sim.datagrams import SimulatedUDPPort
from p2pframe.sim.links import LinkConfig, LinksConfig
from p2pframe.testing.context import FakeContext
from p2pframe.testing.simulation import NodeSimulation
from plugins.beacon import HERE, LENGTH, SEEN, Datagram
from tests.plugins.conftest import ROOT

CONFIG = """
version: 1
node: {{data_dir: {name}-data, plugin_path: ["{plugins}"], watchdog: 0}}
storage: {{plugin: memory}}
networks:
  presence:
    protocol: {{plugin: beacon, name: {name}, interval: {interval}}}
    transports: [{{plugin: udp, listen: "{listen}"}}]
    discovery: [{{plugin: peer-file, path: ./{name}-peers.txt, interval: 5s}}]
    limits: {limits}
"""


def config(folder, name, peers=(), listen="0.0.0.0:7778", interval="1s", limits="{}"):
    (folder / f"{name}-peers.txt").write_text("\n".join(peers))
    path = folder / f"{name}.yaml"
    text = CONFIG.format(name=name, plugins=ROOT / "plugins", listen=listen, interval=interval, limits=limits)
    path.write_text(text)
    return load(path)


class Net(NodeSimulation):
    """Hosts a hundredth of a second apart; `sent` has what their nodes send."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder, links=LinksConfig(default=LinkConfig(latency=0.01)))
        self.sent = []
        write = SimulatedUDPPort.write

        def noted(port, data, target=None):
            self.sent.append((data, target))
            write(port, data, target)

        monkeypatch.setattr(SimulatedUDPPort, "write", noted)

    def receiver(self, address):
        """Whoever takes what comes to the port of a node."""
        ((port,),) = self.at(address).datagram_ports.values()
        return port.protocol


@pytest.fixture
def world(tmp_path, monkeypatch):
    net = Net(tmp_path, monkeypatch)

    def start(address, name, peers=(), spec=None, **options):
        host = net.host(address)
        net.wait(host.start(spec or config(tmp_path, name, peers, **options)))
        return host.node

    yield net, start
    for host in net.hosts.values():
        net.wait(host.node.stop())
        assert not host.incarnation.datagram_ports
    net.close()


def there(node):
    return {seen.name for seen in node.networks["presence"].protocol.present().values()}


def test_whoever_is_there_knows_who_else_is_and_notices_who_has_gone(world):
    net, start = world
    alice = start("192.0.2.1", "alice")
    bob = start("192.0.2.2", "bob", ["192.0.2.1:7778"])
    carol = start("192.0.2.3", "carol", ["192.0.2.1"])
    # Each of them knows alice only by what its file says; alice knows them by what they told her.
    net.run_until(lambda: there(alice) == {"bob", "carol"} and there(bob) == there(carol) == {"alice"}, limit=5)
    assert alice.view.networks()[0].status == {"present": 2}
    (seen,) = bob.networks["presence"].protocol.present().values()
    assert seen.round_trip == pytest.approx(0.02)
    done = []
    bob.stop().addCallback(done.append)
    net.run_until(lambda: done and there(alice) == {"carol"}, limit=6)


def test_peers_that_the_config_names_are_addresses_of_a_network_without_connections(world, tmp_path):
    net, start = world
    alice = start("192.0.2.1", "alice")
    path = tmp_path / "bob.yaml"
    config(tmp_path, "bob")
    path.write_text(path.read_text().replace(
        "{plugin: peer-file, path: ./bob-peers.txt, interval: 5s}", '{plugin: static, peers: ["192.0.2.1:7778"]}'
    ))
    bob = start("192.0.2.2", "bob", spec=load(path))
    net.run_until(lambda: there(alice) == {"bob"} and there(bob) == {"alice"}, limit=5)


def test_nothing_that_strangers_send_counts_as_presence_or_makes_more_traffic_than_it_is(world):
    net, start = world
    alice = start("192.0.2.1", "alice", interval="1h")
    net.sent.clear()
    socket = net.receiver("192.0.2.1")
    for number in range(200):
        nonce = number.to_bytes(8)
        socket.datagramReceived(Datagram(HERE, nonce, "mallory").encode(), ("198.51.100.7", 9))
        socket.datagramReceived(Datagram(SEEN, nonce, "mallory").encode(), ("198.51.100.8", 9))
        socket.datagramReceived(b"noise", ("198.51.100.9", 9))
    assert len(net.sent) == 200 and {len(data) for data, _ in net.sent} == {LENGTH}
    assert {target for _, target in net.sent} == {("198.51.100.7", 9)}
    assert there(alice) == set()
    ignored = alice.metrics.snapshot()["p2pframe_beacon_ignored_total"]
    assert (ignored["presence", "not asked"], ignored["presence", "not ours"]) == (200, 200)
    assert alice.view.penalties() == []


def test_an_answer_from_elsewhere_or_given_twice_is_none(world):
    net, start = world
    alice = start("192.0.2.1", "alice", ["192.0.2.9"])
    net.run_until(lambda: net.sent)
    socket = net.receiver("192.0.2.1")
    nonce = Datagram.decode(net.sent[0][0]).nonce
    socket.datagramReceived(Datagram(SEEN, nonce, "mallory").encode(), ("198.51.100.8", 7778))
    assert there(alice) == set()
    for name in ("nina", "mallory"):
        socket.datagramReceived(Datagram(SEEN, nonce, name).encode(), ("192.0.2.9", 7778))
    assert there(alice) == {"nina"}


def test_a_flood_from_one_netgroup_is_dropped_at_the_gate_and_others_are_heard(world):
    net, start = world
    alice = start(
        "192.0.2.1", "alice", interval="1h", limits="{netgroup_datagrams_burst: 50, netgroup_datagrams_per_second: 1}"
    )
    net.sent.clear()
    socket = net.receiver("192.0.2.1")
    for number in range(1000):
        socket.datagramReceived(Datagram(HERE, b"12345678", "m").encode(), (f"198.51.{number % 256}.7", 9))
    assert len(net.sent) == 50
    socket.datagramReceived(Datagram(HERE, b"12345678", "bob").encode(), ("203.0.113.1", 9))
    assert len(net.sent) == 51
    dropped = alice.metrics.snapshot()["p2pframe_datagrams_dropped_total"]
    assert dropped["presence", "netgroup-rate"] == 950


def test_a_banned_address_is_not_answered(world):
    net, start = world
    alice = start("192.0.2.1", "alice", interval="1h")
    alice.control.ban("198.51.100.7", 3600.0, "by hand")
    net.sent.clear()
    socket = net.receiver("192.0.2.1")
    socket.datagramReceived(Datagram(HERE, b"12345678", "m").encode(), ("198.51.100.7", 9))
    assert net.sent == []


def test_it_does_not_take_itself_for_a_peer(world):
    net, start = world
    alice = start("192.0.2.1", "alice", ["192.0.2.1"])
    net.run(5.0)
    assert there(alice) == set()
    assert alice.metrics.snapshot()["p2pframe_beacon_ignored_total"]["presence", "our own"] > 0


def test_its_table_is_bounded(made):
    class Book:
        size = 0

        def sample(self, maximum, percent=100):
            return [FoundAddress(PeerAddress(f"192.0.2.{n}", 7778)) for n in range(20)]

        def add(self, found, source):
            return 0

    class Port:
        address = PeerAddress("0.0.0.0", 7778)
        sent: list = []

        def send(self, data, target):
            self.sent.append((data, target))

    context = FakeContext("protocol.beacon", services={IAddressBook: Book()})
    beacon = made("protocol", "beacon", context, name="alice", most=5)
    verifyObject(INetworkProtocol, beacon)
    beacon.receiver(Port())
    beacon.startService()
    context.reactor.advance(10.0)
    for data, target in list(Port.sent):
        beacon.datagram_received(Datagram(SEEN, Datagram.decode(data).nonce, "x").encode(), target)
    assert len(beacon.present()) == 5
    assert context.metrics.value("beacon_ignored_total", "table full") == 15
    beacon.stopService()
    assert context.reactor.getDelayedCalls() == []


def test_what_a_protocol_of_datagrams_has_no_use_for_is_refused_by_the_check(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(
        f'version: 1\nnode: {{plugin_path: ["{ROOT / "plugins"}"]}}\nnetworks:\n  presence:\n'
        "    protocol: {plugin: beacon, name: alice}\n    transports: [{plugin: tcp}]\n    relay: {plugin: flood}\n"
    )
    with pytest.raises(ConfigError) as found:
        load(path)
    assert "protocol.beacon speaks datagrams, which transport.tcp does not carry" in str(found.value)
    assert "protocol.beacon does not use relay" in str(found.value)


@given(st.sampled_from([HERE, SEEN]), st.binary(min_size=8, max_size=8), st.text(min_size=1, max_size=47))
def test_what_is_encoded_is_decoded(kind, nonce, name):
    if len(name.encode("utf-8", "replace")) <= 47 and name.isprintable():
        datagram = Datagram(kind, nonce, name)
        assert len(datagram.encode()) == LENGTH
        assert Datagram.decode(datagram.encode()) == datagram


@given(st.binary(max_size=70) | st.binary(min_size=56, max_size=56).map(lambda rest: b"p2pbeac1" + rest))
def test_nothing_else_is_a_datagram(data):
    found = Datagram.decode(data)
    assert found is None or (found.encode() == data and found.name.isprintable())


@pytest_twisted.ensureDeferred
async def test_two_nodes_see_each_other_over_real_sockets(tmp_path):
    alice = Node(config(tmp_path, "alice", listen="127.0.0.1:0", interval="100ms"), reactor)
    alice.prepare()
    bob = None
    try:
        await alice.start()
        (gate,) = alice.networks["presence"].datagram_gates
        bob = Node(config(tmp_path, "bob", [str(gate.address)], listen="127.0.0.1:0", interval="100ms"), reactor)
        bob.prepare()
        await bob.start()
        for _ in range(500):
            if there(alice) == {"bob"} and there(bob) == {"alice"}:
                break
            await deferLater(reactor, 0.02)
        assert (there(alice), there(bob)) == ({"bob"}, {"alice"})
    finally:
        if bob is not None:
            await bob.stop()
        await alice.stop()
