"""Many runs: every combination of settings, variants and seeds, on this machine's processors or on a Dask cluster.

Each run has a process of its own (fresh.py), so one that dies is one failed run, and the others go on. Wherever they
run and in whatever order they end, the results are in the order of the jobs.
"""

from __future__ import annotations

# real world: everything: processes and threads run simulations, and are not in them
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from p2pframe.errors import P2PFrameError
from p2pframe.sim.fresh import RUNNER, Crew, Outcome, job_of
from p2pframe.sim.results import RunResult

if TYPE_CHECKING:
    from p2pframe.sim.run import Job

MOST_RUNS = 100_000
"""Of one call: more would be a slip of the keyboard."""
_CONNECT = 10.0
"""Seconds to wait for a Dask scheduler."""

Started = Callable[[int, float], None]
"""Told of a job's index and the virtual seconds that it has reached."""
Done = Callable[[int, RunResult], None]


def values_of(text: str) -> tuple[str, list[str]]:
    """Key and values of `key=a,b,c`; commas within brackets and quotes belong to a value. Raises `P2PFrameError`."""
    key, equals, rest = text.partition("=")
    if not equals or not key.strip():
        raise P2PFrameError(f"{text!r}: write a path and its values, such as hosts.nodes.count=100,1000")
    values, start, depth, quote = [], 0, 0, ""
    for index, char in enumerate(rest):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and depth <= 0:
            values.append(rest[start:index].strip())
            start = index + 1
    values.append(rest[start:].strip())
    if not all(values):
        raise P2PFrameError(f"{text!r}: a value is empty; write '' for an empty text")
    if len(dict.fromkeys(values)) != len(values):
        raise P2PFrameError(f"{text!r}: a value is there twice")
    return key.strip(), values


def plan(
    path: str,
    seeds: Sequence[int | None],
    variants: Sequence[str],
    sweep: Mapping[str, Sequence[str]] | None = None,
    settings: Mapping[str, str] | None = None,
    faults: tuple[int, ...] | None = None,
) -> list[Job]:
    """A job for every combination: of the values in `sweep`, then of variants, then of seeds, the last changing first.

    `settings` are the same for all. Raises `P2PFrameError` for more than `MOST_RUNS`.
    """
    from p2pframe.sim.run import Job

    sweep = sweep or {}
    count = len(seeds) * len(variants)
    for values in sweep.values():
        count *= len(values)
    if count > MOST_RUNS:
        raise P2PFrameError(f"that makes {count} runs: at most {MOST_RUNS} at a time")
    fixed = tuple((settings or {}).items())
    return [
        Job(path, seed, variant, (*fixed, *zip(sweep, chosen, strict=True)), faults)
        for chosen in product(*sweep.values())
        for variant in variants
        for seed in seeds
    ]


def failed(job: Job, error: str) -> RunResult:
    """What stands in the report for a run that gave no result."""
    return RunResult(
        Path(job.path).stem, job.seed or 0, job.variant, dict(job.settings), failures=[error], command=job.command
    )


def processors() -> int:
    """How many processes can run side by side here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_here(
    jobs: Sequence[Job],
    at_once: int = 0,
    started: Started | None = None,
    done: Done | None = None,
    runner: str = RUNNER,
    hash_seed: str = "",
) -> list[RunResult]:
    """Run on this machine, `at_once` side by side (0: as many as there are processors). KeyboardInterrupt ends all."""
    crew = Crew(runner)

    def one(index: int) -> RunResult:
        tell = None if started is None else lambda virtual: started(index, virtual)
        return _result(jobs[index], crew.run(jobs[index], hash_seed, progress=tell))

    results: dict[int, RunResult] = {}
    pool = ThreadPoolExecutor(max_workers=max(1, min(at_once or processors(), len(jobs))))
    try:
        futures = {pool.submit(one, index): index for index in range(len(jobs))}
        for future in as_completed(futures):
            index = futures[future]
            results[index] = future.result()
            if done is not None:
                done(index, results[index])
    finally:
        crew.end()
        pool.shutdown(cancel_futures=True)
    return [results[index] for index in range(len(jobs))]


def run_on_dask(
    jobs: Sequence[Job], address: str, done: Done | None = None, runner: str = RUNNER
) -> list[RunResult]:
    """Run on the cluster whose scheduler is at `address`, where p2pframe and the scenario's files have to be as here.

    Raises `P2PFrameError` where Dask is missing or nobody answers. KeyboardInterrupt ends all.
    """
    try:
        from distributed import Client
        from distributed import as_completed as as_finished
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "dask"):
            raise
        raise P2PFrameError("--dask needs Dask: pip install 'p2pframe[dask]'") from None
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise P2PFrameError(f"no Dask scheduler answers at {address}: {error}") from error
    tag = uuid4().hex
    results: dict[int, RunResult] = {}
    futures: dict[Any, int] = {}
    try:
        for index, job in enumerate(jobs):
            future = client.submit(_on_worker, asdict(job), tag, runner, key=f"p2pframe-{tag}-{index}", pure=False)
            futures[future] = index
        for future in as_finished(list(futures), loop=client.loop):
            index = futures[future]
            results[index] = _finished(jobs[index], future)
            if done is not None:
                done(index, results[index])
    finally:
        if len(results) < len(jobs):
            # Cancelling ends what waits; what runs already has to be ended where it runs.
            client.cancel(list(futures))
            client.run(_end_on_worker, tag)
        client.close()
    return [results[index] for index in range(len(jobs))]


def _result(job: Job, outcome: Outcome) -> RunResult:
    return outcome.result if outcome.result is not None else failed(job, outcome.error)


def _finished(job: Job, future: Any) -> RunResult:
    if future.status == "finished":
        data, error = future.result()
        return failed(job, error) if data is None else RunResult.from_data(data)
    # The worker died, more often than Dask tries again, or has no p2pframe.
    return failed(job, f"its Dask worker gave no result: {future.status}: {future.exception()}")


# --- on a worker

_crews: dict[str, list[Crew]] = {}
"""Those that run on this worker now, by the call that they belong to."""


def _on_worker(job: dict[str, Any], tag: str, runner: str) -> tuple[dict[str, Any] | None, str]:
    crew = Crew(runner)
    crews = _crews.setdefault(tag, [])
    crews.append(crew)
    try:
        outcome = crew.run(job_of(job))
    finally:
        crews.remove(crew)
        if not crews:
            _crews.pop(tag, None)
    return (None, outcome.error) if outcome.result is None else (outcome.result.to_data(), "")


def _end_on_worker(tag: str) -> None:
    for crew in list(_crews.get(tag, ())):
        crew.end()


def seeds_from(first: int, count: int) -> Iterable[int]:
    """`count` seeds one after another."""
    return range(first, first + count)
