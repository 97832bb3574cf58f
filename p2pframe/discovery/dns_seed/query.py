"""One DNS question to one server: UDP, and TCP to the same server where the answer was too long for UDP (RFC 7766).

twisted.names' own resolver goes on to another server's TCP port after a truncated answer, with no time limit, and draws
its ids from the system rather than from the context; so only its message codec is used here.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.names import dns
from twisted.python.failure import Failure

from p2pframe.endpoints import tcp_client
from p2pframe.interfaces import IContext
from p2pframe.model import PeerAddress

_LENGTH = struct.Struct("!H")
# A chain of aliases longer than this is a loop, or a game.
_ALIASES = 8


class DnsError(Exception):
    """A server's answer is no answer to the question; the text says why, for people."""


class Question:
    """A question, its wire form, and what counts as an answer to it."""

    def __init__(self, name: str, record_type: int, number: int) -> None:
        self.name = name.encode("ascii").lower()
        self.type = record_type
        self.number = number
        message = dns.Message(number, recDes=1)
        message.addQuery(self.name, record_type, dns.IN)
        self.wire = message.toStr()

    def answered_by(self, data: bytes) -> dns.Message | None:
        """The message, where it answers this very question; None for garbage and for answers to other questions."""
        message = dns.Message()
        try:
            message.fromStr(data)
        except Exception:  # noqa: BLE001 - bytes from the network: whatever the decoder raises, this is no answer
            return None
        if message.id != self.number or not message.answer or len(message.queries) != 1:
            return None
        query = message.queries[0]
        if query.name.name.lower() != self.name or query.type != self.type or query.cls != dns.IN:
            return None
        return message

    def read(self, message: dns.Message) -> Answer:
        """What a message answers. Raises `DnsError` where the server says that there is none, or that it can't say."""
        if message.rCode != dns.OK:
            raise DnsError(
                {dns.ENAME: "no such name", dns.ESERVER: "server failure"}.get(message.rCode, f"code {message.rCode}")
            )
        return Answer(self, message)

    def addresses(self, message: dns.Message) -> list[str]:
        """The addresses of an answer. Raises `DnsError` like `read`."""
        return self.read(message).addresses()


class Answer:
    """The records of a message that answer a question: those of its name, or of what that is an alias of."""

    def __init__(self, question: Question, message: dns.Message) -> None:
        self._type = question.type
        # What a record carries goes by its type: the decoder chose the class of the payload by it.
        self._records: list[tuple[bytes, int, Any]] = [
            (record.name.name.lower(), record.type, record.payload) for record in message.answers
        ]
        self._additional = message.additional
        names = {question.name}
        for _ in range(_ALIASES):
            known = len(names)
            names.update(
                payload.name.name.lower()
                for owner, record_type, payload in self._records
                if record_type == dns.CNAME and owner in names
            )
            if len(names) == known:
                break
        self._names = names

    def payloads(self) -> list[Any]:
        """What the records of the asked type carry."""
        return [
            payload
            for owner, record_type, payload in self._records
            if record_type == self._type and owner in self._names
        ]

    def addresses(self) -> list[str]:
        """The same as text, of A and AAAA records."""
        return [str(ipaddress.ip_address(payload.address)) for payload in self.payloads()]

    def addresses_of(self, name: bytes, types: Sequence[int]) -> list[str]:
        """The addresses that the server has added for a name that its answer points at."""
        name = name.lower()
        return [
            str(ipaddress.ip_address(cast(Any, record.payload).address))
            for record in self._additional
            if record.type in types and record.name.name.lower() == name
        ]


class _Udp(DatagramProtocol):
    """Sends a question, and takes the answer from the server that was asked: whoever else writes here is ignored."""

    def __init__(self, server: PeerAddress, question: Question, ignored: Callable[[], None]) -> None:
        self._server = (server.host, server.port)
        self._question = question
        self._ignored = ignored
        self.answer: Deferred[dns.Message] = Deferred()

    def startProtocol(self) -> None:
        """Called when the socket is there."""
        cast(Any, self.transport).write(self._question.wire, self._server)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Called for each datagram."""
        message = self._question.answered_by(datagram) if tuple(addr[:2]) == self._server else None
        if message is None or self.answer.called:
            self._ignored()
        else:
            self.answer.callback(message)


class _Tcp(Protocol):
    """Sends a question with its length before it, and takes the first message back (under 64 KiB by its length)."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._buffer = b""
        self.answer: Deferred[dns.Message] = Deferred()

    def connectionMade(self) -> None:
        """Called when the connection is there."""
        cast(Any, self.transport).write(_LENGTH.pack(len(self._question.wire)) + self._question.wire)

    def dataReceived(self, data: bytes) -> None:
        """Called with what the server sends."""
        if self.answer.called:
            return
        self._buffer += data
        if len(self._buffer) < 2:
            return
        end = 2 + _LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return
        message = self._question.answered_by(self._buffer[2:end])
        if message is None:
            self.answer.errback(DnsError("garbage over TCP"))
        elif message.trunc:
            self.answer.errback(DnsError("truncated over TCP too"))
        else:
            self.answer.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection has ended."""
        if not self.answer.called:
            self.answer.errback(
                DnsError("closed before the answer" if reason.check(ConnectionDone) else str(reason.value))
            )


async def ask(
    context: IContext,
    server: PeerAddress,
    name: str,
    record_type: int,
    *,
    tries: int,
    patience: float,
    ignored: Callable[[], None],
) -> Answer:
    """What `server` answers for `name`.

    UDP is tried `tries` times for `patience` seconds each, TCP once. `ignored` is called for each datagram that is no
    answer. Raises `DnsError`, or TimeoutError where nothing came. To cancel it leaves no socket and no timer behind.
    """
    for attempt in range(tries):
        question = Question(name, record_type, context.entropy.integer(16))
        try:
            message = await _over_udp(context, server, question, patience, ignored)
        except TimeoutError:
            if attempt == tries - 1:
                raise
            continue
        if message.trunc:
            message = await _over_tcp(
                context, server, Question(name, record_type, context.entropy.integer(16)), patience
            )
        return question.read(message)
    raise AssertionError("tries is at least 1")


async def _over_udp(
    context: IContext, server: PeerAddress, question: Question, patience: float, ignored: Callable[[], None]
) -> dns.Message:
    protocol = _Udp(server, question, ignored)
    # Port 0: the system draws one, so that a forger must guess it besides the id (RFC 5452).
    port = context.reactor.listenUDP(0, protocol, interface="::" if ":" in server.host else "", maxPacketSize=4096)
    try:
        return await protocol.answer.addTimeout(patience, context.reactor)
    finally:
        port.stopListening()


async def _over_tcp(context: IContext, server: PeerAddress, question: Question, patience: float) -> dns.Message:
    protocol = _Tcp(question)

    class Client(Factory):
        noisy = False

        def buildProtocol(self, addr: object) -> _Tcp:
            return protocol

    timer = context.reactor.callLater(patience, lambda: waiting.cancel())
    waiting: Deferred[Any] = tcp_client(context.reactor, server).connect(Client())
    try:
        await waiting
        waiting = protocol.answer
        return await protocol.answer
    except CancelledError:
        if timer.active():
            raise
        raise TimeoutError(patience, "DNS over TCP") from None
    finally:
        if timer.active():
            timer.cancel()
        if protocol.transport is not None:
            cast(Any, protocol.transport).abortConnection()


__all__ = ["Answer", "DnsError", "Question", "ask"]
