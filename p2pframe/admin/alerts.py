"""What an operator should look at, in words, each with what to do about it, and since when it holds. No I/O.

Critical ones make the node unhealthy (`/readyz`); the others are suspicions. What holds is judged from what the node
shows, by `suspicions`, `bursts` and `quiet` and by plugins of the node (`IAlerts`), also while nobody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.admin import suspicions
from p2pframe.admin.bursts import Bursts
from p2pframe.admin.quiet import Silences
from p2pframe.admin.slices import Slices
from p2pframe.interfaces import Alert, IAlerts, IContext, INodeView, NetworkView

LOOK = 15.0
"""Seconds between judgements while nobody asks."""
SESSIONS = 30.0
"""Seconds that what is judged of single sessions stands: their snapshots are what costs, 10 ms for 1000 of them, over
several turns of the reactor."""
FRESH = 1.0
"""Seconds that a judgement stands."""
PAST = 100
"""Alerts that are over which are remembered."""
OF_PLUGIN = 20
LONGEST = 1000
"""Alerts of one plugin, and characters of a sentence of theirs."""
_log = Logger(namespace="p2pframe.admin")


class Held(NamedTuple):
    """An alert that holds: `since`, seconds of the reactor's clock, and `began`, unix seconds."""

    alert: Alert
    since: float
    began: float


class Over(NamedTuple):
    """An alert that held from `began` to `ended`, unix seconds, as it was last said."""

    alert: Alert
    began: float
    ended: float


