"""Transports in their suite: those that there are, and wrong ones that it finds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from p2pframe.endpoints import ListenAddress, tcp_client, tcp_listeners, tcp_reaches
from p2pframe.errors import HandshakeFailed, StartError
from p2pframe.interfaces import IDatagramPort, IDatagramTransport, ITransport, Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Address, Field, PluginConfig, plugin
from p2pframe.testing.conformance import NonConformance, check


def test_tcp(conforms):
    conforms("transport", "tcp", hash_seeds=True)


def test_tls(conforms):
    conforms("transport", "tls", deterministic=False)


def test_unix(conforms, tmp_path):
    conforms(
        "transport", "unix", {"folder": tmp_path},
        listen={"listen": ["bob"]}, address="bob.unix:1", nobody="nobody.unix:1",
    )  # fmt: skip


def test_sealed_udp(conforms):
    conforms("transport", "sealed-udp", {"key": "correct horse battery"}, hash_seeds=True)


def test_udp(conforms):
    conforms("transport", "udp", hash_seeds=True)


# --- streams ---


class MadeConfig(PluginConfig):
    """Options of the transports made here."""

    listen: tuple[ListenAddress, ...] = Field((), description="Where to listen.")


def made(**methods):
    """Plain TCP, but for some methods."""

    class Made:
        """Streams over TCP."""

        name = "made"

        def __init__(self, config, context):
            self.config = config
            self.context = context

        def can_dial(self, address):
            return tcp_reaches(address, None)

        def dial(self, address, peer_id):
            return tcp_client(self.context.reactor, address)

        def listeners(self):
            return tcp_listeners(self.context.reactor, self.config.listen, 50)

        def prove(self, wire):
            return TransportInfo()

    cls = type("Made", (Made,), {"__doc__": "Streams over TCP.", **methods})
    return plugin("made", config=MadeConfig)(implementer(ITransport)(cls))


class Dropping(ProtocolWrapper):
    """Forgets what comes after the first hundred thousand bytes."""

    seen = 0

    def dataReceived(self, data):
        self.seen += len(data)
        if self.seen < 100_000:
            super().dataReceived(data)


class DroppingFactory(WrappingFactory):
    """Wraps what it is given."""

    noisy = False
    protocol = Dropping


@implementer(IStreamServerEndpoint)
class DroppingEndpoint:
    """Listens, and loses bytes."""

    def __init__(self, inner):
        self.inner = inner

    def listen(self, factory):
        return self.inner.listen(DroppingFactory(factory))


def dropping(self):
    found = tcp_listeners(self.context.reactor, self.config.listen, 50)
    return [Listener(DroppingEndpoint(endpoint), text) for endpoint, text in found]


def opens_at_once(self):
    self.context.reactor.listenTCP(999, Factory())
    return tcp_listeners(self.context.reactor, self.config.listen, 50)


def elsewhere(self, address, peer_id):
    return TCP4ClientEndpoint(self.context.reactor, address.host, address.port + 1)


def hasty(self, address, peer_id):
    if not tcp_reaches(address, None):
        raise ValueError(address)
    self.context.reactor.callLater(1000, lambda: None)
    return tcp_client(self.context.reactor, address)


def says_who(self, wire):
    """An id that it proves to nobody: whoever answers is fine."""
    return TransportInfo(peer_id=PeerId(wire.getPeer().host.encode().ljust(32)))


def test_a_good_one_passes():
    check(made())


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"can_dial": lambda self, address: address.ip is not None and address.ip.packed}, "Never raises"),
    ({"can_dial": lambda self, address: address.ip.version == 4}, "Never raises"),
    ({"can_dial": lambda self, address: True}, "Called for each dial: an endpoint that connects to `address`"),
    ({"can_dial": lambda self, address: False}, "whether `dial` would know what to do"),
    ({"dial": lambda self, address, peer_id: None}, "Called for each dial: an endpoint that connects to `address`"),
    ({"dial": elsewhere}, "Called for each dial: an endpoint that connects to `address`"),
    ({"dial": hasty}, "nothing is timed once every connection has ended"),
    ({"listeners": lambda self: ()}, "where to listen, from the config"),
    ({"listeners": lambda self: [("not an endpoint", "1.2.3.4:5")]}, "where to listen, from the config"),
    ({"listeners": dropping}, "How byte streams travel"),
    ({"listeners": opens_at_once}, "It opens no connection itself"),
    ({"prove": lambda self, wire: None}, "who is at the other end"),
    ({"prove": lambda self, wire: Deferred()}, "who is at the other end"),
    ({"prove": lambda self, wire: fail(ValueError("no"))}, "A Deferred fails with `HandshakeFailed`"),
    ({"prove": lambda self, wire: fail(HandshakeFailed("nobody may"))}, "who is at the other end"),
    ({"prove": says_who}, "a transport that proves ids fails `prove` for anyone else"),
], ids=range(16))
def test_wrong_ones_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(**methods))


# --- datagrams ---


class UdpConfig(PluginConfig):
    """Options of the datagram transports made here."""

    listen: Address = Field(PeerAddress("0.0.0.0", 0), description="Where to bind.")


class Receiving(DatagramProtocol):
    """Hands on what comes."""

    def __init__(self, plugin, receiver):
        self.plugin = plugin
        self.receiver = receiver

    def datagramReceived(self, datagram, addr):
        self.plugin.took(self.receiver, datagram, PeerAddress.of(*addr))


@implementer(IDatagramPort)
class Port:
    """Sends, and counts what it can't."""

    def __init__(self, plugin, address):
        self.plugin = plugin
        self.address = address

    def send(self, data, target):
        if target.kind != "ip" or ":" in target.host or not target.port or len(data) > 1500 or self.plugin.closed:
            self.plugin.lost.add()
            return
        self.plugin.listening.write(data, (target.host, target.port))


