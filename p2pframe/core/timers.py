"""What a network does by the clock: dials, looks for peers, deadlines of sessions, scores, rotation.

One timer a job and none a session: ten thousand idle sessions cost a walk over them every `limits.tick`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from p2pframe.interfaces import IHoldsPeers
from p2pframe.model import Drop, Slot

if TYPE_CHECKING:
    from p2pframe.core.network import Network

_DISCOVER_INTERVAL = 1.0
_ROTATE_INTERVAL = 10.0


class _Repeated:
    """A call every `interval` seconds: a LoopingCall without the Deferred that it makes for each round."""

    __slots__ = ("_call", "_interval", "_name", "_network", "_waiting")

    def __init__(self, network: Network, interval: float, call: Callable[[], None], name: str) -> None:
        self._network = network
        self._interval = interval
        self._call = call
        self._name = name
        self._waiting: IDelayedCall | None = network.clock.callLater(interval, self._run)

    def stop(self) -> None:
        """Call no more."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _run(self) -> None:
        self._waiting = self._network.clock.callLater(self._interval, self._run)
        try:
            self._call()
        except Exception:  # noqa: BLE001 - a timer of core's own has no business failing: say so, and keep it going
            self._network.log.failure("the timer {name} failed; it goes on", name=self._name)


class Timers:
    """The timers of one network. `flush` is called with each tick: the log lines that are due by then."""

    def __init__(self, network: Network, flush: Callable[[float], None]) -> None:
        self._network = network
        self._flush = flush
        self._timers: list[_Repeated] = []
        self._started = 0.0
        self._sessions = network.metrics.gauge("sessions", "Open sessions by class.", ("slot",))

    def start(self) -> None:
        """The network is open."""
        self._started = self._network.clock.seconds()
        self.restart()

    def restart(self) -> None:
        """Run every timer, at the interval that the network's limits say now."""
        self.stop()
        limits = self._network.limits
        self._every(_DISCOVER_INTERVAL, self._discover, "discovery")
        self._every(limits.tick, self._tick, "tick")
        if self._network.parts.transports:
            # Where there are no connections nobody is dialled, scored or rotated.
            self._every(limits.dial_interval, self._network.dialer.step, "dialer")
            self._every(limits.score_interval, self._score, "score")
            self._every(_ROTATE_INTERVAL, self._rotate, "rotate")

    def stop(self) -> None:
        """End them all."""
        for timer in self._timers:
            timer.stop()
        self._timers.clear()

    def _every(self, interval: float, call: Callable[[], None], name: str) -> None:
        self._timers.append(_Repeated(self._network, interval, call, name))

    def _tick(self) -> None:
        now = self._network.clock.seconds()
        self._flush(now)
        for session in list(self._network.sessions.values()):
            session.story.rates.step(session.counters, now)
            session.tick(now)
        for gate in self._network.datagram_gates:
            gate.tick(now)

    def _score(self) -> None:
        network = self._network
        now = network.clock.seconds()
        for session in list(network.sessions.values()):
            if session.state == "open":
                network.sample(session, now)
        for slot, count in network.open_sessions().items():
            self._sessions.set(count, slot.value)

    def _rotate(self) -> None:
        network, topology = self._network, self._network.topology
        if topology is None:
            return
        view = network.view(dialled_only=True)
        none: Sequence[Drop] = ()
        for drop in network.call_plugin("topology", "rotate", none, topology.rotate, view):
            session = network.sessions.get(drop.session)
            if session is not None and not session.protected:
                session.close(drop.reason, drop.evidence)

    def _discover(self) -> None:
        network, protocol = self._network, self._network.protocol
        uptime = network.clock.seconds() - self._started
        if IHoldsPeers.providedBy(protocol):
            network.finder.step(uptime, protocol.held, protocol.wanted)
            return
        slots, used = network.slots(), network.open_sessions()
        wanted = slots.get(Slot.OUTBOUND, 0) + slots.get(Slot.BLOCK_RELAY, 0)
        network.finder.step(uptime, used[Slot.OUTBOUND] + used[Slot.BLOCK_RELAY], wanted)
