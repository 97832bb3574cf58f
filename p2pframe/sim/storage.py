"""The storage engine of a simulated node: durable when asked, written behind otherwise, in virtual time.

Each namespace is made durable by itself, which is the least that `IStorage` promises: a plugin that counts on the order
of another's writes finds out here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from p2pframe.config.settings import PluginChoice
from p2pframe.errors import StartError, StorageError, StorageFull
from p2pframe.interfaces import IBlob, IContext, INamespace, IStorage
from p2pframe.keyspace import check_blob_name
from p2pframe.plugin import Duration, Field, PluginConfig, PluginSpec, Size, plugin
from p2pframe.sim.disk import Owner, SimulatedDisk
from p2pframe.sim.volume import ENTRY_BYTES, Extent, Group, Volume

T = TypeVar("T")


class SimulatedStorageConfig(PluginConfig):
    """Options of `simulated-disk`; the simulator fills them in."""

    disk: SimulatedDisk = Field(description="The disk of the host.")
    owner: Owner | None = Field(default=None, description="The boot that writes; once it is dead nothing is written.")
    keeps: bool = Field(default=True, description="Whether anything survives a restart; not in the place of `memory`.")
    write_behind: Duration = Field(default=1.0, gt=0, le=5, description="How long what nobody waits for may wait.")
    read_delay: Duration = Field(default=0.0001, description="From asking to the answer.")
    sync_delay: Duration = Field(default=0.002, description="How long it takes to make a group of writes durable.")
    pending_bytes: Size = Field(default=32_000_000, ge=65536, description="Waiting bytes at which writers are held up.")
    reads: int = Field(default=10_000, ge=1, description="Reads that may wait for the disk.")


@plugin("simulated-disk", config=SimulatedStorageConfig)
@implementer(IStorage)
class SimulatedStorage:
    """Storage on the disk of a simulated host: durable when asked, written behind otherwise, in virtual time."""

    def __init__(self, config: SimulatedStorageConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.disk = config.disk
        self.crashed = False
        self.pending = 0
        self._state = "new"
        self._reads = 0
        self._namespaces: dict[tuple[str, str], SimulatedNamespace] = {}
        self._room: list[Deferred[None]] = []

    # IStorage

    def start(self) -> Deferred[None]:
        """Open the disk."""
        if self._state != "new":
            return fail(StorageError(f"the simulated storage is {self._state}: build a new one to start again"))
        if self.disk.unreadable:
            self._state = "failed"
            return fail(StartError(f"the storage can't start: the disk of {self.disk.name} can't be read"))
        self._state = "running"
        self.disk.attach(self)
        if not self.config.keeps:
            self.disk.wipe()
        return self.answer(None)

    def stop(self) -> Deferred[None]:
        """Write everything and close."""
        if self._state != "running":
            return succeed(None)
        self._state = "stopping"
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for space in self._namespaces.values():
            while space.volume.groups:
                await space.drain()
        self._state = "stopped"
        self.disk.detach(self)

    def namespace(self, network: str, owner: str) -> INamespace:
        """The namespace of a plugin; the same one each time."""
        self.check()
        space = self._namespaces.get((network, owner))
        if space is None:
            volume = self.disk.volumes.get((network, owner))
            if volume is None:
                volume = self.disk.volumes[network, owner] = Volume()
            space = self._namespaces[network, owner] = SimulatedNamespace(self, f"{network or 'node'}/{owner}", volume)
        return space

    # For the namespaces

    @property
    def dead(self) -> bool:
        """Whether the boot is over: nothing is written any more, nobody is answered."""
        return self.crashed or (self.config.owner is not None and not self.config.owner.alive)

    def check(self) -> None:
        """Raises `StorageError` unless the engine is between start and stop."""
        if self._state != "running":
            raise StorageError(f"the simulated storage is {self._state}: use it between its start and its stop")

    def admit(self, what: str, growth: int, where: str) -> None:
        """Raises `StorageFull` where that much more can't be taken; what shrinks is let in on a full disk."""
        disk, most = self.disk, self.config.pending_bytes
        if growth > 0 and (disk.full or (disk.limit is not None and disk.used + growth > disk.limit)):
            text = f"{what} in {where} refused: the disk of {disk.name} is full: free some space"
        elif self.pending > (2 if growth > 0 else 3) * most:
            text = (
                f"{what} in {where} refused: {self.pending} bytes wait to be written, more than twice "
                f"storage.pending_bytes, {most}: wait for the Deferreds of earlier writes"
            )
        else:
            return
        refused = self.context.metrics.counter(
            "storage_refused_total", "Writes that the storage engine refused, by what they were.", ("what",)
        )
        refused.add(1, what)
        raise StorageFull(text)

    def answer(self, value: T) -> Deferred[T]:
        """What was read, after the time that the disk takes."""
        if self._reads >= self.config.reads:
            return fail(StorageError(f"{self._reads} reads wait for the disk already: wait for their answers"))
        if self.disk.unreadable:
            return fail(StorageError(f"reading the disk of {self.disk.name}: Input/output error"))
        self._reads += 1
        done: Deferred[T] = Deferred()
        self.context.reactor.callLater(self.config.read_delay, self._answer, done, value)
        return done

    def _answer(self, done: Deferred[T], value: T) -> None:
        self._reads -= 1
        if not self.dead:
            done.callback(value)

    def added(self, size: int) -> Deferred[None]:
        """More waits to be written; fires at once, or when there is room for more."""
        self.pending += size
        if self.pending <= self.config.pending_bytes:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._room.append(done)
        return done

    def written(self, size: int) -> None:
        """Less waits to be written."""
        self.pending -= size
        while self._room and self.pending <= self.config.pending_bytes:
            self._room.pop(0).callback(None)


