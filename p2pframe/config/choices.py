"""One plugin as a config names it: looked up, its options checked by its own model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2pframe.config.check import check, field_names
from p2pframe.config.settings import PluginChoice
from p2pframe.config.tree import HIDDEN, Place, Problems, Scalar, Table, Tree, show
from p2pframe.config.wording import did_you_mean, nearest
from p2pframe.errors import PluginError
from p2pframe.registry import Registry
from p2pframe.registry.registry import spec_of


@dataclass(slots=True)
class Made:
    """A plugin that was named, where, and in which network; `choice` is None where its options have mistakes."""

    cls: type
    label: str
    tree: Table
    path: str
    network: str
    choice: PluginChoice | None = None


class Choices:
    """Makes the choices of one configuration and remembers where each stands. `networks` are the names there are."""

    def __init__(self, registry: Registry, problems: Problems, networks: Sequence[str]) -> None:
        self.registry = registry
        self.problems = problems
        self.networks = networks
        self.made: list[Made] = []

    def at(self, path: str) -> Made | None:
        """What was named at a path, also where its options have mistakes.

        The rest of a network is judged by its class.
        """
        return next((m for m in self.made if m.path == path), None)

    def tree(self, choice: PluginChoice) -> Table | None:
        """The mapping that a choice was made from; None for a default."""
        return next((m.tree for m in self.made if m.choice is choice), None)

    def default(
        self, kind: str, name: str, around: Table, path: str, network: str, place: Place | None = None
    ) -> PluginChoice | None:
        """The plugin for a seam that the config leaves out."""
        at = place or around.place
        try:
            cls, origin = self.registry.find(kind, name), self.registry.origin(kind, name)
        except PluginError as error:
            self.problems.add(at, path, f"left out, so the default is wanted: {error}")
            return None
        return self.make(kind, name, cls, origin, Table(at, around.folder), path, network, default=True)

    def choose(self, kind: str, tree: Tree, path: str, network: str) -> PluginChoice | None:
        """The plugin that `{plugin: name, ...}` names; None where it has mistakes, which are noted."""
        if not isinstance(tree, Table):
            if not (isinstance(tree, Scalar) and tree.broken):
                self.problems.add(tree.place, path, f"must be {{plugin: name, ...}}, found {show(tree)}")
            return None
        named = tree.get("plugin")
        if named is None:
            key = nearest("plugin", tree.entries)
            if key is not None:
                text = f"unknown key {key!r} (did you mean 'plugin'?)"
                self.problems.add(tree.entries[key].place, f"{path}.{key}", text)
            else:
                self.problems.add(tree.place, f"{path}.plugin", f"'plugin' is missing: which {kind} plugin?")
            return None
        if not isinstance(named, Scalar) or not isinstance(named.value, str) or not named.value:
            if not (isinstance(named, Scalar) and named.broken):
                self.problems.add(
                    named.place, f"{path}.plugin", f"must be the name of a {kind} plugin, found {show(named)}"
                )
            return None
        if named.broken:
            return None
        try:
            cls, origin = self.registry.find(kind, named.value), self.registry.origin(kind, named.value)
        except PluginError as error:
            text = str(error).replace(repr(named.value), HIDDEN) if named.secret else str(error)
            self.problems.add(named.place, f"{path}.plugin", text)
            return None
        return self.make(kind, named.value, cls, origin, tree, path, network)

    def make(
        self, kind: str, name: str, cls: type, origin: str, tree: Table, path: str, network: str, default: bool = False
    ) -> PluginChoice | None:
        spec = spec_of(cls)
        made = Made(cls, f"{kind}.{name}", tree, path, network)
        self.made.append(made)
        skip = ["plugin"]
        served = None
        of_other = tree.get("network") if kind != "protocol" else None
        if of_other is not None:
            takes = "network" in field_names(spec.config)
            if not takes:
                skip.append("network")
            served = self.other_network(of_other, f"{path}.network", network, kind)
        config = check(spec.config, tree, path, self.problems, skip, f"{kind} plugin {name!r} ({origin})")
        if config is None:
            return None
        where = "default" if default else "{}:{}:{}".format(*tree.place)
        made.choice = PluginChoice(spec, cls, config, origin, where, served)
        return made.choice

    def other_network(self, tree: Tree, path: str, network: str, kind: str) -> str | None:
        if isinstance(tree, Scalar) and tree.broken:
            return None
        if not isinstance(tree, Scalar) or not isinstance(tree.value, str):
            self.problems.add(tree.place, path, f"must be the name of a network, found {show(tree)}")
        elif tree.value not in self.networks:
            near = "" if tree.secret else did_you_mean(tree.value, self.networks)
            self.problems.add(tree.place, path, f"no network is called {show(tree)}{near}")
        elif tree.value == network:
            self.problems.add(tree.place, path, f"a {kind} plugin of this very network: name another network, or none")
        else:
            return tree.value
        return None
