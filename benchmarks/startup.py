"""`twistd p2pnode`: from the start of the process until it takes connections, and until a peer has its answer."""

from __future__ import annotations

import socket
import time
from statistics import median

from benchmarks.figures import Row, at_most, figure
from benchmarks.processes import LOOPBACK, Folders, node
from benchmarks.wire import greeted

ROUNDS = 5


def _start(folders: Folders, existing: bool) -> tuple[float, float, float]:
    """Seconds until it listens, of CPU until then, and until a handshake is complete."""
    folder = folders.new()
    if existing:
        with node(folder) as program:
            greeted(program).close()
    with node(folder) as program:
        while True:
            try:
                socket.create_connection((LOOPBACK, program.port), timeout=1).close()
                break
            except OSError:
                program.check()
                time.sleep(0.005)
        listening = time.monotonic() - program.spawned
        cpu = program.cpu
        greeted(program).close()
        return listening, cpu, time.monotonic() - program.spawned


def run() -> list[Row]:
    """Medians, for a fresh data directory and for one that was used before."""
    rows = []
    with Folders() as folders:
        _start(folders, False)
        results: dict[str, list[tuple[float, float, float]]] = {"fresh data": [], "used data": []}
        for _ in range(ROUNDS):
            for name, found in results.items():
                found.append(_start(folders, name == "used data"))
        for name, found in results.items():
            listening, cpu, answering = (median(column) for column in zip(*found, strict=True))
            rows += [
                at_most(f"twistd p2pnode listening, {name}", listening, "s", 1.0),
                figure(f"  CPU until then, {name}", cpu, "s"),
                figure(f"  first handshake complete, {name}", answering, "s"),
            ]
    return rows
