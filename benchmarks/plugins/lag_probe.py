"""How late the reactor is, and what its CPU goes to, measured inside the node.

    applications:
      - {plugin: lag-probe}

`lag.txt` in its folder gets a line a second: the unix time; CPU-seconds of the node, those in the admin, and those in
full garbage collections, wherever they began; then the seconds that each beat, one every 10 ms, came late. Where CPU
goes is found by looking at the stack every 4 ms of it. What was used since the last look counts for what is found:
signals that come in a long call of C are one.
"""

from __future__ import annotations

import gc
import signal
import time
from types import FrameType

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import IApplication, IContext
from p2pframe.plugin import PluginConfig, plugin

BEAT = 0.01
SAMPLE = 0.004
"""CPU-seconds between two looks at the stack."""
_ADMIN = ("/p2pframe/admin/", "/twisted/web/")
_READY = "_doReadOrWrite"
"""The reactor's function that serves one socket, `selectable`."""


class LagProbeConfig(PluginConfig):
    """It has no options."""


@plugin("lag-probe", config=LagProbeConfig)
@implementer(IApplication)
class LagProbe:
    """Writes down how late the reactor is."""

    name = "lag-probe"

    def __init__(self, config: LagProbeConfig, context: IContext) -> None:
        self.context = context
        self._late: list[float] = []
        self._cpu = self._in_admin = self._collecting = 0.0
        self._looked = self._began = 0.0
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> Deferred[None]:
        """See `IApplication.start`."""
        self._looked = time.process_time()
        gc.callbacks.append(self._collects)
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE, SAMPLE)
        self._next(self.context.reactor.seconds())
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IApplication.stop`."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(self._collects)
        if self._call is not None and self._call.active():
            self._call.cancel()
        return succeed(None)

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        now = time.process_time()
        used, self._looked = now - self._looked, now
        self._cpu += used
        while frame is not None:
            code = frame.f_code
            ours = any(one in code.co_filename for one in _ADMIN)
            if not ours and code.co_name == _READY:
                # A socket of the admin's: what reads and writes it is Twisted's.
                protocol = getattr(frame.f_locals["selectable"], "protocol", None)
                ours = type(protocol).__module__.startswith("p2pframe.admin")
            if ours:
                self._in_admin += used
                return
            frame = frame.f_back

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            now = time.process_time()
            if phase == "start":
                self._began = now
            else:
                self._collecting += now - self._began

    def _next(self, now: float) -> None:
        self._due = now + BEAT
        self._call = self.context.reactor.callLater(BEAT, self._beat)

    def _beat(self) -> None:
        now = self.context.reactor.seconds()
        self._late.append(now - self._due)
        if sum(self._late) + BEAT * len(self._late) > 1.0:
            figures = [self.context.unix_time(), self._cpu, self._in_admin, self._collecting]
            with (self.context.data_dir / "lag.txt").open("a") as file:
                file.write(" ".join(map(str, [*figures, *self._late])) + "\n")
            self._late.clear()
            self._cpu = self._in_admin = self._collecting = 0.0
        self._next(now)

