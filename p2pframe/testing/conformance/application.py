"""The suite of `IApplication`: started once, stopped once, and nothing of it left.

It runs in a world of stand-ins; with `node`, on a simulated host as well. Options of `check`:

- `runs`: virtual seconds between start and stop (60);
- `fails`: True where `start` is to fail in the world that `services` make (False);
- `node`: the YAML of a node without this application, which is added to it. It runs at 192.0.2.1; another such node,
  without the application, runs at 192.0.2.2 (None: no node).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from p2pframe.interfaces import Event, INodeView
from p2pframe.model import PeerAddress, Score, ScorePart, SessionId
from p2pframe.testing.conformance import node_run
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.logged import no_failure_logged
from p2pframe.testing.conformance.services import StandInView
from p2pframe.testing.conformance.surroundings import Surroundings
from p2pframe.testing.context import FakeContext

PATIENCE = 10.0
"""Seconds that core waits for a stop (`node.stop_timeout`)."""

_START = "Called once, when every network of the node has started."
_STOP = "Called once at stop, before the networks stop; core waits for it at most `node.stop_timeout`."
_ASKS = "Reaches them by `context.service(...)`, asked for in its constructor."
_FAILS = "A failure stops the start with the plugin's name."

EVENTS: tuple[dict[str, Any], ...] = (
    {"kind": "session.opened", "session": SessionId(1), "address": PeerAddress("192.0.2.7", 8333), "fields": {}},
    {"kind": "peer.judged", "session": SessionId(1), "address": PeerAddress("2001:db8::1", 0), "fields": {
        "rule": "scoring.behaviour", "evidence": "\ud800{x} \x00\n", "score": Score("a", 0.5, (ScorePart("b", 1, 1),)),
    }},
    {"kind": "peer.banned", "session": None, "address": None, "fields": {
        "subject": b"\xff" * 32, "until": float("inf"),
    }},
    {"kind": "session.closed", "session": SessionId(2**64), "address": PeerAddress("x.onion", 1, "onion"), "fields": {
        "kind": "hidden", "time": "never", "counts": {"ping": 2**70}, "list": [(1, 2), frozenset({3})],
    }},
    {"kind": "never.heard-of", "session": None, "address": None, "fields": {"evidence": "x" * 100_000}},
)  # fmt: skip
"""Events of a node, with all that may stand in their fields."""


def suite(bench: Bench) -> None:
    """Hold an application to its interface. Raises `NonConformance`."""
    runs: float = bench.option("runs", 60.0)
    node: str | None = bench.option("node", None)
    fails: bool = bench.option("fails", False)
    if fails:
        _fails_and_leaves_nothing(bench)
    else:
        bench.twice(lambda: _lives(bench, runs), "what it does")
        _lives(bench, 0.0)
    if node is not None:
        node_run.check(bench, node, runs)


class _World:
    """The world of a few applications, one after another."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.context = bench.context()
        self.outside = Surroundings(self.context, "answering", None)
        self.late: list[object] = []
        """What an application asked for after it was built."""

    def build(self) -> Any:
        """A new one, as at each start; from here on it may ask for no service."""
        context, ask = self.context, FakeContext.service
        context.service = lambda *args, **kwargs: ask(context, *args, **kwargs)  # type: ignore[method-assign]
        plugin = self.bench.build(context)

        def asked(interface: Any, network: str | None = None) -> Any:
            self.late.append(interface)
            return ask(context, interface, network)

        context.service = asked  # type: ignore[method-assign]
        return plugin

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / 0.5)):
            self.bench.call("IApplication", "", self.context.reactor.advance, 0.5)

    def done(self, answer: Deferred[None] | None, method: str, sentence: str, limit: float) -> None:
        """Wait for what `start` or `stop` answered."""
        right = answer is None or isinstance(answer, Deferred)
        self.bench.require(right, method, sentence, f"it answers {answer!r:.200}")
        self.bench.wait(answer, self.context, method, sentence, limit)

    def emit(self, numbers: Iterator[int]) -> None:
        """Have the node tell of some events."""
        view = self.context.services.get(INodeView)
        if isinstance(view, StandInView):
            for event in EVENTS:
                what = Event(number=next(numbers), time=self.context.unix_time(), network="testnet", **event)
                self.bench.call("INodeView.subscribe", "Call back with every event from now on.", view.emit, what)

    def left(self) -> list[str]:
        """What is open, timed or subscribed to."""
        view = self.context.services.get(INodeView)
        found = self.outside.open()
        if isinstance(view, StandInView) and view.subscribers:
            found.append(f"{len(view.subscribers)} subscriptions to events")
        return found


def _lives(bench: Bench, runs: float) -> list[object]:
    """Two in turn in one world, as where a config is taken in: each is started once and stopped once."""
    world = _World(bench)
    numbers = iter(range(1, 1000))
    with no_failure_logged(bench, "IApplication.start"):
        for _ in range(2):
            plugin = world.build()
            world.done(bench.call("start", _START, plugin.start), "start", _START, 60.0)
            for _ in range(3):
                world.emit(numbers)
                world.wait(runs / 3)
            bench.require(
                not world.late, "", _ASKS,
                lambda: f"after that it asked for {', '.join(one.__name__ for one in world.late)}",  # type: ignore[attr-defined]
            )  # fmt: skip
            world.done(bench.call("stop", _STOP, plugin.stop), "stop", _STOP, PATIENCE)
            left = world.left()
            bench.require(not left, "stop", _STOP, lambda left=left: f"afterwards there is {', '.join(left[:3])}")
            world.emit(numbers)
            world.wait(10.0)
    counted = {name: sorted(metric.values.items()) for name, metric in world.context.metrics.metrics.items()}
    return [sorted(counted.items())]


def _fails_and_leaves_nothing(bench: Bench) -> None:
    """Core calls no `stop` after a start that failed."""
    world = _World(bench)
    plugin = world.build()
    failures: list[Failure] = []
    ended: list[object] = []
    maybeDeferred(plugin.start).addCallbacks(ended.append, failures.append)
    world.wait(60.0 if not failures and not ended else 0.0)
    bench.require(failures, "start", _FAILS, "it was to fail in this world and did not")
    bench.require(str(failures[0].value), "start", _FAILS, f"{failures[0].type} does not say why")
    left = world.left()
    bench.require(not left, "start", _FAILS, lambda: f"it failed and left {', '.join(left[:3])}: nobody will stop it")
