"""Every touch of the file system: one small object, so that a test can be the disk that fails.

Its methods run on worker threads and raise OSError (or sqlite3.Error, from a connection); `explained` turns those into
errors that say which file and what to do.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pframe.errors import StorageCorrupt, StorageError, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Disk:
    """The real one. Folders are made 0700 and files 0600: what peers told us is nobody else's business."""

    def connect(self, path: Path) -> sqlite3.Connection:
        """A connection in autocommit mode; the engine says BEGIN and COMMIT itself."""
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents, so that they survive a power cut."""
        missing = []
        folder = path
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            self.sync_folder(folder.parent)

    def exists(self, path: Path) -> bool:
        """Whether there is a file or folder of that name."""
        return path.exists()

    def list(self, path: Path) -> list[Path]:
        """What a folder holds, sorted."""
        return sorted(path.iterdir())

    def size(self, path: Path) -> int:
        """Bytes of a file."""
        return path.stat().st_size

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Put bytes at an offset; makes the file. Written twice, the same bytes stand in the same place."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                count = os.pwrite(descriptor, view, offset)
                offset += count
                view = view[count:]
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Fires fsync: after it the file's bytes survive a power cut."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        """After it the names in the folder survive a power cut."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Bytes of a file; shorter at its end."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The caller has cut `length` to what the file holds by its records; a single pread may still stop short.
            parts = []
            while length > 0:
                part = os.pread(descriptor, min(length, 1 << 24), offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                length -= len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file; nothing happens where it is shorter or not there."""
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)

    def delete(self, path: Path) -> None:
        """Delete a file, where there is one."""
        path.unlink(missing_ok=True)

    def delete_folder(self, path: Path) -> None:
        """Delete a folder and all that is in it."""
        shutil.rmtree(path)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within a folder."""
        old.rename(new)
        self.sync_folder(new.parent)

    def free(self, path: Path) -> int:
        """Bytes that this user may still write on the disk of `path`."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


@contextmanager
def explained(operation: str, path: Path) -> Iterator[None]:
    """Turns what the system raises into `StorageFull`, `StorageCorrupt` or `StorageError`, with operation and file."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{operation} {path}: {error.strerror}: free some space on that disk") from error
        raise StorageError(f"{operation} {path}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        text = f"{operation} {path}: {error} ({name})"
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(f"{text}: free some space on that disk") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StorageCorrupt(f"{text}: restart the node, which checks it and says what to do") from error
        raise StorageError(text) from error
