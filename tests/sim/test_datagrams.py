"""UDP and multicast between simulated hosts: what a datagram protocol of Twisted's sees there."""

from __future__ import annotations

from errno import EINVAL, ENETUNREACH

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError, InvalidAddressError, MessageLengthError, MulticastJoinError
from twisted.internet.interfaces import IListeningPort, IMulticastTransport, IReactorMulticast, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface.verify import verifyObject

from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.nat import Nat
from p2pframe.sim.simulation import Simulation

GROUP, GROUP6 = "224.0.0.251", "ff02::fb"


class Notes(DatagramProtocol):
    """Notes what it is told, and when."""

    noisy = False

    def __init__(self, host=None):
        self.got = []
        self.refused = 0
        self.stopped = False
        self.host = host

    def datagramReceived(self, datagram, addr):
        self.got.append((datagram, addr))
        if datagram == b"ping":
            self.transport.write(b"pong", addr)

    def connectionRefused(self):
        self.refused += 1

    def stopProtocol(self):
        self.stopped = True

    @property
    def data(self):
        return [data for data, _ in self.got]


def simulated(seed=1, **link):
    link = {"latency": "10ms", **link}
    return Simulation(seed, Links(LinksConfig(default=LinkConfig.model_validate(link)), seed))


def up(simulation, *addresses, **options):
    host = simulation.host(*addresses, **options)
    host.boot()
    return host


def listen(host, port=0, interface="", **options):
    notes = Notes(host)
    host.incarnation.reactor.listenUDP(port, notes, interface, **options)
    return notes


def multicast(host, port=5353, group=GROUP, interface="", **options):
    notes = Notes(host)
    host.incarnation.reactor.listenMulticast(port, notes, interface, **options)
    if group:
        assert notes.transport.joinGroup(group).result is None
    return notes


@pytest.fixture
def simulation():
    return simulated()


@pytest.fixture
def pair(simulation):
    return up(simulation, "192.0.2.1"), up(simulation, "198.51.100.1")


# --- ports ---


def test_it_provides_what_twisted_asks_of_it(pair):
    alice, _ = pair
    port = listen(alice, 53).transport
    for interface in (IListeningPort, IMulticastTransport):
        verifyObject(interface, port)
    for interface in (IReactorUDP, IReactorMulticast):
        verifyObject(interface, alice.incarnation.reactor)
    assert (port.getHost().type, port.getHost().host, port.getHost().port) == ("UDP", "0.0.0.0", 53)


def test_a_datagram_and_its_answer(simulation, pair):
    alice, bob = pair
    server, client = listen(bob, 53), listen(alice, 4000)
    client.transport.write(b"ping", ("198.51.100.1", 53))
    simulation.run(0.0099)
    assert server.got == []
    simulation.run(0.0002)
    assert server.got == [(b"ping", ("192.0.2.1", 4000))]
    simulation.run(0.01)
    assert client.got == [(b"pong", ("198.51.100.1", 53))]


def test_every_delivery_is_in_the_trace(simulation, pair):
    alice, bob = pair
    server, client = listen(bob, 53), listen(alice, 4000)
    seen = []
    simulation.trace.watcher = lambda time, label, data: seen.append((round(time, 6), label, data))
    client.transport.write(b"ping", ("198.51.100.1", 53))
    client.transport.write(b"lost", ("198.51.100.1", 54))
    simulation.run(1.0)
    assert seen == [
        (0.01, "192.0.2.1:4000 > 198.51.100.1:53 udp", b"ping"),
        (0.02, "198.51.100.1:53 > 192.0.2.1:4000 udp", b"pong"),
    ]
    assert server.data == [b"ping"] and simulation.trace.deliveries == 2


def test_the_system_chooses_ports_that_are_free(simulation, pair):
    alice, _ = pair
    chosen = [listen(alice).transport.getHost().port for _ in range(50)]
    assert len({*chosen}) == 50 and all(49152 <= port < 65536 for port in chosen)


def test_when_no_port_is_left_the_system_says_so(simulation, pair):
    alice, _ = pair
    for _ in range(65_536 - 49_152):
        listen(alice)
    with pytest.raises(CannotListenError):
        listen(alice)


