"""Puts a whole configuration together.

One pass over the file, every plugin's part by its own model, all errors at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from p2pframe.config import fitting
from p2pframe.config.check import check
from p2pframe.config.choices import Choices
from p2pframe.config.effective import effective
from p2pframe.config.reader import read
from p2pframe.config.settings import Limits, NetworkSpec, NodeSettings, NodeSpec, PluginChoice
from p2pframe.config.tree import Listing, Place, Problems, Scalar, Table, Tree, show
from p2pframe.config.wording import did_you_mean
from p2pframe.errors import ConfigError
from p2pframe.interfaces.protocol import Use
from p2pframe.registry import Registry

VERSION = 1
TOP = ("version", "node", "storage", "networks", "applications")
LISTS = {
    "transports": "transport",
    "upgrades": "upgrade",
    "discovery": "discovery",
    "scoring": "scoring",
    "authentication": "authentication",
    "validators": "validator",
}
"""The keys of a network that hold a list of plugins, and of which kind."""
SINGLES = {"topology": "topology", "relay": "relay"}
NETWORK_KEYS = ("protocol", *LISTS, *SINGLES, "item_stores", "limits")
DEFAULTS = {"topology": ("random",), "relay": ("inventory",), "scoring": ("weighted", "behaviour")}
"""What a network gets for the seams that its protocol uses and its config leaves out."""
DEFAULT_STORAGE = "sqlite"

_NETWORK_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z", re.ASCII)


def load(path: Path | str, env: Mapping[str, str] | None = None, registry: Registry | None = None) -> NodeSpec:
    """Read and check a configuration file. Raises `ConfigError` with every problem in it.

    `env` gives `${NAME}` (os.environ where None). The folders of `node.plugin_path` become those of `registry`, a new
    one where None. Plugins that the file names are imported, no others.
    """
    problems = Problems()
    path = Path(path)
    tree = read(path, os.environ if env is None else env, problems)
    if tree is not None:
        spec = load_tree(path, tree, problems, Registry() if registry is None else registry)
        if spec is not None and not problems:
            return spec
    raise ConfigError(problems.sorted())


def load_tree(path: Path, tree: Tree, problems: Problems, registry: Registry) -> NodeSpec | None:
    """Check a configuration that has been read, and perhaps changed since; `path` is the file that it is of.

    None where something is wrong, which is among the problems then; `problems` must be empty for a spec to come of it.
    """
    return _Loader(path, tree, problems, registry).node()


def registry_for(path: Path | str | None, env: Mapping[str, str] | None = None) -> Registry:
    """The plugins that a configuration could name, whatever else it says; without a file, those that are installed.

    Raises `ConfigError` where the file or a folder of its `node.plugin_path` can't be read.
    """
    registry = Registry()
    if path is None:
        return registry
    problems = Problems()
    tree = read(Path(path), os.environ if env is None else env, problems)
    if isinstance(tree, Table):
        # Other mistakes are for `load` to tell.
        problems = Problems()
        _Loader(Path(path), tree, problems, registry).folders(tree.get("node"))
    if problems:
        raise ConfigError(problems.sorted())
    return registry


class _Loader:
    def __init__(self, path: Path, tree: Tree, problems: Problems, registry: Registry) -> None:
        self.path = path
        self.tree = tree
        self.problems = problems
        self.registry = registry

    def node(self) -> NodeSpec | None:
        """The whole of it; None where something is wrong, which is among the problems then."""
        tree = self.tree
        if not isinstance(tree, Table):
            self.problems.add(
                tree.place, "", f"a configuration is a mapping that begins with `version: 1`, found {show(tree)}"
            )
            return None
        self.keys(tree, "", TOP)
        self.version(tree)
        settings = self.settings(tree)
        networks_tree = tree.get("networks")
        names = list(networks_tree.entries) if isinstance(networks_tree, Table) else []
        choices = Choices(self.registry, self.problems, names)
        storage = self.storage(tree, choices)
        networks = self.networks(tree, choices)
        applications = self.applications(tree, choices)
        self.problems_of_listening(choices)
        if self.problems or settings is None or storage is None:
            return None
        shown = effective(settings, storage, networks, applications, tree, choices)
        return NodeSpec(self.path.absolute(), settings, storage, networks, tuple(applications), shown)

    def keys(self, tree: Table, path: str, names: tuple[str, ...]) -> None:
        for key, entry in tree.entries.items():
            if key not in names:
                where = f"{path}.{key}" if path else key
                self.problems.add(entry.place, where, f"unknown key {key!r}" + did_you_mean(key, names))

    def version(self, tree: Table) -> None:
        version = tree.get("version")
        if version is None:
            self.problems.add(tree.place, "version", f"'version' is missing: begin with `version: {VERSION}`")
        elif isinstance(version, Scalar) and version.broken:
            return
        elif not isinstance(version, Scalar) or type(version.value) is not int or version.value != VERSION:
            self.problems.add(version.place, "version", f"must be {VERSION}, found {show(version)}")

    def settings(self, tree: Table) -> NodeSettings | None:
        node = self.table(tree, "node")
        if node is None:
            return None
        settings = check(NodeSettings, node, "node", self.problems)
        self.folders(node)
        return settings

    def folders(self, node: Tree | None) -> None:
        """Have the registry read `node.plugin_path`.

        Also where another setting is wrong, to judge the rest of the file.
        """
        paths = node.get("plugin_path") if isinstance(node, Table) else None
        items = paths.items if isinstance(paths, Listing) else []
        folders = [
            (item, Path(os.path.normpath(item.folder / os.path.expanduser(item.value))))
            for item in items
            if isinstance(item, Scalar) and isinstance(item.value, str) and item.value and not item.broken
        ]
        found = self.registry.set_folders([folder for _, folder in folders])
        for (item, folder), errors in zip(folders, found, strict=True):
            for error in errors:
                text = str(error).replace(str(folder), "***") if item.secret else str(error)
                self.problems.add(item.place, "node.plugin_path", text)

    def table(self, tree: Table, key: str, path: str = "") -> Table | None:
        """The mapping under a key: an empty one where the key is left out, None (and a problem) for anything else."""
        found = tree.get(key)
        if found is None:
            return Table(tree.place, tree.folder)
        if isinstance(found, Table):
            return found
        if not (isinstance(found, Scalar) and found.broken):
            where = f"{path}.{key}" if path else key
            self.problems.add(found.place, where, f"must be a mapping, found {show(found)}")
        return None

    def listing(self, tree: Table, key: str, path: str) -> list[Tree] | None:
        """The list under a key; None where it is left out or (with a problem) is no list."""
        found = tree.get(key)
        if found is None or (isinstance(found, Scalar) and found.broken):
            return None
        if not isinstance(found, Listing):
            self.problems.add(
                found.place, path, f"must be a list of plugins, found {show(found)}: write - {{plugin: ...}}"
            )
            return None
        return found.items

    def storage(self, tree: Table, choices: Choices) -> PluginChoice | None:
        found = tree.get("storage")
        if found is None:
            return choices.default("storage", DEFAULT_STORAGE, tree, "storage", "")
        return choices.choose("storage", found, "storage", "")

    def applications(self, tree: Table, choices: Choices) -> list[PluginChoice]:
        found = []
        for index, item in enumerate(self.listing(tree, "applications", "applications") or ()):
            choice = choices.choose("application", item, f"applications.{index}", "")
            if choice is not None:
                found.append(choice)
        return found

    def networks(self, tree: Table, choices: Choices) -> dict[str, NetworkSpec]:
        networks = self.table(tree, "networks")
        if networks is None:
            return {}
        if not networks.entries:
            self.problems.add(networks.place, "networks", "'networks' is missing: a node takes part in at least one")
        specs = {}
        for name, entry in networks.entries.items():
            path = f"networks.{name}"
            if not _NETWORK_NAME.match(name):
                self.problems.add(
                    entry.place, path, f"{name!r} can't be a network's name: use lower-case letters, digits and dashes"
                )
            if isinstance(entry.value, Table):
                spec = self.network(name, entry.value, entry.place, path, choices)
                if spec is not None:
                    specs[name] = spec
            elif not (isinstance(entry.value, Scalar) and entry.value.broken):
                self.problems.add(entry.value.place, path, f"must be a mapping, found {show(entry.value)}")
        return specs

    def network(self, name: str, tree: Table, place: Place, path: str, choices: Choices) -> NetworkSpec | None:
        self.keys(tree, path, NETWORK_KEYS)
        found = tree.get("protocol")
        protocol = None
        if found is None:
            self.problems.add(place, f"{path}.protocol", "'protocol' is missing: {plugin: bitcoin, ...}")
        else:
            protocol = choices.choose("protocol", found, f"{path}.protocol", name)
        named = choices.at(f"{path}.protocol")
        rules = fitting.rules_of(named.cls, named.label) if named else None
        if isinstance(rules, str):
            self.problems.add(place, f"{path}.protocol", rules)
            rules = None
        lists: dict[str, tuple[PluginChoice, ...]] = {}
        for key, kind in LISTS.items():
            lists[key] = self.plugins(key, kind, tree, place, path, name, rules, choices)
        singles: dict[str, PluginChoice | None] = {}
        for key, kind in SINGLES.items():
            singles[key] = self.single(key, kind, tree, place, path, name, rules, choices)
        stores = self.stores(tree, place, path, name, rules, choices)
        limits_tree = self.table(tree, "limits", path)
        limits = check(Limits, limits_tree, f"{path}.limits", self.problems) if limits_tree else None
        if rules is not None:
            for problem in fitting.misfits(rules, [m for m in choices.made if m.network == name]):
                self.problems.add(*problem)
        if protocol is None or limits is None:
            return None
        chosen = {**lists, **singles}  # by key, of two types: which key has which is what LISTS and SINGLES say
        return NetworkSpec(name, protocol, item_stores=stores, limits=limits, **chosen)  # type: ignore[arg-type]

    def use(
        self, key: str, kind: str, tree: Table, place: Place, path: str, rules: fitting.Rules | None
    ) -> bool:
        """Whether a seam is used; notes a seam that the protocol does not use, or needs and did not get."""
        if rules is None:
            return key in tree.entries
        use = rules.seams.get(kind, Use.NONE)
        entry = tree.entries.get(key)
        if use is Use.NONE:
            if entry is not None:
                text = f"{rules.label} does not use {key}: leave the key out"
                self.problems.add(entry.place, f"{path}.{key}", text)
            return False
        if entry is None and use is Use.REQUIRED and key not in DEFAULTS:
            self.problems.add(place, f"{path}.{key}", f"{key!r} is missing: {rules.label} needs it")
        if entry is not None and use is Use.REQUIRED and isinstance(entry.value, (Listing, Table)):
            inner = entry.value
            if not (inner.items if isinstance(inner, Listing) else inner.entries):
                self.problems.add(inner.place, f"{path}.{key}", f"is empty: {rules.label} needs at least one")
        return True

    def plugins(
        self, key: str, kind: str, tree: Table, place: Place, path: str, name: str,
        rules: fitting.Rules | None, choices: Choices,
    ) -> tuple[PluginChoice, ...]:  # fmt: skip
        if not self.use(key, kind, tree, place, path, rules):
            # What stands under a key that is not used is not judged: it has to go.
            return ()
        if key not in tree.entries:
            defaults = [choices.default(kind, n, tree, f"{path}.{key}", name, place) for n in DEFAULTS.get(key, ())]
            return tuple(choice for choice in defaults if choice is not None)
        chosen = []
        for index, item in enumerate(self.listing(tree, key, f"{path}.{key}") or ()):
            choice = choices.choose(kind, item, f"{path}.{key}.{index}", name)
            if choice is not None:
                chosen.append(choice)
        return tuple(chosen)

    def single(
        self, key: str, kind: str, tree: Table, place: Place, path: str, name: str,
        rules: fitting.Rules | None, choices: Choices,
    ) -> PluginChoice | None:  # fmt: skip
        if not self.use(key, kind, tree, place, path, rules):
            return None
        found = tree.get(key)
        if found is None:
            return choices.default(kind, DEFAULTS[key][0], tree, f"{path}.{key}", name, place)
        return choices.choose(kind, found, f"{path}.{key}", name)

    def stores(
        self, tree: Table, place: Place, path: str, name: str, rules: fitting.Rules | None, choices: Choices
    ) -> dict[str, PluginChoice]:
        if not self.use("item_stores", "item-store", tree, place, path, rules):
            return {}
        table = self.table(tree, "item_stores", path)
        stores = {}
        for topic, entry in table.entries.items() if table else ():
            where = f"{path}.item_stores.{topic}"
            if rules is not None and topic not in rules.topics:
                text = f"{rules.label} has no topic {topic!r}" + did_you_mean(topic, rules.topics)
                self.problems.add(entry.place, where, text)
            choice = choices.choose("item-store", entry.value, where, name)
            if choice is not None:
                stores[topic] = choice
        return stores

    def problems_of_listening(self, choices: Choices) -> None:
        for place, path, text in fitting.clashes(choices.made):
            self.problems.add(place, path, text)
