"""The network between hosts: who has which address, what lies between two hosts, and who cannot reach whom now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pframe.sim.links import LinkConfig, Links, Path

if TYPE_CHECKING:
    from p2pframe.sim.host import Host
    from p2pframe.sim.nat import Nat


@dataclass(frozen=True, eq=False)
class Change:
    """Links in the place of the usual ones, from some hosts to others, by their numbers."""

    sources: frozenset[int]
    targets: frozenset[int]
    link: LinkConfig


class Network:
    """Routes by address. Cuts are silent: what is sent over one neither arrives nor is refused."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.names: dict[str, tuple[str, ...]] = {}
        """What the hosts' resolvers answer: addresses by lower-case name."""
        self.name_delay = 0.02
        """Seconds that a look-up takes."""
        self.nats: dict[str, Nat] = {}
        """By public address."""
        self.lans: dict[str, list[Host]] = {}
        self.cuts: dict[tuple[int, int], int] = {}
        """How many cuts lie on the way between two hosts, by their numbers; no entry where there is none."""
        self.partitions: list[Mapping[int, int]] = []
        """Of each, the side of a host by its number."""
        self.mended: list[Callable[[], None]] = []
        """Called once when something may be reachable again: streams that wait for it."""
        self._hosts: dict[str, Host] = {}
        self._behind: dict[tuple[str, str], Host] = {}
        self._paths: dict[tuple[int, int], Path] = {}
        self._numbered: list[Host] = []
        self._changes: list[Change] = []

    def add(self, host: Host) -> None:
        """Take a host in. Raises ValueError for an address that another one has."""
        for address in host.addresses:
            if host.nat is not None:
                key = (host.nat.public, address)
                if key in self._behind:
                    raise ValueError(f"{address} behind {host.nat.public} is {self._behind[key].name}'s")
                self._behind[key] = host
                self.nats[host.nat.public] = host.nat
            elif address in self._hosts:
                raise ValueError(f"{address} is {self._hosts[address].name}'s")
            else:
                self._hosts[address] = host
        if host.lan:
            self.lans.setdefault(host.lan, []).append(host)
        self._numbered.append(host)

    def find(self, address: str) -> Host | None:
        """The host of a public address, None where there is none (or a NAT)."""
        return self._hosts.get(address)

    def route(
        self, kind: str, source: Host, address: str, port: int, sender: tuple[str, int], now: float
    ) -> tuple[Host, str, int] | None:
        """Where what `source` sends to (address, port) goes: a host, and the address and port as that host knows it.

        `sender` is the sender as the target sees it: NATs look at it. None: to nobody.
        """
        nat = self.nats.get(address)
        if nat is not None:
            inside = nat.inbound(kind, port, sender, now)
            if inside is None:
                return None
            host = self._behind.get((nat.public, inside[0]))
            return None if host is None else (host, inside[0], inside[1])
        if source.nat is not None:
            host = self._behind.get((source.nat.public, address))
            if host is not None:
                return host, address, port
        host = self._hosts.get(address)
        return None if host is None else (host, address, port)

    def ahead(self, kind: str, source: Host, address: str, port: int, now: float) -> Host | None:
        """Whom a datagram sent now is on its way to. Whether a NAT lets it in shows when it is there: see `route`."""
        nat = self.nats.get(address)
        if nat is not None:
            inside = nat.holder(kind, port, now)
            return None if inside is None else self._behind.get((nat.public, inside[0]))
        if source.nat is not None and (source.nat.public, address) in self._behind:
            return self._behind[source.nat.public, address]
        return self._hosts.get(address)

    def seen_as(
        self, kind: str, source: Host, own: tuple[str, int], target: tuple[str, int], now: float
    ) -> tuple[str, int] | None:
        """A sender's address and port as the target will see it; None where its NAT has no room for another mapping."""
        nat = source.nat
        if nat is None or (nat.public, target[0]) in self._behind:
            return own
        return nat.outbound(kind, own, target, now)

    def path(self, source: Host, target: Host) -> Path:
        """What lies between two hosts, one way; drawn once from the seed."""
        key = (source.number, target.number)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = self.links.path(source, target, self._changed(key))
        return path

    def change(self, change: Change) -> None:
        """Put other links in the place of the usual ones, also of connections that there are."""
        self._changes.append(change)
        self._paths_again(change)

    def change_back(self, change: Change) -> None:
        """End a change; where another one is left, the last of these holds."""
        self._changes.remove(change)
        self._paths_again(change)

    def _changed(self, key: tuple[int, int]) -> LinkConfig | None:
        for change in reversed(self._changes):
            if key[0] in change.sources and key[1] in change.targets:
                return change.link
        return None

    def _paths_again(self, change: Change) -> None:
        for key, path in self._paths.items():
            if key[0] in change.sources and key[1] in change.targets:
                source, target = self._numbered[key[0]], self._numbered[key[1]]
                path.become(self.links.path(source, target, self._changed(key)))

    def reachable(self, source: Host, target: Host) -> bool:
        """Whether anything gets from one host to another now."""
        if self.cuts and (source.number, target.number) in self.cuts:
            return False
        for sides in self.partitions:
            here, there = sides.get(source.number), sides.get(target.number)
            if here is not None and there is not None and here != there:
                return False
        return True

    def part(self, sides: Mapping[int, int]) -> None:
        """A partition: hosts of different sides, by number, do not reach one another; those of none reach all."""
        self.partitions.append(sides)

    def join(self, sides: Mapping[int, int]) -> None:
        """End a partition."""
        self.partitions = [other for other in self.partitions if other is not sides]
        self.try_again()

    def cut(self, source: Host, target: Host) -> None:
        """Let nothing pass, one way. Two cuts take two `mend`s."""
        key = (source.number, target.number)
        self.cuts[key] = self.cuts.get(key, 0) + 1

    def mend(self, source: Host, target: Host) -> None:
        """Take one cut away, and let what waited for that pass when its sender tries again."""
        key = (source.number, target.number)
        left = self.cuts.get(key, 0) - 1
        if left > 0:
            self.cuts[key] = left
        else:
            self.cuts.pop(key, None)
        self.try_again()

    def mend_all(self, pairs: Iterable[tuple[Host, Host]]) -> None:
        """`mend` for many pairs."""
        for source, target in pairs:
            key = (source.number, target.number)
            left = self.cuts.get(key, 0) - 1
            if left > 0:
                self.cuts[key] = left
            else:
                self.cuts.pop(key, None)
        self.try_again()

    def try_again(self) -> None:
        """Have streams that are stuck send again."""
        stuck, self.mended = self.mended, []
        for call in stuck:
            call()
