"""Reads a scenario file as strictly as a node's: positions, unknown keys, every mistake at once, in every variant.

A node file is read once, and checked once for each override of it: what its hosts run is one `NodeSpec` of a group.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from p2pframe.config.check import check, field_names, place_of
from p2pframe.config.loader import load_tree
from p2pframe.config.reader import read, read_text
from p2pframe.config.settings import NodeSpec
from p2pframe.config.tree import Listing, Place, Problems, Scalar, Table, Tree, show
from p2pframe.config.wording import did_you_mean
from p2pframe.errors import ConfigError
from p2pframe.plugin import Duration, Field, PluginConfig
from p2pframe.registry import Registry
from p2pframe.sim import sections
from p2pframe.sim.expectations import Comparison, Expectation
from p2pframe.sim.graph_fit import misfits
from p2pframe.sim.links import LinksConfig
from p2pframe.sim.listening import listening
from p2pframe.sim.merging import merged, places, set_value
from p2pframe.sim.references import Named, Reference, references
from p2pframe.sim.scenario import DEFAULT, VERSION, GraphConfig, Group, GroupConfig, NamesConfig, Scenario

M = TypeVar("M", bound=BaseModel)

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z", re.ASCII)
_NOT_IN_VARIANTS = ("version", "name", "variants", "compare")
_WORDS: Mapping[Named, str] = {
    "group": "host group", "host": "host", "network": "network", "region": "region", "variant": "variant",
}  # fmt: skip
_MAX_HOSTS = 100_000


class Settings(PluginConfig):
    """The values that stand at the top of a scenario file."""

    name: str | None = Field(None, min_length=1, max_length=200, description="What it is called; unset: as the file.")
    seed: int | str = Field(1, description="Everything that chance decides follows from it.")
    duration: Duration = Field(gt=0, description="How long to run, in virtual time.")


TABLES: Mapping[str, type[BaseModel]] = {"hosts": GroupConfig, "names": NamesConfig}
"""The sections that are mappings of names, and what each value is."""
LISTS: Mapping[str, type[BaseModel]] = {"graph": GraphConfig, "expect": Expectation, "compare": Comparison}
"""The sections that are lists, and what each item is; those of `sections` besides."""
TOP = (
    "version", "name", "seed", "duration", "hosts", "graph", "names", "links", "timeline", "churn", "workload",
    "measures", "expect", "variants", "compare",
)  # fmt: skip


def load_scenario(
    path: Path | str,
    variant: str = DEFAULT,
    settings: Mapping[str, str] | None = None,
    seed: int | str | None = None,
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
        self._nodes: dict[str, Tree | None] = {}
        self._specs: dict[tuple[str, int], tuple[Tree | None, NodeSpec | None, Tree | None]] = {}

    def load(self, variant: str, settings: Mapping[str, str], seed: int | str | None) -> Scenario | None:
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
            found = _Variant(self, whole, name, names).scenario(settings, seed)
            if name == variant:
                chosen = found
        if variant not in names:
            text = f"no variant is called {variant!r}" + did_you_mean(variant, names)
            self.problems.add(tree.place, "variants", text)
        return chosen

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
            elif not _NAME.match(name):
                text = f"{name!r} can't be a variant's name: use lower-case letters, digits and dashes"
                self.problems.add(entry.place, path, text)
            elif isinstance(entry.value, Table):
                for key in _NOT_IN_VARIANTS:
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
            shown = f"--sweep {path}"
            place = Place(shown, 1, 1)
            keys = path.split(".")
            value = read_text(text, shown, self.path.parent, self.env, self.problems)
            if value is None:
                continue
            if not all(keys):
                self.problems.add(place, path, "not a path of keys: write them with dots, such as hosts.nodes.count")
                continue
            if keys[0] in (*_NOT_IN_VARIANTS, "hosts", "names") and not self.settable(tree, keys, place):
                continue
            found = set_value(tree, keys, value)
            if isinstance(found, Table):
                tree = found
            elif isinstance(found, str):
                self.problems.add(place, path, found)
        return tree

    def settable(self, tree: Table, keys: list[str], place: Place) -> bool:
        if keys[0] in _NOT_IN_VARIANTS:
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

    def spec(self, group: str, config: GroupConfig, tree: Table) -> tuple[NodeSpec | None, Tree | None]:
        """What a group's hosts run, and the tree that it was made from."""
        named = tree.get("node")
        assert isinstance(named, Scalar)
        override = tree.get("override")
        override = override if isinstance(override, Table) and override.entries else None
        key = (str(config.node), id(override))
        if key not in self._specs:
            spec: NodeSpec | None = None
            node = self.node(config.node, named, f"hosts.{group}.node")
            if node is not None and override is not None:
                node = merged(node, override)
            if node is not None:
                problems = Problems()
                spec = load_tree(config.node, node, problems, self.registry)
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


