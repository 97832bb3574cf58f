"""What is wrong, or odd, with a node as it shows itself: judged from snapshots and numbers alone, at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from p2pframe.interfaces import Alert
from p2pframe.interfaces.node import NetworkView
from p2pframe.model import SessionSnapshot, Slot

Numbers = Mapping[str, Mapping[tuple[str, ...], float]]
"""What `INodeView.numbers` gives."""

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
"""Seconds that a beat of the reactor was late, in the last minute."""
LOW_DISK = 5
"""Times the floor of free space under which it is time to make room."""


def of_node(networks: Sequence[NetworkView], numbers: Numbers) -> Iterator[Alert]:
    """What is not of one network."""
    if not networks:
        yield Alert(
            "no-network", True, "", "No network is up.",
            "Look in the log for the reason, mend the config and reload it (SIGHUP).",
        )  # fmt: skip
    lag = numbers.get("p2pframe_reactor_lag_seconds", {}).get(("",), 0.0)
    if lag > LAG:
        yield Alert(
            "reactor-lag", False, "", f"The reactor was {lag:.1f} s late in the last minute: something blocks it.",
            "The log names the plugin that held it (reactor_blocked_total); more CPU, or lower limits.",
        )  # fmt: skip
    yield from _of_disk(numbers)


def _of_disk(numbers: Numbers) -> Iterator[Alert]:
    free = numbers.get("p2pframe_storage_free_bytes", {}).get(("",))
    floor = numbers.get("p2pframe_storage_floor_bytes", {}).get(("",))
    if free is None or floor is None:
        return  # an engine that keeps nothing on a disk
    if free <= floor:
        yield Alert(
            "disk-full", True, "",
            f"The disk of the storage has {_megabytes(free)} free: nothing is stored under {_megabytes(floor)}.",
            "Make room on it, move the data directory, or lower `storage.free_space`.",
        )  # fmt: skip
    elif free < LOW_DISK * floor:
        yield Alert(
            "disk-low", False, "",
            f"The disk of the storage has {_megabytes(free)} free: under {_megabytes(floor)} nothing will be stored.",
            "Make room on it before that (`prune`, other files), or move the data directory.",
        )  # fmt: skip


def of_network(network: NetworkView, uptime: float) -> Iterator[Alert]:
    """Whether it is connected, and whom it knows."""
    name = network.name
    dialled = sum(network.slots.get(slot, (0, 0))[0] for slot in DIALLED)
    allowed = network.slots.get(Slot.OUTBOUND, (0, 0))[1]
    # Who looks for nobody and knows nobody waits to be dialled.
    looks = bool(network.discovery) or any(network.book.values())
    if allowed and looks and not dialled and uptime > YOUNG:
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
    held = sum(network.book.values())
    for source, holds in network.sources.items():
        if held >= BOOK and holds.held > NEARLY_ALL * held:
            yield Alert(
                "eclipse-source", False, name,
                f"{name}: {holds.held} of {held} known addresses come from one source, {source}.",
                "Eclipse suspicion: add a second discovery, so that no source decides alone whom the node knows.",
            )  # fmt: skip


class OfSessions:
    """Whom we dialled in a network, and who behaves oddly: each session is seen, and then the alerts are asked for.

    `now` is seconds of the reactor's clock.
    """

    def __init__(self, network: str, now: float) -> None:
        self._network = network
        self._now = now
        self._groups: dict[str, int] = {}
        """Those that we dialled, by netgroup."""
        self._spies = 0
        self._some: list[str] = []

    def see(self, one: SessionSnapshot) -> None:
        """One more."""
        if one.slot in DIALLED:
            self._groups[one.netgroup] = self._groups.get(one.netgroup, 0) + 1
        if (
            one.inbound
            and self._now - one.started > SPY_AGE
            and not one.accepted_items
            and one.bytes_out > SPY_BYTES
            and one.bytes_out > SPY_RATIO * one.bytes_in
        ):
            self._spies += 1
            if self._spies <= 5:
                self._some.append(str(one.address))

    def alerts(self) -> Iterator[Alert]:
        """What those that were seen add up to."""
        network, dialled = self._network, sum(self._groups.values())
        if dialled >= ENOUGH:
            group, count = max(self._groups.items(), key=lambda pair: pair[1])
            if count * 2 > dialled:
                yield Alert(
                    "eclipse-netgroup", False, network,
                    f"{network}: {count} of the {dialled} peers that we dialled are of one netgroup, {group}.",
                    "Eclipse suspicion: compare the tip elsewhere; ban it, or add peers by another discovery.",
                )  # fmt: skip
        if self._spies:
            yield Alert(
                "spies", False, network,
                f"{network}: {self._spies} peers listen and never send: {', '.join(self._some)}.",
                "They may map the network or its transactions; ban them if there are many, or of one netgroup.",
            )  # fmt: skip


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
