"""The `behaviour` scorer: points for what a peer did wrong, which decay, and thresholds at which something is done.

Each proven fact adds `points[kind] * weight`; points halve every `half_life`. At `disconnect` points the session ends,
at `discourage` its address is remembered in memory too, at `ban` it may not come back for `ban_duration`. The score is
1 - points / ban, and never below 0.

An unproven fact never counts: whoever can forge a packet could have anyone banned. It is shown, as a part of weight 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import model_validator
from zope.interface import implementer

from p2pframe.interfaces import IContext, IReconfigurable, IScorer
from p2pframe.model import ALLOW, Action, Fact, Score, ScorePart, SessionCounters, SessionId, Verdict
from p2pframe.plugin import Duration, Field, PluginConfig, bound, live, plugin

POINTS: Mapping[str, float] = MappingProxyType(
    {
        "bad-block": 100.0,
        "bad-headers": 100.0,
        "bad-transaction": 20.0,
        "bad-item": 20.0,
        "protocol-violation": 50.0,
        "unreadable": 50.0,
        "flood": 25.0,
        "excess": 25.0,
        # A peer that stalls fails to answer everything that it was asked for: 100 requests are one offence, not a
        # hundred.
        "timeout": 0.25,
        "useful-block": 0.0,
        "useful-item": 0.0,
    }
)
"""Points for the kinds of fact, where the config does not say otherwise."""

_EVIDENCE = 160  # characters of one fact's evidence that are kept: a peer may have written them

Points = Annotated[float, Field(ge=0, le=1e6)]


class BehaviourConfig(PluginConfig):
    """What each kind of fact costs, how fast it is forgiven, and what happens at how many points."""

    points: dict[str, Points] = live(
        {}, description="Points by kind of fact, where they are to differ from the built-in table.", max_length=1000
    )
    default: float = live(5.0, ge=0, le=1e6, description="Points for a kind of fact that no table has.")
    half_life: Duration = live(600.0, gt=0, description="Time in which points halve.")
    disconnect: float = bound(
        50.0,
        gt=0,
        description="Points at which the session ends.",
        counter="verdicts",
        label=("behaviour", "disconnect", "acted-on"),
        refuses=("misbehaviour",),
    )
    discourage: float = bound(
        100.0,
        gt=0,
        description="Points at which the peer is discouraged too.",
        counter="verdicts",
        label=("behaviour", "discourage", "acted-on"),
        refuses=("misbehaviour",),
    )
    ban: float = bound(
        200.0,
        gt=0,
        description="Points at which the peer is banned in this network.",
        counter="verdicts",
        label=("behaviour", "ban", "acted-on"),
        refuses=("misbehaviour",),
    )
    ban_duration: Duration = live(86_400.0, gt=0, description="How long such a ban lasts.")
    evidence: int = Field(5, ge=1, le=100, description="Latest facts that a verdict shows.")
    sessions: int = bound(
        20_000,
        ge=1,
        description="Sessions with points that are kept track of; beyond it the oldest goes.",
        counter="scorer_sessions_forgotten",
        label="behaviour",
        live=False,
    )
    dry_run: bool = live(False, description="Show scores and verdicts, and act on none.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.disconnect <= self.discourage <= self.ban:
            raise ValueError(
                "thresholds must grow from disconnect to discourage to ban, "
                f"found {self.disconnect:g}, {self.discourage:g}, {self.ban:g}"
            )
        return self


class _Record:
    """What one session has done wrong: points as of `time`, and the latest facts in words."""

    __slots__ = ("facts", "points", "time", "unproven")

    def __init__(self, now: float, evidence: int) -> None:
        self.time = now
        self.points = 0.0
        self.unproven = 0.0
        self.facts: deque[str] = deque(maxlen=evidence)

    def decay(self, now: float, half_life: float) -> None:
        if now > self.time:
            kept = 2.0 ** (-(now - self.time) / half_life)
            self.points *= kept
            self.unproven *= kept
            self.time = now


@plugin("behaviour", config=BehaviourConfig)
@implementer(IScorer, IReconfigurable)
class BehaviourScorer:
    """Counts decaying points for misbehaviour; disconnects, discourages and bans at thresholds."""

    name = "behaviour"

    def __init__(self, config: BehaviourConfig, context: IContext) -> None:
        self.config = config
        self._records: dict[SessionId, _Record] = {}
        self._forgotten = context.metrics.counter(
            "scorer_sessions_forgotten_total", "Sessions that a scorer lost track of for want of room.", ("scorer",)
        )

    @property
    def dry_run(self) -> bool:
        """See `IScorer.dry_run`."""
        return self.config.dry_run

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`."""
        assert isinstance(config, BehaviourConfig)
        self.config = config

    def opened(self, session: SessionId, now: float) -> None:
        """See `IScorer.opened`. A record is made at the first fact: those who behave cost nothing."""

    def closed(self, session: SessionId) -> None:
        """See `IScorer.closed`."""
        self._records.pop(session, None)

    def sample(self, session: SessionId, counters: SessionCounters, now: float) -> Score:
        """See `IScorer.sample`."""
        config = self.config
        record = self._records.get(session)
        points = unproven = 0.0
        if record is not None:
            record.decay(now, config.half_life)
            points, unproven = record.points, record.unproven
        value = max(0.0, 1.0 - points / config.ban)
        parts = (
            ScorePart("conduct", value, 1.0, points),
            ScorePart("unproven", max(0.0, 1.0 - unproven / config.ban), 0.0, unproven),
        )
        return Score(self.name, value, parts)

    def observed(self, session: SessionId, fact: Fact, now: float) -> Verdict:
        """See `IScorer.observed`."""
        config = self.config
        points = config.points.get(fact.kind, POINTS.get(fact.kind, config.default)) * fact.weight
        if not points > 0 or not isfinite(points):
            return ALLOW
        record = self._records.get(session)
        if record is None:
            record = self._track(session, now)
        record.decay(now, config.half_life)
        if not fact.proven:
            record.unproven += points
            return ALLOW
        record.points += points
        told = " ".join(fact.evidence.split())[:_EVIDENCE]
        record.facts.append(f"{fact.kind} +{points:g}" + (f" ({told})" if told else ""))
        return self._judge(record)

    def _judge(self, record: _Record) -> Verdict:
        config, points = self.config, record.points
        duration = None
        if points >= config.ban:
            action, threshold, duration = Action.BAN, config.ban, config.ban_duration
        elif points >= config.discourage:
            action, threshold = Action.DISCOURAGE, config.discourage
        elif points >= config.disconnect:
            action, threshold = Action.DISCONNECT, config.disconnect
        else:
            return ALLOW
        evidence = f"{points:.4g} points, {action.name.lower()} at {threshold:g}: " + "; ".join(record.facts)
        return Verdict(action, "scoring.behaviour", "misbehaviour", evidence, duration)

    def _track(self, session: SessionId, now: float) -> _Record:
        while len(self._records) >= self.config.sessions:
            del self._records[next(iter(self._records))]
            self._forgotten.add(1, self.name)
        record = self._records[session] = _Record(now, self.config.evidence)
        return record
