"""An application in one file: a log of peers that programs can read, one JSON object a line.

A worked example of `IApplication`.

    applications:
      - {plugin: peer-log, events: [session.opened, session.closed, peer.banned]}

Each line is one event of the node: time, kind, network, peer, and the event's own fields: which rule decided, on what
evidence, with which score. It goes to `peers.jsonl` in the application's folder of the data directory; when that is
full it becomes `peers.jsonl.1`, and the one from before goes.

An application reaches the node through `context.service`: here only `INodeView`, whose `subscribe` calls back with
every event. That happens in the middle of the node's work, so the callback only queues (within a bound), and a worker's
thread writes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.interfaces import Event, IApplication, IContext, INodeView, IReconfigurable
from p2pframe.plugin import Duration, Field, PluginConfig, Size, live, plugin

DEFAULT = ("session.opened", "session.closed", "peer.refused", "peer.judged", "peer.banned")


class PeerLogConfig(PluginConfig):
    """Options of the `peer-log` application."""

    events: tuple[str, ...] = live(
        DEFAULT, min_length=1, max_length=100, description="Kinds of events that are written."
    )
    networks: tuple[str, ...] = live((), max_length=100, description="Only these networks; none given: all.")
    every: Duration = Field(1.0, ge=0.1, description="How often what has come together is written.")
    queue: int = live(10_000, ge=1, description="Events that may wait to be written; more are left out and counted.")
    size: Size = live(10_000_000, ge=1_000, description="Bytes of the file before a new one is begun; two are kept.")


@plugin("peer-log", config=PeerLogConfig)
@implementer(IApplication, IReconfigurable)
class PeerLog:
    """Writes what happens with peers to a file, one JSON object a line."""

    name = "peer-log"

    def __init__(self, config: PeerLogConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._view = context.service(INodeView)
        self._waiting: deque[Event] = deque()
        self._lost = context.metrics.counter("peer_log_lost_total", "Events that were not written, by why.", ["why"])
        self._unsubscribe: Callable[[], None] | None = None
        self._loop = LoopingCall(self._write)
        self._loop.clock = context.reactor
        self._running: Deferred[LoopingCall] | None = None

    def start(self) -> None:
        """Listen to events, and write now and then."""
        self._unsubscribe = self._view.subscribe(self._happened)
        self._running = self._loop.start(self.config.every, now=False)

    def stop(self) -> Deferred[None]:
        """Write what waits."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._loop.running:
            self._loop.stop()
        # The loop's own Deferred fires when a write that is under way has ended.
        ended, self._running = self._running, None
        return self._write() if ended is None else ended.addBoth(lambda _: self._write())

    def reconfigure(self, config: object) -> None:
        """Takes new live options."""
        self.config = cast(PeerLogConfig, config)

    def _happened(self, event: Event) -> None:
        """Called by the node in the middle of its work: take it and go."""
        config = self.config
        if event.kind not in config.events or (config.networks and event.network not in config.networks):
            return
        if len(self._waiting) >= config.queue:
            self._lost.add(1, "queue full")
            return
        self._waiting.append(event)

    def _write(self) -> Deferred[None]:
        """Everything that waits, in one go, off the reactor's thread. The loop waits for it before it calls again."""
        if not self._waiting:
            return succeed(None)
        events = list(self._waiting)
        self._waiting.clear()
        writing = self.context.work(append_lines, self.context.data_dir / "peers.jsonl", events, self.config.size)

        def failed(failure: Failure) -> None:
            # A full disk must not end the log for good: it is tried again with what comes next.
            self._lost.add(len(events), "not written")
            self.context.log.error(
                "{count} events were not written: {why}", count=len(events), why=failure.getErrorMessage()
            )

        return writing.addErrback(failed)


def append_lines(path: Path, events: list[Event], size: int) -> None:
    """Runs on a worker's thread: touches nothing but its arguments."""
    if path.exists() and path.stat().st_size >= size:
        path.replace(path.with_suffix(path.suffix + ".1"))
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(line(event) for event in events))


def line(event: Event) -> str:
    """An event as one line of JSON."""
    own = {
        "time": event.time, "number": event.number, "kind": event.kind, "network": event.network,
        "session": event.session, "peer": str(event.address) if event.address else None,
    }  # fmt: skip
    return json.dumps({**own, **event.fields, **own}, default=_plain) + "\n"


def _plain(value: object) -> object:
    """What JSON does not know: scores as objects, bytes in hex, anything else in words."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.hex() if isinstance(value, bytes) else str(value)
