"""What the API answers of the story of a session. Times are unix seconds, spans seconds."""

from __future__ import annotations

from p2pframe.admin.routes import Closed
from p2pframe.admin.values import Peer


class StoryState(Closed):
    """A state that a session was in from a time on; `lasted` is null for the one that it is in."""

    state: str
    time: float
    lasted: float | None


class StorySample(Closed):
    """The score at a time."""

    time: float
    score: float


class StoryPart(Closed):
    """A part of a score: 0 to 1, its share, and what was measured."""

    name: str
    value: float
    weight: float
    raw: float | None


class StoryScore(Closed):
    """What a scorer thinks of the peer; one that does not count is a dry run."""

    scorer: str
    value: float
    counts: bool
    parts: list[StoryPart]


class StoryFact(Closed):
    """A fact and what came of it: so many equal ones in a row, from `first` to `time`.

    `floor` is the least that it leads to; `rule` decided, empty where nothing was to be done. `effect` is `acted-on`,
    `noted`, or why the action was not taken: `dry-run`, `unproven`, `spared` (protected: ended and not remembered).
    """

    first: float
    time: float
    times: int
    kind: str
    floor: str
    evidence: str
    proven: bool
    weight: float
    rule: str
    action: str
    effect: str


class StoryItem(Closed):
    """An item that the peer has told of: `announced`, `waiting`, `asked`, or `failed` where it did not give it."""

    id: str
    state: str


class StoryTopic(Closed):
    """Items of one topic: how many told of and still wanted, asked for, and waiting; the latest ids of each, in hex."""

    topic: str
    announced: int
    asked: int
    waiting: int
    latest: list[StoryItem]
    brought: list[str]


class Story(Closed):
    """How a session went, live or ended; `peer` is as it is, or was at the end.

    `tone` is `good`, `warn`, `bad` or empty, and `says` why, in words. `forgotten` facts had to make room for later
    ones. `claims` are what the peer said of itself. `ended` is null while it lives.
    """

    peer: Peer
    tone: str
    says: str
    states: list[StoryState]
    samples: list[StorySample]
    scores: list[StoryScore]
    facts: list[StoryFact]
    forgotten: int
    inventory: list[StoryTopic]
    claims: dict[str, str | int | bool]
    ended: float | None
    reason: str
    evidence: str
