"""A wheel (made from the source archive) and an editable install each give a p2pnode that runs from any folder.

Needs a package index for what p2pframe depends on: `tox -e packaging`.
"""

from __future__ import annotations

import configparser
import email.parser
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.running import CONFIG, running_node

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".tox", ".venv", "node_modules", "__pycache__", "build", "dist", "*.egg-info", "dropin.cache", ".*_cache"
)


def declared() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def built_in_plugins() -> dict[str, str]:
    lines = declared()["options.entry_points"]["p2pframe.plugins"].strip().splitlines()
    return dict(line.split(" = ") for line in lines)


class Installed:
    """A fresh venv with p2pframe in it."""

    def __init__(self, venv: Path, site_packages: Path, kind: str) -> None:
        self.bin = venv / "bin"
        self.site_packages = site_packages
        self.kind = kind

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        # A folder that an environment runs from must not count: only what is installed.
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

    def run(self, *command: str, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ok:
            assert result.returncode == 0, result.stdout + result.stderr
        return result


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: what an earlier build left in ours must not find its way into a wheel."""
    copy = tmp_path_factory.mktemp("source") / "p2pframe"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # Without --wheel: the wheel is made from the source archive, so that one is tested too.
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, source], check=True, timeout=300)
    [found] = out.glob("*.whl")
    return found


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    venv = tmp_path_factory.mktemp(f"venv-{request.param}")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    if request.param == "wheel":
        what = [str(request.getfixturevalue("wheel"))]
    else:
        what = ["--editable", str(request.getfixturevalue("source"))]
    subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", *what], check=True, timeout=400)
    [site_packages] = venv.glob("lib/python*/site-packages")
    yield Installed(venv, site_packages, request.param)


def test_the_wheel_holds_what_it_should(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        headers = email.parser.Parser().parsestr(archive.read(metadata).decode())
    packages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "p2pframe").rglob("*.py")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "p2pframe/cli/templates").glob("*.yaml")}
    assert templates
    assert packages | templates | {"p2pframe/py.typed", "twisted/plugins/p2pnode_plugin.py"} <= names
    assert headers["Requires-Python"] == ">=3.11"
    # An __init__.py of ours under twisted/ would hide Twisted's own.
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & names
    assert {name.split("/")[0] for name in names} - {metadata.split("/")[0]} == {"p2pframe", "twisted"}


def test_every_folder_of_the_package_says_what_it_is() -> None:
    for folder in [ROOT / "p2pframe", *(ROOT / "p2pframe").rglob("*")]:
        if folder.is_dir() and any(folder.glob("*.py")):
            assert (folder / "__init__.py").read_text().startswith('"""'), folder
    assert not list((ROOT / "twisted").rglob("__init__.py"))


def test_twistd_lists_p2pnode(installed: Installed, tmp_path: Path) -> None:
    result = installed.run("twistd", "--help", cwd=tmp_path)
    assert "p2pnode" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "--config" in installed.run("twistd", "p2pnode", "--help", cwd=tmp_path).stdout


def test_twist_lists_p2pnode_too(installed: Installed, tmp_path: Path) -> None:
    result = installed.run("twist", "--help", cwd=tmp_path)
    assert "p2pnode" in result.stdout + result.stderr


@pytest.mark.parametrize("fault", ["garbage", "unwritable", "read-only-folder"])
def test_trouble_with_dropin_cache_is_no_traceback(installed: Installed, tmp_path: Path, fault: str) -> None:
    if installed.kind == "editable":
        pytest.skip("the source folder's cache is the same code with another path")
    folder = installed.site_packages / "twisted" / "plugins"
    cache = folder / "dropin.cache"
    if cache.is_dir():
        cache.rmdir()
    if fault == "garbage":
        cache.write_bytes(b"\x80\x04not a pickle")
    elif fault == "unwritable":
        # A folder in its place refuses root's write too.
        cache.unlink(missing_ok=True)
        cache.mkdir()
    else:
        cache.unlink(missing_ok=True)
        folder.chmod(0o555)
    try:
        result = installed.run("twistd", "--help", cwd=tmp_path)
    finally:
        folder.chmod(0o755)
        if cache.is_dir():
            cache.rmdir()
    assert "p2pnode" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_every_built_in_plugin_loads(installed: Installed, tmp_path: Path) -> None:
    script = (
        "from importlib.metadata import entry_points\n"
        "for point in entry_points(group='p2pframe.plugins'):\n"
        "    kind, _, name = point.name.partition('.')\n"
        "    declared = point.load().__p2pframe_plugin__\n"
        "    assert (declared.kind, declared.name) == (kind, name), (point, declared)\n"
        "    print(point.name)\n"
    )
    result = installed.run("python", "-c", script, cwd=tmp_path)
    assert sorted(result.stdout.split()) == sorted(built_in_plugins())


def test_the_command_line_is_there(installed: Installed, tmp_path: Path) -> None:
    listed = installed.run("p2pframe", "plugins", cwd=tmp_path).stdout
    for name in built_in_plugins():
        assert name.partition(".")[2] in listed, name
    (tmp_path / "node.yaml").write_text(CONFIG)
    installed.run("p2pframe", "check", "node.yaml", cwd=tmp_path)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_node_runs_from_any_folder_and_stops_on_a_signal(
    installed: Installed, tmp_path: Path, stop: signal.Signals
) -> None:
    (tmp_path / "node.yaml").write_text(CONFIG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [installed.bin / "twistd", "--nodaemon", "p2pnode", "-c", tmp_path / "node.yaml"]
    with running_node(command, cwd=elsewhere, environment=installed.environment()) as node:
        node.wait_until_listening()
        node.stop(stop)
    # There is no pidfile that could block the next start.
    assert not list(elsewhere.glob("*.pid"))