@pytest.mark.parametrize(
    ("first", "second"),
    [("", ""), ("", "192.0.2.1"), ("192.0.2.1", ""), ("192.0.2.1", "192.0.2.1"), ("::", ""), ("192.0.2.1", "::")],
)
def test_a_port_that_is_taken(first, second):
    alice = up(simulated(), "192.0.2.1", "2001:db8::1")
    listen(alice, 53, first)
    with pytest.raises(CannotListenError, match="Address already in use"):
        listen(alice, 53, second)


def test_ports_that_do_not_clash():
    alice = up(simulated(), "192.0.2.1", "192.0.2.2", "2001:db8::1")
    for interface in ("192.0.2.1", "192.0.2.2", "127.0.0.1", "2001:db8::1"):
        listen(alice, 53, interface)
    listen(alice, 54)


def test_an_address_of_another_host_can_not_be_listened_on(pair):
    alice, _ = pair
    with pytest.raises(CannotListenError, match="Cannot assign requested address"):
        listen(alice, 53, "198.51.100.1")
    with pytest.raises(InvalidAddressError):
        listen(alice, 53, "eth0")


def test_a_port_that_is_closed_gets_nothing_and_is_free_again(simulation, pair):
    alice, bob = pair
    server, client = listen(bob, 53), listen(alice)
    port = server.transport
    closed = []
    client.transport.write(b"late", ("198.51.100.1", 53))
    port.stopListening().addCallback(closed.append)
    port.stopListening().addCallback(closed.append)
    assert closed == [] and not server.stopped
    simulation.run(0.001)
    assert closed == [None, None] and server.stopped and server.transport is None
    simulation.run(1)
    assert server.got == []
    with pytest.raises(RuntimeError, match="closed"):
        port.write(b"x", ("192.0.2.1", 1))
    listen(bob, 53)


# --- sending ---


def test_more_than_ip_carries_is_refused_as_a_socket_does(simulation):
    alice, bob = up(simulation, "192.0.2.1", "2001:db8::1"), up(simulation, "192.0.2.2", "2001:db8::2")
    for interface, target, most in (("", "192.0.2.2", 65_507), ("::", "2001:db8::2", 65_527)):
        server = listen(bob, 53, target, maxPacketSize=70_000)
        client = listen(alice, 0, interface)
        client.transport.write(bytes(most), (target, 53))
        with pytest.raises(MessageLengthError):
            client.transport.write(bytes(most + 1), (target, 53))
        simulation.run(1)
        assert [len(data) for data in server.data] == [most]


def test_a_reader_gets_no_more_than_it_asked_for(simulation, pair):
    alice, bob = pair
    server = listen(bob, 53, maxPacketSize=4)
    listen(alice).transport.write(b"123456", ("198.51.100.1", 53))
    simulation.run(1)
    assert server.data == [b"1234"]


def test_what_can_not_be_sent(pair):
    alice, _ = pair
    four, six = listen(alice, 1).transport, listen(alice, 2, "::").transport
    for port, target in ((four, "seed.example"), (four, "2001:db8::1"), (six, "192.0.2.2")):
        with pytest.raises(InvalidAddressError):
            port.write(b"x", (target, 1))
    with pytest.raises(OSError) as unreachable:
        six.write(b"x", ("2001:db8::9", 1))
    assert unreachable.value.errno == ENETUNREACH
    with pytest.raises(OSError) as invalid:
        listen(alice, 3, "127.0.0.1").transport.write(b"x", ("192.0.2.2", 1))
    assert invalid.value.errno == EINVAL
    with pytest.raises(OSError):
        four.write(b"x", ("192.0.2.2", 0))
    with pytest.raises(OverflowError):
        four.write(b"x", ("192.0.2.2", 65_536))
    with pytest.raises(ValueError, match="not connected"):
        four.write(b"x")
    with pytest.raises(TypeError):
        four.write(9, ("192.0.2.2", 1))


def test_nobody_is_there(simulation, pair):
    alice, bob = pair
    client = listen(alice)
    for target in (("198.51.100.1", 9), ("203.0.113.77", 9)):
        client.transport.write(b"x", target)
    simulation.run(5)
    assert client.got == [] and client.refused == 0


