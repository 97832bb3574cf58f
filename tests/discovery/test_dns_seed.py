"""The dns-seed discovery, against a real DNS server on loopback and against some that lie, babble or keep silent."""

from __future__ import annotations

import struct

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import fail, maybeDeferred, succeed
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.names import common, dns, error, server
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.discovery.dns_seed import DnsSeedConfig, DnsSeedDiscovery
from p2pframe.discovery.dns_seed.query import DnsError, Question
from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import DiscoveryState, IDiscovery, IReconfigurable, ISeedNames
from p2pframe.testing.context import FakeContext, result_of
from tests.work import Work


class Zone(common.ResolverBase):
    """Answers with the addresses it was given, and notes what it was asked."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.asked = []

    def _lookup(self, name, cls, type, timeout):
        name = name.decode().lower()
        self.asked.append((name, type))
        addresses = self.names.get(name)
        if addresses is None:
            return fail(error.AuthoritativeDomainError(name))
        records = []
        for address in addresses:
            if (":" in address) == (type == dns.AAAA):
                record = dns.Record_AAAA(address) if ":" in address else dns.Record_A(address)
                records.append(dns.RRHeader(name, type, dns.IN, 60, record, auth=True))
        return succeed((records, [], []))


class Servers:
    """Servers on loopback, closed at the end of the test."""

    def __init__(self):
        self.ports = []

    def udp(self, protocol, port=0):
        listening = reactor.listenUDP(port, protocol, interface="127.0.0.1")
        self.ports.append(listening)
        return listening.getHost().port

    def tcp(self, factory, port):
        factory.noisy = False
        self.ports.append(reactor.listenTCP(port, factory, interface="127.0.0.1"))

    def dns(self, names):
        """Twisted's own DNS server over UDP and TCP; answers over 512 bytes are truncated over UDP."""
        zone = Zone(names)
        factory = server.DNSServerFactory(authorities=[zone], verbose=0)
        factory.noisy = False
        # Twisted's server truncates nothing by itself: this makes it one that follows RFC 1035, section 4.2.1.
        datagrams = Truncating(factory)
        datagrams.noisy = False
        for _ in range(20):
            port = self.udp(datagrams)
            try:
                self.tcp(factory, port)
            except Exception:
                continue
            break
        zone.over_tcp = factory
        return zone, f"127.0.0.1:{port}"

    async def close(self):
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        # A client's socket goes at the turn after it was told to.
        await deferLater(reactor, 0)


class Truncating(dns.DNSDatagramProtocol):
    truncated = 0

    def writeMessage(self, message, address):
        message.maxSize = 512
        data = message.toStr()
        if message.trunc:
            self.truncated += 1
            # The counts in the header must fit what is left: nothing of the sections.
            data = data[:4] + struct.pack("!4H", 1, 0, 0, 0) + self.question(message)
        self.transport.write(data, address)

    def question(self, message):
        alone = dns.Message()
        alone.queries = message.queries
        return alone.toStr()[12:]


@pytest.fixture
def servers():
    return Servers()


def discovery(context=None, **options):
    if context is None:
        context = FakeContext("discovery.dns-seed", reactor=reactor)
    return DnsSeedDiscovery(DnsSeedConfig(**{"seeds": ["seed.example"], **options}), context)


FOUR = [f"198.51.{n // 200}.{n % 200 + 1}" for n in range(100)]
SIX = [f"2001:db8::{n + 1:x}" for n in range(60)]


def hosts(found):
    return [entry.address.host for entry in found]


async def refused(plugin):
    """Why it found nothing."""
    with pytest.raises(P2PFrameError) as caught:
        await plugin.find(10)
    return str(caught.value)


def test_it_is_a_discovery():
    verifyClass(IDiscovery, DnsSeedDiscovery)
    plugin = discovery(FakeContext())
    verifyObject(IDiscovery, plugin)
    verifyObject(IReconfigurable, plugin)
    assert not plugin.manual
    assert result_of(plugin.announce([])) is None
    assert result_of(plugin.withdraw()) is None


