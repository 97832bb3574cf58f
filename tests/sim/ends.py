"""Ends of connections that note what happens to them, for tests of streams between simulated hosts."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.simulation import Simulation

ALICE, BOB, CAROL = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def simulated(seed=1, **link):
    """A simulation whose links are 10 ms long, and otherwise as said."""
    link = {"latency": "10ms", **link}
    return Simulation(seed, Links(LinksConfig(default=LinkConfig.model_validate(link)), seed))


def up(simulation, *addresses, **options):
    """A host that has booted."""
    host = simulation.host(*addresses, **options)
    host.boot()
    return host


class End(Protocol):
    """Notes what it is told, when."""

    def __init__(self, clock):
        self.clock = clock
        self.notes = []
        self.data = b""
        self.pieces = []
        self.lost = None
        self.on_data = None

    def connectionMade(self):
        self.notes.append(("made", self.clock.now))

    def dataReceived(self, data):
        assert self.lost is None
        self.data += data
        self.pieces.append((self.clock.now, data))
        if self.on_data is not None:
            self.on_data(self)

    def connectionLost(self, reason):
        assert self.lost is None
        self.lost = reason
        self.notes.append(("lost", self.clock.now))

    @property
    def why(self):
        return None if self.lost is None else self.lost.type.__name__

    @property
    def lost_at(self):
        return dict(self.notes)["lost"]


@implementer(IHalfCloseableProtocol)
class HalfEnd(End):
    """Stays when one direction has ended."""

    def readConnectionLost(self):
        self.notes.append(("read lost", self.clock.now))

    def writeConnectionLost(self):
        self.notes.append(("write lost", self.clock.now))


class Ends(Factory):
    """A client's or a server's factory: `ends` has what it built, `notes` what it was told."""

    noisy = False

    def __init__(self, clock, make=End):
        self.clock = clock
        self.make = make
        self.ends = []
        self.notes = []
        self.failure = None

    @property
    def end(self):
        return self.ends[-1]

    def doStart(self):
        self.notes.append("start")

    def doStop(self):
        self.notes.append("stop")

    def startedConnecting(self, connector):
        self.notes.append("connecting")

    def buildProtocol(self, addr):
        self.notes.append("build")
        self.addr = addr
        if self.make is None:
            return None
        self.ends.append(self.make(self.clock))
        return self.ends[-1]

    def clientConnectionFailed(self, connector, reason):
        self.failure = reason
        self.notes.append(("failed", reason.type.__name__, self.clock.now))

    def clientConnectionLost(self, connector, reason):
        self.notes.append(("lost", reason.type.__name__))


def listen(host, port=8333, make=End, interface=""):
    """A factory that listens on a host."""
    ends = Ends(host.simulation.clock, make)
    ends.port = host.incarnation.reactor.listenTCP(port, ends, interface=interface)
    return ends


def dial(host, address, port=8333, make=End, timeout=30, bind=None):
    """A factory with which a host connects."""
    ends = Ends(host.simulation.clock, make)
    ends.connector = host.incarnation.reactor.connectTCP(address, port, ends, timeout, bind)
    return ends


def joined(simulation, alice, bob, make=End, there=End):
    """A connection from one host to another: the two protocols."""
    server = listen(bob, 0, there)
    port = server.port.getHost().port
    client = dial(alice, bob.addresses[0], port, make)
    simulation.run_until(lambda: client.ends and server.ends)
    return client.end, server.end


def pair(make=End, there=End, **link):
    """Two hosts and a connection between them: simulation, hosts, protocols."""
    simulation = simulated(**link)
    alice, bob = up(simulation, ALICE, name="alice"), up(simulation, BOB, name="bob")
    return simulation, alice, bob, *joined(simulation, alice, bob, make, there)