def test_ipv6_and_ipv4_by_one_port(simulation):
    alice, bob = up(simulation, "192.0.2.1", "2001:db8::1"), up(simulation, "192.0.2.2", "2001:db8::2")
    both, four = listen(bob, 53, "::"), listen(alice, 7)
    listen(alice, 8, "2001:db8::1").transport.write(b"ping", ("2001:DB8:0::2", 53))
    four.transport.write(b"ping", ("192.0.2.2", 53))
    simulation.run(1)
    assert both.got == [(b"ping", ("2001:db8::1", 8)), (b"ping", ("::ffff:192.0.2.1", 7))]
    assert four.got == [(b"pong", ("192.0.2.2", 53))]


def test_loopback_and_the_hosts_own_addresses(simulation):
    alice = up(simulation, "192.0.2.1", "192.0.2.9")
    server, client = listen(alice, 53), listen(alice, 7)
    for target in ("127.0.0.1", "192.0.2.9"):
        client.transport.write(b"here", (target, 53))
    simulation.run(0.001)
    assert server.got == [(b"here", ("127.0.0.1", 7)), (b"here", ("192.0.2.1", 7))]


def test_a_protocol_that_raises_is_logged_and_goes_on(simulation, pair, flush_logged_errors):
    alice, bob = pair
    server, client = listen(bob, 53), listen(alice, 7)
    right, server.datagramReceived = server.datagramReceived, lambda *args: 1 / 0
    client.transport.write(b"x", ("198.51.100.1", 53))
    simulation.run(1)
    assert len(flush_logged_errors(ZeroDivisionError)) == 1
    server.datagramReceived = right
    client.transport.write(b"y", ("198.51.100.1", 53))
    simulation.run(1)
    assert server.data == [b"y"]


# --- connected ports ---


def test_a_connected_port_sends_to_one_and_takes_from_one(simulation, pair):
    alice, bob = pair
    server, other, client = listen(bob, 53), listen(bob, 54), listen(alice, 7)
    client.transport.connect("198.51.100.1", 53)
    client.transport.write(b"ping")
    client.transport.write(b"two", ("198.51.100.1", 53))
    other.transport.write(b"stranger", ("192.0.2.1", 7))
    simulation.run(1)
    assert server.data == [b"ping", b"two"]
    assert client.data == [b"pong"]
    with pytest.raises(ValueError, match="connected"):
        client.transport.write(b"x", ("198.51.100.1", 54))
    with pytest.raises(RuntimeError, match="already connected"):
        client.transport.connect("198.51.100.1", 53)


def test_a_connected_port_hears_that_nobody_listens_if_the_host_is_up(simulation, pair):
    alice, bob = pair
    client, loose = listen(alice, 7), listen(alice, 8)
    client.transport.connect("198.51.100.1", 53)
    client.transport.write(b"x")
    loose.transport.write(b"x", ("198.51.100.1", 53))
    simulation.run(0.0199)
    assert client.refused == 0
    simulation.run(0.0002)
    assert client.refused == 1 and loose.refused == 0
    # A process that was killed leaves a host that answers; one without power leaves silence.
    bob.kill()
    client.transport.write(b"x")
    simulation.run(1)
    assert client.refused == 2
    bob.boot()
    bob.power_off()
    client.transport.write(b"x")
    simulation.run(1)
    assert client.refused == 2


# --- faults ---


def test_a_cut_is_one_way_and_silent(simulation, pair):
    alice, bob = pair
    one, two = listen(alice, 1), listen(bob, 2)
    one.transport.connect("198.51.100.1", 2)
    simulation.network.cut(alice, bob)
    one.transport.write(b"lost")
    two.transport.write(b"through", ("192.0.2.1", 1))
    simulation.run(1)
    assert (one.data, two.data, one.refused) == ([b"through"], [], 0)
    one.transport.write(b"into")
    simulation.network.mend(alice, bob)
    simulation.run(1)
    assert two.data == []
    one.transport.write(b"met")
    simulation.network.cut(alice, bob)
    simulation.run(1)
    assert two.data == []


