"""What the admin costs a node under load: 1000 peers that keep it busy, five open pages; and how late its reactor is.

The load is pings, the cheapest of messages, so that what is added weighs most; 100 of them are under way at any time,
over all sessions in turn. The pages ask for themselves again as often as they ever may, as if something happened all
the time.

Measured in two ways. Pairs: two nodes, the pages of one are open, and both are loaded in turns, then the other way
round, so that what one process costs more than the other cancels out. The turns are short and many, in an order by
chance, as the machine makes one of them dearer by a sixth however long it is; the nodes have a processor of their own,
which halves that. Samples: every 4 ms of the node's CPU its stack is looked at for the admin; they don't see what it
makes dearer elsewhere (caches, collections of garbage), so the pairs decide.
"""

from __future__ import annotations

import random
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
from benchmarks.processes import HERE, Folders, free_port, node, off_the_first
from benchmarks.wire import greeted

SESSIONS = 1000
FLYING = 100
ROUNDS = 8
"""Pairs of nodes, of which one has no admin."""
BLOCKS, BLOCK = 50, 10
"""Blocks of pairs each way round. What a page takes at once is a multiple of a turn, so blocks are compared."""
TURN = 0.1
"""Seconds under load, of one of a pair."""
SECONDS = 20.0
"""Under load, for samples and lag: a line of the probe's takes a second."""
OPENED = 15.0
"""Seconds between the opening of pages, which is as dear as somebody makes it, and the first window."""
PAGES = ("/", "/peers", "/propagation", "/topology", "/peers/bitcoin/2")
TOPOLOGY = "    topology: {plugin: random, inbound: 1100}\n"
PROBE = """\
applications:
  - {plugin: lag-probe}
"""
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


class Seen(NamedTuple):
    """What the probe saw of a node over some time under load."""

    cpu: float
    """CPU-seconds."""
    in_admin: float
    """Those in its code, or on its sockets."""
    collecting: float
    """Those in full collections of garbage."""
    late: list[float]
    """Seconds that each beat of the reactor came late."""


class Loaded:
    """A node with its peers, and pages to open."""

    def __init__(self, stack: ExitStack, folder: Path, admin: bool = True) -> None:
        port = free_port()
        token = folder / "token"
        token.touch(0o600)
        token.write_text("benchmark-token-of-nobody")
        rest = TOPOLOGY + PROBE + (ADMIN.format(port=port) if admin else "")
        self._program = stack.enter_context(node(folder, rest, f", plugin_path: ['{HERE / 'plugins'}']"))
        greeted(self._program).close()
        self._peers = stack.enter_context(asked("busy_peers", self._program.port, SESSIONS, FLYING))
        try:
            self._peers.said()
        except RuntimeError:
            self._program.check(in_time=False)
        self._program.alone()
        if admin:
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
        used = in_admin = collecting = 0.0
        [written] = (self._program.folder / "data").rglob("lag.txt")
        for line in written.read_text().splitlines():
            at, cpu, admin, full, *beats = map(float, line.split())
            if begin + 1 < at <= end:
                late += beats
                used += cpu
                in_admin += admin
                collecting += full
        return Seen(used, in_admin, collecting, late)


def run() -> list[Row]:
    """What the admin adds to a message, and the reactor's lag."""
    costs: list[float] = []
    ratios: list[float] = []
    open_pages: list[Seen] = []
    nobody: list[Seen] = []
    with Folders() as folders, off_the_first(), ExitStack() as stack:
        nodes = [Loaded(stack, folders.new()) for _ in range(2)]
        for one in nodes:
            one.loaded(3.0)
        for looked_at, other in (nodes, reversed(nodes)):
            nobody.append(looked_at.seen())
            looked_at.tabs("open")
            time.sleep(OPENED)
            open_pages.append(looked_at.seen())
            for _ in range(BLOCKS):
                block = _block(looked_at, other)
                costs += block[other]
                ratios.append(log(sum(block[looked_at]) / sum(block[other])))
            looked_at.tabs("close")
    ways = ratios[:BLOCKS], ratios[BLOCKS:]
    error = sqrt(sum(variance(one) / BLOCKS for one in ways)) / 2
    share, said = _percent(ratios, error)
    without: list[float] = []
    unwatched = list(_unwatched(without))
    noise = sqrt(variance(unwatched) / ROUNDS)
    more, said_unwatched = _percent(unwatched, noise)
    lag, latest = _lag(open_pages)
    before, latest_before = _lag(nobody)
    return [
        figure("admin: CPU of a ping among 1000 busy peers, nobody looking", median(costs) * 1e6, "us"),
        figure("admin: CPU of a ping among 1000 busy peers, no admin", median(without) * 1e6, "us"),
        at_most("admin: five open pages add to the CPU of a message, in pairs", share, "%", 3.0,
                f"{len(ratios) * BLOCK} pairs; {said}"),
        figure("admin: an admin that nobody looks at adds, in pairs", more, "%",
               f"{ROUNDS} pairs of nodes; {said_unwatched}: under twice that it can't be told from nothing"),
        at_most("admin: its own CPU, by samples, five open pages", *_added(open_pages, 3.0)),
        at_most("admin: its own CPU, by samples, nobody looking", *_added(nobody, 0.3)),
        figure("admin: reactor lag p99, nobody looking", before, "ms", latest_before),
        at_most("admin: reactor lag p99 with five open pages", lag, "ms", 20.0, latest),
    ]  # fmt: skip


def _block(*both: Loaded) -> dict[Loaded, list[float]]:
    """What messages cost each of two, turn about."""
    costs: dict[Loaded, list[float]] = {one: [] for one in both}
    for _ in range(BLOCK):
        for one in random.sample(both, 2):
            costs[one].append(one.loaded(TURN))
    return costs


def _unwatched(costs: list[float]) -> Iterator[float]:
    """What an admin that nobody looks at adds, in pairs of nodes with it and without: processes differ by chance."""
    for _ in range(ROUNDS):
        with Folders() as folders, off_the_first(), ExitStack() as stack:
            both = Loaded(stack, folders.new()), Loaded(stack, folders.new(), admin=False)
            for one in both:
                one.loaded(3.0)
            blocks = [_block(*both) for _ in range(BLOCKS // 5)]
        costs += [cost for block in blocks for cost in block[both[1]]]
        yield mean(log(sum(block[both[0]]) / sum(block[both[1]])) for block in blocks)


def _percent(ratios: Sequence[float], error: float) -> tuple[float, str]:
    """How much more that is, of logarithms of ratios and their standard error."""
    return (exp(mean(ratios)) - 1) * 100, f"standard error {error * 100:.1f}"


def _added(seen: Sequence[Seen], most: float) -> tuple[float, str, float, str]:
    cpu, found = sum(one.cpu for one in seen), sum(one.in_admin for one in seen)
    full = sum(one.collecting for one in seen)
    return found / (cpu - found) * 100, "%", most, f"of {cpu:.0f} CPU-s; full collections {full / cpu * 100:.2f} %"


def _lag(seen: Sequence[Seen]) -> tuple[float, str]:
    late = sorted(beat for one in seen for beat in one.late)
    return late[int(len(late) * 0.99)] * 1000, f"of {len(late):,} beats of 10 ms; the latest {late[-1] * 1000:.0f} ms"
