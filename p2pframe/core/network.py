"""A network: one overlay that the node takes part in.

It owns sessions, address book, items and scheduler, and wires them up.

Everything that decides is a plugin or a part of its own (gate, standing, dialer, finder, items); this is where they
meet: a connection comes in or goes out here, is admitted here, and ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.config.settings import Limits, NetworkSpec
from p2pframe.core.address_book import AddressBook
from p2pframe.core.address_groups import AddressSurvey
from p2pframe.core.addresses import Addresses
from p2pframe.core.admission import Admission
from p2pframe.core.bans import BanList
from p2pframe.core.context import World
from p2pframe.core.datagrams import DatagramGate
from p2pframe.core.dialer import Dialer
from p2pframe.core.events import Events
from p2pframe.core.finder import Finder
from p2pframe.core.gate import Gate, Refusals
from p2pframe.core.items import Items
from p2pframe.core.parts import Parts
from p2pframe.core.ports import Ports
from p2pframe.core.scheduler import Scheduler
from p2pframe.core.session import Session
from p2pframe.core.session_log import SessionLog
from p2pframe.core.standing import Standing
from p2pframe.core.story import Stories, story_of
from p2pframe.core.timers import Timers
from p2pframe.core.traffic import Traffic
from p2pframe.core.visits import Visits
from p2pframe.interfaces import (
    AddressGroups,
    INamespace,
    IStatus,
    ITransport,
    Metrics,
    NetworkView,
    SessionStory,
)
from p2pframe.model import (
    Action,
    Fact,
    ItemId,
    PeerAddress,
    PeerId,
    Score,
    SessionId,
    SessionSnapshot,
    Slot,
    Topic,
    TopologyView,
    Verdict,
    netgroup,
)

P = ParamSpec("P")
T = TypeVar("T")

_NO_REFUSALS = ("closed-by-peer", "stopping")
"""How an inbound session may end before it has said who it is, without having been refused."""


class Network:
    """One network of a node, from its plugins to its sessions."""

    def __init__(
        self,
        spec: NetworkSpec,
        world: World,
        parts: Parts,
        items: Items,
        scheduler: Scheduler,
        book: AddressBook,
        bans: BanList,
        events: Events,
        metrics: Metrics,
        namespace: Callable[[], INamespace],
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.limits: Limits = spec.limits
        self.world = world
        self.clock = world.reactor
        self.unix_time = world.unix_time
        self.rng: Random = world.rng(f"{spec.name}/core")
        self.log = Logger(namespace=f"p2pframe.{spec.name}")
        self.metrics = metrics
        self.events = events
        self.bans = bans
        self.protocol_name = spec.protocol.spec.name
        self.protocol = parts.protocol
        self.topology = parts.topology
        self.upgrades = parts.upgrades
        self.parts = parts
        self.items = items
        self.scheduler = scheduler
        self.book = book
        self._namespace = namespace
        self.sessions: dict[SessionId, Session] = {}
        self._connected: dict[PeerAddress, int] = {}
        self._handshaking: dict[SessionId, Session] = {}
        self.queued = 0
        self.unread = 0
        self.stopping = False
        self.running = False
        self.made = 0
        """How many sessions there have been."""
        self.ports = Ports(self)
        self._all_closed: Deferred[None] | None = None
        self._traffic = Traffic(metrics)
        self._closed_total = metrics.counter("sessions_closed_total", "Sessions ended.", ("reason",))
        self._opened_total = metrics.counter("sessions_opened_total", "Sessions opened.", ("slot",))
        self._plugin_errors = metrics.counter("plugin_errors_total", "Exceptions out of plugins.", ("plugin", "where"))
        self._decisions = metrics.counter(
            "decisions_total", "What was done about peers after a fact, by the rule.", ("rule", "action")
        )
        self._over_budget = metrics.counter("over_budget_total", "Times that reading paused, the budget being spent.")
        self._handshakes_shed = metrics.counter(
            "handshakes_evicted_total", "Inbound sessions ended in the handshake to make room for another."
        )
        self._unread_shed = metrics.counter(
            "receive_buffers_shed_total", "Sessions ended as unprocessed bytes of all were too many."
        )
        self._shed = metrics.counter("send_buffers_shed_total", "Sessions ended as unsent bytes of all were too many.")
        self._send_pauses = metrics.counter(
            "send_pauses_total", "Times that reading paused as the peer did not read what it was sent."
        )
        self._cut_short = metrics.counter("closes_cut_short_total", "Closing sessions hung up on before all was sent.")
        self._session_log = SessionLog(self.log)
        self._refusals = Refusals(spec.name, metrics, events, self.log)
        self.gate = Gate(spec.name, spec.limits, bans, metrics, self._refusals, self._inbound_slots)
        self.admission = Admission(self, self._refusals)
        self.standing = Standing(parts.scorers, metrics, self.plugin_failed)
        self.stories = Stories(lambda: self.limits, metrics)
        self.addresses = Addresses(self)
        self.dialer = Dialer(self, world.rng(f"{spec.name}/dialer"))
        self.visits = Visits(self)
        self._survey = AddressSurvey(self.clock, self.unix_time, book.entries)
        self.finder = Finder(self, parts.discovery)
        self.timers = Timers(self, self._flush_logs)
        self.datagram_gates = [DatagramGate(self, transport) for transport in parts.datagrams]

    # --- start and stop ---

    async def open(self) -> None:
        """Everything is started: take sessions, dial, discover. Nothing of it where `stop` was called meanwhile."""
        await self._load()
        for gate in self.datagram_gates:
            if not self.stopping:
                await gate.open()
        if self.stopping:
            return
        self.running = True
        if self.ports.places:
            self.log.info("listening on {places}", places=", ".join(self.ports.places))
        self.timers.start()
        self.finder.announce(self.ports.bound)

    async def stop(self) -> None:
        """End everything in order; at most `limits.close_timeout` and a bit."""
        self.stopping = True
        was_running, self.running = self.running, False
        self.timers.stop()
        anchors: Sequence[PeerAddress] = ()
        topology = self.topology
        if was_running and topology is not None:
            view = self.view()
            anchors = self.call_plugin("topology", "anchors", anchors, topology.anchors, view)
        self.visits.stop()
        self._survey.stop()
        self.dialer.stop()
        await self.finder.stop()
        await self.ports.close()
        for gate in self.datagram_gates:
            try:
                await gate.close()
            except Exception:  # noqa: BLE001 - a socket that can't be closed must not keep the sessions open
                self.plugin_failed("transport", "close", Failure())
        await self._close_sessions()
        self.count_traffic()
        self.items.stop()
        self.scheduler.stop()
        self._flush_logs(self.clock.seconds(), everything=True)
        if was_running:
            await self._save(anchors)

    async def _close_sessions(self) -> None:
        for session in list(self.sessions.values()):
            session.close("stopping")
        if not self.sessions:
            return
        self._all_closed = Deferred()
        timer = self.clock.callLater(self.limits.close_timeout, self._abort_all)
        await self._all_closed
        if timer.active():
            timer.cancel()

    def _abort_all(self) -> None:
        for session in list(self.sessions.values()):
            session.abort("stopping")

    def _flush_logs(self, now: float, everything: bool = False) -> None:
        self._refusals.flush(now, everything)
        self._session_log.flush(now, everything)
        self.items.relay_log.flush(now, everything)

    def reconfigure(self, spec: NetworkSpec) -> None:
        """Take new limits, at once: a spec that differs from the present one in live fields only."""
        self.spec, self.limits = spec, spec.limits
        self.gate.reconfigure(spec.limits)
        self.book.reconfigure(spec.limits)
        self.addresses.reconfigure(spec.limits)
        self.timers.restart()

    async def _load(self) -> None:
        store = self._namespace()
        await self.book.restore(store)
        anchors: list[PeerAddress] = []
        kept = await store.get(b"anchors")
        if kept:
            for line in kept.decode("utf-8", "replace").splitlines():
                try:
                    anchors.append(PeerAddress.parse(line))
                except ValueError:
                    self.log.warn("an anchor could not be read and is left out: {line}", line=line[:100])
            # Used up at once: after a crash there are none, so an attacker who crashes us can't keep his place.
            await store.write(deletes=[b"anchors"])
        topology = self.topology
        if topology is not None:
            self.call_plugin("topology", "restore", None, topology.restore, anchors)

    async def _save(self, anchors: Sequence[PeerAddress]) -> None:
        store = self._namespace()
        await self.save_book()
        if anchors:
            await store.write(puts=[(b"anchors", "\n".join(map(str, anchors)).encode())])

    async def save_book(self) -> None:
        """Write the address book; called at stop and every quarter of an hour by the node."""
        await self.book.save(self._namespace())

    # --- connections ---

    def accept(self, address: PeerAddress, via: ITransport) -> Session | None:
        """An inbound connection: a session, or None where the gate refuses it (counted and explained there)."""
        if not self.running:
            return None
        if self.gate.handshakes >= self.limits.handshakes:
            self._make_room(netgroup(address))
        verdict = self.gate.accept(address, self.clock.seconds())
        if not verdict:
            return None
        session = self.new_session(address, Slot.INBOUND, via, None)
        if session is None:
            self.gate.handshake_over()
        else:
            session.handshaking = True
            self._handshaking[session.id] = session
        return session

    def _make_room(self, newcomer: str) -> None:
        """As many handshakes are under way as may be: end the oldest of the netgroup that has most of them.

        Else whoever connects and says nothing would keep everyone out for a minute at a time. The newcomer's own
        netgroup is counted with it, so that who floods only ever takes the place of his own.
        """
        groups: dict[str, int] = {newcomer: 1}
        for session in self._handshaking.values():
            groups[session.netgroup] = groups.get(session.netgroup, 0) + 1
        most = max(groups.values())
        for session in list(self._handshaking.values()):
            if groups[session.netgroup] == most:
                self._handshakes_shed.add(1)
                session.abort(
                    "handshake-evicted", f"{self.limits.handshakes} handshakes were under way (limits.handshakes)"
                )
                self._handshake_over(session)
                return

    def _handshake_over(self, session: Session) -> None:
        if session.handshaking:
            session.handshaking = False
            self._handshaking.pop(session.id, None)
            self.gate.handshake_over()

    def new_session(self, address: PeerAddress, slot: Slot, via: ITransport, peer_id: PeerId | None) -> Session | None:
        """Make a session and keep it until it ends; None where the protocol failed to make a conversation for it."""
        self.made += 1
        try:
            session = Session(self, SessionId(self.made), address, slot, via, peer_id)
        except Exception:  # noqa: BLE001 - a protocol that fails to begin has no session, and takes no place
            self.plugin_failed(f"protocol.{self.protocol_name}", "conversation", Failure())
            return None
        self.sessions[session.id] = session
        self._connected[address] = self._connected.get(address, 0) + 1
        return session

    def session_opened(self, session: Session) -> None:
        """The handshake is complete: links, scorers, the dialer and the log hear of it."""
        now = self.clock.seconds()
        self._handshake_over(session)
        self._opened_total.add(1, session.slot.value)
        if not session.inbound:
            self.book.good(session.address)
            self.dialer.opened(session)
        self.standing.opened(session.id, now)
        self.sample(session, now)
        info = session.handshake
        agent = info.agent if info else ""
        self.events.emit("session.opened", self.name, session.id, session.address, slot=session.slot.value, agent=agent)
        self._session_log.opened(session, now)
        if session.visiting is not None:
            session.visiting.opened(session)
            return
        if session.slot is Slot.FEELER:
            session.close("feeler-done")
            return
        self.items.spreads.came(session.id, session.address)
        for link in session.links:
            if not session.closing:
                self.items.link_added(link)

    def session_ended(self, session: Session) -> None:
        """The wire is gone: forget the session and say why it ended."""
        self.stories.ended(session, self.clock.seconds())
        if self.sessions.pop(session.id, None) is not None:
            self._disconnected(session.address)
        # At once: nobody may read sums that lack it.
        self._traffic.ended(session.counters)
        self.addresses.forget(session)
        was_open = session.was_open
        self._handshake_over(session)
        for link in session.links:
            self.items.link_removed(link)
        self.items.forget(session)
        self.items.spreads.left(session.id)
        self.scheduler.forget(session.id)
        scores = self.standing.scores(session.id)
        # Of one that never opened too: a scorer may have heard facts about it.
        self.standing.closed(session.id)
        if was_open and not session.inbound:
            self.book.connected(session.address)
        if session.close_reason == "self-connection" and not session.inbound:
            self.book.exclude(session.address)
        self._closed_total.add(1, session.close_reason)
        self.events.emit(
            "session.closed", self.name, session.id, session.address,
            reason=session.close_reason, evidence=session.close_evidence, slot=session.slot.value, opened=was_open,
            scores=tuple(score for score, _ in scores),
        )  # fmt: skip
        if was_open:
            self._session_log.ended(session, self.clock.seconds())
        elif session.inbound and session.handshake is None and session.close_reason not in _NO_REFUSALS:
            verdict = Verdict(Action.DISCONNECT, "handshake", session.close_reason, session.close_evidence)
            self._refusals.note(verdict, session.address, self.clock.seconds())
        if self._all_closed is not None and not self.sessions:
            done, self._all_closed = self._all_closed, None
            done.callback(None)

    # --- what is thought of peers, and done about it ---

    def observe(self, session: Session, fact: Fact) -> None:
        """A fact: ask the scorers, act on the strictest verdict."""
        if session.state == "closed":
            return
        judgement = self.standing.observe(session.id, fact, session.now)
        verdict = judgement.verdict
        self.stories.heard(session, fact, judgement, session.now)
        if fact.kind == "timeout":
            session.counters.timeouts += 1
        if not verdict:
            self._decisions.add(1, verdict.rule, verdict.action.name.lower())
            self.events.emit(
                "peer.judged", self.name, session.id, session.address,
                rule=verdict.rule, action=verdict.action.name.lower(), reason=verdict.reason, evidence=verdict.evidence,
                fact=fact.kind, scores=tuple(score for score, _ in self.standing.scores(session.id)),
            )  # fmt: skip
            self.admission.act(session, verdict)

    def sample(self, session: Session, now: float) -> None:
        """Have the scorers look at a session."""
        self.standing.sample(session.id, session.counters, now)
        self.stories.scored(session, self.standing.scores(session.id), now)

    def end_penalised(self) -> None:
        """After a ban by hand: end every session that it covers."""
        for session in list(self.sessions.values()):
            penalty = self.bans.check(session.address, session.info.peer_id, self.name)
            if penalty is not None and penalty.action is Action.BAN:
                session.close("banned", penalty.reason)

    def plugin_failed(self, label: str, where: str, failure: Failure) -> None:
        """A plugin raised: log it with its name, count it, go on."""
        self._plugin_errors.add(1, label, where)
        self.log.failure("plugin {plugin} failed in {where}", failure=failure, plugin=label, where=where)

    def call_plugin(
        self, label: str, where: str, otherwise: T, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a plugin; what it raises is logged with its name and counted, and `otherwise` is the answer."""
        try:
            return method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - a plugin that raises never takes the node down
            self.plugin_failed(label, where, Failure())
            return otherwise

    def over_budget(self) -> None:
        """A session's reading pauses, its budget being spent."""
        self._over_budget.add(1)

    def send_paused(self) -> None:
        """A session's reading pauses, as its peer does not read."""
        self._send_pauses.add(1)

    def close_cut_short(self) -> None:
        """A closing session is hung up on: its peer took too long."""
        self._cut_short.add(1)

    def shed_queues(self) -> None:
        """Unsent bytes of all sessions are over the bound: end the session that has most of them."""
        worst = max(self.sessions.values(), key=lambda s: s.queued, default=None)
        if worst is not None and worst.queued:
            self._shed.add(1)
            worst.abort("does-not-read", f"{worst.queued} of {self.queued} unsent bytes (limits.send_buffers_total)")

    def shed_unread(self) -> None:
        """Unprocessed bytes of all sessions are over the bound.

        End the one that has most, of those who dialled us first.
        """
        worst = max(self.sessions.values(), key=lambda s: (not s.protected, s.inbound, s.unread), default=None)
        if worst is not None and worst.unread:
            self._unread_shed.add(1)
            worst.abort(
                "half-messages", f"{worst.unread} of {self.unread} unprocessed bytes (limits.receive_buffers_total)"
            )

    def connected_to(self, address: PeerAddress) -> bool:
        """Whether there is a session with that address (dialled, or inbound from its very port)."""
        return address in self._connected

    def _disconnected(self, address: PeerAddress) -> None:
        count = self._connected.pop(address, 1) - 1
        if count:
            self._connected[address] = count

    def transport_for(self, address: PeerAddress) -> ITransport | None:
        """The first transport that dials such an address."""
        for via in self.parts.transports:
            if self.call_plugin(f"transport.{via.name}", "can_dial", False, via.can_dial, address):
                return via
        return None

    # --- views ---

    def slots(self) -> dict[Slot, int]:
        """How many sessions of each class the topology allows."""
        topology = self.topology
        if topology is None:
            return {}
        none: Mapping[Slot, int] = {}
        return dict(self.call_plugin("topology", "slots", none, topology.slots))

    def open_sessions(self) -> dict[Slot, int]:
        """How many sessions of each class are open."""
        used = dict.fromkeys(Slot, 0)
        for session in self.sessions.values():
            if session.state == "open":
                used[session.slot] += 1
        return used

    def scores_of(self, session: SessionId) -> tuple[tuple[Score, bool], ...]:
        """The latest scores of a session, each with whether it counts."""
        return self.standing.scores(session)

    def is_sole_source(self, session: Session) -> bool:
        """Whether nobody else has lately brought what this peer brings: the last useful source is never rotated out."""
        if not session.useful_count:
            return False
        return not any(other.useful_count for other in self.sessions.values() if other is not session)

    def view(self, dialled_only: bool = False) -> TopologyView:
        """What the topology decides on."""
        sessions = tuple(
            s.snapshot()
            for s in self.sessions.values()
            if not s.closing and s.visiting is None and not (dialled_only and s.inbound)
        )
        stale = self.call_plugin(f"protocol.{self.protocol_name}", "stale", False, self.protocol.stale)
        return TopologyView(self.clock.seconds(), sessions, self.dialer.under_way, stale, self.book.size)

    def snapshots(self) -> Iterator[SessionSnapshot]:
        """Every session, by id."""
        for session in self.sessions.values():
            yield session.snapshot()

    def story(self, session: SessionId) -> SessionStory | None:
        """How a session went, live or ended; None where nothing is known of it any more."""
        held, now = self.sessions.get(session), self.clock.seconds()
        return self.stories.of(session, now) if held is None else story_of(held, now)

    def describe(self) -> NetworkView:
        """The network at a glance."""
        allowed, used = self.slots(), self.open_sessions()
        status = self.protocol.status() if IStatus.providedBy(self.protocol) else {}
        messages = self._traffic.messages([one.counters for one in self.sessions.values()], self.datagram_gates)
        rates = [session.story.rates for session in self.sessions.values()]
        rates += [gate.rates for gate in self.datagram_gates]
        return NetworkView(
            self.name,
            self.protocol_name,
            tuple(self.ports.places),
            {slot: (used[slot], allowed.get(slot, 0)) for slot in Slot},
            self.book.counts,
            status,
            messages,
            self.finder.status(),
            self.book.sources(),
            tuple(self.protocol.topics),
            sum(one.bytes_in for one in rates),
            sum(one.bytes_out for one in rates),
        )

    def count_traffic(self) -> None:
        """Bring the metrics of messages and bytes up to now: before they are read, and for the last time at the end."""
        self._traffic.count([one.counters for one in self.sessions.values()], self.datagram_gates)

    def address_groups(self) -> AddressGroups:
        """The address book by netgroup and by age."""
        return self._survey.latest()

    def _inbound_slots(self) -> tuple[int, int]:
        used = sum(1 for session in self.sessions.values() if session.inbound)
        return used, self.slots().get(Slot.INBOUND, 0)

    # --- the scheduler's hands ---

    def request(self, session: SessionId, topic: Topic, ids: list[ItemId]) -> None:
        """Ask a peer for items: the scheduler decided."""
        held = self.sessions.get(session)
        link = held.link(topic) if held is not None else None
        if held is None or link is None:
            for id in ids:
                self.scheduler.failed(topic, id, session)
            return
        link.request(ids)

    def request_timed_out(self, session: SessionId, topic: Topic, id: ItemId) -> None:
        """A request was not answered in time: a fact."""
        held = self.sessions.get(session)
        if held is not None and not held.closing:
            held.fact(Fact("timeout", evidence=f"{topic} {id[::-1].hex()[:16]} not given in time", proven=True))