class _Variant:
    """One variant of a file, being checked."""

    def __init__(self, file: _File, tree: Table, variant: str, variants: tuple[str, ...]) -> None:
        self.file = file
        self.tree = tree
        self.variant = variant
        self.variants = variants
        self.places: dict[str, str] = {}
        self.names: list[Reference] = []
        self.whole = True
        """Whether every group came to something, so that it is known which networks there are."""

    def scenario(self, settings: Mapping[str, str], seed: int | str | None) -> Scenario | None:
        for key, entry in self.tree.entries.items():
            if key not in TOP:
                self.file.add(entry.place, key, f"unknown key {key!r}" + did_you_mean(key, TOP))
        self.version()
        top = self.part(Settings, self.tree, "", [key for key in self.tree.entries if key not in Settings.model_fields])
        groups = self.groups()
        lists = {key: self.listing(key, model) for key, model in LISTS.items()}
        churn, workload = self.listing("churn", sections.CHURN), self.listing("workload", sections.WORKLOAD)
        timeline = self.timeline()
        measures = self.measures()
        names = self.table("names", NamesConfig)
        links = self.links(groups)
        self.resolve(groups)
        if self.whole:
            graphs = {n: one for n, one in lists["graph"].items() if isinstance(one, GraphConfig)}
            self.graphs({n: one for n, one in graphs.items() if self.known(one, groups)}, groups)
        if top is None or links is None:
            return None
        path = self.file.path.absolute()
        return Scenario(
            path=path,
            name=top.name or path.stem,
            seed=top.seed if seed is None else seed,
            duration=top.duration,
            variant=self.variant,
            variants=self.variants,
            settings=dict(settings),
            groups=groups,
            graph=tuple(one for one in lists["graph"].values() if isinstance(one, GraphConfig)),
            names={name.lower().rstrip("."): one for name, one in names.items() if isinstance(one, NamesConfig)},
            links=links,
            timeline=tuple(timeline.values()),
            churn=tuple(churn.values()),
            workload=tuple(workload.values()),
            measures=measures,
            expect=tuple(lists["expect"].values()),
            compare=tuple(lists["compare"].values()),
            places=self.places,
        )

    # --- the parts ---

    def part(self, model: type[M], tree: Table, path: str, skip: list[str] | None = None) -> M | None:
        """A mapping checked by its model; the names in it are noted, to be looked up later."""
        problems = Problems()
        found = check(model, tree, path, problems, skip or ())
        self.file.take(problems)
        if found is not None:
            self.names += references(found, tree, path)
        return found

    def version(self) -> None:
        version = self.tree.get("version")
        if version is None:
            text = f"'version' is missing: begin with `version: {VERSION}`"
            self.file.add(self.tree.place, "version", text)
        elif isinstance(version, Scalar) and version.broken:
            return
        elif not isinstance(version, Scalar) or type(version.value) is not int or version.value != VERSION:
            self.file.add(version.place, "version", f"must be {VERSION}, found {show(version)}")

    def section(self, key: str, of: type[Table] | type[Listing]) -> Tree | None:
        found = self.tree.get(key)
        if found is None or isinstance(found, of):
            return found
        if not (isinstance(found, Scalar) and found.broken):
            what = "a mapping" if of is Table else "a list"
            self.file.add(found.place, key, f"must be {what}, found {show(found)}")
        return None

    def entry(self, tree: Tree, path: str) -> Table | None:
        if isinstance(tree, Table):
            return tree
        if not (isinstance(tree, Scalar) and tree.broken):
            self.file.add(tree.place, path, f"must be a mapping, found {show(tree)}")
        return None

    def table(self, key: str, model: type[M]) -> dict[str, M]:
        """A section of named entries: those that are as they should be."""
        section = self.section(key, Table)
        made = {}
        for name, entry in section.entries.items() if isinstance(section, Table) else ():
            tree = self.entry(entry.value, f"{key}.{name}")
            found = self.part(model, tree, f"{key}.{name}") if tree is not None else None
            if found is not None:
                made[name] = found
        return made

    def listing(self, key: str, model: type[M]) -> dict[int, M]:
        """A section of entries in their order, by their number: those that are as they should be."""
        section = self.section(key, Listing)
        made = {}
        for index, item in enumerate(section.items if isinstance(section, Listing) else ()):
            path = f"{key}.{index}"
            self.places[path] = "{}:{}:{}".format(*item.place)
            tree = self.entry(item, path)
            found = self.part(model, tree, path) if tree is not None else None
            if found is not None:
                made[index] = found
        return made

    def timeline(self) -> dict[int, PluginConfig]:
        """The faults; what each is, its `do` says."""
        section = self.section("timeline", Listing)
        made = {}
        for index, item in enumerate(section.items if isinstance(section, Listing) else ()):
            path = f"timeline.{index}"
            self.places[path] = "{}:{}:{}".format(*item.place)
            tree = self.entry(item, path)
            word = tree.get("do") if tree is not None else None
            if tree is None or (isinstance(word, Scalar) and word.broken):
                continue
            if word is None:
                text = "'do' is missing: what happens? There is " + ", ".join(sections.FAULTS)
                self.file.add(tree.place, f"{path}.do", text)
            elif not isinstance(word, Scalar) or not isinstance(word.value, str) or word.value not in sections.FAULTS:
                near = did_you_mean(word.text, sections.FAULTS) if isinstance(word, Scalar) else ""
                self.file.add(word.place, f"{path}.do", f"no fault is called {show(word)}{near}")
            else:
                model = sections.FAULTS[word.value]
                found = self.part(model, tree, path, [] if "do" in field_names(model) else ["do"])
                if found is not None:
                    made[index] = found
        return made

    def measures(self) -> dict[str, PluginConfig]:
        section = self.section("measures", Table)
        made = {}
        for name, entry in section.entries.items() if isinstance(section, Table) else ():
            path = f"measures.{name}"
            self.places[path] = "{}:{}:{}".format(*entry.place)
            if name not in sections.MEASURES:
                text = f"no measure is called {name!r}" + did_you_mean(name, sections.MEASURES)
                self.file.add(entry.place, path, text)
                continue
            tree = self.entry(entry.value, path)
            found = self.part(sections.MEASURES[name], tree, path) if tree is not None else None
            if found is not None:
                made[name] = found
        return made

    def links(self, groups: Mapping[str, Group]) -> LinksConfig | None:
        tree = self.section("links", Table)
        if self.tree.get("links") is not None and not isinstance(tree, Table):
            return None
        whole = tree if isinstance(tree, Table) else Table(self.tree.place, self.tree.folder)
        found = self.part(LinksConfig, whole, "links")
        regions = tree.get("regions") if isinstance(tree, Table) else None
        for name, entry in regions.entries.items() if isinstance(regions, Table) else ():
            self.names.append(Reference("region", name, entry.place, f"links.regions.{name}"))
            inner = entry.value.entries.items() if isinstance(entry.value, Table) else ()
            for other, target in inner:
                self.names.append(Reference("region", other, target.place, f"links.regions.{name}.{other}"))
        return found

    # --- hosts ---

    def groups(self) -> dict[str, Group]:
        section = self.section("hosts", Table)
        if section is None or (isinstance(section, Table) and not section.entries):
            if "hosts" not in self.tree.entries or section is not None:
                place = section.place if section is not None else self.tree.place
                self.file.add(place, "hosts", "'hosts' is missing: a scenario has at least one group of hosts")
            self.whole = False
            return {}
        made = {}
        hosts = 0
        assert isinstance(section, Table)
        for name, entry in section.entries.items():
            path = f"hosts.{name}"
            if not _NAME.match(name):
                text = f"{name!r} can't be a group's name: use lower-case letters, digits and dashes"
                self.file.add(entry.place, path, text)
            tree = self.entry(entry.value, path)
            config = self.part(GroupConfig, tree, path) if tree is not None else None
            if config is None or tree is None:
                self.whole = False
                continue
            hosts += config.count
            if hosts > _MAX_HOSTS >= hosts - config.count:
                self.file.add(entry.place, f"{path}.count", f"more than {_MAX_HOSTS:,} hosts in all")
            spec, node = self.file.spec(name, config, tree)
            if spec is None or node is None:
                self.whole = False
                continue
            made[name] = Group(name, config, spec)
            self.unreachable(made[name], node, tree)
        return made

    def unreachable(self, group: Group, node: Tree, tree: Table) -> None:
        """A node file's address to listen on may be one that only its own machine has."""
        named = tree.get("node")
        assert isinstance(node, Table) and named is not None
        override = tree.get("override")
        ours = frozenset(places(override)) if override is not None else frozenset()
        ranges = group.config.addresses.ranges
        own = [str(one.network_address) for one in ranges if one.num_addresses == 1] if len(ranges) == 1 else []
        for network, index, address, loc in listening(group.spec):
            ip = ip_address(address.host)
            if ip.is_unspecified or (group.config.count == 1 and address.host in own):
                continue
            at = place_of(node, loc)
            everywhere = f"[::]:{address.port}" if ip.version == 6 else f"0.0.0.0:{address.port}"
            plugin = group.spec.networks[network].transports[index].spec.name
            text = (
                f"{address}, which no other host reaches: listen on {everywhere}, here with override: "
                f'{{networks: {{{network}: {{transports: [{{plugin: {plugin}, listen: ["{everywhere}"]}}]}}}}}}'
            )
            if at in ours:
                self.file.add(at, f"hosts.{group.name}.override.{'.'.join(map(str, loc))}", f"is {text}")
            else:
                text = "{}:{}:{} says that the hosts listen on ".format(*at) + text
                self.file.add(named.place, f"hosts.{group.name}.node", text)

    def known(self, graph: GraphConfig, groups: Mapping[str, Group]) -> bool:
        """Whether its names are names of something; where not, that is told already."""
        networks = [name for group in groups.values() for name in group.spec.networks]
        return graph.network in networks and all(name in groups for name in graph.groups)

    def graphs(self, graphs: Mapping[int, GraphConfig], groups: Mapping[str, Group]) -> None:
        section = self.tree.get("graph")
        for number, key, text in misfits(graphs, groups):
            assert isinstance(section, Listing)
            tree = section.items[number]
            assert isinstance(tree, Table)
            at = place_of(tree, [int(part) if part.isdigit() else part for part in key.split(".")])
            self.file.add(at, f"graph.{number}.{key}", text)

    # --- names ---

    def resolve(self, groups: Mapping[str, Group]) -> None:
        """Every name must be the name of something; networks are known only where every group came to something."""
        section = self.tree.get("hosts")
        names: dict[Named, list[str]] = {
            "group": list(section.entries) if isinstance(section, Table) else [],
            "variant": list(self.variants),
            "network": list(dict.fromkeys(name for group in groups.values() for name in group.spec.networks)),
            "region": list(dict.fromkeys(name for group in groups.values() for name in group.config.regions if name)),
        }
        for what, name, place, path in self.names:
            if what == "host":
                self.host(name, place, path, groups)
            elif name not in names[what] and (self.whole or what in ("group", "variant")):
                known = names[what]
                text = did_you_mean(name, known) or ": there is none"
                self.file.add(place, path, f"no {_WORDS[what]} is called {name!r}{text}")

    def host(self, name: str, place: Place, path: str, groups: Mapping[str, Group]) -> None:
        group, _, number = name.rpartition("-")
        if not self.whole:
            return
        if group not in groups:
            text = did_you_mean(group, groups)
            self.file.add(place, path, f"no host is called {name!r}: a host is its group's name and a number{text}")
        elif not re.fullmatch(r"0|[1-9][0-9]{0,5}", number) or int(number) >= groups[group].config.count:
            last = groups[group].config.count - 1
            self.file.add(place, path, f"no host is called {name!r}: they are {group}-0 to {group}-{last}")
