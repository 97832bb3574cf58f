"""What differs between two checked configurations, and whether it takes a restart to apply it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from zope.interface import implementedBy

from p2pframe.config.settings import NetworkSpec, NodeSpec, PluginChoice
from p2pframe.config.tree import HIDDEN
from p2pframe.interfaces import IReconfigurable
from p2pframe.plugin import is_live


class Effect(enum.IntEnum):
    """What a change asks of a part of the node; the strongest of several counts."""

    NOTHING = 0
    LIVE = 1
    RESTART = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Its dotted path, whether it may be applied while running, and the two values (`***` for secrets).
    """

    path: str
    live: bool
    old: str
    new: str

    def __str__(self) -> str:
        if self.old == self.new == HIDDEN:
            return f"{self.path}: another secret"
        return f"{self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Part:
    """The differences of one part of the node."""

    changes: tuple[Change, ...] = ()

    @property
    def effect(self) -> Effect:
        """What they ask for, taken together."""
        if not self.changes:
            return Effect.NOTHING
        return Effect.LIVE if all(change.live for change in self.changes) else Effect.RESTART


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two configurations.

    `networks` holds those that are in both, by name, in the new order; `added` and `removed` name the others.
    `applications` are taken together: their live changes belong to the choices at the same index.
    """

    node: Part = Part()
    storage: Part = Part()
    applications: Part = Part()
    networks: Mapping[str, Part] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.words())

    def words(self) -> list[str]:
        """Every difference in words."""
        parts = [self.node, self.storage, self.applications, *self.networks.values()]
        return [
            *(str(change) for part in parts for change in part.changes),
            *(f"networks.{name}: new" for name in self.added),
            *(f"networks.{name}: gone" for name in self.removed),
        ]


def diff(old: NodeSpec, new: NodeSpec) -> Changes:
    """Compare two configurations. A plugin's field counts as live only where its class is `IReconfigurable` too."""
    before, after = old.effective, new.effective
    return Changes(
        node=Part(tuple(_models(old.node, new.node, "node", _at(before, "node"), _at(after, "node"), True))),
        storage=Part(tuple(_choices((old.storage,), (new.storage,), "storage", [_at(before, "storage")],
                                    [_at(after, "storage")], single=True))),
        applications=Part(tuple(_choices(old.applications, new.applications, "applications",
                                         _list(before, "applications"), _list(after, "applications")))),
        networks={
            name: Part(
                tuple(_network(old.networks[name], spec, _at(before, "networks", name), _at(after, "networks", name)))
            )
            for name, spec in new.networks.items()
            if name in old.networks
        },
        added=tuple(name for name in new.networks if name not in old.networks),
        removed=tuple(name for name in old.networks if name not in new.networks),
    )  # fmt: skip


def _network(old: NetworkSpec, new: NetworkSpec, before: object, after: object) -> Iterator[Change]:
    path = f"networks.{new.name}"
    for key in ("protocol", "topology", "relay"):
        one, other = _single(getattr(old, key)), _single(getattr(new, key))
        yield from _choices(one, other, f"{path}.{key}", [_at(before, key)], [_at(after, key)], single=True)
    for key in ("transports", "upgrades", "discovery", "scoring", "authentication", "validators"):
        yield from _choices(
            getattr(old, key), getattr(new, key), f"{path}.{key}", _list(before, key), _list(after, key)
        )
    for topic in sorted({*old.item_stores, *new.item_stores}):
        one, other = _single(old.item_stores.get(topic)), _single(new.item_stores.get(topic))
        was, now = [_at(before, "item_stores", topic)], [_at(after, "item_stores", topic)]
        yield from _choices(one, other, f"{path}.item_stores.{topic}", was, now, single=True)
    yield from _models(old.limits, new.limits, f"{path}.limits", _at(before, "limits"), _at(after, "limits"), True)


def _choices(
    old: Sequence[PluginChoice],
    new: Sequence[PluginChoice],
    path: str,
    before: Sequence[object],
    after: Sequence[object],
    single: bool = False,
) -> Iterator[Change]:
    """Lists of plugins: compared one by one while they are the same plugins in the same order."""
    if [_identity(c) for c in old] != [_identity(c) for c in new]:
        yield Change(path, False, _names(old), _names(new))
        return
    for index, (one, other) in enumerate(zip(old, new, strict=True)):
        live = implementedBy(other.cls).isOrExtends(IReconfigurable)
        where = path if single else f"{path}.{index}"
        shown = [side[index] if index < len(side) else None for side in (before, after)]
        yield from _models(one.config, other.config, where, shown[0], shown[1], live)


def _single(choice: PluginChoice | None) -> tuple[PluginChoice, ...]:
    return () if choice is None else (choice,)


def _identity(choice: PluginChoice) -> object:
    # A plugin file that was edited is another class: its network has to start again with it.
    return choice.spec.kind, choice.spec.name, choice.cls, choice.network


def _names(choices: Sequence[PluginChoice]) -> str:
    return ", ".join(choice.spec.name for choice in choices) or "none"


def _models(
    old: BaseModel, new: BaseModel, path: str, before: object, after: object, reconfigurable: bool
) -> Iterator[Change]:
    for name, info in type(new).model_fields.items():
        one, other = getattr(old, name, None), getattr(new, name)
        if one != other:
            live = reconfigurable and is_live(type(new), name)
            key = info.alias or name
            yield Change(f"{path}.{key}", live, _shown(_at(before, key)), _shown(_at(after, key)))


def _shown(value: object) -> str:
    return str(value)[:200]


def _at(data: object, *keys: str) -> object:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _list(data: object, key: str) -> Sequence[object]:
    found = _at(data, key)
    return found if isinstance(found, list) else []
