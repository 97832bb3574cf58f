"""A run in a process of its own: with fresh memory, a chosen hash seed, and a crash that is one failed run.

The parent writes what it asks for as one line of JSON to the child's standard input, and keeps that open: when it ends,
however the parent ends, so does the child. The child answers with lines of JSON on its standard output:
`{"progress": SECONDS}` now and then, and last `{"result": ..., "seen": ...}` or `{"error": TEXT}`. What else is printed
there goes to standard error.
"""

from __future__ import annotations

# real world: everything: processes and threads run simulations, and are not in them
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TextIO, cast

from p2pframe.errors import P2PFrameError
from p2pframe.sim.results import ResultsError, RunResult

if TYPE_CHECKING:
    from p2pframe.sim.run import Job, Watch

RUNNER = "p2pframe.sim.run:run"
"""Module and name of what runs a job."""
_ROOT = Path(__file__).parents[2]
_PROGRESS = 0.1
"""Seconds of this machine between two words of progress."""
_TAIL = 4000
"""Bytes of what a child printed before it died."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Look:
    """What to look at in a run besides its result: the trace's checkpoints, or all deliveries between two times."""

    checkpoints: bool = False
    window: tuple[float, float] | None = None


@dataclass
class Outcome:
    """What came of a run: its result, or why there is none. `seen` is what was looked at."""

    result: RunResult | None
    seen: list[tuple[float, str]]
    error: str = ""


class Crew:
    """The processes that run at the moment; `end` ends them, and those that were to come."""

    def __init__(self, runner: str = RUNNER) -> None:
        self.runner = runner
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._over = False

    def run(
        self, job: Job, hash_seed: str = "", look: Look | None = None, progress: Progress | None = None
    ) -> Outcome:
        """Run a job and wait for it. `hash_seed` is the child's PYTHONHASHSEED; without one it is as here."""
        environment = {**os.environ}
        if hash_seed:
            environment["PYTHONHASHSEED"] = hash_seed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH"))))
        request = {"job": asdict(job), "runner": self.runner, "look": asdict(look or Look())}
        with TemporaryFile() as printed:
            with self._lock:
                if self._over:
                    return Outcome(None, [], "ended before it began")
                process = subprocess.Popen(
                    [sys.executable, "-m", "p2pframe.sim.fresh"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=printed,
                    env=environment,
                    # Ctrl-C is the parent's alone: it ends the children.
                    start_new_session=True,
                )
                self._running[process.pid] = process
            try:
                outcome = _answer(process, request, progress)
            finally:
                with self._lock:
                    del self._running[process.pid]
                if process.poll() is None:
                    process.kill()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None
                    # Where the request was not even read, the status below tells of it.
                    with suppress(BrokenPipeError):
                        stream.close()
                status = process.wait()
            if outcome is None:
                printed.seek(max(0, printed.seek(0, os.SEEK_END) - _TAIL))
                tail = printed.read().decode("utf-8", "replace").strip()
                outcome = Outcome(None, [], f"its process {_ended(status)}" + (f": {tail}" if tail else ""))
            return outcome

    def end(self) -> None:
        """Kill what runs; whoever waits for it is told, and nothing more begins."""
        with self._lock:
            self._over = True
            for process in self._running.values():
                process.kill()


def _answer(
    process: subprocess.Popen[bytes], request: Mapping[str, object], progress: Progress | None
) -> Outcome | None:
    """What the child answers; None where it died without a word."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for line in process.stdout:
        try:
            said = json.loads(line)
            if "progress" in said:
                if progress is not None:
                    progress(said["progress"])
            elif "error" in said:
                return Outcome(None, [], said["error"])
            else:
                return Outcome(
                    RunResult.from_data(said["result"]), [(when, what) for when, what in said["seen"]]
                )
        except (ValueError, ResultsError) as error:
            # Cut off in the middle, as by the death of the child.
            return Outcome(None, [], f"its process gave an answer that could not be read: {error}")
    return None


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


# --- the child


def main() -> None:
    """Run what standard input asks for."""
    # Whatever a plugin prints must not get between our lines.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = _run(request, answers)
    except P2PFrameError as error:
        answer = {"error": str(error)}
    except Exception:  # noqa: BLE001 - whatever it is, the parent tells of it
        answer = {"error": traceback.format_exc()}
    answers.write(json.dumps(answer) + "\n")
    answers.close()
    # Nothing of a simulation is worth taking apart in order, and a thousand nodes take seconds.
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _run(request: Mapping[str, Any], answers: TextIO) -> dict[str, object]:
    from p2pframe.sim.run import Watch
    from p2pframe.sim.watch import Window

    module, _, name = request["runner"].partition(":")
    run = cast("Callable[[Job, Progress | None, Watch | None], RunResult]", getattr(import_module(module), name))
    last = 0.0

    def progress(virtual: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS:
            last = now
            answers.write(json.dumps({"progress": virtual}) + "\n")
            answers.flush()

    look = request["look"]
    window = Window(look["window"][0], look["window"][1], timers=False) if look["window"] else None
    watch = window.watch if window else Watch()
    result = run(job_of(request["job"]), progress, watch if window or look["checkpoints"] else None)
    seen = [(one.time, one.text) for one in window.seen] if window else watch.traces
    return {"result": result.to_data(), "seen": seen}


def job_of(data: Mapping[str, Any]) -> Job:
    """The job that `dataclasses.asdict` made this of."""
    from p2pframe.sim.run import Job

    fields = dict(data)
    fields["settings"] = tuple((key, value) for key, value in fields["settings"])
    fields["faults"] = None if fields["faults"] is None else tuple(fields["faults"])
    return Job(**fields)


if __name__ == "__main__":
    main()
