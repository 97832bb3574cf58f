"""The workload of the DHT: what it asks for, when, and what it tells of how that went."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.applications.dht_workload import DhtWorkload, DhtWorkloadConfig
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import IApplication, IReconfigurable
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.api import IMainline, Peers, Put, StoredItem, infohash
from p2pframe.protocols.mainline.signed_items import immutable_target
from p2pframe.testing.context import FakeContext
from p2pframe.testing.simulation import NodeSimulation

PEER = PeerAddress("192.0.2.1", 6881)


def search(*peers, hops=3):
    return Peers((), hops, 20, 2, 0.25, True, peers)


@implementer(IMainline)
class Asked:
    """A DHT that notes when it is asked for what, and answers what the test says."""

    def __init__(self, context):
        self.asked = []
        self.now = context.reactor.seconds
        self.awaited = Deferred()
        self.peers = lambda: succeed(search(PEER))
        self.item = lambda: succeed(StoredItem(b"x"))
        self.stored = lambda: succeed(8)

    ready = True

    def when_ready(self):
        return self.awaited

    def get_peers(self, info_hash, limit=1000):
        self.asked.append((self.now(), "peers", info_hash))
        return self.peers()

    def announce_peer(self, info_hash, port, seed=False):
        self.asked.append((self.now(), "announce", info_hash))
        return self.stored()

    def get_immutable(self, target):
        self.asked.append((self.now(), "get", target))
        return self.item()

    def put_immutable(self, value, keep=False):
        self.asked.append((self.now(), "put", immutable_target(b"%d:%s" % (len(value), value))))
        return self.stored().addCallback(lambda stored: Put(b"", 0, stored))

    find_nodes = scrape = get_mutable = put_mutable = forget = sample = None

    def times(self, kind):
        return [time for time, what, _ in self.asked if what == kind]

    def targets(self, kind):
        return [target for _, what, target in self.asked if what == kind]


def works(seed=0, **options):
    context = FakeContext("application.dht-workload", seed=seed)
    dht = Asked(context)
    context.provide(IMainline, dht)
    return DhtWorkload(DhtWorkloadConfig(**options), context), dht, context


def pass_time(context, seconds):
    for _ in range(int(seconds)):
        context.reactor.advance(1)


@pytest.fixture
def told():
    """The lookups that are logged, as their fields."""
    found = []

    def observe(event):
        if "lookup" in event:
            found.append(event)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_it_is_an_application():
    made, _, _ = works()
    for seam in (IApplication, IReconfigurable):
        verifyClass(seam, DhtWorkload)
        verifyObject(seam, made)


def test_nothing_is_asked_before_the_dht_is_ready_and_then_at_the_times_of_the_config():
    made, dht, context = works(announce=2, announce_after="10s", announce_every="100s", look_up_after="1min",
                               look_up_every="10s")  # fmt: skip
    made.start()
    pass_time(context, 1000)
    assert dht.asked == []
    dht.awaited.callback(None)
    pass_time(context, 10_000)
    announced = [time - 1000 for time in dht.times("announce")]
    assert 8 <= announced[0] <= 13 and announced[0] == announced[1]
    waits = [after - before for before, after in zip(announced[::2], announced[2::2], strict=False)]
    assert 79 <= min(waits) < 90 and 110 < max(waits) <= 121
    looked = dht.times("peers")
    assert looked[0] > 1060
    # One in ten seconds, in 9940 of them: with a standard deviation of 32.
    assert 870 < len(looked) < 1120
    made.stop()


def test_others_topics_are_looked_up_and_our_own_are_announced():
    made, dht, context = works(topics=5, prefix="t", announce=2, look_up_every="5s")
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 2000)
    made.stop()
    own, others = set(dht.targets("announce")), set(dht.targets("peers"))
    assert (len(own), len(others)) == (2, 3)
    assert own | others == {infohash(f"t{number}") for number in range(5)}


def test_a_node_that_has_every_topic_looks_its_own_up():
    made, dht, context = works(topics=1, announce=1, look_up_every="5s")
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 200)
    made.stop()
    assert set(dht.targets("peers")) == set(dht.targets("announce")) == {infohash("workload-0")}


def test_items_are_got_by_the_targets_that_they_are_put_at(told):
    made, dht, context = works(items=3, put=1, get_every="5s", announce=0)
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 1000)
    dht.item = lambda: succeed(None)
    pass_time(context, 1000)
    made.stop()
    every = {immutable_target(b"10:workload-%d" % number) for number in range(3)}
    assert set(dht.targets("put")) | set(dht.targets("get")) == every
    assert len(set(dht.targets("put"))) == 1
    assert {(one["lookup"], one["found"], one["hops"]) for one in told} == {("item", True, None), ("item", False, None)}
    assert context.metrics.value("dht_workload_stores_total", "item", "stored") >= 2


def test_each_lookup_is_told_with_its_fields(told):
    made, dht, context = works(look_up_every="5s")
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 100)
    dht.peers = lambda: succeed(search(hops=5))
    pass_time(context, 100)
    dht.peers = lambda: fail(P2PFrameError("nobody to ask"))
    pass_time(context, 100)
    made.stop()
    fields = [tuple(one[name] for name in ("found", "seconds", "hops", "queries", "lost")) for one in told]
    assert list(dict.fromkeys(fields)) == [
        (True, 0.25, 3, 20, 2),
        (False, 0.25, 5, 20, 2),
        (False, 0, None, None, None),
    ]
    assert sum(context.metrics.value("dht_workload_lookups_total", "peers", how)
               for how in ("found", "not found", "failed")) == len(told)  # fmt: skip


def test_stores_that_failed_are_counted_and_tried_again():
    made, dht, context = works(items=1, announce_every="50s")
    dht.awaited.callback(None)
    dht.stored = lambda: fail(P2PFrameError("nobody to ask"))
    made.start()
    pass_time(context, 40)
    dht.stored = lambda: succeed(0)
    pass_time(context, 50)
    made.stop()
    for kind in ("announcement", "item"):
        for outcome in ("failed", "nobody took it"):
            assert context.metrics.value("dht_workload_stores_total", kind, outcome) == 1


def test_only_so_many_are_under_way_and_none_is_told_of_after_the_stop(told):
    made, dht, context = works(look_up_every="1s", at_once=3)
    cancelled = []
    dht.peers = lambda: Deferred(lambda one: (cancelled.append(one), one.callback(search())))
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 300)
    assert len(dht.targets("peers")) == 3
    assert context.metrics.value("dht_workload_lookups_total", "peers", "left out") > 100
    made.stop()
    assert len(cancelled) == 3 and told == []
    assert context.reactor.getDelayedCalls() == []


def test_what_a_stop_cancels_is_no_failure_however_it_comes_back(flush_logged_errors):
    made, dht, context = works(items=1)
    dht.stored = lambda: gatherResults([Deferred()], consumeErrors=True).addCallback(sum)
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 100)
    assert dht.targets("announce") and dht.targets("put")
    made.stop()
    assert flush_logged_errors() == []


def test_any_other_failure_is_logged(flush_logged_errors):
    made, dht, context = works(announce_every="1h")
    dht.stored = lambda: fail(ArithmeticError("a bug"))
    dht.awaited.callback(None)
    made.start()
    pass_time(context, 100)
    made.stop()
    assert len(flush_logged_errors(ArithmeticError)) == 1


def test_a_stop_before_the_dht_is_ready():
    made, dht, context = works()
    made.start()
    made.stop()
    assert dht.awaited.called and context.reactor.getDelayedCalls() == []


def test_new_options_hold_from_the_next_time_on():
    made, dht, context = works(look_up_every="1h", look_up_after="0s")
    dht.awaited.callback(None)
    made.start()
    made.reconfigure(DhtWorkloadConfig(look_up_every="1s"))
    pass_time(context, 40_000)
    made.stop()
    assert len(dht.targets("peers")) > 1000


NODE = """
version: 1
storage: {{plugin: memory}}
applications:
  - {{plugin: dht-workload, network: mainline, topics: 3, announce_after: 5s, look_up_after: 40s, look_up_every: 10s,
      items: 3, get_every: 10s}}
networks:
  mainline:
    protocol: {{plugin: mainline, public: false, upkeep: 2s}}
    transports: [{{plugin: udp, listen: "0.0.0.0:6881"}}]
    discovery: [{{plugin: static, peers: ["10.0.0.{other}:6881"]}}]
"""


def test_whole_nodes_find_one_another(told, tmp_path):
    net = NodeSimulation(tmp_path, seed=2)
    for number in range(1, 11):
        net.start(NODE.format(other=number % 10 + 1), f"10.0.0.{number}")
    net.run(300)
    net.stop()
    found = {kind: [one["found"] for one in told if one["lookup"] == kind] for kind in ("peers", "item")}
    assert all(len(outcomes) > 100 for outcomes in found.values())
    # Ten nodes drew three topics: nobody drew none of them.
    assert all(found["peers"]) and all(found["item"])
    assert all(one["hops"] >= 1 and one["queries"] >= 1 for one in told if one["lookup"] == "peers")
    assert net.complaints() == []
