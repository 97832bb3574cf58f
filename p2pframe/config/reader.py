"""Reads YAML by the rules of YAML 1.2, within bounds, with `${ENV}` and `!include`.

PyYAML scans and parses; types come from the core schema of YAML 1.2 (section 10.3), so that `no`, `on` and `22:22` are
text, `1e3` is a number and `0777` is 777. Aliases share what they name, and every use counts against the bound on
nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from p2pframe.config.tree import HIDDEN, Entry, Listing, Place, Plain, Problems, Scalar, Table, Tree

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 32
MAX_INCLUDES = 8
"""Bounds of one configuration, its includes taken together (the depth of includes: of a chain of them)."""

_INT = re.compile(r"[-+]?[0-9]+\Z", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+\Z", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII)
_NOT_FINITE = re.compile(r"([-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN)\Z")
_WORDS: Mapping[str, Plain] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_TAG = "tag:yaml.org,2002:"
_TYPES: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_ENV = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class _Stop(Exception):
    """Reading this file can't go on; its problem has been noted."""


def typed(text: str) -> Plain:
    """A plain scalar's value by the core schema.

    Raises `ValueError` for what is not a finite number or too long for one.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.match(text):
        raise ValueError("must be a finite number")
    if _INT.match(text) or _OCTAL.match(text) or _HEX.match(text):
        if len(text) > 100:
            raise ValueError("a number of over 100 digits")
        return int(text, 10 if _INT.match(text) else 0)
    if _FLOAT.match(text):
        number = float(text) if len(text) <= 100 else float("inf")
        if number in (float("inf"), float("-inf")):
            raise ValueError("a number too large or too long")
        return number
    return text


def read(path: Path, env: Mapping[str, str], problems: Problems) -> Tree | None:
    """The tree of a file; None where it can't be read at all. Every mistake goes to `problems`."""
    return _Budget(env, problems).read(path, str(path), (), None, "")


def read_text(text: str, shown: str, folder: Path, env: Mapping[str, str], problems: Problems) -> Tree | None:
    """The tree of a text that stands in no file: a value given on the command line.

    `shown` is what places call it; relative names in it are taken from `folder`. None where it can't be read at all.
    """
    problems.entered(shown)
    try:
        return _Reader(_Budget(env, problems), shown, folder.absolute(), (), secret=False).document(text.encode(), "")
    except (_Stop, UnicodeEncodeError) as error:
        if isinstance(error, UnicodeEncodeError):
            problems.add(Place(shown, 1, 1), "", "holds half of a character, which nothing can use")
        return None


class _Budget:
    """What the files of one configuration share: the bounds, the environment, and where problems go."""

    def __init__(self, env: Mapping[str, str], problems: Problems) -> None:
        self.env = env
        self.problems = problems
        self.bytes = 0
        self.nodes = 0

    def read(self, path: Path, shown: str, chain: tuple[Path, ...], origin: Place | None, key_path: str) -> Tree | None:
        """Read a file: the main one, or for an include at `origin` the one that it names."""
        blame = origin or Place(shown, 1, 1)
        self.problems.entered(shown)
        try:
            real = path.resolve(strict=True)
            if real in chain:
                self.problems.add(blame, key_path, f"!include goes in a circle: {shown} is being read already")
                return None
            if not real.is_file():
                self.problems.add(blame, key_path, f"can't read {shown}: it is not a file")
                return None
            with real.open("rb") as stream:
                data = stream.read(MAX_BYTES - self.bytes + 1)
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a usable file name"
            self.problems.add(blame, key_path, f"can't read {shown}: {reason}")
            return None
        self.bytes += len(data)
        if self.bytes > MAX_BYTES:
            self.problems.add(blame, key_path, f"{shown}: a configuration may have {MAX_BYTES:,} bytes in all")
            return None
        reader = _Reader(self, shown, path.absolute().parent, (*chain, real), secret=origin is not None)
        try:
            return reader.document(data, key_path)
        except _Stop:
            return None


