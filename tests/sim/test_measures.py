"""Measures: what each says of small worlds whose truth is known by construction."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from p2pframe.sim.measures import MEASURES
from p2pframe.sim.measures.base import mean, percentile
from p2pframe.sim.measures.connections import largest_part
from p2pframe.sim.run import Job, run

NODE = """\
version: 1
storage: {plugin: memory}
applications: [{plugin: bitcoin-workload, network: bitcoin}]
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
    relay: {plugin: flood}
    topology: {plugin: random, outbound: 0, block_relay: 0, feeler: 0, manual: 20}
    scoring: [{plugin: weighted}]
"""
# A group is `name: how many`; every latency is 100 ms and nothing is left to chance.
HEAD = """\
version: 1
seed: 3
duration: {duration}
links: {{default: 100ms}}
hosts:
"""


class Worlds:
    def __init__(self, folder) -> None:
        folder.write("node.yaml", NODE)
        self.folder = folder

    def values(self, text: str, duration: str = "60s", /, **groups: int):
        result = self.run(text, duration, **groups)
        assert not result.failures
        return result.values

    def run(self, text: str, duration: str = "60s", /, **groups: int):
        hosts = "".join(
            f"  {name}: {{node: node.yaml, count: {count}, start: 1s, honest: {str(name != 'foes').lower()}}}\n"
            for name, count in groups.items()
        )
        path = self.folder.write("scenario.yaml", HEAD.format(duration=duration) + hosts + text)
        return run(Job(str(path)))


@pytest.fixture
def worlds(scenarios):
    return Worlds(scenarios)


ONE_TX = "workload: [{produce: tx, network: bitcoin, every: 10s, start: 10s, count: 1, from: [first]}]\n"
LINE = "graph: [{network: bitcoin, kind: line}]\n"
PROPAGATION = "measures: {propagation: {network: bitcoin, topics: [tx], settle: 5s}}\n"


def test_propagation_down_a_line(worlds):
    """Four in a line, each dialling the next: three hops, each of an announcement, a request and the item, 100 ms each.

    Who was dialled waits for 2 s for somebody better to ask.
    """
    values = worlds.values(LINE + ONE_TX + PROPAGATION, first=1, rest=3)
    got = {name.removeprefix("propagation.tx."): value for name, value in values.items()}
    assert got["items"] == 1
    assert got["coverage"] == got["coverage_least"] == 1
    assert (got["hops"], got["hops_most"]) == (2, 3)
    assert (got["announcements"], got["duplicates"]) == (1, 0)
    assert got["p50"] == pytest.approx(4.6, abs=0.02)
    assert got["longest"] == got["p99"] == pytest.approx(6.9, abs=0.03)


def test_propagation_around_a_ring_tells_the_last_one_twice(worlds):
    values = worlds.values("graph: [{network: bitcoin, kind: ring}]\n" + ONE_TX + PROPAGATION, first=1, rest=3)
    # Only the host that the maker dials hears of it twice, from both its neighbours; it asks the one that it dialled
    # itself, to which the item has gone all around.
    assert values["propagation.tx.announcements"] == pytest.approx(4 / 3)
    assert values["propagation.tx.duplicates"] == pytest.approx(1 / 3)
    assert values["propagation.tx.hops_most"] == 3


def test_propagation_ends_where_a_line_is_cut(worlds):
    cut = "timeline: [{at: 5s, do: partition, groups: [[first], [rest]]}]\n"
    values = worlds.values(LINE + cut + ONE_TX + PROPAGATION, first=1, rest=3)
    assert values["propagation.tx.coverage"] == 0.25
    assert math.isnan(values["propagation.tx.p50"])


def test_propagation_leaves_young_items_out(worlds):
    late = ONE_TX.replace("start: 10s", "start: 47s")
    assert worlds.values(LINE + late + PROPAGATION, first=1, rest=1)["propagation.tx.items"] == 0


AGREEMENT = "measures: {agreement: {network: bitcoin, every: 1s}}\n"


def test_agreement_on_one_tip(worlds):
    blocks = "workload: [{produce: block, network: bitcoin, every: 5s, start: 5s, count: 3}]\n"
    values = worlds.values(LINE + blocks + AGREEMENT, nodes=3)
    got = {name.removeprefix("agreement."): value for name, value in values.items()}
    assert (got["hosts"], got["answers"], got["share"]) == (3, 1, 1)
    assert got["least_height"] == got["most_height"] == 3


def test_agreement_of_two_halves(worlds):
    apart = """\
