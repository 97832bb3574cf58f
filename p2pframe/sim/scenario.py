"""What a scenario comes to: its models, and everything of it checked and put together.

A section is parsed by the models of its owner: links by links.py, the timeline by faults.py, measures by measures/,
expectations by expectations.py. The sections here are the hosts and how they find one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.config.settings import NodeSpec
from p2pframe.plugin import Duration, Field, PluginConfig, Size
from p2pframe.sim.distributions import Offsets
from p2pframe.sim.links import LinksConfig
from p2pframe.sim.nat import UDP_TIMEOUT, NatKind
from p2pframe.sim.references import GroupName, NetworkName

VERSION = 1
DEFAULT = "default"
"""The first variant of every scenario: the file as it is."""

AddressRange = IPv4Network | IPv6Network


def _range(value: object) -> AddressRange:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise PydanticCustomError(
            "range", "not a range of addresses: write 203.0.113.0/24 or 2001:db8::/32 ({text})", {"text": str(error)}
        ) from None


def capacity(addresses: AddressRange) -> int:
    """How many hosts a range has room for: the first address and the last one are nobody's, but in the smallest."""
    return addresses.num_addresses - 2 if addresses.num_addresses > 2 else addresses.num_addresses


Range = Annotated[
    AddressRange,
    PlainValidator(_range),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["203.0.113.0/24", "2001:db8::/32"]}),
]
"""Addresses that share a prefix; in the YAML `203.0.113.0/24`."""


