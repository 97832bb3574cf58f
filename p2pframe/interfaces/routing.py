"""IRoutingTables: whom does a structured network know, by distance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zope.interface import Interface


@dataclass(frozen=True, slots=True)
class BucketView:
    """One bucket of a routing table.

    `table` names the table (of several: by its address), `depth` is how many first bits the ids of the bucket have in
    common, `own` whether our own id lies in it, `room` how many nodes it takes. `good` nodes have answered lately,
    `questionable` ones not for a while, `bad` ones failed to, several times; `replacements` wait for a place.
    `last_changed` is unix time: when a node last answered or came in, or a search last began there; 0 for never.
    """

    table: str
    depth: int
    own: bool
    room: int
    good: int
    questionable: int
    bad: int
    replacements: int
    last_changed: float

    @property
    def nodes(self) -> int:
        """How many it has."""
        return self.good + self.questionable + self.bad


class IRoutingTables(Interface):
    """A protocol with a routing table of buckets (a DHT) may also provide this: what it looks like, for people."""

    def buckets() -> Sequence[BucketView]:
        """Every bucket of every table, table by table, by depth, at most a few hundred.

        A bucket has no more nodes than room, and its `last_changed` is not in the future. Must be cheap: it is read for
        a page that refreshes itself.
        """
