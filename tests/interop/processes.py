"""Nodes in processes of their own, on loopback: a p2pframe node under twistd, and bcoin. Ready when they say so.

Everything waits by looking again until a deadline; what ends a test's processes is their own Popen object.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import yaml

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
LAUNCHER = Path(__file__).with_name("bcoin_launcher.js")
TWISTD = "from twisted.scripts.twistd import run; run()"
"""The program twistd, whether or not its script is on the path."""
LOOK = 0.05
"""Seconds between two looks at something that is waited for."""

_given: set[int] = set()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on, and that no other call has given."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def wait_until(what: str, look: Callable[[], T], limit: float = 30.0, state: Callable[[], str] = str) -> T:
    """What `look` gives, as soon as that is true; fails with `what`, and what `state` says, after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit:g} s: {what}\n{state()}", pytrace=True)
        time.sleep(LOOK)


class RunningProcess:
    """A process that logs into a file, started by `start` and ended by this object alone."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.output = folder / f"{name}.out"
        self.process: subprocess.Popen[bytes] | None = None
        self._from = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def spawn(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Run `command`; what it says is added to the log."""
        assert self.process is None, f"{self.name} runs already"
        self._from = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def log(self, whole: bool = False) -> str:
        """What it has said since it was started, or since it was first started."""
        with self.output.open("rb") as file:
            file.seek(0 if whole else self._from)
            return file.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """The end of what it has said, for a test's failure."""
        return f"--- {self.name}:\n" + "\n".join(self.log().splitlines()[-40:])

    def wait_for(self, words: str, limit: float = 30.0) -> str:
        """Until it says `words`: the line they are in."""

        def look() -> str:
            for line in self.log().splitlines():
                if words in line:
                    return line
            if self.process is None or self.process.poll() is not None:
                pytest.fail(f"{self.name} ended before it said {words!r}\n{self.tail()}")
            return ""

        return wait_until(f"{self.name} says {words!r}", look, limit, self.tail)

    def wait(self, limit: float = 30.0) -> int:
        """Until it has ended by itself: its exit status."""
        assert self.process is not None
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} still runs after {limit:g} s\n{self.tail()}")
        self.process = None
        return status

    def stop(self, limit: float = 20.0) -> int:
        """Ask it to end, as an operator would: its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait(limit)

    def kill(self) -> None:
        """End it at once, wherever it is (kill -9); nothing where it does not run."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(20)


class P2PNode(RunningProcess):
    """`twistd -n p2pnode -c FILE` by the interpreter that runs the tests; `config` is written as that file.

    `port` is where its first network listens; `{port}` in the config's texts becomes it.
    """

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.host = LOOPBACK
        self.path = folder / f"{name}.yaml"
        self.data_dir = folder / f"{name}-data"
        self.rewrite(config)

    def rewrite(self, config: Mapping[str, Any]) -> None:
        """Write another configuration; the data directory stays the same."""
        settings = {"version": 1, "node": {}} | _filled(config, self.port)
        settings["node"] = {"data_dir": str(self.data_dir)} | settings["node"]
        self.path.write_text(yaml.safe_dump(settings, sort_keys=False))

    @property
    def address(self) -> str:
        """host:port of its first network."""
        return f"{self.host}:{self.port}"

    def start(self, ready: str = "listening on", limit: float = 30.0) -> Self:
        """Run it until it is ready."""
        self.spawn(self.command())
        self.wait_for(ready, limit)
        return self

    def command(self) -> list[str | Path]:
        """What an operator would type."""
        return [sys.executable, "-c", TWISTD, "-n", "p2pnode", "-c", self.path]

    def stop(self, limit: float = 20.0) -> int:
        """As `RunningProcess.stop`; fails where it did not end in good order."""
        status = super().stop(limit)
        assert status in (0, -signal.SIGTERM), self.tail()
        self.must_be_clean()
        return status

    def must_be_clean(self) -> None:
        """Fails where anything went wrong that nobody was to see."""
        log = self.log(whole=True)
        assert "Traceback" not in log, f"{self.name} logged a traceback\n{log[-8000:]}"


