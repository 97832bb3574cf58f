"""The world's connections, drawn: who dialled whom, marked by direction, by score, and by netgroup or group.

Nodes that are connected are drawn near each other (Fruchterman and Reingold, "Graph Drawing by Force-directed
Placement", 1991): what hangs together, and what does not, is seen. The same graph is drawn the same way each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, sqrt
from random import Random
from typing import TypeAlias

import numpy
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from p2pframe.sim.report.model import visible
from p2pframe.sim.report.svg import FAULT, INK, SERIES, drawn
from p2pframe.sim.world_graph import WorldGraph, WorldNode

ROUNDS = 80
"""Steps towards the final places."""
LARGEST = 7
"""Netgroups, or groups, that have a mark of their own; the others share one."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "h", "X")
_SIZE = 6.5
"""Inches."""

Places: TypeAlias = NDArray[numpy.float64]


def drawings(graph: WorldGraph, label: str, number: int) -> list[tuple[str, str, tuple[str, ...]]]:
    """Title, SVG and notes of each drawing; `number` is that of the first plot of the page."""
    if not graph.nodes:
        return []
    at = places(graph)
    made = []
    for offset, (by, kinds) in enumerate(_kinds(graph).items()):
        title = f"Connections of {graph.network} at {graph.time:g} s by {by}"
        title = visible(f"{title}: {label}" if label else title, 100)
        notes = [f"{len(graph.nodes)} nodes, {sum(count for _, _, count in graph.edges)} sessions; all are in "
                 "nodes.csv and edges.csv."]  # fmt: skip
        if graph.together:
            notes.append(f"Hosts are put together by {graph.together}: a large mark stands for many.")
        made.append((title, drawn(_drawing(graph, at, kinds, title), number + offset, title, _SIZE, _SIZE),
                     tuple(notes)))  # fmt: skip
    return made


def places(graph: WorldGraph) -> Places:
    """Where each node is drawn, within a square."""
    count = len(graph.nodes)
    rng = Random(count)
    at = numpy.array([[rng.random(), rng.random()] for _ in range(count)])
    ends = numpy.array([edge[:2] for edge in graph.edges if edge[0] != edge[1]], dtype=int).reshape(-1, 2)
    near = sqrt(1.0 / count)
    for step in range(ROUNDS):
        away = at[:, None, :] - at[None, :, :]
        square = numpy.maximum((away**2).sum(axis=2), 1e-6)
        moved = (away * (near**2 / square)[:, :, None]).sum(axis=1)
        along = at[ends[:, 0]] - at[ends[:, 1]]
        pull = along * (numpy.sqrt((along**2).sum(axis=1)) / near)[:, None]
        numpy.add.at(moved, ends[:, 0], -pull)
        numpy.add.at(moved, ends[:, 1], pull)
        # What hangs together with nothing would drift away for ever.
        moved -= (at - 0.5) * 0.05
        length = numpy.maximum(numpy.sqrt((moved**2).sum(axis=1)), 1e-9)
        warmth = 0.1 * (1 - step / ROUNDS)
        at = at + moved * (numpy.minimum(length, warmth) / length)[:, None]
    return numpy.asarray(at, dtype=numpy.float64)


def _kinds(graph: WorldGraph) -> dict[str, list[tuple[str, str, str, list[int]]]]:
    """By what a drawing goes by: each kind's words, marker, colour and nodes."""
    key: Callable[[WorldNode], str]
    by_group = len({node.netgroup for node in graph.nodes}) >= len(graph.nodes) or bool(graph.together)
    key, name = (_group, "group") if by_group else (_netgroup, "netgroup")
    sizes: dict[str, int] = {}
    for node in graph.nodes:
        sizes[key(node)] = sizes.get(key(node), 0) + node.hosts
    largest = sorted(sizes, key=lambda one: (-sizes[one], one))[:LARGEST]
    named = {one: visible(one, 30) or "-" for one in largest}
    return {
        "direction": _sorted(graph, _direction, ("dials and is dialled", "only dials", "only is dialled", "alone")),
        "score": _sorted(graph, _score, ("0.5 and more", "0.2 to 0.5", "below 0.2", "no score")),
        name: _sorted(graph, lambda node: named.get(key(node), "others"), (*named.values(), "others")),
    }


def _sorted(
    graph: WorldGraph, kind: Callable[[WorldNode], str], kinds: Sequence[str]
) -> list[tuple[str, str, str, list[int]]]:
    found: dict[str, list[int]] = {one: [] for one in kinds}
    for number, node in enumerate(graph.nodes):
        found[kind(node)].append(number)
    return [
        (text, _MARKERS[n % len(_MARKERS)], SERIES[n % len(SERIES)], found[text])
        for n, text in enumerate(found) if found[text]
    ]  # fmt: skip


def _group(node: WorldNode) -> str:
    return node.group if node.honest else f"{node.group}, attackers"


def _netgroup(node: WorldNode) -> str:
    return node.netgroup


def _direction(node: WorldNode) -> str:
    if node.dialled and node.dialled_by:
        return "dials and is dialled"
    return "only dials" if node.dialled else "only is dialled" if node.dialled_by else "alone"


def _score(node: WorldNode) -> str:
    if node.score is None or not isfinite(node.score):
        return "no score"
    return "0.5 and more" if node.score >= 0.5 else "0.2 to 0.5" if node.score >= 0.2 else "below 0.2"


def _drawing(
    graph: WorldGraph, at: Places, kinds: Sequence[tuple[str, str, str, list[int]]], title: str
) -> Callable[[Figure], None]:
    largest = 60.0 if len(graph.nodes) <= 100 else 18.0

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_title(title, loc="left")
        axes.set_axis_off()
        axes.set_aspect("equal")
        ends = [at[place] for source, target, _ in graph.edges if source != target for place in (source, target)]
        if ends:
            # One path for all: a thousand hosts have ten thousand lines.
            way = Path(numpy.array(ends), [Path.MOVETO, Path.LINETO] * (len(ends) // 2))
            axes.add_patch(PathPatch(way, fill=False, edgecolor=INK, linewidth=0.4, alpha=0.3))
        most = max(node.hosts for node in graph.nodes)
        handles = []
        for text, marker, colour, members in kinds:
            sizes = [max(largest / 4, largest * graph.nodes[one].hosts / most) for one in members]
            axes.scatter(at[members, 0], at[members, 1], s=sizes, marker=marker, c=colour, linewidths=0, zorder=3)
            count = sum(graph.nodes[one].hosts for one in members)
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=f" {text}: {count}"))
        bad = [one for one, node in enumerate(graph.nodes) if not node.honest]
        if bad:
            axes.scatter(at[bad, 0], at[bad, 1], s=largest * 2.5, facecolors="none", edgecolors=FAULT, zorder=4)
            handles.append(Line2D([], [], color=FAULT, marker="o", fillstyle="none", linestyle="", label=" attackers"))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)

    return draw
