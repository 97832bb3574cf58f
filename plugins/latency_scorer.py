"""A scorer in one file: peers are worth what their answers are fast.

Name it under `scoring`, beside or instead of the built-in ones::

    scoring:
      - {plugin: behaviour}
      - {plugin: latency, good: 100ms, bad: 2s}

The score is 1 up to `good`, 0 from `bad` on, and falls evenly in between. Before the first answered ping it is 0.5:
nothing is known yet, and a newcomer is neither kept nor sent away for that.
"""

from typing import Self

from pydantic import model_validator
from zope.interface import implementer

from p2pframe.interfaces import IContext, IScorer
from p2pframe.model import ALLOW, Fact, Score, ScorePart, SessionCounters, SessionId, Verdict
from p2pframe.plugin import Duration, Field, PluginConfig, plugin


class LatencyConfig(PluginConfig):
    """Which ping times are good and bad."""

    good: Duration = Field(0.1, description="Up to this ping time a peer scores 1.")
    bad: Duration = Field(2.0, description="From this ping time on a peer scores 0.")
    dry_run: bool = Field(False, description="Show scores and act on none.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.good < self.bad:
            raise ValueError("good must be less than bad")
        return self


@plugin("latency", config=LatencyConfig)
@implementer(IScorer)
class LatencyScorer:
    """Scores peers by their ping time."""

    name = "latency"

    def __init__(self, config: LatencyConfig, context: IContext) -> None:
        self.config = config
        self.dry_run = config.dry_run

    def opened(self, session: SessionId, now: float) -> None:
        """Nothing to remember: everything is in the counters."""

    def closed(self, session: SessionId) -> None:
        """Nothing to forget."""

    def sample(self, session: SessionId, counters: SessionCounters, now: float) -> Score:
        """The latest ping between `good` and `bad`."""
        ping = counters.ping
        if ping is None:
            value = 0.5
        else:
            value = min(1.0, max(0.0, (self.config.bad - ping) / (self.config.bad - self.config.good)))
        return Score(self.name, value, (ScorePart("latency", value, 1.0, ping),))

    def observed(self, session: SessionId, fact: Fact, now: float) -> Verdict:
        """Being slow is no offence."""
        return ALLOW
