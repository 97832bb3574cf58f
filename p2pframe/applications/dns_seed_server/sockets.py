"""The seed server's sockets: UDP with limited rates, TCP with bounded connections (RFC 7766)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from p2pframe.applications.dns_seed_server import wire
from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig
from p2pframe.applications.dns_seed_server.limits import DROP, SLIP, ResponseRates, prefix
from p2pframe.applications.dns_seed_server.zone import Zone
from p2pframe.interfaces import IHostReactor


class Answering:
    """What both sockets share; `counted` is called with the outcome of each question."""

    def __init__(
        self, config: DnsSeedServerConfig, zone: Zone, rates: ResponseRates, counted: Callable[[str, str], None]
    ) -> None:
        self.config = config
        self._zone = zone
        self._rates = rates
        self._counted = counted

    def datagram(self, data: bytes, host: str, now: float) -> bytes | None:
        """The answer to a datagram, or None: silence."""
        try:
            query = wire.parse_query(data)
        except wire.Malformed as malformed:
            # A header of 12 bytes, and so never longer than what came.
            fate = self._rates.decide(host, now)
            self._counted("udp", "dropped" if fate == DROP else "malformed")
            return None if fate == DROP else wire.error(malformed)
        if query is None:
            self._counted("udp", "ignored")
            return None
        fate = self._rates.decide(host, now)
        if fate == DROP:
            self._counted("udp", "dropped")
            return None
        if fate == SLIP:
            self._counted("udp", "slipped")
            return wire.truncated(query)
        self._counted("udp", "answered")
        answer = self._zone.answer(query, query.room)
        self._rates.sent(len(answer) - len(data))
        return answer

    def message(self, data: bytes) -> bytes | None:
        """The answer to a message over TCP, where nobody forges where it comes from; None: hang up."""
        try:
            query = wire.parse_query(data)
        except wire.Malformed as malformed:
            self._counted("tcp", "malformed")
            return wire.error(malformed)
        if query is None:
            self._counted("tcp", "ignored")
            return None
        self._counted("tcp", "answered")
        return self._zone.answer(query, wire.LARGEST_TCP)

    def refused(self, why: str) -> None:
        """A TCP connection was turned away or ended."""
        self._counted("tcp", why)


class Datagrams(DatagramProtocol):
    """Answers over UDP."""

    noisy = False

    def __init__(self, answering: Answering, reactor: IHostReactor) -> None:
        self._answering = answering
        self._reactor = reactor

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Called for each datagram."""
        answer = self._answering.datagram(datagram, addr[0], self._reactor.seconds())
        if answer is not None:
            cast(Any, self.transport).write(answer, addr)


class Connection(Protocol):
    """Answers one message after another, each with its length before it."""

    def __init__(self, connections: Connections, key: bytes) -> None:
        self._connections = connections
        self._key = key
        self._buffer = b""
        self._answered = 0
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Called when the connection is there: it may last `tcp_timeout`, whatever is said on it."""
        config = self._connections.answering.config
        self._timer = self._connections.reactor.callLater(config.tcp_timeout, self._end, "timeout")

    def dataReceived(self, data: bytes) -> None:
        """Called with what comes."""
        if self._timer is None:
            return
        answering = self._connections.answering
        self._buffer += data
        while len(self._buffer) >= 2 and self._timer is not None:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if end > 2 + wire.PLAIN_UDP:
                # No question that has an answer here is longer.
                self._end("too long")
                return
            if len(self._buffer) < end:
                return
            if self._answered >= answering.config.tcp_queries:
                self._end("too many queries")
                return
            message, self._buffer = self._buffer[2:end], self._buffer[end:]
            self._answered += 1
            answer = answering.message(message)
            if answer is None:
                self._end("no question")
                return
            cast(Any, self.transport).write(len(answer).to_bytes(2, "big") + answer)

    def _end(self, why: str) -> None:
        self._connections.answering.refused(why)
        self._stop_timer()
        self._buffer = b""
        cast(Any, self.transport).abortConnection()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when it is over."""
        self._stop_timer()
        self._connections.gone(self, self._key)

    def abort(self) -> None:
        """End it at the server's stop."""
        self._stop_timer()
        cast(Any, self.transport).abortConnection()


class Connections(Factory):
    """The TCP connections that there are, bounded in all and by network."""

    noisy = False

    def __init__(self, answering: Answering, reactor: IHostReactor) -> None:
        self.answering = answering
        self.reactor = reactor
        self._open: dict[Connection, None] = {}
        self._by_prefix: Counter[bytes] = Counter()

    def buildProtocol(self, addr: Any) -> Connection | None:
        """Called for each connection; None closes it."""
        config = self.answering.config
        key = prefix(addr.host)
        if len(self._open) >= config.tcp_connections or self._by_prefix[key] >= config.tcp_per_prefix:
            self.answering.refused("refused")
            if not self._by_prefix[key]:
                del self._by_prefix[key]
            return None
        connection = Connection(self, key)
        self._open[connection] = None
        self._by_prefix[key] += 1
        return connection

    def gone(self, connection: Connection, key: bytes) -> None:
        """Called by a connection that is over."""
        if connection in self._open:
            del self._open[connection]
            self._by_prefix[key] -= 1
            if not self._by_prefix[key]:
                del self._by_prefix[key]

    def close(self) -> None:
        """End them all."""
        for connection in list(self._open):
            connection.abort()
