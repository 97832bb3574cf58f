"""Pages are made in slices, so that no page of a thousand rows holds the reactor. Those that refresh themselves share
what was made, and a bounded part of the CPU.

A page that somebody opens is made for them, now. An open page that refreshes itself says so (`X-Refresh`), and what it
has (`If-None-Match`): as long as the time that such pages may take is used up it gets what was made last, or 304, and
is told when to come again (`X-Refresh-After`, seconds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from p2pframe.admin.slices import Slices
from p2pframe.visible import plain, visible_lines

PIECES = 64
"""Pieces of a template between two looks at the clock."""
KEPT = 16
"""Pages that are kept for others, for each role: what one asks for holds up, or pushes out, nothing of another's."""
LONGEST = 60.0
"""Seconds after which a page that refreshes itself is made anew, whatever it takes."""
SOONEST = 1.0
"""Seconds between two refreshes of a page."""

T = TypeVar("T")
R = TypeVar("R")


class Lazily(Sequence[R], Generic[T, R]):
    """Each of `items` as `made` makes it, when it is its turn: a row of a page is made in the slice that it is in."""

    def __init__(self, items: Sequence[T], made: Callable[[T], R]) -> None:
        self._items = items
        self._made = made

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[R]:
        return map(self._made, self._items)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...

    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice):
            return Lazily(self._items[index], self._made)
        return self._made(self._items[index])


@dataclass(slots=True)
class Made:
    """A page whose text is still to come, piece by piece; an empty one stands for work that had to be done before."""

    pieces: Iterable[str]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as it was at a time, and what making it took (seconds of the reactor's clock); `tag` is its own."""

    text: str
    status: int
    tag: str
    time: float
    cost: float


class Rendering:
    """Makes pages, and keeps them for who asks for the same. `share` is that of a CPU which refreshing may take."""

    def __init__(self, clock: IReactorTime, share: Callable[[], float], counted: Callable[[str], None]) -> None:
        self._clock = clock
        self._share = share
        self._counted = counted
        self._kept: dict[object, dict[object, Shown]] = {}
        """By role, and what was asked for."""
        self._under_way: dict[object, list[Deferred[Shown]]] = {}
        self._asked: dict[object, dict[object, float]] = {}
        """When each page last refreshed itself, by role: those that are open share the share."""
        self._number = 0

    def after(self, key: object, role: object = None) -> float:
        """In how many seconds it is of use to refresh a page again."""
        return max(SOONEST, self._due(key, role) - self._clock.seconds())

    async def opened(self, key: object, begin: Callable[[], Made], role: object = None) -> Shown:
        """The page as it is now."""
        return await self._make(key, begin, role)

    async def refreshed(self, key: object, begin: Callable[[], Made], role: object = None) -> Shown:
        """The page as it is now, or as it was when there was time for it. `role` is that of who asks."""
        now = self._clock.seconds()
        asked = self._asked.setdefault(role, {})
        asked.pop(key, None)
        asked[key] = now
        while len(asked) > KEPT or now - next(iter(asked.values())) > LONGEST:
            del asked[next(iter(asked))]
        kept = self._kept.get(role, {}).get(key)
        if kept is not None and now < self._due(key, role):
            self._counted("kept")
            return kept
        waiting = self._under_way.get((role, key))
        own: Deferred[Shown] = Deferred()
        if waiting is not None:
            self._counted("shared")
            waiting.append(own)
        else:
            self._counted("made")
            self._under_way[role, key] = [own]
            # By itself: whoever asked first may go, and the others wait for it still.
            Deferred.fromCoroutine(self._made_for_all(key, begin, role))
        return await own

    def _due(self, key: object, role: object) -> float:
        """When a page is made anew for who refreshes it: each that is open has an equal part of the share."""
        kept = self._kept.get(role, {}).get(key)
        if kept is None:
            return 0.0
        pause = kept.cost * max(1, len(self._asked.get(role, ()))) / self._share()
        return kept.time + min(max(pause, SOONEST), LONGEST)

    async def _made_for_all(self, key: object, begin: Callable[[], Made], role: object) -> None:
        result: Shown | Failure
        try:
            result = await self._make(key, begin, role)
        except Exception:  # noqa: BLE001 - told to all who wait for it
            result = Failure()
        for one in self._under_way.pop((role, key)):
            if not one.called:
                one.callback(result)

    async def _make(self, key: object, begin: Callable[[], Made], role: object) -> Shown:
        slices = Slices(self._clock)
        pieces: list[str] = []
        made = begin()
        for number, piece in enumerate(made.pieces):
            pieces.append(piece)
            if (not piece or number % PIECES == 0) and slices.over:
                await slices.next_turn()
        text = "".join(pieces)
        if not plain(text):
            # Autoescaping leaves marks of direction as they are. No page of ours has any: they are somebody's text.
            for number, piece in enumerate(pieces):
                pieces[number] = visible_lines(piece)
                if number % PIECES == 0 and slices.over:
                    await slices.next_turn()
            text = "".join(pieces)
        self._number += 1
        shown = Shown(text, made.status, f'"{self._number}"', self._clock.seconds(), slices.cost)
        kept = self._kept.setdefault(role, {})
        kept.pop(key, None)
        if made.status == 200:
            kept[key] = shown
            if len(kept) > KEPT:
                del kept[next(iter(kept))]
        return shown
