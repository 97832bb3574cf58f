"""The `weighted` scorer: a peer's worth as a weighted mean of recent activity, stability, bandwidth and latency.

Each part is between 0 and 1 and shown with what was measured (`raw`). With h(t, T) = 2^(-t / T), which halves every T::

    activity   1/2 h(seconds since the last message, activity_half_life)
             + 1/2 h(seconds since the last accepted item or block, activity_half_life)    raw: seconds, the lesser one
    stability  (1 - h(seconds open, stability_half_life)) * (1 + accepted) / (1 + accepted + timeouts)
                                                                                           raw: seconds open
    bandwidth  r / (r + bandwidth_reference), r = bytes a second received, averaged        raw: bytes a second
    latency    latency_reference / (latency_reference + ping); 0 before the first answer   raw: seconds

What has not happened yet counts 0. `r` is an exponential average over `bandwidth_window`. The scorer judges nobody:
topologies use it to keep the best and to rotate the worst.
"""

from __future__ import annotations

from math import exp
from typing import Self

from pydantic import model_validator
from zope.interface import implementer

from p2pframe.interfaces import IContext, IReconfigurable, IScorer
from p2pframe.model import ALLOW, Fact, Score, ScorePart, SessionCounters, SessionId, Verdict
from p2pframe.plugin import Duration, Field, PluginConfig, Size, live, plugin


class WeightedConfig(PluginConfig):
    """The weights, which sum to 1, and what counts as half good."""

    activity: float = live(0.3, ge=0, le=1, description="Weight of recent activity.")
    stability: float = live(0.2, ge=0, le=1, description="Weight of stability.")
    bandwidth: float = live(0.3, ge=0, le=1, description="Weight of bandwidth.")
    latency: float = live(0.2, ge=0, le=1, description="Weight of latency.")
    activity_half_life: Duration = live(600.0, gt=0, description="A silence this long halves the activity.")
    stability_half_life: Duration = live(3600.0, gt=0, description="A session this old has half of the stability.")
    bandwidth_reference: Size = live(20_000, gt=0, description="Bytes a second that are half of the best.")
    bandwidth_window: Duration = live(300.0, gt=0, description="Time over which bandwidth is averaged.")
    latency_reference: Duration = live(0.25, gt=0, description="The ping time that is half of the best.")
    sessions: int = Field(
        20_000, ge=1, description="Sessions that are kept track of; beyond it the oldest starts afresh."
    )
    dry_run: bool = live(False, description="Show scores and act on none.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.activity + self.stability + self.bandwidth + self.latency
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"activity, stability, bandwidth and latency must sum to 1, found {total:g}")
        return self


class _Sampled:
    """What the latest sample of a session saw, for the rate since then."""

    __slots__ = ("bytes_in", "rate", "time")

    def __init__(self, time: float) -> None:
        self.time = time
        self.bytes_in = 0
        self.rate = 0.0


@plugin("weighted", config=WeightedConfig)
@implementer(IScorer, IReconfigurable)
class WeightedScorer:
    """Scores activity, stability, bandwidth and latency by their weights; judges nobody."""

    name = "weighted"

    def __init__(self, config: WeightedConfig, context: IContext) -> None:
        self.config = config
        self._sampled: dict[SessionId, _Sampled] = {}
        self._forgotten = context.metrics.counter(
            "scorer_sessions_forgotten_total", "Sessions that a scorer lost track of for want of room.", ("scorer",)
        )

    @property
    def dry_run(self) -> bool:
        """See `IScorer.dry_run`."""
        return self.config.dry_run

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`."""
        assert isinstance(config, WeightedConfig)
        self.config = config

    def opened(self, session: SessionId, now: float) -> None:
        """See `IScorer.opened`."""
        self._track(session, now)

    def closed(self, session: SessionId) -> None:
        """See `IScorer.closed`."""
        self._sampled.pop(session, None)

    def observed(self, session: SessionId, fact: Fact, now: float) -> Verdict:
        """See `IScorer.observed`: facts change nothing here."""
        return ALLOW

    def sample(self, session: SessionId, counters: SessionCounters, now: float) -> Score:
        """See `IScorer.sample`; the formula is at the top of this module."""
        config = self.config
        rate = self._rate(session, counters, now)
        opened = counters.opened or counters.started
        age = max(0.0, now - opened)
        productive = max(counters.last_item, counters.last_block)
        silence = now - max(counters.last_receive, productive, opened)
        half_life = config.activity_half_life
        activity = 0.5 * _recency(counters.last_receive, now, half_life) + 0.5 * _recency(productive, now, half_life)
        answered = (1 + counters.accepted_items) / (1 + counters.accepted_items + counters.timeouts)
        stability = (1.0 - 2.0 ** (-age / config.stability_half_life)) * answered
        ping = counters.ping if counters.ping is not None else counters.best_ping
        latency = 0.0 if ping is None else config.latency_reference / (config.latency_reference + max(0.0, ping))
        parts = (
            ScorePart("activity", activity, config.activity, max(0.0, silence)),
            ScorePart("stability", stability, config.stability, age),
            ScorePart("bandwidth", rate / (rate + config.bandwidth_reference), config.bandwidth, rate),
            ScorePart("latency", latency, config.latency, ping),
        )
        return Score(self.name, sum(part.value * part.weight for part in parts), parts)

    def _rate(self, session: SessionId, counters: SessionCounters, now: float) -> float:
        last = self._sampled.get(session)
        if last is None:
            last = self._track(session, counters.opened or counters.started)
        elapsed = now - last.time
        if elapsed > 0:
            rate = max(0, counters.bytes_in - last.bytes_in) / elapsed
            kept = exp(-elapsed / self.config.bandwidth_window)
            last.rate = kept * last.rate + (1.0 - kept) * rate
            last.time, last.bytes_in = now, counters.bytes_in
        return last.rate

    def _track(self, session: SessionId, now: float) -> _Sampled:
        while len(self._sampled) >= self.config.sessions:
            del self._sampled[next(iter(self._sampled))]
            self._forgotten.add(1, self.name)
        sampled = self._sampled[session] = _Sampled(now)
        return sampled


def _recency(last: float, now: float, half_life: float) -> float:
    """1 for now, halving with time; 0 for what has never happened (0.0 in the counters)."""
    return 2.0 ** (-max(0.0, now - last) / half_life) if last > 0.0 else 0.0
