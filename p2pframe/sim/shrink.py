"""Cuts the faults of a failing run to as few as make it fail: taking away any one more makes it pass.

The search is delta debugging: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE
Transactions on Software Engineering, 2002), figure 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from p2pframe.errors import P2PFrameError
from p2pframe.sim.results import RunResult

if TYPE_CHECKING:
    from p2pframe.sim.run import Job

Subset = tuple[int, ...]
Fails = Callable[[Sequence[Subset]], int | None]
"""Given subsets of the faults, the index of the first with which the run fails, or None."""

# What is another in each run of one failure: numbers, addresses, hex digits.
_VARIES = re.compile(r"\b(0x)?[0-9a-f]*\d[0-9a-f.:]*\b", re.IGNORECASE)


def ddmin(whole: Subset, fails: Fails) -> Subset:
    """A subset that fails, none of whose subsets with one fault less does. The whole has to fail."""
    if not whole or fails([()]) is not None:
        return ()
    current, parts = whole, 2
    while len(current) > 1:
        chunks = _split(current, parts)
        rests = [tuple(fault for fault in current if fault not in chunk) for chunk in chunks] if parts > 2 else []
        found = fails([*chunks, *rests])
        if found is None:
            if parts >= len(current):
                break
            parts = min(len(current), parts * 2)
        elif found < len(chunks):
            current, parts = chunks[found], 2
        else:
            current, parts = rests[found - len(chunks)], max(parts - 1, 2)
    return current


def _split(faults: Subset, parts: int) -> list[Subset]:
    size, more = divmod(len(faults), parts)
    chunks, start = [], 0
    for index in range(parts):
        end = start + size + (index < more)
        chunks.append(faults[start:end])
        start = end
    return chunks


def symptoms(result: RunResult) -> dict[str, None]:
    """What tells one failure from another: the expectations that failed, and the kinds of what was logged."""
    found = [f"expected {judgement.where} {judgement.text}" for judgement in result.judgements if not judgement.ok]
    for failure in result.failures:
        lines = failure.strip().splitlines() or [""]
        found.append("logged " + _VARIES.sub("#", lines[-1]))
    return dict.fromkeys(found)


@dataclass(frozen=True)
class Shrunk:
    """The faults that are left, the run that they make fail, and how many runs it took to find."""

    faults: Subset
    result: RunResult
    runs: int


def shrink(
    job: Job,
    failing: RunResult,
    run: Callable[[Sequence[Job]], Sequence[RunResult]],
    at_once: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Shrunk:
    """Find the fewest faults with which `job` fails as in `failing`: by any of the same expectations or failures.

    `run` runs `at_once` jobs, side by side as it likes. `progress` is told of the number of runs so far, and of faults
    left. Raises `P2PFrameError` where the run did not fail, died, or does not fail again.
    """
    wanted = symptoms(failing)
    if not wanted:
        raise P2PFrameError("there is nothing to shrink: the run did not fail")
    if not failing.trace:
        raise P2PFrameError("there is nothing to shrink by: the run died, and what faults it had is not known")
    whole = tuple(fault.number for fault in failing.faults)
    results: dict[Subset, RunResult] = {}
    least = len(whole)

    def fails(subsets: Sequence[Subset]) -> int | None:
        nonlocal least
        for start in range(0, len(subsets), at_once):
            some = subsets[start : start + at_once]
            new = [subset for subset in dict.fromkeys(some) if subset not in results]
            for subset, result in zip(new, run([replace(job, faults=subset) for subset in new]), strict=True):
                results[subset] = result
            # The first of them, whichever came first: the same search every time.
            found = next((n for n, subset in enumerate(some) if wanted.keys() & symptoms(results[subset]).keys()), None)
            if found is not None:
                least = min(least, len(some[found]))
            if progress is not None:
                progress(len(results), least)
            if found is not None:
                return start + found
        return None

    if fails([whole]) is None:
        raise P2PFrameError(
            "the run does not fail again with the same faults: look with --check whether it repeats at all"
        )
    left = ddmin(whole, fails)
    return Shrunk(left, results[left], len(results))
