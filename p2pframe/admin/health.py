"""Whether the node is well, in words: what a glance at the overview, and /readyz, are for. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from p2pframe.interfaces import INodeView
from p2pframe.interfaces.node import NetworkView
from p2pframe.model import Slot

YOUNG = 60.0
"""Seconds after the start in which a node without peers is only young."""


class Health:
    """Reasons why the node is not well. `uptime` gives seconds."""

    def __init__(self, view: INodeView, uptime: Callable[[], float]) -> None:
        self._view = view
        self._uptime = uptime

    def reasons(self) -> list[str]:
        """One sentence each; none where all is well."""
        networks = self._view.networks()
        if not networks:
            return ["no network is up"]
        return [reason for network in networks for reason in self._of(network)]

    def _of(self, network: NetworkView) -> list[str]:
        reasons = []
        used, allowed = network.slots.get(Slot.OUTBOUND, (0, 0))
        if allowed and not used and self._uptime() > YOUNG:
            reasons.append(f"{network.name}: none of the {allowed} peers that it wants to dial is connected")
        failing = [
            f"{name} ({status.error})" for name, status in network.discovery.items() if status.failures and status.error
        ]
        if failing and len(failing) == len(network.discovery) and not any(network.book.values()):
            reasons.append(f"{network.name}: no address is known, and every discovery fails: {'; '.join(failing)}")
        return reasons
