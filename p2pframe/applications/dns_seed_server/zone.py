"""What the zone answers to which question. No I/O.

seed.example             A, AAAA, NS, SOA; TXT: dnsaddr=/ip4/.../tcp/...
x9.seed.example          A, AAAA of peers with the service bits 0x9
_dnsaddr.seed.example    TXT, as above, where multiaddr's resolvers look
_name._tcp.seed.example  SRV, where `service` is set; the targets are names such as ip-c0000201.seed.example
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from p2pframe.applications.dns_seed_server import wire
from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig
from p2pframe.applications.dns_seed_server.watched import Watched, spread
from p2pframe.applications.dns_seed_server.wire import Query, Record
from p2pframe.model import PeerAddress

_BITS = re.compile(rb"x([0-9a-f]{1,16})\Z")
_TARGET = re.compile(rb"ip-([0-9a-f]{8}|[0-9a-f]{32})\Z")
_MULTIADDR_TEXT = 255
_DRAWS = 256
"""Answer sets kept at once; whoever asks for ever other service bits has them drawn anew, from a list made once."""

Name = tuple[bytes, ...]


def labels(name: str) -> Name:
    """A name's labels from the left."""
    return tuple(name.encode("ascii").split(b"."))


class Zone:
    """Answers questions from `proven`, which gives who may be told of now; `unix_time` gives the SOA's serial."""

    def __init__(
        self,
        config: DnsSeedServerConfig,
        rng: Random,
        proven: Callable[[], Sequence[Watched]],
        default_port: Callable[[], int],
        unix_time: Callable[[], float],
    ) -> None:
        self.config = config
        self._rng = rng
        self._proven = proven
        self._default_port = default_port
        self._unix_time = unix_time
        self._name = labels(config.zone)
        self._nameserver = labels(config.nameserver)
        self._until = 0.0
        self._now_proven: Sequence[Watched] = ()
        self._draws: dict[tuple[int, int], list[Watched]] = {}
        self._services_seen: frozenset[int] = frozenset()
        self._targets: dict[bytes, PeerAddress] = {}
        self._earlier_targets: dict[bytes, PeerAddress] = {}

    def answer(self, query: Query, room: int) -> bytes:
        """The answer, of at most `room` bytes."""
        if query.version:
            return wire.answer(query, room, code=wire.BADVERS, authoritative=False)
        name = query.name
        start = len(name) - len(self._name)
        if query.cls != wire.IN or start < 0 or name[start:] != self._name or query.type in (wire.AXFR, wire.IXFR):
            return wire.answer(query, room, code=wire.REFUSED, authoritative=False)
        self._draw_anew()
        found = self._find(name[:start], query)
        if found is None:
            return wire.answer(query, room, code=wire.NXDOMAIN, authority=[self._soa()])
        answers, additional = found
        if not answers:
            return wire.answer(query, room, authority=[self._soa()])
        return wire.answer(query, room, answers=answers, additional=additional)

    def _draw_anew(self) -> None:
        now = self._unix_time()
        if not 0 <= self._until - now <= self.config.ttl:
            self._until = now + self.config.ttl
            self._now_proven = self._proven()
            self._services_seen = frozenset(entry.services for entry in self._now_proven)
            self._draws.clear()
            # What the last draw's SRV records named is asked for until they have run out.
            self._earlier_targets, self._targets = self._targets, {}

    def _find(self, prefix: Name, query: Query) -> tuple[list[Record], list[Record]] | None:
        """Answers and additional records; None where there is no such name."""
        if query.type == wire.ANY:
            known = self._find(prefix, _as(query, wire.A))
            return None if known is None else ([self._record(query.name, wire.HINFO, wire.HINFO_RFC8482)], [])
        if not prefix:
            return self._apex(query)
        service = labels(self.config.service) if self.config.service else ()
        if prefix == (b"_dnsaddr",):
            return self._texts(query.name) if query.type == wire.TXT else [], []
        if service and prefix == service:
            return self._services(query.name) if query.type == wire.SRV else ([], [])
        if service and len(prefix) < len(service) and service[-len(prefix) :] == prefix:
            # There is something below it (RFC 8020).
            return [], []
        if query.name == self._nameserver:
            return self._glue(query), []
        if len(prefix) != 1:
            return None
        bits = _BITS.match(prefix[0])
        if bits:
            return self._addresses(query, int(bits[1], 16)), []
        target = _TARGET.match(prefix[0])
        address = (self._targets.get(target[1]) or self._earlier_targets.get(target[1])) if target else None
        if address is None:
            return None
        fits = query.type == (wire.AAAA if ":" in address.host else wire.A)
        return [self._record(query.name, query.type, wire.address_data(address.host))] if fits else [], []

    def _apex(self, query: Query) -> tuple[list[Record], list[Record]]:
        if query.type == wire.SOA:
            return [self._soa()], []
        if query.type == wire.NS:
            return [self._record(self._name, wire.NS, wire.encode_name(self._nameserver))], self._glue(None)
        if query.type == wire.TXT:
            return self._texts(query.name), []
        return self._addresses(query, 0), []

    def _glue(self, query: Query | None) -> list[Record]:
        records = []
        if self._nameserver[-len(self._name) :] == self._name:
            for host in self.config.nameserver_addresses:
                type = wire.AAAA if ":" in host else wire.A
                if query is None or query.type == type:
                    records.append(self._record(self._nameserver, type, wire.address_data(host)))
        return records

    def _addresses(self, query: Query, mask: int) -> list[Record]:
        """Of the default port only: A and AAAA records can't say another."""
        if query.type not in (wire.A, wire.AAAA):
            return []
        drawn = self._drawn(mask, query.type)
        return [self._record(query.name, query.type, wire.address_data(entry.address.host)) for entry in drawn]

    def _drawn(self, mask: int, type: int) -> list[Watched]:
        """The set of a question, the same until the next draw; `type` 0 is any family and any port."""
        if not any(services & mask == mask for services in self._services_seen):
            # Whoever asks for ever other bits costs no look at the whole list, and pushes nobody's set out.
            return []
        drawn = self._draws.get((mask, type))
        if drawn is None:
            port = self.config.port or self._default_port()
            six = type == wire.AAAA
            fit = [
                entry
                for entry in self._now_proven
                if entry.services & mask == mask
                and (not type or (entry.address.port == port and (":" in entry.address.host) == six))
            ]
            drawn = spread(fit, self.config.answers, self.config.per_netgroup, self._rng)
            if len(self._draws) >= _DRAWS:
                del self._draws[next(iter(self._draws))]
            self._draws[mask, type] = drawn
        return drawn

    def _texts(self, name: Name) -> list[Record]:
        records = []
        for entry in self._drawn(0, 0):
            host, port = entry.address.host, entry.address.port
            text = f"dnsaddr=/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}".encode()
            records.append(self._record(name, wire.TXT, wire.text_data(text[:_MULTIADDR_TEXT])))
        return records

    def _services(self, name: Name) -> tuple[list[Record], list[Record]]:
        records, additional = [], []
        for entry in self._drawn(0, 0):
            data = wire.address_data(entry.address.host)
            self._targets[data.hex().encode()] = entry.address
            target = (b"ip-" + data.hex().encode(), *self._name)
            records.append(self._record(name, wire.SRV, wire.srv_data(10, 10, entry.address.port, target)))
            additional.append(self._record(target, wire.AAAA if len(data) == 16 else wire.A, data))
        return records, additional

    def _record(self, owner: Name, type: int, data: bytes) -> Record:
        return Record(owner, type, self.config.ttl, data)

    def _soa(self) -> Record:
        local, _, domain = self.config.contact.partition("@")
        contact = (local.encode(), *labels(domain))
        data = wire.soa_data(self._nameserver, contact, int(self._unix_time()), self.config.ttl)
        return self._record(self._name, wire.SOA, data)


def _as(query: Query, type: int) -> Query:
    other = Query(query.id, query.flags, query.name, type, query.cls, query.question)
    other.edns = query.edns
    return other
