"""What the address book holds, by netgroup and by age, for people.

It is counted when somebody asks, some hundred entries in a turn of the reactor, and what was counted is good for a
while: nothing of it is kept with the entries, of which there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from p2pframe.interfaces.node import AddressGroups, AgeHolds, GroupHolds
from p2pframe.model import netgroup

if TYPE_CHECKING:
    from p2pframe.core.address_entry import Entry

LARGEST = 50
"""Netgroups that are told of."""
SLICE = 500
"""Entries looked at in one turn of the reactor: one to two milliseconds."""
GROUPS = 10_000
"""Netgroups among which the largest are looked for in one turn: there may be one for each address."""
GOOD_FOR = 30.0
"""Seconds for which a count is told as it is."""
AGES = (3_600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0, float("inf"))
"""Seconds: the classes of ages, each up to the next."""


class AddressSurvey:
    """Counts a book's addresses, a slice in a turn, at most once in `GOOD_FOR` seconds."""

    def __init__(self, clock: IReactorTime, unix_time: Callable[[], float], entries: Callable[[], list[Entry]]) -> None:
        self._clock = clock
        self._unix_time = unix_time
        self._entries = entries
        self._latest = AddressGroups()
        self._at: float | None = None
        self._call: IDelayedCall | None = None

    def stop(self) -> None:
        """What is being counted is left."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def latest(self) -> AddressGroups:
        """The latest count; where it is too old another begins, and of a small book ends at once."""
        old = self._at is None or self._clock.seconds() - self._at >= GOOD_FOR
        if old and self._call is None:
            self._slice(0, _Sums(self._unix_time()))
        return self._latest

    def _slice(self, start: int, sums: _Sums) -> None:
        # Entries change places meanwhile: some are counted twice or not at all, which a picture can bear.
        self._call = None
        entries = self._entries()
        for entry in entries[start : start + SLICE]:
            sums.add(entry)
        if start + SLICE < len(entries):
            self._call = self._clock.callLater(0, self._slice, start + SLICE, sums)
            return
        self._choose(sums)

    def _choose(self, sums: _Sums) -> None:
        self._call = None
        if sums.choose():
            self._call = self._clock.callLater(0, self._choose, sums)
            return
        self._latest = sums.told()
        self._at = self._clock.seconds()


class _Sums:
    """What was counted so far."""

    __slots__ = ("addresses", "chosen", "groups", "heard", "known", "left", "now", "tried")

    def __init__(self, now: float) -> None:
        self.now = now
        self.addresses = 0
        self.groups: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.known = [[0, 0] for _ in AGES]
        self.heard = [[0, 0] for _ in AGES]
        self.left: Iterator[tuple[str, int]] | None = None
        """Netgroups that are not looked at yet, once all are counted."""
        self.chosen: list[tuple[str, int]] = []

    def add(self, entry: Entry) -> None:
        """One more."""
        self.addresses += 1
        group = netgroup(entry.address)
        self.groups[group] = self.groups.get(group, 0) + 1
        if entry.tried:
            self.tried[group] = self.tried.get(group, 0) + 1
        for sums, since in ((self.known, entry.first_seen), (self.heard, entry.last_seen)):
            age, number = self.now - since, 0
            while age >= AGES[number]:
                number += 1
            sums[number][0] += 1
            sums[number][1] += entry.tried

    def choose(self) -> bool:
        """Look for the largest among some more; whether there are others left."""
        if self.left is None:
            self.left = iter(self.groups.items())
        some = list(islice(self.left, GROUPS))
        self.chosen = nlargest(LARGEST, self.chosen + some, key=itemgetter(1))
        return len(some) == GROUPS

    def told(self) -> AddressGroups:
        """All of it."""
        chosen = sorted(self.chosen, key=lambda pair: (-pair[1], pair[0]))
        return AddressGroups(
            self.addresses, len(self.groups),
            tuple(GroupHolds(name, held, self.tried.get(name, 0)) for name, held in chosen), self.now,
            tuple(AgeHolds(below, *both) for below, both in zip(AGES, self.known, strict=True)),
            tuple(AgeHolds(below, *both) for below, both in zip(AGES, self.heard, strict=True)),
        )  # fmt: skip
