"""Plays a captured conversation to a simulated node of the same config, and tells what that node made of it.

::

    replayed = replay("node.yaml", "1767225600-1-bitcoin-7.p2pcap")
    replayed.ended.reason, replayed.facts

The node is the one of the config, with all its plugins; the peer is a script. What a capture holds is what was said
inside of TLS and upgrades, so those are left out of the way between the two. A capture that began later than its
session has no handshake in it: a node of the same config makes one, and is then replaced on its connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.config import load
from p2pframe.config.settings import NetworkSpec, NodeSpec
from p2pframe.core.network import Network
from p2pframe.core.session import Session
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Event
from p2pframe.interfaces.story import SessionStory
from p2pframe.logs import clean
from p2pframe.model import Action, PeerAddress, SessionId, Slot
from p2pframe.registry import Registry
from p2pframe.sim.capture_node import addresses, fitted, plain_tcp
from p2pframe.sim.capture_peer import Captured, CapturedPeer, Pace, said_again, survey
from p2pframe.sim.capture_result import Ended, Happened, Kept, Replayed, SeenFact
from p2pframe.sim.host import Host, Incarnation
from p2pframe.sim.simulation import Simulation

ARRIVES = 10.0
"""Virtual seconds after which the peer comes: the node has started."""
STARTS = 600.0
"""Seconds in which a node has started, or will not."""
SETTLED = 5.0
"""Seconds between a handshake that was made for the capture and its first record."""
AFTER = 1.0
"""Seconds for which the node goes on after the session has ended."""
KEPT = 1000
"""Events and log lines that a result has at most, of each; the rest are counted."""


def replay(
    config: Path | str,
    capture: Path | str | Sequence[Path | str],
    *,
    seed: int = 1,
    pace: Pace = "real",
    patience: float = 5.0,
    after: float = 30.0,
    longest: float = 86_400.0,
    registry: Registry | None = None,
) -> Replayed:
    """Play a capture, or several parts of one, to a node of `config`; times are virtual seconds.

    `patience` is how long a record waits for what the node said before it then, `after` how long the session may go on
    after the last record, `longest` the time of the last record at most. Raises `CaptureError`, `ConfigError` and other
    `P2PFrameError`s that say what to do, OSError for a file that can't be read.
    """
    parts = [capture] if isinstance(capture, (Path, str)) else capture
    captured = survey([Path(part) for part in parts], longest)
    registry = Registry() if registry is None else registry
    spec, notes = fitted(load(config, registry=registry), captured, registry)
    for path, _, cut in captured.files:
        if cut:
            notes.append(f"{path.name} ends within a record: its last {cut} bytes are left out")
    simulation = Simulation(seed)
    try:
        play = _Play(simulation, captured, spec, notes)
        clock: Any = _Clock(simulation)
        with closing(said_again(captured)) as records:
            play.peer = CapturedPeer(records, clock, pace, patience)
            return play.run(seed, pace, after, longest)
    finally:
        simulation.close()


# --- the world of one replay ---


class _Play:
    """One node, one peer, one capture."""

    def __init__(self, simulation: Simulation, captured: Captured, spec: NodeSpec, notes: list[str]) -> None:
        self._simulation = simulation
        self._captured = captured
        self._spec = spec
        self._notes = notes
        self._late = captured.late
        # What the node's clock says when the first record comes is what it said then.
        simulation.epoch = max(0.0, captured.began + captured.first - ARRIVES - (SETTLED if self._late else 0.0))
        self._here = simulation.host(*addresses(spec, captured), name="node")
        address = captured.address
        ip = ip_address(address.host)
        same = ip.is_loopback or address.host in self._here.addresses
        if same and self._late:
            # A node of its own can't be on the same host: it stands beside it.
            family = ":" in address.host
            beside = PeerAddress("2001:db8:1::1" if family else "198.51.100.1", address.port)
            notes.append(f"the peer is {beside} here: it was on the node's own host, where no second node can be")
            address, same = beside, False
        self._address = address
        self._there = self._here if same else simulation.host(address.host, name="peer")
        self.peer: CapturedPeer
        self._met = False
        self._failed = ""
        self._session: SessionId | None = None
        self._closed: Event | None = None
        self._events: list[Happened] = []
        self._log: list[str] = []
        self._left_out = 0
        self._origin = 0.0

    def run(self, seed: int, pace: Pace, after: float, longest: float) -> Replayed:
        """All of it, from the node's start to a while after the last record."""
        simulation, captured, peer = self._simulation, self._captured, self.peer
        with self._watched():
            self._start(self._here, self._spec)
            if self._late:
                self._take_over()
            elif captured.slot.dialled:
                self._wait_for_node()
            else:
                self._dial_node()
            limit = simulation.clock.now + longest + after + 60.0
            over: float | None = None

            def done() -> bool:
                nonlocal over
                self._look()
                gone = peer.lost if self._session is None else self._held() is None
                if over is None and (self._failed or gone):
                    over = simulation.clock.now + AFTER
                if over is not None:
                    return simulation.clock.now >= over
                return peer.ended is not None and simulation.clock.now >= peer.ended + after

            # Looked at after each call, and at least so often.
            while simulation.clock.now < limit and not done():
                simulation.clock.run(min(simulation.clock.now + AFTER / 2, limit), done)
        if peer.error is not None:
            raise peer.error
        return self._result(seed, pace)

    def _start(self, host: Host, spec: NodeSpec) -> None:
        begun: list[object] = []
        host.start(spec).addBoth(begun.append)
        self._simulation.clock.run(self._simulation.clock.now + STARTS, lambda: begun)
        if not begun:
            raise P2PFrameError(f"{spec.path}: the node has not started after {STARTS:g} virtual seconds")
        if isinstance(begun[0], Failure):
            begun[0].raiseException()

    # --- who meets whom ---

    @property
    def _network(self) -> Network:
        assert self._here.node is not None
        return self._here.node.networks[self._captured.network]

    def _dial_node(self) -> None:
        target = self._target()
        reactor = self._awake(self._there).reactor
        self._simulation.clock.run(ARRIVES)
        source = (self._address.host, self._address.port)
        reactor.connectTCP(target.host, target.port, _Meeting(self), timeout=30, bindAddress=source)

    def _wait_for_node(self) -> None:
        # Not there before its time, should the node dial it by itself.
        self._simulation.clock.run(ARRIVES)
        reactor: Any = self._awake(self._there).reactor
        try:
            reactor.listenTCP(self._address.port, _Meeting(self), interface=self._address.host)
        except error.CannotListenError as why:
            raise P2PFrameError(f"the peer can't listen on {self._address}: {why.socketError}") from None
        self._have_dialled()

    def _have_dialled(self) -> None:
        """The node dials the peer into the slot that it had; unless it has done so by itself."""
        network, address = self._network, self._address
        if network.connected_to(address) or any(address == one for one, _ in network.dialer.under_way):
            return
        assert self._here.node is not None
        waiting: Deferred[SessionId]
        if self._captured.slot is Slot.MANUAL:
            waiting = self._here.node.control.connect(network.name, address)
        else:
            waiting = Deferred()
            network.dialer.dial(address, self._captured.slot, None, waiting)
        waiting.addErrback(self._not_met)

    def _take_over(self) -> None:
        """Have a node of the same config shake hands with ours, then speak in its place."""
        simulation, captured, address = self._simulation, self._captured, self._address
        name = captured.network
        self._notes.append(
            "the peer had been heard before this began: a node of the same config shook hands, as "
            "which agent and with which services the peer did is not said again"
        )
        dialled = captured.slot.dialled
        network = self._spec.networks[name]
        first = network.transports[0]
        plain = plain_tcp(Registry(), [address] if dialled else [], first.where)
        quiet: NetworkSpec = replace(network, transports=(plain,), discovery=(), authentication=())
        spec = replace(self._spec, networks={name: quiet}, applications=())
        if not dialled:
            self._target()
            # The port that it dials from is the one that the peer had.
            self._there._next_port = address.port
        self._start(self._there, spec)
        simulation.clock.run(ARRIVES)
        assert self._there.node is not None
        donor = self._there.node.networks[name]
        if dialled:
            self._have_dialled()
        else:
            waiting: Deferred[SessionId] = Deferred()
            donor.dialer.dial(self._target(), Slot.MANUAL, None, waiting)
            waiting.addErrback(self._not_met)

        def both_open() -> bool:
            self._look()
            mine, theirs = self._held(), _only(donor)
            return bool(self._failed) or (
                mine is not None and mine.state == "open" and theirs is not None and theirs.state == "open"
            )

        simulation.clock.run(simulation.clock.now + 120.0, both_open)
        theirs = _only(donor)
        if self._failed or theirs is None or theirs.state != "open":
            self._failed = self._failed or "it did not open within 120 s"
            raise P2PFrameError(f"no handshake could be made for the capture: {self._failed}")
        simulation.clock.run(simulation.clock.now + SETTLED)
        wire: Any = theirs.transport
        if wire is None or not wire.connected:
            raise P2PFrameError("no handshake could be made for the capture: the node ended the session at once")
        # It says no more: who writes without a transport writes nothing.
        wire.unregisterProducer()
        theirs.transport = None
        wire.protocol = self.peer
        self.met(self.peer)
        peer: Any = self.peer
        peer.makeConnection(wire)

    def _awake(self, host: Host) -> Incarnation:
        return host.incarnation or host.boot()

    def _target(self) -> PeerAddress:
        """Where the node can be dialled from where the peer is."""
        peer = ip_address(self._address.host)
        for bound in self._network.ports.bound:
            ip = ip_address(bound.host)
            if ip.version != peer.version or (ip.is_loopback and not peer.is_loopback):
                continue
            if ip.is_unspecified:
                family = ":" in self._address.host
                own = next(host for host in self._here.addresses if (":" in host) == family)
                return PeerAddress(self._address.host if peer.is_loopback else own, bound.port)
            return bound
        raise P2PFrameError(
            f"{self._spec.path}: network {self._captured.network!r} listens nowhere that {self._address} could have "
            f"dialled: have it listen on {'[::]' if peer.version == 6 else '0.0.0.0'} in a copy of the file"
        )

    def met(self, peer: CapturedPeer) -> None:
        """The connection is there."""
        self._met = True
        self._origin = self._simulation.clock.now

    @property
    def taken(self) -> bool:
        """Whether the peer has its connection."""
        return self._met

    def not_met(self, why: str) -> None:
        """There will be no connection."""
        self._failed = self._failed or why

    def _not_met(self, failure: Failure) -> None:
        if not self._met:
            self.not_met(failure.getErrorMessage())

    # --- what the node does ---

    def _look(self) -> None:
        """Find the session, as soon as there is one: of one that never opens no event tells the beginning."""
        if self._session is None:
            for session in self._network.sessions.values():
                if session.address == self._address:
                    self._session = session.id

    def _held(self) -> Session | None:
        return self._network.sessions.get(self._session) if self._session is not None else None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Hear of the node's events and log."""
        ours = self._simulation.prepared

        def prepared(host: Host) -> None:
            if host is self._here and host.node is not None:
                host.node.events.subscribe(self._event)

        ours.append(prepared)
        observer = _Warnings(self)
        globalLogPublisher.addObserver(observer)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(observer)

    def _event(self, event: Event) -> None:
        if event.kind == "session.closed" and event.address == self._address and event.session == self._session:
            self._closed = event
        if event.network == self._captured.network and event.kind != "session.opened":
            if len(self._events) >= KEPT:
                self._left_out += 1
                return
            word = partial(_word, event.fields)
            self._events.append(
                Happened(
                    self._simulation.clock.now, event.kind, str(event.address or ""),
                    word("action"), word("rule"), word("reason"), word("evidence"),
                )
            )  # fmt: skip

    def line(self, event: LogEvent) -> None:
        """A line of the log, warning or above."""
        owner = self._simulation.clock.current
        if isinstance(owner, Incarnation) and owner.host is not self._here:
            return
        if len(self._log) >= KEPT:
            self._left_out += 1
            return
        failure = event.get("log_failure")
        text = formatEvent(event) + (f": {failure.type.__name__}: {failure.getErrorMessage()}" if failure else "")
        level = event["log_level"].name
        self._log.append(clean(f"{level}: {text}"))

    def _since(self, time: float) -> float:
        return round(time - self._origin, 6)

    def _result(self, seed: int, pace: Pace) -> Replayed:
        captured, peer, node = self._captured, self.peer, self._here.node
        assert node is not None
        if not self._met:
            self._origin = self._simulation.clock.now
            self._notes.append(f"there was no connection: {clean(self._failed) or 'the node did not dial'}")
        result = Replayed(
            captured.network, str(self._address), captured.slot.value, clean(captured.agent), captured.began,
            captured.records, captured.seconds, seed, pace, self._notes, peer.played, peer.said, peer.heard,
            captured.answered, peer.impatient,
        )  # fmt: skip
        result.events = [replace(one, seconds=self._since(one.seconds)) for one in self._events]
        result.penalties = [
            Kept(
                one.subject, one.scope, one.action.name.lower(), clean(one.rule), clean(one.reason), clean(one.evidence)
            )
            for one in node.view.penalties()
            if one.action is not Action.ALLOW
        ]
        result.log, result.left_out = self._log, self._left_out
        story = node.view.story(captured.network, self._session) if self._session is not None else None
        if story is not None:
            self._tell(result, story)
        elif self._closed is not None:
            # There is no story of a feeler, which is over as soon as it opens.
            fields, word = self._closed.fields, partial(_word, self._closed.fields)
            when = self._since(self._closed.time - self._simulation.epoch)
            result.session = "closed"
            result.ended = Ended(when, word("reason"), word("evidence"), fields.get("opened") is True)
        result.trace = self._simulation.finish()
        return result

    def _tell(self, result: Replayed, story: SessionStory) -> None:
        session = story.session
        result.session = "closed" if story.ended is not None else session.state
        result.score = session.score
        result.messages_in = {clean(kind): count for kind, count in sorted(session.messages_in.items())}
        result.messages_out = {clean(kind): count for kind, count in sorted(session.messages_out.items())}
        if story.ended is not None:
            result.ended = Ended(
                self._since(story.ended), clean(story.reason), clean(story.evidence), session.opened > 0
            )
        result.facts = [
            SeenFact(
                self._since(one.time), clean(one.fact.kind), clean(one.fact.evidence), one.times, one.fact.proven,
                one.action, one.rule, one.effect,
            )
            for one in story.facts
        ]  # fmt: skip


def _only(network: Network) -> Session | None:
    """The one session of the node that lends its handshake."""
    return next(iter(network.sessions.values()), None)


def _word(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key, "")
    return clean(value) if isinstance(value, str) else ""


class _Meeting(ClientFactory):
    """Makes the peer of the first connection, and turns away the others."""

    noisy = False

    def __init__(self, play: _Play) -> None:
        self._play = play

    def buildProtocol(self, addr: IAddress | None) -> CapturedPeer | None:
        """Called for each connection."""
        if self._play.taken:
            return None
        self._play.met(self._play.peer)
        return self._play.peer

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """See ClientFactory."""
        self._play.not_met(reason.getErrorMessage())


@implementer(ILogObserver)
class _Warnings:
    """Lines of the log that a person ought to see."""

    def __init__(self, play: _Play) -> None:
        self._play = play

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            self._play.line(event)


class _Clock:
    """Time for who plays the peer, whichever host it is on."""

    def __init__(self, simulation: Simulation) -> None:
        self._clock = simulation.clock

    def seconds(self) -> float:
        """See IReactorTime."""
        return self._clock.now

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> Any:
        """See IReactorTime."""
        return self._clock.call_for(None, delay, callable, args, kw)


__all__ = ["Replayed", "replay"]
