"""Files that nobody else may read, written whole or not at all: private keys, passwords, tokens."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from p2pframe.errors import StorageError, StorageFull


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600; when this returns it survives a power cut, and at no time is it half there.

    Raises `StorageError` (`StorageFull` on a full disk) with the file; what stood there before is then still there.
    """
    new = path.with_name(path.name + ".new")
    try:
        # Left over by a crash, or planted as a link to somebody else's file: either way not what is written to.
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
        raise kind(f"writing {path}: {error.strerror}") from error


def read_private(path: Path, limit: int = 1_000_000) -> bytes:
    """Read a private file.

    Raises FileNotFoundError where there is none (a first start), and `StorageError` for one that others may read or
    change, is no plain file, is longer than `limit` bytes or can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                raise StorageError(f"reading {path}: it is not a plain file of at most {limit} bytes")
            if status.st_mode & 0o077:
                raise StorageError(
                    f"reading {path}: others may read or change it (mode {stat.S_IMODE(status.st_mode):04o}): chmod "
                    "600 it, and "
                    "make a new key if somebody may have seen this one"
                )
            parts = []
            while part := os.read(descriptor, 65_536):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"reading {path}: {error.strerror}") from error