timeline: [{at: 5s, do: partition, groups: [[east], [west]], for: 30s}]
workload:
  - {produce: block, network: bitcoin, every: 7.05s, start: 5s, count: 3, from: [east]}
  - {produce: block, network: bitcoin, every: 9.1s, start: 5s, count: 1, from: [west]}
"""
    parted = worlds.values(LINE + apart + AGREEMENT, "34s", east=3, west=1)
    assert parted["agreement.answers"] == parted["agreement.most_answers"] == 2
    assert parted["agreement.share"] == 0.75
    assert (parted["agreement.least_height"], parted["agreement.most_height"]) == (1, 3)
    assert parted["agreement.disagreed_until"] == pytest.approx(34)
    healed = worlds.values(LINE + apart + AGREEMENT, "60s", east=3, west=1)
    assert healed["agreement.answers"] == 1
    assert healed["agreement.least_height"] == 3
    assert healed["agreement.disagreed_until"] == pytest.approx(37.5, abs=2.5)


def test_capture_is_the_share_of_the_connections_that_a_host_made_itself(worlds):
    measured = "measures: {capture: {network: bitcoin, groups: [prey], by: [foes]}}\n"
    caught = "graph: [{network: bitcoin, kind: line, groups: [prey, foes]}]\n"
    values = worlds.values(caught + measured, prey=1, foes=1)
    assert (values["capture.hosts"], values["capture.alone"]) == (1, 0)
    assert (values["capture.eclipsed"], values["capture.slots"]) == (1, 1)
    both = caught.replace("}]", "}, {network: bitcoin, kind: line, groups: [prey, friends]}]")
    values = worlds.values(both + measured, prey=1, foes=1, friends=1)
    assert (values["capture.eclipsed"], values["capture.slots"]) == (0, 0.5)
    # A star is dialled from its ends: the one in the middle has made no connection of its own.
    inbound = "graph: [{network: bitcoin, kind: star, groups: [prey, foes]}]\n"
    values = worlds.values(inbound + measured, prey=1, foes=3)
    assert values["capture.alone"] == 1
    assert math.isnan(values["capture.eclipsed"])


KEPT = "measures: {kept: {network: bitcoin, topics: [tx], settle: 5s}}\n"


@pytest.mark.parametrize(
    ("at", "killed", "missing", "lost", "unheard"),
    [
        ("30s", "", 0, 0, 0),
        ("30s", "rest-0", 1, 0, 0),
        ("30s", "first-0, rest-0", 2, 1, 0),
        # The transaction of 20 s is at the other host 2.3 s later.
        ("21s", "first-0", 2, 0, 1),
    ],
)
def test_kept_is_what_some_host_still_has(worlds, at, killed, missing, lost, unheard):
    """Transactions are held in memory alone, so that who is killed has none afterwards."""
    kill = f"timeline: [{{at: {at}, do: kill, hosts: {{names: [{killed}]}}, back_after: 5s}}]\n" if killed else ""
    values = worlds.values(LINE + ONE_TX + kill + KEPT, first=1, rest=1)
    assert values["kept.tx.made"] == 1
    assert (values["kept.tx.missing"], values["kept.tx.lost"], values["kept.tx.unheard"]) == (missing, lost, unheard)


def test_throughput_tells_honest_items_from_those_of_others(worlds):
    work = """\
workload:
  - {produce: tx, network: bitcoin, every: 1s, start: 20s, count: 20, from: [nodes]}
  - {produce: tx, network: bitcoin, every: 1s, start: 20s, count: 10, from: [foes]}
