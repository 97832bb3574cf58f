"""The reactor of a simulated host under Twisted's stock endpoints: connecting, names, ports, NAT, TLS."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    clientFromString,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    NotConnectingError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorMulticast,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from p2pframe.sim.nat import Nat
from tests.sim.ends import ALICE, BOB, CAROL, End, Ends, dial, joined, listen, simulated, up

NAT = "100.64.0.1"


@pytest.fixture
def simulation():
    return simulated()


@pytest.fixture
def alice(simulation):
    return up(simulation, ALICE, "2001:db8::1", name="alice")


@pytest.fixture
def bob(simulation):
    return up(simulation, BOB, "2001:db8::2", name="bob")


def reactor(host):
    return host.incarnation.reactor


def quiet(simulation, make=End):
    return Ends(simulation.clock, make)


def test_it_provides_what_it_says(alice):
    for interface in (IReactorTime, IReactorTCP, IReactorUDP, IReactorMulticast, IReactorPluggableNameResolver):
        assert verifyObject(interface, reactor(alice))
    assert verifyObject(IHostnameResolver, reactor(alice).nameResolver)
    assert verifyObject(IListeningPort, listen(alice).port)
    assert verifyObject(IConnector, dial(alice, BOB).connector)


# --- stock endpoints ---


@pytest.mark.parametrize(
    ("serve", "connect", "seen"),
    [
        (lambda r: TCP4ServerEndpoint(r, 80), lambda r: TCP4ClientEndpoint(r, BOB, 80), ALICE),
        (lambda r: TCP6ServerEndpoint(r, 80), lambda r: TCP6ClientEndpoint(r, "2001:db8::2", 80), "2001:db8::1"),
        (lambda r: TCP4ServerEndpoint(r, 80), lambda r: TCP4ClientEndpoint(r, "bob.example", 80), ALICE),
        (lambda r: serverFromString(r, "tcp:80"), lambda r: clientFromString(r, f"tcp:{BOB}:80"), ALICE),
        (
            lambda r: serverFromString(r, f"tcp:80:interface={BOB}"),
            lambda r: clientFromString(r, "tcp:host=bob.example:port=80:timeout=5"),
            ALICE,
        ),
        (lambda r: TCP4ServerEndpoint(r, 80), lambda r: HostnameEndpoint(r, "bob.example", 80), ALICE),
        (lambda r: TCP6ServerEndpoint(r, 80), lambda r: HostnameEndpoint(r, "Bob.Example.", 80), "2001:db8::1"),
    ],
)
def test_stock_endpoints_meet(simulation, alice, bob, serve, connect, seen):
    simulation.network.names["bob.example"] = (BOB, "2001:db8::2")
    server = quiet(simulation)
    port = simulation.wait(serve(reactor(bob)).listen(server))
    assert port.getHost().port == 80
    end = simulation.wait(connect(reactor(alice)).connect(quiet(simulation)))
    end.transport.write(b"hello")
    simulation.run(1.0)
    assert server.end.data == b"hello" and server.addr.host == seen
    assert isinstance(server.addr, IPv6Address if ":" in seen else IPv4Address)
    simulation.wait(port.stopListening())
    server.end.transport.write(b"still here")
    simulation.run(1.0)
    end.transport.loseConnection()
    simulation.run(1.0)
    assert end.data == b"still here" and server.end.why == "ConnectionDone"


def test_a_hostname_endpoint_goes_through_its_addresses(simulation, alice, bob):
    simulation.network.names["seed.example"] = ("192.0.2.99", "2001:db8::99", BOB)
    server = listen(bob, 80)
    simulation.wait(HostnameEndpoint(reactor(alice), "seed.example", 80, timeout=30).connect(quiet(simulation)))
    assert 0.5 < simulation.clock.now < 2.0, "0.3 seconds between two tries, and a look-up"
    simulation.run(60.0)
    assert len(server.ends) == 1 and simulation.clock.getDelayedCalls() == []


def test_a_name_that_nobody_has_fails(simulation, alice):
    for kind in (HostnameEndpoint, TCP4ClientEndpoint):
        endpoint = kind(reactor(alice), "no.example", 80)
        with pytest.raises(DNSLookupError):
            simulation.wait(endpoint.connect(quiet(simulation)))


def test_names_take_their_time_literals_none_and_localhost_is_here(simulation, alice):
    simulation.network.names["seed.example"] = (BOB, "2001:db8::2")
    simulation.network.name_delay = 0.5
    log = []

    class Receiver:
        def resolutionBegan(self, resolution):
            self.resolution = resolution
            assert verifyObject(IHostResolution, resolution)

        def addressResolved(self, address):
            log.append((simulation.clock.now, address.host, address.port))

        def resolutionComplete(self):
            log.append((simulation.clock.now, "complete"))

    def resolve(name, *types):
        log.clear()
        receiver = Receiver()
        reactor(alice).nameResolver.resolveHostName(receiver, name, 80, types or None)
        return receiver

    resolve("seed.example")
    simulation.run(1.0)
    assert log == [(0.5, BOB, 80), (0.5, "2001:db8::2", 80), (0.5, "complete")]
    resolve("SEED.example.", IPv6Address)
    simulation.run(1.0)
    assert log == [(1.5, "2001:db8::2", 80), (1.5, "complete")]
    resolve("192.0.2.7")
    simulation.run(1.0)
    assert log == [(2.0, "192.0.2.7", 80), (2.0, "complete")]
    resolve("localhost", IPv4Address)
    simulation.run(1.0)
    assert log == [(3.0, "127.0.0.1", 80), (3.0, "complete")]
    resolve("seed.example").resolution.cancel()
    simulation.run(1.0)
    assert log == []


def test_another_resolver_can_be_installed(alice):
    mine = object()
    former = reactor(alice).installNameResolver(mine)
    assert reactor(alice).nameResolver is mine and reactor(alice).installNameResolver(former) is mine


# --- what connecting comes to ---


def test_a_connection_takes_a_round_trip_and_the_other_end_half_more(simulation, alice, bob):
    server, client = listen(bob), dial(alice, BOB)
    assert client.notes == ["start", "connecting"] and client.connector.state == "connecting"
    simulation.run(1.0)
    assert client.end.notes == [("made", pytest.approx(0.02))]
    assert server.end.notes == [("made", pytest.approx(0.03))]
    assert client.connector.state == "connected" and client.connector.getDestination().host == BOB
    client.connector.disconnect()
    simulation.run(1.0)
    assert client.notes == ["start", "connecting", "build", ("lost", "ConnectionDone"), "stop"]
    assert server.notes == ["start", "build"]
    server.port.stopListening()
    assert server.notes[-1] == "stop"


def test_what_a_server_says_first_reaches_the_client(simulation, alice, bob):
    class Greets(End):
        def connectionMade(self):
            super().connectionMade()
            self.transport.write(b"welcome")
            self.transport.loseConnection()

    listen(bob, make=Greets)
    client = dial(alice, BOB)
    simulation.run(1.0)
    assert client.end.data == b"welcome" and client.end.why == "ConnectionDone"


def test_nobody_listens(simulation, alice, bob):
    client = dial(alice, BOB)
    simulation.run(1.0)
    assert client.notes[2:] == [("failed", "ConnectionRefusedError", pytest.approx(0.02)), "stop"]
    with pytest.raises(ConnectionRefusedError):
        simulation.wait(TCP4ClientEndpoint(reactor(alice), BOB, 81).connect(quiet(simulation)))


def test_nobody_is_there(simulation, alice):
    client, patient = dial(alice, "192.0.2.77", timeout=7), dial(alice, "192.0.2.77", timeout=None)
    simulation.run(1000.0)
    assert client.failure.check(TimeoutError) and client.notes[-2][2] == 7.0
    # Linux gives up by itself after six repeats.
    assert patient.failure.check(TCPTimedOutError) and patient.notes[-2][2] == pytest.approx(127.0)
    assert simulation.clock.getDelayedCalls() == []


def test_the_next_syn_gets_through_when_a_cut_has_ended(simulation, alice, bob):
    simulation.network.cut(alice, bob)
    server, client = listen(bob), dial(alice, BOB)
    simulation.run(2.0)
    simulation.network.mend(alice, bob)
    simulation.run(2.0)
    assert client.end.notes == [("made", pytest.approx(3.02))] and len(server.ends) == 1


def test_a_cut_of_the_way_back_alone_keeps_a_connection_from_being_made(simulation, alice, bob):
    simulation.network.cut(bob, alice)
    server, client = listen(bob), dial(alice, BOB, timeout=5)
    simulation.run(10.0)
    assert client.failure.check(TimeoutError) and not server.ends


def test_connecting_can_be_stopped(simulation, alice, bob):
    listen(bob)
    client = dial(alice, BOB)
    simulation.run(0.005)
    client.connector.stopConnecting()
    assert client.notes[2:] == [("failed", "UserError", 0.005), "stop"]
    with pytest.raises(NotConnectingError):
        client.connector.stopConnecting()
    connecting = TCP4ClientEndpoint(reactor(alice), BOB, 8333).connect(quiet(simulation))
    connecting.cancel()
    with pytest.raises(ConnectingCancelledError):
        simulation.wait(connecting)
    simulation.run(60.0)
    assert not alice.incarnation.wires and not bob.incarnation.wires


def test_a_port_that_closes_while_somebody_connects_resets_them(simulation, alice, bob):
    server, client = listen(bob), dial(alice, BOB)
    simulation.run(0.015)
    server.port.stopListening()
    simulation.run(1.0)
    assert client.end.why == "ConnectionLost" and not server.ends


def test_a_reconnecting_factory_reconnects_from_another_port(simulation, alice, bob):
    class Again(Ends, ReconnectingClientFactory):
        initialDelay, jitter = 1.0, 0.0

        def clientConnectionLost(self, connector, reason):
            super().clientConnectionLost(connector, reason)
            self.clock_before = self.clock.now
            connector.connect()

    server, again = listen(bob), Again(simulation.clock)
    reactor(alice).connectTCP(BOB, 8333, again)
    simulation.run(1.0)
    server.end.transport.loseConnection()
    simulation.run(1.0)
    assert len(server.ends) == 2 and again.notes.count("start") == 1 and "stop" not in again.notes
    ports = [end.transport.getPeer().port for end in server.ends]
    assert len(set(ports)) == 2
    with pytest.raises(RuntimeError):
        dial(alice, BOB).connector.connect()


def test_where_to_connect_from(simulation, alice, bob):
    many = up(simulation, CAROL, "203.0.113.2", name="many")
    server = listen(bob)
    dial(many, BOB, bind=("203.0.113.2", 0))
    dial(many, BOB, bind=("203.0.113.2", 4444))
    dial(many, BOB, bind=("", 5555))
    simulation.run(1.0)
    peers = [end.transport.getPeer() for end in server.ends]
    assert [peer.host for peer in peers] == ["203.0.113.2", "203.0.113.2", CAROL]
    assert [peer.port for peer in peers][1:] == [4444, 5555]
    stranger = dial(many, BOB, bind=(ALICE, 0))
    simulation.run(1.0)
    assert stranger.failure.check(ConnectBindError) and ALICE in str(stranger.failure.value)


def test_a_host_without_an_address_of_the_family_gets_nowhere(simulation, bob):
    old = up(simulation, CAROL)
    server = listen(bob, interface="::")
    client = dial(old, "2001:db8::2")
    assert client.failure is None
    simulation.run(1.0)
    assert client.failure.check(NoRouteError) and not server.ends


# --- ports ---


def test_a_port_is_taken_once_for_each_address_and_family(alice):
    first = listen(alice, 80, interface=ALICE)
    for interface in (ALICE, "", "0.0.0.0"):
        with pytest.raises(CannotListenError, match="80"):
            listen(alice, 80, interface=interface)
    listen(alice, 80, interface="127.0.0.1")
    listen(alice, 80, interface="::")
    with pytest.raises(CannotListenError, match=r"203\.0\.113\.9"):
        listen(alice, 81, interface="203.0.113.9")
    first.port.stopListening()
    first.port.stopListening()
    listen(alice, 80, interface=ALICE)
    free = [listen(alice, 0).port.getHost().port for _ in range(50)]
    assert len(set(free)) == 50 and min(free) >= 49152


def test_who_listens_on_one_address_is_not_met_at_another(simulation, alice, bob):
    server = listen(bob, 80, interface="127.0.0.1")
    client = dial(alice, BOB, 80)
    local = dial(bob, "127.0.0.1", 80)
    simulation.run(1.0)
    assert client.failure.check(ConnectionRefusedError) and local.end and len(server.ends) == 1


# --- NAT ---


@pytest.mark.parametrize("kind", ["full-cone", "address-restricted", "port-restricted", "symmetric"])
def test_who_is_behind_a_nat_connects_outwards_and_is_not_met_from_outside(simulation, bob, kind):
    inside = up(simulation, "10.0.0.2", name="inside", nat=Nat(kind, NAT))
    server = listen(bob)
    here, there = joined(simulation, inside, bob)
    assert here.transport.getHost().host == "10.0.0.2" and there.transport.getPeer().host == NAT
    there.transport.write(b"welcome")
    here.transport.write(b"hello")
    simulation.run(1.0)
    assert (here.data, there.data) == (b"welcome", b"hello")
    listen(inside, 9000)
    for address in (NAT, "10.0.0.2"):
        client = dial(bob, address, 9000, timeout=3)
        simulation.run(5.0)
        assert client.failure.check(TimeoutError)
    assert not server.ends


def test_a_full_cone_lets_others_in_to_a_port_that_it_has_seen_and_neighbours_meet_inside(simulation, alice, bob):
    nat = Nat("full-cone", NAT)
    inside = up(simulation, "10.0.0.2", name="inside", nat=nat)
    neighbour = up(simulation, "10.0.0.3", name="neighbour", nat=nat)
    listen(bob)
    server = listen(inside, 9000)
    dial(inside, BOB, bind=("", 9000))
    simulation.run(1.0)
    client = dial(alice, NAT, 9000)
    simulation.run(1.0)
    assert client.end.lost is None and server.addr.host == ALICE
    near = dial(neighbour, "10.0.0.2", 9000)
    simulation.run(1.0)
    assert near.end.lost is None and server.addr.host == "10.0.0.3"


def test_a_nat_without_room_drops_who_would_connect(simulation, bob):
    inside = up(simulation, "10.0.0.2", name="inside", nat=Nat("symmetric", NAT, limit=2))
    listen(bob)
    clients = [dial(inside, BOB, timeout=5) for _ in range(3)]
    simulation.run(10.0)
    assert [bool(client.ends) for client in clients] == [True, True, False]
    assert clients[2].failure.check(TimeoutError) and inside.nat.refused > 0


# --- TLS ---


def self_signed(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    return PrivateCertificate.loadPEM(pem), Certificate.loadPEM(pem)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest.mark.parametrize("link", [{}, {"jitter": "3ms", "loss": 0.1, "segment": True, "bandwidth": 500_000}])
def test_bare_twisted_tls_runs_over_it(link):
    simulation = simulated(**link)
    alice, bob = up(simulation, ALICE), up(simulation, BOB)
    simulation.network.names["bob.example"] = (BOB,)
    own, trusted = self_signed("bob.example")
    server = quiet(simulation)
    served = TLSMemoryBIOFactory(own.options(), False, server, clock=reactor(bob))
    served.noisy = False
    simulation.wait(TCP4ServerEndpoint(reactor(bob), 443).listen(served))
    options = optionsForClientTLS("bob.example", trustRoot=trusted)
    endpoint = wrapClientTLS(options, HostnameEndpoint(reactor(alice), "bob.example", 443))
    end = simulation.wait(endpoint.connect(quiet(simulation)))
    end.transport.write(b"x" * 300_000)
    simulation.run_until(lambda: server.ends and len(server.end.data) == 300_000)
    server.end.transport.write(b"y" * 300_000)
    server.end.transport.loseConnection()
    simulation.run_until(lambda: end.lost is not None)
    assert end.data == b"y" * 300_000 and end.why == "ConnectionDone"
