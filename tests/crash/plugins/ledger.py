"""For the crash tests: an application that has things made durable without a pause, and notes what was acknowledged.

It begins by noting what it finds, in a file of its own: `found ban ADDRESS`, `found row NUMBER`, and at the end `found
all`. Then, one after the other, it bans an address and writes a row of its own, and notes `kept ban ADDRESS` and `kept
row NUMBER` as soon as each is said to be durable. Whatever was kept before a kill must be found after it.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from p2pframe.interfaces import IApplication, IContext, INodeControl, INodeView
from p2pframe.plugin import Duration, PluginConfig, plugin


class LedgerConfig(PluginConfig):
    """Where to, and how fast."""

    notes: Path
    interval: Duration = 0.02


@plugin("ledger", config=LedgerConfig)
@implementer(IApplication)
class Ledger:
    """Bans and writes without a pause, and notes what was acknowledged."""

    name = "ledger"

    def __init__(self, config: LedgerConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.view = context.service(INodeView)
        self.control = context.service(INodeControl)
        self.notes = os.open(config.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.number = 0
        self.busy = False
        self.timer = LoopingCall(self._step)
        self.timer.clock = context.reactor

    def note(self, *words: object) -> None:
        """What the kernel has taken outlives the process."""
        os.write(self.notes, (" ".join(str(word) for word in words) + "\n").encode())

    def start(self) -> Deferred[None]:
        """Say what is there, and go on behind it."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        for penalty in self.view.penalties():
            self.note("found ban", penalty.subject)
        for key, value in await self.context.storage.scan():
            assert key == value, (key, value)
            self.number = max(self.number, int(key))
            self.note("found row", int(key))
        self.note("found all")
        self.timer.start(self.config.interval)

    def stop(self) -> None:
        """No more."""
        if self.timer.running:
            self.timer.stop()

    def _step(self) -> None:
        if self.busy:
            return
        self.busy = True
        self.number += 1
        number = self.number
        Deferred.fromCoroutine(self._keep(number)).addErrback(
            lambda failure: self.context.log.failure("not kept", failure)
        )

    async def _keep(self, number: int) -> None:
        subject = f"198.18.{number // 250}.{number % 250 + 1}"
        await self.control.ban(subject, 86_400.0, "ledger")
        self.note("kept ban", subject)
        key = b"%08d" % number
        await self.context.storage.write([(key, key)], durable=True)
        self.note("kept row", number)
        self.busy = False
