"""Virtual time: a heap of calls, run from event to event, so that each call sees its own time.

Twisted's test Clock sorts at every insert and shows every call inside one `advance()` the end of it; this one does
neither. Calls of equal time run in the order in which they were asked for. A call that is cancelled or moved leaves its
entry in the heap; entries that nobody waits for are swept out when they outnumber the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

_SWEEP = 1024
"""Fewer stale entries than this are not worth a sweep."""


class Owner(Protocol):
    """Whoever a call belongs to; when it is no longer alive its calls do not happen."""

    alive: bool


@implementer(IDelayedCall)
class SimulatedCall:
    """What `callLater` returns. `number` orders calls of equal time, `entry` names the heap entry for it."""

    __slots__ = ("args", "clock", "entry", "func", "kw", "number", "owner", "state", "time")

    def __init__(
        self,
        clock: HeapClock,
        time: float,
        number: int,
        owner: Owner | None,
        func: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> None:
        self.clock = clock
        self.time = time
        self.number = self.entry = number
        self.owner = owner
        self.func: Callable[..., object] | None = func
        self.args = args
        self.kw = kw
        self.state = 0
        """0 waiting, 1 called, 2 cancelled."""

    def getTime(self) -> float:
        """See IDelayedCall."""
        return self.time

    def active(self) -> bool:
        """See IDelayedCall."""
        return self.state == 0

    def cancel(self) -> None:
        """See IDelayedCall. Raises AlreadyCalled or AlreadyCancelled."""
        if not self._check():
            return
        self.state = 2
        self.func = None
        self.args, self.kw = (), {}
        self.clock._stale_one()

    def reset(self, secondsFromNow: float) -> None:
        """See IDelayedCall: at that many seconds from now instead. Raises AlreadyCalled or AlreadyCancelled."""
        if self._check():
            self._move(self.clock.now + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """See IDelayedCall: that much later than it was to be. Raises AlreadyCalled or AlreadyCancelled."""
        if self._check():
            self._move(self.time + secondsLater)

    def _move(self, time: float) -> None:
        clock = self.clock
        time = max(time, clock.now)
        clock._count += 1
        self.number = clock._count
        if time < self.time:
            # The entry stands too late: another one takes its place.
            self.entry = self.number
            self.time = time
            heappush(clock._heap, (time, self.number, self, None, None))
            clock._stale_one()
        else:
            # The entry comes up too early, and is put back then: timers that are pushed on cost nothing.
            self.time = time

    def _check(self) -> bool:
        """Whether it still matters: what is left of a host that is down may do as it likes to calls that never come."""
        if self.owner is not None and not self.owner.alive:
            return False
        if self.state:
            raise AlreadyCalled if self.state == 1 else AlreadyCancelled
        return True


_Entry = tuple[float, int, Any, Callable[..., object] | None, tuple[Any, ...] | None]


@implementer(IReactorTime)
class HeapClock:
    """Virtual seconds since the start of the simulation. `now` only moves in `run`, from one call to the next."""

    _log = Logger(namespace="p2pframe.sim")

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0
        """Calls made so far."""
        self.current: Owner | None = None
        """Whose call is being made."""
        self.watcher: Callable[[float, Owner | None, Callable[..., object]], None] | None = None
        """Told of each call of `callLater` before it is made."""
        self._heap: list[_Entry] = []
        self._count = 0
        self._stale = 0

    def seconds(self) -> float:
        """See IReactorTime."""
        return self.now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> SimulatedCall:
        """See IReactorTime."""
        return self.call_for(None, delay, callable, args, kw)

    def call_for(
        self,
        owner: Owner | None,
        delay: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> SimulatedCall:
        """`callLater` for an owner. Raises ValueError for a negative delay."""
        if not delay >= 0:
            raise ValueError(f"a call can't be made {delay} seconds from now")
        self._count += 1
        number = self._count
        time = self.now + delay
        call = SimulatedCall(self, time, number, owner, function, args, kw)
        heappush(self._heap, (time, number, call, None, None))
        return call

    def at(self, time: float, owner: Owner | None, function: Callable[..., object], *args: Any) -> None:
        """Call at a time (now, where that has passed), with no handle to cancel it by: the way of the network."""
        self._count += 1
        heappush(self._heap, (time if time > self.now else self.now, self._count, owner, function, args))

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See IReactorTime: the calls of `callLater` that wait, soonest first."""
        return list(self.waiting(None))

    def waiting(self, owner: Owner | None) -> Iterator[SimulatedCall]:
        """The calls that wait, soonest first; those of an owner where one is given."""
        calls = [
            entry[2]
            for entry in self._heap
            if entry[3] is None and not entry[2].state and entry[2].entry == entry[1] and _lives(entry[2].owner)
        ]
        for call in sorted(calls, key=lambda call: (call.time, call.number)):
            if owner is None or call.owner is owner:
                yield call

    def run(self, until: float, stop: Callable[[], object] | None = None) -> bool:
        """Make every call up to and including the time `until`; True where `stop()` was true before that.

        `stop` is asked before the first call and after each. A call that raises is logged, as in a reactor, and the
        others go on.
        """
        heap = self._heap
        while True:
            if stop is not None and stop():
                self.current = None
                return True
            if not heap or heap[0][0] > until:
                self.now = max(self.now, until)
                self.current = None
                return False
            time, number, target, function, args = heappop(heap)
            if function is None:
                if target.entry != number or target.state:
                    self._stale -= 1
                    continue
                if target.number != number:
                    # It was moved to a later time, or behind others of this time.
                    target.entry = target.number
                    heappush(heap, (target.time, target.number, target, None, None))
                    continue
                owner = target.owner
                if owner is not None and not owner.alive:
                    target.state = 2
                    continue
                function, args = target.func, target.args
                target.state = 1
                target.func = None
                self.now = time
                self.calls += 1
                self.current = owner
                if self.watcher is not None:
                    self.watcher(time, owner, function)
                try:
                    function(*args, **target.kw)
                except Exception:  # noqa: BLE001 - as a reactor does: one call's fault is not the others'
                    self._log.failure("a delayed call failed")
            else:
                if target is not None and not target.alive:
                    continue
                self.now = time
                self.calls += 1
                self.current = target
                try:
                    function(*args)  # type: ignore[misc]
                except Exception:  # noqa: BLE001 - see above
                    self._log.failure("a delivery failed")

    def _stale_one(self) -> None:
        self._stale += 1
        if self._stale > _SWEEP and self._stale * 2 > len(self._heap):
            self._heap[:] = [
                e
                for e in self._heap
                if e[3] is not None or (not e[2].state and e[2].entry == e[1] and _lives(e[2].owner))
            ]
            heapify(self._heap)
            self._stale = 0


def _lives(owner: Owner | None) -> bool:
    return owner is None or owner.alive
