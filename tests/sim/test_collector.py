"""The collector of a simulation: looks when there is more, gives back what it took over."""

from __future__ import annotations

import gc
from weakref import ref

import pytest

from p2pframe.sim import collector
from p2pframe.sim.clock import HeapClock
from p2pframe.sim.collector import Collector


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self


def test_python_collects_again_when_it_is_over_and_nothing_stays_frozen() -> None:
    with Collector(HeapClock()):
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_end_without_a_beginning_changes_nothing() -> None:
    gc.disable()
    try:
        Collector(HeapClock()).end()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_goes_once_there_is_enough_of_it_to_be_worth_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "LEAST", 2_000)
    clock = HeapClock()
    with Collector(clock) as running:
        running._room = 2_000
        first = ref(Ring())
        clock.run(5.0)
        assert running.collections == 0
        assert first() is not None
        rings = [ref(Ring()) for _ in range(3_000)]
        clock.run(6.0)
        assert running.collections == 1
        assert first() is None
        assert not any(ring() for ring in rings)


def test_it_looks_no_more_once_it_has_ended() -> None:
    clock = HeapClock()
    running = Collector(clock)
    running.begin()
    running.end()
    clock.run(10.0)
    assert clock.calls == 1