measures: {throughput: {network: bitcoin, topics: [tx], after: 10s}}
"""
    values = worlds.values(LINE + work, nodes=3, foes=1)
    # In 50 seconds each honest host takes all of them, its own too.
    assert values["throughput.tx.rate"] == pytest.approx(20 / 50)
    assert values["throughput.tx.foreign_rate"] == pytest.approx(10 / 50)


CONNECTIONS = "measures: {connections: {network: bitcoin, every: 1s, after: 10s}}\n"


def test_connections_of_a_complete_graph(worlds):
    values = worlds.values("graph: [{network: bitcoin, kind: complete}]\n" + CONNECTIONS, nodes=4)
    got = {name.removeprefix("connections."): value for name, value in values.items()}
    assert (got["hosts"], got["outbound"], got["inbound"]) == (4, 1.5, 1.5)
    assert (got["alone"], got["alone_most"], got["connected"], got["connected_least"]) == (0, 0, 1, 1)


def test_connections_of_a_line_without_its_middle(worlds):
    kill = "timeline: [{at: 30s, do: kill, hosts: {names: [nodes-1]}%s}]\n"
    values = worlds.values(LINE + kill % "" + CONNECTIONS, nodes=3)
    assert (values["connections.hosts"], values["connections.alone"], values["connections.connected"]) == (2, 2, 0.5)
    values = worlds.values(LINE + kill % ", back_after: 5s" + CONNECTIONS, nodes=3)
    # At first each of the three is alone.
    assert (values["connections.connected"], values["connections.connected_least"]) == (1, 1 / 3)
    assert (values["connections.alone"], values["connections.alone_most"]) == (0, 3)


def test_the_graph_is_who_dialled_whom_attackers_as_well(worlds):
    measure = "measures: {graph: {network: bitcoin%s}}\n"
    result = worlds.run(LINE + measure % "", "60s", nodes=2, foes=1)
    [graph] = result.graphs
    assert [(one.name, one.honest, one.dialled, one.dialled_by) for one in graph.nodes] == [
        ("nodes-0", True, 1, 0), ("nodes-1", True, 1, 1), ("foes-0", False, 0, 1),
    ]  # fmt: skip
    assert graph.edges == [(0, 1, 1), (1, 2, 1)] and graph.time == 60.0
    assert all(one.score is not None for one in graph.nodes)
    assert (result.values["graph.hosts"], result.values["graph.sessions"]) == (3, 2)
    # The second of two is started after half of the second in which they all are.
    [early] = worlds.run(LINE + measure % ", at: 300ms", "10s", nodes=2).graphs
    assert (early.time, [one.name for one in early.nodes], early.edges) == (0.3, ["nodes-0"], [])
    [some] = worlds.run(LINE + measure % ", groups: [nodes], nodes: 2", "10s", nodes=3, foes=1).graphs
    assert [(one.name, one.hosts, one.dialled) for one in some.nodes] == [("nodes", 3, 2)]


@pytest.mark.parametrize(
    ("neighbours", "largest"),
    [
        ({}, 0),
        ({1: [], 2: []}, 1),
        ({1: [(2, False)], 2: [], 3: []}, 2),
        ({1: [(2, False)], 2: [], 3: [(2, True)], 4: [(-1, False)]}, 3),
    ],
)
def test_the_largest_part_of_a_graph(neighbours, largest):
    assert largest_part(neighbours) == largest


def test_traffic_counts_what_came_in_by_type(worlds):
    work = ONE_TX.replace("count: 1", "count: 4").replace("every: 10s", "every: 2s, size: 1000")
    traffic = "measures: {traffic: {network: bitcoin%s}}\n"
    values = worlds.values(LINE + work + traffic % "", first=1, rest=2)
    # Four transactions over two links, each asked for by an inventory of its own.
    for kind in ("inv", "getdata", "tx"):
        assert values[f"traffic.messages.{kind}"] == 8
    # With a header of 24 bytes each.
    assert values["traffic.bytes.tx"] == 8 * 1024
    assert values["traffic.messages.version"] == values["traffic.messages.verack"] == 4
    assert values["traffic.bytes_a_host"] == pytest.approx(values["traffic.bytes"] / 3)
    after = worlds.values(LINE + work + traffic % ", after: 15s", first=1, rest=2)
    # The one of 12 s has come over the first link by then (2.3 s), and that is all.
    assert after["traffic.messages.tx"] == 7
    assert after.get("traffic.messages.version", 0) == 0


def test_traffic_of_an_earlier_boot_counts(worlds):
    work = ONE_TX.replace("count: 1", "count: 4").replace("every: 10s", "every: 2s")
    kill = "timeline: [{at: 30s, do: kill, hosts: {names: [rest-0]}, back_after: 5s}]\n"
    traffic = "measures: {traffic: {network: bitcoin, every: 1s}}\n"
    values = worlds.values(LINE + work + kill + traffic, first=1, rest=1)
    assert values["traffic.messages.tx"] == 4
    assert values["traffic.messages.version"] == 4


def test_scores_of_honest_peers_and_of_others(worlds):
    values = worlds.values("graph: [{network: bitcoin, kind: star}]\nmeasures: {scores: {network: bitcoin}}\n",
                           middle=1, friends=2, foes=3)  # fmt: skip
    # The middle has two honest peers and three others; each friend has the middle.
    assert (values["scores.honest.sessions"], values["scores.others.sessions"]) == (4, 3)
    assert 0 < values["scores.honest.mean"] <= 1
    assert values["scores.honest.penalties"] == values["scores.others.penalties"] == 0


def test_addresses_lead_to_hosts_that_run_or_do_not(worlds):
    # One looks others up; the others know nobody. Two of five are no longer there in the end, one more is a foe.
    worlds.folder.write("looker.yaml", NODE.replace("    relay:", """\
    discovery: [{plugin: dns-seed, seeds: [seed.example]}]
    relay:""").replace("outbound: 0", "outbound: 8"))  # fmt: skip
    rest = """\
  looker: {node: looker.yaml, count: 1, after: 10s}
