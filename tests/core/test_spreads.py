"""How items spread as far as a node saw: the tree, duplicates, coverage; and that none of it grows without bound."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.config.settings import Limits
from p2pframe.core.spreads import Spreads
from p2pframe.interfaces import SpreadPeer
from p2pframe.model import ACCEPTED, Item, PeerAddress
from p2pframe.testing.context import FakeMetrics
from tests.core.test_items import TX, Core, Session, item


class Kept:
    """Spreads of one network whose sessions are at 192.0.2.<id>."""

    def __init__(self, **limits) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.metrics = FakeMetrics()
        self.limits = Limits(**limits)
        now = self.clock.seconds
        self.spreads = Spreads(now, lambda: 5e8 + now(), lambda: self.limits, self.metrics)

    def came(self, *sessions):
        for session in sessions:
            self.spreads.came(session, address(session))

    def begin(self, number, source=None, present=0, earlier=(), asked=()):
        self.spreads.begin(item(number), source, present, earlier, asked)

    def one(self, number):
        return self.spreads.one(TX, item(number).id)

    def left_out(self, what):
        return self.metrics.value("spread_left_out_total", what)


def address(session):
    return PeerAddress(f"192.0.2.{session}", 8333)


def test_the_tree_says_who_brought_it_who_told_later_and_whom_we_told():
    kept = Kept()
    kept.came(1, 2, 3, 4)
    kept.begin(7, source=2, present=4, earlier=[1, 2], asked=[1, 2])
    kept.clock.advance(0.25)
    kept.spreads.announced(3, TX, [item(9).id, item(7).id], kept.clock.seconds())
    kept.clock.advance(0.25)
    kept.spreads.told(4, TX, [item(7)])
    kept.clock.advance(0.5)
    kept.spreads.served(4, TX, item(7).id)
    kept.spreads.served(4, TX, item(8).id)
    found = kept.one(7)
    assert found.peers == (
        SpreadPeer(2, address(2), 0.0, None, None, True),
        SpreadPeer(1, address(1), 0.0, None, None, True),
        SpreadPeer(3, address(3), 0.25, None, None, False),
        SpreadPeer(4, address(4), None, 0.5, 1.0, False),
    )
    assert (found.source, found.address, found.first_seen) == (2, address(2), 5e8 + 1000.0)
    assert (found.heard_from, found.told, found.delays) == (3, 1, (0.0, 0.0, 0.25))
    assert kept.one(8) is None and kept.spreads.one("other", item(7).id) is None


def test_coverage_counts_those_who_were_there_and_nobody_twice():
    kept = Kept()
    kept.came(1, 2, 3)
    kept.begin(7, source=1, present=3)
    kept.came(4)
    for session in (1, 2, 2, 4):
        kept.spreads.announced(session, TX, [item(7).id], kept.clock.seconds())
    kept.spreads.told(2, TX, [item(7)])
    kept.spreads.told(4, TX, [item(7)])
    assert (kept.one(7).reached, kept.one(7).present) == (2, 3)
    kept.spreads.told(3, TX, [item(7)])
    assert kept.one(7).reached == 3


def test_what_comes_in_whole_again_is_counted_with_its_size():
    kept = Kept()
    kept.begin(7)
    for _ in range(3):
        kept.spreads.again(Item(TX, item(7).id, None, 250))
    kept.spreads.again(item(8))
    assert (kept.one(7).duplicates, kept.one(7).wasted) == (3, 750)


def test_peers_of_an_item_are_bounded_and_those_left_out_counted():
    kept = Kept(spread_peers=5)
    kept.begin(7, earlier=[1, 2, 3, 4, 5, 6], asked=[1])
    for session in range(10, 20):
        kept.spreads.announced(session, TX, [item(7).id], kept.clock.seconds())
        kept.spreads.told(session, TX, [item(7)])
        kept.spreads.served(session, TX, item(7).id)
    found = kept.one(7)
    assert (found.heard_from, found.told, len(found.delays), len(found.peers)) == (16, 10, 5, 10)
    assert kept.left_out("peers") == 1 + 10 + 5 + 5


def test_a_session_that_has_ended_has_its_address_still_up_to_a_bound():
    kept = Kept(spread_sessions=2)
    kept.came(*range(1, 6))
    kept.begin(7, source=1, present=5)
    for session in range(2, 6):
        kept.spreads.announced(session, TX, [item(7).id], kept.clock.seconds())
    for session in (1, 2, 3, 9):
        kept.spreads.left(session)
    assert [peer.address for peer in kept.one(7).peers] == [None, *map(address, (2, 3, 4, 5))]
    # Whoever is forgotten was there all the same.
    assert kept.one(7).reached == 5
    assert kept.left_out("sessions") == 1 and len(kept.spreads._seats) == 4


def test_the_latest_of_a_topic():
    kept = Kept(spreads=4)
    for number in range(4):
        kept.spreads.begin(Item("block" if number == 1 else TX, item(number).id, None, 1), None, 0, (), ())
    assert [one.id[-1] for one in kept.spreads.latest(2)] == [3, 2]
    assert [one.id[-1] for one in kept.spreads.latest(9, "block")] == [1]
    assert kept.spreads.latest(9, "none") == [] and kept.spreads.latest(1)[0].peers == ()


@pytest.mark.parametrize("late", [False, True])
def test_those_who_announced_an_item_before_it_came_are_known(late):
    """By the scheduler, which has forgotten them by the time that a slow validator has judged."""
    core = Core()
    first, second = Session(1), Session(2)
    core.items.announced(first, TX, [item(7).id])
    core.items.announced(second, TX, [item(7).id])
    if late:
        judging = Deferred()
        core.answer = lambda item: judging
    core.items.delivered(first, item(7))
    if late:
        core.items.delivered(second, item(7))
        judging.callback(ACCEPTED)
    found = core.items.spreads.one(TX, item(7).id)
    assert [(peer.session, peer.heard, peer.asked) for peer in found.peers] == [(1, 0.0, True), (2, 0.0, False)]
    core.items.delivered(second, item(7))
    assert core.items.spreads.one(TX, item(7).id).duplicates == 1
