"""What stands in for a run in tests of those who run: each is named `module:function`, for a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time

from p2pframe.errors import P2PFrameError
from p2pframe.sim.results import FaultNote, Judgement, RunResult


def result(job, **fields):
    return RunResult("made", job.seed or 0, job.variant, dict(job.settings), command=job.command, **fields)


def quick(job, progress=None, watch=None):
    """Tells of its progress and says which process it was in, and how texts hash there."""
    if progress is not None:
        progress(1.0)
    print("a plugin prints something", flush=True)
    return result(
        job, trace=f"{job.seed}", values={"process": float(os.getpid()), "hash": float(hash("text"))}
    )


def troubled(job, progress=None, watch=None):
    """Seeds 1 to 4 end badly, each in its own way."""
    if job.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.seed == 2:
        print("its last words", file=sys.stderr, flush=True)
        os._exit(7)
    if job.seed == 3:
        raise P2PFrameError("a mistake that says what to do")
    if job.seed == 4:
        raise RuntimeError("a mistake in the code")
    return quick(job)


def endless(job, progress=None, watch=None):
    """Tells where it is, and goes on."""
    with open(job.path, "a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        time.sleep(0.05)


def two_faults(job, progress=None, watch=None):
    """Of twelve faults 3 and 8 together make it fail; 5 alone makes it fail in another way."""
    faults = range(1, 13) if job.faults is None else job.faults
    judgements, failures = [], []
    if 3 in faults and 8 in faults:
        judgements.append(Judgement("coverage is at least 1", False, 0.5, "s.yaml:9:5"))
    elif 5 in faults:
        failures.append("1.5 s on a: ValueError: another thing")
    return result(
        job,
        trace="00",
        faults=[FaultNote(number, float(number), None, f"kill host-{number}") for number in faults],
        judgements=judgements,
        failures=failures,
    )


def by_hash(job, progress=None, watch=None):
    """The order of a set in the results."""
    return result(job, trace="".join({"one", "two", "three", "four", "five"}))


def by_memory(job, progress=None, watch=None):
    """A value that is another in each run, and a trace that is not."""
    return result(job, trace="same", values={"steady": 1.0, "pid": float(os.getpid())})
