"""The heap clock against Twisted's own: what runs, in which order, when, and what is left of calls that moved."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock, LoopingCall, deferLater
from zope.interface.verify import verifyObject

from p2pframe.sim.clock import HeapClock

TICK = 2.0**-6
OWN = 2.0**-30  # what each asked time has of its own, so that no two are equal: floats add these up exactly


class Owner:
    alive = True


class Twisted:
    """task.Clock, taken from one call to the next, so that each sees its own time."""

    def __init__(self):
        self.clock = Clock()
        self.callLater, self.seconds = self.clock.callLater, self.clock.seconds

    def run(self, until):
        while calls := self.clock.getDelayedCalls():
            time = min(call.getTime() for call in calls)
            if time > until:
                break
            self.clock.advance(max(0.0, time - self.clock.seconds()))


moves = st.tuples(
    st.sampled_from(["callLater", "callLater", "reset", "delay", "cancel"]),
    st.integers(0, 40),  # which call, of those made so far
    st.integers(-30, 200),  # when, in ticks
)


def play(clock, first, steps):
    """Make calls that make calls: each takes the next steps of the script. Gives who ran when, and what was raised."""
    log, calls, script = [], [], iter(steps)

    def call_later(ticks):
        calls.append(clock.callLater(max(0, ticks) * TICK + (len(calls) + 1) * OWN, ran, len(calls)))

    def ran(number):
        log.append((clock.seconds(), number))
        for _ in range(2):
            step(next(script, None))

    def step(what):
        if what is None:
            return
        verb, which, ticks = what
        if verb == "callLater":
            call_later(ticks)
            return
        call = calls[which % len(calls)]
        shift = len(log) * 2.0**-22
        try:
            if verb == "cancel":
                call.cancel()
            else:
                getattr(call, verb)((abs(ticks) if verb == "reset" else ticks) * TICK + shift)
        except (AlreadyCalled, AlreadyCancelled) as error:
            log.append(type(error))
        else:
            log.append((verb, call.active(), call.getTime() if call.active() else None))

    for ticks in first:
        call_later(ticks)
    step(next(script, None))
    clock.run(1e6)
    return log, [call.active() for call in calls]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.lists(moves, max_size=60))
def test_any_schedule_runs_as_on_twisteds_clock(first, steps):
    mine, theirs = play(HeapClock(), first, steps), play(Twisted(), first, steps)
    # A time in the past is now: Twisted's getTime() says what was asked for.
    for left, right in zip(mine[0], theirs[0], strict=True):
        if isinstance(left, tuple) and isinstance(left[0], str):
            assert left[:2] == right[:2] and (left[2] is None or left[2] == right[2] or right[2] < left[2])
        else:
            assert left == right
    assert mine[1] == theirs[1]


@given(st.lists(st.integers(0, 4), max_size=60))
def test_calls_of_equal_time_run_in_the_order_of_asking(delays):
    orders = []
    for clock in (HeapClock(), Twisted()):
        order = []
        for number, delay in enumerate(delays):
            clock.callLater(delay, order.append, number)
        clock.run(10.0)
        orders.append(order)
    assert orders[0] == orders[1] == [n for _, n in sorted(zip(delays, range(len(delays)), strict=True))]


def test_a_call_that_is_moved_to_the_time_of_others_runs_behind_them():
    clock, order = HeapClock(), []
    early, late = clock.callLater(1.0, order.append, "early"), clock.callLater(9.0, order.append, "late")
    clock.callLater(5.0, order.append, "there")
    early.reset(5.0)
    late.reset(5.0)
    clock.run(10.0)
    assert order == ["there", "early", "late"]


def test_it_is_the_clock_of_twisteds_own_tools():
    clock = HeapClock()
    assert verifyObject(IReactorTime, clock) and verifyObject(IDelayedCall, clock.callLater(1.0, list))
    times = []
    loop = LoopingCall(lambda: times.append(clock.seconds()))
    loop.clock = clock
    loop.start(0.5)
    deferLater(clock, 1.25, loop.stop)
    clock.run(60.0)
    assert times == [0.0, 0.5, 1.0] and clock.now == 60.0


def test_each_call_sees_its_own_time_and_those_that_it_asks_for_now_run_now():
    clock, seen = HeapClock(), []

    def chain(left):
        seen.append(clock.seconds())
        if left:
            clock.callLater(0, chain, left - 1)

    clock.callLater(0.25, chain, 3)
    clock.callLater(0.5, lambda: seen.append(clock.seconds()))
    clock.run(0.25)
    assert seen == [0.25] * 4 and clock.now == 0.25
    clock.run(1.0)
    assert seen[-1] == 0.5 and clock.now == 1.0


def test_time_never_goes_back():
    clock, seen = HeapClock(), []
    call = clock.callLater(10.0, lambda: seen.append(clock.now))
    other = clock.callLater(10.0, lambda: seen.append(clock.now))
    clock.run(5.0)
    call.reset(-3.0)
    other.delay(-100.0)
    assert call.getTime() == other.getTime() == 5.0
    clock.at(1.0, None, lambda: seen.append(clock.now))
    clock.run(2.0)
    assert clock.now == 5.0 and seen == []
    clock.run(6.0)
    assert seen == [5.0] * 3
    with pytest.raises(ValueError, match="-1"):
        clock.callLater(-1, list)
    with pytest.raises(ValueError, match="nan"):
        clock.callLater(float("nan"), list)


def test_a_call_is_called_once_and_says_so_afterwards():
    clock = HeapClock()
    done, gone = clock.callLater(1.0, list), clock.callLater(1.0, list)
    gone.cancel()
    clock.run(2.0)
    assert not done.active() and not gone.active() and clock.calls == 1
    for verb, arguments in (("cancel", ()), ("reset", (1.0,)), ("delay", (1.0,))):
        with pytest.raises(AlreadyCalled):
            getattr(done, verb)(*arguments)
        with pytest.raises(AlreadyCancelled):
            getattr(gone, verb)(*arguments)


def test_what_a_call_raises_is_logged_and_the_others_go_on(flush_logged_errors):
    clock, ran = HeapClock(), []
    clock.callLater(1.0, lambda: 1 / 0)
    clock.at(1.0, None, lambda: [][0])
    clock.callLater(1.0, ran.append, "delayed")
    clock.at(1.0, None, ran.append, "delivered")
    clock.run(2.0)
    assert ran == ["delayed", "delivered"]
    assert len(flush_logged_errors(ZeroDivisionError)) == len(flush_logged_errors(IndexError)) == 1


def test_stop_is_asked_before_the_first_call_and_after_each():
    clock, ran = HeapClock(), []
    for number in range(5):
        clock.callLater(number, ran.append, number)
    assert clock.run(10.0, lambda: True) and ran == []
    assert clock.run(10.0, lambda: len(ran) == 3) and ran == [0, 1, 2] and clock.now == 2.0
    assert not clock.run(10.0, lambda: len(ran) == 9) and clock.now == 10.0


def test_calls_of_an_owner_that_is_no_more_do_not_happen_and_can_still_be_cancelled():
    clock, ran = HeapClock(), []
    owner, other = Owner(), Owner()
    calls = [clock.call_for(owner, 1.0, ran.append, (n,), {}) for n in range(3)]
    clock.call_for(other, 1.0, ran.append, ("other",), {})
    clock.at(1.0, owner, ran.append, "delivered")
    assert list(clock.waiting(owner)) == calls and len(clock.getDelayedCalls()) == 4
    owner.alive = False
    assert len(clock.getDelayedCalls()) == 1
    calls[0].cancel()
    calls[1].reset(0.1)
    clock.run(2.0)
    assert ran == ["other"]
    # Coroutines of a host that is down are collected later, and cancel whatever they waited for.
    for call in calls:
        call.cancel()
        call.cancel()
        call.delay(1.0)


@pytest.mark.parametrize("how", ["cancelled", "hurried"])
def test_what_nobody_waits_for_is_swept_out(how):
    """A timer that is set and taken away for each message: a heap that kept those would grow for ever."""
    clock = HeapClock()
    kept = [clock.callLater(1e6 + n, list) for n in range(100)]
    largest = 0
    for number in range(20_000):
        call = clock.callLater(1000.0, list)
        if how == "hurried":
            call.reset(500.0)
            call.reset(1.0)
            clock.run(clock.now + 1.0)
        else:
            call.cancel()
        largest = max(largest, len(clock._heap))
        assert number < 3000 or len(clock._heap) < 5000
    assert largest < 5000 and len(clock.getDelayedCalls()) == len(kept)


def test_timers_that_are_pushed_on_cost_no_entries():
    clock, ran = HeapClock(), []
    call = clock.callLater(10.0, lambda: ran.append(clock.now))
    for _ in range(10_000):
        clock.run(clock.now + 0.5)
        call.reset(10.0)
    assert len(clock._heap) == 1
    clock.run(clock.now + 20.0)
    assert ran == [5010.0]


def test_an_entry_is_small():
    clock = HeapClock()
    gc.collect()
    tracemalloc.start()
    for number in range(10_000):
        clock.callLater(number, list)
    size = tracemalloc.get_traced_memory()[0] / 10_000
    tracemalloc.stop()
    assert size < 500, size
