"""The node's neighbourhood, drawn: the node in the middle, its peers around it, those of one netgroup side by side.

A peer's mark says by its shape, its colour and, for a netgroup, its letter what it is: nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

from p2pframe.admin.values import Peer
from p2pframe.admin.values_maps import By

SIZE = 720
"""Width and height of the drawing, in its own units."""
_MIDDLE = SIZE / 2
_RINGS = (150, 215, 280)
_FULL = 40
"""Peers of the innermost ring; with more of them the next ones are used in turn."""
LETTERS = "ABCDEF"
"""Of the largest netgroups, in turn; the others have none."""
_CORNERS = {"triangle": 3, "diamond": 4, "hexagon": 6}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a mark stands for: the class of its colour, its shape, its letter, and in words."""

    name: str
    shape: str
    text: str
    letter: str = ""


OUT = Kind("out", "circle", "dialled by us")
IN = Kind("in", "square", "dialled us")
GOOD = Kind("good", "circle", "score of 0.5 and more")
FAIR = Kind("fair", "diamond", "score of 0.2 to 0.5")
POOR = Kind("poor", "triangle", "score below 0.2")
NONE = Kind("none", "hexagon", "no score")
OTHERS = Kind("others", "circle", "other netgroups")


@dataclass(frozen=True, slots=True)
class Dot:
    """A peer in the drawing; `way` is in or out, `width` of its line goes by what it brought, `path` is its mark."""

    peer: Peer
    x: float
    y: float
    way: str
    width: float
    radius: float
    kind: Kind
    path: str


def neighbourhood(peers: Sequence[Peer], by: By = "direction") -> list[Dot]:
    """Where each peer is drawn, and how."""
    ordered = sorted(peers, key=lambda one: (one.network, one.netgroup, one.id))
    rings = 1 if len(ordered) <= _FULL else len(_RINGS)
    most = max((one.accepted_items for one in ordered), default=0) or 1
    groups = _letters(peers)
    dots = []
    for number, peer in enumerate(ordered):
        angle = 2 * pi * number / max(1, len(ordered)) - pi / 2
        radius = _RINGS[number % rings] if rings > 1 else _RINGS[1]
        x, y = round(_MIDDLE + radius * cos(angle), 1), round(_MIDDLE + radius * sin(angle), 1)
        kind = _kind(peer, by, groups)
        size = _radius(peer, len(ordered), bool(kind.letter))
        width = round(1 + 4 * peer.accepted_items / most, 1)
        dots.append(Dot(peer, x, y, "in" if peer.inbound else "out", width, size, kind, mark(kind.shape, x, y, size)))
    return dots


def counted(dots: Sequence[Dot]) -> list[tuple[Kind, int, str]]:
    """The legend: each kind that is in the drawing, how many of it there are, and its mark around (10, 10)."""
    counts: dict[Kind, int] = {}
    for dot in dots:
        counts[dot.kind] = counts.get(dot.kind, 0) + 1
    order = {kind: number for number, kind in enumerate((OUT, IN, GOOD, FAIR, POOR, NONE))}
    found = sorted(counts, key=lambda kind: (order.get(kind, len(order)), kind.letter or "~"))
    return [(kind, counts[kind], mark(kind.shape, 10, 10, 8)) for kind in found]


def netgroups(peers: Sequence[Peer]) -> list[tuple[str, int]]:
    """How many peers each netgroup has, the largest first: one that has most of them is worth a look."""
    counts: dict[str, int] = {}
    for peer in peers:
        counts[peer.netgroup] = counts.get(peer.netgroup, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def mark(shape: str, x: float, y: float, radius: float) -> str:
    """The path of a mark."""
    if shape == "circle":
        r = f"{radius:g}"
        return f"M{x - radius:g} {y:g}a{r} {r} 0 1 0 {2 * radius:g} 0a{r} {r} 0 1 0 {-2 * radius:g} 0z"
    if shape == "square":
        half = 0.85 * radius
        return f"M{x - half:g} {y - half:g}h{2 * half:g}v{2 * half:g}h{-2 * half:g}z"
    corners = _CORNERS[shape]
    wide = 1.15 * radius
    points = [
        (x + wide * sin(2 * pi * corner / corners), y - wide * cos(2 * pi * corner / corners))
        for corner in range(corners)
    ]
    return "M" + "L".join(f"{round(px, 1):g} {round(py, 1):g}" for px, py in points) + "z"


def _letters(peers: Sequence[Peer]) -> dict[str, Kind]:
    """Those of more than one peer, as far as there are letters."""
    largest = [(name, count) for name, count in netgroups(peers) if count > 1][: len(LETTERS)]
    return {
        name: Kind(f"group{number}", "square", f"netgroup {name}", LETTERS[number])
        for number, (name, _) in enumerate(largest)
    }


def _kind(peer: Peer, by: By, groups: dict[str, Kind]) -> Kind:
    if by == "netgroup":
        return groups.get(peer.netgroup, OTHERS)
    if by == "score":
        score = peer.score
        return NONE if score is None else GOOD if score >= 0.5 else FAIR if score >= 0.2 else POOR
    return IN if peer.inbound else OUT


def _radius(peer: Peer, count: int, letter: bool) -> float:
    # A thousand marks of full size would lie on one another; one with a letter has room for it.
    largest = 14.0 if count <= 40 else 10.0 if count <= 100 else 7.0
    if letter:
        return largest
    score = peer.score
    return round(max(4.0, largest * (0.4 + 0.6 * (0.33 if score is None else min(1.0, max(0.0, score))))), 1)