@pytest_twisted.ensureDeferred
async def test_long_answers_come_over_tcp_of_the_same_server(servers):
    zone, address = servers.dns({"seed.example": FOUR + SIX})
    plugin = discovery(servers=[address], per_seed=1000)
    found = await plugin.find(1000)
    assert sorted(hosts(found)) == sorted(FOUR + SIX)
    assert hosts(found) != sorted(hosts(found))
    # Each type was asked twice: over UDP, and then again over TCP.
    assert sorted(zone.asked) == [("seed.example", dns.A)] * 2 + [("seed.example", dns.AAAA)] * 2
    assert plugin.context.metrics.value("dns_seed_lookups_total", "answered") == 2
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_a_seed_brings_32_at_most_and_draws_them_by_the_contexts_chance(servers):
    zone, address = servers.dns({"seed.example": FOUR + SIX, "other.example": ["192.0.2.7"]})
    draws = []
    for seed in (1, 1, 2):
        context = FakeContext(seed=seed, reactor=reactor)
        plugin = discovery(context, seeds=["seed.example", "other.example"], servers=[address])
        found = await plugin.find(1000)
        assert len(found) == 33
        assert "192.0.2.7" in hosts(found)
        assert context.metrics.value("dns_seed_addresses_total", "left") == 128
        draws.append(hosts(found))
    assert draws[0] == draws[1] != draws[2]
    assert any(":" in host for host in draws[0])
    assert any("." in host for host in draws[0])
    assert len(await discovery(servers=[address]).find(5)) == 5
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_found_addresses_say_port_services_and_age(servers):
    zone, address = servers.dns({"seed.example": ["192.0.2.1"], "x9.seed.example": ["192.0.2.2"]})
    context = FakeContext(reactor=reactor)
    [plain] = await discovery(context, servers=[address]).find(10)
    # Port 0: core puts in the protocol's own.
    assert (plain.address.host, plain.address.port, plain.services) == ("192.0.2.1", 0, 0)
    assert 3 * 86_400 <= context.unix_time() - plain.last_seen <= 7 * 86_400 + 1
    [chosen] = await discovery(servers=[address], port=18444, service_bits=9).find(10)
    assert (chosen.address.host, chosen.address.port, chosen.services) == ("192.0.2.2", 18444, 9)
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_one_seeds_failure_is_its_own(servers):
    zone, address = servers.dns({"seed.example": ["192.0.2.1", "2001:db8::1"]})
    plugin = discovery(seeds=["gone.example", "seed.example"], servers=[address])
    assert sorted(hosts(await plugin.find(10))) == ["192.0.2.1", "2001:db8::1"]
    assert plugin.context.metrics.value("dns_seed_lookups_total", "failed") == 2
    assert plugin.context.metrics.value("dns_seed_lookups_total", "answered") == 2
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_one_family_may_be_left_out(servers):
    zone, address = servers.dns({"seed.example": FOUR[:2] + SIX[:2]})
    assert sorted(hosts(await discovery(servers=[address], ipv6=False).find(10))) == FOUR[:2]
    assert sorted(hosts(await discovery(servers=[address], ipv4=False).find(10))) == SIX[:2]
    await servers.close()


class Silent(DatagramProtocol):
    def __init__(self):
        self.heard = 0

    def datagramReceived(self, datagram, addr):
        self.heard += 1


@pytest_twisted.ensureDeferred
async def test_a_silent_server_costs_bounded_time_and_the_next_one_answers(servers):
    silent = Silent()
    port = servers.udp(silent)
    zone, address = servers.dns({"seed.example": ["192.0.2.1"]})
    plugin = discovery(servers=[f"127.0.0.1:{port}", address], patience=0.03, ipv6=False)
    assert hosts(await plugin.find(10)) == ["192.0.2.1"]
    assert silent.heard == 2
    alone = discovery(servers=[f"127.0.0.1:{port}"], patience=0.02)
    assert await refused(alone) == (
        "DNS seed seed.example A: no answer in time; DNS seed seed.example AAAA: no answer in time"
    )
    assert alone.context.metrics.value("dns_seed_lookups_total", "timeout") == 2
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_what_came_within_the_time_limit_is_kept(servers):
    class NoAAAA(Truncating):
        def datagramReceived(self, data, addr):
            message = dns.Message()
            message.fromStr(data)
            if message.queries[0].type == dns.A:
                super().datagramReceived(data, addr)

    factory = server.DNSServerFactory(authorities=[Zone({"seed.example": ["192.0.2.1"]})], verbose=0)
    port = servers.udp(NoAAAA(factory))
    plugin = discovery(servers=[f"127.0.0.1:{port}"], timeout=0.1, patience=60)
    assert hosts(await plugin.find(10)) == ["192.0.2.1"]
    assert plugin.context.metrics.value("dns_seed_lookups_total", "timeout") == 1
    await servers.close()