def test_what_is_on_the_way_arrives_after_its_sender_died_and_reaches_the_next_boot(simulation, pair):
    alice, bob = pair
    listen(alice).transport.write(b"last words", ("198.51.100.1", 53))
    alice.kill()
    bob.kill()
    bob.boot()
    server = listen(bob, 53)
    simulation.run(1)
    assert server.data == [b"last words"]


def test_a_dead_host_does_nothing(simulation, pair):
    alice, bob = pair
    server, client = listen(bob, 53), listen(alice, 7)
    transport, reactor = client.transport, alice.incarnation.reactor
    transport.write(b"ping", ("198.51.100.1", 53))
    alice.power_off()
    transport.write(b"x", ("198.51.100.1", 53))
    reactor.listenUDP(9, Notes())
    gone = []
    transport.stopListening().addCallback(gone.append)
    simulation.run(1)
    assert server.data == [b"ping"] and client.got == [] and gone == []


@given(st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0, 0.5))
def test_what_arrives_are_copies_of_what_was_sent_and_equal_seeds_are_equal_traces(seed, loss, duplicate):
    def run():
        simulation = simulated(seed, loss=loss, duplicate=duplicate, reorder=0.2)
        alice, bob = up(simulation, "192.0.2.1"), up(simulation, "198.51.100.1")
        server, client = listen(bob, 53), listen(alice, 7)
        sent = [b"%d" % number for number in range(60)]
        for data in sent:
            client.transport.write(data, ("198.51.100.1", 53))
            simulation.run(0.02)
        simulation.run(1)
        assert {*server.data} <= {*sent}
        assert all(server.data.count(data) <= 2 for data in sent)
        if not loss:
            assert {*server.data} == {*sent}
        return server.data, simulation.trace.digest()

    assert run() == run()


def test_the_line_of_a_host_is_shared_and_drops_what_finds_it_full(simulation):
    alice = up(simulation, "192.0.2.1", up=1000, queue=1500)
    bob, carol = up(simulation, "192.0.2.2"), up(simulation, "192.0.2.3", down=1000, queue=1500)
    servers = listen(bob, 53), listen(carol, 53)
    client = listen(alice, 7)
    for target in ("192.0.2.2", "192.0.2.3", "192.0.2.2", "192.0.2.3"):
        client.transport.write(bytes(500), (target, 53))
    assert client.transport.dropped == 1
    simulation.run(0.6)
    assert [len(server.got) for server in servers] == [1, 0]
    simulation.run(5)
    assert [len(server.got) for server in servers] == [2, 1]
    fast = listen(bob, 7)
    for _ in range(5):
        fast.transport.write(bytes(500), ("192.0.2.3", 53))
    simulation.run(5)
    assert len(servers[1].got) == 1 + 3 and fast.transport.dropped == 2


# --- NAT ---


def behind(simulation, kind, public, *addresses, **options):
    nat = Nat(kind, public, **options)
    return [up(simulation, address, name=f"{public}/{address}", nat=nat) for address in addresses]


def test_a_host_behind_a_nat_is_seen_at_its_public_address_and_gets_its_answers(simulation, pair):
    _, bob = pair
    (home,) = behind(simulation, "port-restricted", "203.0.113.1", "10.0.0.2")
    server, stranger, client = listen(bob, 53), listen(bob, 54), listen(home, 7000)
    stranger.transport.write(b"unasked", ("203.0.113.1", 7000))
    client.transport.write(b"ping", ("198.51.100.1", 53))
    simulation.run(1)
    assert server.got == [(b"ping", ("203.0.113.1", 7000))]
    stranger.transport.write(b"unasked", ("203.0.113.1", 7000))
    stranger.transport.write(b"unasked", ("10.0.0.2", 7000))
    simulation.run(1)
    assert client.got == [(b"pong", ("198.51.100.1", 53))]
    simulation.run(120)
    server.transport.write(b"late", ("203.0.113.1", 7000))
    simulation.run(1)
    assert client.data == [b"pong"]


def test_a_full_cone_lets_in_who_learned_of_the_port(simulation, pair):
    alice, bob = pair
    (home,) = behind(simulation, "full-cone", "203.0.113.1", "10.0.0.2")
    client, server, third = listen(home, 7000), listen(bob, 53), listen(alice, 9)
    client.transport.write(b"x", ("198.51.100.1", 53))
    simulation.run(1)
    third.transport.write(b"hello", server.got[0][1])
    simulation.run(1)
    assert client.got == [(b"hello", ("192.0.2.1", 9))]


