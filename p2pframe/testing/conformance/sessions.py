"""Sessions without a node: two conversations of a protocol, wired together, and everything that they do noted.

A session here does what core's does as far as a conversation can tell: it charges, it refuses when it is told to, it
closes on an `UnreadableStream` and on a fact's floor; what would be logged as the plugin's failure is `wrong` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zope.interface import implementer

from p2pframe.errors import UnreadableStream
from p2pframe.interfaces import IItems, ILink, ISession
from p2pframe.model import (
    Fact,
    Floor,
    FoundAddress,
    HandshakeInfo,
    Item,
    ItemId,
    PeerAddress,
    Score,
    SessionCounters,
    SessionId,
    Slot,
    Topic,
    TransportInfo,
    netgroup,
)
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.splitting import SPLITS, Split
from p2pframe.testing.context import FakeReactor

_RAISES = "any other exception is logged with the plugin's name, counted, and closes the session too."
_CHARGE = "Called once for each message when its header is known, before the body is decoded."
_HOLD = "The conversation processes nothing more until `resume`, and does not charge this message again."
_IDENTIFY = "Say who the peer is, once the handshake tells, before the handshake's last word of ours."
_OPENED = "Say that the handshake is complete: from now on there is a link for each of `topics`."
_EVIDENCE = 2_000
"""Characters of a fact's evidence that are a bound; core shows and keeps it."""
ADDRESSES = (PeerAddress("198.51.100.1", 8333), PeerAddress("192.0.2.1", 40_001))
"""By end: whom it talks to. The first one dialled."""


@implementer(ILink)
class BenchLink:
    """One session and one topic; passes verbs on to the conversation."""

    urgent = False
    score: Score | None = None

    def __init__(self, session: BenchSession, topic: Topic, verbs: frozenset[str]) -> None:
        self._session = session
        self.id = session.id
        self.topic = topic
        self.inbound = session.inbound
        self.netgroup = netgroup(session.address)
        self.verbs = verbs

    @property
    def writable(self) -> bool:
        """See `ILink.writable`."""
        return self._session.writable and not self._session.closing

    def announce(self, items: Sequence[Item]) -> None:
        """See `ILink.announce`."""
        if items:
            self._session.guard("announce", lambda: self._session.conversation.announce(self.topic, items))

    def request(self, ids: Sequence[ItemId]) -> None:
        """See `ILink.request`."""
        if ids:
            self._session.guard("request", lambda: self._session.conversation.request(self.topic, ids))

    def deliver(self, item: Item) -> None:
        """See `ILink.deliver`."""
        self._session.guard("deliver", lambda: self._session.conversation.deliver(self.topic, item))

    def push(self, item: Item) -> None:
        """See `ILink.push`."""
        self._session.guard("push", lambda: self._session.conversation.push(self.topic, item))

    def graft(self) -> None:
        """See `ILink.graft`."""
        self._session.guard("graft", lambda: self._session.conversation.graft(self.topic))

    def prune(self) -> None:
        """See `ILink.prune`."""
        self._session.guard("prune", lambda: self._session.conversation.prune(self.topic))


