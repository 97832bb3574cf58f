"""The suite of validators.

Option `items`: items (or a function that makes them from a context) to be judged beside the suite's own, for a
validator that looks inside a body. Option `judges`: False where it can make nothing of a body that is plain bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from p2pframe.interfaces import INetworkProtocol
from p2pframe.model import Fact, Item, ItemId, Outcome, Topic, Validation
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.context import FakeContext

_ONCE = "Called once for each item that was not known, before it is stored or spread."
_FAILS = "An exception counts as IGNORE, and is logged with the plugin's name."
_TIME = 300.0


def suite(bench: Bench) -> None:
    """Put a validator through it. Raises `NonConformance`."""
    plugin, _ = bench.make()
    topics = plugin.topics
    bench.require(
        isinstance(topics, Sequence) and not isinstance(topics, str) and all(isinstance(t, str) for t in topics),
        "topics", "Which topics it judges; empty means all.", f"topics is {topics!r}",
    )  # fmt: skip
    bench.twice(lambda: _judge_all(bench), "IValidator.validate")
    _can_be_given_up(bench)


def items_of(bench: Bench, plugin: Any, context: FakeContext) -> list[Item]:
    """The items to judge: those of the caller, and items of every topic, sizes and ids from a fixed stream."""
    given: Any = bench.option("items", None)
    found = list(given(context) if callable(given) else given or ())
    if not bench.option("judges", True):
        return found
    rng = bench.random("items")
    topics = list(plugin.topics) or list(context.service(INetworkProtocol).topics) or [Topic("item")]
    for number in range(300):
        size = rng.choice([0, 1, 32, 250, 1000, 100_000, 4_000_000])
        alias = (ItemId(rng.randbytes(32)),) if number % 5 == 0 else ()
        priority = rng.choice([None, 0.0, 1000.0])
        body = rng.randbytes(min(size, 100))
        found.append(Item(topics[number % len(topics)], ItemId(rng.randbytes(32)), body, size, priority, alias))
    return found


def _judge_all(bench: Bench) -> list[str]:
    plugin, context = bench.make()
    bench.start(plugin)
    answers = []
    for item in items_of(bench, plugin, context):
        before = repr(item)
        answer: Any = bench.call("validate", _FAILS, plugin.validate, item)
        result = bench.wait(answer, context, "validate", _FAILS, limit=_TIME)
        _is_an_answer(bench, item, result)
        bench.rule(repr(item) == before, "IValidator.validate", "an item is not changed", f"{before:.200} was")
        answers.append(repr(result))
        context.reactor.advance(0.5)
    bench.stop(plugin)
    return answers


def _is_an_answer(bench: Bench, item: Item, result: object) -> None:
    what = f"for an item of {item.size} bytes of {item.topic}"
    bench.require(isinstance(result, Validation), "validate", _ONCE, f"{what} it answered {result!r}, no Validation")
    assert isinstance(result, Validation)
    waits = "WAIT has the missing ones fetched and asks again when they are there."
    if result.outcome is Outcome.REJECT:
        bench.rule(result.reason, "Validation", "REJECT carries a reason", f"{what} the reason is empty")
    if result.outcome is Outcome.WAIT:
        named = result.missing and all(isinstance(id, bytes) for id in result.missing)
        bench.require(named, "validate", waits, f"{what} it waits for {result.missing!r}")
        bench.require(item.id not in result.missing, "validate", waits, f"{what} it waits for the item itself")
    if result.fact is not None:
        fact = isinstance(result.fact, Fact) and bool(result.fact.kind)
        bench.rule(fact, "Validation", "a fact has a kind, a short stable word", f"{what}: {result.fact!r}")


def _is_cancelled(result: object) -> bool:
    return isinstance(result, Failure) and result.check(CancelledError) is not None


def _can_be_given_up(bench: Bench) -> None:
    """Core cancels what takes too long; nothing of it may come back later as an unhandled failure."""
    plugin, context = bench.make()
    bench.start(plugin)
    for item in items_of(bench, plugin, context)[:20]:
        answer: Any = bench.call("validate", _FAILS, plugin.validate, item)
        if isinstance(answer, Deferred) and not answer.called:
            ended: list[Any] = []
            answer.addBoth(ended.append)
            answer.cancel()
            bench.require(
                ended and (isinstance(ended[0], Validation) or _is_cancelled(ended[0])), "validate",
                "May take its time with a Deferred", f"cancelled, its Deferred gave {ended or 'nothing'}",
            )  # fmt: skip
    bench.stop(plugin)
