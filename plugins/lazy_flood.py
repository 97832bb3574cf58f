"""A relay policy in one file.

Collects items for a moment, then tells everyone who has not got them, all in one message.
"""

from collections.abc import Sequence

from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IRelayPolicy
from p2pframe.model import Item, ItemId, Topic
from p2pframe.plugin import Duration, Field, PluginConfig, plugin


class LazyFloodConfig(PluginConfig):
    """How lazy it is."""

    delay: Duration = Field(0.5, description="How long items are collected before links are told of them.")
    batch: int = Field(1000, ge=1, description="So many items are told of at once, without waiting for more.")
    known: int = Field(5000, ge=1, description="Ids remembered of each link; beyond it all of them are forgotten.")


@plugin("lazy-flood", config=LazyFloodConfig)
@implementer(IRelayPolicy)
class LazyFlood:
    """Collects items for a moment, then tells every link of them in one announcement."""

    needs = (frozenset({"announce"}),)

    def __init__(self, config: LazyFloodConfig, context: IContext) -> None:
        self.config = config
        self.reactor = context.reactor
        self.skipped = context.metrics.counter(
            "lazy_flood_skipped_total", "Items not told to a link that did not read."
        )
        self.known: dict[ILink, set[ItemId]] = {}
        self.waiting: list[Item] = []

    def link_added(self, link: ILink) -> None:
        self.known[link] = set()

    def link_removed(self, link: ILink) -> None:
        self.known.pop(link, None)

    def announced(self, link: ILink, ids: Sequence[ItemId]) -> None:
        known = self.known.get(link, set())
        known.update(ids)
        if len(known) > self.config.known:
            # To be told of something twice costs a peer a few bytes; to remember everything would cost us more.
            known.clear()

    def accepted(self, item: Item, source: ILink | None) -> None:
        if source is not None:
            self.announced(source, [item.id])
        self.waiting.append(item)
        urgent = any(link.urgent for link in self.known if link.topic == item.topic)
        if urgent or len(self.waiting) >= self.config.batch:
            self.tell()
        elif len(self.waiting) == 1:
            self.reactor.callLater(self.config.delay, self.tell)

    def tell(self) -> None:
        items, self.waiting = self.waiting, []
        for link, known in list(self.known.items()):
            news = [item for item in items if item.topic == link.topic and known.isdisjoint((item.id, *item.aliases))]
            if news and link.writable and link in self.known:  # telling a peer may end another's session
                self.announced(link, [item.id for item in news])
                link.announce(news)
            else:
                self.skipped.add(len(news))

    def withdrawn(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        self.waiting = [item for item in self.waiting if item.topic != topic or item.id not in ids]

    def may_serve(self, link: ILink, id: ItemId) -> bool:
        return True