def made_udp(**methods):
    """Datagrams over UDP, but for some methods."""

    class Made:
        """Datagrams over UDP."""

        name = "made"
        port = Port
        closed = False

        def __init__(self, config, context):
            self.config = config
            self.context = context
            self.lost = context.metrics.counter("lost_total", "Datagrams lost.")

        def took(self, receiver, data, source):
            receiver.datagram_received(data, source)

        def open(self, receiver):
            listen = self.config.listen
            try:
                self.listening = self.context.reactor.listenUDP(listen.port, Receiving(self, receiver), listen.host)
            except CannotListenError as error:
                return fail(self.busy(error))
            return succeed(self.port(self, listen))

        def busy(self, error):
            return StartError(str(error))

        def close(self):
            self.closed = True
            stopped = self.listening.stopListening()
            return stopped if stopped is not None else succeed(None)

    cls = type("Made", (Made,), {"__doc__": "Datagrams over UDP.", **methods})
    return plugin("made", config=UdpConfig)(implementer(IDatagramTransport)(cls))


class RaisingPort(Port):
    """Hands on whatever the system says."""

    def send(self, data, target):
        self.plugin.listening.write(data, (target.host, target.port))


class SilentPort(Port):
    """Loses what is too long, and says nothing."""

    def send(self, data, target):
        if len(data) <= 1500:
            super().send(data, target)


class NowherePort(Port):
    """Says that it is bound to another place."""

    def __init__(self, plugin, address):
        super().__init__(plugin, PeerAddress("0.0.0.0", 0))


def stays_open(self):
    self.closed = True
    return succeed(None)


def test_a_good_one_of_datagrams_passes():
    check(made_udp())


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"port": RaisingPort}, "what the system refuses is counted and lost"),
    ({"port": SilentPort}, "what the system refuses is counted and lost"),
    ({"port": NowherePort}, "Where it is bound"),
    ({"close": stays_open}, "nothing is delivered afterwards"),
    ({"close": lambda self: Deferred()}, "nothing is delivered afterwards"),
    ({"busy": lambda self, error: error}, "Fails with `StartError` on a busy port"),
    ({"took": lambda self, receiver, data, source: None}, "deliver what arrives to `receiver`"),
    ({"took": lambda self, receiver, data, source: receiver.datagram_received(data, source.host)},
     "Called for each datagram that the gate let through"),
    ({"took": lambda self, receiver, data, source: [receiver.datagram_received(data, source) for _ in "ab"]},
     "deliver what arrives to `receiver`"),
    ({"open": lambda self, receiver: None}, "bind, and deliver what arrives"),
    ({"open": lambda self, receiver: succeed(self)}, "bind, and deliver what arrives"),
], ids=range(11))
def test_wrong_ones_of_datagrams_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made_udp(**methods))
