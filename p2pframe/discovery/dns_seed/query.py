"""One DNS question to one server: UDP, and TCP to the same server where the answer was too long for UDP (RFC 7766).

twisted.names' own resolver goes on to another server's TCP port after a truncated answer, with no time limit, and draws
its ids from the system rather than from the context; so it only writes the question here (answers: see `message`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.names import dns
from twisted.python.failure import Failure

from p2pframe.discovery.dns_seed.message import AAAA, CNAME, IN, SRV, TXT, A, Message, Record, Service, parse
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

    def answered_by(self, data: bytes) -> Message | None:
        """The message, where it answers this very question; None for garbage and for answers to other questions."""
        try:
            message = parse(data)
        except ValueError:
            return None
        asked = (self.number, self.name, self.type, IN)
        return message if (message.id, message.name, message.type, message.cls) == asked else None

    def read(self, message: Message) -> Answer:
        """What a message answers. Raises `DnsError` where the server says that there is none, or that it can't say."""
        if message.code != dns.OK:
            raise DnsError(
                {dns.ENAME: "no such name", dns.ESERVER: "server failure"}.get(message.code, f"code {message.code}")
            )
        answer = Answer(self, message)
        if answer.wrong:
            raise DnsError(answer.wrong)
        return answer

    def addresses(self, message: Message) -> list[str]:
        """The addresses of an answer. Raises `DnsError` like `read`."""
        return self.read(message).addresses()


class Answer:
    """The records of a message that answer a question: those of its name, or of what that is an alias of."""

    def __init__(self, question: Question, message: Message) -> None:
        names = {question.name}
        for _ in range(_ALIASES):
            known = len(names)
            names.update(
                cast(bytes, record.data)
                for record in message.answers
                if record.type == CNAME and record.owner in names
            )
            if len(names) == known:
                break
        self._records = [record for record in message.answers if record.owner in names]
        self._type = question.type
        self._added: dict[bytes, list[Record]] = {}
        for record in message.additional:
            if record.type in (A, AAAA):
                self._added.setdefault(record.owner, []).append(record)
        aliases = [record.data for record in self._records if record.type == CNAME]
        self.wrong = ""
        """What keeps it from being an answer at all, for people."""
        if not self._records and (message.answers or message.others):
            self.wrong = "no record of the answer is about what was asked"
        elif not self._held(self._type) and (question.name in aliases or len(aliases) > len(set(aliases))):
            self.wrong = "its aliases lead in a circle"

    def _held(self, type: int) -> list[Any]:
        return [record.data for record in self._records if record.type == type]

    def addresses(self) -> list[str]:
        """As text, where A or AAAA records were asked for."""
        return self._held(self._type) if self._type in (A, AAAA) else []

    def texts(self) -> list[bytes]:
        """What each TXT record says, its strings put together."""
        return self._held(TXT)

    def services(self) -> list[Service]:
        """What each SRV record says."""
        return self._held(SRV)

    def addresses_of(self, name: bytes, types: Sequence[int]) -> list[str]:
        """The addresses that the server has added for a name that its answer points at."""
        return [cast(str, record.data) for record in self._added.get(name, ()) if record.type in types]


class _Udp(DatagramProtocol):
    """Sends a question, and takes the answer from the server that was asked: whoever else writes here is ignored."""

    def __init__(self, server: PeerAddress, question: Question, ignored: Callable[[], None]) -> None:
        self._server = (server.host, server.port)
        self._question = question
        self._ignored = ignored
        self.answer: Deferred[Message] = Deferred()

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
        self.answer: Deferred[Message] = Deferred()

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
        elif message.truncated:
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
        if message.truncated:
            message = await _over_tcp(
                context, server, Question(name, record_type, context.entropy.integer(16)), patience
            )
        return question.read(message)
    raise AssertionError("tries is at least 1")


async def _over_udp(
    context: IContext, server: PeerAddress, question: Question, patience: float, ignored: Callable[[], None]
) -> Message:
    protocol = _Udp(server, question, ignored)
    # Port 0: the system draws one, so that a forger must guess it besides the id (RFC 5452).
    port = context.reactor.listenUDP(0, protocol, interface="::" if ":" in server.host else "", maxPacketSize=4096)
    try:
        return await protocol.answer.addTimeout(patience, context.reactor)
    finally:
        port.stopListening()


async def _over_tcp(context: IContext, server: PeerAddress, question: Question, patience: float) -> Message:
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
