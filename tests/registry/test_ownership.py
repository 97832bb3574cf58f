"""plugin_path runs code: each file, folder and parent is root's or the user's own, and nobody else may write it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pframe.errors import PluginError
from p2pframe.registry import Registry, ownership
from p2pframe.registry.ownership import check_owner, is_private_group

TEXT = """\
from zope.interface import implementer
from p2pframe.interfaces import IApplication
from p2pframe.plugin import plugin

@plugin("mine")
@implementer(IApplication)
class Mine:
    '''Mine.'''
    def start(self): ...
    def stop(self): ...
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(params=[0o002, 0o022], ids=["umask-002", "umask-022"])
def umask(request):
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


@pytest.fixture
def folder(tmp_path, umask, monkeypatch):
    """A plugin folder as a user makes it, in a parent that is the user's own."""
    path = tmp_path / "parent" / "plugins"
    path.mkdir(parents=True)
    (path / "mine.py").write_text(TEXT)
    assert path.stat().st_mode & 0o777 == 0o777 & ~umask
    return path


def refused(folder) -> str:
    with pytest.raises(PluginError) as caught:
        Registry([folder], installed=()).find("application", "mine")
    return str(caught.value)


def test_a_users_own_files_are_run_at_either_umask(folder):
    # The group of root here, and of most users elsewhere, has the user's name and nobody else in it.
    if not is_private_group(folder.stat().st_gid):
        pytest.skip("this user has no private group")
    assert Registry([folder], installed=()).find("application", "mine").__name__ == "Mine"


@pytest.mark.parametrize("part", ["mine.py", ".", ".."])
def test_what_anyone_may_write_is_not_run(folder, part):
    target = folder / part
    target.chmod(target.stat().st_mode | 0o002)
    text = refused(folder)
    assert "anyone may write it" in text
    assert str(os.path.normpath(target)) in text


@pytest.mark.parametrize("part", ["mine.py", ".", ".."])
def test_what_a_shared_group_may_write_is_not_run(folder, part, monkeypatch):
    target = folder / part
    target.chmod(target.stat().st_mode | 0o020)
    monkeypatch.setattr(ownership, "is_private_group", lambda gid: False)
    text = refused(folder)
    assert "its group (" in text and "chmod g-w" in text


@root_only
@pytest.mark.parametrize("part", ["mine.py", ".", ".."])
def test_what_belongs_to_another_user_is_not_run(folder, part):
    target = (folder / part).resolve()
    os.chown(target, 12345, -1)
    assert refused(folder).startswith(f"{target}: belongs to user 12345, so it is not run")


@root_only
def test_what_belongs_to_root_is_run_by_anyone(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.stat(folder).st_mode & 0o020 and not is_private_group(0):
        pytest.skip("root has no private group")
    Registry([folder], installed=()).find("application", "mine")


def test_links_are_followed_to_what_they_name(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "code.py").write_text(TEXT)
    (folder / "mine.py").unlink()
    (folder / "mine.py").symlink_to("../../other/code.py")
    if is_private_group(other.stat().st_gid):
        Registry([folder], installed=()).find("application", "mine")
    other.chmod(0o777)
    text = refused(folder)
    assert text.startswith(f"{other}: anyone may write it")


def test_the_way_to_a_linked_folder_is_checked_too(folder, tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    link = open_to_all / "link"
    link.symlink_to(folder)
    open_to_all.chmod(0o777)
    assert refused(link).startswith(f"{open_to_all}: anyone may write it")


@root_only
def test_a_link_of_another_user_is_not_followed(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    os.lchown(link, 12345, -1)
    assert refused(link).startswith(f"{link}: belongs to user 12345")


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(PluginError, match="too many links"):
        check_owner(tmp_path / "a")


@root_only
def test_a_sticky_folder_of_root_may_be_on_the_way_but_not_hold_plugins(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o1777)
    (shared / "mine").chmod(0o755)
    check_owner(shared / "mine")
    with pytest.raises(PluginError, match="anyone may write it"):
        check_owner(shared)
    os.chown(shared, 12345, -1)
    with pytest.raises(PluginError, match="belongs to user 12345"):
        check_owner(shared / "mine")


@root_only
def test_a_file_is_checked_again_when_it_is_run(folder):
    registry = Registry([folder], installed=())
    (folder / "mine.py").chmod(0o666)
    with pytest.raises(PluginError, match="anyone may write it"):
        registry.find("application", "mine")


@pytest.mark.parametrize(
    ("group", "members", "primary", "others", "private"),
    [
        ("ann", [], 500, [], True),
        ("ann", ["ann"], 500, [], True),
        ("ann", ["ann", "bob"], 500, [], False),
        ("staff", [], 500, [], False),
        ("ann", [], 100, [], False),
        ("ann", [], 500, [SimpleNamespace(pw_gid=500, pw_uid=7)], False),
    ],
)
def test_a_private_group_has_the_users_name_and_nobody_else(monkeypatch, group, members, primary, others, private):
    ann = SimpleNamespace(pw_name="ann", pw_gid=primary, pw_uid=500)
    root = SimpleNamespace(pw_name="root", pw_gid=0, pw_uid=0)
    monkeypatch.setattr(os, "geteuid", lambda: 500)
    monkeypatch.setattr(pwd, "getpwuid", {0: root, 500: ann}.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: [root, ann, *others])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members))
    assert is_private_group(500) is private


def test_a_group_without_a_name_is_not_private():
    assert not is_private_group(2**31 - 5)


def test_a_missing_part_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_owner(Path(tmp_path / "a" / "b"))
