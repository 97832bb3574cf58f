"""Each alert: the world that raises it, and one next to it that does not."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from p2pframe.admin.alerts import LOOK, PAST, Alerts
from p2pframe.admin.bursts import LEARN, LEAST, WINDOW, Baseline
from p2pframe.admin.quiet import LEAST as LEAST_SILENCE
from p2pframe.admin.quiet import Silence
from p2pframe.admin.slices import SLICE
from p2pframe.interfaces import Alert
from p2pframe.interfaces.node import DiscoveryStatus, NetworkView, SourceHolds
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot
from p2pframe.testing.context import FakeContext
from tests.admin.web import next_turn


class World:
    """A node's view that a test makes up: well, as long as nothing is changed."""

    def __init__(self):
        self.uptime = 1000.0
        self.lag = 0.0
        self.free, self.floor = 50e9, 200e6
        self.let_in = {"net": 0}
        self.refused = self.refused_later = 0
        self.items = 0
        self.up = True
        self.slots = {Slot.OUTBOUND: (8, 8)}
        self.book = {"new": 500, "tried": 100}
        self.discovery = {"dns-seed": DiscoveryStatus(600, 600, 0, "", 0.0)}
        self.sources = {"dns-seed": SourceHolds(300, 50), "peers of a": SourceHolds(300, 50)}
        self.plugins = []
        self.held = [session(n, f"group {n}") for n in range(8)]

    def networks(self):
        slots = {
            slot: (sum(one.slot is slot for one in self.held), allowed) for slot, (_, allowed) in self.slots.items()
        }
        view = NetworkView("net", "bitcoin", (), slots, self.book, {}, {}, self.discovery, self.sources)
        return [view] if self.up else []

    def each_session(self, network):
        return iter(self.held)

    def numbers(self):
        return {
            "p2pframe_reactor_lag_seconds": {("",): self.lag},
            "p2pframe_storage_free_bytes": {("",): self.free},
            "p2pframe_storage_floor_bytes": {("",): self.floor},
            "p2pframe_inbound_accepted_total": {(name,): count for name, count in self.let_in.items()},
            "p2pframe_refusals_total": {("net", "rate"): self.refused, ("other", "rate"): 10 * self.refused},
            "p2pframe_items_total": {
                ("net", "chat", "accept"): self.items, ("net", "chat", "known"): 5 * self.clock.seconds(),
                ("other", "chat", "accept"): self.clock.seconds(),
            },
            "p2pframe_sessions_refused_total": {("net", "version"): self.refused_later},
        }

    def providers(self, interface):
        return self.plugins

    def alerts(self):
        """Of this node, which has been up for `uptime`; the clock stands at 10,000 s."""
        self.clock = Clock()
        self.clock.advance(10_000.0 - self.uptime)
        self.context = FakeContext("application.admin", reactor=self.clock)
        alerts = Alerts(self, self.context)
        self.clock.advance(self.uptime)
        return alerts

    def names(self):
        alerts = self.alerts()
        alerts.look()
        return [alert.name for alert in alerts.now()]


def session(number, group, slot=Slot.OUTBOUND, **more):
    address = PeerAddress(f"192.0.2.{number}", 8333)
    return SessionSnapshot(
        SessionId(number), "net", address, group, slot, "open", "tcp", more.pop("started", 100.0), 100.0,
        slot is Slot.INBOUND, **more,
    )  # fmt: skip


def test_a_node_that_is_well_has_none():
    world = World()
    assert world.names() == []
    assert world.alerts().reasons() == []


def nothing_up(world):
    world.up = False


def lonely(world):
    world.held = []


def lagging(world):
    world.lag = 0.7


def knows_nobody(world):
    world.book = {"new": 0, "tried": 0}
    world.sources = {}
    world.discovery = {"dns-seed": DiscoveryStatus(0, 0, 3, "nobody answers", 60.0)}


def one_group(world):
    world.held = [session(n, "same" if n < 5 else f"group {n}") for n in range(8)]