class Liar(DatagramProtocol):
    """Answers every question with `forge(question)`, a list of datagrams."""

    def __init__(self, forge):
        self.forge = forge

    def datagramReceived(self, datagram, addr):
        for forged in self.forge(datagram):
            self.transport.write(forged, addr)


def answer_to(
    datagram, name="seed.example", number=None, owner=None, address="192.0.2.66", record_type=None, trunc=0, rcode=0
):
    asked = dns.Message()
    asked.fromStr(datagram)
    record_type = record_type or asked.queries[0].type
    message = dns.Message(asked.id if number is None else number, answer=1, trunc=trunc, rCode=rcode)
    message.addQuery(name, asked.queries[0].type)
    payload = dns.Record_A(address) if record_type == dns.A else dns.Record_AAAA("2001:db8::66")
    message.answers.append(dns.RRHeader(owner or name, record_type, dns.IN, 60, payload))
    return message.toStr()


@pytest.mark.parametrize(
    "forge",
    [
        lambda q: [b"", b"\x00", b"\xff" * 600, q],
        lambda q: [q[:2] + bytes([0x80, 0]) + b"\xff" * 8 + b"\xc0\x0c" * 100],
        lambda q: [answer_to(q, number=(struct.unpack("!H", q[:2])[0] + 1) % 65536)],
        lambda q: [answer_to(q, name="other.example")],
    ],
    ids=["garbage", "pointer loop", "wrong id", "other question"],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_answer_is_ignored_and_counted(servers, forge):
    port = servers.udp(Liar(forge))
    plugin = discovery(servers=[f"127.0.0.1:{port}"], patience=0.05, tries=1, ipv6=False)
    assert await refused(plugin) == "DNS seed seed.example A: no answer in time"
    assert plugin.context.metrics.value("dns_seed_ignored_total") >= 1
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_an_answer_from_elsewhere_is_ignored(servers):
    """A forger that has guessed the id still writes from its own address."""
    forger = Silent()
    servers.udp(forger)

    class Tricked(DatagramProtocol):
        def datagramReceived(self, datagram, addr):
            forger.transport.write(answer_to(datagram), addr)

    port = servers.udp(Tricked())
    plugin = discovery(servers=[f"127.0.0.1:{port}"], patience=0.05, tries=1, ipv6=False)
    assert "no answer in time" in await refused(plugin)
    assert plugin.context.metrics.value("dns_seed_ignored_total") == 1
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_records_that_belong_to_another_name_are_left_out(servers):
    port = servers.udp(Liar(lambda q: [answer_to(q, owner="bank.example")]))
    plugin = discovery(servers=[f"127.0.0.1:{port}"], ipv6=False)
    assert "no record of the answer is about what was asked" in await refused(plugin)
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_unusable_addresses_are_left_out_and_counted(servers):
    zone, address = servers.dns({"seed.example": ["0.0.0.0", "224.0.0.1", "192.0.2.1", "::ffff:192.0.2.1", "::"]})
    plugin = discovery(servers=[address])
    assert hosts(await plugin.find(10)) == ["192.0.2.1"]
    assert plugin.context.metrics.value("dns_seed_addresses_total", "unusable") == 3
    await servers.close()


class TcpLiar(Protocol):
    def __init__(self, reply):
        self.reply = reply

    def dataReceived(self, data):
        if self.reply is None:
            return
        self.transport.write(self.reply)
        self.transport.loseConnection()


@pytest.mark.parametrize(
    "reply", [None, b"", b"\xff\xffshort", b"\x00\x04junk"], ids=["silent", "closed", "cut off", "garbage"]
)
@pytest_twisted.ensureDeferred
async def test_a_bad_tcp_side_is_bounded_too(servers, reply):
    factory = Factory.forProtocol(lambda: TcpLiar(reply))
    port = servers.udp(Liar(lambda q: [answer_to(q, trunc=1)]))
    servers.tcp(factory, port)
    plugin = discovery(servers=[f"127.0.0.1:{port}"], patience=0.1, ipv6=False)
    assert await refused(plugin)
    outcome = "timeout" if reply is None else "failed"
    assert plugin.context.metrics.value("dns_seed_lookups_total", outcome) == 1
    await deferLater(reactor, 0.01)
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_a_truncated_answer_of_a_server_without_tcp_fails(servers):
    port = servers.udp(Liar(lambda q: [answer_to(q, trunc=1)]))
    plugin = discovery(servers=[f"127.0.0.1:{port}"], ipv6=False)
    assert "refused" in await refused(plugin)
    assert plugin.context.metrics.value("dns_seed_lookups_total", "failed") == 1
    await servers.close()


@pytest_twisted.ensureDeferred
async def test_to_cancel_leaves_no_socket_and_no_timer(servers):
    silent = Silent()
    port = servers.udp(silent)
    timers = len(reactor.getDelayedCalls())
    readers = len(reactor.getReaders())
    finding = discovery(servers=[f"127.0.0.1:{port}"], seeds=["a.example", "b.example"]).find(10)
    assert len(reactor.getReaders()) == readers + 4
    finding.addErrback(lambda _: None)
    finding.cancel()
    assert finding.called
    await deferLater(reactor, 0.01)
    assert len(reactor.getReaders()) == readers
    assert len(reactor.getDelayedCalls()) == timers
    await servers.close()


@implementer(IHostnameResolver)
class System:
    """A system's resolver that knows one name."""

    def __init__(self, addresses, hang=False):
        self.addresses, self.hang, self.asked = addresses, hang, []

    def resolveHostName(self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"):
        self.asked.append((hostName, addressTypes))
        receiver.resolutionBegan(None)
        self.late = receiver
        if self.hang:
            return
        for address in self.addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, 0))
        receiver.resolutionComplete()


