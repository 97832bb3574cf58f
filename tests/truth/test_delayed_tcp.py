"""The test's own transport on a network that takes no time does what the simulator's `tcp` does on one that does."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from twisted.internet.protocol import Factory, Protocol

from p2pframe.model import PeerAddress
from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.simulation import Simulation
from p2pframe.transports.tcp import TcpConfig, TcpTransport
from tests.truth.world import PLUGINS

LATENCY = 0.13
DIALLER, LISTENER = "127.77.1.1", "127.77.2.1"
PORT = 18444


class Noting(Protocol):
    """Notes when what happens."""

    def __init__(self, name, clock, notes):
        self.name, self.clock, self.notes = name, clock, notes
        self.greeting = b""

    def note(self, *what):
        self.notes.append((self.name, *what, round(self.clock.now, 6)))

    def connectionMade(self):
        self.note("made", self.transport.getPeer().host)
        if self.greeting:
            self.transport.write(self.greeting)

    def dataReceived(self, data):
        self.note("data", data)

    def connectionLost(self, reason):
        self.note("lost", reason.type.__name__)


@pytest.fixture
def delayed(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    import delayed_tcp

    yield delayed_tcp
    del sys.modules["delayed_tcp"]


def worlds(delayed):
    """A plain transport on slow links, and the test's own on links that take no time."""
    listen = (f"{LISTENER}:{PORT}",)
    for latency, made in (
        (LATENCY, lambda own, listen: (TcpTransport, TcpConfig(listen=listen, bind=own))),
        (
            0.0,
            lambda own, listen: (
                delayed.DelayedTcp,
                delayed.DelayedTcpConfig(
                    listen=listen, bind=own, latencies={DIALLER: f"{LATENCY}s", LISTENER: f"{LATENCY}s"}
                ),
            ),
        ),
    ):
        simulation = Simulation(links=Links(LinksConfig(default=LinkConfig(latency=latency))))
        ends = []
        for address in (DIALLER, LISTENER):
            reactor = simulation.host(address).boot().reactor
            kind, config = made(address, listen if address == LISTENER else ())
            ends.append(kind(config, SimpleNamespace(reactor=reactor)))
        yield simulation, *ends


def talk(simulation, dialler, listener, script):
    """Connect, and have `script` do things with both protocols, at times: what was noted."""
    notes = []
    here, there = (Noting(name, simulation.clock, notes) for name in ("dialler", "listener"))
    [listening] = listener.listeners()
    listening.endpoint.listen(Factory.forProtocol(lambda: there))
    dial = dialler.dial(PeerAddress.parse(f"{LISTENER}:{PORT}"), None).connect(Factory.forProtocol(lambda: here))
    dial.addCallback(lambda protocol: notes.append(("fired", protocol is here, round(simulation.clock.now, 6))))
    for when, call in script(here, there):
        simulation.clock.at(when, None, call)
    simulation.run(10.0)
    return notes


def conversation(here, there):
    """A word each way, a pause in the reading, more than one word in a call, and a close with a word in its face."""
    return [
        (1.0, lambda: here.transport.write(b"one")),
        (1.05, lambda: there.transport.write(b"two")),
        (2.0, lambda: here.transport.pauseProducing()),
        (2.1, lambda: [there.transport.write(b"three"), there.transport.write(b"four")]),
        (2.15, lambda: there.transport.write(b"five")),
        (3.0, lambda: here.transport.resumeProducing()),
        (4.0, lambda: [there.transport.write(b"last"), there.transport.loseConnection()]),
        (4.05, lambda: here.transport.write(b"to nobody")),
    ]


def abort(here, there):
    return [(1.0, lambda: there.transport.write(b"never read")), (1.1, lambda: here.transport.abortConnection())]


def at_once(here, there):
    """Both say something as soon as they may."""
    here.greeting, there.greeting = b"first", b"second"
    return []


@pytest.mark.parametrize("script", [conversation, abort, at_once])
def test_the_latency_is_added_as_the_simulator_has_it(delayed, script):
    plain, added = (talk(*world, script) for world in worlds(delayed))
    assert plain == added
    assert ("fired", True, 2 * LATENCY) in added
    assert ("listener", "made", DIALLER, 3 * LATENCY) in added


def test_a_refusal_comes_after_a_round_trip(delayed):
    found = []
    for simulation, dialler, _ in worlds(delayed):
        dial = dialler.dial(PeerAddress.parse(f"{LISTENER}:{PORT}"), None).connect(Factory.forProtocol(Protocol))
        refused = []
        dial.addErrback(lambda failure, refused=refused, clock=simulation.clock: refused.append(
            (failure.type.__name__, clock.now)
        ))  # fmt: skip
        simulation.run(10.0)
        found.append(refused)
    assert found == [[("ConnectionRefusedError", 2 * LATENCY)]] * 2


def test_a_dial_that_is_given_up_never_connects(delayed):
    *_, (simulation, dialler, listener) = worlds(delayed)
    notes = []
    listener.listeners()[0].endpoint.listen(
        Factory.forProtocol(lambda: Noting("listener", simulation.clock, notes))
    )
    dial = dialler.dial(PeerAddress.parse(f"{LISTENER}:{PORT}"), None).connect(Factory.forProtocol(Protocol))
    given_up = []
    dial.addErrback(given_up.append)
    simulation.clock.at(LATENCY, None, dial.cancel)
    simulation.run(10.0)
    assert len(given_up) == 1 and not notes
