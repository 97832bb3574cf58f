"""The UDP transport: real sockets on loopback, and the same without any."""

from __future__ import annotations

import gc
import socket

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.errors import StartError
from p2pframe.interfaces import IDatagramPort, IDatagramReceiver, IDatagramTransport
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from p2pframe.transports.udp import UdpConfig, UdpPort, UdpTransport


@implementer(IDatagramReceiver)
class Receiver:
    def __init__(self, fails=False):
        self.got = []
        self.fails = fails
        self.waiting = None

    def awaited(self, data, source):
        return False

    def datagram_received(self, data, source):
        self.got.append((data, source))
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.callback((data, source))
        if self.fails:
            raise ValueError("a bug in the protocol")

    def next(self):
        self.waiting = Deferred()
        return self.waiting


def udp(context=None, **options):
    return UdpTransport(UdpConfig(**options), context or FakeContext("transport.udp", reactor=reactor))


def test_it_is_a_datagram_transport():
    verifyClass(IDatagramTransport, UdpTransport)
    transport = udp(FakeContext())
    verifyObject(IDatagramTransport, transport)
    verifyClass(IDatagramPort, UdpPort)
    verifyObject(IDatagramPort, result_of(transport.open(Receiver())))


@pytest_twisted.ensureDeferred
async def test_datagrams_go_there_and_back():
    one, two = udp(listen="127.0.0.1:0"), udp(listen="127.0.0.2:0")
    here, there = Receiver(), Receiver()
    port, other = await one.open(here), await two.open(there)
    assert port.address.host == "127.0.0.1"
    assert port.address.port > 0
    arrives = there.next()
    port.send(b"ping", other.address)
    assert await arrives == (b"ping", port.address)
    arrives = here.next()
    other.send(b"pong", port.address)
    assert await arrives == (b"pong", other.address)
    await one.close()
    await two.close()


@pytest_twisted.ensureDeferred
async def test_a_socket_for_ipv6_speaks_ipv4_too():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    one, two = udp(listen="[::]:0"), udp(listen="127.0.0.1:0")
    here, there = Receiver(), Receiver()
    port, other = await one.open(here), await two.open(there)
    arrives = there.next()
    port.send(b"mapped", other.address)
    data, source = await arrives
    assert (data, source.host) == (b"mapped", "127.0.0.1")
    arrives = here.next()
    other.send(b"plain", source)
    assert await arrives == (b"plain", other.address)
    await one.close()
    await two.close()


# Twisted leaves the socket that it could not bind to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest_twisted.ensureDeferred
async def test_a_busy_port_is_an_error_that_says_so():
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    with pytest.raises(StartError, match=rf"127\.0\.0\.1:{taken.getsockname()[1]}.*in use"):
        await udp(listen=f"127.0.0.1:{taken.getsockname()[1]}").open(Receiver())
    taken.close()
    gc.collect()


@pytest_twisted.ensureDeferred
async def test_what_is_too_large_is_dropped_both_ways():
    one, two = udp(listen="127.0.0.1:0", largest=1000), udp(listen="127.0.0.1:0", largest=100)
    here, there = Receiver(), Receiver()
    port, other = await one.open(here), await two.open(there)
    port.send(b"x" * 1001, other.address)
    port.send(b"x" * 101, other.address)
    port.send(b"x" * 1000, other.address)
    arrives = there.next()
    port.send(b"y" * 100, other.address)
    assert await arrives == (b"y" * 100, port.address)
    assert one.context.metrics.value("udp_dropped_total", "too large") == 1
    assert two.context.metrics.value("udp_dropped_total", "too large") == 2
    assert len(there.got) == 1
    await one.close()
    await two.close()


@pytest_twisted.ensureDeferred
async def test_what_the_system_refuses_is_counted():
    transport = udp(listen="127.0.0.1:0")
    port = await transport.open(Receiver())
    # From a loopback address there is no way to anywhere else.
    port.send(b"x", PeerAddress("192.0.2.1", 9))
    port.send(b"x", PeerAddress("2001:db8::1", 9))
    port.send(b"x", PeerAddress("node.example", 9, "name"))
    dropped = transport.context.metrics
    assert dropped.value("udp_dropped_total", "refused") == 1
    assert dropped.value("udp_dropped_total", "unreachable") == 2
    await transport.close()
    port.send(b"x", port.address)
    assert dropped.value("udp_dropped_total", "closed") == 1
    await transport.close()


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_fails_loses_one_datagram_only(flush_logged_errors):
    transport = udp(listen="127.0.0.1:0")
    receiver = Receiver(fails=True)
    port = await transport.open(receiver)
    for _ in range(2):
        arrives = receiver.next()
        port.send(b"x", port.address)
        await arrives
    await deferLater(reactor, 0)
    assert len(flush_logged_errors(ValueError)) == 2
    assert transport.context.metrics.value("udp_dropped_total", "receiver failed") == 2
    await transport.close()


def test_without_a_socket_it_writes_through_the_reactor():
    context = FakeContext("transport.udp")
    transport = udp(context, listen="127.0.0.1:6881", largest=1200)
    receiver = Receiver()
    port = result_of(transport.open(receiver))
    [(number, protocol, interface, largest)] = context.reactor.udpPorts
    assert (number, interface, largest) == (6881, "127.0.0.1", 1201)
    port.send(b"hi", PeerAddress("192.0.2.1", 6881))
    assert protocol.transport.written == [(b"hi", ("192.0.2.1", 6881))]
    protocol.datagramReceived(b"yo", ("::ffff:192.0.2.1", 6881))
    protocol.datagramReceived(b"forged", ("192.0.2.1", 0))
    assert receiver.got == [(b"yo", PeerAddress("192.0.2.1", 6881))]
    result_of(transport.close())
    protocol.datagramReceived(b"late", ("192.0.2.1", 6881))
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [({"listen": "node.example:1"}, "bind to an IP address"), ({"largest": 70_000}, "less than or equal to 65507")],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        UdpConfig(**options)
