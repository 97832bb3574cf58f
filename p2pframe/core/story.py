"""The story of each session: its states, its score over time, the facts about its peer and what came of each.

A live session has a `Story` of its own, which grows only when something happens and costs nothing per message. Of those
that have ended the latest are kept, so that "why was it dropped" can be answered afterwards; sessions that never opened
have at most a quarter of the places, or whoever connects and goes would wash the others out.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import exp
from typing import TYPE_CHECKING

from p2pframe.config.settings import Limits
from p2pframe.core.wanted import NEVER, Announcer
from p2pframe.interfaces import Metrics
from p2pframe.interfaces.story import HeardFact, SessionStory, TopicInventory
from p2pframe.model import ALLOW, Action, Fact, Floor, ItemId, Score, SessionCounters, SessionId, Slot, Verdict

if TYPE_CHECKING:
    from p2pframe.core.session import Session

EVIDENCE = 200
"""Characters of a fact's evidence that are kept: a peer may have written them."""
LATEST_ITEMS = 50
"""Ids that an inventory names, of each topic."""
WINDOW = 15.0
"""Seconds over which rates are averaged."""
_QUIET = 0.5  # bytes a second: less is none, so that who is silent costs nothing again
_NOBODY_PART = 4  # of the places for ended sessions, the part that such as never opened may take


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a fact leads to, and what it would have led to: the strictest verdict of those that did not count."""

    verdict: Verdict = ALLOW
    overruled: Verdict = ALLOW
    effect: str = ""


class Rates:
    """Bytes and messages a second, in and out, as an exponentially weighted mean over `WINDOW`."""

    __slots__ = ("_at", "_values")

    def __init__(self, now: float) -> None:
        self._at = now
        self._values = array("d", bytes(64))  # the four rates, then the four counters as they were

    def step(self, counters: SessionCounters, now: float) -> None:
        """Look at the counters; called with every tick, for every session."""
        values = self._values
        if (
            counters.bytes_in == values[4] and counters.bytes_out == values[5]
            and not (values[0] or values[1] or values[2] or values[3])
        ):  # fmt: skip
            self._at = now
            return
        elapsed = now - self._at
        if elapsed <= 0:
            return
        self._at = now
        kept = exp(-elapsed / WINDOW)
        for at, count in enumerate((counters.bytes_in, counters.bytes_out, counters.received, counters.sent)):
            value = kept * values[at] + (1.0 - kept) * (count - values[at + 4]) / elapsed
            values[at + 4] = count
            values[at] = value if value >= (_QUIET if at < 2 else 0.01) else 0.0

    @property
    def all(self) -> array[float]:
        """Bytes in and out, then messages in and out."""
        return self._values[:4]

    @property
    def bytes_in(self) -> float:
        """Bytes a second received."""
        return self._values[0]

    @property
    def bytes_out(self) -> float:
        """Bytes a second sent."""
        return self._values[1]

    @property
    def messages_in(self) -> float:
        """Messages a second received."""
        return self._values[2]

    @property
    def messages_out(self) -> float:
        """Messages a second sent."""
        return self._values[3]


class Story:
    """What is remembered of one session while it lives."""

    __slots__ = ("_facts", "_samples", "began", "errors", "forgotten", "rates", "states")

    def __init__(self, now: float) -> None:
        self.began = now
        self.states: list[str | float] = ["connecting", now]
        """Names and times in turn: there are six of them at most, as the lifecycle has no way back."""
        self.rates = Rates(now)
        self.errors = 0
        """Facts that end a session, or more."""
        self.forgotten = 0
        self._samples: array[float] | None = None  # ages and scores in turn
        self._facts: list[HeardFact] | None = None

    def entered(self, state: str, now: float) -> None:
        """A state was entered."""
        self.states.append(state)
        self.states.append(now)

    def scored(self, value: float, now: float, most: int) -> int:
        """A sample of the score; returns how many had to go for want of room."""
        samples = self._samples
        if samples is None:
            samples = self._samples = array("f")
        gone = 0
        before = len(samples) // 2
        if before >= most:
            self._samples = samples = _thinned(samples, now - self.began, most * 3 // 4)
            gone = before - len(samples) // 2
        samples.append(now - self.began)
        samples.append(value)
        return gone

    def heard(self, fact: Fact, rule: str, action: str, effect: str, now: float, most: int) -> int:
        """A fact and what came of it; returns how many had to go for want of room."""
        if fact.floor is not Floor.NOTE:
            self.errors += 1
        facts = self._facts
        if facts is None:
            facts = self._facts = []
        if len(fact.evidence) > EVIDENCE:
            fact = replace(fact, evidence=fact.evidence[: EVIDENCE - 1] + "…")
        if facts:
            last = facts[-1]
            if (last.fact.kind, last.rule, last.action, last.effect) == (fact.kind, rule, action, effect):
                # A hundred timeouts in a row are one line, and push nothing else out.
                facts[-1] = HeardFact(now, last.first, last.times + 1, fact, rule, action, effect)
                return 0
        facts.append(HeardFact(now, now, 1, fact, rule, action, effect))
        gone = max(0, len(facts) - most)
        if gone:
            self.forgotten += sum(one.times for one in facts[:gone])
            del facts[:gone]
        return gone

    @property
    def facts(self) -> tuple[HeardFact, ...]:
        """Those that are remembered, oldest first."""
        return tuple(self._facts or ())

    @property
    def samples(self) -> tuple[tuple[float, float], ...]:
        """Times and scores."""
        taken = self._samples or ()
        return tuple((self.began + taken[at], taken[at + 1]) for at in range(0, len(taken), 2))

    @property
    def steps(self) -> tuple[tuple[str, float], ...]:
        """The states with when each began."""
        steps = self.states
        return tuple((str(steps[at]), float(steps[at + 1])) for at in range(0, len(steps), 2))


def _thinned(samples: array[float], age: float, most: int) -> array[float]:
    """At most so many of them, always the first and the last: the older, the further apart, in proportion to the age.

    So an hour ago is seen to some minutes and a minute ago to seconds, however long the session lasts.
    """
    apart = 0.02
    while True:
        kept = array("f", samples[:2])
        last = samples[0]
        for at in range(2, len(samples) - 2, 2):
            if samples[at] - last >= apart * (age - samples[at]):
                last = samples[at]
                kept.extend(samples[at : at + 2])
        kept.extend(samples[-2:])
        if len(kept) <= 2 * most:
            return kept
        if apart > 1e6:  # all of one moment: there is no older one to thin
            return kept[-2 * most :]
        apart *= 1.25


class Stories:
    """The stories of one network's sessions, the living and the latest that ended."""

    def __init__(self, limits: Callable[[], Limits], metrics: Metrics) -> None:
        self._limits = limits
        self._ended: OrderedDict[SessionId, SessionStory] = OrderedDict()
        self._nobodies: OrderedDict[SessionId, SessionStory] = OrderedDict()
        self._forgotten = metrics.counter(
            "story_forgotten_total", "What the bounds of sessions' stories let go.", ("what",)
        )

    def scored(self, session: Session, scores: Sequence[tuple[Score, bool]], now: float) -> None:
        """A session was sampled."""
        values = [score.value for score, counts in scores if counts]
        if values:
            gone = session.story.scored(sum(values) / len(values), now, self._limits().story_points)
            if gone:
                self._forgotten.add(gone, "score")

    def heard(self, session: Session, fact: Fact, judgement: Judgement, now: float) -> None:
        """A fact was judged."""
        told, effect = judgement.verdict, "acted-on"
        if told:
            told, effect = judgement.overruled, judgement.effect or "noted"
        elif told.action > Action.DISCONNECT and (session.protected or session.slot is Slot.MANUAL):
            effect = "spared"
        gone = session.story.heard(fact, told.rule, told.action.name.lower(), effect, now, self._limits().story_facts)
        if gone:
            self._forgotten.add(gone, "fact")

    def ended(self, session: Session, now: float) -> None:
        """A session is ending, and knows why. Our own looks at a peer (feelers, visits) are not kept."""
        if session.visiting is not None or session.close_reason == "feeler-done":
            return
        places = self._limits().story_sessions
        kept = self._ended if session.was_open else self._nobodies
        kept[session.id] = story_of(session, now)
        most = places // _NOBODY_PART
        while len(self._nobodies) > most or len(self._nobodies) + len(self._ended) > places:
            # Those that never opened have no more than their part, and it is theirs.
            spare = self._nobodies if len(self._nobodies) > most or not self._ended else self._ended
            spare.popitem(last=False)
            self._forgotten.add(1, "session")

    def of(self, session: SessionId, now: float) -> SessionStory | None:
        """The story of one that has ended, where it is still kept."""
        found = self._ended.get(session) or self._nobodies.get(session)
        return replace(found, now=now) if found is not None else None


