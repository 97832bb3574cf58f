"""The seed server: whom it calls on and tells of, what it keeps, what it bounds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.names import dns

from p2pframe.applications.dns_seed_server import DnsSeedServer, DnsSeedServerConfig
from p2pframe.errors import P2PFrameError, StartError, VisitRefused
from p2pframe.interfaces import IAddressBook, INetworkProtocol, INodeControl, INodeView, ISeedNames, Visit
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from tests.applications.dns_seed_server.test_wire_and_zone import hosts, question, read

OPTIONS = {
    "network": "n", "zone": "seed.example", "nameserver": "ns.example", "contact": "me@example",
    "listen": ["192.0.2.53:53"],
}  # fmt: skip
HOUR = 3600.0


class Town:
    """A network: its book, its protocol, its node; peers answer while they are in `up`."""

    default_port = 8333

    def __init__(self, known=(), up=()):
        self.known = [PeerAddress.of(host, 8333) for host in known]
        self.up = {*up}
        self.calls = []
        self.tells = []
        self.held = None
        self.discovery = []
        self.size = len(self.known)

    def sample(self, maximum, percent=100):
        return [FoundAddress(address) for address in self.known]

    def visit(self, network, address, peers=0, wait=30.0):
        self.calls.append((address.host, peers))
        if self.held is not None:
            return self.held
        if address.host not in self.up:
            return fail(P2PFrameError("refused"))
        return succeed(Visit(address, services=frozenset({"NETWORK", "WITNESS"}), peers=tuple(self.tells)))

    def config(self):
        return {"networks": {"n": {"discovery": self.discovery}}}

    def seed_names(self):
        return ["x.seed.example"]


def server(town, storage=None, **options):
    context = FakeContext("application.dns-seed-server", "", storage=storage)
    for interface in (IAddressBook, INetworkProtocol, INodeControl, INodeView, ISeedNames):
        context.provide(interface, town)
    made = DnsSeedServer(DnsSeedServerConfig(**{**OPTIONS, **options}), context)
    return made, context


def started(town, storage=None, **options):
    made, context = server(town, storage, **options)
    result_of(made.start())
    return made, context


def pass_time(context, seconds, step=10.0):
    for _ in range(int(seconds / step)):
        context.reactor.advance(step)


def told(made, host="198.51.100.1"):
    return sorted(hosts(read(made._answering.message(question("seed.example")))))


def test_only_who_kept_answering_for_a_day_is_told_of():
    town = Town(known=["11.1.0.1", "11.2.0.1"], up=["11.1.0.1"])
    made, context = started(town, pace="10s")
    pass_time(context, 23 * HOUR)
    assert told(made) == []
    pass_time(context, 3 * HOUR)
    assert told(made) == ["11.1.0.1"]
    assert context.metrics.value("dns_seed_server_visits_total", "failed") > 0
    town.up.clear()
    pass_time(context, 1.3 * HOUR)
    assert told(made) == [], "it is told of no more as soon as it fails"
    town.up.add("11.1.0.1")
    pass_time(context, 1.3 * HOUR)
    assert told(made) == ["11.1.0.1"], "one failure is nothing yet"
    town.up.clear()
    pass_time(context, 12 * HOUR)
    town.up.add("11.1.0.1")
    pass_time(context, 20 * HOUR)
    assert told(made) == [], "a day begins anew"
    result_of(made.stop())
    assert not context.reactor.getDelayedCalls()


def test_who_is_visited_tells_of_others_and_only_a_handshake_proves_them():
    town = Town(known=["11.1.0.1"], up=["11.1.0.1", "11.2.0.1"])
    town.tells = [FoundAddress(PeerAddress.of(host, 8333)) for host in ("11.2.0.1", "11.3.0.1", "10.0.0.1")]
    made, context = started(town, pace="10s", proven_for="1h", check_every="10min")
    pass_time(context, 2 * HOUR)
    assert told(made) == ["11.1.0.1", "11.2.0.1"]
    assert {host for host, _ in town.calls} == {"11.1.0.1", "11.2.0.1", "11.3.0.1"}
    assert context.metrics.value("dns_seed_server_turned_away_total", "not routable") > 0
    asked = [peers for host, peers in town.calls if host == "11.1.0.1"]
    assert asked[0] == 250 and set(asked[1:]) == {0}, "a peer is asked for addresses once a day"
    made.stop()


@pytest.mark.parametrize("discovery", [{"seeds": ["seed.example"]}, {"seeds": ["a.example", "X9.Seed.Example."]}, {}])
def test_a_node_that_asks_its_own_zone_does_not_start(discovery):
    town = Town()
    town.discovery = [{"plugin": "static"}, {"plugin": "dns-seed", **discovery}]
    made, _ = server(town)
    with pytest.raises(StartError, match="answers for itself"):
        result_of(made.start())


def test_who_could_not_be_called_on_is_not_to_blame():
    town = Town(known=["11.1.0.1"], up=["11.1.0.1"])
    made, context = started(town, pace="10s", proven_for="1h", check_every="10min")
    pass_time(context, 2 * HOUR)
    calls = len(town.calls)
    town.visit = lambda *_, **__: town.calls.append(()) or fail(VisitRefused("32 visits are under way already"))
    pass_time(context, 900)
    assert len(town.calls) > calls + 2, "it is tried again soon"
    assert told(made) == ["11.1.0.1"]
    made.stop()


def test_who_does_not_answer_is_left_alone_for_hours_and_makes_room_for_others():
    town = Town(known=["11.1.0.1", "11.2.0.1"])
    made, context = started(town, pace="10s", retry="6h", addresses=2)
    pass_time(context, 5 * HOUR)
    assert len(town.calls) == 2
    town.known.append(PeerAddress.of("11.3.0.1", 8333))
    town.up.add("11.3.0.1")
    pass_time(context, 120)
    assert ("11.3.0.1", 250) in town.calls and len(made._watch) == 2
    made.stop()


def test_the_table_is_bounded_in_all_and_by_netgroup():
    town = Town(known=[f"11.{n}.{m}.1" for n in range(20) for m in range(5)])
    town.held = Deferred()
    made, context = started(town, addresses=30, group_addresses=2, visits=3)
    context.reactor.advance(1.0)
    assert len(made._watch) == 30
    assert context.metrics.value("dns_seed_server_turned_away_total", "full") > 0
    assert context.metrics.value("dns_seed_server_turned_away_total", "netgroup") > 0
    assert len(town.calls) == 3, "visits at once are bounded"


def test_what_was_proven_is_kept_and_shown_again_only_where_it_is_fresh():
    town = Town(known=["11.1.0.1"], up=["11.1.0.1"])
    made, context = started(town, pace="10s", proven_for="1h", check_every="10min")
    pass_time(context, 2 * HOUR)
    made.stop()
    again, later = server(Town(), context.storage, pace="10s", proven_for="1h", check_every="10min")
    later.unix_epoch = context.unix_time() + 60
    result_of(again.start())
    assert told(again) == ["11.1.0.1"]
    again.stop()
    late, after = server(Town(), context.storage)
    after.unix_epoch = context.unix_time() + 7 * 86_400
    result_of(late.start())
    assert told(late) == []
    late.stop()


def test_tcp_connections_are_bounded_in_number_time_and_questions():
    made, context = started(Town(), tcp_connections=3, tcp_per_prefix=2, tcp_queries=2)
    [(_, factory, *_)] = context.reactor.tcpServers
    from twisted.internet.address import IPv4Address

    def connect(host):
        protocol = factory.buildProtocol(IPv4Address("TCP", host, 1))
        if protocol is not None:
            protocol.makeConnection(StringTransport())
        return protocol

    first, second = connect("192.0.2.1"), connect("192.0.2.2")
    assert connect("192.0.2.3") is None and connect("198.51.100.1") is not None
    assert connect("203.0.113.1") is None
    asked = question("seed.example", dns.SOA)
    framed = len(asked).to_bytes(2, "big") + asked
    for at in range(len(framed)):
        first.dataReceived(framed[at : at + 1])
    answer = first.transport.value()
    assert int.from_bytes(answer[:2], "big") == len(answer) - 2 and read(answer[2:]).answers
    first.dataReceived(framed + framed)
    assert first.transport.disconnecting or first.transport.disconnected
    context.reactor.advance(11)
    assert second.transport.disconnecting or second.transport.disconnected
    assert context.metrics.value("dns_seed_server_queries_total", "tcp", "timeout") > 0
    long = connect("203.0.113.1")
    if long is not None:
        long.dataReceived(b"\xff\xff" + b"x" * 1000)
        assert long._buffer == b""
