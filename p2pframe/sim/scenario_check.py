"""Checks one variant of a scenario: each section by its models, then every name, graph and listening address in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel

from p2pframe.config.check import check, field_names, place_of
from p2pframe.config.settings import NodeSpec
from p2pframe.config.tree import Listing, Place, Problems, Scalar, Table, Tree, show
from p2pframe.config.wording import did_you_mean
from p2pframe.plugin import Duration, Field, PluginConfig
from p2pframe.sim import sections
from p2pframe.sim.expectations import Comparison, Expectation
from p2pframe.sim.graph_fit import misfits
from p2pframe.sim.links import LinksConfig
from p2pframe.sim.listening import listening
from p2pframe.sim.merging import places
from p2pframe.sim.references import Named, Reference, references
from p2pframe.sim.scenario import VERSION, GraphConfig, Group, GroupConfig, NamesConfig, Scenario

M = TypeVar("M", bound=BaseModel)

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z", re.ASCII)
"""What groups and variants may be called."""
MAX_HOSTS = 100_000
_WORDS: Mapping[Named, str] = {
    "group": "host group", "host": "host", "network": "network", "variant": "variant",
}  # fmt: skip


class File(Protocol):
    """What a variant asks of the file that it is of."""

    path: Path
    regions: dict[str, list[Reference]]
    inhabited: set[str]
    complete: bool

    def add(self, place: Place, path: str, message: str) -> None:
        """Note a mistake."""

    def take(self, problems: Problems) -> None:
        """Note the mistakes of a part."""

    def spec(self, group: str, tree: Table) -> tuple[NodeSpec | None, Tree | None]:
        """What a group's hosts run, and the tree that it was made from; None where that has mistakes."""


class Settings(PluginConfig):
    """The values that stand at the top of a scenario file."""

    name: str | None = Field(None, min_length=1, max_length=200, description="What it is called; unset: as the file.")
    seed: int = Field(1, description="Everything that chance decides follows from it.")
    duration: Duration = Field(gt=0, description="How long to run, in virtual time.")


TABLES: Mapping[str, type[BaseModel]] = {"hosts": GroupConfig, "names": NamesConfig}
"""The sections that are mappings of names, and what each value is."""
LISTS: Mapping[str, type[BaseModel]] = {"graph": GraphConfig, "expect": Expectation, "compare": Comparison}
"""The sections that are lists, and what each item is; those of `sections` besides."""
TOP = (
    "version", "name", "seed", "duration", "hosts", "graph", "names", "links", "timeline", "churn", "workload",
    "measures", "expect", "variants", "compare",
)  # fmt: skip


class Variant:
    """One variant of a file, being checked."""

    def __init__(self, file: File, tree: Table, variant: str, variants: tuple[str, ...]) -> None:
        self.file = file
        self.tree = tree
        self.variant = variant
        self.variants = variants
        self.places: dict[str, str] = {}
        self.names: list[Reference] = []
        self.whole = True
        """Whether every group came to something, so that it is known which networks there are."""

    def scenario(self, settings: Mapping[str, str], seed: int | None) -> Scenario | None:
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
            if not NAME.match(name):
                text = f"{name!r} can't be a group's name: use lower-case letters, digits and dashes"
                self.file.add(entry.place, path, text)
            tree = self.entry(entry.value, path)
            config = self.part(GroupConfig, tree, path) if tree is not None else None
            spec, node = self.file.spec(name, tree) if tree is not None else (None, None)
            if config is None or tree is None or spec is None or node is None:
                self.whole = False
                continue
            hosts += config.count
            if hosts > MAX_HOSTS >= hosts - config.count:
                self.file.add(entry.place, f"{path}.count", f"more than {MAX_HOSTS:,} hosts in all")
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
            # Some transports take a list, some one address.
            value = f'["{everywhere}"]' if isinstance(loc[-1], int) else f'"{everywhere}"'
            text = (
                f"{address}, which no other host reaches: listen on {everywhere}, here with override: "
                f'{{networks: {{{network}: {{transports: [{{plugin: {plugin}, listen: {value}}}]}}}}}}'
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
        self.file.complete = self.file.complete and self.whole
        section = self.tree.get("hosts")
        names: dict[Named, list[str]] = {
            "group": list(section.entries) if isinstance(section, Table) else [],
            "variant": list(self.variants),
            "network": list(dict.fromkeys(name for group in groups.values() for name in group.spec.networks)),
        }
        self.file.inhabited.update(name for group in groups.values() for name in group.config.regions if name)
        for what, name, place, path in self.names:
            if what == "region":
                self.file.regions.setdefault(name, []).append(Reference(what, name, place, path))
            elif what == "host":
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