def with_system(system, **options):
    context = FakeContext("discovery.dns-seed")
    context.reactor.installNameResolver(system)
    return discovery(context, **options)


def test_without_servers_the_contexts_resolver_is_asked():
    system = System(["192.0.2.1", "2001:db8::1"])
    plugin = with_system(system)
    assert sorted(hosts(result_of(plugin.find(10)))) == ["192.0.2.1", "2001:db8::1"]
    assert system.asked == [("seed.example", [IPv4Address, IPv6Address])]
    with pytest.raises(P2PFrameError, match="all: no addresses"):
        result_of(with_system(System([])).find(10))


def test_a_resolver_that_hangs_is_left_behind():
    system = System([], hang=True)
    plugin = with_system(system)
    finding = plugin.find(10)
    plugin.context.reactor.advance(19.9)
    assert not finding.called
    plugin.context.reactor.advance(0.2)
    with pytest.raises(P2PFrameError, match="no answer in time"):
        result_of(finding)
    assert plugin.context.metrics.value("dns_seed_lookups_total", "timeout") == 1
    system.late.resolutionComplete()


def state(**values):
    return DiscoveryState(**{"uptime": 20.0, "outbound": 0, "wanted": 8, "book_size": 0, "last_run": None, **values})


@pytest.mark.parametrize(
    ("values", "due"),
    [
        ({}, True),
        ({"uptime": 10.9}, False),
        ({"uptime": 11.0}, True),
        ({"outbound": 2}, False),
        ({"outbound": 1}, True),
        ({"book_size": 1000, "uptime": 11.0}, True),
        ({"book_size": 1001, "uptime": 299.0}, False),
        ({"book_size": 1001, "uptime": 300.0}, True),
        ({"last_run": 100.0}, False),
        ({"last_run": 600.0}, True),
    ],
)
def test_seeds_are_the_last_resort(values, due):
    assert discovery(FakeContext()).due(state(**values)) is due


