"""Nothing new for longer than this node has ever waited: what partition suspicion can go by where a protocol can't say.

A protocol that has alerts of its own knows better when news is due (a chain has a pace); the others are judged by what
was seen here: the longest time without a new item on each of the last days.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from p2pframe.admin.suspicions import Numbers
from p2pframe.interfaces import Alert

DAY = 86_400.0
DAYS = 7
"""Days of which the longest silence is remembered: a weekend is among them."""
TIMES = 3.0
"""What is so many times as long as the longest silence is not by chance."""
LEAST = 600.0
"""Seconds of silence that are nothing, whatever is usual."""


class Silence:
    """Of one network."""

    def __init__(self, total: float, now: float) -> None:
        self.since = now
        """When the latest news was seen."""
        self._total = total
        self._day = now
        self._longest: deque[float] = deque([0.0], maxlen=DAYS)
        self._days = 0

    @property
    def bound(self) -> float | None:
        """Seconds of silence above which it is odd; None as long as less than a day was seen, or no news at all."""
        longest = max(self._longest)
        return max(LEAST, TIMES * longest) if self._days and longest else None

    def sample(self, total: float, now: float) -> None:
        """All new items ever; `now` is seconds of the reactor's clock."""
        if total != self._total:
            self._longest[-1] = max(self._longest[-1], now - self.since)
            self._total, self.since = total, now
        if now - self._day >= DAY:
            self._day = now
            self._days += 1
            self._longest.append(0.0)


class Silences:
    """Of a node: of each of its networks in which items spread."""

    def __init__(self) -> None:
        self._of: dict[str, Silence] = {}

    def sample(self, networks: Sequence[str], numbers: Numbers, now: float) -> None:
        """Called every few seconds with those to look at."""
        for gone in [name for name in self._of if name not in networks]:
            del self._of[gone]
        totals: dict[str, float] = {}
        for (name, _topic, outcome), count in numbers.get("p2pframe_items_total", {}).items():
            if outcome == "accept":
                totals[name] = totals.get(name, 0.0) + count
        for name in networks:
            total = totals.get(name, 0.0)
            self._of.setdefault(name, Silence(total, now)).sample(total, now)

    def alerts(self, now: float) -> Iterator[Alert]:
        """Those that hold."""
        for name, one in self._of.items():
            bound, quiet = one.bound, now - one.since
            if bound is not None and quiet > bound:
                yield Alert(
                    "partition", False, name,
                    f"{name}: nothing new for {quiet / 60:.0f} minutes, {TIMES:.0f} times as long as ever in the last "
                    "days.",
                    "Partition suspicion: ask a node elsewhere for what is new; add peers of other networks by hand.",
                )  # fmt: skip
