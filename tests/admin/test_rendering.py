"""Pages: made in slices, shared by those that refresh themselves, and never dearer than they may be."""

from __future__ import annotations

from itertools import pairwise

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.admin.rendering import KEPT, LONGEST, PIECES, Lazily, Made, Rendering
from p2pframe.admin.slices import SLICE
from p2pframe.testing.context import result_of


class World:
    """Pages of so many pieces, of which each takes so long."""

    def __init__(self, pieces=10, takes=0.001, share=0.01):
        self.clock = Clock()
        self.pieces, self.takes = pieces, takes
        self.begun = 0
        self.counts = {}
        self.rendering = Rendering(self.clock, lambda: share, self.count)

    def count(self, how):
        self.counts[how] = self.counts.get(how, 0) + 1

    def begin(self):
        self.begun += 1
        return Made(self.text(self.begun))

    def text(self, number):
        for _ in range(self.pieces):
            self.clock.rightNow += self.takes
            yield f"{number} "

    def refresh(self, key="page"):
        return Deferred.fromCoroutine(self.rendering.refreshed(key, self.begin))

    def finished(self, deferred):
        """What comes of it, as soon as it does."""
        while not deferred.called:
            self.clock.advance(0)
        return result_of(deferred)

    def open(self, key="page"):
        return Deferred.fromCoroutine(self.rendering.opened(key, self.begin))


def test_a_long_page_lets_others_have_their_turn():
    world = World(pieces=2000, takes=0.0005)
    turns, later = [0.0], world.clock.callLater

    def noted(*call):
        turns.append(world.clock.seconds())
        return later(*call)

    world.clock.callLater = noted
    page = world.open()
    assert not page.called
    assert len(world.finished(page).text.split()) == 2000
    held = [end - start for start, end in pairwise(turns)]
    assert len(held) > 10
    assert max(held) <= SLICE + PIECES * world.takes + 1e-9


def test_a_short_page_takes_no_turn():
    assert result_of(World(pieces=1).open()).text == "1 "


def test_who_opens_a_page_has_it_as_it_is_now():
    world = World()
    assert [result_of(world.open()).text[:1] for _ in range(3)] == ["1", "2", "3"]


def test_pages_that_refresh_themselves_take_their_share_and_no_more():
    world = World(pieces=100, takes=0.001, share=0.01)
    seen = []
    for _ in range(1000):
        seen.append(world.finished(world.refresh()).tag)
        world.clock.advance(0.1)
    # A page takes 0.1 s, so one in 10 s may be made.
    assert world.begun * 0.1 <= 0.01 * world.clock.seconds() + 0.11
    assert world.begun >= 9
    assert len(set(seen)) == world.begun
    assert world.counts == {"made": world.begun, "kept": 1000 - world.begun}


def test_pages_that_are_open_have_equal_parts_of_the_share():
    world = World(pieces=100, takes=0.001, share=0.01)
    seen = {"one": set(), "other": set()}
    for _ in range(1000):
        for key, tags in seen.items():
            tags.add(world.finished(world.refresh(key)).tag)
        world.clock.advance(0.1)
    # Two that take 0.1 s each, so each comes once in 20 s; the first of all is for nothing.
    assert world.begun * 0.1 <= 0.01 * world.clock.seconds() + 0.31
    assert min(map(len, seen.values())) >= 5
    # Who has gone leaves its part to the other.
    world.clock.advance(LONGEST + 1)
    world.finished(world.refresh("one"))
    assert world.rendering.after("one") == pytest.approx(10.0)


def test_what_is_cheap_is_made_every_second_and_says_when_to_come_again():
    world = World(pieces=1, takes=0.0001)
    for _ in range(100):
        result_of(world.refresh())
        assert world.rendering.after("page") == pytest.approx(1.0)
        world.clock.advance(0.5)
    assert 48 <= world.begun <= 51
    dear = World(pieces=100, takes=0.001)
    dear.finished(dear.refresh())
    assert dear.rendering.after("page") == pytest.approx(10.0)


def test_the_dearest_page_comes_once_in_a_minute():
    world = World(pieces=10, takes=10.0, share=0.0001)
    first = world.finished(world.refresh())
    assert world.rendering.after("page") == LONGEST
    world.clock.advance(LONGEST - 1)
    assert world.finished(world.refresh()) is first
    world.clock.advance(2)
    assert world.finished(world.refresh()) is not first


def test_all_who_wait_get_the_same_and_who_goes_meanwhile_disturbs_nobody():
    world = World(pieces=2000, takes=0.0005)
    first, second, third = world.refresh(), world.refresh(), world.refresh()
    first.addErrback(lambda _: None)
    first.cancel()
    assert world.finished(third) is result_of(second)
    assert world.begun == 1
    assert world.counts == {"made": 1, "shared": 2}


def test_a_page_that_can_not_be_made_is_told_to_each_and_tried_again():
    world = World()

    def broken():
        raise ZeroDivisionError

    def later():
        yield from "ab"
        raise ZeroDivisionError

    for begin in (broken, lambda: Made(later())):
        for method in (world.rendering.refreshed, world.rendering.opened):
            with pytest.raises(ZeroDivisionError):
                result_of(Deferred.fromCoroutine(method("page", begin)))
    world.clock.advance(LONGEST)
    assert result_of(world.refresh()).text


def test_so_many_are_kept_and_no_refusal():
    world = World(pieces=1)
    for number in range(KEPT + 5):
        result_of(world.open(number))
        world.clock.advance(1)
    assert len(world.rendering._kept[None]) == KEPT
    shown = result_of(Deferred.fromCoroutine(world.rendering.opened("gone", lambda: Made(["x"], 404))))
    assert (shown.status, "gone" in world.rendering._kept[None]) == (404, False)


def test_rows_are_made_when_it_is_their_turn():
    made = []
    rows = Lazily([1, 2, 3], lambda number: made.append(number) or number * 2)
    assert (len(rows), bool(rows), made) == (3, True, [])
    assert next(iter(rows)) == 2
    assert made == [1]
    assert (rows[2], list(rows[:2])) == (6, [2, 4])


@pytest_twisted.ensureDeferred
async def test_a_refresh_that_brings_nothing_new_is_304_and_each_session_has_its_own_token(web):
    one, other = await web.log_in(), await web.log_in()
    first = await web.ask(path="/peers", x_refresh="1", **one.headers)
    second = await web.ask(path="/peers", x_refresh="1", **other.headers)
    assert (first.status, second.status) == (200, 200)
    assert first.get("etag") == second.get("etag")
    assert float(first.get("x-refresh-after")) >= 1
    assert one.csrf.encode() in first.body
    assert other.csrf.encode() in second.body
    assert one.csrf.encode() not in second.body
    same = await web.ask(path="/peers", x_refresh="1", if_none_match=first.get("etag"), **one.headers)
    assert (same.status, same.body) == (304, b"")
    opened = await web.ask(path="/peers", **one.headers)
    assert opened.get("etag") != first.get("etag")


@pytest_twisted.ensureDeferred
async def test_what_a_role_may_not_have_is_not_kept_for_it(web):
    first = await web.ask(path="/peers", x_refresh="1", **web.operator)
    second = await web.ask(path="/peers", x_refresh="1", **web.viewer)
    assert b'data-do="disconnect"' in first.body
    assert b'data-do="disconnect"' not in second.body
