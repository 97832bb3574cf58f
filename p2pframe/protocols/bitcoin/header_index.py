"""HeaderIndex: the tree of stored headers, its chain with the most work, and the blob that it is rebuilt from.

Memory (measured with 950,000 headers: about 280 bytes a header): the raw headers in one bytearray, arrays of numbers,
one dict from hash to position. A position is the order of arrival, 0 for the genesis header; a parent's is always
lower.

On disk a header is its 80 bytes, in order of arrival, without the genesis header: see `header_loader`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from struct import Struct
from typing import NamedTuple

from p2pframe.protocols.bitcoin.chains import Chain
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, hash_hex, header_hash
from p2pframe.protocols.bitcoin.headers import (
    MEDIAN_SPAN,
    HeaderContext,
    HeaderError,
    HeaderRun,
    NotContinuous,
    check_headers,
    genesis_context,
    run_headers,
    work_of_bits,
)

_TIME_BITS = Struct("<II")
_TIME_AT = 68
_LOW = (1 << 64) - 1
_LOCATOR_DENSE = 10
RECENT_BLOCKS = 144
"""Blocks of work that a new chain may be behind our tip with its headers still worth storing (as in Bitcoin Core)."""


class DoesNotConnect(HeaderError):
    """The first header follows one that is not known: ask for what is between; no offence. `previous` is that hash."""

    offence = False

    def __init__(self, previous: bytes) -> None:
        self.previous = previous
        super().__init__(0, "does-not-connect", f"follows {hash_hex(previous)}, which is not known")


class TooLittleWork(HeaderError):
    """The chain would have less work than any chain worth storing; its sender has to go through presync."""

    offence = False


class InvalidAncestor(HeaderError):
    """A header that follows one whose block was found to be invalid."""


class IndexFull(HeaderError):
    """The index holds as many headers as it may."""

    offence = False


class Reorganisation(NamedTuple):
    """How the best chain changed. Hashes, in the order in which blocks are to be taken off and put on."""

    disconnected: Sequence[bytes]
    connected: Sequence[bytes]
    fork_height: int


class AddResult(NamedTuple):
    """What became of headers.

    How many are new and how many were known; the bytes to append to the blob (the new ones); the last one's hash; how
    the best chain changed (None where it didn't).
    """

    new: int
    known: int
    stored: bytes
    last: bytes
    change: Reorganisation | None


class HeaderIndex:
    """The stored headers of a chain.

    `limit` bounds how many there can be, `side_limit` how many of them off the best chain: near the tip of a chain of
    little difficulty (regtest, signet) headers cost their maker next to nothing. A branch that becomes the best chain
    is always taken. `turned_away` counts headers that a limit or the minimum work refused.
    """

    def __init__(self, chain: Chain, limit: int = 5_000_000, side_limit: int = 100_000) -> None:
        self.chain = chain
        self.limit = limit
        self.side_limit = side_limit
        self.turned_away = 0
        self.invalid: set[bytes] = set()
        """Hashes that were marked invalid (not their descendants).

        The caller keeps them and marks them again after a load.
        """
        context = genesis_context(chain)
        self._raw = bytearray(chain.genesis_header)
        self._hashes: list[bytes] = [context.hash]
        self._positions: dict[bytes, int] = {context.hash: 0}
        self._parents = array("I", [0])
        self._heights = array("I", [0])
        self._work_low = array("Q", [context.work & _LOW])
        self._work_high = array("Q", [context.work >> 64])
        self._bad = bytearray(1)
        self._active = array("I", [0])
        self._tip = 0
        self._last = (0, context)

    # What is there.

    def __len__(self) -> int:
        """Headers held, the genesis header included."""
        return len(self._hashes)

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._positions

    @property
    def tip(self) -> bytes:
        """The hash of the last header of the chain with the most work (the first seen of several)."""
        return self._hashes[self._tip]

    @property
    def height(self) -> int:
        """The tip's height; the genesis header's is 0."""
        return len(self._active) - 1

    @property
    def work(self) -> int:
        """The total work of the best chain, in expected hashes."""
        return self._work(self._tip)

    @property
    def tip_time(self) -> int:
        """The tip's time, unix seconds."""
        return self.time_of(self.tip)

    @property
    def work_wanted(self) -> int:
        """The least total work of a chain whose headers are taken without presync.

        The chain's minimum, and no more than a day behind our tip.
        """
        block = work_of_bits(self._time_bits(self._tip)[1])
        return max(self.chain.minimum_chain_work, self.work - RECENT_BLOCKS * block)

    @property
    def has_minimum_work(self) -> bool:
        """Whether the best chain has the work that the real one is known to have: before that, it is not served."""
        return self.work >= self.chain.minimum_chain_work

    def position(self, hash: bytes) -> int | None:
        """The order of arrival of a header: a small stable number, or None if it is not held."""
        return self._positions.get(hash)

    def hash_of(self, position: int) -> bytes:
        """The hash of the header that arrived as the `position`th; raises IndexError where there was none."""
        return self._hashes[position]

    def header(self, hash: bytes) -> bytes:
        """The 80 bytes of a header. This and the other look-ups by hash raise KeyError for one that is not held."""
        return self._header_at(self._positions[hash])

    def height_of(self, hash: bytes) -> int:
        """A header's height."""
        return self._heights[self._positions[hash]]

    def work_of(self, hash: bytes) -> int:
        """The total work of the chain that ends in a header."""
        return self._work(self._positions[hash])

    def time_of(self, hash: bytes) -> int:
        """A header's time, unix seconds."""
        return self._time_bits(self._positions[hash])[0]

    def parent_of(self, hash: bytes) -> bytes:
        """The hash that a header follows (the genesis header's own for itself)."""
        return self._hashes[self._parents[self._positions[hash]]]

    def is_active(self, hash: bytes) -> bool:
        """Whether a header is on the best chain; False for one that is not held."""
        position = self._positions.get(hash)
        return position is not None and self._is_active(position)

    def is_invalid(self, hash: bytes) -> bool:
        """Whether a header, or one that it follows, was marked invalid."""
        return bool(self._bad[self._positions[hash]])

    def hash_at(self, height: int) -> bytes:
        """The hash of the best chain's header at a height; raises IndexError above the tip or below 0."""
        if height < 0:
            raise IndexError(height)
        return self._hashes[self._active[height]]

    def hashes_between(self, first: int, count: int) -> list[bytes]:
        """At most `count` hashes of the best chain from height `first` on: what a block download works through."""
        hashes = self._hashes
        return [hashes[position] for position in self._active[max(first, 0) : max(first, 0) + count]]

    def ancestor(self, hash: bytes, height: int) -> bytes:
        """The hash at `height` of the chain that ends in `hash`.

        Raises ValueError where that is above it or below 0.
        """
        position = self._positions[hash]
        if not 0 <= height <= self._heights[position]:
            raise ValueError(f"height {height} is not on the chain to {hash_hex(hash)}")
        return self._hashes[self._ancestor(position, height)]

    def fork_of(self, one: bytes, other: bytes) -> bytes:
        """The hash of the last header that two chains share."""
        a, b = self._positions[one], self._positions[other]
        level = min(self._heights[a], self._heights[b])
        a, b = self._ancestor(a, level), self._ancestor(b, level)
        while a != b:
            if self._is_active(a) and self._is_active(b):
                break
            a, b = self._parents[a], self._parents[b]
        return self._hashes[a]

    def context_of(self, hash: bytes) -> HeaderContext:
        """What the chain that ends in `hash` leaves to the next header."""
        return self._context(self._positions[hash])

    # Asking.

    def locator(self, hash: bytes | None = None) -> list[bytes]:
        """Hashes from `hash` (the tip) back to the genesis header: ten one by one, then at doubling steps."""
        position = self._tip if hash is None else self._positions[hash]
        hashes, step = [self._hashes[position]], 1
        while self._heights[position]:
            position = self._ancestor(position, max(self._heights[position] - step, 0))
            hashes.append(self._hashes[position])
            if len(hashes) >= _LOCATOR_DENSE:
                step *= 2
        return hashes

    # Adding.

    def add_headers(self, headers: bytes | Sequence[bytes], now: float, work_proven: bool = False) -> AddResult:
        """Judge headers by every rule, and hold those that are new: all of them or none.

        `headers` are 80 bytes each, in order, each following the one before; `now` is unix time in seconds. Headers
        whose chain has less than the chain's minimum work are refused, unless `work_proven` says that presync has seen
        the work to come. Append `stored` of the result to the blob.

        Raises `DoesNotConnect` (ask for the gap), `NotContinuous` and `BadProofOfWork` (the session closes),
        `RuleBroken`, `InvalidAncestor`, `TimeTooNew`, `TooLittleWork`, `IndexFull`; ValueError for bytes that are not
        headers.
        """
        raw = headers if isinstance(headers, bytes) else b"".join(headers)
        if not raw:
            return AddResult(0, 0, b"", self.tip, None)
        parent = self._positions.get(raw[4:36])
        if parent is None:
            check_headers(self.chain, raw)
            raise DoesNotConnect(raw[4:36])
        known, parent = self._skip_known(raw, parent)
        count = len(raw) // HEADER_SIZE - known
        if self._bad[parent]:
            raise InvalidAncestor(known, "invalid-ancestor", f"follows {hash_hex(self._hashes[parent])}")
        if not count:
            return AddResult(0, known, b"", self._hashes[parent], None)
        if len(self) + count > self.limit:
            self.turned_away += count
            raise IndexFull(known, "index-full", f"{len(self)} headers are held, and {self.limit} may be")
        new = raw[known * HEADER_SIZE :]
        run = run_headers(self.chain, self._context(parent), new, now)
        if run.error is not None:
            run.error.index += known
            raise run.error
        if not work_proven and run.context.work < self.chain.minimum_chain_work:
            self.turned_away += count
            detail = (
                f"{run.context.work:#x} at height {run.context.height}, and the chain has "
                f"{self.chain.minimum_chain_work:#x}"
            )
            raise TooLittleWork(known, "too-little-work", detail)
        if run.context.work <= self.work and len(self) - len(self._active) + count > self.side_limit:
            self.turned_away += count
            raise IndexFull(known, "too-many-branches", f"{self.side_limit} headers off the best chain are held")
        self._hold(parent, run, new)
        return AddResult(count, known, new, run.context.hash, self._choose(run))

    def _skip_known(self, raw: bytes, parent: int) -> tuple[int, int]:
        """How many headers at the start are known, and the position of the last of them (else of the parent)."""
        positions, known = self._positions, 0
        for start in range(0, len(raw) - HEADER_SIZE + 1, HEADER_SIZE):
            if raw[start + 4 : start + 36] != self._hashes[parent]:
                raise NotContinuous(known, "not-continuous", f"does not follow {hash_hex(self._hashes[parent])}")
            position = positions.get(header_hash(raw[start : start + HEADER_SIZE]))
            if position is None:
                break
            known, parent = known + 1, position
        return known, parent

    def _hold(self, parent: int, run: HeaderRun, raw: bytes) -> None:
        """Put the run's headers in, all valid and none known."""
        first, count = len(self._hashes), len(run.hashes)
        self._raw += raw[: count * HEADER_SIZE]
        self._positions.update(zip(run.hashes, range(first, first + count), strict=True))
        self._hashes += run.hashes
        self._parents.append(parent)
        self._parents.extend(range(first, first + count - 1))
        self._heights.extend(range(run.context.height - count + 1, run.context.height + 1))
        self._work_low.extend([work & _LOW for work in run.works])
        if run.works[0] >> 64 == run.works[-1] >> 64:
            self._work_high.extend(repeat(run.works[0] >> 64, count))
        else:
            self._work_high.extend([work >> 64 for work in run.works])
        self._bad += bytes(count)
        self._last = (len(self._hashes) - 1, run.context)

    def _choose(self, run: HeaderRun) -> Reorganisation | None:
        """After a run was held: follow it where it has more work than the tip."""
        if run.context.work <= self.work:
            return None
        first = len(self._hashes) - len(run.hashes)
        if self._parents[first] == self._tip:
            fork = self.height
            self._active.extend(range(first, len(self._hashes)))
            self._tip = len(self._hashes) - 1
            return Reorganisation((), run.hashes, fork)
        return self._move(len(self._hashes) - 1)

    def _move(self, tip: int) -> Reorganisation:
        """Make `tip` the end of the best chain."""
        branch = []
        position = tip
        while not self._is_active(position):
            branch.append(position)
            position = self._parents[position]
        branch.reverse()
        fork = self._heights[position]
        gone = self._active[:fork:-1]
        del self._active[fork + 1 :]
        self._active.extend(branch)
        self._tip = tip
        hashes = self._hashes
        return Reorganisation([hashes[p] for p in gone], [hashes[p] for p in branch], fork)

    def mark_invalid(self, hash: bytes) -> Reorganisation | None:
        """A block's body is invalid: its header and all that follow it are never part of the best chain again.

        Raises KeyError for an unknown hash, ValueError for the genesis header's. Looks through every header once.
        """
        first = self._positions[hash]
        if not first:
            raise ValueError("the genesis block can't be invalid")
        self.invalid.add(hash)
        if self._bad[first]:
            return None
        bad, parents = self._bad, self._parents
        bad[first] = 1
        for position in range(first + 1, len(parents)):
            if bad[parents[position]]:
                bad[position] = 1
        if not bad[self._tip]:
            return None
        best, most = 0, -1
        for position, (spoilt, high, low) in enumerate(zip(bad, self._work_high, self._work_low, strict=True)):
            if not spoilt:
                work = high << 64 | low
                if work > most:
                    best, most = position, work
        return self._move(best)

    # The blob.

    def stored(self, first: int = 1) -> bytes:
        """What a blob with everything held from position `first` on would hold: for writing it anew."""
        return bytes(self._raw[first * HEADER_SIZE :])

    def load_run(self, raw: bytes) -> int:
        """Hold the good stored headers at the start that follow one another; how many there were.

        For the loader: what is in our blob was judged by the clock when it came, and had the work.
        """
        parent = self._positions.get(raw[4:36])
        if parent is None:
            return 0
        run = run_headers(self.chain, self._context(parent), raw, None)
        # A header that is held already can't have been appended by us: it would be a second key of one record.
        if not run.hashes or run.hashes[0] in self._positions:
            return 0
        self._hold(parent, run, raw)
        self._choose(run)
        return len(run.hashes)

    # Positions.

    def _is_active(self, position: int) -> bool:
        height = self._heights[position]
        return height < len(self._active) and self._active[height] == position

    def _header_at(self, position: int) -> bytes:
        return bytes(self._raw[position * HEADER_SIZE : (position + 1) * HEADER_SIZE])

    def _time_bits(self, position: int) -> tuple[int, int]:
        time, bits = _TIME_BITS.unpack_from(self._raw, position * HEADER_SIZE + _TIME_AT)
        return time, bits

    def _work(self, position: int) -> int:
        return self._work_high[position] << 64 | self._work_low[position]

    def _ancestor(self, position: int, height: int) -> int:
        """Down a fork step by step, along the best chain at once."""
        while self._heights[position] > height:
            if self._is_active(position):
                return self._active[height]
            position = self._parents[position]
        return position

    def _times(self, position: int) -> tuple[int, ...]:
        times = []
        for _ in range(min(MEDIAN_SPAN, self._heights[position] + 1)):
            times.append(self._time_bits(position)[0])
            position = self._parents[position]
        return tuple(reversed(times))

    def _context(self, position: int) -> HeaderContext:
        """Kept for the last header held, which is the one that the next message follows; worked out for any other."""
        if self._last[0] == position:
            return self._last[1]
        height = self._heights[position]
        time, bits = self._time_bits(position)
        period = self._ancestor(position, height - height % self.chain.interval)
        period_time, period_bits = self._time_bits(period)
        ordinary = bits
        if self.chain.min_difficulty_blocks:
            at = position
            while at != period and ordinary == self.chain.pow_limit_bits:
                at = self._parents[at]
                ordinary = self._time_bits(at)[1]
        context = HeaderContext(
            hash=self._hashes[position],
            height=height,
            time=time,
            bits=bits,
            times=self._times(position),
            period_time=period_time,
            period_bits=period_bits,
            ordinary_bits=ordinary,
            work=self._work(position),
        )
        self._last = (position, context)
        return context
