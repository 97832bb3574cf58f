"""Addresses under watch: since when their handshakes have succeeded, who is to be called on next, who may be told of.

Where an address came from counts for nothing, and so a seed that hears its own answers again learns nothing by it:
only handshakes of our own prove an address.
"""

from __future__ import annotations

import heapq
import ipaddress
import json
from collections.abc import Callable, Collection, Iterable
from random import Random

from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig
from p2pframe.model import PeerAddress, netgroup

_SOON = 60.0
"""Seconds until another try on one that could not be called on."""
_SCATTER = 0.1
"""Checks are put off by up to this part of their interval, so that they don't stay bunched."""


class Watched:
    """One address; times are unix seconds, 0.0 for never. `since` begins an unbroken run of handshakes."""

    __slots__ = ("address", "asked", "due", "failures", "group", "last", "services", "since")

    def __init__(self, address: PeerAddress, due: float) -> None:
        self.address = address
        self.group = netgroup(address)
        self.due = due
        self.since = 0.0
        self.last = 0.0
        self.asked = 0.0
        self.failures = 0
        self.services = 0

    def row(self) -> bytes:
        """What is kept on disk."""
        return json.dumps([self.since, self.last, self.asked, self.due, self.failures, self.services]).encode()

    @classmethod
    def from_row(cls, key: bytes, row: bytes) -> Watched:
        """What `row` made; raises ValueError for anything else."""
        values = json.loads(row)
        if not isinstance(values, list) or len(values) != 6:
            raise ValueError("not six numbers")
        since, last, asked, due, failures, services = values
        entry = cls(PeerAddress.parse(key.decode()), float(due))
        entry.since, entry.last, entry.asked = float(since), float(last), float(asked)
        entry.failures, entry.services = int(failures), int(services)
        return entry


class WatchList:
    """The table, bounded in all and by netgroup. `turned_away` is called with the reason of each refusal."""

    def __init__(self, config: DnsSeedServerConfig, rng: Random, turned_away: Callable[[str], None]) -> None:
        self.config = config
        self._rng = rng
        self._turned_away = turned_away
        self._entries: dict[PeerAddress, Watched] = {}
        self._groups: dict[str, int] = {}
        self._due: list[tuple[float, int, PeerAddress]] = []
        self._dead: dict[PeerAddress, None] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, address: PeerAddress) -> bool:
        return address in self._entries

    def add(self, address: PeerAddress, now: float) -> bool:
        """Watch an address, called on as soon as its turn comes. False where it is known or there is no room."""
        if address in self._entries:
            return False
        return self.put(Watched(address, now))

    def put(self, entry: Watched) -> bool:
        """Take an entry in as it is; False, and counted, where it can't be."""
        reason = self._why_not(entry)
        if reason:
            self._turned_away(reason)
            return False
        self._entries[entry.address] = entry
        self._groups[entry.group] = self._groups.get(entry.group, 0) + 1
        self._queue(entry)
        return True

    def _why_not(self, entry: Watched) -> str:
        if entry.address.kind != "ip" or not entry.address.port:
            return "no address"
        ip = ipaddress.ip_address(entry.address.host)
        if ip.is_multicast or ip.is_unspecified or (self.config.public and not ip.is_global):
            return "not routable"
        if len(self._entries) >= self.config.addresses:
            if not self._dead:
                return "full"
            self._forget(self._entries[next(iter(self._dead))])
        if self._groups.get(entry.group, 0) >= self.config.group_addresses:
            return "netgroup"
        return ""

    def _queue(self, entry: Watched) -> None:
        self._number += 1
        heapq.heappush(self._due, (entry.due, self._number, entry.address))

    def take_due(self, now: float) -> Watched | None:
        """Who is to be called on, oldest appointment first; None where nobody is. `succeeded` or `failed` follows."""
        while self._due and self._due[0][0] <= now:
            due, _, address = heapq.heappop(self._due)
            entry = self._entries.get(address)
            if entry is not None and entry.due == due:
                if address not in self._dead:
                    return entry
                self._forget(entry)
        return None

    def succeeded(self, entry: Watched, services: int, now: float) -> None:
        """Its handshake has succeeded; out of sight for three checks, its run begins anew."""
        if not entry.since or now - entry.last > self._grace():
            entry.since = now
        entry.last, entry.failures, entry.services = now, 0, services
        self._again(entry, now, self.config.check_every)

    def failed(self, entry: Watched, now: float) -> bool:
        """It did not answer, and is told of no more before it does. Whether there is anything to remember of it."""
        entry.failures += 1
        if entry.since and entry.failures < self.config.failures:
            self._again(entry, now, self.config.check_every)
            return True
        # It stays in the table, so that it is not called on at once when the next one tells of it; or makes room.
        entry.since = 0.0
        self._dead[entry.address] = None
        self._again(entry, now, self.config.retry)
        return False

    def not_called(self, entry: Watched, now: float) -> None:
        """It was not called on, for no fault of its own: soon again."""
        self._again(entry, now, _SOON)

    def _again(self, entry: Watched, now: float, after: float) -> None:
        entry.due = now + after * (1 + self._rng.uniform(0, _SCATTER))
        self._queue(entry)

    def _forget(self, entry: Watched) -> None:
        del self._entries[entry.address]
        self._dead.pop(entry.address, None)
        left = self._groups[entry.group] - 1
        if left:
            self._groups[entry.group] = left
        else:
            del self._groups[entry.group]

    def _grace(self) -> float:
        return 3 * self.config.check_every

    def proven(self, now: float) -> list[Watched]:
        """Who may be told of: no failure, looked at lately, and good for `proven_for` seconds in one run."""
        config = self.config
        grace = self._grace()
        return [
            entry
            for entry in self._entries.values()
            if entry.since
            and not entry.failures
            and now - entry.last <= grace
            and entry.last - entry.since >= config.proven_for
        ]

    def entries(self) -> Iterable[Watched]:
        """Everyone, in the order of their coming."""
        return self._entries.values()


def spread(entries: Collection[Watched], count: int, per_netgroup: int, rng: Random) -> list[Watched]:
    """At most `count` of them by lot, at most `per_netgroup` of a netgroup."""
    drawn = list(entries)
    rng.shuffle(drawn)
    chosen: list[Watched] = []
    groups: dict[str, int] = {}
    for entry in drawn:
        if len(chosen) >= count:
            break
        held = groups.get(entry.group, 0)
        if held < per_netgroup:
            groups[entry.group] = held + 1
            chosen.append(entry)
    return chosen
