"""The data directory: everything the node keeps, locked by the one process that uses it, of a known schema.

::

    lock        held with flock while a node runs; the pid in it is for people
    version     the schema of the directory, a number
    running     there while a node runs: found at a start, the last stop was not clean
    plugins/NETWORK/KIND.NAME/    a folder for each plugin that asks for one; NETWORK is `_node` for the node's own

Only the lock says that somebody is there: the kernel lets go of it with the process, so no stale pid ever blocks a
start. Schema 1 had the folders of the plugins directly in the directory, where a network could be called `lock`.
"""

from __future__ import annotations

# real world: os.getpid: the lock file tells an operator who holds it
import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from p2pframe.errors import StartError, StorageError
from p2pframe.keyspace import folder_name
from p2pframe.private_file import write_private

VERSION = 2

_OWN = ("lock", "version", "version.new", "running", "plugins")


def _move_plugins(path: Path) -> None:
    # A crash in between leaves some moved: the rest are moved by the next try.
    target = path / "plugins"
    target.mkdir(mode=0o700, exist_ok=True)
    for entry in sorted(path.iterdir()):
        if entry.name not in _OWN and entry.is_dir() and not entry.is_symlink():
            entry.rename(target / entry.name)
    _sync_folder(target)
    _sync_folder(path)


MIGRATIONS: Mapping[int, Callable[[Path], None]] = {1: _move_plugins}
"""From each earlier schema of the directory to the next one."""


class DataDir:
    """The node's data directory; `clean` says, once open, whether the last stop was a clean one (or there was none)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.clean = True
        self.upgraded_from: int | None = None
        self._lock: int | None = None

    def open(self) -> None:
        """Make it where there is none, check who may change it, lock it, upgrade it.

        Touches the disk: once, at a start.

        Raises `StartError` that says what to do: not ours, not writable, in use by another process, of a newer schema.
        """
        try:
            if not self.path.exists() and not self.path.is_symlink():
                self.path.mkdir(mode=0o700, parents=True)
                _sync_folder(self.path.parent)
            self._check()
            self._take_lock()
            try:
                self._check_version()
                marker = self.path / "running"
                self.clean = not marker.exists()
                os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                _sync_folder(self.path)
            except BaseException:
                self._let_go()
                raise
        except OSError as error:
            raise StartError(self._unusable(error)) from error
        except StorageError as error:
            raise StartError(f"the data directory can't be used: {error}") from error

    def close(self, clean: bool = True) -> None:
        """Let another process have it; `clean` says that everything was written."""
        if self._lock is None:
            return
        try:
            if clean:
                (self.path / "running").unlink(missing_ok=True)
                _sync_folder(self.path)
        except OSError as error:
            raise StorageError(f"closing {self.path}: {error.strerror}") from error
        finally:
            self._let_go()

    def path_of(self, network: str, label: str) -> Path:
        """Where the folder of a plugin is, or would be: for who looks in from outside."""
        return self.path / "plugins" / folder_name(network) / folder_name(label)

    def folder(self, network: str, label: str) -> Path:
        """The folder of a plugin, by network (empty for the node's) and label (`relay.inventory`), made when asked for.

        Raises `StartError` where it can't be made.
        """
        folder = self.path_of(network, label)
        if not folder.is_dir():
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                for parent in (folder.parent, folder.parent.parent, self.path):
                    _sync_folder(parent)
            except OSError as error:
                raise StartError(self._unusable(error)) from error
        return folder

    def free_space(self) -> int:
        """Bytes that this user may still write there. Raises `StorageError`."""
        try:
            status = os.statvfs(self.path)
        except OSError as error:
            raise StorageError(f"looking at the free space of {self.path}: {error.strerror}") from error
        return status.f_bavail * status.f_frsize

    def _check(self) -> None:
        status = self.path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise StartError(f"{self.path} is not a directory: move it away, or choose another node.data_dir")
        if status.st_uid != os.geteuid():
            raise StartError(
                f"the data directory {self.path} belongs to {_user(status.st_uid)}, this process runs as "
                f"{_user(os.geteuid())}: run as its owner, give it away with chown -R, or choose another node.data_dir"
            )
        if status.st_mode & 0o022:
            raise StartError(
                f"others may write to the data directory {self.path} (mode {stat.S_IMODE(status.st_mode):04o}): chmod "
                "go-w it"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))

    def _unusable(self, error: OSError) -> str:
        place = Path(os.fsdecode(error.filename)) if error.filename else self.path
        existing = place
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        try:
            status = existing.stat()
            owner = f"{existing} belongs to {_user(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o}"
        except OSError:
            owner = f"{existing} can't be looked at"
        if error.errno == errno.ELOOP:
            advice = "it is a link where there should be a file: delete it"
        elif error.errno == errno.ENOSPC:
            advice = "free some space"
        elif error.errno == errno.EROFS:
            advice = "that disk is mounted read-only: choose another node.data_dir"
        else:
            advice = (
                f"this process runs as {_user(os.geteuid())}: give it write access, or choose another node.data_dir"
            )
        return f"the data directory {self.path} can't be used: {place}: {error.strerror}; {owner}; {advice}"

    def _take_lock(self) -> None:
        path = self.path / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartError(
                f"the data directory {self.path} is in use by process {holder or '(unknown)'}: stop that node, or give "
                "this one "
                "another node.data_dir"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_version(self) -> None:
        path = self.path / "version"
        if not path.exists():
            if (self.path / "plugins").exists():
                raise StartError(
                    f"{self.path} holds 'plugins' and no file 'version': write the schema there that it has ({VERSION} "
                    "if this "
                    "version wrote it), or choose another node.data_dir"
                )
            write_private(path, b"%d\n" % VERSION)
            return
        with path.open("rb") as file:
            text = file.read(32).strip()
        if not text.isdigit() or int(text) < 1:
            raise StartError(
                f"{path} holds {text!r} instead of a schema number: write {VERSION} there if this version wrote it"
            )
        version = int(text)
        if version > VERSION:
            raise StartError(
                f"the data directory {self.path} has schema {version}, this version of p2pframe knows up to {VERSION}: "
                "run the "
                "version that wrote it, or a newer one, or choose another node.data_dir"
            )
        for step in range(version, VERSION):
            MIGRATIONS[step](self.path)
            write_private(path, b"%d\n" % (step + 1))
        if version < VERSION:
            self.upgraded_from = version


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
