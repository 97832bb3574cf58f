"""Peers that the config names: the operator's own, each held in a manual slot and always tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import BeforeValidator, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress, PeerId
from p2pframe.plugin import Address, Field, PeerIdHex, PluginConfig, live, plugin


def _from_text(value: object) -> object:
    return {"address": value} if isinstance(value, (str, PeerAddress)) else value


class StaticPeer(PluginConfig):
    """One peer: where it is and, where the transport can prove it, who it must be."""

    address: Address = Field(description="host:port or [v6-address]:port; a name is looked up for each dial.")
    peer_id: PeerIdHex | None = Field(
        None, description="Who must answer there, in hex: checked by transports that prove it, such as tls."
    )


class StaticConfig(PluginConfig):
    """Options of the `static` discovery."""

    peers: tuple[
        Annotated[
            StaticPeer,
            BeforeValidator(_from_text),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string", "examples": ["127.0.0.1:18444"]},
                        {
                            "type": "object",
                            "properties": {"address": {"type": "string"}, "peer_id": {"type": "string"}},
                            "required": ["address"],
                            "additionalProperties": False,
                        },
                    ]
                }
            ),
        ],
        ...,
    ] = live(
        ..., min_length=1, max_length=1000, description="The peers: host:port each, or {address: ..., peer_id: ...}."
    )

    @field_validator("peers")
    @classmethod
    def _usable(cls, peers: tuple[StaticPeer, ...]) -> tuple[StaticPeer, ...]:
        seen: set[PeerAddress] = set()
        for peer in peers:
            if peer.address.port == 0:
                raise PydanticCustomError(
                    "static_port", "{peer}: nobody can be dialled at port 0", {"peer": str(peer.address)}
                )
            if peer.address in seen:
                raise PydanticCustomError("static_twice", "{peer} is there twice", {"peer": str(peer.address)})
            seen.add(peer.address)
        return peers


@plugin("static", config=StaticConfig)
@implementer(IDiscovery, IReconfigurable)
class StaticDiscovery:
    """The peers that the config names, held in manual slots."""

    name = "static"
    manual = True

    def __init__(self, config: StaticConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._told: StaticConfig | None = None
        self._left_out = context.metrics.counter("static_left_out_total", "Configured peers over what core would take.")

    def due(self, state: DiscoveryState) -> bool:
        """Once at the start, and once after each change of the list."""
        return self._told is not self.config

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """The list as it stands in the config, at once."""
        self._told = self.config
        peers = self.config.peers[:limit]
        if len(peers) < len(self.config.peers):
            left_out = len(self.config.peers) - len(peers)
            self._left_out.add(left_out)
            self.context.log.warn(
                "{count} configured peers are left out: limits.discovery_addresses is {limit}",
                count=left_out,
                limit=limit,
            )
        found = [
            FoundAddress(peer.address, peer_id=None if peer.peer_id is None else PeerId(peer.peer_id)) for peer in peers
        ]
        return succeed(found)

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """Nobody to tell."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Nothing to take back."""
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """Takes the new list; it is told at the next look."""
        self.config = cast(StaticConfig, config)
