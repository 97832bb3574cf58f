"""The programs that are measured, each in a process of its own: our node under twistd, the bare frame loop, bcoin.

CPU time is read from outside, by the kernel's own clock of each process.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
_FIRST, *_OTHERS = sorted(os.sched_getaffinity(0))
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


class Missing(Exception):
    """A program to compare with is not installed."""


def free_port() -> int:
    """A port that nobody listens on now, and that no connection takes for its own end.

    The kernel gives those from 32,768 on: who asks whether a program listens yet there may connect to himself, and keep
    it from listening.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port


@contextmanager
def off_the_first() -> Iterator[None]:
    """This process, and those that it starts meanwhile, leave the first processor free, where there are more."""
    os.sched_setaffinity(0, _OTHERS or {_FIRST})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {_FIRST, *_OTHERS})


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, in all its threads, ended ones too."""
    # The kernel's clock of a process (clock_getcpuclockid), which the time module has a name for only with threads.
    return time.clock_gettime((~pid << 3) | 2)


def memory_of(pid: int) -> int:
    """Bytes of a process that are resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no resident memory: it has ended")


class Program:
    """A process that listens on `port` on loopback; ended with its `with` block, its folder with it."""

    def __init__(
        self, arguments: list[str], port: int, folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.arguments = arguments
        self.port = port
        self.folder = folder
        self._log = (folder / "output").open("wb")
        self.spawned = time.monotonic()
        self.process = subprocess.Popen(
            arguments, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )

    @property
    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return cpu_of(self.process.pid)

    def alone(self) -> None:
        """Run on the first processor, which `off_the_first` keeps free of others; its threads of before, too."""
        if _OTHERS:
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {_FIRST})

    @property
    def memory(self) -> int:
        """Bytes resident."""
        return memory_of(self.process.pid)

    def listening(self, limit: float = 60.0) -> Self:
        """Wait until it takes connections."""
        deadline = time.monotonic() + limit
        while True:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
                return self
            except OSError:
                self.check(time.monotonic() < deadline)
                time.sleep(0.005)

    def check(self, in_time: bool = True) -> None:
        """Raise, with what the program said, where it has ended or its time is over."""
        if not in_time or self.process.poll() is not None:
            said = (self.folder / "output").read_text("utf-8", "replace")[-3000:]
            raise RuntimeError(f"{self.arguments} {'ended' if in_time else 'took too long'}; it said:\n{said}")

    def stop(self) -> None:
        """End it, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


class Folders:
    """Temporary folders, gone with the `with` block."""

    def __enter__(self) -> Self:
        self._root = Path(tempfile.mkdtemp(prefix="p2pframe-bench-"))
        self._count = 0
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def new(self) -> Path:
        """One more folder."""
        self._count += 1
        self.last = self._root / str(self._count)
        self.last.mkdir()
        return self.last


CONFIG = """\
version: 1
node: {{data_dir: ./data, watchdog: 0s, log_level: warn{options}}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["127.0.0.1:{port}"]}}]
    limits: {{{limits}}}
{rest}"""
OPEN_LIMITS = (
    "messages_per_second: 1000000000, messages_burst: 1000000000, bytes_per_second: 1000GB, bytes_burst: 1000GB,"
    " accepts_per_second: 100000, accepts_burst: 100000, netgroup_accepts_per_second: 100000,"
    " netgroup_accepts_burst: 100000, handshakes: 20000"
)
"""What one client on loopback needs to load a node on its own; the same checks run, with other numbers."""


def node(folder: Path, rest: str = "", options: str = "") -> Program:
    """Our node, with the default relay policy and scorers; `options` are more of `node`. A folder keeps its data."""
    port = free_port()
    (folder / "node.yaml").write_text(CONFIG.format(port=port, limits=OPEN_LIMITS, rest=rest, options=options))
    arguments = [sys.executable, "-c", _TWISTD, "--nodaemon", "p2pnode", "-c", "node.yaml"]
    return Program(arguments, port, folder, {"PYTHONPATH": str(HERE.parent)})


def bare_loop(folder: Path) -> Program:
    """The v1 frame loop alone, on the same reactor: the ceiling for a session."""
    port = free_port()
    return Program(
        [sys.executable, str(HERE / "bare_loop.py"), str(port)], port, folder, {"PYTHONPATH": str(HERE.parent)}
    )


def node_modules() -> Path:
    """Where bcoin is. Raises `Missing` with what to do."""
    place = os.environ.get("P2PFRAME_NODE_MODULES", "")
    if not place or not (Path(place) / "bcoin").is_dir():
        raise Missing(
            "bcoin is not there: run scripts/install_node_peers.py DIR, and set P2PFRAME_NODE_MODULES=DIR/node_modules"
        )
    if shutil.which("node") is None:
        raise Missing("bcoin needs Node.js, and there is no `node` on the PATH")
    return Path(place).resolve()


def bcoin(folder: Path) -> Program:
    """A bcoin node on regtest, in memory, with its log off. Raises `Missing`."""
    modules = node_modules()
    port = free_port()
    settings = {"modules": str(modules), "port": port, "http": free_port(), "prefix": str(folder)}
    return Program(["node", str(HERE / "bcoin_node.js"), json.dumps(settings)], port, folder)