class _Reader:
    """Builds the tree of one file."""

    def __init__(self, budget: _Budget, shown: str, folder: Path, chain: tuple[Path, ...], secret: bool) -> None:
        self.budget = budget
        self.problems = budget.problems
        self.shown = shown
        self.folder = folder
        self.chain = chain
        self.secret = secret
        self.anchors: dict[str, tuple[Tree, int, int] | None] = {}
        self.events: Iterator[Event] = iter(())

    def document(self, data: bytes, path: str) -> Tree:
        """The tree of the file's only document; `path` is where it stands in the whole."""
        text = self.decode(data)
        tree: Tree | None = None
        self.events = yaml.parse(text, Loader=yaml.SafeLoader)
        documents = 0
        try:
            for event in self.events:
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self.stop(self.place(event), "a second document begins here: a configuration is one document")
                elif isinstance(event, NodeEvent):
                    tree = self.node(event, 0, path)[0]
                elif isinstance(event, StreamEndEvent):
                    break
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(self.shown, mark.line + 1, mark.column + 1) if mark else Place(self.shown, 1, 1)
            self.stop(place, self.syntax(error, text, mark.index if mark else None))
        except yaml.YAMLError:
            self.stop(Place(self.shown, 1, 1), "not YAML")
        except RecursionError:  # the scanner's own, beyond any depth that is allowed here
            self.stop(Place(self.shown, 1, 1), f"nested deeper than {MAX_DEPTH} levels")
        if tree is None or (isinstance(tree, Scalar) and tree.text == "" and tree.value is None):
            self.stop(Place(self.shown, 1, 1), "the file is empty")
        return tree

    def decode(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line = before.count(b"\n") + 1
            column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
            self.stop(Place(self.shown, line, column), f"not UTF-8 (byte {data[error.start]:#04x})")
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if odd:
            line = text.count("\n", 0, odd.start()) + 1
            column = odd.start() - text.rfind("\n", 0, odd.start())
            self.stop(Place(self.shown, line, column), f"a control character (U+{ord(odd[0]):04X})")
        return text

    def syntax(self, error: yaml.MarkedYAMLError, text: str, index: int | None) -> str:
        if index is not None and text[index : index + 1] == "\t":
            return "a tab: indent with spaces"
        if index is not None and text[max(index - 1, 0) : index + 1] == "${":
            return "not YAML: put ${...} in quotes where it stands inside of {...} or [...]"
        words = ": ".join(part for part in (error.context, error.problem) if part)
        return "not YAML: " + (_QUOTED.sub(f"'{HIDDEN}'", words) if self.secret else words)

    def stop(self, place: Place, message: str) -> NoReturn:
        self.problems.add(place, "", message)
        raise _Stop

    def place(self, event: Event) -> Place:
        mark = event.start_mark
        return Place(self.shown, mark.line + 1, mark.column + 1) if mark else Place(self.shown, 1, 1)

    def node(self, event: Event, depth: int, path: str) -> tuple[Tree, int, int]:
        """The tree that begins with `event`, with its number of nodes and its depth."""
        place = self.place(event)
        if isinstance(event, AliasEvent):
            return self.alias(event, place, depth, path)
        if depth > MAX_DEPTH:
            self.stop(place, f"nested deeper than {MAX_DEPTH} levels")
        anchor = event.anchor if isinstance(event, NodeEvent) else None
        if anchor:
            self.anchors[anchor] = None
        before = self.budget.nodes
        self.count(1, place)
        tree: Tree
        below = 0
        if isinstance(event, ScalarEvent):
            tree = self.scalar(event, place, path)
        else:
            if isinstance(event, CollectionStartEvent) and event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
                self.problems.add(
                    place, path, f"unknown tag {event.tag!r}: only !include is known, before a file's name"
                )
            if isinstance(event, MappingStartEvent):
                tree, below = self.table(place, depth, path)
            else:
                tree, below = self.listing(place, depth, path)
        found = (tree, self.budget.nodes - before, below + 1)
        if anchor:
            self.anchors[anchor] = found
        return found

    def count(self, nodes: int, place: Place) -> None:
        self.budget.nodes += nodes
        if self.budget.nodes > MAX_NODES:
            self.stop(place, f"more than {MAX_NODES:,} values (aliases count each time they are used)")

    def alias(self, event: AliasEvent, place: Place, depth: int, path: str) -> tuple[Tree, int, int]:
        name = HIDDEN if self.secret else event.anchor
        if event.anchor not in self.anchors:
            self.problems.add(place, path, f"*{name} names no anchor")
            return Scalar(place, self.folder, "", None, self.secret, broken=True), 1, 1
        known = self.anchors[event.anchor]
        if known is None:
            self.problems.add(place, path, f"*{name} stands inside of what it names")
            return Scalar(place, self.folder, "", None, self.secret, broken=True), 1, 1
        self.count(known[1], place)
        if depth + known[2] > MAX_DEPTH:
            self.stop(place, f"nested deeper than {MAX_DEPTH} levels")
        return known

    def listing(self, place: Place, depth: int, path: str) -> tuple[Listing, int]:
        tree = Listing(place, self.folder)
        below = 0
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            here = f"{path}.{len(tree.items)}" if path else str(len(tree.items))
            item, _, deep = self.node(event, depth + 1, here)
            if isinstance(item, Scalar) and self.empty(event):
                self.problems.add(self.place(event), here, "an empty item: give it a value or take it out")
                item.broken = True
            tree.items.append(item)
            below = max(below, deep)
        return tree, below

    def table(self, place: Place, depth: int, path: str) -> tuple[Table, int]:
        tree = Table(place, self.folder)
        below = 0
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            at = self.place(event)
            key, usable = self.key(event, at, depth, path)
            here = f"{path}.{key}" if path else key
            value_event = next(self.events)
            value, _, deep = self.node(value_event, depth + 1, here)
            below = max(below, deep)
            if not usable:
                continue
            if isinstance(value, Scalar) and self.empty(value_event):
                self.problems.add(at, here, "has no value: give it one or leave the key out")
                value.broken = True
            if key in tree.entries:
                first = tree.entries[key].place.line
                self.problems.add(at, here, f"duplicate key {key!r}: it stands on line {first} already")
                continue
            tree.entries[key] = Entry(key, at, value)
        return tree, below

    def key(self, event: Event, place: Place, depth: int, path: str) -> tuple[str, bool]:
        if not isinstance(event, ScalarEvent):
            self.node(event, depth + 1, path)
            self.problems.add(place, path, "a key must be text")
            return "", False
        self.count(1, place)
        if event.tag not in (None, "!", _TAG + "str"):
            self.problems.add(place, path, "a key must be text, without a tag")
            return event.value, False
        if event.value == "<<" and event.style is None:
            self.problems.add(place, path, "merge keys (<<) are not supported: repeat the keys, or use !include")
            return event.value, False
        if not event.value:
            self.problems.add(place, path, "an empty key")
            return "", False
        return event.value, True

    @staticmethod
    def empty(event: Event) -> bool:
        return isinstance(event, ScalarEvent) and not event.value and event.style is None and event.tag is None

    def scalar(self, event: ScalarEvent, place: Place, path: str) -> Tree:
        tag = event.tag
        if tag == "!include":
            return self.include(event, place, path)
        text, from_env, broken = self.expand(event.value, place, path)
        if _UNUSABLE.search(text):
            # Escapes ("\\0") and the environment can hold what no file name and no other program takes.
            self.problems.add(place, path, "holds a NUL or half of a character, which nothing can use")
            text, broken = "", True
        tree = Scalar(place, self.folder, text, text, self.secret or from_env, from_env, broken)
        kind = tag.removeprefix(_TAG) if tag and tag.startswith(_TAG) else ""
        if tag not in (None, "!") and kind not in ("str", *_TYPES):
            self.problems.add(place, path, f"unknown tag {tag!r}: only !include is known, before a file's name")
            tree.broken = True
            return tree
        if event.style is not None and kind in ("", "str"):
            return tree
        if tag is not None and kind not in _TYPES:
            return tree
        try:
            tree.value = typed(text)
            if kind in _TYPES and type(tree.value) not in _TYPES[kind]:
                raise ValueError(f"is no {kind}, as its tag says")
        except ValueError as error:
            self.problems.add(place, path, str(error))
            tree.broken = True
        return tree

    def expand(self, text: str, place: Place, path: str) -> tuple[str, bool, bool]:
        """The text with `${NAME}` replaced, whether there was one, and whether one could not be."""
        if "${" not in text:
            return text, False, False
        from_env = broken = False

        def value(match: re.Match[str]) -> str:
            nonlocal from_env, broken
            if match[0] == "$${":
                return "${"
            from_env = True
            name = match[1]
            if name is None:
                self.problems.add(place, path, "'${' begins no ${NAME}: write $${ for the characters themselves")
            elif name not in self.budget.env:
                self.problems.add(place, path, f"the environment variable {name} is not set")
            else:
                return self.budget.env[name]
            broken = True
            return ""

        return _ENV.sub(value, text), from_env, broken

    def include(self, event: ScalarEvent, place: Place, path: str) -> Tree:
        name, _, broken = self.expand(event.value, place, path)
        stand_in = Scalar(place, self.folder, "", None, True, broken=True)
        if broken:
            return stand_in
        if not name:
            self.problems.add(place, path, "!include needs the name of a file")
            return stand_in
        if len(self.chain) >= MAX_INCLUDES:
            self.problems.add(place, path, f"!include goes deeper than {MAX_INCLUDES} files")
            return stand_in
        # Shown as written: what ${...} stands for is not for every log.
        written = Path(event.value).expanduser()
        shown = str(written if written.is_absolute() or "${" in event.value else Path(self.shown).parent / written)
        target = self.folder / Path(name).expanduser()
        return self.budget.read(target, shown, self.chain, place, path) or stand_in
