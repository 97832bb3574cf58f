"""The drawing of the neighbourhood."""

from __future__ import annotations

import pytest

from p2pframe.admin.graph import SIZE, neighbourhood, netgroups
from p2pframe.admin.values import Peer

PLAIN = {
    "network": "n", "address": "192.0.2.1:1", "slot": "outbound", "state": "open", "transport": "tcp",
    "encryption": "", "agent": "", "version": 1, "services": [], "age": 1.0, "quiet": 1.0, "useless": None,
    "sent": None, "block": None, "ping": None, "best_ping": None, "bytes_in": 0, "bytes_out": 0,
    "messages_in": {}, "messages_out": {},
    "rejected_items": 0, "timeouts": 0, "send_queue": 0, "protected": False,
}  # fmt: skip


def peers(count):
    return [
        Peer(
            **PLAIN, id=n, netgroup=f"g{n % 7}", inbound=bool(n % 3), accepted_items=n,
            score=None if n % 5 else n / count,
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 40, 41, 1000])
def test_everybody_is_in_the_drawing_once_and_those_of_a_netgroup_are_neighbours(count):
    dots = neighbourhood(peers(count))
    assert sorted(dot.peer.id for dot in dots) == list(range(count))
    assert all(0 < dot.x < SIZE and 0 < dot.y < SIZE for dot in dots)
    groups = [dot.peer.netgroup for dot in dots]
    assert groups == sorted(groups)
    assert all(1 <= dot.width <= 5 and 4 <= dot.radius <= 10 for dot in dots)


def test_the_largest_netgroup_is_named_first():
    assert netgroups(peers(10)) == [("g0", 2), ("g1", 2), ("g2", 2), ("g3", 1), ("g4", 1), ("g5", 1), ("g6", 1)]
