"""How long to wait for an answer: round-trip estimates per node, and of all of them together.

A fixed timeout is wrong everywhere: a lookup on a fast network waits for the dead, on a slow one it gives up on the
living. So an answer is *late* after what this node usually takes (RFC 6298: a smoothed mean and four deviations), which
costs nothing but a query more, and *lost* only after what hardly any node takes: twice the 99th percentile of the
latest round trips of all nodes, since one node is asked too seldom to tell its own tail. Answers that come later
still are counted as false timeouts, and are samples like any other: the estimate can't stay too short.

Times are seconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)

SAMPLES = 128
"""Latest round trips that the percentiles are taken of."""
FEW = 8
"""Below so many samples the percentiles are not trusted."""


class RoundTrips(Generic[A]):
    """The estimates of one node. `most` bounds the nodes that have one of their own: the longest unused goes first."""

    __slots__ = (
        "_latest", "_never_lost", "_nodes", "_sorted", "false_timeouts", "initial_late", "initial_lost", "longest_lost",
        "most", "shortest_late", "shortest_lost", "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        *,
        most: int = 1024,
        initial_late: float = 0.5,
        initial_lost: float = 3.0,
        shortest_late: float = 0.03,
        shortest_lost: float = 0.25,
        longest_lost: float = 10.0,
    ) -> None:
        self.most = most
        self.initial_late = initial_late
        self.initial_lost = initial_lost
        self.shortest_late = shortest_late
        self.shortest_lost = shortest_lost
        self.longest_lost = longest_lost
        self._never_lost = min(shortest_lost, longest_lost, initial_lost)
        """Nobody is lost before this."""
        self.timeouts = 0
        """Queries that were declared lost."""
        self.false_timeouts = 0
        """Those of them that were answered after all."""
        self._nodes: dict[A, tuple[float, float, int]] = {}
        """By address: smoothed round trip, its deviation, and how many losses in a row."""
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def sample(self, address: A, seconds: float) -> None:
        """An answer came after so long (RFC 6298, section 2)."""
        known = self._nodes.pop(address, None)
        if known is None:
            if len(self._nodes) >= self.most:
                del self._nodes[next(iter(self._nodes))]
            self._nodes[address] = (seconds, seconds / 2, 0)
        else:
            mean, deviation, _ = known
            self._nodes[address] = (
                mean + (seconds - mean) / 8,
                deviation + (abs(mean - seconds) - deviation) / 4,
                0,
            )
        if len(self._latest) >= SAMPLES:
            gone = self._latest.popleft()
            del self._sorted[bisect_left(self._sorted, gone)]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def came_late(self, address: A, seconds: float) -> None:
        """An answer came after it had been declared lost."""
        self.false_timeouts += 1
        self.sample(address, seconds)

    def lost(self, address: A) -> None:
        """No answer came in time: the next one of this node may take longer (section 5.5)."""
        self.timeouts += 1
        known = self._nodes.get(address)
        if known is not None:
            self._nodes[address] = (known[0], known[1], min(known[2] + 1, 4))

    def late_after(self, address: A) -> float:
        """From when on it is worth asking somebody else as well."""
        known = self._nodes.get(address)
        if known is not None:
            wait = (known[0] + 4 * known[1]) * (1 << known[2])
            if wait <= self._never_lost:
                return max(wait, self.shortest_late)
        elif len(self._sorted) >= FEW:
            wait = self.percentile(0.9) * 1.5
        else:
            wait = self.initial_late
        return min(max(wait, self.shortest_late), self.lost_after(address))

    def lost_after(self, address: A) -> float:
        """From when on nobody should wait for it any more."""
        if len(self._sorted) < FEW:
            return self.initial_lost
        wait = 2 * self.percentile(0.99)
        known = self._nodes.get(address)
        if known is not None:
            wait = max(wait, (known[0] + 4 * known[1]) * (1 << known[2]))
        return min(max(wait, self.shortest_lost), self.longest_lost)

    def percentile(self, part: float) -> float:
        """That percentile (0 to 1) of the latest round trips; there must be one."""
        return self._sorted[min(int(part * len(self._sorted)), len(self._sorted) - 1)]
