"""A node that talks too much: it floods its peers with transactions, and with lies about what it has.

    networks:
      bitcoin:
        relay: {plugin: spammer, transactions: 20, lies: 0}      # a flood of transactions that nobody asked for
        relay: {plugin: spammer, transactions: 0, lies: 50}      # a liar: ids of nothing

A Byzantine host for scenarios. It stands where an honest node has its relay policy, and relays nothing: the rest of the
node is honest, so that it is connected and listened to like any other. A node that is asked for one of its lies answers
that it has no such thing; put the `withholder` behind it, and it does not answer at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IRelayPolicy
from p2pframe.model import Item, ItemId, SessionId, Topic
from p2pframe.plugin import Duration, Field, PluginConfig, plugin
from p2pframe.protocols.bitcoin.api import TX, TxInput, TxOutput, build_transaction

NONSTANDARD = 99
"""A transaction version that nodes turn away, and think no worse of the sender for: it may be of a later time."""


class SpammerConfig(PluginConfig):
    """Options of the `spammer` relay policy."""

    transactions: int = Field(20, ge=0, le=10_000, description="Transactions that each peer is sent each time.")
    valid: bool = Field(False, description="Make them such that honest nodes take them, and pass them on.")
    size: int = Field(250, ge=100, le=90_000, description="Bytes of each, about.")
    lies: int = Field(0, ge=0, le=1000, description="Ids of nothing that each peer is told of each time.")
    every: Duration = Field(1.0, gt=0, description="How often.")


@plugin("spammer", config=SpammerConfig)
@implementer(IRelayPolicy)
class Spammer:
    """Floods every peer with transactions that nobody asked for, or with ids of nothing; for scenarios."""

    needs = (frozenset({"announce", "deliver"}),)

    def __init__(self, config: SpammerConfig, context: IContext) -> None:
        self.config = config
        self._reactor = context.reactor
        self._chance = context.rng.randbytes
        self._links: dict[SessionId, ILink] = {}
        self._timer: IDelayedCall | None = None
        self._sent = context.metrics.counter("spam_total", "What was sent, by kind.", ("kind",))

    def link_added(self, link: ILink) -> None:
        """See `IRelayPolicy.link_added`: one more to be bothered."""
        if link.topic == TX:
            self._links[link.id] = link
            if self._timer is None:
                self._timer = self._reactor.callLater(self.config.every, self._bother)

    def link_removed(self, link: ILink) -> None:
        """See `IRelayPolicy.link_removed`."""
        if link.topic == TX:
            self._links.pop(link.id, None)
        if not self._links and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def announced(self, link: ILink, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.announced`: who cares."""

    def accepted(self, item: Item, source: ILink | None) -> None:
        """See `IRelayPolicy.accepted`: nothing is relayed."""

    def withdrawn(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IRelayPolicy.withdrawn`."""

    def may_serve(self, link: ILink, id: ItemId) -> bool:
        """See `IRelayPolicy.may_serve`."""
        return True

    def _bother(self) -> None:
        self._timer = self._reactor.callLater(self.config.every, self._bother)
        for link in list(self._links.values()):
            if link.writable and self.config.lies:
                self._sent.add(self.config.lies, "lie")
                link.announce([Item(TX, ItemId(self._chance(32)), None, 0) for _ in range(self.config.lies)])
            for _ in range(self.config.transactions):
                if not link.writable:
                    break
                self._sent.add(1, "transaction")
                link.deliver(self._transaction())

    def _transaction(self) -> Item:
        padding = b"\x6a" + bytes(self.config.size - 70)
        made = build_transaction(
            [TxInput(self._chance(32), 0)], [TxOutput(1000, padding)], 2 if self.config.valid else NONSTANDARD
        )
        return Item(TX, ItemId(made.wtxid), made, made.size)
