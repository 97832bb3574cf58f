"""For the truth test: makes the items of a timetable, and writes down when each item of anybody was taken.

`bitcoin-workload` with what the simulator does from outside: the times, and the watching. It begins when `go` is there,
a file that holds the unix time that the timetable counts from. The journal has a line for each thing: `open N`
(sessions), `item TOPIC TIME ID` (taken; unix time), `made TOPIC ID`, `failed WHY`, and at the stop `lag MEDIAN P99
WORST` (how late the reactor's calls were while the items spread, in seconds).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TextIO

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.applications.bitcoin_workload import BitcoinWorkload, BitcoinWorkloadConfig
from p2pframe.interfaces import IApplication, IContext, IItems, INodeView, ISession, IWorkload
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, PluginConfig, plugin

LOOK = 0.1
"""Seconds between two looks at the sessions, and for `go`; also between two measurements of the reactor's lag."""


class Entry(PluginConfig):
    """One item to make."""

    at: Duration
    topic: str
    size: int


class TimetableConfig(BitcoinWorkloadConfig):
    """Options of the `timetable` application."""

    journal: Path
    go: Path
    items: tuple[Entry, ...] = ()


@plugin("timetable", config=TimetableConfig)
@implementer(IApplication, IWorkload)
class Timetable(BitcoinWorkload):
    """See the module."""

    name = "timetable"

    config: TimetableConfig

    def __init__(self, config: TimetableConfig, context: IContext) -> None:
        super().__init__(config, context)
        self.context = context
        self.items = context.service(IItems)
        self.view = context.service(INodeView)
        self.journal: TextIO = config.journal.open("w", buffering=1)
        self.sessions = -1
        self.began = False
        self.lags: list[float] = []
        self.due = 0.0
        self.next: IDelayedCall | None = None

    def start(self) -> None:
        super().start()
        for topic in self.topics:
            self.items.subscribe(topic, partial(self._taken_in, topic))
        self._look()

    def stop(self) -> None:
        if self.next is not None:
            self.next.cancel()
        if self.lags:
            lags = sorted(self.lags)
            middle, late = lags[len(lags) // 2], lags[len(lags) * 99 // 100]
            self._note("lag", f"{middle:.6f}", f"{late:.6f}", f"{lags[-1]:.6f}")
        self.journal.close()

    def _note(self, *words: object) -> None:
        if not self.journal.closed:
            print(*words, file=self.journal)

    def _taken_in(self, topic: Topic, item: Item, source: ISession | None) -> None:
        self._note("item", topic, f"{self.context.unix_time():.6f}", item.id.hex())

    def _look(self) -> None:
        reactor = self.context.reactor
        if not self.began:
            sessions = sum(one.state == "open" for one in self.view.sessions())
            if sessions != self.sessions:
                self.sessions = sessions
                self._note("open", sessions)
            if self.config.go.exists():
                self._begin(float(self.config.go.read_text()) - self.context.unix_time())
        else:
            self.lags.append(max(0.0, reactor.seconds() - self.due))
        self.due = reactor.seconds() + LOOK
        self.next = reactor.callLater(LOOK, self._look)

    def _begin(self, wait: float) -> None:
        self.began = True
        for entry in self.config.items:
            self.context.reactor.callLater(wait + entry.at, self._make, entry)

    def _make(self, entry: Entry) -> None:
        topic = Topic(entry.topic)
        maybeDeferred(self.produce, topic, entry.size).addCallbacks(partial(self._is_made, topic), self._is_not)

    def _is_made(self, topic: Topic, id: ItemId) -> None:
        self._note("made", topic, id.hex())

    def _is_not(self, failure: Failure) -> None:
        self._note("failed", failure.getErrorMessage())
