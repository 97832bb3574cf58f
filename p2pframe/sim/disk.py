"""The simulated disk, which survives the crashes of its host, and the data directory on it.

The storage engine that a simulated node keeps on it is in `storage`.
"""

from __future__ import annotations

# real world: tempfile: a plugin's data_dir is a folder that is there, and nothing goes by its name
import shutil
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Protocol, runtime_checkable

from p2pframe.keyspace import folder_name
from p2pframe.sim.volume import Volume

_SHARED_LEAST = 64
_SHARED_BYTES = 32_000_000
_EMPTY = Volume().digest()


@runtime_checkable
class Owner(Protocol):
    """One boot of a host: what it writes counts as long as it is alive."""

    alive: bool


class Engine(Protocol):
    """The storage engine that has the disk open."""

    crashed: bool


class SharedDisks:
    """What the disks of one simulation share: one temporary folder, made when first needed, and equal bytes.

    A block stands on every node's disk and once in memory. The bytes remembered for that are bounded.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._size = 0

    def folder(self) -> Path:
        """The temporary folder, which `close` removes."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="p2pframe-sim-"))
        return self._folder

    def close(self) -> None:
        """Remove the temporary folder, where there is one, and forget what was shared."""
        folder, self._folder = self._folder, None
        self._young, self._old, self._size = {}, {}, 0
        if folder is not None:
            shutil.rmtree(folder)

    def same(self, data: bytes) -> bytes:
        """These bytes, as the object that another disk holds already where one does."""
        if len(data) < _SHARED_LEAST:
            return bytes(data)
        found = self._young.get(data)
        if found is not None:
            return found
        found = self._old.get(data)
        if found is None:
            found = bytes(data)
        if self._size >= _SHARED_BYTES:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[found] = found
        self._size += len(found)
        return found


class SimulatedDisk:
    """One host's disk: what is durable survives every boot.

    `stream` gives the disk's own chance, asked for at the first crash that needs it. Faults, to be set at any time:
    `limit` (bytes; None is endless), `full`, `unreadable`.
    """

    __slots__ = (
        "_chance",
        "_engine",
        "_shared",
        "_stream",
        "full",
        "limit",
        "name",
        "running",
        "unreadable",
        "volumes",
    )

    def __init__(self, name: str, shared: SharedDisks, stream: Callable[[], Random]) -> None:
        self.name = name
        self.limit: int | None = None
        self.full = False
        self.unreadable = False
        self.running = False
        """The mark of a node that runs: found at a start, the last stop was not clean."""
        self.volumes: dict[tuple[str, str], Volume] = {}
        self._shared = shared
        self._stream = stream
        self._chance: Random | None = None
        self._engine: Engine | None = None

    @property
    def used(self) -> int:
        """Bytes on it, with what is written and not yet durable."""
        return sum(volume.used for volume in self.volumes.values())

    def kill(self) -> None:
        """The process has ended: what it had queued is lost, what was durable stays."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.crashed = True
        for volume in self.volumes.values():
            volume.crash(self._rng)

    def power_off(self) -> None:
        """The power is gone: as `kill`, since what was committed was synced."""
        self.kill()

    def digest(self) -> bytes:
        """32 bytes that follow from what is durable in the storage (not from the files in `folder`)."""
        digest = blake2b(digest_size=32)
        for (network, owner), volume in sorted(self.volumes.items()):
            own = volume.digest()
            # A volume that was only asked for holds nothing, as one that was not.
            if own != _EMPTY:
                label = f"{network}/{owner}".encode()
                digest.update(b"%d:" % len(label) + label + own)
        return digest.digest()

    def folder(self, network: str, owner: str) -> Path:
        """A real folder for a plugin that writes files, the same one at each boot."""
        path = self._shared.folder() / folder_name(self.name) / folder_name(network) / folder_name(owner)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def same(self, data: bytes) -> bytes:
        """See `SharedDisks.same`."""
        return self._shared.same(data)

    def attach(self, engine: Engine) -> None:
        """An engine opens the disk; one that did not close it has crashed."""
        self.kill()
        self._engine = engine

    def detach(self, engine: Engine) -> None:
        """An engine has closed the disk."""
        if self._engine is engine:
            self._engine = None

    def wipe(self) -> None:
        """Forget everything that is stored."""
        self.volumes.clear()

    def _rng(self) -> Random:
        if self._chance is None:
            self._chance = self._stream()
        return self._chance


class SimulatedDataDir:
    """What `World.data_dir` gives on a simulated host: folders when somebody asks, and the mark of an unclean stop."""

    __slots__ = ("_disk", "_open", "_owner", "clean", "path", "upgraded_from")

    def __init__(self, path: Path, disk: SimulatedDisk, owner: Owner | None = None) -> None:
        self.path = path
        self.clean = True
        self.upgraded_from: int | None = None
        self._disk = disk
        self._owner = owner
        self._open = False

    def open(self) -> None:
        """Note that a node runs, and whether the last one stopped cleanly."""
        self.clean = not self._disk.running
        self._disk.running = self._open = True

    def close(self, clean: bool = True) -> None:
        """The node has stopped; `clean` says that everything was written. Nothing happens after a crash."""
        if self._open and (self._owner is None or self._owner.alive):
            self._open = False
            if clean:
                self._disk.running = False

    def folder(self, network: str, label: str) -> Path:
        """The folder of a plugin, by network (empty for the node's) and label."""
        return self._disk.folder(network, label)
