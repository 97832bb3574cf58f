"""Python's collector of cyclic garbage at the pace of a service.

By itself it looks at what is new every 700 objects, and through all that lives whenever that has grown by a quarter. A
page of a thousand peers makes tens of thousands of objects that are gone a moment later, but not within 700: they count
as growth, and a node of a thousand sessions stands still for a tenth of a second.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects that may be new before they are looked through: what one page, or a burst of messages, makes at most."""


class Pace:
    """The collector's, while a node serves; `end` gives it back as it was."""

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Take over. What is there already (modules, classes, plugins) lives to the end, and is not looked at again."""
        if self._before is None:
            self._before = gc.get_threshold()
            gc.collect()
            gc.freeze()
            gc.set_threshold(YOUNG, *self._before[1:])

    def end(self) -> None:
        """Give it back."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None
