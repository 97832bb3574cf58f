"""The sqlite plugin: two stores, so that what is corrupt and can be fetched again never takes along what can't.

Under the plugin's folder::

    kept/          keys.sqlite, blobs/NETWORK/OWNER/NAME    bans, audit, what applications store
    rebuildable/   the same                                 chains, blocks, addresses: peers have them too
    running        there while the node runs: found at a start, the last stop was not clean, and both are checked

A corrupt `rebuildable/` is renamed to `rebuildable.corrupt-N` and begun anew; a corrupt `kept/` stops the start.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import StartError, StorageCorrupt, StorageError
from p2pframe.interfaces import IContext, INamespace, IReconfigurable, IStorage
from p2pframe.plugin import Duration, Field, PluginConfig, Size, live, plugin
from p2pframe.storage.sqlite.disk import Disk, explained
from p2pframe.storage.sqlite.namespace import SqliteNamespace
from p2pframe.storage.sqlite.store import Store
from p2pframe.storage.sqlite.worker import Worker

REBUILDABLE_KINDS = frozenset(
    ("transport", "upgrade", "protocol", "validator", "item-store", "discovery", "topology", "relay", "scoring")
)
REBUILDABLE_OWNERS = frozenset(("core.network",))
"""Whose data a node finds again by itself: plugins of these kinds, and core's address books. All others' is kept."""
LOOK_INTERVAL = 10.0
"""Seconds between two looks at the free space; a tenth of it while there is too little."""


class SqliteConfig(PluginConfig):
    """Options of `sqlite`."""

    write_behind: Duration = live(
        1.0, gt=0, le=5, description="How long a write that nobody waits for may wait for others."
    )
    pending_bytes: Size = live(
        32_000_000,
        ge=65536,
        description="Waiting bytes, in each of the two databases, beyond which writers are held up.",
    )
    reads: int = live(10_000, ge=1, description="Reads that may wait for the disk.")
    free_space: Size = live(200_000_000, description="Stop growing when the disk has less than this free.")
    corrupt_copies: int = Field(
        1, ge=0, le=100, description="Corrupt data set aside is kept this many times, the latest."
    )


@plugin("sqlite", config=SqliteConfig)
@implementer(IStorage, IReconfigurable)
class SqliteStorage:
    """Embedded storage: SQLite for keys, files for blobs, written behind, durable when asked.

    Every commit syncs, so what has been committed survives a power cut. `disk` may be replaced before the start, by a
    test.
    """

    def __init__(self, config: SqliteConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.disk = Disk()
        self.worker = Worker(context.work)
        self.clean_start = True
        self._state = "new"
        self._free = 0
        self._damaged = False
        self._low = False
        self._looker: IDelayedCall | None = None
        self._stores: tuple[Store, ...] = ()
        self._namespaces: dict[tuple[str, str], SqliteNamespace] = {}
        metrics = context.metrics
        self._pending_gauge = metrics.gauge("storage_pending_bytes", "Bytes that wait to be written.")
        self._free_gauge = metrics.gauge("storage_free_bytes", "Bytes free on the disk of the storage.")
        self._floor_gauge = metrics.gauge("storage_floor_bytes", "Free bytes under which nothing grows (free_space).")
        self._commits = metrics.counter("storage_commits_total", "Groups of writes made durable.", ("store",))
        self._seconds = metrics.counter(
            "storage_commit_seconds_total", "Seconds from asking for a commit to its end.", ("store",)
        )
        self._refused = metrics.counter(
            "storage_refused_total", "Writes that the storage engine refused, by what they were.", ("what",)
        )
        self._errors = metrics.counter("storage_errors_total", "Reads and commits that failed, by error.", ("error",))
        self._set_aside = metrics.counter("storage_set_aside_total", "Corrupt databases set aside and begun anew.")

    # IStorage

    def start(self) -> Deferred[None]:
        """Open, check, migrate; see `IStorage`."""
        if self._state != "new":
            return fail(StorageError(f"the sqlite storage is {self._state}: build a new one to start again"))
        self._state = "starting"
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        folder = self.context.data_dir
        self._stores = (Store(self, "kept", folder / "kept"), Store(self, "rebuildable", folder / "rebuildable"))
        try:
            notes = await self.worker.write(lambda: self._open(folder))
        except StartError:
            self._state = "failed"
            raise
        except StorageError as error:
            self._state = "failed"
            raise StartError(f"the storage can't start: {error}") from error
        for copy in notes:
            self._set_aside.add()
            self.context.log.error(
                "the database was corrupt: set aside as {copy} and begun anew; delete that when nobody wants to look "
                "at it",
                copy=str(copy),
            )
        for store in self._stores:
            if store.opened().upgraded_from is not None:
                self.context.log.info(
                    "upgraded {folder} from schema {schema}",
                    folder=str(store.folder),
                    schema=store.opened().upgraded_from,
                )
        self._state = "running"
        self._looked(self._free)

    def stop(self) -> Deferred[None]:
        """Write everything and close; fails with `StorageError` where the disk did not take it all."""
        if self._state != "running":
            return succeed(None)
        self._state = "stopping"
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._looker is not None:
            self._looker.cancel()
            self._looker = None
        lost: StorageError | None = None
        for store in self._stores:
            try:
                await store.drain()
            except StorageError as error:
                lost = error
        clean = lost is None and not self._damaged
        try:
            await self.worker.write(lambda: self._close(clean))
        finally:
            for store in self._stores:
                store.forget(tell=True)
            self._state = "stopped"
            self.changed()
        if lost is not None:
            raise type(lost)(f"the storage stopped and what was written last is lost: {lost}")

    def abandon(self) -> None:
        """Stop as a crash would: nothing more is written and nobody is told. For the simulator and tests."""
        if self._looker is not None:
            self._looker.cancel()
            self._looker = None
        self._state = "stopped"
        for store in self._stores:
            store.forget(tell=False)
            store.close()

    def namespace(self, network: str, owner: str) -> INamespace:
        """The namespace of a plugin; the same one each time."""
        self.check()
        space = self._namespaces.get((network, owner))
        if space is None:
            kept, rebuildable = self._stores
            again = owner in REBUILDABLE_OWNERS or owner.partition(".")[0] in REBUILDABLE_KINDS
            space = self._namespaces[network, owner] = SqliteNamespace(rebuildable if again else kept, network, owner)
        return space

    def reconfigure(self, config: object) -> None:
        """Take new bounds; they count from the next write on."""
        assert isinstance(config, SqliteConfig)
        self.config = config
        self._floor_gauge.set(config.free_space)
        self._low = self.spare() <= 0

    # For the stores

    @property
    def write_behind(self) -> float:
        """Seconds."""
        return self.config.write_behind

    @property
    def pending_bytes(self) -> int:
        """Bytes, for each store."""
        return self.config.pending_bytes

    @property
    def reads(self) -> int:
        """Reads that may wait."""
        return self.config.reads

    def check(self) -> None:
        """Raises `StorageError` unless the engine is between start and stop."""
        if self._state != "running":
            raise StorageError(f"the sqlite storage is {self._state}: use it between its start and its stop")

    def spare(self) -> int:
        """Bytes that may still be written before the floor, by the last look at the disk."""
        return self._free - self.config.free_space - sum(store.pending for store in self._stores)

    def refuse(self, what: str, error: StorageError) -> StorageError:
        """Count a refusal."""
        self._refused.add(1, what)
        return error

    def committed(self, store: Store, seconds: float, free: int) -> None:
        """A group is on disk."""
        self._commits.add(1, store.label)
        self._seconds.add(seconds, store.label)
        self._noted(free)

    def failed(self, store: Store, error: StorageError, first: bool) -> None:
        """A read or a commit failed; `first` for a commit after one that did not."""
        self._errors.add(1, type(error).__name__)
        if isinstance(error, StorageCorrupt):
            self._damaged = True
        if first:
            self.context.log.error(
                "{folder} takes no writes, trying again until it does: {error}",
                folder=str(store.folder),
                error=str(error),
            )

    def changed(self) -> None:
        """More or less waits to be written."""
        self._pending_gauge.set(sum(store.pending for store in self._stores))

    # Free space

    def _look(self) -> None:
        self._looker = None
        folder = self._stores[0].folder
        self.worker.read(lambda: self.disk.free(folder), self.config.reads).addCallbacks(
            self._looked, self._look_failed
        )

    def _look_failed(self, failure: Failure) -> None:
        self._errors.add(1, failure.type.__name__ if failure.type is not None else "unknown")
        self._looked(self._free)

    def _looked(self, free: int) -> None:
        if self._state == "running":
            self._noted(free)
            self._looker = self.context.reactor.callLater(
                LOOK_INTERVAL / 10 if self._low else LOOK_INTERVAL, self._look
            )

    def _noted(self, free: int) -> None:
        self._free = free
        self._free_gauge.set(free)
        self._floor_gauge.set(self.config.free_space)
        low = self.spare() <= 0
        if low is not self._low:
            self._low = low
            if low:
                self.context.log.warn(
                    "{folder}: {free} bytes free, fewer than storage.free_space ({floor}): nothing grows until there "
                    "are more",
                    folder=str(self._stores[0].folder), free=free, floor=self.config.free_space,
                )  # fmt: skip
            else:
                self.context.log.info("{folder}: there is space to grow again", folder=str(self._stores[0].folder))
            if self._looker is not None:
                self._looker.reset(LOOK_INTERVAL / 10 if low else LOOK_INTERVAL)

    # On the worker

    def _open(self, folder: Path) -> list[Path]:
        copies = []
        marker = folder / "running"
        try:
            with explained("making", folder):
                self.disk.make_folder(folder)
                self.clean_start = not self.disk.exists(marker)
            for store in self._stores:
                try:
                    store.open(check=not self.clean_start)
                except StorageCorrupt as error:
                    store.close()
                    copies.append(self._put_aside(folder, store, error))
                    store.open(check=False)
            with explained("writing", marker):
                self.disk.write(marker, 0, b"")
                self.disk.sync(marker)
                self.disk.sync_folder(folder)
                self._free = self.disk.free(folder)
        except BaseException:
            for store in self._stores:
                store.close()
            raise
        return copies

    def _put_aside(self, folder: Path, store: Store, error: StorageCorrupt) -> Path:
        if store.label == "kept":
            raise StartError(
                f"{error}. {store.folder} holds what can't be fetched again (bans, audit, applications' data), so the "
                "node does "
                "not begin it anew by itself: put that folder back from a backup, or move it away to start without"
            ) from error
        with explained("setting aside", store.folder):
            prefix = f"{store.label}.corrupt-"
            numbers = sorted(
                int(path.name.removeprefix(prefix))
                for path in self.disk.list(folder)
                if path.name.startswith(prefix) and path.name.removeprefix(prefix).isdecimal()
            )
            numbers.append(numbers[-1] + 1 if numbers else 1)
            copy = folder / f"{prefix}{numbers[-1]}"
            self.disk.rename(store.folder, copy)
            for number in numbers[: len(numbers) - self.config.corrupt_copies]:
                self.disk.delete_folder(folder / f"{prefix}{number}")
        return copy

    def _close(self, clean: bool) -> None:
        for store in self._stores:
            store.close()
        folder = self._stores[0].folder.parent
        if clean:
            with explained("deleting", folder / "running"):
                self.disk.delete(folder / "running")
                self.disk.sync_folder(folder)
