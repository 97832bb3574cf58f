"""Inbound connections above what is usual for this node: a flood begins so, long before a bound of it is reached.

What is usual is learnt: a mean and a deviation of the connections of a minute, in which the past counts the less the
longer ago it was. A burst teaches nothing, or a flood would soon be the usual; what goes on for hours is learnt anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import sqrt

from p2pframe.admin.suspicions import Numbers
from p2pframe.interfaces import Alert

WINDOW = 60.0
"""Seconds over which connections are counted."""
LEARN = 1800.0
"""Seconds of looking before anything is said."""
MEMORY = 21_600.0
"""Seconds after which the past counts a third."""
DEVIATIONS = 6.0
TIMES = 3.0
"""What is above both so many deviations over the mean and so many times the mean is not by chance."""
LASTS = 21_600.0
"""Seconds of one burst after which what is usual has changed."""
LEAST = 30.0
"""Connections of a minute that are no burst whatever is usual."""


class Baseline:
    """Of one network. The samples of one window are kept, and of everything before them two numbers."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.rate = 0.0
        """Connections in the window that ends now."""
        self._variance = 0.0
        self._looked = 0.0
        """Seconds that were learnt from."""
        self._since: float | None = None
        """When the burst began, where it is one."""
        self._samples: deque[tuple[float, float]] = deque(maxlen=64)

    @property
    def bound(self) -> float:
        """Connections of a window above which it is a burst."""
        return max(self.mean + DEVIATIONS * sqrt(self._variance), TIMES * self.mean, LEAST)

    @property
    def burst(self) -> bool:
        """Whether it is one now."""
        return self._since is not None

    def sample(self, total: float, now: float) -> None:
        """All connections ever; `now` is seconds of the reactor's clock."""
        samples = self._samples
        if samples and (total < samples[-1][1] or now <= samples[-1][0]):
            samples.clear()  # counted anew
        samples.append((now, total))
        # The oldest one stays until a later one spans the window too.
        while len(samples) > 2 and now - samples[1][0] >= WINDOW:
            samples.popleft()
        began, before = samples[0]
        if now - began < WINDOW:
            return
        self.rate = (total - before) * WINDOW / (now - began)
        if self._looked >= LEARN and self.rate > self.bound:
            if self._since is None:
                self._since = now
            if now - self._since < LASTS:
                return
            self.mean = self._variance = self._looked = 0.0
        self._since = None
        self._learn(now - samples[-2][0])

    def _learn(self, step: float) -> None:
        self._looked += step
        share = step / min(self._looked, MEMORY)
        off = self.rate - self.mean
        self.mean += share * off
        self._variance = (1.0 - share) * (self._variance + share * off * off)


class Bursts:
    """Of a node: a baseline for each of its networks."""

    def __init__(self) -> None:
        self._baselines: dict[str, Baseline] = {}

    def sample(self, networks: list[str], numbers: Numbers, now: float) -> None:
        """Called every few seconds."""
        for gone in [name for name in self._baselines if name not in networks]:
            del self._baselines[gone]
        for name in networks:
            self._baselines.setdefault(name, Baseline()).sample(_connections(name, numbers), now)

    def alerts(self) -> Iterator[Alert]:
        """Those of the latest sample."""
        for name, one in self._baselines.items():
            if one.burst:
                yield Alert(
                    "inbound-burst", False, name,
                    f"{name}: {one.rate:.0f} inbound connections in a minute, where {one.mean:.0f} are usual.",
                    "See Events for who comes and what refuses them; ban netgroups that flood, or lower "
                    "`limits.accepts_per_second` and `limits.netgroup_accepts_per_second`.",
                )  # fmt: skip


def _connections(network: str, numbers: Numbers) -> float:
    """Inbound ones since the start, let in or not. Who is let in and refused after the handshake counts once."""

    def of(name: str) -> float:
        return sum(value for labels, value in numbers.get(name, {}).items() if labels[0] == network)

    let_in, refused = of("p2pframe_inbound_accepted_total"), of("p2pframe_refusals_total")
    return let_in + refused - of("p2pframe_sessions_refused_total")
