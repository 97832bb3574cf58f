"""A link that notes what a relay policy does with it, and a small network of nodes joined by such links."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer
from zope.interface.verify import verifyObject

from p2pframe.interfaces import ILink
from p2pframe.model import Item, ItemId, Score, SessionId, Topic

TX = Topic("tx")
BLOCK = Topic("block")


def item(number: int, priority: float | None = None, topic: Topic = TX, aliases: tuple[ItemId, ...] = ()) -> Item:
    return Item(topic, ItemId(number.to_bytes(32, "big")), f"item {number}", 250, priority, aliases)


@implementer(ILink)
class FakeLink:
    """Notes announced and pushed items by id, with when."""

    def __init__(
        self,
        id: int,
        topic: Topic = TX,
        *,
        inbound: bool = False,
        urgent: bool = False,
        verbs: frozenset[str] = frozenset({"announce", "request", "deliver"}),
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.id = SessionId(id)
        self.topic = topic
        self.inbound = inbound
        self.netgroup = f"v4:10.{id}"
        self.verbs = verbs
        self.urgent = urgent
        self.writable = True
        self.score: Score | None = None
        self.batches: list[list[Item]] = []
        self.times: list[float] = []
        self.pushed: list[Item] = []
        self.told: Callable[[Item], None] = lambda item: None
        self._seconds = seconds

    def announce(self, items: Sequence[Item]) -> None:
        self.batches.append(list(items))
        self.times.append(self._seconds())
        for told in items:
            self.told(told)

    def request(self, ids: Sequence[ItemId]) -> None:
        raise AssertionError("only the scheduler requests")

    def deliver(self, item: Item) -> None:
        raise AssertionError("the policy delivers nothing that was not asked for")

    def push(self, item: Item) -> None:
        assert "push" in self.verbs
        self.pushed.append(item)
        self.told(item)

    def graft(self) -> None:
        raise AssertionError("not offered")

    def prune(self) -> None:
        raise AssertionError("not offered")

    @property
    def announced(self) -> list[Item]:
        return [item for batch in self.batches for item in batch]


verifyObject(ILink, FakeLink(0))


class SmallNetwork:
    """Nodes of one policy each, joined in pairs. What a link is told of is asked for and taken, at once."""

    def __init__(self, policies: Sequence, pairs: Sequence[tuple[int, int]]) -> None:
        self.policies = policies
        self.held: list[dict[ItemId, Item]] = [{} for _ in policies]
        self.links: dict[tuple[int, int], FakeLink] = {}
        for a, b in pairs:
            for near, far, inbound in ((a, b, False), (b, a, True)):
                link = FakeLink(far, inbound=inbound)
                link.told = lambda told, near=near, far=far: self.tell(near, far, told)
                self.links[near, far] = link
                policies[near].link_added(link)

    def tell(self, near: int, far: int, told: Item) -> None:
        """`near` tells `far` of an item."""
        back = self.links[far, near]
        self.policies[far].announced(back, [told.id])
        if told.id not in self.held[far]:
            self.held[far][told.id] = told
            self.policies[far].accepted(told, back)

    def publish(self, node: int, told: Item) -> None:
        self.held[node][told.id] = told
        self.policies[node].accepted(told, None)
