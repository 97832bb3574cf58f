"""What an operator should look at, in words, each with what to do about it. No I/O: judged from what the node shows.

Critical ones make the node unhealthy (`/readyz`); the others are suspicions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.logger import Logger

from p2pframe.interfaces import Alert, IAlerts, INodeView
from p2pframe.interfaces.node import NetworkView
from p2pframe.model import SessionSnapshot, Slot

YOUNG = 60.0
"""Seconds after the start in which a node without peers is only young."""
DIALLED = (Slot.OUTBOUND, Slot.BLOCK_RELAY, Slot.MANUAL)
ENOUGH = 4
"""Dialled peers from which on it is odd that one netgroup has most of them."""
BOOK = 100
"""Addresses from which on it is odd that one source told of nearly all."""
NEARLY_ALL = 0.9
SPY_AGE = 600.0
SPY_BYTES = 1_000_000
"""Seconds, and bytes that it was sent, from which on it is odd that a peer has brought nothing."""
SPY_RATIO = 50
LAG = 0.5
"""Seconds that the reactor's latest beat was late."""
FRESH = 1.0
"""Seconds that a judgement stands."""
OF_PLUGIN = 20
LONGEST = 1000
"""Alerts of one plugin, and characters of a sentence of theirs."""
_log = Logger(namespace="p2pframe.admin")


class Alerts:
    """Judges a node. `clock` gives the reactor's seconds, `uptime` those since the start."""

    def __init__(self, view: INodeView, clock: Callable[[], float], uptime: Callable[[], float]) -> None:
        self._view = view
        self._clock = clock
        self._uptime = uptime
        self._judged: tuple[float, list[Alert]] | None = None
        self._failed: dict[str, None] = {}
        """Plugins whose failure has been logged: it would be so every few seconds."""

    def now(self) -> Sequence[Alert]:
        """All of them, the critical ones first; judged anew after a second: /readyz is for anybody, at any rate."""
        clock = self._clock()
        if self._judged is None or not 0 <= clock - self._judged[0] < FRESH:
            self._judged = clock, self._judge()
        return self._judged[1]

    def _judge(self) -> list[Alert]:
        networks = self._view.networks()
        found = list(self._of_node(networks))
        for network in networks:
            sessions = self._view.sessions(network.name)
            found += self._of_network(network, sessions)
            found += self._of_sessions(network.name, sessions)
        for label, plugin in self._view.providers(IAlerts):
            found += self._of_plugin(label, plugin)
        return sorted(found, key=lambda alert: not alert.critical)

    def reasons(self) -> list[str]:
        """Why the node is not healthy; empty where it is."""
        return [alert.text for alert in self.now() if alert.critical]

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

    def _of_node(self, networks: Sequence[NetworkView]) -> Iterator[Alert]:
        if not networks:
            yield Alert(
                "no-network", True, "", "No network is up.",
                "Look in the log for the reason, mend the config and reload it (SIGHUP).",
            )  # fmt: skip
        lag = self._view.numbers().get("p2pframe_reactor_lag_seconds", {}).get(("",), 0.0)
        if lag > LAG:
            yield Alert(
                "reactor-lag", False, "", f"The reactor's latest beat was {lag:.1f} s late: something blocks it.",
                "The log names the plugin that held it (reactor_blocked_total); more CPU, or lower limits.",
            )  # fmt: skip

    def _of_network(self, network: NetworkView, sessions: Sequence[SessionSnapshot]) -> Iterator[Alert]:
        name = network.name
        dialled = [one for one in sessions if one.slot in DIALLED]
        allowed = network.slots.get(Slot.OUTBOUND, (0, 0))[1]
        if allowed and not dialled and self._uptime() > YOUNG:
            yield Alert(
                "no-peers", True, name, f"{name}: none of the {allowed} peers that it wants to dial is connected.",
                "See Discovery for errors, and whether a firewall lets connections out.",
            )  # fmt: skip
        failing = [f"{one} ({how.error})" for one, how in network.discovery.items() if how.failures and how.error]
        if failing and len(failing) == len(network.discovery) and not any(network.book.values()):
            yield Alert(
                "no-addresses", True, name,
                f"{name}: no address is known, and every discovery fails: {'; '.join(failing)}.",
                "Mend what the errors say, or name a peer in a `static` discovery.",
            )  # fmt: skip
        groups: dict[str, int] = {}
        for one in dialled:
            groups[one.netgroup] = groups.get(one.netgroup, 0) + 1
        if len(dialled) >= ENOUGH:
            group, count = max(groups.items(), key=lambda pair: pair[1])
            if count * 2 > len(dialled):
                yield Alert(
                    "eclipse-netgroup", False, name,
                    f"{name}: {count} of the {len(dialled)} peers that we dialled are of one netgroup, {group}.",
                    "Eclipse suspicion: compare the tip elsewhere; ban it, or add peers by another discovery.",
                )  # fmt: skip
        held = sum(network.book.values())
        for source, holds in network.sources.items():
            if held >= BOOK and holds.held > NEARLY_ALL * held:
                yield Alert(
                    "eclipse-source", False, name,
                    f"{name}: {holds.held} of {held} known addresses come from one source, {source}.",
                    "Eclipse suspicion: add a second discovery, so that no source decides alone whom the node knows.",
                )  # fmt: skip

    def _of_sessions(self, network: str, sessions: Sequence[SessionSnapshot]) -> Iterator[Alert]:
        now = self._clock()
        spies = [
            one
            for one in sessions
            if one.inbound
            and now - one.started > SPY_AGE
            and not one.accepted_items
            and one.bytes_out > SPY_BYTES
            and one.bytes_out > SPY_RATIO * one.bytes_in
        ]
        if spies:
            some = ", ".join(str(one.address) for one in spies[:5])
            yield Alert(
                "spies", False, network, f"{network}: {len(spies)} peers listen and never send: {some}.",
                "They may map the network or its transactions; ban them if there are many, or of one netgroup.",
            )  # fmt: skip