@implementer(ISession)
class BenchSession:
    """One end: what its conversation asked of it, and what it was given."""

    def __init__(self, bench: Bench, context: Any, inbound: bool, slot: Slot, verbs: frozenset[str]) -> None:
        self.bench = bench
        self.context = context
        self.id = SessionId(1)
        self.address = ADDRESSES[inbound]
        self.inbound = inbound
        self.slot = slot
        self.info = TransportInfo()
        self.now: float = context.reactor.seconds()
        self.counters = SessionCounters(self.now)
        self.closing = False
        self.writable = True
        self.conversation: Any = None
        self.out = bytearray()
        """What was written and has not been carried over."""
        self.given = 0
        """Bytes handed to the conversation."""
        self.charges: list[tuple[str, int]] = []
        self.admits = True
        """What `identified` answers."""
        self.refuses: Callable[[str, int], bool] = lambda kind, length: False
        """Which charges are refused once."""
        self.held = False
        self.resumed = 0
        self._told = 0
        self.pending = bytearray()
        self.handshake: HandshakeInfo | None = None
        self.topics: Sequence[Topic] | None = None
        self.reason = ""
        self.over = False
        self._links: dict[Topic, BenchLink] = {}
        self._verbs = verbs

    # --- what a conversation calls ---

    def charge(self, kind: str, length: int) -> bool:
        """See `ISession.charge`."""
        good = isinstance(kind, str) and kind and type(length) is int and length > 0
        self.bench.require(good, "ISession.charge", _CHARGE, f"it charged {kind!r}, {length!r}")
        self.bench.require(not self.held, "ISession.charge", _HOLD, f"before `resume` it charged {kind!r}")
        self.charges.append((kind, length))
        self.counters.received += 1
        if self.refuses(kind, length):
            self.held = True
            self._told = self._heard()
            return False
        return True

    def write(self, data: bytes) -> None:
        """See `ISession.write`."""
        good = isinstance(data, (bytes, bytearray, memoryview))
        self.bench.require(good, "ISession.write", "Queue bytes for the peer, in order.", f"it wrote {data!r:.100}")
        if not self.closing:
            self.out += data

    def sent(self, kind: str, count: int = 1) -> None:
        """See `ISession.sent`."""
        self.counters.sent += count

    def identified(self, info: HandshakeInfo) -> bool:
        """See `ISession.identified`."""
        self.bench.require(isinstance(info, HandshakeInfo), "ISession.identified", _IDENTIFY, f"it says {info!r}")
        self.bench.require(not self.held, "ISession.charge", _HOLD, "before `resume` it says who the peer is")
        self.handshake = info
        if not self.admits:
            self.close("refused")
        return self.admits and not self.closing

    def opened(self, topics: Sequence[Topic]) -> None:
        """See `ISession.opened`."""
        self.bench.require(
            self.closing or self.handshake is not None, "ISession.identified", _IDENTIFY,
            "the session opened, and nobody has said who the peer is",
        )  # fmt: skip
        self.bench.require(not self.held, "ISession.charge", _HOLD, "before `resume` it opens the session")
        known = all(topic in self.bench.cls.topics for topic in topics)
        self.bench.require(known, "ISession.opened", _OPENED, f"of {list(topics)} some are no topics of the protocol")
        if self.closing:
            return
        self.topics = tuple(topics)
        self._links = {topic: BenchLink(self, topic, self._verbs) for topic in topics}
        self.counters.opened = self.now

    def link(self, topic: Topic) -> BenchLink | None:
        """See `ISession.link`."""
        return self._links.get(topic)

    def found(self, addresses: Iterable[FoundAddress]) -> int:
        """See `ISession.found`."""
        return len(list(addresses))

    def fact(self, fact: Fact) -> None:
        """See `ISession.fact`."""
        good = isinstance(fact, Fact) and bool(fact.kind)
        self.bench.require(good, "ISession.fact", "Report something observed.", f"it reports {fact!r}")
        self.bench.rule(
            len(fact.evidence) <= _EVIDENCE, "Fact", "`evidence` is for people and is bounded by who writes it",
            lambda: f"{fact.kind} comes with {len(fact.evidence)} characters",
        )  # fmt: skip
        if fact.floor is not Floor.NOTE:
            self.close(fact.kind)

    def useful(self, kind: str) -> None:
        """See `ISession.useful`."""

    def close(self, reason: str, evidence: str = "") -> None:
        """See `ISession.close`."""
        self.bench.require(
            isinstance(reason, str) and reason, "ISession.close", "`reason` is a stable word.", f"it is {reason!r}"
        )
        if not self.closing:
            self.closing = True
            self.reason = reason

    # --- what core does ---

    @property
    def open(self) -> bool:
        """Whether the handshake is complete and nothing has ended it."""
        return self.topics is not None and not self.closing

    def start(self) -> None:
        """The conversation begins."""
        self.guard("start", self.conversation.start)

    def give(self, data: bytes) -> None:
        """Hand over what was read; kept back while a charge is refused."""
        if self.closing or self.over:
            return
        self.counters.bytes_in += len(data)
        self.now = self.counters.last_receive = self.context.reactor.seconds()
        if self.held:
            self.pending += data
            return
        self.given += len(data)
        self.guard("receive", lambda: self.conversation.receive(data))
        self.bench.require(
            self._quiet(), "ISession.charge", _HOLD, "before `resume` it tells the network's items of more"
        )

    def _quiet(self) -> bool:
        return not self.held or self._heard() == self._told

    def _heard(self) -> int:
        """How often the stand-in for the network's items was called; 0 where the test put another in its place."""
        return len(getattr(self.context.services.get(IItems), "calls", ()))

    def go_on(self) -> None:
        """A refused charge has been paid for."""
        while self.held and not self.closing:
            self.held = False
            self.resumed += 1
            # A message has a byte at least: more than that many refusals were for messages charged before.
            again = f"after each `resume` it charged {self.charges[-1]}"
            self.bench.require(self.resumed <= self.given, "ISession.charge", _HOLD, again)
            self.now = self.context.reactor.seconds()
            self.guard("resume", self.conversation.resume)
        if self.pending and not self.held and not self.closing:
            pending, self.pending = bytes(self.pending), bytearray()
            self.given += len(pending)
            self.guard("receive", lambda: self.conversation.receive(pending))

    def tick(self) -> None:
        """What core does every few seconds."""
        self.now = self.context.reactor.seconds()
        if self.open:
            self.guard("tick", lambda: self.conversation.tick(self.now))

    def finish(self, reason: str = "closed-by-peer") -> None:
        """The wire is gone."""
        if not self.over:
            self.close(reason)
            self.over = True
            self.guard("closed", lambda: self.conversation.closed(self.reason))

    def guard(self, method: str, function: Callable[[], object]) -> None:
        """Call into the conversation as core does."""
        if method != "closed" and (self.over or self.closing):
            return
        try:
            self.bench.call("IConversation", _RAISES, function, allowed=(UnreadableStream,))
        except UnreadableStream as error:
            if method in ("receive", "resume"):
                self.close(error.reason)
                return
            self.bench.require(False, "IConversation", _RAISES, f"out of {method} came {error!r}")


