"""The suite of discoveries: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from zope.interface import implementer

from p2pframe.discovery.dns_seed import DnsSeedDiscovery
from p2pframe.interfaces import IDiscovery, IPeerExchange, IRendezvous
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import plugin
from p2pframe.sim.graph import GraphDiscovery, GraphPeersConfig
from p2pframe.testing.conformance import NonConformance, check


def test_static(conforms):
    conforms("discovery", "static", {"peers": ["127.0.0.1:18444", "seed.example:1", "[2001:db8::1]:5"]}, finds=3)


def test_dns_seed_by_the_systems_resolver(conforms):
    conforms("discovery", "dns-seed", {"seeds": ["a.example", "b.example"]}, finds=50)


def test_dns_seed_by_servers_that_never_answer(conforms):
    conforms("discovery", "dns-seed", {"seeds": ["a.example"], "servers": ["192.0.2.53", "[2001:db8::53]:53"]})


@pytest.fixture
def peer_file(tmp_path):
    file = tmp_path / "peers.txt"
    file.write_text("# peers\n" + "".join(f"192.0.{n // 250}.{n % 250}:8333\n" for n in range(2000)) + "???\n")
    return file


def test_peer_file(conforms, peer_file):
    conforms("discovery", "peer-file", {"path": str(peer_file)}, finds=1000)


def test_file(conforms, peer_file):
    conforms("discovery", "file", {"path": str(peer_file)}, finds=1000)


def test_http_where_nobody_answers(conforms):
    conforms("discovery", "http", {"url": "http://192.0.2.1/peers", "key": "01" * 32})


def test_peer_file_that_is_not_there(conforms, tmp_path):
    conforms("discovery", "peer-file", {"path": str(tmp_path / "none.txt")})


@implementer(IRendezvous)
class Meeting:
    """A place to meet that answers after a second, and tells of more than it was asked for."""

    def __init__(self, context):
        self.context = context

    def later(self, answer):
        deferred = Deferred(lambda _: call.cancel())
        call = self.context.reactor.callLater(1.0, deferred.callback, answer)
        return deferred

    def announce(self, topic, port):
        return self.later(8)

    def find(self, topic, limit):
        return self.later([PeerAddress(f"192.0.2.{n}", 8333) for n in range(1, 250)])

    def withdraw(self, topic):
        pass

    def lifetime(self):
        return 1800.0


def meeting(context):
    return {IRendezvous: Meeting(context)}


def test_mdns(conforms):
    conforms("discovery", "mdns", listens=True)


def test_dht(conforms):
    conforms("discovery", "dht", {"network": "mainline", "topic": "my-app"}, finds=200, services=meeting)


@implementer(IPeerExchange)
class Exchange:
    """Peers that take a second to answer, and tell of as many as are wanted of each."""

    def __init__(self, context):
        self.context = context

    def hand_over(self):
        pass

    def ask(self, limit, peers):
        told = [FoundAddress(PeerAddress(f"192.0.{n // 250}.{n % 250}", 8333)) for n in range(1000)]
        deferred = Deferred(lambda _: call.cancel())
        call = self.context.reactor.callLater(1.0, deferred.callback, {PeerAddress("192.0.2.1", 8333): told[:limit]})
        return deferred

    def tell(self, addresses, peers):
        return min(len(addresses), peers)


def test_peer_exchange(conforms):
    services = lambda context: {IPeerExchange: Exchange(context)}  # noqa: E731
    conforms("discovery", "peer-exchange", finds=1000, services=services)


def test_the_simulators_own_of_a_scenarios_graph():
    peers = tuple(FoundAddress(PeerAddress(f"198.51.100.{n}", 18444)) for n in range(8))
    check(GraphDiscovery, GraphPeersConfig(peers=peers), finds=8)


@plugin("rumour")
@implementer(IDiscovery)
class Rumour:
    """Looks two names up, tells a tracker by UDP where we are, and is otherwise good."""

    name = "rumour"
    manual = False

    def __init__(self, config, context):
        self.config = config
        self.context = context
        self.port = None
        self.loop = None

    def due(self, state):
        return state.last_run is None or state.last_run > 60

    def find(self, limit):
        return self.context.work(sorted, HOSTS).addCallback(self.taken, limit)

    def taken(self, hosts, limit):
        return [FoundAddress(PeerAddress.of(host, 8333)) for host in hosts[:limit]]

    def announce(self, addresses):
        self.port = self.context.reactor.listenUDP(0, DatagramProtocol())
        self.loop = self.context.reactor.callLater(60, lambda: None)
        return succeed(None)

    def withdraw(self):
        if self.port is not None:
            self.port.stopListening()
            self.loop.cancel()
            self.port = None
        return succeed(None)


HOSTS = [f"198.51.100.{n}" for n in range(50)]


def test_a_good_one_that_opens_and_closes():
    check(Rumour, finds=50)


def wrong(**members):
    members = {"__doc__": "Does one thing wrong.", "__module__": __name__, "name": "wrong", **members}
    return plugin("wrong")(type("Wrong", (Rumour,), members))


def found(*addresses, **fields):
    return lambda self, limit: succeed([FoundAddress(address, **fields) for address in addresses][:limit])


def dials_what_it_finds(self, limit):
    self.context.reactor.connectTCP(HOSTS[0], 8333, ClientFactory())
    return Rumour.find(self, limit)


def forgets_its_timer(self, limit):
    self.context.reactor.callLater(5, lambda: None)
    return Rumour.find(self, limit)


def can_not_be_cancelled(self, limit):
    result = Deferred(lambda deferred: deferred.pause())
    Rumour.find(self, limit).addCallback(result.callback)
    return result


def goes_on_after_it_was_cancelled(self, limit):
    waiting = Deferred()
    self.context.reactor.callLater(500, lambda: waiting.called or waiting.callback([]))
    return waiting


def raises_at_once(self, limit):
    with open("/does/not/exist") as file:
        return succeed(self.taken(file.readlines(), limit))


def hears_another_order_each_time(self, limit):
    Rumour.runs = getattr(Rumour, "runs", 0) + 1
    return succeed(self.taken(HOSTS[Rumour.runs % 7 :], limit))


def withdraws_what_was_announced(self):
    self.port.stopListening()
    self.loop.cancel()
    return succeed(None)


def withdraws_late(self):
    result = Deferred()
    Rumour.withdraw(self).addCallback(lambda _: self.context.reactor.callLater(30, result.callback, None))
    return result


GOOD = PeerAddress("192.0.2.1", 1)
WRONG = [
    (wrong(manual=None), "IDiscovery.manual", "manual is None"),
    (wrong(due=lambda self, state: 1 / state.uptime), "IDiscovery.due", "ZeroDivisionError"),
    (wrong(due=lambda self, state: state.last_run > 60), "IDiscovery.due", "TypeError"),
    (wrong(due=lambda self, state: None), "IDiscovery.due", "it answers None"),
    (wrong(due=lambda self, state: False), "IDiscovery.due", "not due within ten minutes"),
    (wrong(find=lambda self, limit: []), "IDiscovery.find", "it answers []"),
    (wrong(find=lambda self, limit: Rumour.find(self, 10**6)), "IDiscovery.find", "at most 1 and found 50"),
    (wrong(find=lambda self, limit: succeed(None)), "IDiscovery.find", "it finds None"),
    (wrong(find=lambda self, limit: succeed([GOOD])), "IDiscovery.find", "it found PeerAddress"),
    (wrong(find=found(PeerAddress("::ffff:192.0.2.1", 1))), "IDiscovery.find", "normalised"),
    (wrong(find=found(GOOD, last_seen=float("inf"))), "IDiscovery.find", "last seen at inf"),
    (wrong(find=found(GOOD, services=-1)), "IDiscovery.find", "services"),
    (wrong(find=dials_what_it_finds), "IDiscovery:", "Opens no session"),
    (wrong(find=forgets_its_timer), "IDiscovery.find", "Cancelled at stop"),
    (wrong(find=can_not_be_cancelled), "IDiscovery.find", "was cancelled and has not fired"),
    (wrong(find=goes_on_after_it_was_cancelled), "IDiscovery.find", "there is a delayed call"),
    (wrong(find=raises_at_once), "IDiscovery.find", "FileNotFoundError"),
    (wrong(find=hears_another_order_each_time), "what it finds", "two instances in equal worlds"),
    (wrong(announce=lambda self, addresses: addresses[0] and succeed(None)), "IDiscovery.announce", "IndexError"),
    (wrong(announce=lambda self, addresses: None), "IDiscovery.announce", "it answers None"),
    (wrong(announce=lambda self, addresses: fail(OSError("no way"))), "IDiscovery.announce", "no way"),
    (wrong(withdraw=lambda self: succeed(None)), "IDiscovery.withdraw", "UDP port"),
    (wrong(withdraw=withdraws_what_was_announced), "IDiscovery.withdraw", "AttributeError"),
    (wrong(withdraw=withdraws_late), "IDiscovery.withdraw", "has not fired within 5 s"),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)


def test_one_that_finds_less_than_there_is_or_other_names_than_it_was_told():
    with pytest.raises(NonConformance, match="of at least 60 addresses that there are it found 50"):
        check(Rumour, finds=60)
    with pytest.raises(NonConformance, match="it found 2"):
        check(DnsSeedDiscovery, {"seeds": ["a.example"]}, names={"a.example": ["192.0.2.1", "192.0.2.2"]}, finds=3)
