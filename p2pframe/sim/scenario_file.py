"""Reads a scenario file as strictly as a node's: positions, unknown keys, every mistake at once, in every variant.

A node file is read once, and checked once for each override of it: what its hosts run is one `NodeSpec` of a group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from p2pframe.config.loader import load_tree
from p2pframe.config.reader import read, read_text
from p2pframe.config.settings import NodeSpec
from p2pframe.config.tree import Place, Problems, Scalar, Table, Tree, set_value, show
from p2pframe.config.wording import did_you_mean
from p2pframe.errors import ConfigError
from p2pframe.registry import Registry
from p2pframe.sim.merging import merged, overridden, places
from p2pframe.sim.references import Reference
from p2pframe.sim.scenario import DEFAULT, VERSION, Scenario
from p2pframe.sim.scenario_check import NAME, Variant

NOT_IN_VARIANTS = ("version", "name", "variants", "compare")
"""The sections that are the same for all variants."""


def load_scenario(
    path: Path | str,
    variant: str = DEFAULT,
    settings: Mapping[str, str] | None = None,
    seed: int | None = None,
    registry: Registry | None = None,
    env: Mapping[str, str] | None = None,
) -> Scenario:
    """Read and check a scenario with all its variants, and give one. Raises `ConfigError` with every problem.

    `settings` are values by dotted paths (`hosts.nodes.count`), as text in YAML, laid over the variant; `seed` takes
    the place of the file's. `env` gives `${NAME}` (os.environ where None).
    """
    reader = _File(Path(path), os.environ if env is None else env, Registry() if registry is None else registry)
    found = reader.load(variant, settings or {}, seed)
    if found is None or reader.problems:
        raise ConfigError(reader.problems.sorted())
    return found


class _File:
    """One scenario file: its variants, and the node files that it names, each read once."""

    def __init__(self, path: Path, env: Mapping[str, str], registry: Registry) -> None:
        self.path = path
        self.env = env
        self.registry = registry
        self.problems = Problems()
        self.within: dict[Place, str] = {}
        """Of places in a variant or an override, what comes before their paths."""
        self.regions: dict[str, list[Reference]] = {}
        """Names of regions that links have; a variant may have hosts in others, so that all have to be known first."""
        self.inhabited: set[str] = set()
        self.complete = True
        """Whether every group of every variant came to something."""
        self._nodes: dict[str, Tree | None] = {}
        self._specs: dict[tuple[str, int], tuple[Tree | None, NodeSpec | None, Tree | None]] = {}

    def load(self, variant: str, settings: Mapping[str, str], seed: int | None) -> Scenario | None:
        tree = read(self.path, self.env, self.problems)
        if tree is None:
            return None
        if not isinstance(tree, Table):
            text = f"a scenario is a mapping that begins with `version: {VERSION}`, found {show(tree)}"
            self.problems.add(tree.place, "", text)
            return None
        variants = self.variants(tree)
        names = (DEFAULT, *variants)
        chosen = None
        for name in names:
            whole = merged(tree, variants[name]) if name in variants else tree
            assert isinstance(whole, Table)
            if name == variant:
                whole = self.set(whole, settings)
            found = Variant(self, whole, name, names).scenario(settings, seed)
            if name == variant:
                chosen = found
        self.nobody_there()
        if variant not in names:
            text = f"no variant is called {variant!r}" + did_you_mean(variant, names)
            self.problems.add(tree.place, "variants", text)
        return chosen

    def nobody_there(self) -> None:
        """A region that no host of any variant is in."""
        for name, found in self.regions.items() if self.complete else ():
            if name not in self.inhabited:
                text = f"no host is in region {name!r}" + did_you_mean(name, sorted(self.inhabited))
                for one in found:
                    self.add(one.place, one.path, text)

    def variants(self, tree: Table) -> dict[str, Table]:
        """The trees of `variants`, those that can be one."""
        found = tree.get("variants")
        if found is None or (isinstance(found, Scalar) and found.broken):
            return {}
        if not isinstance(found, Table):
            self.problems.add(found.place, "variants", f"must be a mapping of names, found {show(found)}")
            return {}
        variants = {}
        for name, entry in found.entries.items():
            path = f"variants.{name}"
            if name == DEFAULT:
                self.problems.add(entry.place, path, f"{DEFAULT!r} is the file as it is: take another name")
            elif not NAME.match(name):
                text = f"{name!r} can't be a variant's name: use lower-case letters, digits and dashes"
                self.problems.add(entry.place, path, text)
            elif isinstance(entry.value, Table):
                for key in NOT_IN_VARIANTS:
                    if key in entry.value.entries:
                        place = entry.value.entries[key].place
                        self.problems.add(place, f"{path}.{key}", f"{key!r} is the same for all variants: leave it out")
                variants[name] = entry.value
                for place in places(entry.value):
                    self.within.setdefault(place, path)
            elif not (isinstance(entry.value, Scalar) and entry.value.broken):
                self.problems.add(entry.value.place, path, f"must be a mapping, found {show(entry.value)}")
        return variants

    def set(self, tree: Table, settings: Mapping[str, str]) -> Table:
        """The tree with the settings laid over it, as far as they fit."""
        for path, text in settings.items():
            shown = f"--set {path}"
            place = Place(shown, 1, 1)
            keys = path.split(".")
            value = read_text(text, shown, self.path.parent, self.env, self.problems)
            if value is None:
                continue
            if not all(keys):
                self.problems.add(place, path, "not a path of keys: write them with dots, such as hosts.nodes.count")
                continue
            if keys[0] in (*NOT_IN_VARIANTS, "hosts", "names") and not self.settable(tree, keys, place):
                continue
            found = set_value(tree, keys, value)
            if isinstance(found, Table):
                tree = found
            elif isinstance(found, str):
                self.problems.add(place, path, found)
        return tree

    def settable(self, tree: Table, keys: list[str], place: Place) -> bool:
        if keys[0] in NOT_IN_VARIANTS:
            self.problems.add(place, ".".join(keys), f"{keys[0]!r} can't be set from outside")
            return False
        section = tree.get(keys[0])
        names = list(section.entries) if isinstance(section, Table) else []
        if len(keys) > 1 and keys[1] not in names:
            what = "host group" if keys[0] == "hosts" else "name"
            text = f"no {what} is called {keys[1]!r}" + did_you_mean(keys[1], names)
            self.problems.add(place, ".".join(keys[:2]), text)
            return False
        return True

    def add(self, place: Place, path: str, message: str) -> None:
        """Note a mistake in the scenario itself."""
        before = self.within.get(place, "")
        self.problems.add(place, f"{before}.{path}" if before and path else before or path, message)

    def take(self, problems: Problems, before: str = "", within: frozenset[Place] = frozenset()) -> None:
        """The problems of a part; `before` goes before the paths of those that stand at `within`."""
        for one in problems.sorted():
            place = Place(one.file, one.line, one.column)
            if place in within:
                self.add(place, f"{before}.{one.path}" if one.path else before, one.message)
            else:
                self.add(place, one.path, one.message)

    def spec(self, group: str, tree: Table) -> tuple[NodeSpec | None, Tree | None]:
        """What a group's hosts run, and the tree that it was made from; also where another option has mistakes."""
        named = tree.get("node")
        if not isinstance(named, Scalar) or not isinstance(named.value, str) or not named.value or named.broken:
            return None, None
        path = Path(os.path.normpath(named.folder / os.path.expanduser(named.value)))
        override = tree.get("override")
        override = override if isinstance(override, Table) and override.entries else None
        key = (str(path), id(override))
        if key not in self._specs:
            spec: NodeSpec | None = None
            node = self.node(path, named, f"hosts.{group}.node")
            if node is not None and override is not None:
                node = overridden(node, override)
            if node is not None:
                problems = Problems()
                spec = load_tree(path, node, problems, self.registry)
                within = frozenset(places(override)) if override is not None else frozenset()
                self.take(problems, f"hosts.{group}.override", within)
            # The override is kept with what came of it: its id stays its own.
            self._specs[key] = (override, spec, node)
        return self._specs[key][1:]

    def node(self, path: Path, named: Scalar, where: str) -> Tree | None:
        key = str(path)
        if key not in self._nodes:
            shown = named.text if Path(named.text).is_absolute() else str(self.path.parent / named.text)
            if not path.is_file():
                reason = "it is not a file" if path.exists() else "No such file or directory"
                self.add(named.place, where, f"can't read {show(named)}: {reason}")
                self._nodes[key] = None
            else:
                self._nodes[key] = read(Path(shown), self.env, self.problems)
        return self._nodes[key]