@implementer(INamespace)
class SimulatedNamespace:
    """The keys and blobs of one plugin on the disk, and the timer of what waits."""

    __slots__ = ("_timer", "_urgent", "engine", "volume", "where")

    def __init__(self, engine: SimulatedStorage, where: str, volume: Volume) -> None:
        self.engine = engine
        self.where = where
        self.volume = volume
        self._timer: IDelayedCall | None = None
        self._urgent = False

    def get(self, key: bytes) -> Deferred[bytes | None]:
        """The value, or None."""
        return self.read(lambda: self.volume.keys.get(key))

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Deferred[list[tuple[bytes, bytes]]]:
        """Pairs with start <= key < end, in order."""
        if limit is not None and limit < 0:
            return fail(StorageError(f"scan of {self.where}: the limit {limit} is negative"))
        return self.read(lambda: list(islice(self.volume.keys.range(start, end), limit)))

    def read(self, look: Callable[[], T]) -> Deferred[T]:
        """What is to be read as it stands now."""
        try:
            self.engine.check()
        except StorageError:
            return fail()
        return Deferred() if self.engine.dead else self.engine.answer(look())

    def write(
        self, puts: Sequence[tuple[bytes, bytes]] = (), deletes: Sequence[bytes] = (), durable: bool = False
    ) -> Deferred[None]:
        """One atomic batch; where a key is both put and deleted, the put counts."""
        same = self.engine.disk.same
        changes: dict[bytes, bytes | None] = {bytes(key): None for key in deletes}
        changes.update((bytes(key), same(value)) for key, value in puts)
        try:
            self.engine.check()
            if self.engine.dead:
                return Deferred()
            self.engine.admit("batch", sum(self._growth(key, value) for key, value in changes.items()), self.where)
        except StorageError:
            return fail()
        volume, group = self.volume, self._group()
        size = 0
        for key, value in changes.items():
            group.before.setdefault(key, volume.keys.get(key))
            volume.set(key, value)
            size += len(key) + len(value or b"") + ENTRY_BYTES
        return self._wrote(group, size, self._waiter(group) if durable else None)

    def _growth(self, key: bytes, value: bytes | None) -> int:
        old = self.volume.keys.get(key)
        before = 0 if old is None else len(key) + len(old) + ENTRY_BYTES
        return (0 if value is None else len(key) + len(value) + ENTRY_BYTES) - before

    def blob(self, name: str) -> IBlob:
        """The blob of that name; it counts as being there from its first append."""
        return SimulatedBlob(self, check_blob_name(name))

    def blobs(self) -> Sequence[str]:
        """The names of the blobs there are, sorted."""
        return sorted(self.volume.blobs)

    def delete_blob(self, name: str) -> Deferred[None]:
        """Delete a blob; fires when that is durable."""
        check_blob_name(name)
        try:
            self.engine.check()
        except StorageError:
            return fail()
        if self.engine.dead:
            return Deferred()
        return self.removed(name, self.volume.delete(name)) if name in self.volume.blobs else succeed(None)

    def flush(self) -> Deferred[None]:
        """Fires once everything written so far is durable."""
        try:
            self.engine.check()
        except StorageError:
            return fail()
        if self.engine.dead:
            return Deferred()
        return self.drain() if self.volume.groups else succeed(None)

    def drain(self) -> Deferred[None]:
        """Make what waits durable now."""
        waiter = self._waiter(self.volume.groups[-1])
        self._schedule()
        return waiter

    # For the blobs

    def append(self, name: str, data: bytes) -> None:
        """Bytes for the end of a blob. Raises `StorageError`."""
        self.engine.check()
        if self.engine.dead:
            return
        self.engine.admit("append", len(data), f"{self.where}/{name}")
        volume, group = self.volume, self._group()
        extent = volume.blobs.get(name)
        if name not in group.starts:
            group.starts[name] = 0 if extent is None else extent.size
            if extent is None:
                group.made.append(name)
        volume.append(name, self.engine.disk.same(data))
        self._wrote(group, len(data), None)

    def removed(self, name: str, lost: Extent | list[bytes]) -> Deferred[None]:
        """A cut or a delete; fires when it is durable."""
        groups = self.volume.groups
        group = groups[-1] if groups and not groups[-1].under_way else self._new_group()
        group.closed = True
        group.removals.append((name, lost))
        waiter = self._waiter(group)
        self._schedule()
        return waiter

    # Groups

    def _group(self) -> Group:
        groups = self.volume.groups
        return groups[-1] if groups and not groups[-1].closed else self._new_group()

    def _new_group(self) -> Group:
        group = Group(self.engine.context.reactor.seconds())
        self.volume.groups.append(group)
        return group

    def _waiter(self, group: Group) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        group.waiters.append(done)
        self._urgent = True
        return done

    def _wrote(self, group: Group, size: int, waiter: Deferred[None] | None) -> Deferred[None]:
        group.size += size
        if waiter is None:
            waiter = self.engine.added(size)
        else:
            self.engine.pending += size
        self._schedule()
        return waiter

    def _schedule(self) -> None:
        groups, engine = self.volume.groups, self.engine
        if not groups or groups[0].under_way:
            return
        now = engine.context.reactor.seconds()
        if self._urgent or engine.pending * 2 > engine.config.pending_bytes:
            due = now
        else:
            due = groups[0].since + engine.config.write_behind
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due <= now:
            self._commit()
        else:
            self._timer = engine.context.reactor.callLater(due - now, self._due)

    def _due(self) -> None:
        self._timer = None
        if not self.engine.dead:
            self._commit()

    def _commit(self) -> None:
        group = self.volume.groups[0]
        group.closed = group.under_way = True
        self.engine.context.reactor.callLater(self.engine.config.sync_delay, self._committed, group)

    def _committed(self, group: Group) -> None:
        if self.engine.dead:
            return
        self.volume.groups.pop(0)
        self._urgent = any(waiting.waiters for waiting in self.volume.groups)
        self.engine.written(group.size)
        for waiter in group.waiters:
            waiter.callback(None)
        self._schedule()