class Alerts:
    """Judges a node, and remembers what held."""

    def __init__(self, view: INodeView, context: IContext) -> None:
        self._view = view
        self._context = context
        self._reactor = context.reactor
        self._started = context.reactor.seconds()
        self._bursts = Bursts()
        self._silences = Silences()
        self._judged: float | None = None
        self._found: list[tuple[str, Alert]] = []
        """What was judged last, each with who says it: a plugin's label, empty for us. Without single sessions."""
        self._networks: list[str] = []
        self._of_sessions: list[Alert] = []
        self._sessions_judged: float | None = None
        self._looking: Deferred[None] | None = None
        """The look over the sessions that is under way."""
        self._held: dict[tuple[str, str, str, int], Held] = {}
        """By who said it, name, network, and which of several with these it is."""
        self._over: deque[Over] = deque(maxlen=PAST)
        self._failed: dict[str, None] = {}
        """Plugins whose failure has been logged: it would be so every few seconds."""
        self._timer: LoopingCall | None = None
        self._gauge = context.metrics.gauge("alerts", "Whether an alert holds: 1 or 0.", ["alert", "of", "severity"])
        self._raised = context.metrics.counter("alerts_raised_total", "Alerts that began to hold.", ["alert"])

    def start(self) -> None:
        """Look from now on, every few seconds."""
        self._timer = LoopingCall(self.look)
        self._timer.clock = self._reactor
        self._timer.start(LOOK).addErrback(self._timer_failed)

    def stop(self) -> None:
        """No more; a look that is under way is left."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        timer, self._timer = self._timer, None
        if timer is not None and timer.running:
            timer.stop()

    def look(self) -> None:
        """Take a sample of what is judged over time, and judge; the sessions one by one, and over turns if need be."""
        clock, slices = self._reactor.seconds(), Slices(self._reactor)
        networks, numbers = self._view.networks(), self._view.numbers()
        names = [one.name for one in networks]
        self._bursts.sample(names, numbers, clock)
        say = [label for label, _ in self._view.providers(IAlerts)]
        # A protocol with alerts of its own knows better when news is due.
        mute = [one for one in names if not any(label.startswith(f"{one}: protocol.") for label in say)]
        self._silences.sample(mute, numbers, clock)
        self._judge(networks, numbers, clock)
        old = self._sessions_judged is None or not 0 <= clock - self._sessions_judged < SESSIONS
        if old and self._looking is None:
            self._looking = looking = Deferred.fromCoroutine(self._look_over_sessions(names, clock, slices))
            looking.addErrback(self._left).addBoth(self._looked)

    def held(self) -> Sequence[Held]:
        """Those that hold, the critical ones first; judged anew after a second: /readyz is for anybody, at any rate.

        Of single sessions it is what was found at the last look: nobody who asks makes the node look.
        """
        clock = self._reactor.seconds()
        if self._judged is None or not 0 <= clock - self._judged < FRESH:
            self._judge(self._view.networks(), self._view.numbers(), clock)
        return sorted(self._held.values(), key=lambda one: not one.alert.critical)

    def now(self) -> Sequence[Alert]:
        """The same, without since when."""
        return [one.alert for one in self.held()]

    def over(self) -> Sequence[Over]:
        """Those that held, the latest to end first."""
        return list(reversed(self._over))

    def reasons(self) -> list[str]:
        """Why the node is not healthy; empty where it is."""
        return [alert.text for alert in self.now() if alert.critical]

    def _judge(self, networks: Sequence[NetworkView], numbers: suspicions.Numbers, clock: float) -> None:
        self._judged = clock
        ours = [*suspicions.of_node(networks, numbers), *self._bursts.alerts(), *self._silences.alerts(clock)]
        for network in networks:
            ours += suspicions.of_network(network, clock - self._started)
        self._networks = [one.name for one in networks]
        self._found = [("", one) for one in ours]
        for label, plugin in self._view.providers(IAlerts):
            self._found += [(label, one) for one in self._of_plugin(label, plugin)]
        self._keep(clock)

    async def _look_over_sessions(self, networks: Sequence[str], clock: float, slices: Slices) -> None:
        """Those that there are now, of each network; who has ended when it is their turn is passed over."""
        found: list[Alert] = []
        for name, sessions in [(name, self._view.each_session(name)) for name in networks]:
            judged = suspicions.OfSessions(name, clock)
            for one in sessions:
                judged.see(one)
                if slices.over:
                    await slices.next_turn()
            found += judged.alerts()
        self._of_sessions, self._sessions_judged = found, clock
        self._keep(self._reactor.seconds())

    def _left(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("looking over the sessions for alerts failed; it goes on", failure=failure)

    def _looked(self, result: None) -> None:
        self._looking = None

    def _keep(self, clock: float) -> None:
        time = self._context.unix_time()
        of_sessions = [("", one) for one in self._of_sessions if one.network in self._networks]
        held: dict[tuple[str, str, str, int], Held] = {}
        for origin, alert in [*self._found, *of_sessions]:
            number = sum(one[:3] == (origin, alert.name, alert.network) for one in held)
            key = (origin, alert.name, alert.network, number)
            before = self._held.get(key)
            held[key] = Held(alert, before.since, before.began) if before is not None else Held(alert, clock, time)
        for key, gone in self._held.items():
            self._gauge.set(0, *_labels(gone.alert))
            if key not in held:
                self._over.append(Over(gone.alert, gone.began, time))
        for key, one in held.items():
            self._gauge.set(1, *_labels(one.alert))
            if key not in self._held:
                self._raised.add(1, _labels(one.alert)[0])
        self._held = held

    def _of_plugin(self, label: str, plugin: IAlerts) -> list[Alert]:
        try:
            return [
                Alert(
                    str(one.name)[:100], bool(one.critical), str(one.network)[:100], str(one.text)[:LONGEST],
                    str(one.runbook)[:LONGEST],
                )
                for one in list(plugin.alerts())[:OF_PLUGIN]
            ]  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a plugin's mistake hides no other alert
            if label not in self._failed:
                self._failed[label] = None
                _log.failure("{plugin} could not say its alerts", plugin=label)
            return [
                Alert(
                    "plugin", False, "", f"{label} could not say its alerts: {type(error).__name__}.",
                    "The log has the whole of it; tell whoever wrote the plugin.",
                )
            ]  # fmt: skip

    def _timer_failed(self, failure: Failure) -> None:
        _log.failure("looking for alerts failed; it goes on", failure=failure)
        if self._timer is not None:
            self._timer.start(LOOK, now=False).addErrback(self._timer_failed)


def _labels(alert: Alert) -> tuple[str, str, str]:
    """For a metric: a plugin's words may be of any letters, and half ones have no UTF-8."""
    return (
        alert.name.encode("ascii", "backslashreplace").decode(),
        alert.network.encode("ascii", "backslashreplace").decode(),
        "critical" if alert.critical else "warning",
    )
