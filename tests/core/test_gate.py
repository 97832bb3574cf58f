"""The gate: who is let in and how fast, and that being refused a million times is cheap for us."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, textFileLogObserver

from p2pframe.config.settings import Limits, NodeSettings
from p2pframe.core.bans import BanList
from p2pframe.core.events import Events
from p2pframe.core.gate import Gate, Refusals
from p2pframe.core.limits import BucketTable, Budget, Rates, TokenBucket
from p2pframe.core.metrics import NodeMetrics
from p2pframe.model import Action, PeerAddress
from tests.work import Work


class World:
    def __init__(self, limits=None, **settings):
        self.metrics = NodeMetrics()
        view = self.metrics.view("net", "core")
        self.unix = 1_000_000.0
        self.text = io.StringIO()
        self.events = Events(1000, lambda: self.unix, view)
        self.bans = BanList(NodeSettings(**settings), lambda: self.unix, view)
        log = Logger(observer=textFileLogObserver(self.text))
        self.refusals = Refusals("net", view, self.events, log)
        self.inbound = (0, 114)
        self.gate = Gate("net", limits or Limits(), self.bans, view, self.refusals, lambda: self.inbound)

    def count(self, name, *labels):
        return self.metrics.snapshot()["p2pframe_" + name].get(("net", *labels), 0)


class Nobody:
    def awaited(self, data, source):
        return False


NOBODY = Nobody()


def peer(text="192.0.2.1", port=8333):
    return PeerAddress.of(text, port)


def test_a_bucket_gives_its_burst_then_its_rate():
    bucket = TokenBucket(2.0, 10.0)
    assert sum(bucket.take(1, 100.0) for _ in range(50)) == 10
    assert bucket.wait(1, 100.0) == pytest.approx(0.5)
    assert not bucket.take(1, 100.4)
    assert bucket.take(1, 100.5)
    assert not bucket.take(1, 100.5)
    assert bucket.wait(11, 200.0) == float("inf")


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 5)), max_size=60))
def test_a_bucket_never_gives_more_than_burst_and_rate_allow(steps):
    bucket, now, taken = TokenBucket(3.0, 7.0), 50.0, 0.0
    for pause, amount in steps:
        now += pause
        if bucket.take(amount, now):
            taken += amount
        assert taken <= 7.0 + 3.0 * (now - 50.0) + 1e-6
        assert -1e-6 <= bucket.level(now) <= 7.0


def test_a_table_of_buckets_forgets_the_one_used_least_recently_and_counts_it():
    forgotten = NodeMetrics().view("net", "core").counter("forgotten", "Forgotten.")
    table = BucketTable(1.0, 1.0, 3, forgotten)
    for key in "abc":
        assert table.take(key, 1, 0.0)
    assert not table.take("a", 1, 0.0)
    assert table.take("d", 1, 0.0)
    assert list(table) == ["c", "a", "d"]
    assert forgotten.values[()] == 1
    for number in range(10_000):
        table.take(str(number), 1, 100.0)
    assert len(table) == 3


def test_a_budget_stops_a_flood_of_messages_and_of_bytes_and_recovers():
    rates = Rates(10, 20, 1000, 5000)
    budget = Budget(rates)
    assert [budget.charge(1, 0.0) for _ in range(25)].index(False) == 20
    assert budget.ready_in(0.0) == pytest.approx(0.5 + 0.25)
    assert budget.ready_in(0.75) == 0.0
    assert budget.charge(1, 0.75)
    big = Budget(rates)
    assert not big.charge(8000, 0.0)
    assert big.ready_in(0.0) == pytest.approx(3.25)
    rates.configure(10, 20, 100_000, 50_000)
    assert Budget(rates).charge(8000, 0.0)


def test_a_budget_is_cheap_on_the_hot_path():
    budget = Budget(Rates(1e6, 1e6, 1e9, 1e9))
    with Work(20):
        budget.charge(100, 5.0)


def test_accepts_are_limited_for_one_netgroup_before_all():
    world = World(Limits(handshakes=10_000))
    verdicts = [world.gate.accept(peer(f"10.1.0.{n % 250}"), 100.0) for n in range(500)]
    assert sum(map(bool, verdicts)) == 32
    assert verdicts[-1].reason == "netgroup-rate"
    # The flood of one group has left the others their share.
    others = [world.gate.accept(peer(f"10.{n}.0.1"), 100.0) for n in range(2, 250)]
    assert sum(map(bool, others)) == 200 - 32
    assert others[-1].reason == "accept-rate"
    assert world.count("refusals_total", "netgroup-rate") == 468


def test_only_so_many_handshakes_at_once():
    world = World(Limits(handshakes=2))
    assert world.gate.accept(peer("10.1.0.1"), 0.0)
    assert world.gate.accept(peer("10.2.0.1"), 0.0)
    assert world.gate.accept(peer("10.3.0.1"), 0.0).reason == "handshakes"
    world.gate.handshake_over()
    assert world.gate.accept(peer("10.3.0.1"), 0.0)
    assert world.count("inbound_handshakes") == 2


def test_the_banned_are_refused_both_ways_with_the_evidence():
    world = World()
    world.bans.ban("192.0.2.0/24", "net", 60.0, "operator", "spam", "seen it")
    verdict = world.gate.accept(peer(), 0.0)
    assert (verdict.action, verdict.rule, verdict.reason) == (Action.DISCONNECT, "gate.ban", "banned")
    assert "192.0.2.0/24 in net by operator: spam (seen it)" in verdict.evidence
    assert not world.gate.dial(peer())
    assert not world.gate.datagram(peer(), 0.0, b"", NOBODY)
    world.unix += 61
    assert world.gate.accept(peer(), 0.0)
    assert world.gate.dial(peer())


def test_the_discouraged_may_come_in_until_the_slots_are_nearly_full():
    world = World()
    world.bans.discourage(peer(), "net", "scoring.behaviour", "bad-headers")
    assert world.gate.accept(peer(), 0.0)
    assert not world.gate.dial(peer())
    world.inbound = (112, 114)
    assert world.gate.accept(peer(), 0.0)
    world.inbound = (113, 114)
    assert world.gate.accept(peer(), 0.0).reason == "discouraged"
    assert world.gate.accept(peer("192.0.2.2"), 0.0)


def test_datagrams_of_one_netgroup_are_limited_dropped_and_counted():
    world = World(Limits(netgroup_datagrams_per_second=10, netgroup_datagrams_burst=20, datagrams_burst=25))
    assert sum(world.gate.datagram(peer(), 0.0, b"", NOBODY) for _ in range(100)) == 20
    assert sum(world.gate.datagram(peer("10.0.0.1"), 0.0, b"", NOBODY) for _ in range(100)) == 5
    assert world.count("datagrams_dropped_total", "netgroup-rate") == 80 + 80
    assert world.count("datagrams_dropped_total", "rate") == 15


def test_live_limits_reach_what_is_there():
    world = World(Limits(accepts_burst=1, netgroup_accepts_burst=100))
    budget = world.gate.budget(0.0)
    assert world.gate.accept(peer(), 0.0)
    assert not world.gate.accept(peer(), 0.0)
    world.gate.reconfigure(
        Limits(accepts_burst=100, netgroup_accepts_burst=100, messages_burst=1, messages_per_second=1)
    )
    assert world.gate.accept(peer(), 0.0)
    assert budget.charge(10, 0.0)
    assert not budget.charge(10, 0.0)


def test_a_million_refusals_are_a_few_lines_of_log_that_say_how_many():
    world = World(Limits(handshakes=1_000_000))
    addresses = [peer(f"10.1.{n // 250}.{n % 250}") for n in range(1000)]
    now = 0.0
    accept = world.gate.accept
    for number in range(1_000_000):
        accept(addresses[number % 1000], now)
        now += 0.001
    world.refusals.flush(now, everything=True)
    text = world.text.getvalue()
    assert len(text) < 10_000
    refused = world.refusals.totals["netgroup-rate"]
    assert refused > 900_000
    assert (
        sum(int(line.split("lines suppressed: ")[1]) for line in text.splitlines() if "suppressed" in line)
        == refused - 1
    )
    assert len(world.events) < 100
    assert sum(event.fields.get("count", 1) for event in world.events.since()) == refused


def test_reasons_that_a_plugin_makes_up_are_bounded():
    from p2pframe.model import Verdict

    world = World()
    for number in range(1000):
        world.refusals.note(Verdict(Action.DISCONNECT, "authentication.x", f"reason-{number}"), peer(), 0.0)
    assert len(world.refusals.totals) <= 65
    assert sum(world.refusals.totals.values()) == 1000