@pytest.mark.parametrize(
    ("one", "two", "through"),
    [
        ("port-restricted", "port-restricted", True),
        ("symmetric", "address-restricted", True),
        ("symmetric", "port-restricted", False),
    ],
)
def test_hole_punching(simulation, pair, one, two, through):
    """Both send at once: each opens its NAT while the other's datagram is on the way."""
    _, meet = pair
    (a,), (b,) = behind(simulation, one, "203.0.113.1", "10.0.0.2"), behind(simulation, two, "203.0.113.2", "10.0.0.2")
    server, ends = listen(meet, 53), (listen(a, 7000), listen(b, 7000))
    for end in ends:
        end.transport.write(b"who am I", ("198.51.100.1", 53))
    simulation.run(1)
    seen_a, seen_b = (source for _, source in server.got)
    ends[0].transport.write(b"punch", seen_b)
    ends[1].transport.write(b"punch", seen_a)
    simulation.run(1)
    if one == two:
        assert [end.data for end in ends] == [[b"punch"], [b"punch"]]
    assert any(end.got for end in ends) == through


def test_hosts_behind_one_nat_reach_one_another_and_their_public_address(simulation, pair):
    _, bob = pair
    a, b = behind(simulation, "port-restricted", "203.0.113.1", "10.0.0.2", "10.0.0.3")
    one, two = listen(a, 7000), listen(b, 7000)
    one.transport.write(b"ping", ("10.0.0.3", 7000))
    simulation.run(1)
    assert two.got == [(b"ping", ("10.0.0.2", 7000))] and one.got == [(b"pong", ("10.0.0.3", 7000))]
    # Hairpinning: both say hello to the public port of the other.
    server = listen(bob, 53)
    for end in (one, two):
        end.transport.write(b"who am I", ("198.51.100.1", 53))
    simulation.run(1)
    (_, seen_a), (_, seen_b) = server.got
    assert seen_a[0] == seen_b[0] == "203.0.113.1" and seen_a[1] != seen_b[1]
    one.transport.write(b"x", seen_b)
    two.transport.write(b"hairpin", seen_a)
    simulation.run(1)
    assert one.got[-1] == (b"hairpin", seen_b)


def test_a_nat_without_room_drops_and_counts(simulation, pair):
    (home,) = behind(simulation, "symmetric", "203.0.113.1", "10.0.0.2", limit=2)
    server, client = listen(pair[1], 53), listen(home, 7000)
    for port in (53, 54, 55):
        client.transport.write(b"x", ("198.51.100.1", port))
    simulation.run(1)
    assert server.data == [b"x"] and client.transport.dropped == 1 and home.nat.refused == 1


# --- multicast ---


def test_a_group_is_heard_by_who_joined_on_the_same_lan(simulation):
    home = [up(simulation, f"10.0.0.{number}", lan="home") for number in (1, 2, 3)]
    elsewhere, nowhere = up(simulation, "10.0.1.1", lan="office"), up(simulation, "10.0.2.1")
    sender, joined, other_port = multicast(home[0]), multicast(home[1]), multicast(home[1], 5354)
    not_joined, far, alone = multicast(home[2], group=None), multicast(elsewhere), multicast(nowhere)
    sender.transport.write(b"hello", (GROUP, 5353))
    simulation.run(1)
    assert joined.got == [(b"hello", ("10.0.0.1", 5353))]
    assert sender.data == [b"hello"]
    assert not any(one.got for one in (other_port, not_joined, far, alone))
    alone.transport.write(b"alone", (GROUP, 5353))
    simulation.run(1)
    assert alone.data == [b"alone"] and joined.data == [b"hello"]


