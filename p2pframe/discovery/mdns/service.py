"""What we announce: the records of one instance of a service, and the names that it goes by (RFC 6763). No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.wire import Name, Question, Record

HOST_TTL = 120
"""Seconds that others keep records with a host name or its address (RFC 6762, section 10)."""
OTHER_TTL = 4500
"""Seconds that they keep all others."""
ENUMERATION: Name = (b"_services", b"_dns-sd", b"_udp", b"local")
"""Whoever asks for this is told of the kinds of service (RFC 6763, section 9)."""
_NUMBERED = re.compile(r"(.*) \((\d{1,9})\)\Z", re.DOTALL)
_SUFFIXED = re.compile(r"(.*)-(\d{1,9})\Z", re.DOTALL)
_LABEL = 63
_KEPT = 32
"""Links whose records are kept ready."""


def service_name(text: str) -> Name:
    """`_name._tcp` as a name in `local`."""
    return (*(label.encode() for label in text.split(".")), b"local")


class Service:
    """One instance: `label` is what people see, `host` the name that our addresses have."""

    def __init__(self, kind: Name, label: str, host: str, port: int, texts: Sequence[str]) -> None:
        self.kind = kind
        self.label = label
        self.host = host
        self.port = port
        self._txt = wire.txt_data(texts)
        self._made: dict[tuple[str, ...], list[Record]] = {}
        """The unique records, by the addresses that they are for."""
        self._names = self._our_names()

    @property
    def instance_name(self) -> Name:
        """The name of the SRV and TXT records."""
        return self.label.encode(), *self.kind

    @property
    def host_name(self) -> Name:
        """The name of the A and AAAA records."""
        return self.host.encode(), b"local"

    def rename(self, name: Name) -> None:
        """Somebody has one of our names: take the next, by the way that people know (RFC 6763, appendix D)."""
        if name == wire.key(self.instance_name):
            self.label = _next(self.label, _NUMBERED, " ({})")
        else:
            self.host = _next(self.host, _SUFFIXED, "-{}")
        self._made.clear()
        self._names = self._our_names()

    def has(self, name: Name) -> bool:
        """Whether there are records of ours by this name."""
        return wire.key(name) in self._names

    def _our_names(self) -> frozenset[Name]:
        return frozenset(wire.key(one) for one in (self.instance_name, self.host_name, self.kind, ENUMERATION))

    def unique(self, addresses: Sequence[str]) -> list[Record]:
        """The records that nobody else may have, on a link where we are reached at these addresses."""
        made = self._made.get(tuple(addresses))
        if made is None:
            if len(self._made) > _KEPT:
                self._made.clear()
            made = self._made[tuple(addresses)] = self._make(addresses)
        return made

    def _make(self, addresses: Sequence[str]) -> list[Record]:
        return [
            Record(self.instance_name, wire.SRV, HOST_TTL, wire.srv_data(self.port, self.host_name), True),
            Record(self.instance_name, wire.TXT, OTHER_TTL, self._txt, True),
            *(
                Record(self.host_name, wire.AAAA if ":" in host else wire.A, HOST_TTL, wire.address_data(host), True)
                for host in addresses
            ),
        ]

    def shared(self) -> list[Record]:
        """The records of which others have their own beside ours."""
        return [
            Record(self.kind, wire.PTR, OTHER_TTL, wire.name_data(self.instance_name)),
            Record(ENUMERATION, wire.PTR, OTHER_TTL, wire.name_data(self.kind)),
        ]

    def answers(self, question: Question, addresses: Sequence[str]) -> list[Record]:
        """Our records that answer a question; where the name is ours alone and has none of that type, one saying so."""
        name = wire.key(question.name)
        wanted = question.type
        unique = self.unique(addresses)
        ours = (*unique, *self.shared())
        found = [one for one in ours if wire.key(one.name) == name and wanted in (one.type, wire.ANY)]
        if not found:
            types = {one.type for one in unique if wire.key(one.name) == name}
            if types:
                own = self.instance_name if name == wire.key(self.instance_name) else self.host_name
                found = [Record(own, wire.NSEC, HOST_TTL, wire.nsec_data(own, types), True)]
        return found

    def additional(self, answers: Sequence[Record], addresses: Sequence[str]) -> list[Record]:
        """What whoever asked for these will ask for next (RFC 6763, section 12)."""
        types = {one.type for one in answers}
        unique = self.unique(addresses)
        wanted: set[int] = set()
        if any(one.type == wire.PTR and wire.key(one.name) == wire.key(self.kind) for one in answers):
            wanted = {wire.SRV, wire.TXT, wire.A, wire.AAAA}
        elif types & {wire.SRV, wire.A, wire.AAAA}:
            wanted = {wire.A, wire.AAAA}
        given = {one.identity for one in answers}
        return [one for one in unique if one.type in wanted and one.identity not in given]


def _next(text: str, pattern: re.Pattern[str], form: str) -> str:
    match = pattern.match(text)
    base, number = (match[1], int(match[2])) if match else (text, 1)
    suffix = form.format(number + 1)
    while len(base.encode()) + len(suffix) > _LABEL:
        base = base[:-1]
    return base + suffix