def story_of(session: Session, now: float) -> SessionStory:
    """The story of a session up to now."""
    story, info = session.story, session.handshake
    over = session.state == "closed"
    return SessionStory(
        now=now, session=session.snapshot(), states=story.steps, samples=story.samples,
        scores=session.network.scores_of(session.id), facts=story.facts, forgotten=story.forgotten,
        inventory=_inventory(session), claims=dict(info.claims) if info is not None else {},
        ended=now if over else None, reason=session.close_reason, evidence=session.close_evidence[:EVIDENCE],
    )  # fmt: skip


def _inventory(session: Session) -> tuple[TopicInventory, ...]:
    network = session.network
    told = network.scheduler.announced_by(session.id)
    brought = network.items.brought_by(session.id, LATEST_ITEMS) if session.useful_count else {}
    return tuple(
        TopicInventory(
            link.topic, *_counts(told.get(link.topic)), latest=_latest(told.get(link.topic)),
            brought=tuple(brought.get(link.topic, ())),
        )
        for link in session.links
    )  # fmt: skip


def _counts(peer: Announcer | None) -> tuple[int, int, int]:
    return (0, 0, 0) if peer is None else (len(peer.ids), len(peer.flying), len(peer.waiting))


def _latest(peer: Announcer | None) -> tuple[tuple[ItemId, str], ...]:
    if peer is None:
        return ()
    return tuple(
        (id, "asked" if id in peer.flying else "failed" if peer.ids[id] == NEVER
         else "waiting" if id in peer.waiting else "announced")
        for id in islice(reversed(peer.ids), LATEST_ITEMS)
    )  # fmt: skip
