"""What the scheduler keeps: an item that is wanted, a peer that has announced some, a topic. Plain slotted records.

A hostile peer makes as many of them as its bounds allow: about 300 bytes for an item that nobody else has, with its id,
and 50 for one more announcement of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from p2pframe.interfaces import TopicRules
from p2pframe.model import ItemId, SessionId, Topic

NEVER = float("inf")


class Wanted:
    """An item that is wanted: who has it, and who is being asked."""

    __slots__ = ("alive", "announcers", "asked", "deadline", "id", "owner", "preferred", "timeout", "topic", "urgent")

    def __init__(self, id: ItemId, topic: Requests, owner: Announcer | None, timeout: float) -> None:
        self.id = id
        self.topic = topic
        self.announcers: list[Announcer] = []
        self.preferred: list[Announcer] | None = None
        self.owner = owner
        self.asked: Announcer | None = None
        self.deadline = 0.0
        self.timeout = timeout
        self.urgent = False
        self.alive = True


class Announcer:
    """One session and one topic.

    `ids` says from when on the peer may be asked for each item that it has announced: 0.0 at once, `NEVER` where it was
    asked already. `waiting` holds items that nobody is asked for because all who may be are full; entries whose item is
    asked elsewhere by now are skipped. `owned` counts the items that this peer was the first to announce.
    """

    __slots__ = ("delayed", "flying", "ids", "inbound", "owned", "rush", "session", "topic", "waiting", "wake")

    def __init__(self, session: SessionId, topic: Requests) -> None:
        self.session = session
        self.topic = topic
        self.inbound = False
        self.ids: dict[ItemId, float] = {}
        self.flying: dict[ItemId, Wanted] = {}
        self.waiting: dict[ItemId, Wanted] = {}
        self.rush: dict[ItemId, Wanted] | None = None
        self.delayed: deque[tuple[float, list[Wanted]]] | None = None
        self.owned = 0
        self.wake = NEVER


class Requests:
    """One topic: its rules, its items, and the peers that have announced any of them."""

    __slots__ = ("exhausted", "items", "name", "peers", "rules")

    def __init__(self, name: Topic, rules: TopicRules) -> None:
        self.name = name
        self.rules = rules
        self.items: dict[ItemId, Wanted] = {}
        self.peers: dict[SessionId, Announcer] = {}
        self.exhausted: list[Callable[[ItemId], None]] = []
