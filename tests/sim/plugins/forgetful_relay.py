"""A relay policy with a bug in it: after a reconnect it drops one announcement in a hundred.

What a simulator has to find: it takes a fault to begin, chance to show, and is gone in the next run.
"""

from __future__ import annotations

from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IRelayPolicy
from p2pframe.model import Item
from p2pframe.plugin import PluginConfig, plugin
from p2pframe.relay.flood import FloodConfig, FloodRelay

DROPPED = 0.01


@plugin("forgetful", config=PluginConfig)
@implementer(IRelayPolicy)
class ForgetfulRelay(FloodRelay):
    """Tells every link of every item at once, but for one in a hundred where the peer was connected before."""

    def __init__(self, config: PluginConfig, context: IContext) -> None:
        super().__init__(FloodConfig(), context)
        self._chance = context.rng
        self._met: set[tuple[str, str]] = set()
        self._again: set[int] = set()

    def link_added(self, link: ILink) -> None:
        peer = link.topic, link.netgroup
        if peer in self._met:
            self._again.add(link.id)
        self._met.add(peer)
        super().link_added(link)

    def link_removed(self, link: ILink) -> None:
        self._again.discard(link.id)
        super().link_removed(link)

    def _tell(self, told, item: Item) -> None:
        if told.link.id in self._again and self._chance.random() < DROPPED:
            return
        super()._tell(told, item)
