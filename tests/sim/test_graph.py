"""Graphs: each host's degree, one connected whole, directions in balance, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from p2pframe.interfaces import DiscoveryState, IDiscovery
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.sim.graph import GraphDiscovery, GraphPeersConfig, directed, edges, impossible, neighbours, regular
from tests.work import Work


def degrees(size, found):
    counted = Counter(host for edge in found for host in edge)
    return [counted[host] for host in range(size)]


def parts(size, found):
    """How many connected parts a graph has."""
    root = list(range(size))

    def find(host):
        while root[host] != host:
            root[host] = root[root[host]]
            host = root[host]
        return host

    for one, other in found:
        root[find(one)] = find(other)
    return len({find(host) for host in range(size)})


def simple(found):
    return all(one != other for one, other in found) and len({frozenset(edge) for edge in found}) == len(found)


@given(st.integers(2, 60), st.integers(1, 59), st.integers(0, 1000))
@settings(deadline=None)
def test_a_regular_graph_is_regular_simple_and_connected_wherever_there_is_one(size, degree, seed):
    if impossible(size, degree):
        with pytest.raises(ValueError, match="hosts"):
            regular(size, degree, Random(seed))
        return
    found = regular(size, degree, Random(seed))
    assert degrees(size, found) == [degree] * size
    assert simple(found)
    assert parts(size, found) == 1


@pytest.mark.parametrize("degree", [2, 3, 8])
def test_ten_thousand_hosts_are_connected_in_so_many_steps(degree):
    with Work(6_000_000):
        found = edges("regular", 10_000, degree, Random(1))
    assert set(degrees(10_000, found)) == {degree}
    assert parts(10_000, found) == 1
    assert simple(found)


def test_circles_are_joined_to_one():
    # At degree 2 what is drawn is several circles, nearly always.
    for seed in range(20):
        found = regular(50, 2, Random(seed))
        assert (parts(50, found), set(degrees(50, found)), simple(found)) == (1, {2}, True)


def test_equal_seeds_give_equal_graphs_and_others_others():
    assert edges("regular", 200, 8, Random(1)) == edges("regular", 200, 8, Random(1))
    assert edges("regular", 200, 8, Random(1)) != edges("regular", 200, 8, Random(2))


def test_regular_graphs_are_about_as_random_as_they_can_be():
    # Each pair of 20 hosts is joined in a share of degree / (size - 1) of the graphs.
    counted = Counter(edge for seed in range(600) for edge in regular(20, 4, Random(seed)))
    assert len(counted) == 190
    expected = 600 * 4 / 19
    assert sum((count - expected) ** 2 / expected for count in counted.values()) < 260


@pytest.mark.parametrize(
    ("kind", "size", "count", "wanted"),
    [
        ("complete", 5, 10, [4, 4, 4, 4, 4]), ("ring", 5, 5, [2, 2, 2, 2, 2]), ("ring", 2, 1, [1, 1]),
        ("line", 4, 3, [1, 2, 2, 1]), ("star", 5, 4, [4, 1, 1, 1, 1]),
    ],
)  # fmt: skip
def test_the_other_kinds(kind, size, count, wanted):
    found = edges(kind, size, 0, Random(1))
    assert (len(found), degrees(size, found), parts(size, found)) == (count, wanted, 1)
    assert simple(found)


def test_everybody_dials_the_middle_of_a_star():
    assert edges("star", 4, 0, Random(1)) == [(1, 0), (2, 0), (3, 0)]


@given(st.integers(2, 40), st.data())
@settings(deadline=None)
def test_directions_are_in_balance(size, data):
    pairs = [(one, other) for one in range(size) for other in range(one + 1, size)]
    drawn = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    found = directed(size, drawn)
    assert [tuple(sorted(edge)) for edge in found] == drawn
    out, into = Counter(one for one, _ in found), Counter(other for _, other in found)
    assert all(abs(out[host] - into[host]) <= 1 for host in range(size))


def test_at_degree_eight_each_dials_four():
    dialled = list(neighbours(1000, edges("regular", 1000, 8, Random(1))))
    assert {len(peers) for peers in dialled} == {4}


@pytest.mark.parametrize(
    ("size", "degree", "said"), [(5, 5, "4 at the most"), (5, 3, "must be even"), (4, 1, "2 at the least"), (2, 1, "")]
)
def test_why_there_is_no_such_graph(size, degree, said):
    assert said in impossible(size, degree)
    assert bool(said) == bool(impossible(size, degree))


def test_the_discovery_tells_once_as_much_as_is_asked_for():
    peers = tuple(FoundAddress(PeerAddress("192.0.2.1", port)) for port in (1, 2, 3))
    discovery = GraphDiscovery(GraphPeersConfig(peers=peers), None)
    assert verifyObject(IDiscovery, discovery)
    assert discovery.manual
    state = DiscoveryState(0.0, 0, 8, 0, None)
    assert discovery.due(state)
    found = []
    discovery.find(2).addCallback(found.extend)
    assert found == list(peers[:2])
    assert not discovery.due(state)
    for done in (discovery.announce([]), discovery.withdraw()):
        assert done.called
