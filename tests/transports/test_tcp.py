"""The tcp transport: real sockets on loopback, IPv4, IPv6 and names."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import ITransport
from p2pframe.model import PeerAddress, TransportInfo
from p2pframe.testing.context import FakeContext
from p2pframe.transports.tcp import TcpConfig, TcpTransport


def transport(context=None, **options):
    return TcpTransport(TcpConfig(**options), context or FakeContext("transport.tcp"))


def test_it_is_a_transport():
    verifyClass(ITransport, TcpTransport)
    verifyObject(ITransport, transport())


@pytest.mark.parametrize(
    ("text", "bind", "can"),
    [
        ("192.0.2.1:8333", None, True),
        ("[2001:db8::1]:8333", None, True),
        ("seed.example:8333", None, True),
        ("expyuzz4wqqyqhjn.onion:8333", None, False),
        ("192.0.2.1:8333", "127.0.0.2", True),
        ("[2001:db8::1]:8333", "127.0.0.2", False),
        ("192.0.2.1:8333", "::1", False),
        ("seed.example:8333", "127.0.0.2", True),
    ],
)
def test_it_says_what_it_can_dial(text, bind, can):
    tcp = transport(bind=bind)
    address = PeerAddress.parse(text)
    assert tcp.can_dial(address) is can
    if not can:
        with pytest.raises(ValueError, match="can't be reached over TCP"):
            tcp.dial(address, None)


def test_a_dial_uses_the_contexts_reactor_and_source():
    context = FakeContext("transport.tcp")
    tcp = transport(context, bind="127.0.0.2")
    tcp.dial(PeerAddress.parse("192.0.2.1:8333"), None).connect(None)
    [(host, port, _, _, source)] = context.reactor.tcpClients
    assert (host, port, source) == ("192.0.2.1", 8333, ("127.0.0.2", 0))


def test_listeners_are_told_by_the_text_of_the_config():
    context = FakeContext("transport.tcp")
    tcp = transport(context, listen=["127.0.0.1:18444", "[::1]:18444", "0.0.0.0:1"], backlog=7)
    listeners = tcp.listeners()
    assert [listener.text for listener in listeners] == ["127.0.0.1:18444", "[::1]:18444", "0.0.0.0:1"]
    for listener in listeners:
        listener.endpoint.listen(None)
    assert [(port, backlog, interface) for port, _, backlog, interface in context.reactor.tcpServers] == [
        (18444, 7, "127.0.0.1"), (18444, 7, "::1"), (1, 7, "0.0.0.0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"listen": ["node.example:1"]}, "listen on an IP address"),
        ({"listen": ["127.0.0.1"]}, "has no port"),
        ({"bind": "eth0"}, "not an IPv4 or IPv6 address"),
        ({"backlog": 0}, "greater than or equal to 1"),
        ({"listen_on": []}, "Extra inputs"),
    ],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        TcpConfig(**options)


@pytest_twisted.ensureDeferred
async def test_bytes_travel_both_ways_with_the_options_set(loopback, end_factory):
    tcp = transport(loopback.context(), listen=["127.0.0.1:0"], bind="127.0.0.3", nodelay=True, keepalive=True)
    served, address = await loopback.listen(tcp)
    accepted = served.next()
    client = await tcp.dial(address, None).connect(end_factory(tcp, b"hello"))
    server = await accepted
    assert await server.read(5) == b"hello"
    server.transport.write(b"welcome")
    assert await client.read(7) == b"welcome"
    assert await client.proof == TransportInfo()
    assert server.transport.getPeer().host == "127.0.0.3"
    for end in (client, server):
        assert end.transport.getTcpNoDelay()
        assert end.transport.getTcpKeepAlive()
    client.transport.loseConnection()
    await server.closed
    await client.closed
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_ipv6_travels_too(loopback, end_factory):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    tcp = transport(loopback.context(), listen=["[::1]:0"])
    served, address = await loopback.listen(tcp)
    accepted = served.next()
    client = await tcp.dial(address, None).connect(end_factory(tcp, b"six"))
    assert await (await accepted).read(3) == b"six"
    client.transport.loseConnection()
    await client.closed
    await (served.built[0]).closed
    await loopback.close()


@implementer(IHostnameResolver)
class OneName:
    """Knows one name, and notes what it was asked."""

    def __init__(self, name, addresses):
        self.name, self.addresses, self.asked = name, addresses, []

    def resolveHostName(self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"):
        self.asked.append(hostName)
        receiver.resolutionBegan(None)
        if hostName == self.name:
            for address in self.addresses:
                receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()


@pytest_twisted.ensureDeferred
async def test_a_name_is_looked_up_by_the_reactor_only(loopback, end_factory):
    resolver = OneName("node.example", ["127.0.0.1"])
    tcp = transport(loopback.context(), listen=["127.0.0.1:0"])
    served, address = await loopback.listen(tcp)
    previous = reactor.installNameResolver(resolver)
    try:
        accepted = served.next()
        client = await tcp.dial(PeerAddress.of("node.example", address.port), None).connect(end_factory(tcp, b"named"))
        assert await (await accepted).read(5) == b"named"
    finally:
        reactor.installNameResolver(previous)
    assert resolver.asked == ["node.example"]
    client.transport.loseConnection()
    await client.closed
    await (served.built[0]).closed
    await loopback.close()