def one_source(world):
    world.sources = {"poison": SourceHolds(590, 10), "dns-seed": SourceHolds(10, 10)}


def full(world):
    world.free = 150e6


def nearly_full(world):
    world.free = 900e6


def spied_on(world):
    world.held += [session(20, "x", Slot.INBOUND, bytes_out=5_000_000, bytes_in=10_000)]


@pytest.mark.parametrize(
    ("change", "name", "critical"),
    [
        (nothing_up, "no-network", True),
        (lonely, "no-peers", True),
        (knows_nobody, "no-addresses", True),
        (lagging, "reactor-lag", False),
        (one_group, "eclipse-netgroup", False),
        (one_source, "eclipse-source", False),
        (spied_on, "spies", False),
        (full, "disk-full", True),
        (nearly_full, "disk-low", False),
    ],
)
def test_each_is_raised_and_says_what_to_do(change, name, critical):
    world = World()
    change(world)
    alerts = world.alerts()
    alerts.look()
    (alert,) = alerts.now()
    assert (alert.name, alert.critical) == (name, critical)
    assert alert.text.endswith(".") and alert.runbook.endswith((".", ")."))
    assert alerts.reasons() == ([alert.text] if critical else [])


def test_what_is_near_to_one_is_none():
    world = World()
    world.uptime, world.held = 30.0, []
    assert world.names() == [], "it is young"
    world = World()
    world.held, world.discovery, world.book, world.sources = [], {}, {"new": 0, "tried": 0}, {}
    assert world.names() == [], "it waits to be dialled"
    world = World()
    world.held = [session(n, "same") for n in range(3)]
    assert world.names() == [], "too few to judge"
    world = World()
    world.held = [session(n, "same" if n < 4 else f"group {n}") for n in range(8)]
    assert world.names() == [], "half is not most"
    world = World()
    world.book = {"new": 50}
    world.sources = {"dns-seed": SourceHolds(50, 0)}
    assert world.names() == [], "a young book"
    world = World()
    world.discovery["static"] = DiscoveryStatus(0, 0, 1, "no", 5.0)
    assert world.names() == [], "one of two fails"
    world = World()
    world.free = 1.1e9
    assert world.names() == [], "five times the floor"
    world = World()
    world.numbers = dict
    assert world.names() == [], "an engine that keeps nothing on a disk says nothing of it"
    for more in ({"accepted_items": 1}, {"started": 9_900.0}, {"bytes_in": 200_000}, {"slot": Slot.OUTBOUND}):
        world = World()
        spy = {"slot": Slot.INBOUND, "bytes_out": 5_000_000, "bytes_in": 10_000} | more
        world.held.append(session(20, "x", **spy))
        assert world.names() == [], more


def test_a_judgement_stands_for_a_second_whoever_asks():
    world, asked = World(), []
    world.networks = lambda: asked.append(1) or []
    alerts = world.alerts()
    for _ in range(100):
        alerts.reasons()
    assert len(asked) == 1
    world.clock.advance(1.5)
    alerts.reasons()
    assert len(asked) == 2


def test_sessions_are_looked_at_every_half_minute_whoever_asks():
    world, asked = World(), []
    each_session = world.each_session
    world.each_session = lambda network: asked.append(network) or each_session(network)
    alerts = world.alerts()
    alerts.start()
    one_group(world)
    for _ in range(29):
        alerts.now()
        world.clock.advance(1.0)
    assert asked == ["net"] and alerts.now() == []
    world.clock.advance(1.0)
    assert asked == ["net"] * 2
    assert [one.name for one in alerts.now()] == ["eclipse-netgroup"]
    world.up = False
    world.clock.advance(2.0)
    assert [one.name for one in alerts.now()] == ["no-network"], "of a network that is gone nothing is said"
    alerts.stop()


