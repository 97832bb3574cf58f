"""Python's collector of cyclic garbage at the pace of a simulation.

By itself it looks through all that lives each time that this has grown by a quarter, and through what is new every 700
objects: of a thousand nodes, which hardly make cycles while they run, that is a fifth of the time. Here it looks when
there is half as much again as at the last look, asked once a virtual second; that bounds what garbage may take in
between. It changes when memory is given back, and nothing that a node sees.
"""

from __future__ import annotations

import gc

from p2pframe.sim.clock import HeapClock

EVERY = 1.0
"""Virtual seconds between two looks at how much has been made."""
LEAST = 500_000
"""Objects that are worth a collection."""


class Collector:
    """Collects while a simulation runs; a context manager, or `begin` and `end`."""

    def __init__(self, clock: HeapClock) -> None:
        self.collections = 0
        self._clock = clock
        self._live = 0
        self._room = LEAST
        self._running = False
        self._was_enabled = False

    def begin(self) -> None:
        """Take over. What is there already is taken to live to the end, and not looked at again."""
        self._running = True
        self._was_enabled = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        self._live = gc.get_freeze_count()
        self._clock.at(self._clock.now + EVERY, None, self._look)

    def end(self) -> None:
        """Give it back as it was."""
        if self._running:
            self._running = False
            gc.unfreeze()
            if self._was_enabled:
                gc.enable()

    def __enter__(self) -> Collector:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _look(self) -> None:
        if not self._running:
            return
        # While it is disabled, this counts what was made and is still there since the last collection.
        more = gc.get_count()[0]
        if more > self._room:
            self.collections += 1
            self._live += more - gc.collect()
            self._room = max(LEAST, self._live // 2)
        self._clock.at(self._clock.now + EVERY, None, self._look)
