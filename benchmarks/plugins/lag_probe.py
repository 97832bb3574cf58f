"""How late the reactor is, measured inside the node: `lag-probe` beats every 10 ms and writes down how late each was.

    applications:
      - {plugin: lag-probe}

`lag.txt` in its folder gets a line a second: the unix time, then the seconds that each beat came late.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import IApplication, IContext
from p2pframe.plugin import PluginConfig, plugin

BEAT = 0.01


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
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> Deferred[None]:
        """See `IApplication.start`."""
        self._next(self.context.reactor.seconds())
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IApplication.stop`."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        return succeed(None)

    def _next(self, now: float) -> None:
        self._due = now + BEAT
        self._call = self.context.reactor.callLater(BEAT, self._beat)

    def _beat(self) -> None:
        now = self.context.reactor.seconds()
        self._late.append(now - self._due)
        if sum(self._late) + BEAT * len(self._late) > 1.0:
            with (self.context.data_dir / "lag.txt").open("a") as file:
                file.write(" ".join(map(str, [self.context.unix_time(), *self._late])) + "\n")
            self._late.clear()
        self._next(now)
