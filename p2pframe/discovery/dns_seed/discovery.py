"""When DNS seeds are asked, and what is taken from their answers.

A seed sees who asks it and chooses what it answers, so it is the last resort: nobody is asked while peers or the
address book will do, no seed may bring more than a few addresses, and what one answers neither delays nor fails
another's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults, succeed
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.names import dns
from zope.interface import implementer

from p2pframe.discovery.dns_seed.query import Answer, DnsError, ask
from p2pframe.discovery.dns_seed.walk import Walk
from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable, ISeedNames
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, PluginConfig, bound, live, plugin

_SERVICE = re.compile(r"_[a-z0-9][a-z0-9-]{0,61}\._(tcp|udp)\Z")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_DAY = 86_400.0
_SAID = 3
"""Errors that are told in full where there is nothing else to tell."""


def _seed_name(text: str) -> str:
    # Labels over 63 bytes would be encoded as something else altogether; 200 leaves room for the service bits.
    name = text.lower().rstrip(".")
    labels = name.split(".")
    if len(name) > 200 or not all(_LABEL.match(label) for label in labels) or labels[-1].isdigit():
        raise PydanticCustomError("seed_name", "{text}: not a DNS name in ASCII", {"text": repr(text)})
    return name


def _server(value: object) -> PeerAddress:
    try:
        address = value if isinstance(value, PeerAddress) else PeerAddress.parse(cast(str, value), default_port=53)
    except (ValueError, AttributeError, TypeError) as error:
        raise PydanticCustomError("dns_server", "{text}", {"text": str(error)}) from None
    if address.kind != "ip" or address.port == 0:
        raise PydanticCustomError("dns_server", "a DNS server is given by its IP address: 192.0.2.53 or 192.0.2.53:53")
    return address


SeedName = Annotated[str, AfterValidator(_seed_name)]
Server = Annotated[
    PeerAddress,
    BeforeValidator(_server),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["192.0.2.53", "[2001:db8::53]:53"]}),
]


class DnsSeedConfig(PluginConfig):
    """Options of the `dns-seed` discovery."""

    seeds: tuple[SeedName, ...] = live(
        (), max_length=64, description="Names to look up; none: those that the protocol knows."
    )
    servers: tuple[Server, ...] = live(
        (),
        max_length=8,
        description="DNS servers to ask, each in turn until one answers; none: the system's own resolver.",
    )
    port: int | None = live(None, ge=1, le=65535, description="Port of the peers; unset: the protocol's own.")
    service_bits: int = live(
        0,
        ge=0,
        lt=2**64,
        description="Ask the seeds for peers with these service bits (x9.seed for bits 0 and 3); 0: any.",
    )
    ipv4: bool = live(True, description="Ask for A records.")
    ipv6: bool = live(True, description="Ask for AAAA records.")
    service: str | None = live(
        None,
        description="Also ask for SRV records of this service of the seeds, such as _bitcoin._tcp: they say the port.",
    )
    dnsaddr: Literal["tcp", "udp"] | None = live(
        None, description="Also ask for dnsaddr texts (_dnsaddr.seed), and take what they say of this transport."
    )
    lookups: int = bound(
        32,
        ge=0,
        le=1000,
        description="Further look-ups that the SRV or dnsaddr records of one seed may lead to.",
        counter="dns_seed_left_out",
        label="too many look-ups",
    )
    per_seed: int = bound(
        32,
        ge=1,
        le=1000,
        description="Addresses taken from one seed, at random of those that it answers.",
        counter="dns_seed_addresses",
        label="left",
    )
    enough: int = live(2, ge=1, description="No seed is asked while there are this many outbound sessions.")
    wait: Duration = live(11.0, description="No seed is asked before the node has been up for this long...")
    wait_full: Duration = live(300.0, description="...or this long, where the address book is full.")
    full_book: int = live(1000, ge=0, description="An address book with more addresses than this counts as full.")
    interval: Duration = live(600.0, description="The seeds are not asked again sooner than this.")
    retry: Duration = live(60.0, description="The same after they brought nothing.")
    tries: int = bound(
        2,
        ge=1,
        le=10,
        description="How often one server is asked over UDP before the next one is.",
        counter="dns_seed_lookups",
        label="timeout",
    )
    patience: Duration = bound(
        3.0, gt=0, description="How long one answer may take.", counter="dns_seed_lookups", label="timeout"
    )
    timeout: Duration = bound(
        20.0,
        gt=0,
        description="What has not come by then is done without.",
        counter="dns_seed_lookups",
        label="timeout",
    )

    @model_validator(mode="after")
    def _asked_of_servers(self) -> Self:
        if self.service is not None and not _SERVICE.match(self.service):
            raise PydanticCustomError("service", "service: not of the form _name._tcp or _name._udp, in lower case")
        if not self.servers and (self.service is not None or self.dnsaddr is not None):
            raise PydanticCustomError(
                "needs_servers", "service and dnsaddr need servers: the system's resolver gives addresses only"
            )
        return self


@plugin("dns-seed", config=DnsSeedConfig)
@implementer(IDiscovery, IReconfigurable)
class DnsSeedDiscovery:
    """Asks DNS seeds for addresses while there are too few peers."""

    name = "dns-seed"
    manual = False

    def __init__(self, config: DnsSeedConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._empty = False
        self._known = () if config.seeds else self._of_the_protocol()
        metrics = context.metrics
        self._lookups = metrics.counter("dns_seed_lookups_total", "Look-ups of seeds by how they ended.", ["outcome"])
        self._addresses = metrics.counter(
            "dns_seed_addresses_total", "Addresses in answers, by what became of them.", ["fate"]
        )
        self._left_out = metrics.counter(
            "dns_seed_left_out_total", "What SRV and dnsaddr records led to and was not followed.", ["reason"]
        )
        self._datagrams = metrics.counter("dns_seed_ignored_total", "Datagrams that were no answer to what was asked.")

    def due(self, state: DiscoveryState) -> bool:
        """While there are fewer than `enough` outbound sessions, after giving the address book its chance."""
        config = self.config
        if state.outbound >= config.enough:
            return False
        if state.uptime < (config.wait_full if state.book_size > config.full_book else config.wait):
            return False
        return state.last_run is None or state.last_run >= (config.retry if self._empty else config.interval)

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """Ask all seeds at once; fires with what came within `timeout`, in random order.

        One seed's failure is its own. Fails with `P2PFrameError` where look-ups failed and none brought an address.
        """
        return Deferred.fromCoroutine(self._find(limit))

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """Seeds find us by themselves."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Seeds notice by themselves."""
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """Takes new options; they hold from the next look on."""
        self.config = cast(DnsSeedConfig, config)

    def _of_the_protocol(self) -> Sequence[str]:
        try:
            known = self.context.service(ISeedNames).seed_names()
        except PluginError:
            known = ()
        if not known:
            raise PluginError(f"{self.context.network}: its protocol knows no DNS seeds: give dns-seed some by `seeds`")
        return known

    async def _find(self, limit: int) -> Sequence[FoundAddress]:
        self._empty = True
        seeds = self.config.seeds or self._known
        errors: list[str] = []
        answers = await gatherResults([self._look_up(seed, errors) for seed in seeds], consumeErrors=True)
        found: dict[PeerAddress, None] = {}
        for addresses in answers:
            # Sorted first: what order the answers came in is not ours to tell, and must not decide what is drawn.
            told = sorted(addresses)
            self.context.rng.shuffle(told)
            for address in told[: self.config.per_seed]:
                found[address] = None
            self._addresses.add(len(told[: self.config.per_seed]), "taken")
            self._addresses.add(len(told[self.config.per_seed :]), "left")
        self._empty = not found
        if errors and not found:
            more = len(errors) - _SAID
            raise P2PFrameError("; ".join(errors[:_SAID]) + (f"; and {more} more look-ups failed" if more > 0 else ""))
        chosen = sorted(found)
        self.context.rng.shuffle(chosen)
        now = self.context.unix_time()
        # Seeds don't say when they saw a peer: as Bitcoin Core does, take it for three to seven days ago, so that what
        # peers say of fresher ones counts for more.
        return [
            FoundAddress(
                address if address.port else PeerAddress(address.host, self.config.port or 0),
                # Only names of A and AAAA records are asked for by bits.
                services=0 if address.port else self.config.service_bits,
                last_seen=now - self.context.rng.uniform(3 * _DAY, 7 * _DAY),
            )
            for address in chosen[:limit]
        ]

    def _look_up(self, seed: str, errors: list[str]) -> Deferred[set[PeerAddress]]:
        """What a seed answers, over all record types; never fails but by being cancelled. Adds to `errors`."""
        config = self.config
        name = f"x{config.service_bits:x}.{seed}" if config.service_bits else seed
        if not config.servers:
            return self._one(name, "all", errors, self._by_system(name))
        types = [(dns.A, "A")] * config.ipv4 + [(dns.AAAA, "AAAA")] * config.ipv6
        asked = [
            self._one(name, text, errors, Deferred.fromCoroutine(self._hosts_by_servers(name, number)))
            for number, text in types
        ]
        if config.service is not None:
            service = f"{config.service}.{seed}"
            asked.append(self._walked(service, "SRV", errors, lambda walk: walk.services(service)))
        if config.dnsaddr is not None:
            transport = config.dnsaddr
            asked.append(self._walked(seed, "dnsaddr", errors, lambda walk: walk.texts(seed, transport)))
        parts = gatherResults(asked, consumeErrors=True)
        return parts.addCallback(lambda sets: set().union(*sets))

    def _walked(
        self, name: str, record_type: str, errors: list[str], way: Callable[[Walk], Coroutine[Any, Any, None]]
    ) -> Deferred[set[PeerAddress]]:
        """A walk, of which what was found by the end of its time is kept."""
        config = self.config
        families = [dns.A] * config.ipv4 + [dns.AAAA] * config.ipv6
        reasons: set[str] = set()

        def left_out(reason: str) -> None:
            self._left_out.add(1, reason)
            reasons.add(reason)

        def came(_: None) -> list[PeerAddress]:
            if reasons and not walk.found:
                raise DnsError(f"its records lead to nothing of use: {', '.join(sorted(reasons))}")
            return walk.found

        walk = Walk(self._by_servers, self.context.rng, families, config.lookups, left_out)
        walked = Deferred.fromCoroutine(way(walk)).addCallback(came)
        return self._one(name, record_type, errors, walked, walk.found)

    def _one(
        self,
        name: str,
        record_type: str,
        errors: list[str],
        answer: Deferred[list[PeerAddress]],
        so_far: Sequence[PeerAddress] = (),
    ) -> Deferred[set[PeerAddress]]:
        def taken(addresses: Sequence[PeerAddress]) -> set[PeerAddress]:
            usable = {address for address in addresses if self._usable(address.host)}
            self._addresses.add(sum(not self._usable(address.host) for address in addresses), "unusable")
            return usable

        def came(addresses: list[PeerAddress]) -> set[PeerAddress]:
            usable = taken(addresses)
            self._lookups.add(1, "answered")
            self.context.log.info(
                "DNS seed {name} {type}: {count} addresses", name=name, type=record_type, count=len(usable)
            )
            return usable

        def failed(failure: Any) -> set[PeerAddress]:
            if failure.check(CancelledError):
                return set()
            late = failure.check(TimeoutError) is not None
            self._lookups.add(1, "timeout" if late else "failed")
            error = "no answer in time" if late else str(failure.value)[:200] or "nothing came"
            errors.append(f"DNS seed {name} {record_type}: {error}")
            self.context.log.warn("DNS seed {name} {type}: {error}", name=name, type=record_type, error=error)
            return taken(so_far)

        return answer.addTimeout(self.config.timeout, self.context.reactor).addCallbacks(came, failed)

    def _usable(self, host: str) -> bool:
        ip = ipaddress.ip_address(host)
        if ip.is_unspecified or ip.is_multicast:
            return False
        return self.config.ipv4 if ip.version == 4 else self.config.ipv6

    async def _hosts_by_servers(self, name: str, record_type: int) -> list[PeerAddress]:
        answer = await self._by_servers(name, record_type)
        return [PeerAddress.of(host, 0) for host in answer.addresses()]

    async def _by_servers(self, name: str, record_type: int) -> Answer:
        """What the first server says that says anything; raises the last one's error where none does."""
        last: Exception = DnsError("no servers")
        for server in self.config.servers:
            try:
                return await ask(
                    self.context,
                    server,
                    name,
                    record_type,
                    tries=self.config.tries,
                    patience=self.config.patience,
                    ignored=lambda: self._datagrams.add(1),
                )
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - refused, timed out, no answer: the next one
                last = error
        raise last

    def _by_system(self, name: str) -> Deferred[list[PeerAddress]]:
        """What the context's resolver says.

        In service the system's own, with its hosts file, servers and TCP fallback.
        """
        resolution = _Resolution()
        types = [IPv4Address] * self.config.ipv4 + [IPv6Address] * self.config.ipv6
        self.context.resolver.resolveHostName(cast(Any, resolution), name, addressTypes=types)
        return resolution.answer.addCallback(lambda hosts: [PeerAddress.of(host, 0) for host in hosts])


@implementer(IResolutionReceiver)
class _Resolution:
    """Gathers what a resolver finds; nothing at all is an error.

    The system's resolver can't be stopped: what comes late is lost.
    """

    def __init__(self) -> None:
        self.answer: Deferred[list[str]] = Deferred()
        self._hosts: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Called first."""

    def addressResolved(self, address: IAddress) -> None:
        """Called for each address."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._hosts.append(address.host)

    def resolutionComplete(self) -> None:
        """Called last."""
        if self.answer.called:
            return
        if self._hosts:
            self.answer.callback(self._hosts)
        else:
            self.answer.errback(DnsError("no addresses"))
