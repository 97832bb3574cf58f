"""The simulator: a thousand whole Bitcoin nodes in one process, what each of them takes, and its clock.

Messages are those that nodes have received, as their own counters say; every one of them passed through a session, its
gate, a conversation and its handler. Each measure has a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.crowd import MIXES
from benchmarks.figures import Row, at_least, at_most, figure
from benchmarks.processes import HERE

NODES = 1000
PENDING = (100, 10_000, 100_000)


def measured(*arguments: object) -> dict[str, float]:
    """What `benchmarks.crowd` says. Raises CalledProcessError."""
    command = [sys.executable, "-m", "benchmarks.crowd", *map(str, arguments)]
    said = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(said)
    return found


def run() -> list[Row]:
    """Messages a CPU-second in each mix, memory and CPU of an idle node, the clock beside a bare heapq."""
    rows: list[Row] = []
    for mix, (relay, tx) in MIXES.items():
        found = measured("messages", mix, NODES)
        what = f"messages among {NODES} nodes, {mix}"
        note = f"{relay}; a transaction in {tx:g} s, a block in 10 s; {found['messages']:,} messages"
        rows.append(at_least(what, found["per_second"], "/CPU-s", 50_000, note))
    idle = measured("idle", NODES)
    rows.append(at_most("an idle node with 8 sessions", idle["bytes"] / 2**20, "MiB", 1.0))
    rows.append(figure("an idle node, for a virtual second", idle["cpu"] * 1e6, "us of CPU"))
    for pending in PENDING:
        clock = measured("clock", pending)
        for what, bare in (("events", "bare_events"), ("calls", "bare_events"), ("timers", "bare_timers")):
            ratio = clock[what] / clock[bare]
            note = {"timers": "each call also moves one timer and cancels another"}.get(what, "")
            rows.append(at_most(f"clock, {pending:,} pending {what}: against heapq", ratio, "times", 3.0, note))
    return rows
