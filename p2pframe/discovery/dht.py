"""Peers of a topic, by a DHT that this node takes part in.

    networks:
      mainline:
        protocol: {plugin: mainline}
        transports: [{plugin: udp, listen: "0.0.0.0:6881"}]
      chat:
        discovery: [{plugin: dht, network: mainline, topic: my-app}]

Whoever knows the topic's name finds everybody who announces it, and can announce what is not there: what is found is
hearsay like any other address. An announcement is renewed well before the others forget it, at a moment drawn anew each
time, so that the nodes of a topic do not renew in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable, IRendezvous
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, live, plugin

_RENEW = (0.4, 0.6)
"""Renewed after this part of an announcement's life, drawn in between."""
_RETRY = (30.0, 60.0)
"""Seconds until a renewal that failed is tried again."""


class DhtConfig(PluginConfig):
    """Options of the `dht` discovery."""

    network: str = Field(min_length=1, description="The network of this node to meet in: one whose protocol is a DHT.")
    topic: str = Field(
        min_length=1,
        max_length=1000,
        description="What is announced and looked up: a name, hashed to an infohash; or 40 hex digits, which are one.",
    )
    announced_port: int | None = live(
        None, ge=1, le=65535, description="The port that others are told; unset: that of the first place listened on."
    )
    announce: bool = Field(True, description="False: look others up, and stay unannounced.")
    enough: int = live(4, ge=0, description="With this many outbound sessions it looks only every `interval`.")
    interval: Duration = live(600.0, ge=1, description="How often it looks when there are enough sessions.")
    retry: Duration = live(30.0, ge=1, description="How often while there are not.")

    @field_validator("topic")
    @classmethod
    def _printable(cls, topic: str) -> str:
        if not topic.isprintable():
            raise PydanticCustomError("topic", "a topic has printable characters only")
        return topic


@plugin("dht", config=DhtConfig)
@implementer(IDiscovery, IReconfigurable)
class DhtDiscovery:
    """Announces a topic in a DHT and looks it up."""

    name = "dht"
    manual = False

    def __init__(self, config: DhtConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._dht = context.service(IRendezvous, config.network)
        self._renewal: IDelayedCall | None = None
        self._withdrawn = False
        self._port: int | None = None
        self._announcements = context.metrics.counter(
            "dht_announcements_total", "Announcements of the topic, by how they went.", ["outcome"]
        )

    def due(self, state: DiscoveryState) -> bool:
        """See `IDiscovery.due`."""
        wait = self.config.interval if state.outbound >= self.config.enough else self.config.retry
        return state.last_run is None or state.last_run >= wait

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """See `IDiscovery.find`."""
        return self._dht.find(self.config.topic, limit).addCallback(
            lambda found: [FoundAddress(address) for address in found[:limit]]
        )

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """See `IDiscovery.announce`: announced now, and again for as long as the network runs."""
        self._port = addresses[0].port if addresses else None
        self._withdrawn = False
        if not self.config.announce or self._told_port() is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._announce())

    def withdraw(self) -> Deferred[None]:
        """See `IDiscovery.withdraw`. BEP 5 has no message for it: what others noted runs out."""
        self._withdrawn = True
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        self._dht.withdraw(self.config.topic)
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(DhtConfig, config)

    def _told_port(self) -> int | None:
        return self.config.announced_port or self._port

    async def _announce(self) -> None:
        port = self._told_port()
        if port is None:
            return
        noted = await self._dht.announce(self.config.topic, port)
        self._announcements.add(1, "noted" if noted else "not noted")
        if not noted:
            raise P2PFrameError(f"no node of {self.config.network!r} took the announcement of {self.config.topic!r}")
        self._renew_in(self._dht.lifetime() * self.context.rng.uniform(*_RENEW))

    def _renew_in(self, seconds: float) -> None:
        if self._withdrawn:
            return
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        self._renewal = self.context.reactor.callLater(seconds, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        announced = Deferred.fromCoroutine(self._announce())
        announced.addErrback(lambda failure: self._not_renewed(failure.getErrorMessage()))

    def _not_renewed(self, why: str) -> None:
        self._announcements.add(1, "failed")
        self.context.log.warn("{topic} was not announced again: {why}", topic=self.config.topic, why=why)
        self._renew_in(self.context.rng.uniform(*_RETRY))
