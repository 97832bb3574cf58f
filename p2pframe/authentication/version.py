"""Who is let in by what it speaks: a least protocol version, and services that it must offer."""

from __future__ import annotations

from typing import cast

from zope.interface import implementer

from p2pframe.interfaces import IAuthenticator, IContext, IReconfigurable
from p2pframe.model import ALLOW, Action, HandshakeInfo, Slot, Verdict
from p2pframe.plugin import PluginConfig, bound, plugin

_RULE = "authentication.version"


class VersionConfig(PluginConfig):
    """Options of the `version` authenticator."""

    minimum: int = bound(
        0,
        ge=0,
        description="The least protocol version; peers that name none are then refused. 0: any.",
        counter="refusals",
        label="old-version",
        refuses=("old-version",),
    )
    services: tuple[str, ...] = bound(
        (),
        max_length=64,
        description="Services that a peer must offer where we dialled it, as the protocol names them (NETWORK).",
        counter="refusals",
        label="missing-services",
        refuses=("missing-services",),
    )
    inbound_services: tuple[str, ...] = bound(
        (),
        max_length=64,
        description="Services that a peer must offer where it dialled us.",
        counter="refusals",
        label="missing-services",
        refuses=("missing-services",),
    )


@plugin("version", config=VersionConfig)
@implementer(IAuthenticator, IReconfigurable)
class VersionAuthenticator:
    """Lets in who speaks a recent enough version and offers the services that are needed."""

    name = "version"

    def __init__(self, config: VersionConfig, context: IContext) -> None:
        self.config = config
        self.context = context

    def admit(self, info: HandshakeInfo, slot: Slot) -> Verdict:
        """`old-version` or `missing-services`, else allowed."""
        config = self.config
        if config.minimum and (info.version is None or info.version < config.minimum):
            said = "names no version" if info.version is None else f"speaks version {info.version}"
            return Verdict(Action.DISCONNECT, _RULE, "old-version", f"{said}, at least {config.minimum} is asked for")
        wanted = config.services if slot.dialled else config.inbound_services
        missing = [service for service in wanted if service not in info.services]
        if missing:
            # A peer chooses what it claims: show a bounded part of it.
            offered = ", ".join(sorted(info.services))[:200] or "none"
            return Verdict(
                Action.DISCONNECT, _RULE, "missing-services", f"lacks {', '.join(missing)}; offers {offered}"
            )
        return ALLOW

    def reconfigure(self, config: object) -> None:
        """Takes new options: they hold for whoever comes next."""
        self.config = cast(VersionConfig, config)
