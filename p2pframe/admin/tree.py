"""The way of one item, drawn: who brought it, this node, whom it told; beside them those who announced it later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2pframe.admin.values_maps import SpreadDetail, SpreadPeer

ROWS = 16
"""Peers that are drawn on each side; the table has all of them."""
WIDTH, HEAD, ROW = 760, 44, 30
"""In units of the drawing: its width, the room above its rows, and the height of a row."""
LEFT, RIGHT = 250, 510
"""Where the lines of each side end."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One peer in the drawing: `delay` in seconds after the first sight; `kind` is source, told or later."""

    peer: SpreadPeer | None
    kind: str
    delay: float | None
    y: float


@dataclass(frozen=True, slots=True)
class Tree:
    """All of it; `more` are the peers of each side that there was no room for."""

    left: Sequence[Branch]
    right: Sequence[Branch]
    more_left: int
    more_right: int
    width: int
    height: int
    middle: float


def drawn(detail: SpreadDetail) -> Tree:
    """Where each is drawn, by time from top to bottom. The source comes first, and is None where this node made it."""
    source = detail.spread.source
    brought = next((one for one in detail.peers if one.session == source), None)
    told = sorted((one for one in detail.peers if one.told is not None), key=lambda one: (one.told, one.session))
    later = sorted(
        (one for one in detail.peers if one.heard is not None and one.session != source),
        key=lambda one: (one.heard, one.session),
    )
    left = [Branch(brought, "source", 0.0, _y(0))]
    left += [Branch(one, "later", one.heard, _y(1 + number)) for number, one in enumerate(later[: ROWS - 1])]
    right = [Branch(one, "told", one.told, _y(number)) for number, one in enumerate(told[:ROWS])]
    rows = max(len(left), len(right))
    height = HEAD + ROW * rows + 8
    return Tree(
        left, right, len(later) - len(left) + 1, len(told) - len(right), WIDTH, height, _y(min(rows - 1, 4) / 2)
    )


def _y(row: float) -> float:
    return HEAD + ROW * (row + 0.5)