class Talk:
    """Two nodes' protocols and one connection between them; the first one dialled."""

    def __init__(self, bench: Bench, split: str = "whole", *labels: object) -> None:
        self.bench = bench
        self.split: Split = SPLITS[split]
        self.rng = bench.random("talk", split, *labels)
        self.reactor = FakeReactor()
        self.contexts = [bench.context(seed, self.reactor) for seed in (1, 2)]
        self.plugins = [bench.build(context) for context in self.contexts]
        for plugin in self.plugins:
            bench.start(plugin)
        self.timed = len(self.reactor.getDelayedCalls())
        """Delayed calls that are the plugins' own."""
        self.written: list[bytearray] = [bytearray(), bytearray()]
        """By end: all that went over the wire."""
        self.sessions: list[BenchSession] = []
        self.connect()

    def connect(self) -> None:
        """A new connection; whatever was there is forgotten."""
        slots: Sequence[Slot] = (self.bench.option("slot", Slot.MANUAL), Slot.INBOUND)
        verbs: frozenset[str] = self.bench.cls.verbs
        self.sessions = [
            BenchSession(self.bench, context, bool(index), slots[index], verbs)
            for index, context in enumerate(self.contexts)
        ]
        for plugin, session in zip(self.plugins, self.sessions, strict=True):
            made = "Called for each session as it is accepted or connected."
            session.conversation = self.bench.call("conversation", made, plugin.conversation, session)

    def start(self) -> None:
        """Both conversations begin."""
        for session in self.sessions:
            session.start()

    def shake(self, limit: float = 60.0) -> None:
        """Let them talk until both are open; `NonConformance` where they do not get there."""
        self.start()
        waited = 0.0
        self.carry()
        while not all(session.open for session in self.sessions) and waited < limit:
            self.pass_time(1.0)
            waited += 1.0
        ends = [session.reason or ("open" if session.open else "not open") for session in self.sessions]
        self.bench.require(
            ends == ["open", "open"], "ISession.opened", _OPENED, f"after {waited:g} s the two ends are {ends}"
        )

    def carry(self) -> None:
        """Carry bytes until there are none under way."""
        rounds = 0
        while any(session.out and not session.over for session in self.sessions):
            rounds += 1
            self.bench.rule(rounds < 10_000, "IConversation.receive", "two ends come to rest", "they go on and on")
            for index, session in enumerate(self.sessions):
                data, session.out = bytes(session.out), bytearray()
                self.written[index] += data
                other = self.sessions[1 - index]
                for part in self.split(data, self.rng):
                    other.give(part)
                    other.go_on()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with ticks every five seconds and bytes carried each second."""
        for _ in range(round(seconds)):
            self.reactor.advance(1.0)
            for session in self.sessions:
                session.now = self.reactor.seconds()
                if session.now % 5.0 < 1.0:
                    session.tick()
            self.carry()

    def end(self) -> None:
        """Both sessions end, then the plugins stop; nothing is left timed."""
        for session in self.sessions:
            session.finish()
        gone = "Called once when the session has ended, whatever ended it, and also where `start` never was."
        left = len(self.reactor.getDelayedCalls())
        self.bench.require(
            left <= self.timed, "IConversation.closed", gone,
            f"afterwards there are {left} delayed calls, before the session there were {self.timed}",
        )  # fmt: skip
        self.reactor.advance(60.0)
        for plugin in self.plugins:
            self.bench.stop(plugin)
        still = self.reactor.getDelayedCalls()
        self.bench.rule(not still, self.bench.cls.__name__, "nothing is timed before start and nothing after stop",
                        f"after stop there are {[str(call) for call in still[:3]]}")  # fmt: skip
