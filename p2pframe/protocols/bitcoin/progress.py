"""What the log tells a person of a Bitcoin network, in few lines: the tip, and how the sync goes."""

from __future__ import annotations

from p2pframe.interfaces import IContext
from p2pframe.protocols.bitcoin.api import Tip
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.header import hash_hex
from p2pframe.protocols.bitcoin.header_index import HeaderIndex

SYNC_LINE_EVERY = 5.0
TIP_LINE_EVERY = 1.0


class Progress:
    """Writes the lines; at most one of a kind every few seconds while much happens."""

    def __init__(self, context: IContext, index: HeaderIndex, blocks: BlockStore) -> None:
        self._context = context
        self._index = index
        self._blocks = blocks
        self._said = self._reorganised = -SYNC_LINE_EVERY
        self._latest: Tip | None = None
        self._unsaid = 0

    def started(self, tip: Tip) -> None:
        """Headers and blocks are loaded."""
        self._context.log.info(
            "{chain} at block {height} {tip}, {headers} headers, {blocks} blocks held",
            chain=self._index.chain.name, height=tip.height, tip=hash_hex(tip.hash),
            headers=self._index.height, blocks=len(self._blocks),
        )  # fmt: skip

    def tip(self, tip: Tip) -> None:
        """The tip has changed. Of several in a short time the first is told at once, and the last a little later."""
        now = self._context.reactor.seconds()
        every = SYNC_LINE_EVERY if self._index.height > tip.height else TIP_LINE_EVERY
        if now - self._said < every:
            self._unsaid += 1
            self._latest = tip
            return
        self._say(tip, now)

    def _say(self, tip: Tip, now: float) -> None:
        self._said = now
        self._latest = None
        skipped, self._unsaid = self._unsaid, 0
        if self._index.height > tip.height:
            self._context.log.info(
                "syncing: block {height} of {headers}", height=tip.height, headers=self._index.height, skipped=skipped
            )
        else:
            self._context.log.info(
                "new tip: block {height} {tip}", height=tip.height, tip=hash_hex(tip.hash), skipped=skipped
            )

    def reorganised(self, off: int, tip: Tip, on: int) -> None:
        """Our chain has left a branch: `off` blocks were taken off, and `on` put on, up to `tip`."""
        now = self._context.reactor.seconds()
        if now - self._reorganised < TIP_LINE_EVERY:
            return  # where a block costs nothing, someone could fill the log
        self._reorganised = now
        self._context.log.info(
            "reorganisation: {off} blocks off, {on} on, from height {fork}",
            off=off, on=on, fork=tip.height - on,
        )  # fmt: skip

    def tick(self, now: float) -> None:
        """Called about once a second."""
        if self._latest is not None and now - self._said >= SYNC_LINE_EVERY:
            self._say(self._latest, now)
