"""The systemd unit and the Containerfile: each tested as far as that goes without a machine of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.packaging.running import CONFIG, running_node

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "examples" / "p2pnode.service"
CONTAINERFILE = ROOT / "examples" / "Containerfile"
TWISTD = Path(sys.executable).parent / "twistd"


def unit_settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists in the place of twistd: systemd-analyze looks for it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit can't be checked here")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    return copy


def test_systemd_understands_the_unit(unit: Path) -> None:
    result = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if unit.name in line]
    assert not complaints
    assert result.returncode == 0, result.stderr


def test_the_unit_is_hardened(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", "--threshold=15", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in result.stderr:
        pytest.skip("this systemd-analyze can't rate a unit offline")
    worst = [row["name"] for row in json.loads(result.stdout) if float(row["exposure"] or 0) >= 0.3]
    # 1.5 of 10: what is left is the network itself and the file system that it may read.
    assert result.returncode == 0, worst


def test_the_unit_runs_as_nobody_in_particular_and_waits_for_ready() -> None:
    settings = unit_settings()
    assert settings["Type"] == ["notify"]
    assert settings["User"] == ["p2pnode"]
    assert settings["NoNewPrivileges"] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["StateDirectory"] == ["p2pnode"]
    assert settings["LimitNOFILE"] == ["20000"]
    [command] = settings["ExecStart"]
    assert shlex.split(command)[1:] == ["--nodaemon", "p2pnode", "-c", "/etc/p2pnode/node.yaml"]


def test_the_node_tells_systemd_when_it_listens(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(CONFIG)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(tmp_path / "notify"))
        ready.settimeout(0.2)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(ROOT)}
        command = [TWISTD, "--nodaemon", "p2pnode", "-c", tmp_path / "node.yaml"]
        with running_node(command, cwd=tmp_path, environment=environment) as node:
            said = b""
            deadline = time.monotonic() + 30
            while not said:
                assert node.process.poll() is None, node.log()
                assert time.monotonic() < deadline, f"no READY=1 came:\n{node.log()}"
                with suppress(TimeoutError):
                    said = ready.recv(4096)
            assert b"READY=1" in said.split(b"\n")
            assert "listening" in node.log().lower()
            node.stop()


# --- the Containerfile --------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", "", CONTAINERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def copies() -> list[tuple[list[str], str]]:
    """What is copied from the checkout, and to where."""
    found = []
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            found.append((sources, target))
    return found


def test_what_the_containerfile_copies_is_there() -> None:
    assert copies()
    for sources, _ in copies():
        for source in sources:
            assert (ROOT / source).exists(), source


def test_the_container_does_not_run_as_root() -> None:
    steps = instructions()
    names = [name for name, _ in steps]
    assert set(names) <= {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "VOLUME", "STOPSIGNAL", "CMD"}
    [user] = [rest for name, rest in steps if name == "USER"]
    assert user not in ("root", "0")
    assert any(name == "RUN" and rest.startswith("useradd ") and rest.endswith(user) for name, rest in steps)
    assert names.index("USER") > len(names) - 1 - names[::-1].index("RUN")
    assert names[-1] == "CMD"


@pytest.mark.packaging
@pytest.mark.timeout(600)
def test_the_containerfile_builds_a_node_that_runs(tmp_path: Path) -> None:
    """Its steps, one after the other, with a folder of ours in the place of the image's root."""

    def inside(text: str) -> str:
        return re.sub(r"(?<![\w.])/(src|opt|etc|var)\b", rf"{tmp_path}/\1", text)

    for sources, target in copies():
        for source in sources:
            place = Path(inside(target)) / source if target.endswith("/") else Path(inside(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
            else:
                shutil.copy(ROOT / source, place)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for name, rest in instructions():
        # Who there is on this machine is not ours to change.
        if name == "RUN" and not rest.startswith("useradd "):
            subprocess.run(inside(rest), shell=True, check=True, env=environment, timeout=400, cwd=tmp_path)
    [command] = [json.loads(rest) for name, rest in instructions() if name == "CMD"]
    etc = tmp_path / "etc" / "p2pnode"
    state = tmp_path / "var" / "lib" / "p2pnode"
    etc.mkdir(parents=True)
    state.mkdir(parents=True)
    (etc / "node.yaml").write_text(CONFIG.replace("./data", str(state)))
    with running_node([inside(part) for part in command], cwd=state, environment=environment) as node:
        node.wait_until_listening()
        node.stop()
