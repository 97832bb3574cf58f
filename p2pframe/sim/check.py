"""`p2pframe sim --check`: does a run repeat? Twice in fresh processes, whose texts hash differently, and compared.

Where they differ, both are run once more, to find the first delivery that does.
"""

from __future__ import annotations

# real world: concurrent.futures: both runs go on side by side
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from p2pframe.config.settings import NodeSpec, PluginChoice
from p2pframe.errors import P2PFrameError
from p2pframe.sim.fresh import Crew, Look, Outcome
from p2pframe.sim.results import RunResult

if TYPE_CHECKING:
    from p2pframe.sim.run import Job
    from p2pframe.sim.scenario import Scenario

HASH_SEEDS = ("1", "2")
_SHOWN = 10

Points = list[tuple[float, str]]


class Different(P2PFrameError):
    """Two runs of one seed were not the same; the text says where they part."""


def refuse_unrepeatable(scenario: Scenario) -> None:
    """Raises `P2PFrameError` for a scenario with plugins that say of themselves that their runs do not repeat."""
    found: dict[str, None] = {}
    for group in scenario.groups.values():
        for choice in choices(group.spec):
            if choice.spec.unrepeatable:
                text = f"{choice.where}: {choice.label} ({group.name}) does not repeat: {choice.spec.unrepeatable}"
                found[text] = None
    if found:
        raise P2PFrameError("\n".join((*found, "--check can't vouch for a scenario with these: leave them out of it")))


def choices(spec: NodeSpec) -> Iterator[PluginChoice]:
    """Every plugin that a node runs, but its storage: the simulated disk's own takes that place."""
    for network in spec.networks.values():
        yield network.protocol
        for several in (
            network.transports, network.upgrades, network.discovery, network.scoring, network.authentication,
            network.validators, network.item_stores.values(),
        ):  # fmt: skip
            yield from several
        yield from (one for one in (network.topology, network.relay) if one is not None)
    yield from spec.applications


def check(
    job: Job, crew: Crew, at_once: int = 2, progress: Callable[[int, float], None] | None = None
) -> RunResult:
    """Run a job twice and compare. Returns the result where both are the same; raises `Different`, or `P2PFrameError`.

    `progress` is told of the number of the run (0, 1) and the virtual time that it has reached.
    """
    first, second = _twice(job, crew, Look(checkpoints=True), at_once, progress)
    assert first.result is not None and second.result is not None
    one, other = _compared(first.result), _compared(second.result)
    if one == other:
        return first.result
    parts = [name for name in one if one[name] != other[name]]
    text = [f"two runs of seed {first.result.seed} differ in their {', '.join(parts)}"]
    text += _values(first.result, second.result)
    if "trace" in parts:
        start, end = _apart(first.seen, second.seen)
        if start:
            text.append(f"they are the same up to virtual time {start:.6f}")
        text += _first_delivery(job, crew, start, end, at_once)
    text.append("a set's order, the machine's time or its chance got in: `p2pframe lint` sees most of these")
    raise Different("\n".join(text))


def _twice(
    job: Job, crew: Crew, look: Look, at_once: int, progress: Callable[[int, float], None] | None = None
) -> list[Outcome]:
    def run(number: int) -> Outcome:
        tell = None if progress is None else lambda virtual: progress(number, virtual)
        return crew.run(job, HASH_SEEDS[number], look, tell)

    pool = ThreadPoolExecutor(min(at_once, len(HASH_SEEDS)))
    try:
        outcomes = list(pool.map(run, range(len(HASH_SEEDS))))
    except KeyboardInterrupt:
        crew.end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    for outcome in outcomes:
        if outcome.result is None:
            raise P2PFrameError(f"the run could not be checked: {outcome.error}")
    return outcomes


def _compared(result: RunResult) -> dict[str, object]:
    """All of a result but what it cost this machine."""
    data = replace(result, cpu=0.0, command="").to_data()
    del data["cpu"], data["command"]
    return data


def _values(one: RunResult, other: RunResult) -> list[str]:
    found = []
    for name in dict.fromkeys((*one.values, *other.values)):
        mine, theirs = one.values.get(name), other.values.get(name)
        if mine != theirs and not (mine != mine and theirs != theirs):
            found.append(f"{name}: {mine} and {theirs}")
    more = [f"and {len(found) - _SHOWN} more values"] if len(found) > _SHOWN else []
    return [*found[:_SHOWN], *more]


def _apart(one: Points, other: Points) -> tuple[float, float]:
    """The last time at which both traces were the same, and the first checkpoint after which they are not."""
    # One may have thinned its checkpoints out once more than the other: what both have is what counts.
    known = set(other)
    shared = max((index for index, point in enumerate(one) if point in known), default=-1)
    start = one[shared][0] if shared >= 0 else 0.0
    ends = [points[0][0] for points in (one[shared + 1 :], [p for p in other if p[0] > start]) if points]
    return start, min(ends, default=float("inf"))


def _first_delivery(job: Job, crew: Crew, start: float, end: float, at_once: int) -> list[str]:
    first, second = _twice(job, crew, Look(window=(start, end)), at_once)
    for mine, theirs in zip(first.seen, second.seen, strict=False):
        if mine != theirs:
            return [f"the first delivery that differs:{_shown([mine])}", f"and in the other run:{_shown([theirs])}"]
    longer = max(first.seen, second.seen, key=len)
    shorter = min(len(first.seen), len(second.seen))
    if len(longer) > shorter:
        return [f"after {shorter} equal deliveries one run has one more:{_shown(longer[shorter:][:1])}"]
    if end == float("inf"):
        return ["all deliveries are the same: what a host came to at the end differs"]
    return ["this time they did not differ there: it is not by hash seed alone, but by time, chance or memory"]


def _shown(seen: Sequence[tuple[float, str]]) -> str:
    return "".join(f"  {time:.6f}  {text}" for time, text in seen)
