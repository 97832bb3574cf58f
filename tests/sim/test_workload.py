"""Nodes under faults and a workload: hosts go and come back as the schedule says, and those that run make items."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError
from twisted.internet.defer import fail, succeed
from zope.interface import implementer

from p2pframe.config import load
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import IApplication, IWorkload
from p2pframe.plugin import PluginConfig, plugin
from p2pframe.sim.faults import plan
from p2pframe.sim.injection import Injector
from p2pframe.sim.simulation import Simulation
from p2pframe.sim.workload import Workload, WorkloadConfig
from tests.sim.test_faults import entry

NODE = """
version: 1
applications: [{plugin: bitcoin-workload, network: bitcoin}]
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
    discovery: [{plugin: static, peers: ["192.0.2.1:18444"]}]
"""


@pytest.fixture
def world(tmp_path):
    made = Nodes(tmp_path)
    yield made
    made.simulation.close()


class Nodes:
    """Three hosts that hold connections to the first."""

    def __init__(self, folder, count=3):
        file = folder / "node.yaml"
        file.write_text(NODE)
        self.simulation = Simulation(seed=7)
        self.hosts = [
            self.simulation.host(f"192.0.2.{n}", name=f"nodes-{n - 1}", group="nodes") for n in range(1, count + 1)
        ]
        spec = load(file)
        for host in self.hosts:
            host.start(spec)
        self.injector = Injector(self.simulation)

    def plan(self, *timeline):
        groups = {"nodes": [host.name for host in self.hosts]}
        made = plan([entry(**one) for one in timeline], (), groups, 1000.0, self.simulation.stream)
        self.injector.arm(made)
        return made

    def up(self, until, every=1.0):
        """Who is up, second by second."""
        found = []
        while self.simulation.clock.now < until:
            self.simulation.run(every)
            found.append("".join(str(n) for n, host in enumerate(self.hosts) if host.ready))
        return found


def only(*numbers):
    return {"names": [f"nodes-{n}" for n in numbers]}


def test_a_host_that_is_killed_twice_is_back_when_the_last_lets_go(world):
    world.plan(
        {"do": "kill", "at": 2.5, "hosts": only(1), "back_after": 3},
        {"do": "stop", "at": 3.5, "hosts": only(1, 2), "back_after": 5},
        {"do": "power-off", "at": 4.5, "hosts": only(1), "back_after": 1},
    )
    assert world.up(12) == ["012"] * 2 + ["02"] + ["0"] * 5 + ["012"] * 4
    assert [host.boots for host in world.hosts] == [1, 2, 2]
    assert [host.failures for host in world.hosts] == [[], [], []]
    assert world.injector.idle == []


def test_a_start_ends_whatever_keeps_a_host_down_and_is_nothing_to_one_that_runs(world):
    world.plan(
        {"do": "kill", "at": 2.5, "hosts": only(1)},
        {"do": "stop", "at": 2.5, "hosts": only(1), "back_after": 7},
        {"do": "start", "at": 4.5, "hosts": only(0, 1)},
        {"do": "start", "at": 5.5, "hosts": only(0)},
    )
    assert world.up(11) == ["012"] * 2 + ["02"] * 2 + ["012"] * 7
    assert world.hosts[1].boots == 2
    assert [fault.number for fault in world.injector.idle] == [4]


def test_a_stop_may_come_while_the_node_starts_and_a_kill_while_it_stops(world):
    world.plan(
        {"do": "kill", "at": 2, "hosts": only(1, 2), "back_after": 1},
        {"do": "stop", "at": 3.0001, "hosts": only(1), "back_after": 0.0001},
        {"do": "stop", "at": 5, "hosts": only(2), "back_after": 4},
        {"do": "kill", "at": 5.0001, "hosts": only(2), "back_after": 2},
    )
    assert world.up(11)[-1] == "012"
    assert [host.failures for host in world.hosts] == [[], [], []]
    assert world.hosts[2].boots == 3


def test_any_part_of_a_schedule_can_be_applied(world):
    timeline = [
        {"do": "kill", "at": 2.5, "hosts": only(1), "back_after": 2},
        {"do": "kill", "at": 3.5, "hosts": only(1), "back_after": 9},
    ]
    faults = plan(
        [entry(**one) for one in timeline], (), {"nodes": [host.name for host in world.hosts]}, 99.0,
        world.simulation.stream,
    )  # fmt: skip
    world.injector.arm(faults[:1])
    assert world.up(6) == ["012"] * 2 + ["02"] * 2 + ["012"] * 2


def workload(world, *entries):
    made = Workload(
        [WorkloadConfig.model_validate({"network": "bitcoin", **one}) for one in entries], world.simulation, []
    )
    made.begin()
    return made


def test_items_are_made_at_drawn_times_by_drawn_hosts_and_spread(world):
    made = workload(
        world,
        {"produce": "tx", "every": {"exponential": {"mean": 0.5}}, "start": 20, "stop": 60, "from": ["nodes"]},
        {"produce": "block", "every": 5, "count": 3, "start": 20, "size": 1000},
    )
    world.simulation.run(100)
    assert made.failures() == []
    by_topic = Counter(one.topic for one in made.produced)
    assert by_topic["block"] == 3
    assert by_topic["tx"] == pytest.approx(80, rel=0.4)
    assert made.values() == {
        "workload.tx.made": by_topic["tx"], "workload.tx.failed": 0, "workload.block.made": 3,
        "workload.block.failed": 0,
    }  # fmt: skip
    assert [one.time for one in made.produced if one.topic == "block"] == pytest.approx([25, 30, 35], abs=0.1)
    assert all(20 <= one.time <= 60.1 for one in made.produced)
    assert {one.host.name for one in made.produced} == {"nodes-0", "nodes-1", "nodes-2"}
    for one in made.produced:
        assert all(host.node.networks["bitcoin"].items.known(one.topic, one.id) for host in world.hosts)


def test_equal_seeds_give_equal_workloads(tmp_path):
    runs = []
    for _ in range(2):
        world = Nodes(tmp_path)
        made = workload(world, {"produce": "tx", "every": {"exponential": {"mean": 1}}, "start": 15, "count": 20})
        world.plan({"do": "kill", "at": 20, "hosts": {"count": 1}, "back_after": 5})
        world.simulation.run(50)
        runs.append(([(one.time, one.host.name, one.id) for one in made.produced], world.simulation.finish()))
        world.simulation.close()
    assert runs[0] == runs[1]
    assert len(runs[0][0]) == 20


def test_only_hosts_that_run_are_asked_and_where_there_is_none_it_is_said(world):
    made = workload(world, {"produce": "tx", "every": 1, "start": 10, "stop": 30})
    world.plan(
        {"do": "kill", "at": 15.5, "hosts": only(1, 2)}, {"do": "kill", "at": 20.5, "hosts": only(0), "back_after": 5}
    )
    world.simulation.run(40)
    assert {one.host.name for one in made.produced if one.time > 15.5} == {"nodes-0"}
    assert made.failures() == ["workload: no running host of any group makes tx for bitcoin (5 times)"]
    assert made.values()["workload.tx.failed"] == 5


def test_a_topic_that_nobody_makes_or_another_network_is_counted(world):
    made = workload(world, {"produce": "song", "every": 5, "count": 2}, {"produce": "tx", "every": 5, "network": "x"})
    world.simulation.run(12)
    assert made.reasons == {
        "no running host of any group makes song for bitcoin": 2, "no running host of any group makes tx for x": 2
    }  # fmt: skip


@plugin("fussy")
@implementer(IApplication, IWorkload)
class Fussy:
    """Makes items now and then."""

    name = "fussy"
    topics = ("tx",)
    count = 0

    def __init__(self, config: PluginConfig, context) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def produce(self, topic, size):
        type(self).count += 1
        if self.count == 1:
            raise ValueError("not now")
        return fail(P2PFrameError("nor now")) if self.count == 2 else succeed(b"id")


def test_what_an_application_fails_with_is_counted_and_said(world, monkeypatch):
    monkeypatch.setattr(Fussy, "count", 0)
    world.simulation.run(5)
    for host in world.hosts:
        for place in host.node.builder.places_of(""):
            if IWorkload.providedBy(place.instance):
                place.instance = Fussy(PluginConfig(), None)
    made = workload(world, {"produce": "tx", "every": 1, "start": 5, "count": 3})
    world.simulation.run(10)
    assert len(made.produced) == 1
    assert sorted(why.split(": ", 1)[1] for why in made.reasons) == ["P2PFrameError: nor now", "ValueError: not now"]
    assert all(why.startswith("tx on nodes-") for why in made.reasons)


@pytest.mark.parametrize("options", [
    {"every": 0}, {"every": 1, "start": 5, "stop": 4}, {"every": 1, "count": 0}, {"every": 1, "size": 0}
])  # fmt: skip
def test_entries_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        WorkloadConfig.model_validate({"produce": "tx", "network": "bitcoin", **options})
