"""A relay policy that tells its links in the order of a set of texts: what --check is there to find."""

from __future__ import annotations

from zope.interface import implementer

from p2pframe.interfaces import IContext, ILink, IRelayPolicy
from p2pframe.model import Item
from p2pframe.plugin import PluginConfig, plugin
from p2pframe.relay.flood import FloodConfig, FloodRelay


@plugin("set-order", config=PluginConfig)
@implementer(IRelayPolicy)
class SetOrderRelay(FloodRelay):
    """Tells every link of every item at once, in no order."""

    def __init__(self, config: PluginConfig, context: IContext) -> None:
        super().__init__(FloodConfig(), context)

    def accepted(self, item: Item, source: ILink | None) -> None:
        links = self._links.get(item.topic, {})
        order = [int(name) for name in {str(id) for id in links}]
        self._links[item.topic] = {id: links[id] for id in order}
        super().accepted(item, source)
