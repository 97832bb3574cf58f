"""Graphs of who is connected to whom, and the discovery plugin that hands each host its part of one.

Regular graphs come of pairing stubs at random and mending what paired badly by swaps, which is close to uniform at the
degrees of peer-to-peer networks (Bollobás 1980; McKay and Wormald 1990). They are connected: parts are joined by swaps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Field, PluginConfig, plugin

_SWAPS = 1_000
"""Tries to mend one bad pair before all pairs are drawn again."""
_DRAWS = 100

Edge = tuple[int, int]
"""Two hosts by their numbers; where it has a direction, the first one dials."""


class GraphPeersConfig(PluginConfig):
    """Options of the simulator's `graph` discovery; nobody writes them, they are drawn."""

    peers: tuple[FoundAddress, ...] = Field((), description="Whom this host dials.")


@plugin("graph", config=GraphPeersConfig)
@implementer(IDiscovery)
class GraphDiscovery:
    """The neighbours that a scenario's graph gives this host, held in manual slots."""

    name = "graph"
    manual = True

    def __init__(self, config: GraphPeersConfig, context: IContext) -> None:
        self.config = config
        self._told = False

    def due(self, state: DiscoveryState) -> bool:
        """Once at the start."""
        return not self._told

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """The neighbours, at once."""
        self._told = True
        return succeed(self.config.peers[:limit])

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """Nobody to tell."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Nothing to take back."""
        return succeed(None)


def edges(kind: str, size: int, degree: int, rng: Random) -> list[Edge]:
    """The edges between `size` hosts, each directed: who dials whom.

    `kind` is one of GraphConfig's; `degree` matters to regular graphs alone. Hosts dial as many of their neighbours as
    dial them, or one more or less; in a star all dial host 0. Raises ValueError where there is no such graph.
    """
    if kind == "ring":
        return [(one, (one + 1) % size) for one in range(size if size > 2 else size - 1)]
    if kind == "line":
        return [(one, one + 1) for one in range(size - 1)]
    if kind == "star":
        return [(one, 0) for one in range(1, size)]
    if kind == "complete":
        return directed(size, [(one, other) for one in range(size) for other in range(one + 1, size)])
    return directed(size, regular(size, degree, rng))


def impossible(size: int, degree: int) -> str:
    """Why there is no connected graph of so many hosts with so many neighbours each; empty where there is one."""
    if degree >= size:
        return f"{size} hosts can't have {degree} neighbours each: {size - 1} at the most"
    if size * degree % 2:
        return f"{size} hosts can't have {degree} neighbours each: the product of both must be even"
    if degree < 2 < size:
        return f"with {degree} neighbour each, {size} hosts are not connected: 2 at the least"
    return ""


def regular(size: int, degree: int, rng: Random) -> list[Edge]:
    """A random connected graph in which each of `size` hosts has `degree` neighbours. Raises ValueError."""
    problem = impossible(size, degree)
    if problem:
        raise ValueError(problem)
    if degree > (size - 1) / 2:
        # Almost everybody knows everybody, where pairing fails: draw who does not. Connected, for two hosts that are
        # no neighbours have one in common.
        absent = set(_paired(size, size - 1 - degree, rng))
        return [
            (one, other) for one in range(size) for other in range(one + 1, size) if (one, other) not in absent
        ]  # fmt: skip
    return _joined(size, _paired(size, degree, rng), rng)


def _paired(size: int, degree: int, rng: Random) -> list[Edge]:
    for _ in range(_DRAWS):
        found = _pair(size, degree, rng)
        if found is not None:
            return found
    raise ValueError(f"no graph of {size} hosts with {degree} neighbours each was found in {_DRAWS} draws")


def _pair(size: int, degree: int, rng: Random) -> list[Edge] | None:
    stubs = [host for host in range(size) for _ in range(degree)]
    rng.shuffle(stubs)
    found: dict[Edge, int] = {}
    edges: list[Edge] = []
    bad: list[Edge] = []
    for one, other in zip(stubs[::2], stubs[1::2], strict=True):
        edge = (one, other) if one < other else (other, one)
        if one == other or edge in found:
            bad.append(edge)
        else:
            found[edge] = len(edges)
            edges.append(edge)
    for one, other in bad:
        for _ in range(_SWAPS if edges else 0):
            index = rng.randrange(len(edges))
            third, fourth = edges[index] if rng.random() < 0.5 else edges[index][::-1]
            first = (one, third) if one < third else (third, one)
            second = (other, fourth) if other < fourth else (fourth, other)
            if one == third or other == fourth or first == second or first in found or second in found:
                continue
            del found[edges[index]]
            found[first] = index
            found[second] = len(edges)
            edges[index] = first
            edges.append(second)
            break
        else:
            return None
    return edges


def _joined(size: int, edges: list[Edge], rng: Random) -> list[Edge]:
    """The same with all its parts connected: of two parts, an edge each is taken from a circle and crossed."""
    around: list[list[int]] = [[] for _ in range(size)]
    for index, (one, other) in enumerate(edges):
        around[one].append(index)
        around[other].append(index)
    seen = [False] * size
    joined: int | None = None
    for start in range(size):
        if seen[start]:
            continue
        spare = _spare(start, edges, around, seen)
        if joined is None:
            joined = spare
            continue
        assert joined is not None and spare is not None
        one, other = edges[joined]
        third, fourth = edges[spare] if rng.random() < 0.5 else edges[spare][::-1]
        # Neither edge was a bridge, so that each of the new ones may go again.
        edges[joined] = (min(one, third), max(one, third))
        edges[spare] = (min(other, fourth), max(other, fourth))
    return edges


def _spare(start: int, edges: list[Edge], around: list[list[int]], seen: list[bool]) -> int | None:
    """Look through one part of the graph; an edge of it that is no bridge (None in a part of two hosts)."""
    seen[start] = True
    queue = deque([start])
    used = set()
    spare = None
    while queue:
        host = queue.popleft()
        for index in around[host]:
            one, other = edges[index]
            to = other if one == host else one
            if not seen[to]:
                seen[to] = True
                used.add(index)
                queue.append(to)
            elif index not in used:
                spare = index
    return spare


def directed(size: int, edges: Sequence[Edge]) -> list[Edge]:
    """The edges with directions: each host has as many out as in, or one more or less.

    They are walked in circles; hosts with an odd number of edges get one more to a host that is not there.
    """
    nowhere = size
    around: list[list[int]] = [[] for _ in range(size + 1)]
    every = list(edges)
    for index, (one, other) in enumerate(every):
        around[one].append(index)
        around[other].append(index)
    for host in range(size):
        if len(around[host]) % 2:
            around[host].append(len(every))
            around[nowhere].append(len(every))
            every.append((host, nowhere))
    walked = [False] * len(every)
    found = list(every)
    for start in (nowhere, *range(size)):
        host = start
        while True:
            while around[host] and walked[around[host][-1]]:
                around[host].pop()
            if not around[host]:
                # With even numbers everywhere a walk ends where it began.
                break
            index = around[host].pop()
            walked[index] = True
            one, other = every[index]
            to = other if one == host else one
            found[index] = (host, to)
            host = to
    return found[: len(edges)]


def neighbours(size: int, edges: Sequence[Edge]) -> Iterator[list[int]]:
    """Whom each host dials, in order."""
    found: list[list[int]] = [[] for _ in range(size)]
    for one, other in edges:
        found[one].append(other)
    yield from found
