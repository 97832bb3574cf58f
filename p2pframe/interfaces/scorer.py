"""IScorer: what are the facts worth?"""

from __future__ import annotations

from zope.interface import Attribute, Interface

from p2pframe.model import Fact, Score, SessionCounters, SessionId, Verdict


class IScorer(Interface):
    """What facts and activity are worth: a score of named parts, and verdicts.

    Several run side by side; the strictest wins.
    """

    name: str = Attribute("The plugin's name.")
    dry_run: bool = Attribute("True: its scores and verdicts are shown and counted, and not acted on.")

    def opened(session: SessionId, now: float) -> None:
        """Called when a session has opened; `now` is `reactor.seconds()`, as in the counters."""

    def closed(session: SessionId) -> None:
        """Called when it has ended, also where it never opened: forget it."""

    def sample(session: SessionId, counters: SessionCounters, now: float) -> Score:
        """Called for each open session, at its opening and every `limits.score_interval`: its worth, with the parts."""

    def observed(session: SessionId, fact: Fact, now: float) -> Verdict:
        """Called with each fact, also before the session has opened. The fact's floor stands whatever this answers.

        A verdict on an unproven fact is ignored, but for its being counted.
        """
