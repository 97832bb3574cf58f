"""The links that the relay suite gives a policy: each notes what it is told, and what it should not have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zope.interface import implementer

from p2pframe.interfaces import ILink
from p2pframe.model import Item, ItemId, Score, SessionId, Topic


@dataclass(frozen=True, slots=True)
class Told:
    """One item of which one link was told: when, in seconds of the clock, by which verb."""

    time: float
    link: SessionId
    topic: Topic
    verb: str
    item: ItemId


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a policy broke: the method that promises it, the sentence, what was seen."""

    method: str
    sentence: str
    evidence: str


class Record:
    """What all links of one world were told, in order, and the rules that were broken on the way."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.told: list[Told] = []
        self.faults: list[Fault] = []
        self.seconds = seconds

    def fault(self, method: str, sentence: str, evidence: str) -> None:
        """Note a broken rule. Noted, not raised: the policy under test might catch it."""
        self.faults.append(Fault(method, sentence, evidence))

    def times(self, link: SessionId, item: Item) -> int:
        """How often a link was told of an item."""
        return sum(1 for one in self.told if one.link == link and one.topic == item.topic and one.item == item.id)


@implementer(ILink)
class SuiteLink:
    """A link whose hash is salted: a policy that iterates over a set of links does so in another order each run."""

    __slots__ = (
        "__weakref__", "_record", "_salt", "id", "inbound", "netgroup", "on_told", "removed", "score", "topic",
        "urgent", "verbs", "writable",
    )  # fmt: skip

    def __init__(
        self,
        record: Record,
        number: int,
        topic: Topic,
        verbs: frozenset[str],
        *,
        inbound: bool = False,
        urgent: bool = False,
        salt: int = 0,
    ) -> None:
        self._record = record
        self._salt = salt
        self.id = SessionId(number)
        self.topic = topic
        self.inbound = inbound
        self.netgroup = f"v4:10.{number}"
        self.verbs = verbs
        self.urgent = urgent
        self.writable = True
        self.score: Score | None = None
        self.removed = False
        self.on_told: Callable[[], None] | None = None
        """Called at each telling, as a session that ends in the middle of it would."""

    def __hash__(self) -> int:
        return hash((self._salt, self.id, self.topic)) * (2 * self._salt + 1)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        way = "inbound" if self.inbound else "outbound"
        return f"the {way} link {self.id} of {self.topic}"

    def announce(self, items: Sequence[Item]) -> None:
        """See `ILink.announce`."""
        self._take("announce", items)

    def request(self, ids: Sequence[ItemId]) -> None:
        """See `ILink.request`."""
        self._record.fault(
            "ILink.request", "Only core's scheduler calls it.", f"the policy asked {self} for {len(ids)} items"
        )

    def deliver(self, item: Item) -> None:
        """See `ILink.deliver`."""
        self._record.fault(
            "ILink.deliver", "Give an item that was asked for.", f"the policy delivered to {self}, which asked for none"
        )

    def push(self, item: Item) -> None:
        """See `ILink.push`."""
        self._take("push", (item,))

    def graft(self) -> None:
        """See `ILink.graft`."""
        self._check("graft")

    def prune(self) -> None:
        """See `ILink.prune`."""
        self._check("prune")

    def _take(self, verb: str, items: Sequence[Item]) -> None:
        self._check(verb)
        now = self._record.seconds()
        for item in items:
            if item.topic != self.topic:
                self._record.fault(
                    "ILink",
                    "One session and one topic, as a relay policy sees them.",
                    f"{self} was told of {item.id.hex()} of {item.topic}",
                )
            self._record.told.append(Told(now, self.id, self.topic, verb, item.id))
        if self.on_told is not None:
            self.on_told()

    def _check(self, verb: str) -> None:
        if self.removed:
            self._record.fault(
                "IRelayPolicy.link_removed", "Called when it is ending: forget the link.",
                f"{verb} was called on {self} after link_removed",
            )  # fmt: skip
        if verb not in self.verbs:
            offered = ", ".join(sorted(self.verbs))
            self._record.fault(
                "IRelayPolicy.needs",
                "Sets of verbs; the protocol must offer all verbs of at least one of them.",
                f"{verb} was called on {self}, which offers one of those sets and no more: {offered}",
            )
