"""Laggards: dialled peers whose chain stays behind ours give their slot to others.

Whoever fills our outbound slots with nodes that are stuck, or on a chain of less work, keeps us from the better one
when it comes (Bitcoin Core's chain sync timeout). Manual peers stay: a person chose them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pframe.interfaces import Metrics
from p2pframe.model import Slot
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header import hash_hex
from p2pframe.protocols.bitcoin.header_index import HeaderIndex

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

ANSWER = 120.0
"""Seconds in which a peer has to show a better header once it was asked for one."""


class _Watch:
    """Until when a peer has to have shown as much work as our tip had when it was found behind."""

    __slots__ = ("asked", "deadline", "work")

    def __init__(self, work: int, deadline: float) -> None:
        self.work = work
        self.deadline = deadline
        self.asked = False


class Laggards:
    """Of one network. `ask` asks a peer for what follows our tip; `tip` gives our tip's hash."""

    def __init__(
        self,
        config: Callable[[], BitcoinConfig],
        index: HeaderIndex,
        metrics: Metrics,
        tip: Callable[[], bytes],
        ask: Callable[[Conversation], None],
    ) -> None:
        self._config = config
        self._index = index
        self._tip = tip
        self._ask = ask
        self._watched: dict[Conversation, _Watch | None] = {}
        self._given_up = metrics.counter(
            "peers_behind_total", "Dialled peers closed because their chain stayed behind ours."
        )

    def opened(self, peer: Conversation) -> None:
        """A session has opened."""
        if peer.session.slot in (Slot.OUTBOUND, Slot.BLOCK_RELAY):
            self._watched[peer] = None

    def closed(self, peer: Conversation) -> None:
        """A session has ended."""
        self._watched.pop(peer, None)

    def tick(self, now: float) -> None:
        """Called about once a second."""
        index, tip = self._index, self._tip()
        work = index.work_of(tip)
        for peer, watch in list(self._watched.items()):
            shown = index.work_of(peer.best_header) if peer.best_header else 0
            if shown >= work or peer.session.closing:
                self._watched[peer] = None
            elif watch is None or shown >= watch.work:
                self._watched[peer] = _Watch(work, now + self._config().behind_timeout)
            elif now >= watch.deadline and not watch.asked:
                # It may have our tip and no reason to say so, having got it from us.
                watch.asked = True
                watch.deadline = now + ANSWER
                self._ask(peer)
            elif now >= watch.deadline:
                self._given_up.add()
                shown_to = hash_hex(peer.best_header) if peer.best_header else "nothing"
                peer.session.close("behind", f"it shows {shown_to}, and we have {hash_hex(tip)}")
