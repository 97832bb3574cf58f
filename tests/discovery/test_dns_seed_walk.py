"""SRV and dnsaddr records: what they lead to, and that nobody is led further than the bounds."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.names import dns

from p2pframe.applications.dns_seed_server import wire
from p2pframe.applications.dns_seed_server.limits import ResponseRates
from p2pframe.applications.dns_seed_server.sockets import Answering, Connections, Datagrams
from p2pframe.applications.dns_seed_server.zone import Zone
from p2pframe.discovery.dns_seed import DnsSeedConfig, DnsSeedDiscovery
from p2pframe.discovery.dns_seed.query import DnsError, Question
from p2pframe.discovery.dns_seed.walk import Multiaddr, Walk, parse_multiaddr
from p2pframe.testing.context import FakeContext, result_of
from tests.applications.dns_seed_server.test_wire_and_zone import entry, settings


class Names:
    """A world of records; notes what is asked."""

    def __init__(self, records, additional=()):
        self.records = records
        self.additional = additional
        self.asked = []

    async def ask(self, name, record_type):
        self.asked.append((name, record_type))
        payloads = self.records.get((name, record_type))
        if payloads is None:
            raise DnsError("no such name")
        question = Question(name, record_type, 1)
        message = dns.Message(1, answer=1, maxSize=0)
        message.addQuery(name.encode(), record_type)
        message.answers = [dns.RRHeader(name.encode(), record_type, dns.IN, 60, payload) for payload in payloads]
        message.additional = [dns.RRHeader(owner, p.TYPE, dns.IN, 60, p) for owner, p in self.additional]
        answered = question.answered_by(message.toStr())
        return question.read(answered)


def walk(names, lookups=32, families=(dns.A, dns.AAAA), seed=1):
    left_out = Counter()
    made = Walk(names.ask, random.Random(seed), families, lookups, lambda reason: left_out.update([reason]))
    return made, left_out


def run(coroutine):
    return result_of(Deferred.fromCoroutine(coroutine))


def text(*addresses):
    return [dns.Record_TXT(f"dnsaddr={address}".encode()) for address in addresses]


def srv(port, target, priority=10, weight=10):
    return dns.Record_SRV(priority, weight, port, target)


SRV = ("_peer._tcp.seed.example", dns.SRV)
TXT = ("_dnsaddr.seed.example", dns.TXT)


def found(made):
    return [str(address) for address in made.found]


def test_services_come_by_priority_with_added_addresses_or_looked_up_ones():
    names = Names(
        {
            SRV: [srv(3, b"c.example", 30), srv(1, b"a.example"), srv(2, b"b.example", 20), srv(4, b"d.example", 5)],
            ("b.example", dns.A): [dns.Record_A("192.0.2.2")],
            ("b.example", dns.AAAA): [dns.Record_AAAA("2001:db8::2")],
            ("c.example", dns.A): [dns.Record_A("192.0.2.3")],
        },
        additional=[(b"A.example", dns.Record_A("192.0.2.1")), (b"other.example", dns.Record_A("192.0.2.9"))],
    )  # fmt: skip
    made, left_out = walk(names)
    run(made.services("_peer._tcp.seed.example"))
    assert found(made) == ["192.0.2.1:1", "192.0.2.2:2", "[2001:db8::2]:2", "192.0.2.3:3"]
    assert left_out == {"no answer": 3}


def test_services_of_one_priority_come_by_the_lot_of_their_weights():
    both = [(b"a.example", dns.Record_A("192.0.2.1")), (b"b.example", dns.Record_A("192.0.2.2"))]
    names = Names({SRV: [srv(1, b"a.example", weight=90), srv(2, b"b.example", weight=10)]}, both)
    first = Counter()
    for seed in range(300):
        made, _ = walk(names, seed=seed)
        run(made.services("_peer._tcp.seed.example"))
        first[made.found[0].port] += 1
    assert 240 < first[1] < 295


def test_a_service_that_is_not_there_and_one_that_points_at_itself():
    names = Names({SRV: [srv(1, b""), srv(0, b"a.example"), srv(7, b"_peer._tcp.seed.example")]})
    made, left_out = walk(names)
    run(made.services("_peer._tcp.seed.example"))
    assert found(made) == [] and left_out == {"unusable": 2, "no answer": 2}


def test_texts_give_addresses_and_names_of_the_wanted_transport():
    names = Names(
        {
            TXT: text("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/udp/2", "/ip6/2001:db8::3/tcp/3/p2p/QmId",
                      "/dns4/a.example/tcp/4", "/ip4/192.0.2.5/tcp/5/ws", "/dnsaddr/more.example")
            + [dns.Record_TXT(b"v=spf1"), dns.Record_TXT(b"dnsaddr=\xff\xfe")],
            ("a.example", dns.A): [dns.Record_A("192.0.2.4")],
            ("_dnsaddr.more.example", dns.TXT): text("/ip4/192.0.2.6/tcp/6"),
        }
    )  # fmt: skip
    made, left_out = walk(names)
    run(made.texts("seed.example", "tcp"))
    assert found(made) == ["192.0.2.1:1", "[2001:db8::3]:3", "192.0.2.4:4", "192.0.2.6:6"]
    assert left_out == {"unusable": 2}
    made, _ = walk(names)
    run(made.texts("seed.example", "udp"))
    assert found(made) == ["192.0.2.2:2"]


def test_texts_that_lead_in_circles_end():
    back = text("/dnsaddr/SEED.example.", "/ip4/192.0.2.1/tcp/1")
    names = Names({TXT: text("/dnsaddr/b.example", "/dnsaddr/seed.example"), ("_dnsaddr.b.example", dns.TXT): back})
    made, left_out = walk(names)
    run(made.texts("seed.example", "tcp"))
    assert found(made) == ["192.0.2.1:1"] and left_out == {"asked before": 2}


def test_texts_that_lead_ever_deeper_end():
    names = Names({(f"_dnsaddr.n{n}.example", dns.TXT): text(f"/dnsaddr/n{n + 1}.example") for n in range(100)})
    made, left_out = walk(names)
    run(made.texts("n0.example", "tcp"))
    assert len(names.asked) == 4 and left_out == {"too deep": 1}


def test_a_list_that_never_ends_costs_no_more_look_ups_than_allowed():
    names = Names({TXT: text(*(f"/dns4/n{n}.example/tcp/1" for n in range(900)))})
    made, left_out = walk(names, lookups=20)
    run(made.texts("seed.example", "tcp"))
    assert len(names.asked) == 21 and left_out == {"no answer": 20, "too many look-ups": 880}


def test_what_a_multiaddr_may_be():
    assert parse_multiaddr("/ip4/192.0.2.1/tcp/8333") == Multiaddr("ip4", "192.0.2.1", "tcp", 8333)
    assert parse_multiaddr("/dnsaddr/a.example/p2p/Qm") == Multiaddr("dnsaddr", "a.example", "", 0)
    wrongs = [
        "", "/", "ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1", "/ip4/2001:db8::1/tcp/1", "/ip6/fe80::1%eth0/tcp/1",
        "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/tcp/65536", "/ip4/192.0.2.1/tcp/+1", "/ip4/192.0.2.1/sctp/1",
        "/dns4/a..b/tcp/1", f"/dns4/{'a' * 64}/tcp/1", f"/dnsaddr/{'a.' * 300}b", "/onion/abc/tcp/1",
    ]  # fmt: skip
    for wrong in wrongs:
        assert parse_multiaddr(wrong) is None, wrong


@given(st.text(alphabet="/ip46dnsaddrtcpudp:.0123456789ax%\x00é", max_size=60))
def test_any_text_is_a_multiaddr_or_none(text):
    parsed = parse_multiaddr(text)
    assert parsed is None or parsed.kind in ("ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr")


def test_an_answer_that_says_it_has_ten_thousand_records_is_taken_for_what_it_holds():
    question = Question("seed.example", dns.A, 5)
    record = b"\xc0\x0c" + b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + bytes([11, 0, 0, 1])

    def answered(claimed, held):
        head = b"\x00\x05\x84\x00\x00\x01" + claimed.to_bytes(2, "big") + bytes(4)
        return question.answered_by(head + question.wire[12:] + record * held)

    for claimed, held in ((1000, 1000), (65_535, 1), (10_000, 4000)):
        assert len(question.addresses(answered(claimed, held))) == held
    assert answered(10_000, 0) is None


def test_services_and_texts_need_servers():
    for options in ({"service": "_peer._tcp"}, {"dnsaddr": "tcp"}):
        with pytest.raises(ValidationError, match="need servers"):
            DnsSeedConfig(seeds=["seed.example"], **options)
    with pytest.raises(ValidationError, match="not of the form"):
        DnsSeedConfig(seeds=["seed.example"], servers=["192.0.2.53"], service="peer")


@pytest_twisted.ensureDeferred
async def test_our_seed_server_answers_our_discovery_over_udp_and_tcp():
    proven = [entry(f"11.{n}.0.1", 7000 + n) for n in range(50)] + [entry(f"12.{n}.0.1") for n in range(9)]
    config = settings(answers=64)
    zone = Zone(config, random.Random(1), lambda: proven, lambda: 8333, lambda: 1_700_000_000.0)
    counted = Counter()
    answering = Answering(
        config, zone, ResponseRates(config, lambda: None, reactor.seconds()), lambda *said: counted.update([said])
    )
    udp = reactor.listenUDP(0, Datagrams(answering, reactor), interface="127.0.0.1")
    port = udp.getHost().port
    tcp = reactor.listenTCP(port, Connections(answering, reactor), interface="127.0.0.1")
    try:
        options = {"seeds": ["seed.example"], "servers": [f"127.0.0.1:{port}"], "per_seed": 1000}
        context = FakeContext("discovery.dns-seed", reactor=reactor)
        for more in ({"service": "_peer._tcp"}, {"dnsaddr": "tcp"}):
            discovery = DnsSeedDiscovery(DnsSeedConfig(**options, **more), context)
            told = {str(entry.address) for entry in await discovery.find(1000)}
            assert {str(entry.address) for entry in proven} <= told
            assert {f"12.{n}.0.1:0" for n in range(9)} <= told, "by A records: the protocol's own port"
        assert counted["tcp", "answered"] == 2, "SRV and TXT are longer than a datagram may be"
        assert wire.PLAIN_UDP == 512
    finally:
        await maybeDeferred(udp.stopListening)
        await maybeDeferred(tcp.stopListening)
        await deferLater(reactor, 0.05)