class ManySpies:
    """Sessions of a world, each of which takes a millisecond of the reactor to look at; some end meanwhile."""

    def __init__(self, world, count):
        self.world, self.looks = world, 0
        self.live = dict.fromkeys(range(count))
        world.each_session = self.each_session

    def each_session(self, network):
        self.looks += 1
        return (self.one(number) for number in list(self.live) if number in self.live)

    def one(self, number):
        self.world.clock.rightNow += 0.001
        return session(number % 250, "x", Slot.INBOUND, bytes_out=5_000_000, bytes_in=10_000)


def spies_of(alerts):
    return [int(one.text.split()[1]) for one in alerts.now() if one.name == "spies"]


def test_many_sessions_are_looked_over_in_slices_of_the_reactors_time_those_there_were_and_still_are():
    world = World()
    alerts = world.alerts()
    many = ManySpies(world, 100)
    alerts.look()
    assert spies_of(alerts) == [], "the others are told meanwhile"
    many.live |= dict.fromkeys(range(1000, 2000))
    for number in range(50, 60):
        del many.live[number]
    turns = []
    while world.clock.getDelayedCalls():
        turns.append(next_turn(world.clock))
    assert spies_of(alerts) == [90]
    assert 15 <= len(turns) <= 90 / 4
    assert max(turns) <= SLICE + 0.001 + 1e-9


def test_a_look_over_sessions_never_meets_another_and_ends_with_the_alerts():
    world = World()
    alerts = world.alerts()
    many = ManySpies(world, 100)
    alerts.start()
    for _ in range(5):
        next_turn(world.clock)
        alerts.look()
    assert many.looks == 1
    alerts.stop()
    assert world.clock.getDelayedCalls() == []
    assert spies_of(alerts) == []
    alerts.start()
    assert many.looks == 2, "it was not judged to the end, so it is due"
    while len(world.clock.getDelayedCalls()) > 1:
        next_turn(world.clock)
    assert spies_of(alerts) == [100]
    alerts.stop()


def test_a_look_over_sessions_that_fails_is_logged_and_another_follows(flush_logged_errors):
    world = World()
    alerts = world.alerts()
    alerts.start()
    world.held = [None]
    world.clock.advance(2 * LOOK)
    assert len(flush_logged_errors(AttributeError)) == 1
    world.held = []
    spied_on(world)
    world.clock.advance(LOOK)
    assert spies_of(alerts) == [1]
    alerts.stop()


def test_since_when_one_holds_and_what_is_over_is_remembered():
    world = World()
    alerts = world.alerts()
    metrics = world.context.metrics
    alerts.start()
    lagging(world)
    world.clock.advance(LOOK)
    lonely(world)
    world.clock.advance(LOOK)
    assert [(one.alert.name, world.clock.seconds() - one.since) for one in alerts.held()] == [
        ("no-peers", 0.0), ("reactor-lag", LOOK),
    ]  # fmt: skip
    began = alerts.held()[1].began
    assert alerts.over() == []
    assert metrics.value("alerts", "no-peers", "net", "critical") == 1
    assert metrics.value("alerts", "reactor-lag", "", "warning") == 1
    world.lag = 0.0
    world.clock.advance(LOOK)
    assert [one.alert.name for one in alerts.held()] == ["no-peers"]
    (over,) = alerts.over()
    assert (over.alert.name, over.began, over.ended) == ("reactor-lag", began, began + 2 * LOOK)
    assert metrics.value("alerts", "reactor-lag", "", "warning") == 0
    assert metrics.value("alerts_raised_total", "reactor-lag") == 1
    alerts.stop()
    assert world.clock.getDelayedCalls() == []


def test_so_many_that_are_over_are_remembered_the_latest_to_end_first():
    world = World()
    alerts = world.alerts()
    for number in range(PAST + 10):
        world.plugins = [("application.p", Watcher(lambda n=number: [Alert(f"a{n}", False, "", "It is.", "Look.")]))]
        world.clock.advance(2.0)
        alerts.now()
    assert [one.alert.name for one in alerts.over()] == [f"a{n}" for n in range(PAST + 8, 8, -1)]


