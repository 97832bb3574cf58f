"""A validator in one file: takes only so many items, and bytes of them, in a time. A worked example of `IValidator`.

    networks:
      chat:
        validators: [{plugin: quota, items: 100, size: 1MB, interval: 1min}]

It runs after the protocol's own validators, so what it counts is good; it looks at an item's topic and size and never
inside, so it works for every protocol. It is for private networks on thin lines. On a public one an attacker could use
up the quota with items that are good and worthless: there the relay's priorities are the better tool.

What is over the quota is ignored, not rejected: core forgets the id at once, and the item is welcome when there is room
again.
"""

from __future__ import annotations

from typing import cast

from zope.interface import implementer

from p2pframe.errors import PluginError
from p2pframe.interfaces import IContext, INetworkProtocol, IReconfigurable, IValidator
from p2pframe.model import ACCEPTED, Item, Outcome, Topic, Validation
from p2pframe.plugin import Duration, Field, PluginConfig, Size, live, plugin


class QuotaConfig(PluginConfig):
    """Options of the `quota` validator; each topic has its own quota."""

    topics: tuple[str, ...] = Field(
        (), max_length=100, description="Topics that have a quota; none given: all of them."
    )
    items: int = live(1_000, ge=1, description="Items of a topic taken in `interval`.")
    size: Size = live(
        10_000_000, ge=1, description="Bytes of a topic's items taken in `interval`; a larger item is never taken."
    )
    interval: Duration = live(
        60.0, gt=0, description="The time in which a used-up quota is whole again; it refills evenly."
    )


class _Used:
    """What is used of one topic's quota."""

    __slots__ = ("at", "items", "size")

    def __init__(self, at: float) -> None:
        self.at = at
        self.items = 0.0
        self.size = 0.0


@plugin("quota", config=QuotaConfig)
@implementer(IValidator, IReconfigurable)
class QuotaValidator:
    """Takes only so many items, and bytes of them, in a time."""

    def __init__(self, config: QuotaConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.topics = tuple(Topic(topic) for topic in config.topics)
        # A topic that the protocol has not got would be watched for ever in vain: say so now.
        known = context.service(INetworkProtocol).topics
        strangers = [topic for topic in self.topics if topic not in known]
        if strangers:
            raise PluginError(
                f"{context.name}: no topic {', '.join(strangers)}: the protocol has {', '.join(known) or 'none'}"
            )
        # As many entries as the protocol has topics: core asks about no others.
        self._used: dict[Topic, _Used] = {}
        self._over = context.metrics.counter(
            "quota_exceeded_total", "Items ignored, the quota being used up.", ["topic"]
        )

    def validate(self, item: Item) -> Validation:
        """IGNORE over the quota, else ACCEPT."""
        config, now = self.config, self.context.reactor.seconds()
        used = self._used.get(item.topic)
        if used is None:
            used = self._used[item.topic] = _Used(now)
        refilled = (now - used.at) / config.interval
        used.at = now
        used.items = max(0.0, used.items - refilled * config.items)
        used.size = max(0.0, used.size - refilled * config.size)
        if used.items + 1 > config.items or used.size + item.size > config.size:
            self._over.add(1, item.topic)
            return Validation(Outcome.IGNORE, "over the quota")
        used.items += 1
        used.size += item.size
        return ACCEPTED

    def reconfigure(self, config: object) -> None:
        """Takes new amounts; what was used stays used."""
        self.config = cast(QuotaConfig, config)
