"""What the admin costs a node under load: 1000 peers that keep it busy, five open pages; and how late its reactor is.

Three states in turns: a node without the admin, one with it and nobody looking, the same one with five tabs. The load
is pings, the cheapest of messages, so that what is added weighs most; 100 of them are under way at any time, over all
sessions in turn. The pages ask for themselves again as often as they ever may, as if something happened all the time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.figures import Row, at_most, figure
from benchmarks.processes import HERE, Folders, Program, free_port, node
from benchmarks.wire import greeted

SESSIONS = 1000
FLYING = 100
ROUNDS = 6
SECONDS = 10.0
LOOKED_AT = 20.0
"""Of a window with open pages."""
OPENED = 15.0
"""Seconds between their opening, which is as dear as somebody makes it, and the window."""
PAGES = ("/", "/peers", "/propagation", "/topology", "/peers/bitcoin/2")
TOPOLOGY = "    topology: {plugin: random, inbound: 1100}\n"
PROBE = "applications:\n  - {plugin: lag-probe}\n"
ADMIN = """\
  - plugin: admin
    listen: "127.0.0.1:{port}"
    tokens: [{{name: bench, role: viewer, file: ./token}}]
"""


class Asked:
    """A process that is told a line, and says one when it is done."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
            cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def __call__(self, line: str) -> str:
        """Tell it, and wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        return self.said()

    def said(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended: see above")
        return line.strip()

    def end(self) -> None:
        """It ends with its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@contextmanager
def asked(module: str, *arguments: object) -> Iterator[Asked]:
    """One, ended with the block."""
    process = Asked(module, *arguments)
    try:
        yield process
    finally:
        process.end()


class Loaded:
    """A node with its peers."""

    def __init__(self, program: Program, peers: Asked) -> None:
        self._program = program
        self._peers = peers

    def window(self, seconds: float) -> tuple[float, list[float]]:
        """CPU-microseconds a message over so long a time under load, and how late each beat of the reactor was."""
        begin, before = time.time(), self._program.cpu
        answered = int(self._peers(str(seconds)))
        cost, end = self._program.cpu - before, time.time()
        late: list[float] = []
        [written] = (self._program.folder / "data").rglob("lag.txt")
        for line in written.read_text().splitlines():
            at, *beats = map(float, line.split())
            if begin + 1 < at <= end:
                late += beats
        return cost / answered * 1e6, late


def run() -> list[Row]:
    """Ratios of the CPU a message takes, and the reactor's lag."""
    port = free_port()
    with Folders() as folders, ExitStack() as stack:

        def loaded(rest: str) -> Loaded:
            folder = folders.new()
            token = folder / "token"
            token.touch(0o600)
            token.write_text("benchmark-token-of-nobody")
            program = stack.enter_context(node(folder, TOPOLOGY + rest, f", plugin_path: ['{HERE / 'plugins'}']"))
            greeted(program).close()
            peers = stack.enter_context(asked("busy_peers", program.port, SESSIONS, FLYING))
            peers.said()
            return Loaded(program, peers)

        bare = loaded(PROBE)
        watched = loaded(PROBE + ADMIN.format(port=port))
        token = folders.last / "token"
        tabs = stack.enter_context(asked("tabs", f"127.0.0.1:{port}", token, *PAGES))
        for one in (bare, watched):
            one.window(3.0)
        unseen, seen, costs = [], [], []
        lag: dict[str, list[float]] = {"bare": [], "tabs": []}
        for _ in range(ROUNDS):
            without, late = bare.window(SECONDS)
            lag["bare"] += late
            idle, _ = watched.window(SECONDS)
            tabs("open")
            time.sleep(OPENED)
            looked_at, late = watched.window(LOOKED_AT)
            tabs("close")
            lag["tabs"] += late
            costs.append(without)
            unseen.append(idle / without)
            seen.append(looked_at / idle)
    return [
        figure("admin: CPU of a ping among 1000 busy peers, without the admin", median(costs), "us"),
        at_most("admin: CPU of a message, nobody looking, against none", median(unseen), "times", 1.01,
                _spread(unseen)),
        at_most("admin: CPU of a message, five open pages, against nobody looking", median(seen), "times", 1.03,
                _spread(seen)),
        figure("admin: reactor lag p99 without it", _p99(lag["bare"]) * 1000, "ms", "of beats of 10 ms, under load"),
        at_most("admin: reactor lag p99 with five open pages", _p99(lag["tabs"]) * 1000, "ms", 20.0,
                f"the latest {max(lag['tabs']) * 1000:.0f} ms"),
    ]  # fmt: skip


def _spread(ratios: list[float]) -> str:
    return f"{len(ratios)} pairs, {min(ratios):.3f} to {max(ratios):.3f}"


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