def test_it_goes_on_looking_when_looking_fails(flush_logged_errors):
    world = World()
    alerts = world.alerts()
    alerts.start()
    networks, world.networks = world.networks, lambda: 1 / 0
    world.clock.advance(LOOK)
    assert len(flush_logged_errors(ZeroDivisionError)) == 1
    world.networks = networks
    lagging(world)
    world.clock.advance(LOOK)
    world.networks = lambda: 1 / 0
    assert [one.alert.name for one in alerts._held.values()] == ["reactor-lag"]
    alerts.stop()


def minutes(world, count, let_in):
    for _ in range(int(count * 60 / LOOK)):
        world.let_in["net"] += let_in * LOOK / 60
        world.clock.advance(LOOK)


def test_inbound_connections_above_what_is_usual_are_a_burst():
    world = World()
    alerts = world.alerts()
    alerts.start()
    minutes(world, 60, 20)
    assert alerts.now() == []
    minutes(world, 2, 50)
    assert alerts.now() == [], "two and a half times what is usual"
    minutes(world, 30, 20)
    minutes(world, 2, 200)
    (alert,) = alerts.now()
    assert (alert.name, alert.critical, alert.network) == ("inbound-burst", False, "net")
    assert alert.text.startswith("net: 200 inbound connections in a minute, where 2")
    minutes(world, 300, 200)
    assert [one.name for one in alerts.now()] == ["inbound-burst"], "five hours do not make it usual"
    minutes(world, 180, 200)
    assert alerts.now() == [], "what goes on longer is"
    minutes(world, 2, 700)
    assert [one.name for one in alerts.now()] == ["inbound-burst"], "and what is far above it is a burst again"


def test_those_that_are_refused_are_a_burst_too_and_none_counts_twice_or_for_another_network():
    world = World()
    alerts = world.alerts()
    alerts.start()
    minutes(world, 60, 5)
    world.refused += 28
    minutes(world, 1, 0)
    assert alerts.now() == [], "a few may always come"
    minutes(world, 10, 5)
    world.refused += 100
    world.refused_later += 95
    minutes(world, 1, 5)
    assert alerts.now() == [], "they had been let in, and are counted"
    minutes(world, 10, 5)
    world.refused += 100
    minutes(world, 1, 5)
    assert [one.name for one in alerts.now()] == ["inbound-burst"]
    minutes(world, 2, 5)
    assert alerts.now() == []


def test_a_young_node_has_no_burst_and_counts_that_begin_anew_are_none():
    world = World()
    alerts = world.alerts()
    alerts.start()
    minutes(world, LEARN / 60 - 2, 1)
    minutes(world, 2, 5000)
    assert alerts.now() == []
    world.let_in["net"] = 0
    minutes(world, 60, 1)
    world.let_in["net"] = 0
    minutes(world, 0.5, 5000)
    assert alerts.now() == []
    world.let_in = {}
    world.up = False
    world.clock.advance(LOOK)
    assert [one.name for one in alerts.now()] == ["no-network"]
    assert alerts._bursts._baselines == {}


def hours(world, count, news=True):
    """So many hours, with something new every five minutes or nothing."""
    for _ in range(int(count * 12)):
        world.items += news
        world.clock.advance(300.0)


def test_nothing_new_for_three_times_as_long_as_ever_is_a_partition_suspicion():
    world = World()
    alerts = world.alerts()
    alerts.start()
    hours(world, 2)
    hours(world, 6, False)
    assert alerts.now() == [], "in the first day it learns"
    hours(world, 18)
    hours(world, 17, False)
    assert alerts.now() == []
    hours(world, 2, False)
    (alert,) = alerts.now()
    assert (alert.name, alert.critical, alert.network) == ("partition", False, "net")
    assert alert.text == "net: nothing new for 1140 minutes, 3 times as long as ever in the last days."
    world.items += 1
    world.clock.advance(LOOK)
    assert alerts.now() == []


def test_a_protocol_that_has_alerts_of_its_own_is_not_judged_by_its_silence_nor_one_that_never_has_news():
    for label, news in (("net: protocol.bitcoin", True), ("application.p", False)):
        world = World()
        world.plugins = [(label, Watcher(list))]
        alerts = world.alerts()
        alerts.start()
        hours(world, 25, news)
        hours(world, 48, False)
        assert alerts.now() == []
        alerts.stop()


