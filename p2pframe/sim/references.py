"""Names that a scenario's models take and that must be the name of something in it: a host group, a host, a network.

A model says so in the type of its field, wherever that stands in it (`from: tuple[GroupName, ...]`); the loader then
finds every such name with its place, and whether there is one.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

from p2pframe.config.tree import Listing, Place, Scalar, Table, Tree

Named: TypeAlias = Literal["group", "host", "network", "region", "variant"]


@dataclass(frozen=True, slots=True)
class Refers:
    """What a text must be the name of."""

    what: Named


GroupName = Annotated[str, Refers("group")]
"""The name of a host group, as `hosts` has it."""
HostName = Annotated[str, Refers("host")]
"""The name of one host: its group's and its number, such as `nodes-17`."""
NetworkName = Annotated[str, Refers("network")]
"""The name of a network in the node files."""
RegionName = Annotated[str, Refers("region")]
"""A region that some group's hosts are in."""
VariantName = Annotated[str, Refers("variant")]
"""A variant of the scenario, or `default`."""


class Reference(NamedTuple):
    """One name as it stands in a file; `path` is the dotted path of its key."""

    what: Named
    name: str
    place: Place
    path: str


def references(model: BaseModel, tree: Table, path: str) -> Iterator[Reference]:
    """Every name in a checked model, by the tree that it was made from."""
    for name, info in type(model).model_fields.items():
        key = info.alias or name
        entry = tree.entries.get(key)
        if entry is not None:
            here = f"{path}.{key}" if path else key
            yield from _walk(info.annotation, info.metadata, getattr(model, name), entry.value, here)


def _walk(annotation: Any, metadata: Sequence[object], value: object, tree: Tree, path: str) -> Iterator[Reference]:
    if isinstance(value, BaseModel):
        # What has been made says which branch of a union it was.
        if isinstance(tree, Table):
            yield from references(value, tree, path)
        return
    for inner, marks in _branches(annotation, metadata):
        if isinstance(tree, Scalar):
            for mark in marks:
                if isinstance(mark, Refers) and isinstance(value, str):
                    yield Reference(mark.what, value, tree.place, path)
        elif isinstance(tree, Listing) and isinstance(value, (tuple, list)):
            of = next(iter(get_args(inner)), None)
            for index, (item, one) in enumerate(zip(value, tree.items, strict=False)):
                yield from _walk(of, (), item, one, f"{path}.{index}")
        elif isinstance(tree, Table) and isinstance(value, Mapping):
            args = get_args(inner)
            if len(args) != 2:
                continue
            for key, entry in tree.entries.items():
                for _, marks_of_key in _branches(args[0], ()):
                    for mark in marks_of_key:
                        if isinstance(mark, Refers):
                            yield Reference(mark.what, key, entry.place, f"{path}.{key}")
                yield from _walk(args[1], (), value.get(key), entry.value, f"{path}.{key}")


def _branches(annotation: Any, metadata: Sequence[object]) -> Iterator[tuple[Any, tuple[object, ...]]]:
    """The types that an annotation allows, each with what `Annotated` says of it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _branches(inner, (*metadata, *more))
    elif get_origin(annotation) in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _branches(branch, metadata)
    else:
        yield annotation, tuple(metadata)
