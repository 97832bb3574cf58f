"""What an idle session costs at 10,000 of them: our process's resident memory, and its CPU when nobody says anything.

Sockets are real, over loopback, the peers in another process; what the kernel keeps for a socket is not the process's.
The relay policy and the scorers are the default ones, and every bound that turns away many peers of one place is
raised.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.figures import Row, at_most, figure
from benchmarks.processes import HERE, Folders, node
from benchmarks.wire import greeted

FIRST = 200
"""Sessions before the first look: what all share is there by then."""
SESSIONS = 10_000
QUIET = 20.0
TOPOLOGY = "    topology: {plugin: random, inbound: 10100}\n"


def run() -> list[Row]:
    """Bytes a session, and the share of a CPU that all of them take."""
    with Folders() as folders, node(folders.new(), TOPOLOGY) as program:
        greeted(program).close()
        arguments = [sys.executable, "-m", "benchmarks.idle_peers", str(program.port)]
        with subprocess.Popen(
            arguments, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as peers:
            said, told = peers.stdout, peers.stdin
            assert said is not None and told is not None

            def opened(number: int) -> None:
                told.write(f"{number}\n")
                if said.readline().strip() != f"open {number}":
                    program.check()
                    raise RuntimeError(f"{number} sessions could not be opened: see above")

            opened(FIRST)
            time.sleep(1)
            memory, cpu = program.memory, program.cpu
            opened(SESSIONS)
            opening = program.cpu - cpu
            time.sleep(12)  # every scorer has sampled every session
            each = (program.memory - memory) / (SESSIONS - FIRST)
            cpu = program.cpu
            time.sleep(QUIET)
            idle = (program.cpu - cpu) / QUIET
            told.close()
    return [
        at_most("an idle session of 10,000", each / 1024, "KiB", 8.0, "resident memory of the process"),
        figure("  opening one", opening / (SESSIONS - FIRST) * 1000, "CPU-ms"),
        figure("  all of them, in silence", idle * 100, "% of a CPU"),
    ]
