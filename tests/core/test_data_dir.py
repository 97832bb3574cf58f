"""The data directory: one process at a time, of a known schema, nobody else's to write."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from p2pframe.core.data_dir import VERSION, DataDir
from p2pframe.errors import StartError, StorageError
from p2pframe.private_file import read_private, write_private

ROOT = Path(__file__).parents[2]


def python(code: str, *args: str, **kwargs) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs,
    )  # fmt: skip


def test_it_is_made_private_with_its_parents(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "a" / "node")
    data.open()
    assert data.path.stat().st_mode & 0o777 == 0o700
    assert (data.path / "version").read_text() == f"{VERSION}\n"
    assert data.clean
    assert data.free_space() > 0
    data.close()


def test_the_lock_names_the_process_that_holds_it_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "node"
    other = python(
        """
        import sys, pathlib
        from p2pframe.core.data_dir import DataDir
        data = DataDir(pathlib.Path(sys.argv[1])); data.open(); print("open", flush=True); sys.stdin.read()
        """,
        str(path),
    )
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StartError, match=f"in use by process {other.pid}"):
            DataDir(path).open()
    finally:
        other.kill()
        other.communicate()
    data = DataDir(path)
    data.open()
    assert not data.clean
    data.close()
    data.open()
    assert data.clean
    data.close()


def test_a_start_that_fails_lets_go_of_the_lock(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "node")
    data.open()
    data.close()
    (data.path / "version").write_text("99\n")
    for _ in range(2):
        with pytest.raises(StartError, match=f"schema 99, this version of p2pframe knows up to {VERSION}"):
            data.open()
    (data.path / "version").write_text("two\n")
    with pytest.raises(StartError, match="instead of a schema number"):
        data.open()


def test_an_unclean_stop_is_noticed_once(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.open()
    data.close(clean=False)
    data.open()
    assert not data.clean
    data.close()
    data.open()
    assert data.clean
    data.close()


def test_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("1\n")
    for network in ("_node", "lock-like", "bitcoin"):
        (tmp_path / network / "relay.flood").mkdir(parents=True)
        (tmp_path / network / "relay.flood" / "x").write_text(network)
    # As if an earlier try had been killed half-way.
    (tmp_path / "plugins").mkdir()
    (tmp_path / "_node").rename(tmp_path / "plugins" / "_node")
    data = DataDir(tmp_path)
    data.open()
    assert data.upgraded_from == 1
    assert (data.folder("bitcoin", "relay.flood") / "x").read_text() == "bitcoin"
    assert (data.folder("", "relay.flood") / "x").read_text() == "_node"
    assert (tmp_path / "version").read_text() == f"{VERSION}\n"
    data.close()


def test_what_lost_its_schema_is_not_taken_for_new(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    with pytest.raises(StartError, match="no file 'version'"):
        DataDir(tmp_path).open()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="is not a directory"):
        DataDir(tmp_path / "file").open()


def test_others_may_not_write_there(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(StartError, match="chmod go-w"):
        DataDir(path).open()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (path / "lock").symlink_to(victim)
    with pytest.raises(StartError, match="a link where there should be a file"):
        DataDir(path).open()
    assert victim.read_text() == "precious"


def test_an_unwritable_directory_says_whose_it_is(tmp_path: Path) -> None:
    open_it = """
        import os, sys, pathlib
        from p2pframe.core.data_dir import DataDir
        from p2pframe.errors import StartError
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            DataDir(pathlib.Path(sys.argv[1])).open()
        except StartError as error:
            print(error)
        """
    # Where an unprivileged user may look: the folders above pytest's are closed to others.
    for path, expected in [("/proc/node", "/proc belongs to root (uid 0)"), ("/usr", "belongs to root (uid 0)")]:
        text, _ = python(open_it, path).communicate(timeout=30)
        assert expected in text, text
        assert "node.data_dir" in text


def test_folders_can_not_leave_the_directory(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.open()
    names = [("", "a"), ("..", "a"), ("_node", "a"), ("a/b", "a"), (".", ".."), ("", "../a"), ("a", "b")]
    folders = [data.folder(*name) for name in names]
    assert len({folder.resolve() for folder in folders}) == len(folders)
    assert all(folder.resolve().parent.parent == tmp_path / "plugins" for folder in folders)
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    data.close()


def test_a_private_file_is_written_whole_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(FileNotFoundError):
        read_private(path)
    (tmp_path / "key.new").symlink_to(tmp_path / "victim")
    write_private(path, b"secret")
    assert read_private(path) == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]
    write_private(path, b"another")
    assert read_private(path) == b"another"
    path.chmod(0o640)
    with pytest.raises(StorageError, match="chmod 600"):
        read_private(path)
    with pytest.raises(StorageError, match="writing"):
        write_private(tmp_path / "nowhere" / "key", b"")
    path.chmod(0o600)
    with pytest.raises(StorageError, match="at most 3 bytes"):
        read_private(path, limit=3)
