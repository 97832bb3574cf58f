"""What `mdns` can be told."""

from __future__ import annotations

import re

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from p2pframe.plugin import Duration, Field, PluginConfig, bound, live

_SERVICE = re.compile(r"_[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?\._(tcp|udp)\Z")


class MdnsConfig(PluginConfig):
    """Options of the `mdns` discovery."""

    service: str = Field(
        "_p2pframe._tcp", description="The kind of service, _name._tcp or _name._udp: a name has 1 to 15 characters."
    )
    instance: str | None = Field(
        None, description="The name that others see; unset: one drawn at each start. One that is taken gets a number."
    )
    interfaces: list[str] = Field([], description="The network interfaces to speak on; none: all but the loopback.")
    ipv4: bool = Field(True, description="Speak over IPv4.")
    ipv6: bool = Field(True, description="Speak over IPv6.")
    announce: bool = Field(True, description="False: look for others, and stay unannounced.")
    any_network: bool = live(
        False, description="Take also peers that say that they are of a network of another name than ours."
    )
    announced_port: int | None = Field(
        None, ge=1, le=65535, description="The port that others are told; unset: that of the first place listened on."
    )
    interval: Duration = live(60.0, ge=1, description="How often what is known is handed over, if nothing is new.")
    patience: Duration = live(1.5, ge=0, description="How long the first look waits for answers.")
    rescan: Duration = live(30.0, ge=1, description="How often the interfaces are looked at again.")
    instances: int = bound(
        200,
        ge=1,
        description="Instances that are kept of one link; more are not looked at.",
        counter="mdns_left_out",
        label="instances",
    )
    per_source: int = bound(
        20,
        ge=1,
        description="Instances that one address of the link may tell of.",
        counter="mdns_left_out",
        label="of one source",
    )
    rate: int = bound(
        100,
        ge=1,
        description="Messages a second that are heard of one address; each 1440 bytes count for one.",
        counter="mdns_left_out",
        label="too many",
    )
    rate_of_all: int = bound(
        1000,
        ge=1,
        description="The same for all addresses of one link together.",
        counter="mdns_left_out",
        label="too many",
    )

    @field_validator("service")
    @classmethod
    def _of_the_form(cls, service: str) -> str:
        if not _SERVICE.match(service):
            raise PydanticCustomError(
                "service", "not of the form _name._tcp or _name._udp, in lower case, the name of 1 to 15 characters"
            )
        return service

    @field_validator("instance")
    @classmethod
    def _a_label(cls, instance: str | None) -> str | None:
        if instance is not None and not (0 < len(instance.encode()) <= 63 and instance.isprintable()):
            raise PydanticCustomError("instance", "a name has 1 to 63 bytes, all of them printable characters")
        return instance
