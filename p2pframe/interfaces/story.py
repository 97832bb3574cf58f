"""The story of a session: how it went, what was seen of the peer and what came of it, in values that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2pframe.model import Fact, ItemId, Score, SessionSnapshot, Topic


@dataclass(frozen=True, slots=True)
class HeardFact:
    """A fact about a peer and what came of it: `times` equal ones in a row, the latest of them at `time`.

    `rule` names who decided, empty where nothing was to be done; `action` is the word for it (`allow`, `disconnect`,
    `discourage`, `ban`). `effect` is `acted-on`, or says why not: `dry-run` and `unproven` where a scorer's verdict
    counts for nothing, `spared` where the session ended and the peer, being protected, was not remembered; `noted`
    where nobody wanted anything.
    """

    time: float
    first: float
    times: int
    fact: Fact
    rule: str
    action: str
    effect: str


@dataclass(frozen=True, slots=True)
class TopicInventory:
    """What is between us and a peer, of one topic.

    `announced` counts the items that it has told of and that are still wanted, `asked` those that it is being asked
    for, `waiting` those that wait for their turn. `latest` are the ids of the latest announced, the newest first, each
    with `asked`, `waiting`, `failed` (it was asked and did not give it) or `announced`. `brought` are the latest items
    that it was the first to bring, as far as their spread is still measured (`limits.spreads`).
    """

    topic: Topic
    announced: int
    asked: int
    waiting: int
    latest: tuple[tuple[ItemId, str], ...] = ()
    brought: tuple[ItemId, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionStory:
    """How one session went, live or ended; times are seconds of the reactor's clock, `now` is that of this story.

    `states` are those that it was in, with when each began. `samples` are (time, score) over its whole life, the older
    ones further apart. `scores` are the latest of each scorer, with whether it counts (is no dry run). `facts` are the
    latest, oldest first; `forgotten` counts those that had to make room. A session that has ended has `session` as it
    was at the end, and in `reason` and `evidence` why.
    """

    now: float
    session: SessionSnapshot
    states: tuple[tuple[str, float], ...]
    samples: tuple[tuple[float, float], ...]
    scores: tuple[tuple[Score, bool], ...]
    facts: tuple[HeardFact, ...]
    forgotten: int
    inventory: tuple[TopicInventory, ...]
    claims: Mapping[str, str | int | bool]
    ended: float | None = None
    reason: str = ""
    evidence: str = ""
