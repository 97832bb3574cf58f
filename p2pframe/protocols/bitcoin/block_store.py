"""BlockStore: the blocks that are held and served, in append-only files with a prune target.

A block is appended to the newest file (`blocks-00000`, ...), then its row (`b` and its hash) is written: the storage
never makes the row durable before the bytes, so a crash loses whole blocks, which are fetched again. Pruning
deletes the rows first, then the oldest file as a whole, and only where all its blocks are more than 288 below the
height up to which every block is held (BIP159: what a pruned node has to serve). What is read is checked against the
row's checksum and the hash that it was asked by; what fails is forgotten, so that it is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import StorageError
from p2pframe.interfaces import IContext, IItemStore, INamespace
from p2pframe.model import Item, ItemId, Topic
from p2pframe.protocols.bitcoin.block_places import BlockPlaces, Place, unpack_place
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, hash_hex, header_hash
from p2pframe.protocols.bitcoin.header_index import HeaderIndex

TOPIC = Topic("block")
KEPT_BLOCKS = 288
"""Blocks behind the tip that are never pruned (BIP159)."""
LARGEST_FILE = 1 << 31
_ROWS = b"b"
_ROWS_END = b"c"
_PRUNED = b"p"
_PREFIX = "blocks-"
_PAGE = 4096
_UNKNOWN_HEIGHT = (1 << 32) - 2
"""For a block whose header is being fetched again: its file stays until the next start."""


class BlockStoreOptions(Protocol):
    """What the store reads of a configuration, each time that it needs it."""

    @property
    def block_file_size(self) -> int:
        """Bytes at which the next file is begun."""

    @property
    def prune_target(self) -> int:
        """Bytes of blocks to keep, as far as whole files and the last 288 joined blocks allow; 0 keeps all."""


class StartReport(NamedTuple):
    """What was found at start.

    Blocks held, rows dropped because their bytes are not there, files deleted because no row points into them.
    """

    held: int
    rows_dropped: int
    files_deleted: int


@implementer(IItemStore)
class BlockStore:
    """The blocks of one chain.

    `body` of its items is the block's bytes (`put` also takes a body with a `raw` attribute).

    Blocks are validated by whoever calls `put`; one whose header is not in the index is turned away. Blocks of the best
    chain below `pruned_height` were held and may be pruned: they are not fetched again, and with any pruned,
    NODE_NETWORK is not served.
    """

    def __init__(self, options: BlockStoreOptions, context: IContext, index: HeaderIndex) -> None:
        self.options = options
        self.pruned_height = 0
        self._context = context
        self._index = index
        self._places = BlockPlaces(index)
        self._storage: INamespace | None = None
        self._files: list[int] = []
        self._closed_bytes = 0
        self._tallest: dict[int, int] = {}
        self._joined = index.hash_of(0)
        self._pruning: Deferred[None] | None = None
        metrics = context.metrics
        self._turned_away = metrics.counter("blocks_turned_away_total", "Blocks not stored, by reason.", ("reason",))
        self._corrupt = metrics.counter(
            "blocks_corrupt_total", "Stored blocks that were read back damaged and forgotten."
        )
        self._dropped = metrics.counter("block_rows_dropped_total", "Rows of blocks whose bytes a crash has lost.")
        self._pruned_files = metrics.counter("block_files_pruned_total", "Block files deleted by pruning.")
        self._prune_failures = metrics.counter("block_prune_failures_total", "Prunings that the storage failed.")
        self._held_gauge = metrics.gauge("blocks_held", "Blocks in the store.")
        self._bytes_gauge = metrics.gauge("block_bytes", "Bytes of the block files.")

    # Life.

    def start(self) -> Deferred[StartReport]:
        """Read the rows, after the header index was loaded. Fails with `StorageError`."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> StartReport:
        storage = self._context.storage
        sizes = {}
        for name in storage.blobs():
            digits = name.removeprefix(_PREFIX)
            if name != digits and digits.isdigit():
                sizes[int(digits)] = storage.blob(name).size
        used: set[int] = set()
        doomed: list[bytes] = []
        after = _ROWS
        while True:
            rows = await storage.scan(after, _ROWS_END, _PAGE)
            for key, value in rows:
                place = unpack_place(value)
                if place is None or len(key) != 33 or place.offset + place.length > sizes.get(place.file, 0):
                    doomed.append(key)
                else:
                    used.add(place.file)
                    self._place(key[1:], place)
            if len(rows) < _PAGE:
                break
            after = rows[-1][0] + b"\0"
        for first in range(0, len(doomed), _PAGE):
            await storage.write(deletes=doomed[first : first + _PAGE], durable=True)
        self._dropped.add(len(doomed))
        # Left by a crash in the middle of a pruning. The newest may be about to get its first row.
        unused = [number for number in sorted(sizes)[:-1] if number not in used]
        for number in unused:
            await storage.delete_blob(_name(number))
        self._files = [number for number in sorted(sizes) if number not in unused] or [0]
        self._closed_bytes = sum(sizes[number] for number in self._files[:-1])
        self.pruned_height = int.from_bytes(await storage.get(_PRUNED) or b"", "big")
        self._storage = storage
        self._measure()
        return StartReport(self._places.count, len(doomed), len(unused))

    def stop(self) -> Deferred[None]:
        """Fires once a pruning that is under way has ended."""
        self._storage = None
        waiting: Deferred[None] = Deferred()
        if self._pruning is None:
            return succeed(None)
        self._pruning.addBoth(lambda _: waiting.callback(None))
        return waiting

    # IItemStore.

    def __len__(self) -> int:
        """Blocks held."""
        return self._places.count

    @property
    def pruned(self) -> bool:
        """Whether anything was ever pruned."""
        return self.pruned_height > 0

    @property
    def size(self) -> int:
        """Bytes of all block files."""
        return self._closed_bytes + (self._storage.blob(_name(self._files[-1])).size if self._storage else 0)

    @property
    def joined_height(self) -> int:
        """The height up to which every block of the best chain is held (or was, and is pruned).

        A download goes on from there.

        Moves as blocks come, and back where the best chain changes.
        """
        index, places = self._index, self._places
        if not index.is_active(self._joined):
            self._joined = index.fork_of(self._joined, index.tip)
        height = before = index.height_of(self._joined)
        top = index.height
        while height < top and (height + 1 < self.pruned_height or index.hash_at(height + 1) in places):
            height += 1
        if height > before:
            self._joined = index.hash_at(height)
        return height

    def have(self, id: ItemId) -> bool:
        """Whether a block is held."""
        return id in self._places

    def missing(self, hashes: Iterable[bytes]) -> list[bytes]:
        """Those of some blocks that are not held, in order."""
        places = self._places
        return [hash for hash in hashes if hash not in places]

    def get(self, id: ItemId) -> Deferred[Item | None]:
        """A block, its bytes as the item's body; None where it is not held, or was found damaged (and is forgotten)."""
        place = self._places.get(id)
        if place is None or self._storage is None:
            return succeed(None)
        reading = self._storage.blob(_name(place.file)).read(place.offset, place.length)
        return reading.addCallbacks(self._checked, self._unread, callbackArgs=(id, place), errbackArgs=(id, place))

    def _checked(self, raw: bytes, id: ItemId, place: Place) -> Item | None:
        if len(raw) == place.length and _checksum(raw) == place.checksum and header_hash(raw[:HEADER_SIZE]) == id:
            return Item(TOPIC, id, raw, len(raw))
        if self._places.get(id) == place:
            self._corrupt.add()
            self._context.log.error(
                "block {block} was read back damaged from {file} at {offset}: forgotten, to be fetched again",
                block=hash_hex(id), file=_name(place.file), offset=place.offset,
            )  # fmt: skip
            self.forget(id)
        return None

    def _unread(self, failure: Failure, id: ItemId, place: Place) -> Failure | None:
        """A read fails where the file was pruned meanwhile; any other failure is the caller's."""
        return failure if self._places.get(id) == place else None

    def put(self, item: Item) -> Deferred[bool]:
        """Hold a block. False: its header is not known, or it is too large for a file (counted)."""
        if self._storage is None:
            return fail(StorageError("the block store is not running: use it between its start and its stop"))
        if item.id in self._places:
            return succeed(True)
        raw = item.body if isinstance(item.body, bytes) else getattr(item.body, "raw", None)
        if not isinstance(raw, bytes) or not raw:
            return fail(TypeError(f"a block's body is its bytes, or has them as raw: not {type(item.body).__name__}"))
        if self._index.position(item.id) is None:
            self._turned_away.add(1, "unknown-header")
            return succeed(False)
        try:
            number = self._file_for(self._storage, len(raw))
            offset = self._storage.blob(_name(number)).append(raw)
        except StorageError:
            self._turned_away.add(1, "storage")
            return fail()
        place = Place(number, offset, len(raw), _checksum(raw))
        self._place(item.id, place)
        writing = self._storage.write([(_ROWS + item.id, place.pack())])
        return writing.addCallbacks(self._stored, self._not_stored, errbackArgs=(item.id, place))

    def _place(self, hash: bytes, place: Place) -> None:
        height = self._index.height_of(hash) if hash in self._index else _UNKNOWN_HEIGHT
        self._tallest[place.file] = max(height, self._tallest.get(place.file, 0))
        self._places.put(hash, place)

    def _stored(self, _: None) -> bool:
        self._measure()
        if self.options.prune_target and self._pruning is None and self.size > self.options.prune_target:
            pruning = self._pruning = Deferred.fromCoroutine(self._prune())
            pruning.addErrback(self._prune_failed).addBoth(self._prune_ended)
        return True

    def _not_stored(self, failure: Failure, id: ItemId, place: Place) -> Failure:
        if self._places.get(id) == place:
            self._places.drop(id)
        self._turned_away.add(1, "storage")
        return failure

    def forget(self, id: ItemId) -> None:
        """No longer hold a block: it was found to be bad. Its bytes stay until their file is pruned."""
        if id in self._places and self._storage is not None:
            self._places.drop(id)
            self._measure()
            self._storage.write(deletes=[_ROWS + id]).addErrback(
                lambda failure: self._context.log.failure("a block's row could not be deleted", failure=failure)
            )

    # Files.

    def _file_for(self, storage: INamespace, length: int) -> int:
        """The file that the next block goes to: the newest, or one more."""
        size = storage.blob(_name(self._files[-1])).size
        if size and size + length > min(self.options.block_file_size, LARGEST_FILE):
            self._files.append(self._files[-1] + 1)
            self._closed_bytes += size
        return self._files[-1]

    async def _prune(self) -> None:
        """Delete oldest files, whole ones, until the target is met or a file is needed."""
        while (storage := self._storage) is not None and len(self._files) > 1:
            target = self.options.prune_target
            if not target or self.size <= target:
                return
            oldest = self._files[0]
            tallest = self._tallest.get(oldest, 0)
            if tallest > self.joined_height - KEPT_BLOCKS:
                return
            held = self._places.in_file(oldest)
            size = storage.blob(_name(oldest)).size
            self.pruned_height = max(self.pruned_height, tallest + 1)
            for hash in held:
                self._places.drop(hash)
            self._tallest.pop(oldest, None)
            self._files.pop(0)
            self._closed_bytes -= size
            await storage.write(
                [(_PRUNED, self.pruned_height.to_bytes(4, "big"))], [_ROWS + hash for hash in held], durable=True
            )
            await storage.delete_blob(_name(oldest))
            self._pruned_files.add()
            self._measure()

    def _prune_failed(self, failure: Failure) -> None:
        """What could not be deleted is found at the next start: its rows, or a file without rows."""
        self._prune_failures.add()
        self._context.log.error("pruning block files failed: {error}", error=failure.getErrorMessage())

    def _prune_ended(self, _: None) -> None:
        self._pruning = None

    def _measure(self) -> None:
        self._held_gauge.set(self._places.count)
        self._bytes_gauge.set(self.size)


def _name(number: int) -> str:
    return f"{_PREFIX}{number:05d}"


def _checksum(raw: bytes) -> int:
    return int.from_bytes(sha256(raw).digest()[:4], "big")