def test_loopback_mode_ttl_and_leaving(simulation):
    a, b = (up(simulation, f"10.0.0.{number}", lan="home") for number in (1, 2))
    one, two = multicast(a), multicast(b)
    port = one.transport
    assert port.getLoopbackMode() and port.getTTL() == 1
    port.setLoopbackMode(0)
    port.write(b"not me", (GROUP, 5353))
    simulation.run(1)
    assert (one.data, two.data) == ([], [b"not me"])
    port.setLoopbackMode(1)
    port.setTTL(0)
    port.write(b"only me", (GROUP, 5353))
    simulation.run(1)
    assert (one.data, two.data) == ([b"only me"], [b"not me"])
    port.setTTL(255)
    assert two.transport.leaveGroup(GROUP).result is None
    port.write(b"gone", (GROUP, 5353))
    simulation.run(1)
    assert two.data == [b"not me"]
    with pytest.raises(OSError):
        port.setTTL(256)


def test_several_ports_share_a_number_where_all_agree(simulation):
    a, b = (up(simulation, f"10.0.0.{number}", lan="home") for number in (1, 2))
    many = [multicast(b, listenMultiple=True) for _ in range(3)]
    multicast(a, group=None).transport.write(b"all", (GROUP, 5353))
    simulation.run(1)
    assert [one.data for one in many] == [[b"all"]] * 3
    with pytest.raises(CannotListenError):
        multicast(b)
    alone = up(simulation, "10.0.0.9", lan="home")
    multicast(alone)
    with pytest.raises(CannotListenError):
        multicast(alone, listenMultiple=True)


def test_ipv6_groups_and_the_address_that_is_sent_from(simulation):
    a = up(simulation, "10.0.0.1", "10.0.0.7", "2001:db8::1", lan="home")
    b = up(simulation, "10.0.0.2", "2001:db8::2", lan="home")
    six, four = multicast(b, 5353, GROUP6, "2001:db8::2"), multicast(b, 5354)
    # A socket bound to one address takes nothing that is sent to a group, as on Linux.
    wide = multicast(b, 5355, GROUP6, "::")
    sender6, sender4 = multicast(a, 1, None, "::"), multicast(a, 2, None)
    assert sender4.transport.getOutgoingInterface() == "0.0.0.0"
    assert sender4.transport.setOutgoingInterface("10.0.0.7").result == 1
    for port in (5353, 5355):
        sender6.transport.write(b"six", (GROUP6, port))
    sender4.transport.write(b"four", (GROUP, 5354))
    simulation.run(1)
    assert (six.got, wide.got) == ([], [(b"six", ("2001:db8::1", 1))])
    assert four.got == [(b"four", ("10.0.0.7", 2))]
    assert sender4.transport.getOutgoingInterface() == "10.0.0.7"


def test_groups_that_can_not_be_joined(simulation):
    port = multicast(up(simulation, "10.0.0.1", lan="home")).transport
    for addr, interface in (("10.0.0.9", ""), (GROUP6, ""), ("all", ""), (GROUP, ""), ("224.0.0.9", "10.0.0.9")):
        port.joinGroup(addr, interface).addCallbacks(
            lambda _: pytest.fail("joined"), lambda failure: failure.trap(MulticastJoinError)
        )
    left = []
    port.leaveGroup("224.0.0.9").addErrback(lambda failure: left.append(failure.trap(MulticastJoinError)))
    for number in range(19):
        assert port.joinGroup(f"224.0.1.{number}").result is None
    port.joinGroup("224.0.1.99").addErrback(lambda failure: left.append(failure.trap(MulticastJoinError)))
    assert left == [MulticastJoinError] * 2


def test_cuts_hold_on_a_lan_too(simulation):
    a, b = (up(simulation, f"10.0.0.{number}", lan="home") for number in (1, 2))
    one, two = multicast(a), multicast(b)
    simulation.network.cut(a, b)
    one.transport.write(b"x", (GROUP, 5353))
    two.transport.write(b"y", (GROUP, 5353))
    simulation.run(1)
    assert (one.data, two.data) == ([b"x", b"y"], [b"y"])
    # What was sent into a cut is gone, however soon it is mended, and so is what a cut meets on its way.
    one.transport.write(b"into", (GROUP, 5353))
    simulation.network.mend(a, b)
    simulation.run(1)
    one.transport.write(b"met", (GROUP, 5353))
    simulation.network.cut(a, b)
    simulation.run(1)
    assert two.data == [b"y"]
