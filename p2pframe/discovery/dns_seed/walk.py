"""Peers by SRV records (RFC 2782) and by `dnsaddr` texts (multiformats' dnsaddr), with the look-ups that these lead to.

Whoever answers decides what is asked next, so all of it is bounded: the look-ups of one walk, how deep a dnsaddr may
lead to another, the addresses that are found; and no name is asked twice for the same, so that names which point at
themselves end the walk.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from twisted.internet.defer import CancelledError
from twisted.names import dns

from p2pframe.discovery.dns_seed.query import Answer
from p2pframe.model import PeerAddress

DEPTH = 4
"""How far a dnsaddr may lead on to another."""
MOST = 1000
"""Addresses that one walk finds at most: `per_seed` takes no more."""
_LIGHTEST = 0.01
"""What a weight of 0 is taken for: chosen last, mostly, but chosen (RFC 2782)."""
_LONGEST = 500
"""Characters of a multiaddr that are looked at."""


class Multiaddr(NamedTuple):
    """Where a text of the form `/ip4/192.0.2.1/tcp/8333` points; `kind` is its first word, `transport` tcp or udp.

    Of the kind `dnsaddr` it names where there are more of them, and `transport` is empty.
    """

    kind: str
    host: str
    transport: str
    port: int


def parse_multiaddr(text: str) -> Multiaddr | None:
    """None for what is no multiaddr of a kind that leads to a plain address and port, or is too long."""
    if len(text) > _LONGEST:
        return None
    parts = text.split("/")
    if len(parts) < 3 or parts[0]:
        return None
    kind, host, rest = parts[1], parts[2], parts[3:]
    if kind == "dnsaddr":
        fits = not rest or (len(rest) == 2 and rest[0] == "p2p")
        return Multiaddr(kind, host, "", 0) if fits and _is_name(host) else None
    if len(rest) not in (2, 4) or rest[0] not in ("tcp", "udp") or (len(rest) == 4 and rest[2] != "p2p"):
        return None
    port = rest[1]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        return None
    if kind in ("ip4", "ip6"):
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return None
        return Multiaddr(kind, str(ip), rest[0], int(port)) if f"ip{ip.version}" == kind and "%" not in host else None
    return Multiaddr(kind, host, rest[0], int(port)) if kind in ("dns", "dns4", "dns6") and _is_name(host) else None


def _is_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    return (
        len(text) <= 253 and text.isascii() and text.isprintable() and all(0 < len(label) <= 63 for label in labels)
        and not any(c.isspace() for c in text)
    )  # fmt: skip


class Walk:
    """One walk from one seed. What it has found so far stands in `found`, also when it is cancelled.

    `ask` asks one question; `left_out` is called with the reason for each thing that was not followed.
    """

    def __init__(
        self,
        ask: Callable[[str, int], Awaitable[Answer]],
        rng: Random,
        families: Sequence[int],
        lookups: int,
        left_out: Callable[[str], None],
    ) -> None:
        self.found: list[PeerAddress] = []
        self._ask = ask
        self._rng = rng
        self._families = families
        self._left = lookups
        self._left_out = left_out
        self._asked: set[tuple[str, int]] = set()

    async def services(self, name: str) -> None:
        """What the SRV records of a name point at, in the order of their priorities, and by lot of their weights."""
        answer = await self._ask(name, dns.SRV)
        # The least of exponential draws: each comes first with a chance that goes by its weight.
        told = list(dict.fromkeys(answer.services()))
        drawn = [-math.log(1 - self._rng.random()) / (srv.weight or _LIGHTEST) for srv in told]
        ordered = sorted(zip(told, drawn, strict=True), key=lambda pair: (pair[0].priority, pair[1]))
        for srv, _ in ordered:
            if len(self.found) >= MOST:
                self._left_out("too many addresses")
                continue
            target = _text(srv.target)
            # A target of "." says that there is no such service here.
            if not srv.port or target is None or not _is_name(target):
                self._left_out("unusable")
                continue
            hosts = answer.addresses_of(srv.target, self._families)
            if not hosts:
                hosts = await self._hosts(target, self._families)
            self._add(hosts, srv.port)

    async def texts(self, name: str, transport: str) -> None:
        """What the dnsaddr texts of `_dnsaddr.name` point at over `transport`."""
        await self._texts(name, transport, DEPTH, await self._ask(f"_dnsaddr.{name}", dns.TXT))

    async def _texts(self, name: str, transport: str, depth: int, answer: Answer) -> None:
        self._asked.add((f"_dnsaddr.{name}".lower(), dns.TXT))
        for said in answer.texts():
            text = _text(said) or ""
            if not text.startswith("dnsaddr="):
                continue
            address = parse_multiaddr(text.removeprefix("dnsaddr="))
            if address is None:
                self._left_out("unusable")
            elif address.kind == "dnsaddr":
                if depth <= 1:
                    self._left_out("too deep")
                    continue
                inner = await self._followed(f"_dnsaddr.{address.host}", dns.TXT)
                if inner is not None:
                    await self._texts(address.host, transport, depth - 1, inner)
            elif address.transport != transport:
                self._left_out("unusable")
            elif address.kind in ("ip4", "ip6"):
                self._add([address.host], address.port)
            else:
                wanted = {"dns4": [dns.A], "dns6": [dns.AAAA]}.get(address.kind, [dns.A, dns.AAAA])
                families = [family for family in self._families if family in wanted]
                self._add(await self._hosts(address.host, families), address.port)

    async def _hosts(self, name: str, families: Iterable[int]) -> list[str]:
        hosts: list[str] = []
        for family in families:
            answer = await self._followed(name, family)
            if answer is not None:
                hosts += answer.addresses()
        return hosts

    async def _followed(self, name: str, record_type: int) -> Answer | None:
        """The answer to a question that an answer led to; None where it is not asked, or not answered."""
        key = (name.lower().rstrip("."), record_type)
        if key in self._asked:
            self._left_out("asked before")
            return None
        if self._left <= 0:
            self._left_out("too many look-ups")
            return None
        if not _is_name(name):
            self._left_out("unusable")
            return None
        self._left -= 1
        self._asked.add(key)
        try:
            return await self._ask(key[0], record_type)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - no answer, refused, garbage: counted, and the others may have one
            self._left_out("no answer")
            return None

    def _add(self, hosts: Sequence[str], port: int) -> None:
        # Records that all point at one name with many addresses would be their product.
        room = max(0, MOST - len(self.found))
        for _ in hosts[room:]:
            self._left_out("too many addresses")
        self.found.extend(PeerAddress.of(host, port) for host in hosts[:room])


def _text(data: bytes) -> str | None:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        return None
