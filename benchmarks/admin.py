"""What the admin costs a node under load: 1000 peers that keep it busy, five open pages; and how late its reactor is.

The load is pings, the cheapest of messages, so that what is added weighs most; 100 of them are under way at any time,
over all sessions in turn. The pages ask for themselves again as often as they ever may, as if something happened all
the time.

Measured in two ways. Pairs: two nodes, the pages of one are open, and both are loaded in turns, then the other way
round, so that what one process costs more than the other cancels out. The turns are short: what else the machine does
changes the cost of one by a sixth, however long it is, so many tell more than long ones. Samples: every 4 ms of the
node's CPU its stack is looked at for the admin.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import exp, log, sqrt
from pathlib import Path
from statistics import mean, median, variance
from typing import NamedTuple

from benchmarks.figures import Row, at_most, figure
from benchmarks.processes import HERE, Folders, free_port, node
from benchmarks.wire import greeted

SESSIONS = 1000
FLYING = 100
PAIRS = 400
"""Each way round."""
TURN = 0.2
"""Seconds under load, of one of a pair."""
SECONDS = 20.0
"""Under load, for samples and lag: a line of the probe's takes a second."""
OPENED = 15.0
"""Seconds between the opening of pages, which is as dear as somebody makes it, and the first window."""
PAGES = ("/", "/peers", "/propagation", "/topology", "/peers/bitcoin/2")
TOPOLOGY = "    topology: {plugin: random, inbound: 1100}\n"
APPLICATIONS = """\
applications:
  - {{plugin: lag-probe}}
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


class Seen(NamedTuple):
    """What the probe saw of a node over some time under load."""

    samples: float
    """Of its stack."""
    in_admin: float
    """Those that found it in the admin."""
    late: list[float]
    """Seconds that each beat of the reactor came late."""


class Loaded:
    """A node with its peers, and pages to open."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        port = free_port()
        token = folder / "token"
        token.touch(0o600)
        token.write_text("benchmark-token-of-nobody")
        rest = TOPOLOGY + APPLICATIONS.format(port=port)
        self._program = stack.enter_context(node(folder, rest, f", plugin_path: ['{HERE / 'plugins'}']"))
        greeted(self._program).close()
        self._peers = stack.enter_context(asked("busy_peers", self._program.port, SESSIONS, FLYING))
        self._peers.said()
        self.tabs = stack.enter_context(asked("tabs", f"127.0.0.1:{port}", token, *PAGES))

    def loaded(self, seconds: float) -> float:
        """CPU-seconds a message, over so long a time under load."""
        before = self._program.cpu
        answered = int(self._peers(str(seconds)))
        return (self._program.cpu - before) / answered

    def seen(self) -> Seen:
        """What it does under load."""
        begin = time.time()
        self.loaded(SECONDS)
        end = time.time()
        late: list[float] = []
        samples = in_admin = 0.0
        [written] = (self._program.folder / "data").rglob("lag.txt")
        for line in written.read_text().splitlines():
            at, sampled, admin, *beats = map(float, line.split())
            if begin + 1 < at <= end:
                late += beats
                samples += sampled
                in_admin += admin
        return Seen(samples, in_admin, late)


def run() -> list[Row]:
    """What the admin adds to a message, and the reactor's lag."""
    costs: list[float] = []
    ratios: list[float] = []
    open_pages: list[Seen] = []
    nobody: list[Seen] = []
    with Folders() as folders, ExitStack() as stack:
        nodes = [Loaded(stack, folders.new()) for _ in range(2)]
        for one in nodes:
            one.loaded(3.0)
        for looked_at, other in (nodes, reversed(nodes)):
            nobody.append(looked_at.seen())
            looked_at.tabs("open")
            time.sleep(OPENED)
            open_pages.append(looked_at.seen())
            for _ in range(PAIRS):
                cost = looked_at.loaded(TURN)
                costs.append(other.loaded(TURN))
                ratios.append(log(cost / costs[-1]))
            looked_at.tabs("close")
    ways = ratios[:PAIRS], ratios[PAIRS:]
    error = sqrt(sum(variance(one) / PAIRS for one in ways)) / 2
    lag, latest = _lag(open_pages)
    before, latest_before = _lag(nobody)
    return [
        figure("admin: CPU of a ping among 1000 busy peers, nobody looking", median(costs) * 1e6, "us"),
        at_most("admin: CPU of a message, five open pages against none, in pairs", exp(mean(ratios)), "times", 1.03,
                f"{len(ratios)} pairs, standard error {error:.3f}"),
        at_most("admin: what it adds to the CPU of a message, five open pages", *_added(open_pages, 3.0)),
        at_most("admin: what it adds to the CPU of a message, nobody looking", *_added(nobody, 0.3)),
        figure("admin: reactor lag p99, nobody looking", before, "ms", latest_before),
        at_most("admin: reactor lag p99 with five open pages", lag, "ms", 20.0, latest),
    ]  # fmt: skip


def _added(seen: Sequence[Seen], most: float) -> tuple[float, str, float, str]:
    samples, found = sum(one.samples for one in seen), sum(one.in_admin for one in seen)
    return found / (samples - found) * 100, "%", most, f"{found:,.0f} of {samples:,.0f} samples of its stack"


def _lag(seen: Sequence[Seen]) -> tuple[float, str]:
    late = sorted(beat for one in seen for beat in one.late)
    return late[int(len(late) * 0.99)] * 1000, f"of {len(late):,} beats of 10 ms; the latest {late[-1] * 1000:.0f} ms"
