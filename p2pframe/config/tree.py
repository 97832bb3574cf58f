"""A YAML file as a tree in which everything knows its place, and whether it may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from p2pframe.errors import ConfigProblem

HIDDEN = "***"
"""What is shown in place of a value that came from the environment or an include."""

Plain: TypeAlias = str | int | float | bool | None


class Place(NamedTuple):
    """A point of a file: its name as the operator wrote it, line and column counted from 1."""

    file: str
    line: int
    column: int


@dataclass(slots=True, eq=False)
class Scalar:
    """A single value. `text` is what stands there (after `${...}`), `value` its type by YAML 1.2.

    `broken` says that a problem was reported for it, so that a check need not report the consequences too.
    """

    place: Place
    folder: Path
    text: str
    value: Plain
    secret: bool = False
    from_env: bool = False
    broken: bool = False


@dataclass(slots=True, eq=False)
class Listing:
    """A list."""

    place: Place
    folder: Path
    items: list[Tree] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Entry:
    """A key of a mapping with its value."""

    key: str
    place: Place
    value: Tree


@dataclass(slots=True, eq=False)
class Table:
    """A mapping, in the order of the text; of a duplicate key the first is kept."""

    place: Place
    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    def get(self, key: str) -> Tree | None:
        """The value of a key, None where there is none."""
        entry = self.entries.get(key)
        return entry.value if entry else None


Tree: TypeAlias = Scalar | Listing | Table


def plain(tree: Tree) -> object:
    """The data without places."""
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, Listing):
        return [plain(item) for item in tree.items]
    return {key: plain(entry.value) for key, entry in tree.entries.items()}


def scalars(tree: Tree) -> Iterator[Scalar]:
    """Every value in it."""
    if isinstance(tree, Scalar):
        yield tree
    elif isinstance(tree, Listing):
        for item in tree.items:
            yield from scalars(item)
    else:
        for entry in tree.entries.values():
            yield from scalars(entry.value)


def set_value(tree: Tree, keys: list[str], value: Tree) -> Tree | str:
    """The tree with the value under a dotted path in place of what is there; a text says why that can't be.

    Mappings that are missing on the way are made: whether the keys mean anything is for the models to say.
    """
    if not keys:
        return value
    key, *rest = keys
    if isinstance(tree, Table):
        below = tree.entries.get(key)
        inner = set_value(below.value if below else Table(value.place, value.folder), rest, value)
        if isinstance(inner, str):
            return inner
        entries = dict(tree.entries)
        entries[key] = Entry(key, below.place if below and rest else value.place, inner)
        return Table(tree.place, tree.folder, entries)
    if isinstance(tree, Listing):
        if not (key.isascii() and key.isdigit() and int(key) < len(tree.items)):
            last = len(tree.items) - 1
            return f"{key!r} is no item of a list" + (f": they are 0 to {last}" if last >= 0 else " that is empty")
        inner = set_value(tree.items[int(key)], rest, value)
        if isinstance(inner, str):
            return inner
        items = [inner if index == int(key) else item for index, item in enumerate(tree.items)]
        return Listing(tree.place, tree.folder, items)
    return f"there is a value where {key!r} would be a key"


def has_secret(tree: Tree) -> bool:
    """Whether anything in it must not be shown."""
    return any(scalar.secret for scalar in scalars(tree))


def show(tree: Tree) -> str:
    """A value as a message may show it: short, on one line, `***` for secrets."""
    if isinstance(tree, Listing):
        return "a list"
    if isinstance(tree, Table):
        return "a mapping"
    if tree.secret:
        return HIDDEN
    if tree.value is None:
        return "nothing"
    if isinstance(tree.value, bool):
        return str(tree.value).lower()
    text = tree.text if len(tree.text) <= 60 else tree.text[:57] + "..."
    return repr(text) if isinstance(tree.value, str) else text


class Problems:
    """Collects mistakes: each place is blamed once, in the order of the text."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], ConfigProblem] = {}
        self._files: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def entered(self, file: str) -> None:
        """Note a file, so that problems are sorted in the order in which files were read."""
        self._files.setdefault(file, len(self._files))

    def add(self, place: Place, path: str, message: str) -> None:
        """Note a mistake."""
        self.entered(place.file)
        self._found.setdefault((place, message), ConfigProblem(*place, path, message))

    def sorted(self) -> list[ConfigProblem]:
        """All of them in the order of the text: the main file first, includes in the order in which they were read."""
        return sorted(self._found.values(), key=lambda p: (self._files[p.file], p.line, p.column))
