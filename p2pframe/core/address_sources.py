"""Who told of how many of a book's addresses, and how many of these have answered: no source may fill the book."""

from __future__ import annotations

from collections.abc import Mapping

from p2pframe.core.address_rows import LONGEST
from p2pframe.interfaces.node import SourceHolds
from p2pframe.model import PeerAddress, netgroup

_PLUGIN = "source:"


def source_group(source: PeerAddress | str) -> str:
    """What the book remembers of who told: a plugin by its name, a peer by its netgroup."""
    group = netgroup(source) if isinstance(source, PeerAddress) else f"{_PLUGIN}{source}"
    # Of a peer that has a name the group is the name, which may be longer than what is kept of it.
    return group if len(group) * 4 <= LONGEST else group.encode()[:LONGEST].decode(errors="ignore")


def source_name(group: str) -> str:
    """The same for people: the plugin's name, or `peers of` a netgroup."""
    return group.removeprefix(_PLUGIN) if group.startswith(_PLUGIN) else f"peers of {group}"


class Sources:
    """Counts by source; an address counts for whoever told of it first.

    `allowed` is how many addresses that never answered one source may have in the book.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._held: dict[str, int] = {}
        self._tried: dict[str, int] = {}

    def clear(self) -> None:
        """Nobody has told of any."""
        self._held.clear()
        self._tried.clear()

    def is_full(self, group: str) -> bool:
        """Whether a source has what it may have; what has answered does not count."""
        return self._held.get(group, 0) - self._tried.get(group, 0) >= self.allowed

    def entered(self, group: str) -> None:
        """An address of it is in the book."""
        self._held[group] = self._held.get(group, 0) + 1

    def left(self, group: str, tried: bool) -> None:
        """One is no longer."""
        _less(self._held, group)
        if tried:
            _less(self._tried, group)

    def proved(self, group: str) -> None:
        """One has answered and is in the tried table."""
        self._tried[group] = self._tried.get(group, 0) + 1

    def displaced(self, group: str) -> None:
        """One has lost its place there."""
        _less(self._tried, group)

    def holds(self, most: int) -> Mapping[str, SourceHolds]:
        """The sources of most addresses, by what people call them."""
        largest = sorted(self._held, key=lambda group: (-self._held[group], group))[:most]
        return {source_name(group): SourceHolds(self._held[group], self._tried.get(group, 0)) for group in largest}


def _less(counts: dict[str, int], group: str) -> None:
    left = counts.get(group, 0) - 1
    if left > 0:
        counts[group] = left
    else:
        counts.pop(group, None)
