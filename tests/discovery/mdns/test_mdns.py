"""The plugin as a whole: nodes on one simulated link, and a link that is not what it seems."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from pydantic import ValidationError
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol

from p2pframe.discovery.mdns import MdnsConfig, MdnsDiscovery, wire
from p2pframe.discovery.mdns.service import Service, service_name
from p2pframe.discovery.mdns.wire import Message, Question
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import DiscoveryState
from p2pframe.model import NetworkInterface, PeerAddress
from p2pframe.testing.context import FakeContext, result_of

NODE = """
version: 1
node: {{data_dir: ./data-{name}}}
storage: {{plugin: memory}}
networks:
  {network}:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["{listen}"]}}]
    discovery: [{{plugin: mdns{options}}}]
"""
NETWORK = "chat"
ANYWHERE = PeerAddress("0.0.0.0", 8333)


def node(name, listen="0.0.0.0:8333", options="", network=NETWORK):
    return NODE.format(name=name, listen=listen, options=options, network=network)


def peers(host, network=NETWORK):
    return {row.address.host for row in host.node.view.sessions(network)}


# --- in the simulator ---


@pytest.mark.parametrize(
    ("at", "listen"), [(("10.0.0.1", "10.0.0.2"), "0.0.0.0:8333"), (("fd00::1", "fd00::2"), "[::]:8333")]
)
def test_two_on_one_link_find_each_other_and_one_elsewhere_does_not(simulation, at, listen):
    one = simulation.start(node("a", listen), at[0], lan="home")
    other = simulation.start(node("b", listen), at[1], lan="home")
    away = simulation.start(node("c", listen), at[0].replace("0.0.0.1", "9.0.0.1").replace("::1", "::9"), lan="away")
    simulation.run(10)
    assert peers(one) == {at[1]}
    assert peers(other) == {at[0]}
    assert peers(away) == set()


def test_thirty_on_one_link(simulation):
    hosts = [simulation.start(node(f"n{n}"), f"10.0.0.{n}", lan="home") for n in range(1, 31)]
    simulation.run(20)
    for host in hosts:
        assert host.node.view.networks()[0].discovery["mdns"].found == 29


def test_a_name_that_is_taken_gets_a_number(simulation):
    one = simulation.start(node("a", options=", instance: me"), "10.0.0.1", lan="home")
    simulation.run(5)
    other = simulation.start(node("b", options=", instance: me"), "10.0.0.2", lan="home")
    simulation.run(10)
    assert peers(one) == {"10.0.0.2"}
    assert peers(other) == {"10.0.0.1"}


def test_those_of_another_network_are_left_alone(simulation):
    one = simulation.start(node("a"), "10.0.0.1", lan="home")
    simulation.start(node("b", network="other"), "10.0.0.2", lan="home")
    simulation.run(10)
    assert peers(one) == set()


def test_who_stops_says_so(simulation):
    heard = Listener(simulation, "10.0.0.9")
    one = simulation.start(node("a", options=", instance: me"), "10.0.0.1", lan="home")
    simulation.run(5)
    heard.messages.clear()
    simulation.wait(one.stop())
    simulation.run(1)
    (goodbye,) = [message for message in heard.messages if message.response]
    assert {record.ttl for record in goodbye.answers} == {0}
    assert b"me" in {record.name[0] for record in goodbye.answers}


class Listener:
    """A host on the link that writes down what it hears."""

    def __init__(self, simulation, address):
        self.messages = messages = []

        class Protocol(DatagramProtocol):
            def datagramReceived(self, datagram, addr):
                messages.append(wire.parse(datagram))

        host = simulation.host(address, lan="home")
        port = host.boot().reactor.listenMulticast(5353, Protocol())
        port.joinGroup("224.0.0.251")


# --- by itself ---


class Alone:
    """A discovery on a fake reactor, and what it sends on its first socket."""

    def __init__(self, announced=(ANYWHERE,), interfaces=None, **config):
        self.context = FakeContext("discovery.mdns", "net")
        if interfaces is not None:
            self.context.host_interfaces = interfaces
        self.plugin = MdnsDiscovery(MdnsConfig(**config), self.context)
        self.announcing = self.plugin.announce(announced)
        self.run(3)

    def run(self, seconds):
        for _ in range(round(seconds * 100)):
            self.context.reactor.advance(0.01)

    def find(self):
        looking = self.plugin.find(100)
        self.run(2)
        return {str(found.address) for found in result_of(looking)}

    def port(self, number=0):
        return self.context.reactor.udpPorts[number]

    def hear(self, data, source=("192.0.2.50", 5353), port=0):
        self.port(port)[1].datagramReceived(data if isinstance(data, bytes) else wire.encode(data), source)

    def sent(self, port=0):
        return self.port(port)[1].transport.written

    def left_out(self, reason):
        return self.context.metrics.value("mdns_left_out_total", reason)


def there(label="you", hosts=("192.0.2.50",), port=7, texts=("network=net",)):
    service = Service(service_name("_p2pframe._tcp"), label, "theirs", port, texts)
    return Message(True, answers=[service.shared()[0], *service.unique(list(hosts))])


def test_it_speaks_on_both_families():
    alone = Alone()
    assert [(number, where) for number, _, where, _ in alone.context.reactor.udpPorts] == [
        (5353, "0.0.0.0"), (5353, "::")
    ]  # fmt: skip
    assert {to for _, to in alone.sent()} == {("224.0.0.251", 5353)}
    alone = Alone(announced=[PeerAddress("::", 8333)])
    assert {to for _, to in alone.sent(1)} == {("ff02::fb", 5353)}
    types = {one.type for data, _ in alone.sent(1) for one in wire.parse(data).answers}
    assert types >= {wire.A, wire.AAAA}


def test_only_the_family_that_is_asked_for():
    assert [port[2] for port in Alone(ipv6=False).context.reactor.udpPorts] == ["0.0.0.0"]
    assert [port[2] for port in Alone(ipv4=False).context.reactor.udpPorts] == ["::"]


def interface(name, index, *addresses):
    return NetworkInterface(name, index, tuple(map(ip_interface, addresses)))


THREE = (
    interface("lo", 1, "127.0.0.1/8"), interface("eth0", 2, "192.0.2.10/24"), interface("eth1", 3, "198.51.100.1/24")
)  # fmt: skip


def test_each_interface_is_told_of_its_own_addresses_only():
    alone = Alone(interfaces=THREE)
    for number, own in ((0, "192.0.2.10"), (1, "198.51.100.1")):
        told = [one for data, _ in alone.sent(number) for one in wire.parse(data).answers if one.type == wire.A]
        assert {str(wire.read_address(one)) for one in told} == {own}
    assert len(alone.context.reactor.udpPorts) == 2


def test_what_comes_over_one_interface_stays_there():
    alone = Alone(interfaces=THREE)
    before = len(alone.sent(1))
    query = Message(False, [Question(service_name("_p2pframe._tcp"), wire.PTR)])
    alone.hear(query, port=0)
    alone.hear(query, port=1)
    alone.run(1)
    assert alone.left_out("off link") == 1
    assert len(alone.sent(1)) == before


def test_who_listens_at_one_address_is_announced_there_only():
    alone = Alone(announced=[PeerAddress("198.51.100.1", 8333)], interfaces=THREE)
    assert alone.sent(0) == []
    assert alone.sent(1)


def test_who_listens_nowhere_only_looks():
    alone = Alone(announced=())
    assert result_of(alone.announcing) is None
    assert alone.context.reactor.udpPorts == []
    assert alone.find() == set()
    assert all(not wire.parse(data).response for data, _ in alone.sent())


def test_found_with_the_port_and_on_this_link_only():
    alone = Alone()
    looking = alone.plugin.find(100)
    alone.hear(there(hosts=("192.0.2.50", "2001:db8::50", "203.0.113.1", "fe80::1")))
    alone.run(2)
    assert {str(one.address) for one in result_of(looking)} == {"192.0.2.50:7", "[2001:db8::50]:7"}
    assert alone.left_out("elsewhere") == 2


def test_news_make_it_due():
    alone = Alone()
    state = DiscoveryState(60, 0, 8, 0, 10.0)
    assert not alone.plugin.due(state)
    assert alone.plugin.due(DiscoveryState(0, 0, 8, 0, None))
    alone.find()
    assert not alone.plugin.due(state)
    alone.hear(there())
    assert alone.plugin.due(state)
    assert alone.find() == {"192.0.2.50:7"}
    assert not alone.plugin.due(state)
    assert alone.plugin.due(DiscoveryState(60, 0, 8, 0, 60.0))


def test_those_that_say_that_they_are_of_another_network():
    for texts, any_network, wanted in ((["network=x"], False, 0), (["network=x"], True, 1), (["a=b"], False, 1)):
        alone = Alone(any_network=any_network)
        alone.find()
        alone.hear(there(texts=texts))
        assert len(alone.find()) == wanted


@pytest.mark.parametrize(
    ("reason", "data", "source"),
    [
        ("off link", there(), ("203.0.113.1", 5353)),
        ("off link", there(), ("fe80::1%other", 5353)),
        ("off link", there(), ("nonsense", 5353)),
        ("malformed", b"\0" * 11, ("192.0.2.50", 5353)),
        ("malformed", bytes(9001), ("192.0.2.50", 5353)),
        ("port", there(), ("192.0.2.50", 5354)),
    ],
)
def test_what_is_not_looked_at(reason, data, source):
    alone = Alone()
    alone.find()
    alone.hear(data, source)
    assert alone.left_out(reason) == 1
    assert alone.find() == set()


def test_one_source_can_not_keep_it_busy():
    alone = Alone(rate=50)
    alone.find()
    query = Message(False, [Question(service_name("_p2pframe._tcp"), wire.PTR)])
    for _ in range(500):
        alone.hear(query)
    assert alone.left_out("too many") == 450
    # Another is heard.
    alone.hear(there(), ("192.0.2.51", 5353))
    assert alone.find() == {"192.0.2.50:7"}


def test_a_thousand_sources_are_counted_apart():
    alone = Alone(interfaces=[interface("eth0", 2, "10.0.0.1/8")])
    for number in range(1200):
        alone.hear(b"", (f"10.1.{number // 200}.{number % 200}", 5353))
    assert alone.left_out("too many") == 200


def test_our_own_messages_come_back_and_are_nobodys():
    alone = Alone()
    alone.find()
    for data, _ in list(alone.sent()):
        alone.hear(data, ("192.0.2.10", 5353))
    assert alone.find() == set()
    assert alone.context.metrics.value("mdns_conflicts_total") == 0


def test_an_interface_that_comes_later_is_spoken_on_and_one_that_goes_is_left():
    alone = Alone(interfaces=THREE[:2])
    alone.find()
    alone.context.host_interfaces = [THREE[2]]
    alone.run(31)
    assert [port[1].transport.listening for port in alone.context.reactor.udpPorts] == [False, True]
    assert any(wire.parse(data).response for data, _ in alone.sent(1))


def test_the_end_of_a_container_is_no_link_of_ours():
    """It has the address only that every interface gives itself, and comes and goes: nobody is asked anew for it."""
    alone = Alone(interfaces=THREE)
    alone.find()
    before = len(alone.sent(0))
    alone.context.host_interfaces = [*THREE, interface("veth0", 9, "fe80::1/64")]
    alone.run(31)
    assert len(alone.context.reactor.udpPorts) == 2
    later = [wire.parse(data) for data, _ in alone.sent(0)[before:]]
    assert not any(message.authorities for message in later), "no name is claimed again"


def test_without_any_interface_it_says_so():
    alone = Alone(interfaces=[THREE[0]])
    with pytest.raises(P2PFrameError, match="no network interface to speak multicast DNS on: looked for any interface"):
        result_of(alone.announcing)
    with pytest.raises(P2PFrameError, match="looked for wlan7"):
        result_of(MdnsDiscovery(MdnsConfig(interfaces=["wlan7"]), FakeContext()).find(1))
    named = FakeContext()
    named.host_interfaces = THREE
    MdnsDiscovery(MdnsConfig(interfaces=["lo"]), named).find(1)
    assert [port[1].interface.name for port in named.reactor.udpPorts] == ["lo"]


def test_an_interface_that_can_not_is_said_once_and_the_others_go_on():
    context = FakeContext("discovery.mdns", "net")
    context.host_interfaces = THREE
    listen = context.reactor.listenMulticast
    tried = []

    def refusing(port, protocol, interface, *args, **kwargs):
        tried.append(protocol.interface.name)
        if protocol.interface.name == "eth0":
            raise CannotListenError(interface, port, OSError(98, "in use"))
        return listen(port, protocol, interface, *args, **kwargs)

    context.reactor.listenMulticast = refusing
    plugin = MdnsDiscovery(MdnsConfig(patience=0), context)
    looking = plugin.find(1)
    context.reactor.advance(0.1)
    assert result_of(looking) == []
    assert tried == ["eth0", "eth1"]


def test_it_ends_in_the_middle_of_anything():
    for seconds in (0, 0.1, 0.5, 0.9, 1.5, 5):
        context = FakeContext("discovery.mdns", "net")
        plugin = MdnsDiscovery(MdnsConfig(), context)
        announcing = plugin.announce([PeerAddress("0.0.0.0", 8333)])
        looking = plugin.find(10)
        announcing.addErrback(lambda _: None)
        looking.addErrback(lambda _: None)
        context.reactor.advance(seconds)
        announcing.cancel()
        looking.cancel()
        assert result_of(plugin.withdraw()) is None
        assert not any(port[1].transport and port[1].transport.listening for port in context.reactor.udpPorts)
        assert context.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"service": "bitcoin"}, "not of the form _name._tcp"),
        ({"service": "_much-too-long-a-name._tcp"}, "1 to 15 characters"),
        ({"service": "_Upper._tcp"}, "lower case"),
        ({"instance": "x" * 64}, "1 to 63 bytes"),
        ({"instance": "a\0b"}, "printable"),
        ({"rate": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_in_the_config_are_named(options, what):
    with pytest.raises(ValidationError, match=what):
        MdnsConfig(**options)


def test_bounds_change_while_it_runs():
    alone = Alone()
    alone.plugin.reconfigure(MdnsConfig(rate=1))
    alone.hear(b"")
    alone.hear(b"")
    assert alone.left_out("too many") == 1