def test_the_longest_silence_of_a_week_counts_and_a_short_one_never():
    one = Silence(0.0, 0.0)
    total = 0.0
    for minute in range(1, 9 * 24 * 60):
        total += minute % 120 == 0 if minute < 24 * 60 else 1
        one.sample(total, 60.0 * minute)
        if minute == 3 * 24 * 60:
            assert one.bound == 3 * 7200.0
    assert one.bound == LEAST_SILENCE
    assert len(one._longest) == 7
    assert Silence(0.0, 0.0).bound is None


def test_what_is_usual_is_learnt_with_how_much_it_varies():
    one, total, now = Baseline(), 0.0, 0.0
    for number in range(400):
        total += 100 if number % 2 else 20
        now += WINDOW
        one.sample(total, now)
    assert 58 < one.mean < 62
    assert 280 < one.bound < 310, "six deviations of 40"
    still = Baseline()
    for number in range(400):
        still.sample(0.0, number * WINDOW)
    assert (still.mean, still.bound) == (0.0, LEAST)
    assert len(still._samples) <= 3


def test_the_critical_ones_come_first():
    world = World()
    lagging(world)
    lonely(world)
    assert world.names() == ["no-peers", "reactor-lag"]


class Watcher:
    """A plugin with alerts."""

    def __init__(self, alerts):
        self.alerts = alerts


def test_plugins_have_alerts_of_their_own_bounded_and_one_that_fails_is_named(flush_logged_errors):
    world = World()
    many = [Alert(f"a{n}", False, "", "x" * 5000, "y") for n in range(50)]
    world.plugins = [
        ("application.many", Watcher(lambda: many)),
        ("application.broken", Watcher(lambda: 1 / 0)),
        ("application.odd", Watcher(lambda: [Alert("disk", True, "net", "The disk is full.", "Make room.")])),
    ]
    alerts = world.alerts()
    for _ in range(3):
        world.clock.advance(2.0)
        found = alerts.now()
    assert len(flush_logged_errors(ZeroDivisionError)) == 1, "it is logged once"
    assert found[0].name == "disk"
    assert alerts.reasons() == ["The disk is full."]
    assert [one.text for one in found if one.name == "plugin"] == [
        "application.broken could not say its alerts: ZeroDivisionError."
    ]
    of_many = [one for one in found if one.name.startswith("a")]
    assert len(of_many) == 20
    assert {len(one.text) for one in of_many} == {1000}


def test_one_that_becomes_critical_holds_on():
    world = World()
    severe = [False]
    watcher = Watcher(lambda: [Alert("shard", severe[0], "", "A shard is behind.", "Wait.")])
    world.plugins = [("application.p", watcher)]
    alerts = world.alerts()
    alerts.now()
    severe[0] = True
    world.clock.advance(5.0)
    (held,) = alerts.held()
    assert (held.alert.critical, world.clock.seconds() - held.since, alerts.over()) == (True, 5.0, [])
    metrics = world.context.metrics
    assert metrics.value("alerts", "shard", "", "warning") == 0
    assert metrics.value("alerts", "shard", "", "critical") == 1


def test_two_alerts_of_a_plugin_with_one_name_are_two():
    world = World()
    same = [Alert("shard", False, "", f"Shard {n} is behind.", "Wait.") for n in range(2)]
    world.plugins = [("application.p", Watcher(lambda: same)), ("application.q", Watcher(lambda: same[:1]))]
    assert len(world.alerts().now()) == 3


def test_a_plugins_words_are_no_trouble_for_the_metrics():
    world = World()
    odd = Alert("\ud800\n", False, "ü", "It is odd.", "Look.")
    world.plugins = [("application.p", Watcher(lambda: [odd]))]
    world.alerts().now()
    assert world.context.metrics.value("alerts", "\\ud800\n", "\\xfc", "warning") == 1
