"""The schedule of faults repeats and says everything; any part of it can be applied; each fault does what it says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from pydantic import ValidationError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol

from p2pframe.sim.chance import stream
from p2pframe.sim.faults import FAULTS, ChurnConfig, FaultError, HostsConfig, chosen, members, plan
from p2pframe.sim.injection import Injector
from p2pframe.sim.links import Links, LinksConfig
from p2pframe.sim.simulation import Simulation

GROUPS = {"east": [f"east-{n}" for n in range(10)], "west": [f"west-{n}" for n in range(4)]}


def entry(**options):
    return FAULTS[options["do"]].model_validate(options)


def planned(*timeline, churn=(), seed=1, duration=1000.0, groups=GROUPS):
    return plan([entry(**one) for one in timeline], churn, groups, duration, lambda *labels: stream(seed, *labels))


# --- the schedule ---


def test_every_kind_is_drawn_with_hosts_end_and_text():
    faults = planned(
        {"do": "partition", "at": 1, "groups": [["east"], ["west"]], "for": "10min"},
        {"do": "cut", "at": 2, "from": ["west"], "to": ["east"], "for": 5},
        {"do": "half-open", "at": 3, "hosts": {"names": ["east-3"]}, "share": 0.5},
        {"do": "kill", "at": 12.5, "hosts": {"names": ["west-1", "west-0"]}, "back_after": "30s"},
        {"do": "power-off", "at": 13, "hosts": {"group": "west", "count": 1}},
        {"do": "stop", "at": 14, "hosts": {"fraction": 0.5}, "back_after": {"uniform": {"low": 1, "high": 9}}},
        {"do": "start", "at": 15, "hosts": {"group": "west"}},
        {"do": "slow-readers", "at": 16, "hosts": {"names": ["east-0"]}, "rate": "1kB"},
        {"do": "slow-links", "at": 17, "from": ["west"], "to": ["west"], "link": {"latency": "1s"}, "for": 2},
    )
    assert {fault.kind for fault in faults} == set(FAULTS)
    assert [fault.number for fault in faults] == list(range(1, 10))
    texts = [fault.text for fault in faults]
    east = "east-0, east-1, east-2, east-3 and 6 more"
    west = "west-0, west-1, west-2, west-3"
    assert texts[0] == f"#1 1 s partition {east} | {west}, for 600 s"
    assert texts[1] == f"#2 2 s cut {west} > {east}, for 5 s"
    assert texts[2] == "#3 3 s half-open east-3, 50% of their connections"
    assert texts[3] == "#4 12.5 s kill west-0, west-1, back after 30 s"
    assert faults[4].end is None
    assert len(faults[5].hosts) == len(faults[5].back) == 7
    assert faults[5].end == max(faults[5].back)
    assert texts[7] == "#8 16 s slow-readers east-0, 1000 bytes/s"
    assert texts[8] == f"#9 17 s slow-links {west} > {west}, for 2 s"
    note = faults[3].note()
    assert (note.number, note.time, note.until, note.text) == (4, 12.5, 42.5, "kill west-0, west-1, back after 30 s")


ANY = {"do": "kill", "at": {"uniform": {"low": 10, "high": 300}}, "hosts": {"fraction": 0.3}, "back_after": 30}


def test_equal_seeds_give_equal_schedules_and_others_do_not():
    churn = [ChurnConfig(group="east", up={"exponential": {"mean": 50}}, down={"exponential": {"mean": 10}}, kill=0.3)]
    first, again, other = (planned(ANY, churn=churn, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [fault.time for fault in first] == sorted(fault.time for fault in first)


def test_another_entry_changes_nothing_of_those_before_it():
    alone = planned(ANY)
    more = planned(ANY, {"do": "stop", "at": {"uniform": {"low": 0, "high": 500}}})
    assert [(f.time, f.hosts) for f in more if f.kind == "kill"] == [(f.time, f.hosts) for f in alone]


def test_each_host_may_have_a_time_of_its_own():
    faults = planned({**ANY, "each": True})
    assert [len(fault.hosts) for fault in faults] == [1] * 4
    assert len({fault.time for fault in faults}) == 4


def test_what_comes_after_the_end_is_left_out():
    assert planned({"do": "kill", "at": 99}, {"do": "kill", "at": 101}, duration=100.0)[0].time == 99


def test_a_split_puts_every_host_on_one_side():
    (fault,) = planned({"do": "partition", "at": 1, "split": 0.3, "of": ["east"]})
    assert [len(side) for side in fault.sides] == [3, 7]
    assert sorted(fault.sides[0] + fault.sides[1]) == sorted(GROUPS["east"])


def test_churn_takes_turns_and_its_lengths_are_those_of_the_distributions():
    groups = {"nodes": [f"nodes-{n}" for n in range(200)]}
    churn = ChurnConfig(
        group="nodes", up={"exponential": {"mean": 100}}, down={"exponential": {"mean": 25}}, kill=0.25, stop=900
    )
    faults = planned(churn=[churn], groups=groups)
    for host in groups["nodes"]:
        own = [fault for fault in faults if fault.hosts == (host,)]
        assert all(one.back[0] <= two.time for one, two in pairwise(own))
    away = sum(fault.back[0] - fault.time for fault in faults) / len(faults)
    assert away == pytest.approx(25, rel=0.1)
    # A session and an absence take 125 s together.
    assert len(faults) == pytest.approx(200 * 900 / 125, rel=0.1)
    kinds = Counter(fault.kind for fault in faults)
    assert kinds["kill"] / len(faults) == pytest.approx(0.25, rel=0.2)
    assert max(fault.time for fault in faults) <= 900


def test_a_part_of_the_hosts_may_be_left_out_of_churn():
    churn = ChurnConfig(group="east", up=10, down=10, share=0.4)
    hosts = {fault.hosts[0] for fault in planned(churn=[churn])}
    assert 0 < len(hosts) < 10


@pytest.mark.parametrize("options", [
    {"do": "partition", "at": 1},
    {"do": "partition", "at": 1, "groups": [["east"]]},
    {"do": "partition", "at": 1, "groups": [["east"], []]},
    {"do": "partition", "at": 1, "groups": [["east"], ["east"]]},
    {"do": "partition", "at": 1, "groups": [["east"], ["west"]], "split": 0.5},
    {"do": "partition", "at": 1, "groups": [["east"], ["west"]], "of": ["east"]},
    {"do": "kill", "at": 1, "hosts": {"count": 1, "fraction": 0.5}},
    {"do": "kill", "at": 1, "hosts": {"group": "east", "names": ["east-1"]}},
    {"do": "kill", "at": 1, "for": 3},
    {"do": "cut", "at": 1, "from": [], "to": ["west"]},
])  # fmt: skip
def test_entries_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        entry(**options)


def test_what_can_not_be_drawn_names_its_entry():
    with pytest.raises(FaultError, match=r"timeline\.1: 9 hosts are to be chosen, and there are 4"):
        planned(ANY, {"do": "kill", "at": 1, "hosts": {"group": "west", "count": 9}})
    with pytest.raises(FaultError, match=r"timeline\.0: a single host can't be split"):
        planned({"do": "partition", "at": 1, "split": 0.5}, groups={"one": ["one-0"]})
    with pytest.raises(FaultError, match=r"churn\.0: more than 200000 leaves"):
        planned(churn=[ChurnConfig(group="east", up=0.001, down=0)])


def test_hosts_are_chosen_in_the_order_of_their_groups():
    hosts = HostsConfig(count=5).choose(GROUPS, stream(1))
    assert list(hosts) == [name for name in members(GROUPS, ()) if name in hosts]
    assert len(HostsConfig(group="west", fraction=0.01).choose(GROUPS, stream(1))) == 1


def test_a_part_of_a_schedule_is_chosen_by_numbers_and_a_fault_for_some_of_its_hosts():
    faults = planned(ANY, {"do": "stop", "at": 400}, {"do": "start", "at": 500})
    assert [fault.number for fault in chosen(faults, [3, 1, 3])] == [1, 3]
    with pytest.raises(FaultError, match="no fault 4: this schedule has 1 to 3"):
        chosen(faults, [4])
    kill = faults[0]
    part = kill.only(kill.hosts[1:3])
    assert (part.number, part.hosts, part.back) == (1, kill.hosts[1:3], kill.back[1:3])


# --- what they do ---


class Talker(Protocol):
    """Notes what comes, and when."""

    def connectionMade(self):
        self.heard = []
        self.lost = None

    def dataReceived(self, data):
        self.heard.append((round(self.clock.now, 3), data))

    def connectionLost(self, reason):
        self.lost = (round(self.clock.now, 3), reason.type)


class World:
    """Hosts that answer at port 1, and connections between them; nothing but streams."""

    def __init__(self, *names, links=None):
        self.simulation = Simulation(seed=1, links=Links(LinksConfig.model_validate(links or {"default": "100ms"}), 1))
        self.clock = self.simulation.clock
        self.hosts = [
            self.simulation.host(f"192.0.2.{n}", name=name, group=name.partition("-")[0])
            for n, name in enumerate(names, 1)
        ]
        self.injector = Injector(self.simulation)
        self.groups = {}
        for name in names:
            self.groups.setdefault(name.partition("-")[0], []).append(name)
        self.accepted = {}
        for host in self.hosts:
            self.listen(host)

    def listen(self, host):
        factory = Factory()
        accepted = self.accepted[host.name] = []

        def build(address):
            talker = Talker()
            talker.clock = self.clock
            accepted.append(talker)
            return talker

        factory.buildProtocol = build
        host.boot().reactor.listenTCP(1, factory)

    def connect(self, source, target):
        """Both ends of a new connection."""
        made = []
        factory = Factory()

        def build(address):
            made.append(Talker())
            made[0].clock = self.clock
            return made[0]

        factory.buildProtocol = build
        factory.clientConnectionFailed = lambda connector, reason: made.append(reason)
        factory.clientConnectionLost = lambda connector, reason: None
        factory.startedConnecting = lambda connector: None
        source.incarnation.reactor.connectTCP(target.addresses[0], 1, factory)
        self.simulation.run(1.0)
        return made[0], self.accepted[target.name][-1]

    def plan(self, *timeline):
        made = planned(*timeline, groups=self.groups)
        self.injector.arm(made)
        return made


def says(talker, word):
    talker.transport.write(word)


def test_a_partition_is_silent_and_what_was_said_in_it_comes_after_the_heal():
    world = World("a-0", "b-0", "c-0")
    a, b, c = world.hosts
    one, other = world.connect(a, b)
    third, far = world.connect(a, c)
    world.plan({"do": "partition", "at": 5, "groups": [["a"], ["b"]], "for": 10})
    world.simulation.run(4.0)
    says(one, b"in")
    says(third, b"past")
    world.simulation.run(8.0)
    assert (other.heard, one.lost, other.lost) == ([], None, None)
    assert [data for _, data in far.heard] == [b"past"]
    assert not world.simulation.network.reachable(a, b)
    world.simulation.run(60.0)
    assert [data for _, data in other.heard] == [b"in"]
    assert other.heard[0][0] > 15
    assert world.simulation.network.partitions == []


def test_overlapping_cuts_and_partitions_mend_when_the_last_ends():
    world = World("a-0", "b-0")
    a, b = world.hosts
    world.plan(
        {"do": "cut", "at": 1, "from": ["a"], "to": ["b"], "for": 10},
        {"do": "cut", "at": 5, "from": ["a"], "to": ["b"], "for": 2},
        {"do": "partition", "at": 6, "split": 0.5, "for": 3},
        {"do": "partition", "at": 8, "split": 0.5, "for": 10},
    )
    seen = []
    for _ in range(20):
        world.simulation.run(1.0)
        network = world.simulation.network
        seen.append((network.reachable(a, b), network.reachable(b, a)))
    closed, one_way, open_ = (False, False), (False, True), (True, True)
    assert seen == [one_way] * 5 + [closed] * 12 + [open_] * 3


def test_half_open_connections_are_silent_for_good_and_new_ones_are_not():
    world = World("a-0", "b-0")
    a, b = world.hosts
    one, other = world.connect(a, b)
    (fault,) = world.plan({"do": "half-open", "at": 2, "hosts": {"group": "a"}})
    world.simulation.run(2.0)
    says(one, b"anybody?")
    says(other, b"hello?")
    fresh, far = world.connect(a, b)
    says(fresh, b"new")
    world.simulation.run(100.0)
    assert (one.heard, other.heard, one.lost, other.lost) == ([], [], None, None)
    assert [data for _, data in far.heard] == [b"new"]
    assert world.injector.idle == []
    world.injector.begin(fault.only([]))
    assert [each.number for each in world.injector.idle] == [1]


def test_slow_readers_read_at_their_rate_and_as_usual_afterwards():
    world = World("a-0", "b-0")
    a, b = world.hosts
    world.plan({"do": "slow-readers", "at": 2, "hosts": {"group": "b"}, "rate": 100, "for": 20})
    one, other = world.connect(a, b)
    world.simulation.run(2.0)
    for number in range(4):
        says(one, b"%d" % number * 500)
        world.simulation.run(0.5)
    # A protocol that pauses and reads on gets no more for it.
    other.transport.pauseProducing()
    other.transport.resumeProducing()
    world.simulation.run(10.0)
    assert [time for time, _ in other.heard] == pytest.approx([8.1, 13.1])
    world.simulation.run(15.0)
    assert [time for time, _ in other.heard[2:]] == pytest.approx([18.1, 22.0])
    says(one, b"fast")
    world.simulation.run(0.2)
    assert other.heard[-1][1] == b"fast"


def test_who_reads_nothing_holds_up_the_writer_and_reads_all_when_it_is_over():
    world = World("a-0", "b-0")
    a, b = world.hosts
    one, other = world.connect(a, b)
    world.plan(
        {"do": "slow-readers", "at": 2, "hosts": {"group": "b"}, "for": 20},
        {"do": "slow-readers", "at": 3, "hosts": {"group": "b"}, "rate": "1MB", "for": 30},
    )
    world.simulation.run(3.0)
    says(one, bytes(1000))
    world.simulation.run(17.9)
    assert other.heard == []
    world.simulation.run(1.0)
    assert sum(len(data) for _, data in other.heard) == 1000
    assert b.read_rate == 1_000_000
    world.simulation.run(15.0)
    assert b.read_rate == 0


def test_slow_links_hold_for_old_and_new_connections_and_end():
    world = World("a-0", "b-0", "b-1", links={"default": {"latency": "100ms"}})
    a, b, c = world.hosts
    one, other = world.connect(a, b)
    world.plan({"do": "slow-links", "at": 2, "from": ["a"], "to": ["b"], "link": "2s", "for": 20})
    world.simulation.run(2.0)
    start = world.clock.now
    says(one, b"slow")
    says(other, b"quick")
    world.simulation.run(5.0)
    assert other.heard == [(start + 2.0, b"slow")]
    assert one.heard == [(start + 0.1, b"quick")]
    assert world.simulation.network.path(a, c).latency == 2.0
    assert world.simulation.network.path(c, a).latency == 0.1
    world.simulation.run(20.0)
    assert {world.simulation.network.path(a, each).latency for each in (b, c)} == {0.1}


def test_the_last_of_several_slow_links_holds():
    world = World("a-0", "b-0")
    a, b = world.hosts
    world.simulation.network.path(a, b)
    world.plan(
        {"do": "slow-links", "at": 1, "from": ["a"], "to": ["b"], "link": "2s", "for": 10},
        {"do": "slow-links", "at": 2, "from": ["a"], "to": ["b"], "link": {"loss": 0.5}, "for": 3},
    )
    seen = []
    for _ in range(12):
        world.simulation.run(1.0)
        path = world.simulation.network.path(a, b)
        seen.append((path.latency, path.loss, path.plain))
    assert seen == [(2.0, 0, True)] + [(0.1, 0.5, False)] * 3 + [(2.0, 0, True)] * 6 + [(0.1, 0, True)] * 2


def test_a_kill_closes_connections_and_the_power_off_leaves_them_hanging():
    world = World("a-0", "b-0", "c-0")
    a, b, c = world.hosts
    one, _ = world.connect(a, b)
    two, _ = world.connect(a, c)
    world.plan(
        {"do": "kill", "at": 5, "hosts": {"group": "b"}}, {"do": "power-off", "at": 5, "hosts": {"group": "c"}}
    )
    world.simulation.run(10.0)
    assert one.lost[1] in (ConnectionDone, ConnectionLost)
    assert two.lost is None
    says(two, b"anybody?")
    world.simulation.run(100.0)
    assert two.lost is None
    assert [host.alive for host in world.hosts] == [True, False, False]
