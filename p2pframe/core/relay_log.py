"""The line about what spreads.

Once a minute, how many items of each topic were new, and how often peers were told of them.
"""

from __future__ import annotations

from twisted.logger import Logger

from p2pframe.model import Topic

EVERY = 60.0
"""Seconds between two lines."""


class RelayLog:
    """Counts the items of one network between two lines. Times are seconds of the reactor's clock."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._new: dict[Topic, int] = {}
        self._told: dict[Topic, int] = {}
        self._since: float | None = None

    def accepted(self, topic: Topic) -> None:
        """An item is good, and new to us."""
        self._new[topic] = self._new.get(topic, 0) + 1

    def told(self, topic: Topic, count: int) -> None:
        """A peer was told of that many items."""
        self._told[topic] = self._told.get(topic, 0) + count

    def flush(self, now: float, everything: bool = False) -> None:
        """Write the line if it is time and there is something to say.

        Called with every tick, and at stop with `everything`.
        """
        if self._since is None:
            self._since = now
        if now - self._since < EVERY and not everything:
            return
        topics = sorted({*self._new, *self._told})
        if topics:
            self._log.info(
                "items in {seconds} s: {items}",
                seconds=round(now - self._since),
                items=", ".join(
                    f"{self._new.get(topic, 0)} {topic} new, told to peers {self._told.get(topic, 0)} times"
                    for topic in topics
                ),
            )
            self._new.clear()
            self._told.clear()
        self._since = now
