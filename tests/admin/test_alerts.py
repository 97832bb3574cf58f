"""Each alert: the world that raises it, and one next to it that does not."""

from __future__ import annotations

import pytest

from p2pframe.admin.alerts import Alerts
from p2pframe.interfaces import Alert
from p2pframe.interfaces.node import DiscoveryStatus, NetworkView, SourceHolds
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot


class World:
    """A node's view that a test makes up: well, as long as nothing is changed."""

    def __init__(self):
        self.uptime = 1000.0
        self.lag = 0.0
        self.up = True
        self.slots = {Slot.OUTBOUND: (8, 8)}
        self.book = {"new": 500, "tried": 100}
        self.discovery = {"dns-seed": DiscoveryStatus(600, 600, 0, "", 0.0)}
        self.sources = {"dns-seed": SourceHolds(300, 50), "peers of a": SourceHolds(300, 50)}
        self.plugins = []
        self.held = [session(n, f"group {n}") for n in range(8)]

    def networks(self):
        view = NetworkView("net", "bitcoin", (), self.slots, self.book, {}, {}, self.discovery, self.sources)
        return [view] if self.up else []

    def sessions(self, network):
        return self.held

    def numbers(self):
        return {"p2pframe_reactor_lag_seconds": {("",): self.lag}}

    def providers(self, interface):
        return self.plugins

    def names(self):
        return [alert.name for alert in Alerts(self, lambda: 10_000.0, lambda: self.uptime).now()]


def session(number, group, slot=Slot.OUTBOUND, **more):
    address = PeerAddress(f"192.0.2.{number}", 8333)
    return SessionSnapshot(
        SessionId(number), "net", address, group, slot, "open", "tcp", more.pop("started", 100.0), 100.0,
        slot is Slot.INBOUND, **more,
    )  # fmt: skip


def test_a_node_that_is_well_has_none():
    world = World()
    assert world.names() == []
    assert Alerts(world, lambda: 0.0, lambda: 0.0).reasons() == []


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
    ],
)
def test_each_is_raised_and_says_what_to_do(change, name, critical):
    world = World()
    change(world)
    alerts = Alerts(world, lambda: 10_000.0, lambda: world.uptime)
    (alert,) = alerts.now()
    assert (alert.name, alert.critical) == (name, critical)
    assert alert.text.endswith(".") and alert.runbook.endswith((".", ")."))
    assert alerts.reasons() == ([alert.text] if critical else [])


def test_what_is_near_to_one_is_none():
    world = World()
    world.uptime, world.held = 30.0, []
    assert world.names() == [], "it is young"
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
    for more in ({"accepted_items": 1}, {"started": 9_900.0}, {"bytes_in": 200_000}, {"slot": Slot.OUTBOUND}):
        world = World()
        spy = {"slot": Slot.INBOUND, "bytes_out": 5_000_000, "bytes_in": 10_000} | more
        world.held.append(session(20, "x", **spy))
        assert world.names() == [], more


def test_a_judgement_stands_for_a_second_whoever_asks():
    world, clock, asked = World(), [0.0], []
    world.networks = lambda: asked.append(1) or []
    alerts = Alerts(world, lambda: clock[0], lambda: world.uptime)
    for _ in range(100):
        alerts.reasons()
    assert len(asked) == 1
    clock[0] = 1.5
    alerts.reasons()
    assert len(asked) == 2


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
    alerts = Alerts(world, lambda: 10_000.0, lambda: 1000.0)
    for _ in range(3):
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