names: {seed.example: {groups: [nodes, foes], count: 5}}
timeline: [{at: 100s, do: stop, hosts: {names: [nodes-0, nodes-2]}}]
measures: {addresses: {network: bitcoin, groups: [looker], every: 10s, after: 50s}}
"""
    values = worlds.values(rest, "3min", nodes=4, foes=1)
    assert values["addresses.size"] == values["addresses.size_least"] == 5
    assert values["addresses.live"] == values["addresses.live_least"] == pytest.approx(3 / 5)
    assert values["addresses.honest"] == pytest.approx(4 / 5)
    assert worlds.values(rest, "90s", nodes=4, foes=1)["addresses.live_least"] == 1


LOOKER = """\
from twisted.internet.defer import succeed
from zope.interface import implementer
from p2pframe.interfaces import IApplication
from p2pframe.plugin import plugin


@plugin("looker")
@implementer(IApplication)
class Looker:
    \"""Tells of lookups that never were, each second one more: ten, every fifth of which found nothing.\"""

    name = "looker"

    def __init__(self, config, context):
        self.context = context

    def start(self):
        for number in range(1, 11):
            self.context.reactor.callLater(number, self.tell, number)
        self.context.reactor.callLater(11, self.context.log.info, "item", lookup="item", found=False, seconds=3.0)

    def tell(self, number):
        self.context.log.info("told", lookup="peers", found=number % 5 > 0, seconds=number / 10, hops=number % 3 + 1,
                              queries=2 * number, lost=1, first=number / 20 if number % 5 else None)

    def stop(self):
        pass
"""


def test_lookups_are_what_the_hosts_have_logged(worlds):
    folder = worlds.folder.path / "plugins"
    # Plugins are trusted where nobody else may write.
    folder.mkdir(mode=0o755)
    worlds.folder.write("plugins/looker.py", LOOKER).chmod(0o644)
    worlds.folder.write("node.yaml", NODE.replace("{plugin: bitcoin-workload, network: bitcoin}", "{plugin: looker}")
                        + "node: {plugin_path: [plugins]}\n")  # fmt: skip
    values = worlds.values("measures: {lookups: {network: bitcoin}}\n", nodes=4, foes=3)
    got = {name.removeprefix("lookups."): value for name, value in values.items()}
    assert got["log2_hosts"] == 2
    # What the foes tell of is not counted.
    assert (got["peers.count"], got["peers.success"]) == (40, 0.8)
    assert (got["peers.p50"], got["peers.p90"], got["peers.p99"], got["peers.longest"]) == (0.5, 0.9, 1.0, 1.0)
    # The fifth and the tenth found nothing.
    assert (got["peers.first_p50"], got["peers.first_p99"]) == (0.2, 0.45)
    assert (got["peers.hops"], got["peers.hops_most"], got["peers.hops_by_log2"]) == (2, 3, 1)
    assert (got["peers.queries"], got["peers.lost"]) == (11, 1)
    assert (got["item.count"], got["item.success"], got["item.p50"]) == (4, 0, 3)
    assert math.isnan(got["item.hops"]) and math.isnan(got["item.queries"])
    late = worlds.values("measures: {lookups: {network: bitcoin, after: 20s, groups: [nodes]}}\n", nodes=4)
    assert late == {"lookups.log2_hosts": 2}


def test_each_measure_has_a_world_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in MEASURES if f"{name}: {{network" not in text] == []


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.25, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.99, 4), (1.0, 4)]
)
def test_percentiles_are_by_nearest_rank(share, value):
    assert percentile([1, 2, 3, 4], share) == value


def test_of_nothing_there_is_no_percentile_and_no_mean():
    assert math.isnan(percentile([], 0.5))
    assert math.isnan(mean([]))
    assert mean([1, 2, 6]) == 3
