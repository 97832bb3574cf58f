"""Network address translation, without I/O: which public port stands for a private one, and who may answer to it.

The kinds are those of RFC 3489 section 5, which in the words of RFC 4787 are:

| kind | mapping (section 4.1) | filtering (section 5) |
|---|---|---|
| full-cone | endpoint-independent | endpoint-independent |
| address-restricted | endpoint-independent | address-dependent |
| port-restricted | endpoint-independent | address and port-dependent |
| symmetric | address and port-dependent | address and port-dependent |

A private port keeps its number where that is free (port preservation, section 4.2.1), but for symmetric ones. Only what
is sent outwards keeps a mapping alive (section 4.3). What hosts behind one NAT send to its public address comes back to
them by the same rules (hairpinning, section 6), with the public address as its source.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypeAlias, get_args

NatKind: TypeAlias = Literal["full-cone", "address-restricted", "port-restricted", "symmetric"]
"""What a `Nat` can be; a host without one has `nat=None`."""

Endpoint: TypeAlias = tuple[str, int]
"""An address and a port."""

UDP_TIMEOUT = 120.0
"""Seconds: a mapping must not go before (RFC 4787 REQ-5), and many go then."""
TCP_TIMEOUT = 7440.0
"""Seconds: 2 hours and 4 minutes (RFC 5382 REQ-5)."""

_FIRST_PORT, _LAST_PORT = 1024, 65535


class _Mapping:
    """A public port, the private one behind it, and until when whoever was sent to may answer."""

    __slots__ = ("answers", "expires", "key", "port", "private")

    def __init__(self, key: object, private: Endpoint, port: int) -> None:
        self.key = key
        self.private = private
        self.port = port
        self.expires = 0.0
        self.answers: OrderedDict[str | Endpoint, float] = OrderedDict()


class _Table:
    """The mappings of one protocol: by private side and by public port; the first to expire stands first."""

    __slots__ = ("by_key", "by_port", "next_port", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.by_key: OrderedDict[object, _Mapping] = OrderedDict()
        self.by_port: dict[int, _Mapping] = {}
        self.next_port = _FIRST_PORT

    def remove(self, mapping: _Mapping) -> None:
        del self.by_key[mapping.key]
        del self.by_port[mapping.port]

    def sweep(self, now: float) -> None:
        while self.by_key:
            oldest = next(iter(self.by_key.values()))
            if oldest.expires > now:
                return
            self.remove(oldest)

    def free_port(self, wanted: int) -> int:
        """The port itself where it is free, else the next free one. There are more ports than mappings."""
        port = wanted if _FIRST_PORT <= wanted <= _LAST_PORT else self.next_port
        while port in self.by_port:
            port = self.next_port
            self.next_port = port + 1 if port < _LAST_PORT else _FIRST_PORT
        return port


class Nat:
    """One NAT with one public address; any number of hosts may stand behind it. Times are virtual seconds.

    `refused` counts what found no room for another mapping, `filtered` what came in and was let through to nobody.
    """

    def __init__(
        self,
        kind: NatKind,
        public: str,
        timeout: float = UDP_TIMEOUT,
        tcp_timeout: float = TCP_TIMEOUT,
        limit: int = 16384,
        answers: int = 4096,
    ) -> None:
        """`limit` bounds the mappings of each protocol, `answers` who may answer to one: the latest sent to.

        Raises ValueError for an unknown kind, a limit outside 1 to 60,000, and bounds or times that are not positive.
        """
        if kind not in get_args(NatKind):
            raise ValueError(f"no NAT is {kind!r}: it is one of {', '.join(get_args(NatKind))}")
        if not 1 <= limit <= 60000:
            raise ValueError(f"{limit} mappings: a NAT with one address has room for 1 to 60000")
        if answers < 1 or timeout <= 0 or tcp_timeout <= 0:
            raise ValueError("a NAT's timeouts and its bound of answers are above zero")
        self.kind = kind
        self.public = public
        self.refused = 0
        self.filtered = 0
        self._limit = limit
        self._answers = answers
        self._tables = {"udp": _Table(timeout), "tcp": _Table(tcp_timeout)}

    def outbound(self, protocol: str, source: Endpoint, target: Endpoint, now: float) -> Endpoint | None:
        """What the private `source` looks like to `target`, until the timeout; None: no room, it is dropped.

        `protocol` is `udp` or `tcp`. A TCP mapping is for who sends a SYN; both ends of a connection that is up see the
        addresses that it was opened with.
        """
        table = self._tables[protocol]
        symmetric = self.kind == "symmetric"
        key = (source, target) if symmetric else source
        mapping = table.by_key.get(key)
        if mapping is None or mapping.expires <= now:
            table.sweep(now)
            if len(table.by_key) >= self._limit:
                self.refused += 1
                return None
            mapping = _Mapping(key, source, table.free_port(0 if symmetric else source[1]))
            table.by_key[key] = table.by_port[mapping.port] = mapping
        mapping.expires = now + table.timeout
        table.by_key.move_to_end(key)
        if self.kind != "full-cone":
            answers = mapping.answers
            remote = target[0] if self.kind == "address-restricted" else target
            answers[remote] = mapping.expires
            answers.move_to_end(remote)
            if len(answers) > self._answers:
                answers.popitem(last=False)
        return self.public, mapping.port

    def inbound(self, protocol: str, port: int, source: Endpoint, now: float) -> Endpoint | None:
        """The private end of a public port, where `source` may reach it; None: what came in is dropped."""
        mapping = self._tables[protocol].by_port.get(port)
        if mapping is not None and mapping.expires > now:
            if self.kind == "full-cone":
                return mapping.private
            remote = source[0] if self.kind == "address-restricted" else source
            if mapping.answers.get(remote, 0.0) > now:
                return mapping.private
        self.filtered += 1
        return None

    def holder(self, protocol: str, port: int, now: float) -> Endpoint | None:
        """The private end of a public port, whoever may reach it; None where the port stands for nobody."""
        mapping = self._tables[protocol].by_port.get(port)
        return mapping.private if mapping is not None and mapping.expires > now else None

    def mappings(self, protocol: str, now: float) -> int:
        """How many there are."""
        table = self._tables[protocol]
        table.sweep(now)
        return len(table.by_key)