def _filled(tree: Any, port: int) -> Any:
    if isinstance(tree, Mapping):
        return {key: _filled(value, port) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_filled(value, port) for value in tree]
    return tree.replace("{port}", str(port)) if isinstance(tree, str) else tree


class RPCError(Exception):
    """What bcoin answered instead of a result."""


class Bcoin(RunningProcess):
    """A bcoin node that knows `only` these peers. Its chain is in memory: a restart begins at genesis."""

    def __init__(self, name: str, folder: Path, only: Sequence[str] = (), flush: int = 200) -> None:
        """`flush`: how often, in ms, it tells a peer of transactions; 0 leaves it at bcoin's own 5 s."""
        super().__init__(name, folder)
        self.flush = flush
        self.only = list(only)
        self.port = free_port()
        self.http = free_port()
        self.key = secrets.token_hex(16)
        self.address = ""
        self.witness_address = ""

    def start(self) -> Self:
        """Run it until it answers."""
        settings = {
            "modules": str(node_modules()), "port": self.port, "http": self.http, "key": self.key, "only": self.only,
            "prefix": str(self.folder / f"{self.name}-data"), "flush": self.flush,
        }  # fmt: skip
        self.spawn(["node", str(LAUNCHER), json.dumps(settings)])
        line = self.wait_for("READY ")
        said = json.loads(line.partition("READY ")[2])
        self.address, self.witness_address = said["address"], said["witness"]
        return self

    def tail(self) -> str:
        """Without its lines about our own questions."""
        said = [line for line in self.log().splitlines() if "(rpc)" not in line and "Memory:" not in line]
        return f"--- {self.name}:\n" + "\n".join(said[-40:])

    def rpc(self, method: str, *params: object) -> Any:
        """One call; `RPCError` where bcoin refuses."""
        connection = http.client.HTTPConnection(LOOPBACK, self.http, timeout=60)
        try:
            login = base64.b64encode(f"x:{self.key}".encode()).decode()
            body = json.dumps({"method": method, "params": params, "id": 1})
            connection.request(
                "POST", "/", body, {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
            )
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer.get("error"):
            raise RPCError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, count: int, address: str = "") -> list[str]:
        """Make blocks: their hashes, as people write them. They pay to `address`, by default to whoever spends them."""
        hashes: list[str] = self.rpc("generatetoaddress", count, address or self.address)
        return hashes

    def height(self) -> int:
        height: int = self.rpc("getblockcount")
        return height

    def best(self) -> str:
        """The hash of its last block."""
        best: str = self.rpc("getbestblockhash")
        return best

    def wait_for_block(self, hash: str, limit: float = 30.0, *others: RunningProcess) -> None:
        """Until `hash` is its last block."""
        wait_until(
            f"{self.name} is at {hash}",
            lambda: self.best() == hash,
            limit,
            lambda: "\n".join(
                [f"it is at {self.height()} {self.best()}", self.tail(), *(other.tail() for other in others)]
            ),
        )

    def wait_for_transaction(self, txid: str, limit: float = 60.0, *others: RunningProcess) -> None:
        """Until a transaction is in its memory pool."""
        wait_until(
            f"{self.name} has transaction {txid}", lambda: txid in self.rpc("getrawmempool"), limit,
            lambda: "\n".join([self.tail(), *(other.tail() for other in others)]),
        )  # fmt: skip


def node_modules(package: str = "bcoin") -> Path:
    """Where a package of npm's is installed; skips the test, or fails it in CI, where it is not."""
    given = os.environ.get("P2PFRAME_NODE_MODULES")
    missing = ""
    if shutil.which("node") is None:
        missing = "Node.js is not installed"
    elif given is None or not (Path(given) / package / "package.json").exists():
        missing = (
            f"{package} is not installed: `tox -e interop` does that, or scripts/install_node_peers.py FOLDER and "
            "P2PFRAME_NODE_MODULES"
        )
    if missing:
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    assert given is not None
    return Path(given)
