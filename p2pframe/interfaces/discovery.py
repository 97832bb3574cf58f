"""IDiscovery: where are peers, and how do they find us?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import FoundAddress, PeerAddress


@dataclass(frozen=True, slots=True)
class DiscoveryState:
    """What a discovery plugin decides on whether it is due; times in seconds.

    `outbound` counts open dialled sessions (manual ones not), `wanted` the slots for them; in a network of datagrams
    they are what its protocol holds and wants (`IHoldsPeers`). `last_run` is how long ago this plugin's latest `find`
    began, None for never.
    """

    uptime: float
    outbound: int
    wanted: int
    book_size: int
    last_run: float | None


class IDiscovery(Interface):
    """Where peers are, and how they find us. Opens no session: core takes what is found into the address book."""

    name: str = Attribute("The plugin's name: the source that the address book remembers.")
    manual: bool = Attribute(
        "True where what is found are the operator's own peers: held in manual slots, always retried. A network of "
        "datagrams, which holds no connections, takes them into the address book."
    )

    def due(state: DiscoveryState) -> bool:
        """Called about once a second while no `find` of this plugin runs. Never raises."""

    def find(limit: int) -> Deferred[Sequence[FoundAddress]]:
        """Called when due: look for at most `limit` addresses. Cancelled at stop and after `limits.discovery_timeout`.

        A failure is logged with the plugin's name, counted, and retried with backoff.
        """

    def announce(addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """Called once at start with what is bound (nothing where the network only dials): make us findable.

        Fires when that is done, where the plugin can do it at all. Cancelled at stop.
        """

    def withdraw() -> Deferred[None]:
        """Called at stop: take it back, as far as the plugin can; what goes on between looks ends."""


class ISeedNames(Interface):
    """A protocol may also provide this: the DNS seeds of its network, for a discovery plugin that is given none."""

    def seed_names() -> Sequence[str]:
        """DNS names whose A and AAAA records are addresses of peers; empty where the network has none."""


class IPeerExchange(Interface):
    """A protocol may also provide this: addresses over its own messages (Bitcoin's getaddr and addr, BEP 11)."""

    def hand_over() -> None:
        """Called once, before the others, by a discovery when it is built: it decides from now on.

        What the protocol would ask or tell of itself, it leaves to `ask` and `tell`. Without this it does as it likes.
        """

    def ask(limit: int, peers: int) -> Deferred[Mapping[PeerAddress, Sequence[FoundAddress]]]:
        """Ask at most `peers` of the peers held, others than those asked last, for addresses.

        Fires with at most `limit` of what they tell within the protocol's own patience, by the peer that told: the
        address book remembers who did. Empty where nobody is held or tells anything. It can be cancelled.
        """

    def tell(addresses: Sequence[PeerAddress], peers: int) -> int:
        """Tell at most `peers` of the peers held, others than those told last, that we are reached at `addresses`.

        Returns how many were told. Where our own outside address is not known, `addresses` is what is bound, and the
        protocol tells none that could not be reached.
        """
