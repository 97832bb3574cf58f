"""What the operator of a Bitcoin node should look at: no new block, a sync that stands still, a second branch.

How long is too long without a block: blocks come at random, `spacing` apart in the mean, so a gap is longer than t with
the probability e^(-t / spacing). A year has n = year / spacing gaps, and the bound is where one of them is expected to
be longer: n e^(-t / spacing) = 1. For Bitcoin's ten minutes that is 109 minutes. Where blocks come a tenth more slowly,
as before a change of difficulty, chance alone gives one in five months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log

from p2pframe.interfaces import Alert, IContext
from p2pframe.protocols.bitcoin.header import hash_hex
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.headers import claimed_work

YEAR = 365 * 86_400.0
STILL = 600.0
"""Seconds without a block joined, where there are some to join, after which the sync stands still."""
HEADERS_STILL = 1_800.0
"""The same without a header: a first pass over all of them, which stores none, may take a quarter of an hour."""
ARRIVALS = 500
"""Latest headers that are looked through for branches."""
DEPTH = 2
"""Blocks of a branch from which on it is no everyday race of two miners."""
CLOSE = 2
"""Blocks of work that a branch may be behind and still compete."""


class ChainWatch:
    """Of one network. `joined` gives the hash of the last block up to which all are held."""

    def __init__(self, context: IContext, index: HeaderIndex, joined: Callable[[], bytes]) -> None:
        self._network = context.network
        self._clock = context.reactor
        self._index = index
        self._joined = joined
        self._started = False
        self._news = self._progress = 0.0
        self._tip = b""

    def start(self) -> None:
        """Headers and blocks are loaded."""
        self._started = True
        self._news = self._progress = self._clock.seconds()

    def news(self) -> None:
        """The chain of headers has a new end."""
        self._news = self._clock.seconds()

    def tick(self, now: float) -> None:
        """Called about once a second."""
        tip = self._joined()
        if tip != self._tip or self._index.work_of(tip) >= self._index.work:
            self._tip = tip
            self._progress = now

    def alerts(self) -> list[Alert]:
        """See `IAlerts.alerts`."""
        if not self._started:
            return []
        now = self._clock.seconds()
        return [*self._partition(now), *self._stalled(now), *self._competing()]

    def _partition(self, now: float) -> Iterator[Alert]:
        chain, quiet = self._index.chain, now - self._news
        # Without a difficulty to hold the pace there is none to expect.
        if chain.retargets and quiet > longest_gap(chain.target_spacing):
            yield Alert(
                "partition", False, self._network,
                f"{self._network}: no peer has shown a new block for {quiet / 60:.0f} minutes, where one is expected "
                f"every {chain.target_spacing / 60:.0f}: by chance that is about once a year.",
                "Partition suspicion: compare the tip with a node or an explorer elsewhere; add peers of other "
                "networks by hand.",
            )  # fmt: skip

    def _stalled(self, now: float) -> Iterator[Alert]:
        index = self._index
        if not index.has_minimum_work:
            if now - self._news > HEADERS_STILL:
                yield Alert(
                    "stalled-sync", False, self._network,
                    f"{self._network}: the sync stands at header {index.height}: no new one for "
                    f"{(now - self._news) / 60:.0f} minutes, and the chain is known to be longer.",
                    "See Peers for any that serve blocks; add one that is known to be good by hand.",
                )  # fmt: skip
        elif now - self._progress > STILL:
            tip = self._joined()
            yield Alert(
                "stalled-sync", False, self._network,
                f"{self._network}: the sync stands at block {index.height_of(tip)} of {index.height} for "
                f"{(now - self._progress) / 60:.0f} minutes.",
                "Nobody gives the next block: see Peers for timeouts, the log for errors of storage; add a peer that "
                "is known to be good by hand.",
            )  # fmt: skip

    def _competing(self) -> Iterator[Alert]:
        found = self._branch()
        if found is None:
            return
        hash, depth = found
        index = self._index
        block = claimed_work(index.header(index.tip))
        behind = round((index.work - index.work_of(hash)) / block)
        if behind < 0:
            how = "more work than ours, and is invalid by our rules"
        elif behind:
            how = f"{behind} block{'s' if behind > 1 else ''} less of work than ours"
        else:
            how = "as much work as ours"
        yield Alert(
            "competing-branches", False, self._network,
            f"{self._network}: a branch of {'at least ' * (depth >= ARRIVALS)}{depth} blocks up to height "
            f"{index.height_of(hash)}, {hash_hex(hash)}, has {how}.",
            "Blocks may be undone: wait for more confirmations, and compare the tip with a node elsewhere.",
        )  # fmt: skip

    def _branch(self) -> tuple[bytes, int] | None:
        """The strongest recent branch beside the best chain that competes with it, and how many blocks it has."""
        index = self._index
        enough = index.work - CLOSE * claimed_work(index.header(index.tip))
        depths: dict[bytes, int] = {}
        best: tuple[bytes, int] | None = None
        most = 0
        # In the order of arrival, so parents come first, whoever made the branch and however long it is.
        for position in range(max(1, len(index) - ARRIVALS), len(index)):
            hash = index.hash_of(position)
            if index.is_active(hash):
                continue
            parent = index.parent_of(hash)
            depth = depths[hash] = 1 if index.is_active(parent) else min(depths.get(parent, ARRIVALS) + 1, ARRIVALS)
            work = index.work_of(hash)
            # One that is invalid is of interest where it has more work: others may think that it is not.
            if depth >= DEPTH and work > most and work >= (index.work + 1 if index.is_invalid(hash) else enough):
                best, most = (hash, depth), work
        return best


def longest_gap(spacing: float) -> float:
    """Seconds that the longest gap between two blocks in a year is expected to be, blocks being `spacing` apart."""
    return spacing * log(YEAR / spacing)