def test_after_nothing_came_it_is_due_sooner():
    plugin = with_system(System([]))
    with pytest.raises(P2PFrameError):
        result_of(plugin.find(10))
    assert plugin.due(state(last_run=60.0))
    assert not plugin.due(state(last_run=59.0))
    plugin = with_system(System(["192.0.2.1"]))
    result_of(plugin.find(10))
    assert not plugin.due(state(last_run=60.0))


def test_options_are_live():
    plugin = with_system(System(["192.0.2.1"]))
    plugin.reconfigure(DnsSeedConfig(seeds=["a.example", "b.example"]))
    result_of(plugin.find(10))
    assert [name for name, _ in plugin.context.reactor.nameResolver.asked] == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": ["a" * 64 + ".example"]}, "not a DNS name"),
        ({"seeds": ["192.0.2.1"]}, "not a DNS name"),
        ({"seeds": ["käse.example"]}, "not a DNS name"),
        ({"seeds": ["a..example"]}, "not a DNS name"),
        ({"seeds": ["seed.example:53"]}, "not a DNS name"),
        ({"servers": ["dns.example"]}, "by its IP address"),
        ({"servers": ["127.0.0.1:0"]}, "by its IP address"),
        ({"servers": [53]}, "servers"),
        ({"port": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        DnsSeedConfig(**{"seeds": ["seed.example"], **options})


def test_no_seeds_means_those_that_the_protocol_knows():
    class Known:
        def seed_names(self):
            return ["seed.example"]

    knowing, ignorant = FakeContext("discovery.dns-seed"), FakeContext("discovery.dns-seed")
    knowing.provide(ISeedNames, Known())
    assert DnsSeedDiscovery(DnsSeedConfig(), knowing).due(DiscoveryState(60.0, 0, 8, 0, None))
    with pytest.raises(PluginError, match="its protocol knows no DNS seeds: give dns-seed some by `seeds`"):
        DnsSeedDiscovery(DnsSeedConfig(), ignorant)


def test_a_server_needs_no_port():
    config = DnsSeedConfig(seeds=["Seed.Example."], servers=["192.0.2.53", "2001:db8::53", "[::1]:5301"])
    assert config.model_dump(mode="json")["servers"] == ["192.0.2.53:53", "[2001:db8::53]:53", "[::1]:5301"]
    assert config.seeds == ("seed.example",)


def test_aliases_are_followed_and_loops_end():
    question = Question("seed.example", dns.A, 7)
    message = dns.Message(7, answer=1)
    message.addQuery("SEED.example", dns.A)
    message.answers = [
        dns.RRHeader("c.example", dns.A, dns.IN, 60, dns.Record_A("192.0.2.3")),
        dns.RRHeader("b.example", dns.CNAME, dns.IN, 60, dns.Record_CNAME("c.example")),
        dns.RRHeader("seed.example", dns.CNAME, dns.IN, 60, dns.Record_CNAME("b.example")),
        dns.RRHeader("b.example", dns.CNAME, dns.IN, 60, dns.Record_CNAME("seed.example")),
    ]
    assert question.addresses(question.answered_by(message.toStr())) == ["192.0.2.3"]
    message.rCode = dns.ENAME
    with pytest.raises(DnsError, match="no such name"):
        question.addresses(question.answered_by(message.toStr()))


def test_names_of_pointers_to_pointers_cost_little():
    """They kept twisted.names before 26.4 busy.

    A long chain of pointers, and thousands of names that begin at its end.
    """
    head = struct.pack("!6H", 7, 0x8180, 1, 4001, 0, 0) + b"\x04seed\x07example\x00" + struct.pack("!2H", dns.A, dns.IN)
    first = len(head) + 11
    chain = struct.pack("!H", 0xC00C) + b"".join(struct.pack("!H", 0xC000 | (first + 2 * n)) for n in range(4000))
    holder = b"\x00" + struct.pack("!HHIH", dns.NULL, dns.IN, 60, len(chain)) + chain
    end = struct.pack("!H", 0xC000 | (first + 8000))
    records = (end + struct.pack("!HHIH", dns.A, dns.IN, 60, 4) + b"\xc0\x00\x02\x01") * 4000
    with Work(2_500_000):
        assert Question("seed.example", dns.A, 7).answered_by(head + holder + records) is None
