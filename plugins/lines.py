"""A whole protocol in one file: lines of text that spread from node to node (an INetworkProtocol example).

The wire is UTF-8 lines, so that `nc 127.0.0.1 PORT` can play a peer::

    HELLO p2pframe-lines/1 <nonce>     first, both ways; the nonce finds connections to ourselves
    HAVE <id> [<id> ...]               I have these lines (id: the first 16 hex digits of SHA-256 of the text)
    GET <id> [<id> ...]                give me these
    LINE <text>                        here is one, asked for or pushed
    PING <word>, PONG <word>

It offers the verbs announce, request, deliver and push, so that it runs with `flood` and with `inventory`, and it
brings its own validator and store; what the config names under `validators` and `item_stores` is used too. What it
shows: bounded buffers, `charge` before looking, unknown words tolerated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from p2pframe.errors import PluginError, UnreadableStream
from p2pframe.interfaces import (
    IContext,
    IConversation,
    IDatagramPort,
    IDatagramReceiver,
    IItems,
    IItemStore,
    INetworkProtocol,
    IReconfigurable,
    ISession,
    IStatus,
    IValidator,
    TopicRules,
    Use,
)
from p2pframe.model import Fact, Floor, HandshakeInfo, Item, ItemId, Outcome, PeerAddress, Topic, Validation
from p2pframe.plugin import Field, PluginConfig, live, plugin

LINE = Topic("line")
HELLO = "p2pframe-lines/1"
PING_EVERY = 120.0
MAX_IDS = 100


class LinesConfig(PluginConfig):
    """What a node keeps and lets pass."""

    longest: int = live(1000, ge=1, le=100_000, description="Characters of a line at most.")
    kept: int = live(10_000, ge=1, description="Lines kept; the oldest goes first.")
    first_word: str = Field("", description="Only lines that begin with this word are good; empty takes all.")


class ILines(Interface):
    """What an application may ask of a network of lines: `context.service(ILines, network=...)`."""

    def say(text: str) -> Deferred[Validation]:
        """Spread a line of our own. Fires with whether it was taken."""

    def lines() -> Sequence[str]:
        """The latest lines, at most `kept` of them, oldest first."""


def line_item(text: str) -> Item:
    """A line as an item that spreads."""
    data = text.encode()
    return Item(LINE, ItemId(sha256(data).hexdigest()[:16].encode()), text, len(data))


@implementer(IItemStore)
class LineStore:
    """The latest lines, in memory."""

    def __init__(self, protocol: LinesProtocol) -> None:
        self._protocol = protocol
        self.held: dict[ItemId, Item] = {}
        self._forgotten = protocol.context.metrics.counter("lines_forgotten", "Lines dropped to make room.")

    def have(self, id: ItemId) -> bool:
        """See `IItemStore.have`."""
        return id in self.held

    def get(self, id: ItemId) -> Deferred[Item | None]:
        """See `IItemStore.get`."""
        return succeed(self.held.get(id))

    def put(self, item: Item) -> Deferred[bool]:
        """See `IItemStore.put`."""
        self.held[item.id] = item
        while len(self.held) > self._protocol.config.kept:
            del self.held[next(iter(self.held))]
            self._forgotten.add()
        return succeed(True)


@implementer(IValidator)
class LineValidator:
    """A line is good when it is short enough, printable, and begins as the config says."""

    topics = (LINE,)

    def __init__(self, protocol: LinesProtocol) -> None:
        self._protocol = protocol

    def validate(self, item: Item) -> Validation:
        """See `IValidator.validate`."""
        config, text = self._protocol.config, str(item.body)
        if not 1 <= len(text) <= config.longest or not text.isprintable():
            return Validation(
                Outcome.REJECT, "not a line", Fact("bad-line", Floor.END, f"{len(text)} characters", True)
            )
        if config.first_word and text.split(" ", 1)[0] != config.first_word:
            return Validation(Outcome.REJECT, "not about our subject")
        return Validation(Outcome.ACCEPT)


@plugin("lines", config=LinesConfig)
@implementer(INetworkProtocol, ILines, IStatus, IReconfigurable)
class LinesProtocol:
    """Lines of text that spread from node to node."""

    seams: Mapping[str, Use] = {
        "transport": Use.REQUIRED,
        **dict.fromkeys(
            ("upgrade", "discovery", "topology", "relay", "scoring", "authentication", "validator", "item-store"),
            Use.OPTIONAL,
        ),
    }
    topics: Mapping[Topic, TopicRules] = {LINE: TopicRules(timeout=10.0, inbound_delay=0.0)}
    verbs = frozenset({"announce", "request", "deliver", "push"})
    datagrams = False
    default_port = 7777

    def __init__(self, config: LinesConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.items = context.service(IItems)
        self.nonce = context.entropy.bytes(8).hex()
        self.store = LineStore(self)
        self.serving: IItemStore = self.store
        self._latest: deque[str] = deque()
        self.items.subscribe(LINE, self._accepted)
        try:
            # Core puts lines into the store that the config names, so that is where they are to be served from.
            self.serving = context.service(IItemStore)
        except PluginError:
            context.log.debug("no store is named: lines are kept in our own")

    def conversation(self, session: ISession) -> IConversation:
        """See `INetworkProtocol.conversation`."""
        return LinesConversation(self, session)

    def receiver(self, port: IDatagramPort) -> IDatagramReceiver:
        """See `INetworkProtocol.receiver`: never called, as `datagrams` is False."""
        raise TypeError("lines travel over connections, not in datagrams")

    def dialable(self, address: PeerAddress) -> bool:
        """See `INetworkProtocol.dialable`: any address may be one of ours."""
        return True

    def stores(self) -> Mapping[Topic, IItemStore]:
        """See `INetworkProtocol.stores`."""
        return {LINE: self.store}

    def validators(self) -> Mapping[Topic, IValidator]:
        """See `INetworkProtocol.validators`."""
        return {LINE: LineValidator(self)}

    def stale(self) -> bool:
        """See `INetworkProtocol.stale`: silence is normal here."""
        return False

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        assert isinstance(config, LinesConfig)
        self.config = config

    def status(self) -> Mapping[str, str | int | float | bool]:
        """See `IStatus.status`."""
        return {"lines": len(self._latest)}

    def not_given(self, failure: Failure) -> None:
        """A store has failed to give a line: the peer will ask another one."""
        self.context.log.warn("a line could not be read: {why}", why=failure.getErrorMessage())

    def say(self, text: str) -> Deferred[Validation]:
        """See `ILines.say`."""
        return self.items.publish(line_item(text))

    def lines(self) -> Sequence[str]:
        """See `ILines.lines`."""
        return list(self._latest)

    def _accepted(self, item: Item, source: ISession | None) -> None:
        """Called by core with every new line that was found good and stored."""
        self._latest.append(str(item.body))
        while len(self._latest) > self.config.kept:
            self._latest.popleft()


@implementer(IConversation)
class LinesConversation:
    """What is said over one session."""

    __slots__ = ("_buffer", "_last_ping", "_protocol", "_session", "_stopped")

    def __init__(self, protocol: LinesProtocol, session: ISession) -> None:
        self._protocol = protocol
        self._session = session
        self._buffer = b""
        self._stopped = False
        self._last_ping = 0.0

    def start(self) -> None:
        """See `IConversation.start`."""
        self._send("HELLO", f"{HELLO} {self._protocol.nonce}")

    def receive(self, data: bytes) -> None:
        """See `IConversation.receive`."""
        self._buffer += data
        if not self._stopped:
            self._parse()

    def resume(self) -> None:
        """See `IConversation.resume`: the line that was over the budget has been paid for, and is the first."""
        if self._stopped:
            self._stopped = False
            self._parse(paid=True)

    def _parse(self, paid: bool = False) -> None:
        longest = 4 * self._protocol.config.longest + 100
        *lines, self._buffer = self._buffer.split(b"\n")
        for index, line in enumerate(lines):
            word, _, rest = line.partition(b" ")
            handler = HANDLERS.get(word)
            if not paid and not self._session.charge(word.decode() if handler else "*", len(line) + 1):
                self._stopped = True
                self._buffer = b"\n".join([*lines[index:], self._buffer])
                return
            paid = False
            if self._session.closing:
                return
            if len(line) > longest:
                raise UnreadableStream("oversized", f"a line of {len(line)} bytes; {longest} are allowed")
            if handler is not None and (word == b"HELLO") == (self._session.link(LINE) is None):
                handler(self, rest.decode("utf-8", "replace").rstrip("\r"))
        if len(self._buffer) > longest:
            raise UnreadableStream("oversized", f"no end of a line within {longest} bytes")

    def tick(self, now: float) -> None:
        """See `IConversation.tick`."""
        if now - self._last_ping >= PING_EVERY:
            self._last_ping = now
            self._send("PING", f"{now:.3f}")

    def drained(self) -> None:
        """See `IConversation.drained`: nothing is held back here."""

    def announce(self, topic: Topic, items: Sequence[Item]) -> None:
        """See `IConversation.announce`."""
        self._send_ids("HAVE", [item.id for item in items])

    def request(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IConversation.request`."""
        self._send_ids("GET", ids)

    def deliver(self, topic: Topic, item: Item) -> None:
        """See `IConversation.deliver`."""
        self._send("LINE", str(item.body))

    def push(self, topic: Topic, item: Item) -> None:
        """See `IConversation.push`."""
        self._send("LINE", str(item.body))

    def graft(self, topic: Topic) -> None:
        """See `IConversation.graft`: not among our verbs, so never called."""

    def prune(self, topic: Topic) -> None:
        """See `IConversation.prune`: not among our verbs, so never called."""

    def closed(self, reason: str) -> None:
        """See `IConversation.closed`."""
        self._buffer = b""

    # --- what the words mean ---

    def on_hello(self, rest: str) -> None:
        """The peer says who it is."""
        version, _, nonce = rest.partition(" ")
        session = self._session
        if version != HELLO:
            session.close("wrong-version", f"speaks {version[:40]!r}, we speak {HELLO!r}")
        elif nonce == self._protocol.nonce:
            session.close("self-connection")
        elif session.identified(HandshakeInfo(session.address, session.inbound, version=1, agent=version)):
            session.opened([LINE])

    def on_have(self, rest: str) -> None:
        """The peer has these."""
        self._protocol.items.announced(self._session, LINE, _ids(rest))

    def on_get(self, rest: str) -> None:
        """The peer wants these."""
        for id in _ids(rest):
            if self._session.writable:
                self._protocol.serving.get(id).addCallbacks(self._give, self._protocol.not_given)

    def _give(self, item: Item | None) -> None:
        """The store has answered, perhaps after a while; who asks for what we have not got goes without an answer."""
        if item is not None and not self._session.closing:
            self.deliver(LINE, item)

    def on_line(self, rest: str) -> None:
        """The peer gives a line."""
        self._protocol.items.delivered(self._session, line_item(rest))

    def on_ping(self, rest: str) -> None:
        """The peer wants to know whether we are there."""
        self._send("PONG", rest[:40])

    def on_pong(self, rest: str) -> None:
        """The peer is there: the round trip goes into the counters."""
        counters = self._session.counters
        if counters.ping is None or rest == f"{self._last_ping:.3f}":
            counters.ping = self._session.now - self._last_ping
            counters.best_ping = min(counters.ping, counters.best_ping or counters.ping)

    def _send_ids(self, word: str, ids: Sequence[ItemId]) -> None:
        for start in range(0, len(ids), MAX_IDS):
            self._send(word, b" ".join(ids[start : start + MAX_IDS]).decode())

    def _send(self, word: str, rest: str) -> None:
        self._session.sent(word)
        self._session.write(f"{word} {rest}\n".encode())


def _ids(rest: str) -> list[ItemId]:
    """At most `MAX_IDS` ids; what is no id is left out."""
    words = rest.split(" ")[:MAX_IDS]
    return [ItemId(word.encode()) for word in words if len(word) == 16 and word.isascii() and word.isalnum()]


HANDLERS: Mapping[bytes, Callable[[LinesConversation, str], None]] = {
    b"HELLO": LinesConversation.on_hello,
    b"HAVE": LinesConversation.on_have,
    b"GET": LinesConversation.on_get,
    b"LINE": LinesConversation.on_line,
    b"PING": LinesConversation.on_ping,
    b"PONG": LinesConversation.on_pong,
}
