"""The options of the `dns-seed-server` application."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.endpoints import ListenAddress, SourceAddress
from p2pframe.plugin import Duration, PluginConfig, Size, bound, live

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def _name(text: str) -> str:
    name = text.lower().rstrip(".")
    # 60 bytes are left for what stands before the zone's name in a question.
    if len(name) > 190 or not all(_LABEL.match(label) for label in name.split(".")):
        raise PydanticCustomError("dns_name", "{text}: not a DNS name in ASCII", {"text": repr(text)})
    return name


def _contact(text: str) -> str:
    local, at, domain = text.partition("@")
    if not at or not local or len(local) > 63 or not local.isascii() or not local.isprintable():
        raise PydanticCustomError("contact", "{text}: not a mail address", {"text": repr(text)})
    return f"{local}@{_name(domain)}"


Name = Annotated[str, AfterValidator(_name)]
Contact = Annotated[str, AfterValidator(_contact)]


class DnsSeedServerConfig(PluginConfig):
    """Options of the `dns-seed-server` application."""

    network: str = Field(min_length=1, description="The network of this node whose peers are answered with.")
    zone: Name = Field(description="The zone that is answered for, such as seed.example.org; nothing else is.")
    nameserver: Name = Field(description="The name of this server, as the parent zone's NS record has it.")
    nameserver_addresses: tuple[SourceAddress, ...] = Field(
        (), max_length=8, description="Its addresses; needed where its name is within the zone."
    )
    contact: Contact = Field(description="A mail address of who runs it, shown to everyone in the SOA record.")
    listen: tuple[ListenAddress, ...] = Field(
        min_length=1, max_length=16, description="Addresses and ports to answer on, over UDP and TCP: 53 in the end."
    )
    port: int | None = live(
        None, ge=1, le=65535, description="The port that A and AAAA records mean; unset: the protocol's own."
    )
    service: Name | None = live(
        None, description="Also answer SRV for this, such as _bitcoin._tcp: then with any port. Unset: no SRV."
    )
    public: bool = live(True, description="Only addresses of the public Internet; off for networks of tests.")
    services: dict[str, int] = live(
        {"NETWORK": 0, "BLOOM": 2, "WITNESS": 3, "COMPACT_FILTERS": 6, "NETWORK_LIMITED": 10, "P2P_V2": 11},
        max_length=16,
        description="The bits of the services that peers name in their handshakes, for names like x9.seed.",
    )
    ttl: int = bound(
        60, ge=1, le=86_400, description="Seconds that an answer may be kept; as often another is drawn.", counter=""
    )
    answers: int = bound(20, ge=1, le=64, description="Addresses in one answer.", counter="")
    per_netgroup: int = bound(1, ge=1, description="Of these, from one netgroup (IPv4 /16, IPv6 /32).", counter="")
    proven_for: Duration = bound(
        86_400.0, ge=0, description="Answered with only after its handshakes have succeeded for this long.", counter=""
    )
    check_every: Duration = live(3600.0, ge=1, description="How often an address is called on again.")
    retry: Duration = bound(
        21_600.0, ge=1, description="One that does not answer is forgotten for at least this long.", counter=""
    )
    failures: int = live(3, ge=1, description="An address that was good is given up after so many failures on end.")
    visits: int = bound(8, ge=1, le=256, description="Visits at once.", counter="")
    visit_time: Duration = bound(
        30.0, gt=0, description="How long one visit may take.", counter="dns_seed_server_visits", label="failed"
    )
    pace: Duration = live(1.0, ge=0.01, description="Time between two looks at whom to visit.")
    ask: int = bound(
        250,
        ge=0,
        le=10_000,
        description="Addresses that a visited peer is asked for; 0: none.",
        counter="dns_seed_server_turned_away",
        label="more than asked for",
    )
    ask_every: Duration = live(86_400.0, ge=1, description="How often one peer is asked for addresses.")
    sample_every: Duration = live(60.0, ge=1, description="How often the address book is looked into for new ones.")
    addresses: int = bound(
        20_000,
        ge=1,
        le=1_000_000,
        description="Addresses watched at most.",
        counter="dns_seed_server_turned_away",
        label="full",
    )
    group_addresses: int = bound(
        64, ge=1, description="Of these, from one netgroup.", counter="dns_seed_server_turned_away", label="netgroup"
    )
    responses_per_second: float = bound(
        10.0,
        gt=0,
        description="Full answers over UDP to one /24 or /56; beyond it, every `slip`th is sent to TCP.",
        counter="dns_seed_server_queries",
        label="dropped",
    )
    responses_burst: int = bound(
        30, ge=1, description="The same, at once.", counter="dns_seed_server_queries", label="dropped"
    )
    all_excess_per_second: Size = bound(
        100_000,
        ge=1,
        description="Bytes that go out over UDP to all together beyond those that come in; beyond it, as above.",
        counter="dns_seed_server_queries",
        label="slipped",
    )
    all_excess_burst: Size = bound(
        50_000, ge=1, description="The same, at once.", counter="dns_seed_server_queries", label="slipped"
    )
    slip: int = bound(
        2,
        ge=1,
        description="Of those beyond the rate, each how many'th hears that it shall use TCP.",
        counter="dns_seed_server_queries",
        label="slipped",
    )
    prefixes: int = bound(
        10_000,
        ge=1,
        description="Networks of askers whose rate is remembered.",
        counter="dns_seed_server_prefixes_forgotten",
    )
    tcp_connections: int = bound(
        64, ge=1, description="TCP connections at once.", counter="dns_seed_server_queries", label="refused"
    )
    tcp_per_prefix: int = bound(
        8,
        ge=1,
        description="TCP connections at once from one /24 or /56.",
        counter="dns_seed_server_queries",
        label="refused",
    )
    tcp_queries: int = bound(
        32,
        ge=1,
        description="Questions on one TCP connection.",
        counter="dns_seed_server_queries",
        label="too many queries",
    )
    tcp_timeout: Duration = bound(
        10.0,
        gt=0,
        description="How long a TCP connection may last.",
        counter="dns_seed_server_queries",
        label="timeout",
    )

    @model_validator(mode="after")
    def _glue(self) -> Self:
        if f".{self.nameserver}".endswith(f".{self.zone}") and not self.nameserver_addresses:
            raise PydanticCustomError(
                "glue", "a nameserver within its own zone needs nameserver_addresses, or nobody could find it"
            )
        return self
