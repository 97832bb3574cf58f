"""./run, ./test and .ci/run say clearly what they miss, and a check that fails makes the whole fail."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "bash", "cat", "cksum", "dirname", "env", "id", "rm", "timeout")
OLD_PYTHON = """\
#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2" && exit 0
exit 1
"""


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """A PATH with the tools that the scripts use, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def call(
    script: Path, *arguments: str, path: Path, tmp_path: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": str(tmp_path), "P2PFRAME_VENV": str(tmp_path / "venv"), **more}
    return subprocess.run(
        [script, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("script", ["run", "test"])
def test_a_python_that_is_too_old_is_named(script: str, bin: Path, tmp_path: Path) -> None:
    program(bin / "python3", OLD_PYTHON)
    result = call(ROOT / script, str(ROOT / "README.md"), path=bin, tmp_path=tmp_path)
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr
    assert "python3 (Python 3.9.2)" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_at_all_is_said(bin: Path, tmp_path: Path) -> None:
    result = call(ROOT / "test", path=bin, tmp_path=tmp_path)
    assert result.returncode == 1
    assert "no python at all" in result.stderr


def test_the_python_that_was_asked_for_is_not_silently_another(bin: Path, tmp_path: Path) -> None:
    program(bin / "python3", "#!/bin/sh\nexit 0\n")
    program(bin / "mine", OLD_PYTHON)
    result = call(ROOT / "test", path=bin, tmp_path=tmp_path, PYTHON="mine")
    assert (result.returncode, "PYTHON=mine is Python 3.9.2" in result.stderr) == (1, True)
    result = call(ROOT / "test", path=bin, tmp_path=tmp_path, PYTHON="missing")
    assert (result.returncode, "PYTHON=missing: no such program" in result.stderr) == (1, True)


def test_a_missing_venv_module_is_explained(bin: Path, tmp_path: Path) -> None:
    program(bin / "python3", '#!/bin/sh\ncase "$*" in *"-m venv"*) exit 1;; esac\nexit 0\n')
    result = call(ROOT / "test", path=bin, tmp_path=tmp_path)
    assert result.returncode == 1
    assert "apt install python3-venv" in result.stderr


def test_a_file_where_the_venv_should_be_makes_room_for_it(bin: Path, tmp_path: Path) -> None:
    """tox leaves one (PEP 832): what it points at is an environment of tox's own."""
    venv = tmp_path / "venv"
    venv.write_text("/somewhere/.tox/types\n")
    program(bin / "python3", '#!/bin/sh\ncase "$*" in *"-m venv"*) [ ! -e "$4" ] && exit 7;; esac\nexit 0\n')
    result = call(ROOT / "test", path=bin, tmp_path=tmp_path, P2PFRAME_VENV=str(venv))
    assert "-m venv failed" in result.stderr, "python was called, and found nothing there"
    assert not venv.exists()


def test_a_configuration_that_is_not_there_is_named_before_anything_is_installed(bin: Path, tmp_path: Path) -> None:
    result = call(ROOT / "run", "nowhere.yaml", path=bin, tmp_path=tmp_path)
    assert (result.returncode, result.stderr) == (1, "error: nowhere.yaml: no such file\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which every check is one that we write: .ci/run alone is real."""
    root = tmp_path / "checkout"
    for name in (".ci/run", "scripts/venv.sh"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    program(root / ".tox/.ci/bin/tox", '#!/bin/sh\nfor last; do :; done\necho "tox $last"\n[ "$last" != lint ]\n')
    return root


def test_every_check_runs_whatever_fails_and_the_last_line_counts(checkout: Path, bin: Path, tmp_path: Path) -> None:
    program(checkout / "test", "#!/bin/sh\nexit 1\n")
    program(bin / "ip", "#!/bin/sh\n")
    result = call(checkout / ".ci/run", "test", "types", "lint", "docs", path=bin, tmp_path=tmp_path)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "2 passed, 2 failed"
    assert "tox docs" in result.stdout
    assert [line.split()[:2] for line in result.stdout.splitlines()[-5:-1]] == [
        ["test", "FAILED"], ["types", "passed"], ["lint", "FAILED"], ["docs", "passed"]
    ]  # fmt: skip


def test_all_is_well_when_every_check_passes(checkout: Path, bin: Path, tmp_path: Path) -> None:
    result = call(checkout / ".ci/run", "types", "docs", path=bin, tmp_path=tmp_path)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "2 passed, 0 failed")


def test_what_interop_misses_is_named(checkout: Path, bin: Path, tmp_path: Path) -> None:
    result = call(checkout / ".ci/run", "interop", path=bin, tmp_path=tmp_path)
    assert result.returncode == 1
    assert "node is missing" in result.stderr and "apt-get install nodejs npm" in result.stderr
