"""What the seed server answers: to questions as resolvers ask them, and to any bytes at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.names import dns

from p2pframe.applications.dns_seed_server import DnsSeedServerConfig, wire
from p2pframe.applications.dns_seed_server.limits import ResponseRates, prefix
from p2pframe.applications.dns_seed_server.sockets import Answering
from p2pframe.applications.dns_seed_server.watched import Watched, spread
from p2pframe.applications.dns_seed_server.zone import Zone
from p2pframe.model import PeerAddress

FOUR = [f"11.{n}.0.1" for n in range(40)]
SIX = [f"2600:{n:x}::1" for n in range(1, 31)]


def settings(**options):
    return DnsSeedServerConfig(
        **{
            "network": "n", "zone": "seed.example", "nameserver": "ns.example", "contact": "a.b@c.example",
            "listen": ["127.0.0.1:5300"], "service": "_peer._tcp", **options,
        }
    )  # fmt: skip


def entry(host, port=8333, services=9):
    watched = Watched(PeerAddress.of(host, port), 0.0)
    watched.services = services
    return watched


PROVEN = [entry(host) for host in FOUR + SIX] + [entry("12.0.0.1", 4444), entry("12.1.0.1", services=1)]


class World:
    """A zone with its limits, and a clock."""

    def __init__(self, proven=PROVEN, **options):
        self.now = 1_700_000_000.0
        self.config = settings(**options)
        self.counted = []
        self.zone = Zone(self.config, random.Random(1), lambda: proven, lambda: 8333, lambda: self.now)
        self.rates = ResponseRates(self.config, lambda: None, 0.0)
        self.answering = Answering(self.config, self.zone, self.rates, lambda *said: self.counted.append(said))

    def udp(self, name, type=dns.A, cls=dns.IN, edns=None, host="192.0.2.1", at=0.0):
        data = self.answering.datagram(question(name, type, cls, edns), host, at)
        return None if data is None else read(data)

    def tcp(self, name, type=dns.A):
        return read(self.answering.message(question(name, type)))


def question(name, type=dns.A, cls=dns.IN, edns=None, id=77):
    message = dns._EDNSMessage(id, maxSize=edns or 512, ednsVersion=0 if edns else None, recDes=True)
    message.queries = [dns.Query(name, type, cls)]
    return message.toStr()


def read(data):
    message = dns._EDNSMessage()
    message.fromStr(data)
    message.size = len(data)
    return message


def hosts(message):
    return [record.payload.dottedQuad() if record.type == dns.A else str_six(record) for record in message.answers]


def str_six(record):
    import ipaddress

    return str(ipaddress.ip_address(record.payload.address))


def test_addresses_are_answered_by_family_at_most_so_many_and_authoritatively():
    world = World()
    answer = world.udp("seed.example")
    assert answer.auth and not answer.trunc and answer.rCode == 0 and not answer.recAv and answer.id == 77
    assert len(hosts(answer)) == 20 and set(hosts(answer)) <= {*FOUR, "12.1.0.1"}
    assert {record.ttl for record in answer.answers} == {60}
    assert set(hosts(world.udp("seed.example", dns.AAAA, edns=1232))) <= set(SIX)


def test_the_same_set_is_answered_until_its_ttl_is_over_and_then_another():
    world = World()
    first = hosts(world.udp("seed.example"))
    world.now += 59
    assert hosts(world.udp("seed.example")) == first
    world.now += 2
    assert hosts(world.udp("seed.example")) != first


def test_names_of_service_bits_give_only_peers_that_have_them():
    world = World(answers=64)
    assert "12.1.0.1" in hosts(world.tcp("seed.example"))
    assert set(hosts(world.tcp("x9.seed.example"))) == set(FOUR)
    assert hosts(world.tcp("xffff.seed.example")) == []
    assert world.tcp("xffff.seed.example").rCode == 0
    assert world.tcp("x123456789abcdef01.seed.example").rCode == dns.ENAME


def test_another_port_is_never_in_an_address_record_and_is_in_texts_and_services():
    world = World(proven=[entry("12.0.0.1", 4444), entry("2600::1", 5555)])
    assert hosts(world.tcp("seed.example")) == []
    for name in ("seed.example", "_dnsaddr.seed.example"):
        texts = {record.payload.data[0] for record in world.tcp(name, dns.TXT).answers}
        assert texts == {b"dnsaddr=/ip4/12.0.0.1/tcp/4444", b"dnsaddr=/ip6/2600::1/tcp/5555"}
    said = world.tcp("_peer._tcp.seed.example", dns.SRV)
    targets = {record.payload.port: str(record.payload.target) for record in said.answers}
    assert targets == {4444: "ip-0c000001.seed.example", 5555: f"ip-{'2600' + 27 * '0' + '1'}.seed.example"}
    assert len(said.additional) == 2
    assert hosts(world.udp(targets[4444])) == ["12.0.0.1"]
    world.now += 61
    world.udp("seed.example")
    assert hosts(world.udp(targets[4444])) == ["12.0.0.1"], "until the SRV records have run out"
    assert world.udp("ip-0c0000ff.seed.example").rCode == dns.ENAME, "no name for an address that is not told of"
    assert world.udp("_tcp.seed.example").rCode == 0
    assert World(service=None).udp("_peer._tcp.seed.example", dns.SRV).rCode == dns.ENAME


def test_soa_and_ns():
    world = World()
    [soa] = world.udp("seed.example", dns.SOA).answers
    assert str(soa.payload.mname) == "ns.example"
    assert soa.payload.rname.name == b"a.b.c.example", "twisted shows the dot within a label as one"
    assert soa.payload.minimum == 60
    [ns] = world.udp("seed.example", dns.NS).answers
    assert str(ns.payload.name) == "ns.example"
    none = world.udp("gone.seed.example")
    assert none.rCode == dns.ENAME and none.authority[0].type == dns.SOA
    assert World(proven=[]).udp("seed.example").authority[0].type == dns.SOA


def test_a_nameserver_in_its_own_zone_has_its_addresses():
    world = World(nameserver="ns.seed.example", nameserver_addresses=["192.0.2.53", "2001:db8::53"])
    assert hosts(world.udp("ns.seed.example")) == ["192.0.2.53"]
    assert len(world.udp("seed.example", dns.NS).additional) == 2
    with pytest.raises(ValidationError, match="nobody could find it"):
        settings(nameserver="ns.seed.example")


@pytest.mark.parametrize("name", ["example", "other.example", "notseed.example", "seed.example.org", ""])
def test_other_zones_are_refused(name):
    answer = World().udp(name)
    assert answer.rCode == dns.EREFUSED and not answer.auth and not answer.answers


@pytest.mark.parametrize("type", [251, 252])
def test_transfers_are_refused(type):
    assert World().udp("seed.example", type).rCode == dns.EREFUSED
    assert World().tcp("seed.example", type).rCode == dns.EREFUSED


def test_any_is_answered_by_one_record():
    [record] = World().udp("seed.example", 255).answers
    assert record.type == 13
    assert World().udp("gone.seed.example", 255).rCode == dns.ENAME


def test_other_classes_are_refused_other_opcodes_are_not_implemented():
    assert World().udp("seed.example", dns.TXT, dns.CH).rCode == dns.EREFUSED
    notify = bytearray(question("seed.example"))
    notify[2] |= 4 << 3
    assert read(World().answering.datagram(bytes(notify), "192.0.2.1", 0.0)).rCode == dns.ENOTIMP


def test_more_than_fits_is_truncated_over_udp_and_whole_over_tcp():
    world = World(answers=64, proven=PROVEN)
    for size, limit in ((None, 512), (600, 600), (65_000, 1232)):
        answer = world.udp("seed.example", dns.TXT, edns=size)
        assert answer.size <= limit
        assert answer.trunc and not answer.answers
    assert len(world.tcp("seed.example", dns.TXT).answers) == 64
    assert not world.udp("seed.example", edns=1232).trunc


def test_the_case_of_a_question_comes_back():
    data = World().answering.datagram(question("SeeD.eXample"), "192.0.2.1", 0.0)
    assert b"\x04SeeD\x07eXample" in data
    assert hosts(read(data))


def test_edns_of_another_version_is_told_so():
    asked = bytearray(question("seed.example", edns=1232))
    asked[-5] = 1
    answer = World().answering.datagram(bytes(asked), "192.0.2.1", 0.0)
    assert answer[3] & 0xF == 0 and answer[-6] == 1


@given(st.binary(max_size=600))
def test_any_bytes_get_an_answer_within_bounds_or_silence(data):
    within_bounds(data)


@given(st.data())
def test_any_change_of_a_question_gets_an_answer_within_bounds_or_silence(data):
    asked = bytearray(question(data.draw(st.sampled_from(["seed.example", "x9.seed.example", "_dnsaddr.seed.example"])),
                               data.draw(st.sampled_from([1, 2, 6, 16, 28, 33, 255])), edns=1400))  # fmt: skip
    for _ in range(data.draw(st.integers(0, 6))):
        asked[data.draw(st.integers(0, len(asked) - 1))] = data.draw(st.integers(0, 255))
    within_bounds(bytes(asked) + data.draw(st.binary(max_size=20)))


def within_bounds(data):
    world = World(answers=64, responses_burst=1, responses_per_second=1e-9, slip=1)
    first = world.answering.datagram(data, "192.0.2.1", 0.0)
    assert first is None or len(first) <= wire.LARGEST_UDP
    if first is not None:
        assert first[:2] == data[:2] and first[2] & 0x80
    later = world.answering.datagram(data, "192.0.2.1", 0.0)
    assert later is None or len(later) <= len(data)
    world.answering.message(data)


@pytest.mark.parametrize("rate", [200, 10_000])
@pytest.mark.parametrize("type", [dns.A, dns.TXT, dns.SOA, dns.NS])
def test_a_forged_flood_of_any_rate_gets_no_more_bytes_out_than_it_sends_and_the_budget(rate, type):
    world = World()
    asked = question("seed.example", type, edns=1232)
    came = sent = 0
    for number in range(rate):
        host = f"{10 + number % 200}.{number // 200 % 256}.{number // 51_200}.{number % 7}"
        answer = world.answering.datagram(asked, host, number / rate)
        came += len(asked)
        sent += len(answer) if answer else 0
        assert sent <= came + 50_000 + 1232 + 100_000 * number / rate
    if rate == 10_000:
        assert sent < came, "within a second even with the budget"
    assert len(world.rates) <= 10_000


def test_who_asks_in_peace_is_answered_in_full_and_a_flood_leaves_the_budget_to_refill():
    world = World()
    for number in range(100):
        assert world.udp("seed.example", host=f"10.{number}.0.1", at=0.0).answers, "a hundred at once"
    for number in range(5000):
        world.answering.datagram(question("seed.example"), f"11.{number % 250}.{number // 250 % 5}.1", 0.0)
    assert ("udp", "slipped") in world.counted and ("udp", "dropped") in world.counted
    assert world.udp("seed.example", host="12.0.0.1", at=1.0).answers


def test_one_network_of_askers_does_not_use_up_what_others_have():
    world = World(responses_burst=5, slip=2)
    outcomes = [world.udp("seed.example", host=f"192.0.2.{n}") for n in range(11)]
    assert [bool(o and o.answers) for o in outcomes[:5]] == [True] * 5
    assert [o is not None and o.trunc for o in outcomes[5:]] == [False, True, False, True, False, True]
    assert world.udp("seed.example", host="198.51.100.1").answers
    assert world.udp("seed.example", host="192.0.2.1", at=1.0).answers, "the budget refills"
    assert ("udp", "slipped") in world.counted and ("udp", "dropped") in world.counted


def test_networks_of_askers_are_forgotten_when_there_are_too_many():
    forgotten = []
    rates = ResponseRates(settings(prefixes=10), lambda: forgotten.append(1), 0.0)
    for number in range(30):
        rates.decide(f"10.0.{number}.1", 0.0)
    assert len(rates) == 10 and len(forgotten) == 20
    assert prefix("::ffff:10.0.0.1") == prefix("10.0.0.7") != prefix("10.0.1.1")
    assert prefix("2001:db8:0:12::1") == prefix("2001:db8:0:34::1") != prefix("2001:db8:0:134::1")


def test_an_answer_has_at_most_so_many_of_a_netgroup():
    crowd = [entry(f"13.1.0.{n}") for n in range(1, 200)] + [entry(f"14.{n}.0.1") for n in range(5)]
    chosen = spread(crowd, 20, 2, random.Random(3))
    assert len(chosen) == 7
    assert sum(e.group == "v4:13.1" for e in chosen) == 2
