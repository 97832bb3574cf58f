"""The drawing of the neighbourhood."""

from __future__ import annotations

import pytest

from p2pframe.admin import rows
from p2pframe.admin.graph import LETTERS, SIZE, counted, neighbourhood, netgroups
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot


def peers(count):
    return [
        rows.peer(
            SessionSnapshot(
                SessionId(n), "n", PeerAddress("192.0.2.1", 1), f"g{n % 7}", Slot.OUTBOUND, "open", "tcp", 0.0, 0.0,
                bool(n % 3), accepted_items=n, score=None if n % 5 else n / count,
            ),
            1.0,
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["direction", "score", "netgroup"])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 41, 1000])
def test_everybody_is_in_the_drawing_once_and_those_of_a_netgroup_are_neighbours(count, by):
    dots = neighbourhood(peers(count), by)
    assert sorted(dot.peer.id for dot in dots) == list(range(count))
    assert all(0 < dot.x < SIZE and 0 < dot.y < SIZE for dot in dots)
    groups = [dot.peer.netgroup for dot in dots]
    assert groups == sorted(groups)
    assert all(1 <= dot.width <= 5 and 4 <= dot.radius <= 14 for dot in dots)


def test_the_largest_netgroup_is_named_first():
    assert netgroups(peers(10)) == [("g0", 2), ("g1", 2), ("g2", 2), ("g3", 1), ("g4", 1), ("g5", 1), ("g6", 1)]


@pytest.mark.parametrize("by", ["direction", "score", "netgroup"])
def test_the_legend_tells_every_mark_from_every_other_without_its_colour(by):
    dots = neighbourhood(peers(40), by)
    keys = counted(dots)
    assert sum(count for _, count, _ in keys) == len(dots)
    assert len({(kind.shape, kind.letter) for kind, _, _ in keys}) == len(keys)
    assert len({kind.text for kind, _, _ in keys}) == len(keys)


def test_the_largest_netgroups_have_letters_and_one_peer_is_no_group():
    dots = neighbourhood(peers(10), "netgroup")
    assert {dot.peer.netgroup: dot.kind.letter for dot in dots} == {
        "g0": "A", "g1": "B", "g2": "C", "g3": "", "g4": "", "g5": "", "g6": "",
    }  # fmt: skip
    assert {dot.kind.letter for dot in neighbourhood(peers(700), "netgroup")} == {*LETTERS, ""}
