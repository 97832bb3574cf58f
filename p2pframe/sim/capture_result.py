"""What comes of playing a capture, as plain data. Times are virtual seconds after the first record."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pframe.sim.capture_peer import Pace


@dataclass(frozen=True, slots=True)
class Ended:
    """How the session ended: `seconds` after the first record, and whether it had opened."""

    seconds: float
    reason: str
    evidence: str
    opened: bool


@dataclass(frozen=True, slots=True)
class SeenFact:
    """A fact about the peer, and what came of it; see `HeardFact`."""

    seconds: float
    kind: str
    evidence: str
    times: int
    proven: bool
    action: str
    rule: str
    effect: str


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the node: what it decided, by which rule, for which reason, on what evidence (empty: not said)."""

    seconds: float
    kind: str
    peer: str
    action: str
    rule: str
    reason: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A ban or discouragement that is in force at the end."""

    subject: str
    scope: str
    action: str
    rule: str
    reason: str
    evidence: str


@dataclass(slots=True)
class Replayed:
    """What came of it. Texts have no control characters, whoever wrote them.

    `notes` say in which way it was not as it had been.
    `played` are the records that had their turn, out of `records`. `answered` are the bytes that the node said, and
    `answered_then` those of the capture: they are counted and not compared, since nonces differ. `impatient` counts the
    records for which the node had not said as much as then. `trace` is that of the simulation.
    """

    network: str
    peer: str
    slot: str
    agent: str
    began: float
    records: int
    seconds: float
    seed: int
    pace: Pace
    notes: list[str] = field(default_factory=list)
    played: int = 0
    said: int = 0
    answered: int = 0
    answered_then: int = 0
    impatient: int = 0
    session: str = "none"
    """Its state at the end: `none` where the node made none."""
    ended: Ended | None = None
    score: float | None = None
    messages_in: dict[str, int] = field(default_factory=dict)
    messages_out: dict[str, int] = field(default_factory=dict)
    facts: list[SeenFact] = field(default_factory=list)
    events: list[Happened] = field(default_factory=list)
    penalties: list[Kept] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    left_out: int = 0
    """Events and log lines beyond those kept."""
    trace: str = ""
