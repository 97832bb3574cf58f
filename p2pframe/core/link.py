"""A link: one session and one topic, as a relay policy sees them. It passes verbs on and counts what was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from p2pframe.interfaces import IConversation, ILink
from p2pframe.model import Item, ItemId, Score, SessionId, Topic

if TYPE_CHECKING:
    from p2pframe.core.session import Session


@implementer(ILink)
class Link:
    """See `ILink`."""

    __slots__ = ("_conversation", "_session", "id", "inbound", "netgroup", "topic", "urgent", "verbs")

    def __init__(
        self,
        session: Session,
        conversation: IConversation,
        topic: Topic,
        netgroup: str,
        verbs: frozenset[str],
        urgent: bool,
    ) -> None:
        self._session = session
        self._conversation = conversation
        self.id: SessionId = session.id
        self.topic = topic
        self.inbound: bool = session.inbound
        self.netgroup = netgroup
        self.verbs = verbs
        self.urgent = urgent

    @property
    def writable(self) -> bool:
        """See `ILink.writable`."""
        return self._session.writable and not self._session.closing

    @property
    def score(self) -> Score | None:
        """See `ILink.score`."""
        scores = self._session.network.scores_of(self.id)
        return scores[0][0] if scores else None

    def announce(self, items: Sequence[Item]) -> None:
        """See `ILink.announce`."""
        if items and not self._session.closing:
            self._session.network.items.told(self.id, self.topic, items)
            try:
                self._conversation.announce(self.topic, items)
            except Exception:  # noqa: BLE001 - it ends its own session; whoever called goes on with the others
                self._session.failed("announce")

    def request(self, ids: Sequence[ItemId]) -> None:
        """See `ILink.request`."""
        if ids and not self._session.closing:
            try:
                self._conversation.request(self.topic, ids)
            except Exception:  # noqa: BLE001 - it ends its own session; whoever called goes on with the others
                self._session.failed("request")

    def deliver(self, item: Item) -> None:
        """See `ILink.deliver`."""
        if not self._session.closing:
            try:
                self._conversation.deliver(self.topic, item)
            except Exception:  # noqa: BLE001 - it ends its own session; whoever called goes on with the others
                self._session.failed("deliver")

    def push(self, item: Item) -> None:
        """See `ILink.push`."""
        if not self._session.closing:
            self._session.network.items.told(self.id, self.topic, (item,))
            try:
                self._conversation.push(self.topic, item)
            except Exception:  # noqa: BLE001 - it ends its own session; whoever called goes on with the others
                self._session.failed("push")

    def graft(self) -> None:
        """See `ILink.graft`."""
        self._require("graft")
        self._conversation.graft(self.topic)

    def prune(self) -> None:
        """See `ILink.prune`."""
        self._require("prune")
        self._conversation.prune(self.topic)

    def _require(self, verb: str) -> None:
        if verb not in self.verbs:
            raise ValueError(f"this protocol's links do not offer {verb!r}; the policy's `needs` must name it")
