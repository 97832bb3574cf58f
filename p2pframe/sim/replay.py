"""`p2pframe sim replay`: the same run once more, and what happened in it around a time, or to an item."""

from __future__ import annotations

from collections.abc import Callable

from p2pframe.errors import P2PFrameError
from p2pframe.sim.results import RunResult
from p2pframe.sim.run import Job, run
from p2pframe.sim.watch import Item, Seen, Window, faults_between

Progress = Callable[[float], None]


def around(job: Job, time: float, window: float, progress: Progress | None = None) -> tuple[RunResult, list[str]]:
    """The run, and a line for each delivery, timer and fault within half of `window` before and after `time`."""
    start, end = time - window / 2, time + window / 2
    look = Window(start, end)
    result = run(job, progress, look.watch)
    return result, lines([*look.seen, *faults_between(result.faults, start, end)])


def of_item(job: Job, id: bytes, progress: Progress | None = None) -> tuple[RunResult, list[str]]:
    """The run, and a line for each delivery with the item's id in it and for each host that took the item."""
    look = Item(id)
    result = run(job, progress, look.watch)
    return result, lines(look.seen)


def parse_id(text: str) -> bytes:
    """An id of its hex digits. Raises `P2PFrameError`."""
    try:
        id = bytes.fromhex(text)
    except ValueError:
        id = b""
    if len(id) < 4:
        raise P2PFrameError(f"{text!r} is no id: write its hex digits, 8 or more, in the order of the wire or reversed")
    return id


def lines(seen: list[Seen]) -> list[str]:
    """In the order of time; of equal times in the order in which it happened."""
    return [f"{one.time:14.6f}  {one.text}" for one in sorted(seen, key=lambda one: one.time)]
