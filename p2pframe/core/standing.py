"""What is thought of each peer: facts go to the scorers, the strictest verdict wins, and the fact's floor stands.

Scorers that are dry runs are heard, shown and counted, and not acted on. An unproven fact leads to nothing here: anyone
could forge it, and have a victim banned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from twisted.python.failure import Failure

from p2pframe.core.story import Judgement
from p2pframe.interfaces import IScorer, Metrics
from p2pframe.model import ALLOW, Action, Fact, Floor, Score, SessionCounters, SessionId, Verdict

_FLOORS = {Floor.NOTE: Action.ALLOW, Floor.END: Action.DISCONNECT, Floor.END_AND_DISCOURAGE: Action.DISCOURAGE}


class Standing:
    """The scorers of one network and the latest score of each session."""

    def __init__(
        self, scorers: Sequence[IScorer], metrics: Metrics, failed: Callable[[str, str, Failure], None]
    ) -> None:
        self._scorers = scorers
        self._failed = failed
        self._scores: dict[SessionId, tuple[tuple[Score, bool], ...]] = {}
        self._facts = metrics.counter("facts_total", "Facts about peers.", ("kind",))
        self._verdicts = metrics.counter("verdicts_total", "Verdicts of scorers.", ("scorer", "action", "effect"))

    def opened(self, session: SessionId, now: float) -> None:
        """A session has opened."""
        for scorer in self._scorers:
            self._call(scorer, "opened", lambda s: s.opened(session, now))

    def closed(self, session: SessionId) -> None:
        """A session has ended."""
        self._scores.pop(session, None)
        for scorer in self._scorers:
            self._call(scorer, "closed", lambda s: s.closed(session))

    def sample(self, session: SessionId, counters: SessionCounters, now: float) -> None:
        """Have every scorer look at a session."""
        scores: list[tuple[Score, bool]] = []
        for scorer in self._scorers:
            try:
                scores.append((scorer.sample(session, counters, now), not scorer.dry_run))
            except Exception:  # noqa: BLE001 - a scorer that fails scores nothing, and is named
                self._failed(f"scoring.{scorer.name}", "sample", Failure())
        self._scores[session] = tuple(scores)

    def scores(self, session: SessionId) -> tuple[tuple[Score, bool], ...]:
        """The latest scores of a session, each with whether it counts (is no dry run)."""
        return self._scores.get(session, ())

    def observe(self, session: SessionId, fact: Fact, now: float) -> Judgement:
        """What to do about a session after a fact: the strictest of the floor and the scorers' verdicts."""
        self._facts.add(1, fact.kind)
        floor = _FLOORS[fact.floor]
        if not fact.proven and floor is Action.DISCOURAGE:
            floor = Action.DISCONNECT  # ending one session harms nobody else; remembering could
        verdict = Verdict(floor, "floor", fact.kind, fact.evidence) if floor is not Action.ALLOW else ALLOW
        overruled, why = ALLOW, ""
        for scorer in self._scorers:
            try:
                opinion = scorer.observed(session, fact, now)
            except Exception:  # noqa: BLE001 - the floor stands when a scorer fails
                self._failed(f"scoring.{scorer.name}", "observed", Failure())
                continue
            if opinion:
                continue
            counts = fact.proven and not scorer.dry_run
            effect = "acted-on" if counts else "dry-run" if fact.proven else "unproven"
            self._verdicts.add(1, scorer.name, opinion.action.name.lower(), effect)
            if counts and opinion.action > verdict.action:
                verdict = replace(opinion, rule=f"scoring.{scorer.name}")
            elif not counts and opinion.action > overruled.action:
                overruled, why = replace(opinion, rule=f"scoring.{scorer.name}"), effect
        return Judgement(verdict, overruled, why)

    def _call(self, scorer: IScorer, where: str, call: Callable[[IScorer], None]) -> None:
        try:
            call(scorer)
        except Exception:  # noqa: BLE001 - a scorer that fails is named and counted
            self._failed(f"scoring.{scorer.name}", where, Failure())
