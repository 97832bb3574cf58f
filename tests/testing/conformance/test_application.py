"""The suite of applications: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import ConfigError
from p2pframe.interfaces import IAddressBook, IApplication, IItems, INetworkProtocol, INodeView, IWorkload
from p2pframe.model import ACCEPTED
from p2pframe.plugin import plugin
from p2pframe.protocols.bitcoin.api import CHAINS, IBitcoin, Template, Tip, hash256
from p2pframe.protocols.mainline.api import IMainline, Peers
from p2pframe.testing.conformance import NonConformance, check

NODE = """
version: 1
node: {data_dir: ./data, watchdog: 0}
storage: {plugin: memory}
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
    discovery: [{plugin: static, peers: ["192.0.2.2:18444"]}]
"""


@implementer(IBitcoin)
class Chain:
    """A network of blocks that takes every one."""

    def __init__(self, name):
        self.chain = CHAINS[name]
        self.best = bytes(32)
        self.height = 0

    def tip(self):
        return Tip(self.best, self.height)

    best_header = tip

    def template(self):
        return Template(self.best, self.height + 1, self.chain.pow_limit_bits, 1_700_000_000, [])

    def submit_block(self, raw):
        self.best, self.height = hash256(raw[:80]), self.height + 1
        return succeed(ACCEPTED)

    submit_transaction = header = block = on_tip = None


def regtest(context):
    return {IBitcoin: Chain("regtest")}


def mainnet(context):
    return {IBitcoin: Chain("mainnet")}


def test_peer_log(conforms):
    conforms("application", "peer-log", {"events": ["session.opened", "peer.judged", "peer.banned", "never.heard-of"]})


def test_peer_log_in_a_node(conforms):
    conforms("application", "peer-log", node=NODE)


def test_miner(conforms):
    conforms("application", "miner", services=regtest, node=NODE)


def test_miner_where_there_is_nothing_to_mine(conforms):
    conforms("application", "miner", services=mainnet, fails=True)


def test_bitcoin_workload(conforms):
    conforms("application", "bitcoin-workload", services=regtest, node=NODE)
    conforms("application", "bitcoin-workload", services=mainnet, fails=True)


@implementer(IMainline)
class Quiet:
    """A DHT that is ready, and in which there is nothing."""

    ready = True

    def when_ready(self):
        return succeed(None)

    def get_peers(self, info_hash, limit=1000):
        return succeed(Peers((), 0, 0, 0, 0.0, True, ()))

    def announce_peer(self, info_hash, port, seed=False):
        return succeed(0)

    find_nodes = scrape = get_immutable = get_mutable = put_immutable = put_mutable = forget = sample = None


def test_dht_workload(conforms):
    node = NODE.replace("protocol: {plugin: bitcoin, chain: regtest}", "protocol: {plugin: mainline, public: false}")
    node = node.replace('{plugin: tcp, listen: ["0.0.0.0:18444"]}', '{plugin: udp, listen: "0.0.0.0:6881"}')
    config = {"look_up_after": "1s", "look_up_every": "5s"}
    conforms("application", "dht-workload", config, services=lambda context: {IMainline: Quiet()}, node=node)


class Town:
    """A network's book and protocol with nobody in it."""

    default_port = 18444
    size = 0

    def sample(self, maximum, percent=100):
        return []

    add = None


def town(context):
    return {IAddressBook: Town(), INetworkProtocol: Town()}


def test_crawler(conforms):
    conforms("application", "crawler", {"network": "bitcoin"}, services=town, node=NODE)


def test_admin(conforms):
    conforms("application", "admin", {"listen": "127.0.0.1:8600"})


def test_tip_watch(conforms):
    conforms("application", "tip-watch")


def test_dns_seed_server(conforms):
    config = {
        "network": "bitcoin", "zone": "seed.example", "nameserver": "ns.example", "contact": "me@example",
        "listen": ["0.0.0.0:53"],
    }  # fmt: skip
    conforms("application", "dns-seed-server", config, services=town, node=NODE)


@plugin("clockwork")
@implementer(IApplication)
class Clockwork:
    """Counts events and minutes, and is otherwise good."""

    name = "clockwork"

    def __init__(self, config, context):
        self.context = context
        self.view = context.service(INodeView)
        self.seen = context.metrics.counter("clockwork_seen_total", "Events seen.")
        self.unsubscribe = lambda: None
        self.loop = LoopingCall(self.tick)
        self.loop.clock = context.reactor

    def start(self):
        self.unsubscribe = self.view.subscribe(self.happened)
        self.loop.start(10.0)

    def stop(self):
        self.unsubscribe()
        self.loop.stop()

    def happened(self, event):
        self.seen.add()

    def tick(self):
        self.seen.add(0)


def test_a_good_one():
    check(Clockwork, node=NODE, hash_seeds=True)


