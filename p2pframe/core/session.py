"""A session: one live connection with a peer. It owns the connection; the conversation owns what is said over it.

The way of a byte in: wire -> upgrades -> conversation, which asks `charge` before it decodes. The way out: `write` ->
upgrades -> wire, or a bounded queue while the peer does not read. Nothing here is made per message.

Reading pauses for two reasons, each a bit of `_held`: the peer is over its budget (until the bucket refills), or it
does not read what we send (until our queue drains: who does not listen is not answered further).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.core.lifecycle import new_lifecycle
from p2pframe.core.link import Link
from p2pframe.core.send_queue import CHUNK, SendQueue
from p2pframe.core.snapshots import snapshot_of
from p2pframe.core.story import Story
from p2pframe.core.upgrading import UpgradeChain
from p2pframe.errors import HandshakeFailed, UnreadableStream
from p2pframe.interfaces import IConversation, ILink, ISession, ITransport
from p2pframe.model import (
    Fact,
    FoundAddress,
    HandshakeInfo,
    PeerAddress,
    PeerId,
    SessionCounters,
    SessionId,
    SessionSnapshot,
    Slot,
    Topic,
    TransportInfo,
    netgroup,
)

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.visits import Visiting

_DONE = Failure(ConnectionDone())
_BUDGET = 1
_SENDING = 2
_EXCESS_BREAK = 5.0  # seconds within the budget that end an excess
_UNPROVEN = TransportInfo()


class _IWire(ITCPTransport, IConsumer, IPushProducer):
    """What every stream transport is in fact; Twisted declares the parts apart."""


@implementer(ISession, IPushProducer)
class Session(Protocol):
    """One connection. Made by the network's factories, when the gate has let it through."""

    # A dict of this many attributes takes 1.2 kB more, of the 8 kB that an idle session may cost.
    __slots__ = (
        "_ahead", "_blocked_since", "_budget", "_conversation", "_deadline", "_excess_last", "_excess_since", "_held",
        "_latest", "_life", "_links", "_pending", "_proving", "_queue", "_refill", "_seconds", "_taps", "_upgrades",
        "address", "close_evidence", "close_reason", "closing", "counters", "expected_peer", "handshake",
        "handshaking", "id", "inbound", "info", "netgroup", "network", "now", "on_end", "protected", "slot", "state",
        "story", "unread", "useful_count", "via", "visiting", "was_open", "writable",
    )  # fmt: skip

    def __init__(
        self, network: Network, id: SessionId, address: PeerAddress, slot: Slot, via: ITransport, peer_id: PeerId | None
    ) -> None:
        self.network = network
        self.visiting: Visiting | None = None
        """The visit that this session is for, if any."""
        self.id = id
        self.address = address
        self.slot = slot
        self.inbound = slot is Slot.INBOUND
        self.via = via
        self.expected_peer = peer_id
        self.info = _UNPROVEN
        self.handshake: HandshakeInfo | None = None
        self._seconds: Callable[[], float] = network.clock.seconds
        self.now = self._seconds()
        self.counters = SessionCounters(self.now)
        self.state = "connecting"
        self.story = Story(self.now)
        self.closing = False
        self.writable = True
        self.netgroup = netgroup(address)
        self.handshaking = False
        self.was_open = False
        self.protected = slot is Slot.MANUAL
        self.useful_count = 0
        self.close_reason = ""
        self.close_evidence = ""
        self._budget = network.gate.budget(self.now)
        self._life = new_lifecycle(self)
        self._conversation: IConversation = network.protocol.conversation(self)
        self._upgrades: UpgradeChain | None = None
        self._links: dict[Topic, Link] | None = None
        self._taps: tuple[Callable[[str, bytes], None], ...] | None = None
        self._held = 0
        self._pending: bytearray | None = None
        self._queue: SendQueue | None = None
        self.unread = 0
        self._ahead = 0
        self._latest = 0
        self._deadline = self.now + network.limits.handshake_timeout
        self._excess_since = 0.0
        self._excess_last = -_EXCESS_BREAK
        self._blocked_since = 0.0
        self._proving: Deferred[TransportInfo] | None = None
        self._refill: IDelayedCall | None = None
        self.on_end: Callable[[str, str], None] | None = None

    @property
    def wire(self) -> _IWire:
        """The transport, as every stream transport is in fact: a producer and a consumer that can be aborted."""
        return cast(_IWire, self.transport)

    @property
    def queued(self) -> int:
        """Bytes that wait for the wire."""
        return self._queue.size if self._queue is not None else 0

    # --- the wire comes and goes (called by Twisted) ---

    def connectionMade(self) -> None:
        """The wire is up: have the transport prove who is there before any byte passes."""
        assert self.transport is not None
        if self.closing:
            self.wire.abortConnection()
            return
        self.wire.registerProducer(self, True)
        try:
            answer = self.via.prove(self.wire)
        except Exception:  # noqa: BLE001 - whatever a transport plugin raises ends its session, not the node
            self._not_proved(Failure())
            return
        if isinstance(answer, Deferred):
            self._proving = answer
            answer.addCallbacks(self._proved, self._not_proved)
            answer.addErrback(self._not_proved)
        else:
            self._proved(answer)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the wire: through the upgrades to the conversation."""
        counters = self.counters
        self.now = counters.last_receive = self._seconds()
        counters.bytes_in += len(data)
        if self.closing:
            return
        if self._held or self.state == "connecting":
            self._hold(data)
            return
        try:
            if self._upgrades:
                self._receive_upgraded(data)
            else:
                self._give(data)
        except UnreadableStream as error:
            self._unreadable(error)
        except Exception:  # noqa: BLE001 - whatever a protocol plugin raises ends its session, not the node
            self._failed(Failure(), "receive")

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """The wire is gone, whoever ended it."""
        if not self.close_reason:
            self.close_reason = "closed-by-peer"
            self.close_evidence = reason.getErrorMessage()
        self._life.lost()

    # --- changes of state (called by the lifecycle) ---

    def enter(self, state: str) -> None:
        """A state was entered."""
        self.state = state
        self.story.entered(state, self._seconds())
        self.closing = state in ("closing", "closed")

    def begin_handshake(self) -> None:
        """The other end is proved: upgrades are done, the conversation starts."""
        self._guard(self._conversation.start, "start")
        pending, self._pending = self._pending, None
        if pending and not self.closing:
            self._guard(lambda: self._give(bytes(pending)), "receive")

    def announce_open(self) -> None:
        """The protocol's handshake is complete."""
        self.was_open = True
        self.now = self.counters.opened = self._seconds()

    def begin_close(self) -> None:
        """Send what is queued, then hang up; `tick` aborts what takes too long."""
        self._deadline = self._seconds() + self.network.limits.close_timeout
        self._pending = None
        if self.transport is None:
            return
        if self._queue is None:
            self._hang_up()
        # Else the wire has no room: `resumeProducing` hangs up when the last of it is gone. Until then it is counted:
        # who is closed without reading can't have more kept for it than who stays.

    def _hang_up(self) -> None:
        self.wire.unregisterProducer()
        self.wire.loseConnection()

    def finish(self) -> None:
        """The wire is gone: tell conversation, links and network, once."""
        if self._proving is not None:
            self._proving.cancel()
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        self._forget_queue()
        self._forget_unread()
        self._pending = None
        self._guard(lambda: self._conversation.closed(self.close_reason), "closed")
        try:
            self.network.session_ended(self)
        finally:
            self._links = None
            if self.on_end is not None:
                self.on_end(self.close_reason, self.close_evidence)

    # --- what a conversation calls ---

    def charge(self, kind: str, length: int) -> bool:
        """See `ISession.charge`."""
        counters = self.counters
        counters.received += 1
        try:
            counters.messages_in[kind] += 1
            counters.message_bytes_in[kind] += length
        except KeyError:
            counters.messages_in[kind] = 1
            counters.message_bytes_in[kind] = length
        self._ahead -= length
        self._latest = length
        if not self._budget.charge(length, self.now):
            self._over_budget()
            return False
        # Who does not read what it is sent is not answered further, in the middle of a read too.
        return not self._held

    def write(self, data: bytes) -> None:
        """See `ISession.write`."""
        if self.closing or self.transport is None:
            return
        counters = self.counters
        counters.bytes_out += len(data)
        if self._taps is not None:
            self._show("out", data)
        if self._upgrades:
            try:
                data = self._upgrades.send(data)
            except Exception:  # noqa: BLE001 - the caller (a timer, another session) is not to blame
                self._failed(Failure(), "send", "upgrade")
                return
        if self.writable and len(data) <= CHUNK:
            counters.last_send = self.now
            self.transport.write(data)
        else:
            self._enqueue(data)

    def sent(self, kind: str, count: int = 1) -> None:
        """See `ISession.sent`."""
        counters = self.counters
        counters.sent += count
        try:
            counters.messages_out[kind] += count
        except KeyError:
            counters.messages_out[kind] = count

    def identified(self, info: HandshakeInfo) -> bool:
        """See `ISession.identified`."""
        if self.closing:
            return False
        # What was proved counts for more than what the handshake claims; a protocol need not repeat it.
        info = replace(
            info,
            peer_id=self.info.peer_id or info.peer_id,
            certificate=self.info.certificate or info.certificate,
        )
        self.handshake = info
        verdict = self.network.admission.admit(self, info)
        if verdict:
            return True
        if not self.closing:
            self.close(verdict.reason or "refused", verdict.evidence)
        return False

    def opened(self, topics: Sequence[Topic]) -> None:
        """See `ISession.opened`."""
        if self.state != "handshaking" or self.closing:
            return
        self._life.opened()
        verbs = self.network.protocol.verbs
        group = self.netgroup
        rules = self.network.protocol.topics
        self._links = {
            topic: Link(self, self._conversation, topic, group, verbs, rules[topic].urgent) for topic in topics
        }
        self.network.session_opened(self)

    def link(self, topic: Topic) -> ILink | None:
        """See `ISession.link`."""
        return self._links.get(topic) if self._links else None

    @property
    def links(self) -> Collection[Link]:
        """The links there are, in the order that the protocol named their topics."""
        return self._links.values() if self._links else ()

    def found(self, addresses: Iterable[FoundAddress]) -> int:
        """See `ISession.found`."""
        return 0 if self.state == "closed" else self.network.addresses.take(self, addresses)

    def fact(self, fact: Fact) -> None:
        """See `ISession.fact`."""
        self.network.observe(self, fact)

    def useful(self, kind: str) -> None:
        """See `ISession.useful`."""
        self.useful_count += 1
        if kind == "block":
            self.counters.last_block = self.now
        else:
            self.counters.last_item = self.now

    def close(self, reason: str, evidence: str = "") -> None:
        """See `ISession.close`."""
        if self.closing:
            return
        self.close_reason, self.close_evidence = reason, evidence
        self._life.ending()

    # --- what core calls ---

    def abort(self, reason: str, evidence: str = "") -> None:
        """End the session at once; what is queued is lost."""
        if not self.close_reason:
            self.close_reason, self.close_evidence = reason, evidence
        self.closing = True
        self._forget_queue()
        self._forget_unread()
        self._pending = None
        if self.transport is None:
            self._life.lost()
        else:
            self.wire.abortConnection()

    def tap(self, callback: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Show the conversation's bytes to one more callback. Returns what ends that."""
        self._taps = (*(self._taps or ()), callback)
        return lambda: self._untap(callback)

    def tick(self, now: float) -> None:
        """Look at the deadlines; called for every session by the network's one timer."""
        self.now = now
        limits = self.network.limits
        if self.state == "open":
            if self.closing:
                return  # aborted: the wire is about to say so
            if now - max(self.counters.last_receive, self.counters.opened) > limits.idle_timeout:
                self.close("idle", f"nothing received for {limits.idle_timeout:g} s")
            elif not self.writable and now - self._blocked_since > limits.idle_timeout:
                self.abort("does-not-read", f"took nothing for {limits.idle_timeout:g} s (limits.idle_timeout)")
            else:
                self._guard(lambda: self._conversation.tick(now), "tick")
        elif now > self._deadline:
            if self.state == "closing":
                self.network.close_cut_short()
                self.abort("close-timeout")
            elif not self.closing:
                self.abort("handshake-timeout", f"not open after {limits.handshake_timeout:g} s")

    def snapshot(self) -> SessionSnapshot:
        """The session as others may see it."""
        return snapshot_of(self)

    # --- backpressure (called by the wire when it can't, or can again, take more) ---

    def pauseProducing(self) -> None:
        """The wire has enough: queue here from now on."""
        if self.writable:
            self.writable = False
            self._blocked_since = self._seconds()

    def resumeProducing(self) -> None:
        """The wire takes more: empty the queue, then let others go on."""
        self.now = self.counters.last_send = self._seconds()
        self.writable = True
        self._pump()
        if not self.writable:
            self._blocked_since = self.now
            return
        if self.state == "closing":
            self._hang_up()
            return
        if self._held & _SENDING:
            self._release(_SENDING)
        if self.writable and not self.closing and self.state == "open":
            self._guard(self._conversation.drained, "drained")

    def stopProducing(self) -> None:
        """The wire is gone; `connectionLost` says so too."""
        self._forget_queue()

    def _pump(self) -> None:
        """Give the wire what is queued, a chunk at a time, until it has enough."""
        queue = self._queue
        while queue is not None and self.writable and self.transport is not None and (data := queue.take()):
            self.network.queued -= len(data)
            self.transport.write(data)
        if queue is not None and not queue.size and queue is self._queue:
            self._queue = None

    # --- inside ---

    def failed(self, where: str) -> None:
        """The conversation raised in a call of core's: to be called where that exception is handled.

        The session ends.
        """
        self._failed(Failure(), where)

    def _show(self, way: str, data: bytes) -> None:
        """Show bytes to the taps; one that raises is taken off."""
        for callback in self._taps or ():
            try:
                callback(way, data)
            except Exception:  # noqa: BLE001 - who looks on must not change what happens
                self._untap(callback)
                self.network.plugin_failed("tap", way, Failure())

    def _untap(self, callback: Callable[[str, bytes], None]) -> None:
        self._taps = tuple(one for one in self._taps or () if one is not callback) or None

    def _proved(self, info: TransportInfo) -> None:
        self._proving = None
        self.info = info
        if self.closing:
            return
        if not self.network.upgrades:
            self._life.proved()
            return
        self.state = "upgrading"
        self.story.entered("upgrading", self._seconds())
        # Before an upgrade may be ready: what came early is for it to read, never for the conversation.
        early, self._pending = self._pending, None
        self._guard(self._begin_upgrades, "upgrade", "upgrade")
        if early and not self.closing:
            self._guard(lambda: self._receive_upgraded(bytes(early)), "upgrade", "upgrade")

    def _begin_upgrades(self) -> None:
        states = [up.begin(self.address, self.inbound, self.expected_peer) for up in self.network.upgrades]
        self._upgrades = UpgradeChain(states, self.info, self.wire.write, self._upgraded)
        self._upgrades.start()

    def _upgraded(self, info: TransportInfo) -> None:
        self.info = info
        self._life.proved()

    def _not_proved(self, failure: Failure) -> None:
        self._proving = None
        if self.state == "closed":
            return
        if failure.check(HandshakeFailed) is None:
            self._failed(failure, "prove", f"transport.{self.via.name}")
        else:
            self.abort("refused-by-transport", failure.getErrorMessage())

    def _receive_upgraded(self, data: bytes) -> None:
        assert self._upgrades is not None
        try:
            received = self._upgrades.receive(data)
        except HandshakeFailed as error:
            self.abort("refused-by-upgrade", str(error))
            return
        # Even where reading has been paused meanwhile: `_pending` is for what has yet to pass the upgrades.
        if received and not self.closing:
            self._give(received)

    def _hold(self, data: bytes) -> None:
        """Keep what arrived while reading was already paused (a TLS record, the kernel's last read)."""
        if self._pending is None:
            self._pending = bytearray()
        self._pending += data
        if len(self._pending) > self.network.limits.receive_buffer:
            self.abort("receive-buffer", f"over {self.network.limits.receive_buffer} unprocessed bytes")
        else:
            self._recount()

    def _give(self, data: bytes) -> None:
        """Hand bytes to the conversation, and count what it keeps of them."""
        if self._taps is not None:
            self._show("in", data)
        self._ahead += len(data)
        self._conversation.receive(data)
        self._recount()

    def _recount(self) -> None:
        """What has been received and not processed, by what was charged.

        The part that has come of the message charged last, or what follows it.
        """
        if self.closing:
            return
        ahead = self._ahead  # bytes given less bytes charged: below 0 while a message is not whole
        unread = self._latest + ahead if ahead < 0 else ahead
        if self._pending is not None:
            unread += len(self._pending)
        if unread != self.unread:
            self.network.unread += unread - self.unread
            self.unread = unread
            if self.network.unread > self.network.limits.receive_buffers_total:
                self.network.shed_unread()

    def _over_budget(self) -> None:
        self.counters.turned_away += 1
        now = self.now
        wait = max(self._budget.ready_in(now), 0.01)
        if now - self._excess_last > _EXCESS_BREAK:
            self._excess_since = now
        self._excess_last = now
        excess = now - self._excess_since
        if excess > self.network.limits.excess_time:
            self._excess_since = now
            self.fact(Fact("excess", evidence=f"over its budget for {excess:.0f} s", proven=self.state == "open"))
        self.network.over_budget()
        self._pause(_BUDGET)
        self._refill = self.network.clock.callLater(wait, self._refilled)

    def _refilled(self) -> None:
        self._refill = None
        if self._held & _BUDGET and not self.closing:
            self.now = self._seconds()
            self._release(_BUDGET)

    def _pause(self, why: int) -> None:
        if not self._held and self.transport is not None:
            self.wire.pauseProducing()
        self._held |= why

    def _release(self, why: int) -> None:
        """One reason to hold is gone.

        If it was the last, go on where the conversation stopped, then with what came since.
        """
        self._held &= ~why
        if not self._reading():
            return
        self._guard(self._conversation.resume, "resume")
        if not self._reading():
            return
        pending, self._pending = self._pending, None
        if pending:
            if self._upgrades:
                self._guard(lambda: self._receive_upgraded(bytes(pending)), "receive")
            else:
                self._guard(lambda: self._give(bytes(pending)), "receive")
        else:
            self._recount()
        if self._reading():
            self.wire.resumeProducing()

    def _reading(self) -> bool:
        return not self._held and not self.closing and self.transport is not None

    def _enqueue(self, data: bytes) -> None:
        if self._queue is None:
            self._queue = SendQueue()
        self._queue.put(data)
        self.network.queued += len(data)
        if self.writable:
            self.counters.last_send = self.now
            self._pump()
        limits = self.network.limits
        if self.queued > limits.send_buffer_max:
            self.abort("does-not-read", f"over {limits.send_buffer_max} unsent bytes (limits.send_buffer_max)")
        elif self.queued > limits.send_buffer:
            if not self._held & _SENDING:
                self.network.send_paused()
            self._pause(_SENDING)
        if self.network.queued > limits.send_buffers_total:
            self.network.shed_queues()

    def _forget_queue(self) -> None:
        self.network.queued -= self.queued
        self._queue = None

    def _forget_unread(self) -> None:
        self.network.unread -= self.unread
        self.unread = 0

    def _guard(self, call: Callable[[], object], where: str, label: str = "") -> None:
        try:
            call()
        except UnreadableStream as error:
            self._unreadable(error)
        except HandshakeFailed as error:
            self.abort("refused-by-upgrade", str(error))
        except Exception:  # noqa: BLE001 - whatever a protocol plugin raises ends its session, not the node
            self._failed(Failure(), where, label)

    def _unreadable(self, error: UnreadableStream) -> None:
        proven = self.state == "open"
        # First: the reason is what was unreadable, whatever the scorers make of it.
        self.close(error.reason, error.detail)
        self.network.observe(self, Fact("unreadable", evidence=str(error), proven=proven))

    def _failed(self, failure: Failure, where: str, label: str = "") -> None:
        self.network.plugin_failed(label or f"protocol.{self.network.protocol_name}", where, failure)
        if self.state != "closed":
            self.abort("plugin-failed", failure.getErrorMessage())
