"""The node's neighbourhood, drawn: the node in the middle, its peers around it, those of one netgroup side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

from p2pframe.admin.values import Peer

SIZE = 720
"""Width and height of the drawing, in its own units."""
_MIDDLE = SIZE / 2
_RINGS = (150, 215, 280)
_FULL = 40
"""Peers of the innermost ring; with more of them the next ones are used in turn."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A peer in the drawing; `way` is in or out, `width` of its line goes by what it brought."""

    peer: Peer
    x: float
    y: float
    way: str
    width: float
    radius: float
    mark: str


def neighbourhood(peers: Sequence[Peer]) -> list[Dot]:
    """Where each peer is drawn."""
    ordered = sorted(peers, key=lambda one: (one.network, one.netgroup, one.id))
    rings = 1 if len(ordered) <= _FULL else len(_RINGS)
    most = max((one.accepted_items for one in ordered), default=0) or 1
    dots = []
    for number, peer in enumerate(ordered):
        angle = 2 * pi * number / max(1, len(ordered)) - pi / 2
        radius = _RINGS[number % rings] if rings > 1 else _RINGS[1]
        score = peer.score
        dots.append(
            Dot(
                peer,
                round(_MIDDLE + radius * cos(angle), 1),
                round(_MIDDLE + radius * sin(angle), 1),
                "in" if peer.inbound else "out",
                round(1 + 4 * peer.accepted_items / most, 1),
                6 if score is None else round(4 + 6 * min(1.0, max(0.0, score)), 1),
                "good" if score is None or score >= 0.5 else "poor",
            )
        )
    return dots


def netgroups(peers: Sequence[Peer]) -> list[tuple[str, int]]:
    """How many peers each netgroup has, the largest first: one that has most of them is worth a look."""
    counts: dict[str, int] = {}
    for peer in peers:
        counts[peer.netgroup] = counts.get(peer.netgroup, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