class AddressesConfig(PluginConfig):
    """Where a group's hosts are in the address space."""

    ipv4: int = Field(default=1, ge=0, le=1000, description="IPv4 addresses of each host.")
    ipv6: int = Field(default=0, ge=0, le=1000, description="IPv6 addresses of each host.")
    netgroups: int | None = Field(
        default=None,
        ge=1,
        le=20_000,
        description="Distinct netgroups (IPv4 /16, IPv6 /32) that the group falls over, as far as it has addresses; "
        "unset: one for each host.",
    )
    asns: int | None = Field(
        default=None, ge=1, le=20_000, description="Distinct AS numbers that own these netgroups; unset: one for each."
    )
    skew: float = Field(
        default=1.0, ge=0, le=5, description="The n-th netgroup has a share of 1/n to this power; 0: all the same."
    )
    ranges: tuple[Range, ...] = Field(
        default=(), max_length=1000, description="Draw from these instead of globally routable netgroups."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.ipv4 and not self.ipv6:
            raise PydanticCustomError("no_address", "a host has at least one address: ipv4 and ipv6 are both 0")
        if self.ranges and self.netgroups is not None:
            raise PydanticCustomError("ranges", "`ranges` say which netgroups there are: leave `netgroups` out")
        if self.netgroups is not None and self.asns is not None and self.asns > self.netgroups:
            raise PydanticCustomError("asns", "more asns than netgroups: each owns whole netgroups, at least one")
        for version, wanted in ((4, self.ipv4), (6, self.ipv6)):
            if self.ranges and wanted and not any(one.version == version for one in self.ranges):
                raise PydanticCustomError(
                    "ranges",
                    "no range of IPv{version}, and each host has {wanted} such addresses: set ipv{version}: 0",
                    {"version": version, "wanted": wanted},
                )
        return self


class NatConfig(PluginConfig):
    """What a group's hosts are behind: a router each, or one for all where they share a `lan`."""

    kind: Literal["none", NatKind] = Field(description="Which packets from outside it lets in; none: no NAT at all.")
    share: float = Field(
        default=1.0, ge=0, le=1, description="Share of the hosts that are behind one; the rest are not."
    )
    timeout: Duration = Field(
        default=UDP_TIMEOUT, gt=0, description="A mapping of datagrams that is not used for this long is gone."
    )


class ClockConfig(PluginConfig):
    """How wrong the hosts' wall clocks are."""

    skew: Offsets = Field(
        default=Offsets(fixed=0.0), description="How far a host's clock is ahead; drawn for each host."
    )
    drift: float = Field(
        default=0.0, ge=0, le=10_000, description="Parts per million that a clock is fast or slow at most."
    )


class BandwidthConfig(PluginConfig):
    """The link between a host and the rest, all its connections together."""

    up: Size = Field(default=0, description="Bytes per second out of each host; 0 is without limit.")
    down: Size = Field(default=0, description="Bytes per second into each host; 0 is without limit.")
    queue: Size = Field(default=262_144, description="Bytes that wait for it before datagrams are dropped.")


Weight = Annotated[float, Field(gt=0)]


class GroupConfig(PluginConfig):
    """A group of hosts that run one node file."""

    node: Path = Field(description="The node file that they run, relative to this file: the one that twistd runs.")
    count: int = Field(default=1, ge=1, le=100_000, description="How many hosts.")
    override: Mapping[str, object] = Field(
        default={},
        description="Merged into the node file: mappings merge, lists and values replace. A mapping that names another "
        "plugin replaces too.",
    )
    region: str | Mapping[str, Weight] = Field(
        default="", description="Where they are, for `links`: a region, or regions with their weights."
    )
    addresses: AddressesConfig = Field(default=AddressesConfig(), description="Their addresses.")
    nat: NatConfig | None = Field(default=None, description="What they are behind; unset: nothing.")
    lan: str = Field(
        default="", max_length=63, description="The local network that they share: multicast reaches all of it."
    )
    clock: ClockConfig = Field(default=ClockConfig(), description="Their wall clocks.")
    bandwidth: BandwidthConfig = Field(default=BandwidthConfig(), description="Their link to the rest.")
    start: Duration = Field(default=10.0, description="They start in random order, evenly spread over this time.")
    after: Duration = Field(default=0.0, description="No host of the group starts before this time.")
    honest: bool = Field(default=True, description="Whether measures count them among the honest hosts.")

    @model_validator(mode="after")
    def _room(self) -> Self:
        addresses = self.addresses
        if self.nat is not None and self.nat.kind != "none" and (addresses.ipv4, addresses.ipv6) != (1, 0):
            raise PydanticCustomError("nat", "hosts behind a NAT have one IPv4 address each: leave ipv4 and ipv6 out")
        for version, wanted in ((4, addresses.ipv4), (6, addresses.ipv6)):
            room = sum(capacity(one) for one in addresses.ranges if one.version == version)
            if addresses.ranges and wanted * self.count > room:
                raise PydanticCustomError(
                    "room", "the ranges have room for {room} IPv{version} addresses, and the hosts need {wanted}",
                    {"room": room, "version": version, "wanted": wanted * self.count},
                )  # fmt: skip
        return self

    @property
    def regions(self) -> Mapping[str, float]:
        """The regions with their weights; one without a name where none is given."""
        return {self.region: 1.0} if isinstance(self.region, str) else self.region


class GraphConfig(PluginConfig):
    """Who holds a connection with whom in one network: takes the place of that network's `discovery`."""

    network: NetworkName = Field(description="The network, by its name in the node files.")
    kind: Literal["regular", "complete", "ring", "line", "star"] = Field(
        description="regular: at random, each host with `degree` neighbours; star: the first host in the middle."
    )
    degree: int | None = Field(default=None, ge=1, le=1000, description="Neighbours of each host, in a regular graph.")
    groups: tuple[GroupName, ...] = Field(
        default=(), description="Between the hosts of these groups; unset: of all groups."
    )

    @model_validator(mode="after")
    def _degree(self) -> Self:
        if (self.kind == "regular") != (self.degree is not None):
            if self.degree is None:
                raise PydanticCustomError("degree", "'degree' is missing: how many neighbours has each host?")
            raise PydanticCustomError("degree", "'degree' is for regular graphs: leave it out")
        if len(dict.fromkeys(self.groups)) != len(self.groups):
            raise PydanticCustomError("groups", "a group is there twice")
        return self


class NamesConfig(PluginConfig):
    """What the simulated resolver answers for one name."""

    groups: tuple[GroupName, ...] = Field(min_length=1, description="Addresses of hosts of these groups, at random.")
    count: int = Field(default=20, ge=1, le=10_000, description="Of how many hosts.")


@dataclass(frozen=True)
class Group:
    """A host group with what its hosts run."""

    name: str
    config: GroupConfig
    spec: NodeSpec = field(repr=False)

    def hosts(self) -> list[str]:
        """The names of its hosts: `nodes-0`, `nodes-1`, ..."""
        return [f"{self.name}-{number}" for number in range(self.config.count)]


@dataclass(frozen=True)
class Scenario:
    """One variant of a scenario, checked.

    `places` says where an entry of a list stands, as `file:line:column`, by its path (`expect.0`, `timeline.3`).
    """

    path: Path
    name: str
    seed: int
    duration: float
    variant: str
    variants: tuple[str, ...]
    settings: Mapping[str, str]
    groups: Mapping[str, Group]
    graph: tuple[GraphConfig, ...]
    names: Mapping[str, NamesConfig]
    links: LinksConfig
    timeline: tuple[Any, ...]
    churn: tuple[Any, ...]
    workload: tuple[Any, ...]
    measures: Mapping[str, PluginConfig]
    expect: tuple[Any, ...]
    compare: tuple[Any, ...]
    places: Mapping[str, str]
