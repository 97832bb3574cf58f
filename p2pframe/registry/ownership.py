"""Who could change a file that is about to be run: only root and the user who runs, or it is refused."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from p2pframe.errors import PluginError

_LINKS = 40


def check_owner(path: Path) -> None:
    """Refuse a file or folder that somebody else could change, replace, or swap a parent of.

    Every part of the way is looked at, links resolved: each belongs to root or to the user who runs, and nobody else
    may write it. The user's private group may (umask 002 makes files so). A folder on the way that anyone may write
    must be root's and sticky, as a system's temporary folder is: there nobody can rename what is not theirs. The last
    part itself may never be writable for others. Raises `PluginError` that names the part; `OSError` where it is
    missing.
    """
    todo = list(Path(os.path.abspath(path)).parts[1:])
    here = Path("/")
    links = 0
    _check(here, last=not todo)
    while todo:
        part = todo.pop(0)
        if part == "..":
            here = here.parent
            continue
        step = here / part
        status = step.lstat()
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS:
                raise PluginError(f"{path}: too many links")
            _check_user(step, status.st_uid)
            target = Path(os.readlink(step))
            if target.is_absolute():
                here = Path("/")
            todo = [p for p in target.parts if p != "/"] + todo
            continue
        here = step
        _check(here, last=not todo)


def _check(path: Path, last: bool) -> None:
    status = path.stat()
    _check_user(path, status.st_uid)
    mode = status.st_mode
    sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX and status.st_uid == 0 and not last
    if mode & stat.S_IWOTH and not sticky:
        raise PluginError(f"{path}: anyone may write it, so it is not run: chmod o-w {path}")
    if mode & stat.S_IWGRP and not sticky and not is_private_group(status.st_gid):
        raise PluginError(
            f"{path}: its group ({_group(status.st_gid)}) may write it and is not a group of yours alone, "
            f"so it is not run: chmod g-w {path}"
        )


def _check_user(path: Path, uid: int) -> None:
    if uid not in (0, os.geteuid()):
        raise PluginError(
            f"{path}: belongs to {_user(uid)}, so it is not run: plugins must belong to root or to "
            f"{_user(os.geteuid())}"
        )


def is_private_group(gid: int) -> bool:
    """Whether a group is root's or the running user's own.

    Of the same name, their primary one, without other members.
    """
    for uid in (os.geteuid(), 0):
        try:
            user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
        except KeyError:
            continue
        if user.pw_gid != gid or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
            continue
        if not any(other.pw_gid == gid and other.pw_uid != uid for other in pwd.getpwall()):
            return True
    return False


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
