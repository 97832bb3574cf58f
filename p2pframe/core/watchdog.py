"""Names whoever blocks the reactor: a thread that looks at the reactor thread's stack when a beat is late.

The reactor beats by a timer. The watching thread sees a missed beat, takes the stack of the reactor thread at that
moment, and finds the innermost frame that belongs to a plugin. It is told back to the reactor thread, logged and
counted. How late a beat was is shown for a minute, as whoever looks comes by less often than the beats.
"""

from __future__ import annotations

# real world: threading: it watches the reactor's thread from one of its own
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from p2pframe.interfaces import Metrics

log = Logger()
_SHORTEST = 0.05
_SLICE = 10.0
_SLICES = 7
"""The slices, of so many seconds, that the worst beat is looked for in: the one that goes on and a whole minute."""


class _Worst:
    """The largest of the values of the last minute, or of up to a slice more; the largest of each slice is kept."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._slices = deque([0.0], maxlen=_SLICES)

    def add(self, value: float, now: float) -> float:
        """The largest, with this one."""
        passed = int((now - self._began) // _SLICE)
        self._began += passed * _SLICE
        self._slices.extend([0.0] * min(passed, _SLICES))
        self._slices[-1] = max(self._slices[-1], value)
        return max(self._slices)


class Watchdog:
    """Watches one reactor. `limit` is in seconds and read each time, so that it may be a live value; 0 is off."""

    def __init__(self, reactor: object, limit: Callable[[], float], metrics: Metrics) -> None:
        self._reactor = reactor
        self._limit = limit
        self._blocks = metrics.counter("reactor_blocked_total", "Times that the reactor was blocked.", ("where",))
        self._metrics = metrics
        self._beats = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: LoopingCall | None = None
        self._reactor_thread = 0
        self._last = 0.0

    def start(self) -> None:
        """Begin to watch; called on the reactor thread. Only a reactor with threads can be watched."""
        if self._limit() <= 0 or not IReactorFromThreads.providedBy(self._reactor):
            return
        clock = IReactorTime(self._reactor)
        self._reactor_thread = threading.get_ident()
        self._last = clock.seconds()
        interval = self._limit() / 2
        # It is made here, as a gauge begins with 0, which would be a claim where nobody watches.
        lag = self._metrics.gauge("reactor_lag_seconds", "How late the latest beat of the last minute was.")
        worst = _Worst(self._last)

        def beat() -> None:
            nonlocal interval
            self._beats += 1
            now = clock.seconds()
            lag.set(worst.add(now - self._last - interval, now))
            self._last = now
            # The limit is a live value, and whoever watches looks as often as it says now.
            interval = max(self._limit(), _SHORTEST) / 2
            if self._loop is not None:
                self._loop.interval = interval

        self._loop = LoopingCall(beat)
        self._loop.clock = clock
        self._loop.start(interval, now=True)
        self._thread = threading.Thread(target=self._watch, name="p2pframe-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and wait for the thread."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        seen = -1
        told = False
        limit = self._limit()
        while not self._stop.wait(max(limit, _SHORTEST)):
            before, limit = limit, self._limit()
            if limit <= 0 or limit != before:
                continue  # switched off, or the beats still come as the limit before said
            beats = self._beats
            if beats != seen:
                seen, told = beats, False
            elif not told:
                told = True  # once for each block, however long
                frame = sys._current_frames().get(self._reactor_thread)
                stack = traceback.extract_stack(frame) if frame is not None else []
                where = _culprit(stack)
                IReactorFromThreads(self._reactor).callFromThread(self._tell, where)

    def _tell(self, where: str) -> None:
        self._blocks.add(1, where.rsplit(":", 1)[0])
        log.warn("the reactor was blocked for over {limit} s by {where}", limit=self._limit(), where=where)


def _culprit(stack: traceback.StackSummary | list[traceback.FrameSummary]) -> str:
    """The innermost frame that is neither Twisted's nor Python's own: `file:line`, the file's last two parts."""
    for entry in reversed(stack):
        path = entry.filename.replace("\\", "/")
        if ("/twisted/" not in path and "/lib/python" not in path) or "p2pframe/" in path:
            return "/".join(path.split("/")[-2:]) + f":{entry.lineno}"
    return "unknown:0"
