"""One job at a time, in the order asked: what lets a single SQLite connection serve without a lock.

Reads that wait together go to the thread together: a trip there and back costs more than a read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from p2pframe.errors import StorageError

T = TypeVar("T")

TOGETHER = 64
"""Reads that go to the thread in one trip."""


class _Job:
    __slots__ = ("alone", "deferred", "outcome", "run")

    def __init__(self, run: Callable[[], Any], alone: bool) -> None:
        self.run = run
        self.alone = alone
        self.deferred: Deferred[Any] = Deferred()
        self.outcome: Any = None


class Worker:
    """Runs jobs by `work` (`context.work`), never two at once."""

    def __init__(self, work: Callable[[Callable[[list[_Job]], None], list[_Job]], Deferred[None]]) -> None:
        self._work = work
        self._queue: deque[_Job] = deque()
        self._busy = False

    def __len__(self) -> int:
        return len(self._queue)

    def write(self, run: Callable[[], T]) -> Deferred[T]:
        """A job that takes a trip of its own; its callers hold at most one each."""
        return self._add(_Job(run, True))

    def read(self, run: Callable[[], T], limit: int) -> Deferred[T]:
        """A short job; fails with `StorageError` where `limit` are waiting already."""
        if len(self._queue) >= limit:
            return fail(
                StorageError(f"{limit} reads wait for the disk already (storage.reads): wait for their answers")
            )
        return self._add(_Job(run, False))

    def _add(self, job: _Job) -> Deferred[Any]:
        self._queue.append(job)
        self._pump()
        return job.deferred

    def _pump(self) -> None:
        while self._queue and not self._busy:
            jobs = [self._queue.popleft()]
            if not jobs[0].alone:
                while self._queue and not self._queue[0].alone and len(jobs) < TOGETHER:
                    jobs.append(self._queue.popleft())
            self._busy = True
            self._work(_run, jobs).addBoth(self._finished, jobs)

    def _finished(self, result: object, jobs: list[_Job]) -> None:
        self._busy = False
        for job in jobs:
            # A pool that is full or stopped fails the trip itself: none of its jobs has run.
            outcome = result if isinstance(result, Failure) else job.outcome
            if not job.deferred.called:
                job.deferred.callback(outcome)
        self._pump()


def _run(jobs: list[_Job]) -> None:
    for job in jobs:
        try:
            job.outcome = job.run()
        except Exception:  # noqa: BLE001 - handed to whoever asked for the job
            job.outcome = Failure()
