"""Addresses from the peers that are held already, by the messages that their protocol has for it.

    networks:
      bitcoin:
        discovery: [{plugin: dns-seed}, {plugin: peer-exchange}]

It needs another discovery for the first peer, and a protocol that provides `IPeerExchange`: what that does of itself
without this plugin, it then leaves to it. A few peers are asked at a time, each of them once, and a few are told where
we are, each as seldom as its protocol has it. Whoever is asked can answer what he likes: the address book remembers who
told of an address, so that one peer cannot fill it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IPeerExchange, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, live, plugin

_JITTER = (0.5, 1.5)
"""Part of `tell_interval` after which peers are told again, drawn in between: nodes must not do it in step."""


class PeerExchangeConfig(PluginConfig):
    """Options of the `peer-exchange` discovery."""

    announce: bool = Field(True, description="False: ask others, and tell nobody where we are.")
    ask_peers: int = live(3, ge=1, le=100, description="Peers asked at once, at most; each is asked once.")
    tell_peers: int = live(4, ge=1, le=100, description="Peers told at once where we are, at most.")
    tell_interval: Duration = live(
        60.0, ge=1, description="How often, about, some are told; each as seldom as the protocol has it."
    )
    enough: int = live(8, ge=0, description="With this many outbound sessions it asks only every `interval`.")
    interval: Duration = live(600.0, ge=1, description="How often it asks when there are enough sessions.")
    retry: Duration = live(10.0, ge=1, description="How often while there are not.")


@plugin("peer-exchange", config=PeerExchangeConfig)
@implementer(IDiscovery, IReconfigurable)
class PeerExchangeDiscovery:
    """Asks the peers that are held for others, and tells them where we are."""

    name = "peer-exchange"
    manual = False

    def __init__(self, config: PeerExchangeConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._exchange = context.service(IPeerExchange)
        self._bound: Sequence[PeerAddress] = ()
        self._next: IDelayedCall | None = None
        self._exchange.hand_over()
        self._told = context.metrics.counter("peer_exchange_told_total", "Peers that were told where we are.")

    def due(self, state: DiscoveryState) -> bool:
        """See `IDiscovery.due`."""
        wait = self.config.interval if state.outbound >= self.config.enough else self.config.retry
        return state.last_run is None or state.last_run >= wait

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """See `IDiscovery.find`. Each comes with who told of it: as this plugin's, all peers would be one source."""

        def flat(told: Mapping[PeerAddress, Sequence[FoundAddress]]) -> Sequence[FoundAddress]:
            return [replace(one, told_by=peer) for peer, found in told.items() for one in found][:limit]

        return self._exchange.ask(limit, self.config.ask_peers).addCallback(flat)

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """See `IDiscovery.announce`: told from now on, as there are peers to tell."""
        self._bound = addresses
        if self.config.announce:
            self._cancel()
            self._tell()
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """See `IDiscovery.withdraw`. There is no message for it: what others were told grows old."""
        self._cancel()
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(PeerExchangeConfig, config)

    def _tell(self) -> None:
        seconds = self.config.tell_interval * self.context.rng.uniform(*_JITTER)
        self._next = self.context.reactor.callLater(seconds, self._tell)
        try:
            told = self._exchange.tell(self._places(), self.config.tell_peers)
        except Exception:  # noqa: BLE001 - the protocol's fault: it is said, and tried again
            self.context.log.failure("peers could not be told where we are")
        else:
            self._told.add(told)

    def _places(self) -> Sequence[PeerAddress]:
        """What is bound; for all addresses of the host, those that it has now, but for loopback and link-local."""
        places: dict[PeerAddress, None] = {}
        for bound in self._bound:
            ip = bound.ip
            if ip is None or not ip.is_unspecified:
                places[bound] = None
                continue
            for one in (one for interface in self.context.interfaces() for one in interface.addresses):
                if one.version == ip.version and not one.ip.is_loopback and not one.ip.is_link_local:
                    places[PeerAddress.of(str(one.ip), bound.port)] = None
        return list(places)

    def _cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
