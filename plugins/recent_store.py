"""An item store in one file: keeps the latest items, for a time, within so many bytes.

A worked example of `IItemStore`.

    networks:
      chat:
        item_stores:
          line: {plugin: recent, size: 1MB, age: 10min}

It takes the place of the protocol's own store of that topic. Core puts in what was validated, asks `have` for every id
that a peer announces (so that has to be quick), and protocols `get` what they serve. Items are kept as they are and
never looked into, so it works for every protocol that stores items.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import IContext, IItems, IItemStore, IReconfigurable
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, PluginConfig, Size, live, plugin


class RecentConfig(PluginConfig):
    """Options of the `recent` item store."""

    size: Size = live(
        10_000_000, ge=1, description="Bytes of items kept, as they count on the wire; the oldest goes first."
    )
    items: int = live(10_000, ge=1, description="Items kept, however small they are.")
    age: Duration = live(3600.0, gt=0, description="How long an item is kept.")


@plugin("recent", config=RecentConfig)
@implementer(IItemStore, IReconfigurable)
class RecentStore:
    """Keeps the latest items in memory, for a time, within a bound."""

    def __init__(self, config: RecentConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.size = 0
        self._items = context.service(IItems)
        self._held: OrderedDict[ItemId, tuple[float, Item]] = OrderedDict()
        self._aliases: dict[ItemId, ItemId] = {}
        self._gone = context.metrics.counter("recent_gone_total", "Items that are no longer kept, by why.", ["why"])

    def have(self, id: ItemId) -> bool:
        """By the item's id or one of its aliases.

        False once it is too old, even where it still waits to be thrown out.
        """
        return self._find(id) is not None

    def get(self, id: ItemId) -> Deferred[Item | None]:
        """The item, at once."""
        return succeed(self._find(id))

    def put(self, item: Item) -> Deferred[bool]:
        """Keep it, and let go of what is too old or too much. False for an item that is larger than the whole store."""
        if item.size > self.config.size:
            self._gone.add(1, "too large")
            return succeed(False)
        self._drop([item.id] if item.id in self._held else [])
        self._held[item.id] = (self.context.reactor.seconds(), item)
        self.size += item.size
        for alias in item.aliases:
            self._aliases[alias] = item.id
        self._make_room()
        return succeed(True)

    def reconfigure(self, config: object) -> None:
        """Takes new bounds; they are made to hold at once."""
        self.config = cast(RecentConfig, config)
        self._make_room()

    def _find(self, id: ItemId) -> Item | None:
        held = self._held.get(self._aliases.get(id, id))
        if held is None or self.context.reactor.seconds() - held[0] > self.config.age:
            return None
        return held[1]

    def _make_room(self) -> None:
        """Drop the oldest until everything is within its bounds, and have nobody told of them any more."""
        config, now = self.config, self.context.reactor.seconds()
        gone: list[ItemId] = []
        size, count = self.size, len(self._held)
        for id, (since, item) in self._held.items():
            old = now - since > config.age
            if not old and size <= config.size and count <= config.items:
                break
            gone.append(id)
            size -= item.size
            count -= 1
            self._gone.add(1, "too old" if old else "no room")
        for topic, ids in self._drop(gone).items():
            self._items.withdraw(topic, ids)

    def _drop(self, ids: list[ItemId]) -> dict[Topic, list[ItemId]]:
        """Take items out; returns their ids by topic (one store serves one topic, but it need not rely on that)."""
        topics: dict[Topic, list[ItemId]] = {}
        for id in ids:
            _, item = self._held.pop(id)
            self.size -= item.size
            for alias in item.aliases:
                self._aliases.pop(alias, None)
            topics.setdefault(item.topic, []).append(id)
        return topics
