"""The graph of a world: who dialled whom, large worlds put together, the same drawing each time, plain files."""

from __future__ import annotations

import csv
import io
import json

import pytest

from p2pframe.sim.report import OutputFolder, Report, write
from p2pframe.sim.report import tables as csv_tables
from p2pframe.sim.results import ResultsError, RunResult
from p2pframe.sim.world_graph import WorldNode, drawable
from tests.sim.test_report import HOSTILE


def host(number, group="a", netgroup=None, honest=True):
    return WorldNode(f"{group}-{number}", group, netgroup or f"v4:{number}", honest)


def graph_of(hosts, sessions=(), scores=None, most=1000):
    return drawable("graph", "net", 60.0, hosts, sessions, scores or {}, most)


def result(*graphs):
    return RunResult("world", 3, graphs=list(graphs))


def test_each_host_is_a_node_with_its_sessions_and_what_is_thought_of_it():
    hosts = {number: host(number) for number in (4, 7, 9)}
    graph = graph_of(hosts, [(4, 7), (9, 7), (4, 7), (4, 99)], {7: [0.5, 1.0]})
    assert [(one.name, one.dialled, one.dialled_by, one.score) for one in graph.nodes] == [
        ("a-4", 2, 0, None), ("a-7", 0, 3, 0.75), ("a-9", 1, 0, None),
    ]  # fmt: skip
    # Whoever is not among them has no edge.
    assert graph.edges == [(0, 1, 2), (2, 1, 1)] and graph.together == ""


def test_more_hosts_than_nodes_are_put_together_and_none_is_lost():
    hosts = {number: host(number, "ab"[number % 2], f"v4:{number % 5}", number != 3) for number in range(100)}
    sessions = [(number, (number * 7 + 1) % 100) for number in range(100)]
    graph = graph_of(hosts, sessions, {3: [0.1], 13: [0.5]}, 10)
    assert graph.together == "group and netgroup" and len(graph.nodes) == 10
    assert sum(one.hosts for one in graph.nodes) == sum(count for _, _, count in graph.edges) == 100
    [bad] = [one for one in graph.nodes if not one.honest]
    assert (bad.name, bad.hosts, bad.score) == ("b v4:3", 10, 0.3)
    graph = graph_of(hosts, sessions, {}, 9)
    assert graph.together == "group" and [(one.name, one.hosts, one.netgroup) for one in graph.nodes] == [
        ("a", 50, "several"), ("b", 50, "several"),
    ]  # fmt: skip
    many = {number: host(number, f"group{number}") for number in range(40)} | {40: host(40, "group7")}
    graph = graph_of(many, [], {}, 5)
    assert {one.name: one.hosts for one in graph.nodes} == {
        "group0": 1, "group1": 1, "group7": 2, "group10": 1, "others": 36,
    }  # fmt: skip


def test_it_is_among_the_results_exactly_and_those_of_before_have_none():
    graph = graph_of({1: host(1), 2: host(2, honest=False)}, [(1, 2)], {2: [1 / 3]})
    again = RunResult.from_json(result(graph).to_json())
    assert again.graphs == [graph]
    old = json.loads(result(graph).to_json())
    del old["graphs"]
    assert RunResult.from_data(old).graphs == []
    for edge in ([0, 2, 1], [-1, 0, 1], [0, 1]):
        bad = json.loads(result(graph).to_json())
        bad["graphs"][0]["edges"] = [edge]
        with pytest.raises(ResultsError):
            RunResult.from_data(bad)


def test_the_files_are_tables_that_fit_together_and_hold_text_only():
    nodes = {number: host(number, text) for number, text in enumerate(HOSTILE)}
    graph = graph_of(nodes, [(0, 1), (2, 1)], {1: [0.25]})
    rows = list(csv.DictReader(io.StringIO(csv_tables.nodes([result(graph)]))))
    edges = list(csv.DictReader(io.StringIO(csv_tables.edges([result(graph)]))))
    assert [int(row["node"]) for row in rows] == list(range(len(HOSTILE)))
    assert [(row["source"], row["target"], row["sessions"]) for row in edges] == [("0", "1", "1"), ("2", "1", "1")]
    assert (rows[1]["score"], rows[0]["score"], rows[1]["dialled_by"]) == ("0.25", "", "2")
    assert not any(row[name].startswith(("=", "@")) for row in rows for name in ("name", "group"))
    assert "\x1b" not in csv_tables.nodes([result(graph)])


def test_a_report_has_the_files_only_where_there_is_a_graph(tmp_path):
    pytest.importorskip("matplotlib")
    graph = graph_of({1: host(1), 2: host(2)}, [(1, 2)])
    names = {one.name for one in write(Report("world", [result(graph)]), OutputFolder(tmp_path / "out")).files}
    assert {"nodes.csv", "edges.csv", "report.html"} <= names
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"Connections of net at 60 s by {by}" in page for by in ("direction", "score", "group"))
    write(Report("world", [result()]), OutputFolder(tmp_path / "out"))
    assert not (tmp_path / "out" / "nodes.csv").exists() and not (tmp_path / "out" / "edges.csv").exists()


def test_the_drawing_is_the_same_each_time_and_shows_what_hangs_together():
    pytest.importorskip("matplotlib")
    from p2pframe.sim.report.graphs import drawings, places

    hosts = {number: host(number, "ab"[number // 20]) for number in range(40)}
    sessions = [(one, other) for one in range(40) for other in range(40) if one != other and one // 20 == other // 20]
    graph = graph_of(hosts, sessions)
    at = places(graph)
    assert (at == places(graph)).all()
    assert drawings(graph, "x", 0) == drawings(graph, "x", 0) and len(drawings(graph, "", 0)) == 3
    # Two halves without a connection lie apart: each node is nearer to the middle of its own half.
    middles = at[:20].mean(axis=0), at[20:].mean(axis=0)
    for number in range(40):
        near, far = middles[number // 20], middles[1 - number // 20]
        assert ((at[number] - near) ** 2).sum() < ((at[number] - far) ** 2).sum()


def test_names_in_a_drawing_are_text():
    pytest.importorskip("matplotlib")
    from p2pframe.sim.report.graphs import drawings

    graph = graph_of({number: host(number, text, honest=False) for number, text in enumerate(HOSTILE)})
    for title, svg, _ in drawings(graph, HOSTILE[0], 0):
        assert "<script" not in svg and "<img" not in svg and "\x1b" not in title + svg


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_world_of_next_to_nobody_is_drawn_and_one_of_nobody_is_not(nodes):
    pytest.importorskip("matplotlib")
    from p2pframe.sim.report.graphs import drawings

    assert len(drawings(graph_of({number: host(number) for number in range(nodes)}), "", 0)) == 3
    assert drawings(graph_of({}), "", 0) == []
