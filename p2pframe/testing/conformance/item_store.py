"""The suite of item stores.

Option `tight`: options of the plugin that leave room for at most `most` items of a hundred bytes, so that its bounds
can be seen to hold. Option `items`: a function of a number that makes that item, for a store that looks inside a body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from p2pframe.interfaces import IReconfigurable
from p2pframe.model import Item, ItemId, Topic
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.context import FakeContext

_GET = "Called to serve an item; None where it is not held (any more)."
_HAVE = "Called for every announced id: answers from memory, at once."
_PUT = "True: held now; False: turned away by a bound (counted by the store)."
_ROOM = "What a node holds and serves of one topic, within its configured bounds."


def suite(bench: Bench) -> None:
    """Put a store through it. Raises `NonConformance`."""
    plugin, context = bench.make()
    bench.start(plugin)
    _keeps_items(bench, plugin, context)
    bench.stop(plugin)
    bench.twice(lambda: _story(bench), "IItemStore")
    tight: Mapping[str, object] = bench.option("tight", {})
    most: int = bench.option("most", 0)
    if tight:
        _keeps_its_bounds(bench, tight, most)


def _item(bench: Bench, number: int, size: int = 100) -> Item:
    make: Callable[[int], Item] | None = bench.option("items", None)
    if make is not None:
        return make(number)
    rng = bench.random("item", number)
    id = ItemId(rng.randbytes(32))
    aliases = (ItemId(rng.randbytes(32)),) if number % 3 == 0 else ()
    return Item(Topic("item"), id, rng.randbytes(size), size, rng.choice([None, 5.0]), aliases)


def _have(bench: Bench, plugin: Any, id: ItemId) -> bool:
    held: object = bench.call("have", _HAVE, plugin.have, id)
    bench.require(isinstance(held, bool), "have", _HAVE, f"it answered {held!r}, neither True nor False")
    return bool(held)


def _get(bench: Bench, plugin: Any, context: FakeContext, id: ItemId) -> Item | None:
    found: object = bench.wait(bench.call("get", _GET, plugin.get, id), context, "get", _GET)
    bench.require(found is None or isinstance(found, Item), "get", _GET, f"it gave {found!r:.200}")
    return found if isinstance(found, Item) else None


def _put(bench: Bench, plugin: Any, context: FakeContext, item: Item) -> bool:
    taken: object = bench.wait(bench.call("put", _PUT, plugin.put, item), context, "put", _PUT)
    bench.require(isinstance(taken, bool), "put", _PUT, f"it answered {taken!r}, neither True nor False")
    if taken:
        bench.require(_have(bench, plugin, item.id), "put", _PUT, "it answered True, and `have` says False right after")
    return bool(taken)


def _keeps_items(bench: Bench, plugin: Any, context: FakeContext) -> None:
    items = [_item(bench, number) for number in range(20)]
    for item in items:
        bench.require(not _have(bench, plugin, item.id), "have", _HAVE, "it has an item that nobody put")
        bench.require(_get(bench, plugin, context, item.id) is None, "get", _GET, "it gave what nobody put")
    for item in items:
        taken = _put(bench, plugin, context, item)
        found = _get(bench, plugin, context, item.id)
        if taken:
            bench.require(
                found is not None and (found.id, found.topic, found.body) == (item.id, item.topic, item.body),
                "get", _GET, f"what was put is not what it gave: {found!r:.200}, was {item!r:.200}",
            )  # fmt: skip
            again = _put(bench, plugin, context, item)
            bench.require(again, "put", _PUT, "the same item put again, which it holds, is turned away")
        else:
            bench.require(not _have(bench, plugin, item.id), "put", _PUT, "it answered False, and `have` says True")
            bench.require(_counted(context), "put", _PUT, "it turned an item away and counted nothing")
    bench.require(
        any(_have(bench, plugin, item.id) for item in items), "put", _PUT,
        "none of twenty items of a hundred bytes is held",
    )  # fmt: skip


def _keeps_its_bounds(bench: Bench, tight: Mapping[str, object], most: int) -> None:
    items = [_item(bench, number) for number in range(max(3 * most, most + 20))]
    plugin, context = bench.make(**tight)
    bench.start(plugin)
    for count, item in enumerate(items):
        taken = _put(bench, plugin, context, item)
        bench.require(taken or _counted(context), "put", _PUT, "it turned an item away and counted nothing")
        held = sum(_have(bench, plugin, other.id) for other in items[: count + 1])
        bench.require(held <= most, "", _ROOM, f"with {dict(tight)} it holds {held} items, not at most {most}")
    bench.stop(plugin)
    if not IReconfigurable.implementedBy(bench.cls):
        return
    plugin, context = bench.make()
    bench.start(plugin)
    for item in items:
        _put(bench, plugin, context, item)
    plugin.reconfigure(bench.changed(**tight))
    _put(bench, plugin, context, _item(bench, len(items)))
    held = sum(_have(bench, plugin, item.id) for item in items)
    bench.require(held <= most, "", _ROOM, f"after a change to {dict(tight)} it holds {held} items, not at most {most}")
    bench.stop(plugin)


def _story(bench: Bench) -> list[object]:
    """Puts and gets over an hour: what was answered."""
    plugin, context = bench.make()
    bench.start(plugin)
    rng = bench.random("story")
    told: list[object] = []
    for number in range(200):
        told.append(_put(bench, plugin, context, _item(bench, number, rng.choice([1, 100, 10_000]))))
        asked = _item(bench, rng.randrange(number + 1)).id
        found = _get(bench, plugin, context, asked)
        told.append((_have(bench, plugin, asked), None if found is None else found.id.hex()))
        context.reactor.advance(rng.choice([0.0, 1.0, 60.0]))
    bench.stop(plugin)
    return told


def _counted(context: FakeContext) -> bool:
    return any(sum(metric.values.values()) for metric in context.metrics.metrics.values())
