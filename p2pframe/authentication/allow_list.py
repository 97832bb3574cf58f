"""Who is let in by name: a list of addresses, networks and peer ids; whoever is on none of them stays out."""

from __future__ import annotations

import ipaddress
from typing import Annotated, cast

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from p2pframe.interfaces import IAuthenticator, IContext, IReconfigurable
from p2pframe.model import ALLOW, Action, HandshakeInfo, PeerAddress, Slot, Verdict
from p2pframe.plugin import PeerIdHex, PluginConfig, bound, live, plugin

_RULE = "authentication.allow-list"


def _host(text: str) -> str:
    try:
        return PeerAddress.of(text, 0).host
    except ValueError as error:
        raise PydanticCustomError("host", "{text}", {"text": str(error)}) from None


def _no_port(value: object) -> object:
    if isinstance(value, str) and (value.startswith("[") or value.count(":") == 1 or "/" in value):
        raise PydanticCustomError(
            "host", "an address without a port (an inbound peer's port is by chance); networks go into networks"
        )
    return value


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise PydanticCustomError(
            "network", "not a network such as 192.0.2.0/24: {text}", {"text": str(error)}
        ) from None


Host = Annotated[str, BeforeValidator(_no_port), AfterValidator(_host)]
Network = Annotated[str, AfterValidator(_network)]


class AllowListConfig(PluginConfig):
    """Options of the `allow-list` authenticator."""

    addresses: tuple[Host, ...] = bound(
        (),
        max_length=10_000,
        description="Addresses, without port.",
        counter="refusals",
        label="not-listed",
        refuses=("not-listed",),
    )
    networks: tuple[Network, ...] = bound(
        (),
        max_length=1_000,
        description="Networks, such as 192.0.2.0/24 or 2001:db8::/32.",
        counter="refusals",
        label="not-listed",
        refuses=("not-listed",),
    )
    peer_ids: tuple[PeerIdHex, ...] = bound(
        (),
        max_length=10_000,
        description="Peer ids in hex, where the transport proves them.",
        counter="refusals",
        label="not-listed",
        refuses=("not-listed",),
    )
    dialled: bool = live(True, description="Ask it of peers that we dialled too, not only of those that dialled us.")

    @model_validator(mode="after")
    def _somebody(self) -> AllowListConfig:
        if not (self.addresses or self.networks or self.peer_ids):
            raise PydanticCustomError(
                "empty_list", "the list is empty and nobody would get in: give addresses, networks or peer_ids"
            )
        return self


@plugin("allow-list", config=AllowListConfig)
@implementer(IAuthenticator, IReconfigurable)
class AllowListAuthenticator:
    """Lets in whose address, network or peer id is on its list, and nobody else."""

    name = "allow-list"

    def __init__(self, config: AllowListConfig, context: IContext) -> None:
        self.context = context
        self.reconfigure(config)

    def admit(self, info: HandshakeInfo, slot: Slot) -> Verdict:
        """Allowed by any one entry; else `not-listed`."""
        if slot.dialled and not self.config.dialled:
            return ALLOW
        if info.peer_id is not None and info.peer_id in self._peer_ids:
            return ALLOW
        if info.address.host in self._hosts:
            return ALLOW
        ip = info.address.ip
        if ip is not None and any(ip.version == network.version and ip in network for network in self._networks):
            return ALLOW
        who = f"{info.address.host[:100]}, " + (
            f"peer id {info.peer_id.hex()[:128]}" if info.peer_id else "no proven peer id"
        )
        return Verdict(Action.DISCONNECT, _RULE, "not-listed", f"{who}: on no list of addresses, networks or peer ids")

    def reconfigure(self, config: object) -> None:
        """Takes new lists: they hold for whoever comes next."""
        self.config = cast(AllowListConfig, config)
        # Looked up by hash: the lists may be long, and strangers come often.
        self._hosts = frozenset(self.config.addresses)
        self._peer_ids = frozenset(self.config.peer_ids)
        self._networks = [ipaddress.ip_network(network) for network in self.config.networks]