@implementer(IBlob)
class SimulatedBlob:
    """An append-only run of bytes on the disk."""

    __slots__ = ("_space", "name")

    def __init__(self, space: SimulatedNamespace, name: str) -> None:
        self._space = space
        self.name = name

    @property
    def size(self) -> int:
        """Bytes, counting what is not durable yet."""
        extent = self._space.volume.blobs.get(self.name)
        return 0 if extent is None else extent.size

    def append(self, data: bytes) -> int:
        """Add bytes at the end; returns their offset. Raises `StorageFull`."""
        offset = self.size
        self._space.append(self.name, data)
        return offset

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """What was appended; shorter at the end."""
        if offset < 0 or length < 0:
            where = f"{self._space.where}/{self.name}"
            return fail(StorageError(f"read of {where}: offset {offset} and length {length} can't be negative"))
        extent = self._space.volume.blobs.get(self.name)
        return self._space.read(lambda: b"" if extent is None else extent.read(offset, length))

    def truncate(self, size: int) -> Deferred[None]:
        """Cut the end off; fires when that is durable."""
        space = self._space
        try:
            space.engine.check()
            if not 0 <= size <= self.size:
                raise StorageError(f"truncate of {space.where}/{self.name} to {size}: it has {self.size} bytes")
        except StorageError:
            return fail()
        if space.engine.dead:
            return Deferred()
        return space.removed(self.name, space.volume.cut(self.name, size)) if self.size > size else space.flush()


def on_disk(choice: PluginChoice, disk: SimulatedDisk, owner: Owner | None = None) -> PluginChoice:
    """The simulated engine in the place of the one that a node file names.

    What is carried over is how long writes wait, and that `memory` keeps nothing.
    """
    behind = getattr(choice.config, "write_behind", None)
    config = SimulatedStorageConfig(disk=disk, owner=owner, keeps=choice.spec.name != "memory")
    if isinstance(behind, (int, float)) and 0 < behind <= 5:
        config = config.model_copy(update={"write_behind": float(behind)})
    spec: PluginSpec = SimulatedStorage.__dict__["__p2pframe_plugin__"]
    return PluginChoice(spec, SimulatedStorage, config, origin="the simulator", where=choice.where)