def wrong(base=Clockwork, **members):
    members = {"__doc__": "Does one thing wrong.", "__module__": __name__, "name": "wrong", **members}
    return plugin("wrong")(type("Wrong", (base,), members))


def asks_late(self):
    self.items = self.context.service(IItems)
    Clockwork.start(self)


def takes_its_time(self):
    Clockwork.stop(self)
    done = Deferred()
    self.context.reactor.callLater(60, done.callback, None)
    return done


def keeps_a_timer(self):
    self.unsubscribe()


def keeps_listening(self):
    self.loop.stop()


def keeps_a_port(self):
    Clockwork.start(self)
    self.context.reactor.listenTCP(8080, Factory())


def takes_an_address_for_granted(self, event):
    assert event.address.host


def begins(running=[]):  # noqa: B006 - meant: what the class keeps over the lives of its instances
    def start(self):
        if running:
            raise RuntimeError("it runs already")
        running.append(self)
        Clockwork.start(self)

    return start


def draws_outside(self):
    self.seen.add(next(NUMBERS))


def answers_by_hash(self, event):
    self.seen.add(len(repr({event.kind, event.network})[:20].split("'")[1]))


def fails_in_a_node(self):
    if self.context.network or not isinstance(self.context.reactor, Clock):
        raise ConnectionError("no such place")
    Clockwork.start(self)


def logs_a_failure(self):
    Clockwork.start(self)
    self.context.log.failure("that went wrong", Failure(ValueError("oops")))


NUMBERS = iter(range(10**6))
WRONG = [
    (wrong(name="other"), "IApplication.name", "The plugin's name"),
    (wrong(start=lambda self: 1 / 0), "IApplication.start", "ZeroDivisionError"),
    (wrong(start=lambda self: fail(OSError("no way"))), "IApplication.start", "no way"),
    (wrong(start=lambda self: True), "IApplication.start", "it answers True"),
    (wrong(start=lambda self: Deferred()), "IApplication.start", "has not fired after 60"),
    (wrong(start=asks_late), "IApplication:", "after that it asked for IItems"),
    (wrong(start=begins()), "IApplication.start", "it runs already"),
    (wrong(start=keeps_a_port), "IApplication.stop", "a TCP port"),
    (wrong(start=fails_in_a_node), "IApplication.start", "no such place"),
    (wrong(happened=takes_an_address_for_granted), "INodeView.subscribe", "AttributeError"),
    (wrong(stop=lambda self: 1 / 0), "IApplication.stop", "ZeroDivisionError"),
    (wrong(stop=takes_its_time), "IApplication.stop", "has not fired after 10"),
    (wrong(stop=keeps_a_timer), "IApplication.stop", "a delayed call"),
    (wrong(stop=keeps_listening), "IApplication.stop", "subscriptions to events"),
    (wrong(tick=draws_outside), "what it does", "do the same"),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls, node=NODE)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)


def test_what_it_logs_as_a_failure_is_told(flush_logged_errors):
    with pytest.raises(NonConformance, match="oops"):
        check(wrong(start=logs_a_failure))
    assert flush_logged_errors(ValueError)


def starts_a_timer_and_fails(self):
    self.loop.start(1.0)
    raise ValueError("not here")


def test_a_start_that_fails_must_leave_nothing():
    with pytest.raises(NonConformance, match="it was to fail in this world and did not"):
        check(Clockwork, fails=True)
    with pytest.raises(NonConformance, match="nobody will stop it"):
        check(wrong(start=starts_a_timer_and_fails), fails=True)


def produces(answer):
    members = {"produce": answer, "topics": ("tx",)}
    return implementer(IWorkload)(wrong(**members))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda self, topic, size: succeed(None), "it fires with None"),
        (lambda self, topic, size: fail(OSError("nothing to make it of")), "nothing to make it of"),
        (lambda self, topic, size: Deferred(), "nothing came of it"),
    ],
)
def test_a_workload_that_makes_nothing(answer, sentence):
    with pytest.raises(NonConformance) as caught:
        check(produces(answer), node=NODE)
    assert "breaks IWorkload.produce" in str(caught.value)
    assert sentence in str(caught.value)


@plugin("by-hash")
@implementer(IApplication)
class ByHash(Clockwork):
    """Counts by the order of a set."""

    name = "by-hash"
    happened = answers_by_hash


def test_the_order_of_a_set_is_seen_under_two_hash_seeds():
    with pytest.raises(NonConformance, match="is a set iterated"):
        check(ByHash, hash_seeds=True)


def test_mistakes_in_the_nodes_config_are_the_callers():
    with pytest.raises(ConfigError, match=r"node\.yaml:3"):
        check(Clockwork, node="version: 1\nnode: {}\nnetwork: {}\n")
