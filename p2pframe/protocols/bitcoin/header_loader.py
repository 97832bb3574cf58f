"""HeaderLoader: fills a header index from its blob, and tells a torn end from a damaged middle.

The blob is 80 bytes a header, appended in order of arrival, without the genesis header. Everything else is computed,
and each record must again pass every rule but the one about our clock, so damage shows: in proof of work, or in the
next header's link. (On regtest, where half of all hashes are proof of work, a damaged last header may pass; the next
message from any peer then makes a better chain beside it.)
"""

from __future__ import annotations

from typing import NamedTuple

from p2pframe.errors import StorageCorrupt
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, header_hash
from p2pframe.protocols.bitcoin.header_index import HeaderIndex

_LOAD_WINDOW = 2000 * HEADER_SIZE


class CorruptHeaders(StorageCorrupt):
    """A stored header is damaged, and good ones come after it. The index holds the `good` bytes before it."""

    def __init__(self, good: int, detail: str) -> None:
        self.good = good
        super().__init__(
            f"the stored headers are damaged at byte {good}: {detail}; what comes before is good, the rest is to be"
            " set aside and fetched again"
        )


class LoadResult(NamedTuple):
    """What a blob held: headers taken, and bytes of a torn end to truncate it by (0 where it was whole)."""

    headers: int
    cut: int


class HeaderLoader:
    """Fills an index from its blob, in chunks of any size.

    A record that does not belong there ends the taking. If nothing after it makes sense either, it is the torn end of a
    crash, to be cut off; if good records follow, the middle is damaged: `finish` raises `CorruptHeaders`.
    """

    def __init__(self, index: HeaderIndex) -> None:
        self._index = index
        self._rest = b""
        self._size = 0
        self._taken = 0
        self._damaged = False
        self._before: bytes | None = None
        self._sense_after = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the blob."""
        self._size += len(chunk)
        data = self._rest + chunk
        whole = len(data) - len(data) % HEADER_SIZE
        self._rest = data[whole:]
        start = 0
        while start < whole and not self._damaged:
            # A window of records at a time: where a blob holds many forks, each costs one copy of a window.
            taken = self._index.load_run(data[start : min(start + _LOAD_WINDOW, whole)])
            self._taken += taken
            self._damaged = not taken
            start += taken * HEADER_SIZE
        if start < whole:
            self._look_for_sense(data[start:whole])

    def finish(self) -> LoadResult:
        """What was loaded, and by how much to truncate the blob. Raises `CorruptHeaders`."""
        good = self._taken * HEADER_SIZE
        if self._sense_after:
            raise CorruptHeaders(good, f"record {self._taken} does not belong there, but later ones follow one another")
        return LoadResult(self._taken, self._size - good)

    def _look_for_sense(self, data: bytes) -> None:
        """Whether two records after the damage follow one another: what was torn by a crash has none such."""
        for start in range(0, len(data), HEADER_SIZE):
            if self._sense_after:
                return
            record = data[start : start + HEADER_SIZE]
            self._sense_after = self._before is not None and record[4:36] == self._before
            self._before = header_hash(record)


def load_headers(index: HeaderIndex, blob: bytes) -> LoadResult:
    """Fill an index from a whole blob. Raises `CorruptHeaders`."""
    loader = HeaderLoader(index)
    loader.feed(blob)
    return loader.finish()
