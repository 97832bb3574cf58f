"""What a config model says of each of its fields, in the words that one writes in the YAML."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from p2pframe.model import PeerAddress
from p2pframe.plugin import is_live, parse_duration, parse_size
from p2pframe.sim.distributions import Numbers, Offsets, Times
from p2pframe.sim.links import LinkConfig
from p2pframe.sim.references import Refers

_UNITS = {"parse_duration": "duration", "parse_size": "size", "_parse_address": "address"}
_WORDS = {str: "text", int: "number", float: "number", bool: "true or false", Path: "path", PeerAddress: "address",
          bytes: "bytes", object: "anything", type(None): "null", Any: "anything",
          IPv4Network: "range of addresses", IPv6Network: "range of addresses",
          Times: "duration or distribution", Offsets: "duration of either sign, or distribution",
          Numbers: "number or distribution", LinkConfig: "link or latency"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One option: a line of a table of the reference."""

    name: str
    type: str
    default: str
    description: str
    live: bool


def unit(metadata: Sequence[object]) -> str | None:
    """`duration`, `size`, `address`, or what it must be the name of, where the type says so."""
    for item in metadata:
        if isinstance(item, Refers):
            return {"group": "host group"}.get(item.what, item.what)
        if isinstance(item, BeforeValidator):
            name = getattr(item.func, "__name__", "")
            if name in _UNITS:
                return _UNITS[name]
    return None


def type_name(annotation: Any, metadata: Sequence[object] = ()) -> str:
    """A type in the words of a reader of YAML."""
    special = unit(metadata)
    if special:
        return special
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(args[0], args[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(arg) for arg in args))
    if origin is Literal:
        return ", ".join(str(arg) for arg in args)
    if origin in (tuple, list, set, frozenset) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        inner = dict.fromkeys(type_name(arg) for arg in args if arg is not Ellipsis)
        return f"list of {' or '.join(inner) or 'anything'}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {type_name(args[0])} to {type_name(args[1])}"
    if annotation in _WORDS:
        return _WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(member.value) for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"mapping: see {annotation.__name__}"
    return getattr(annotation, "__name__", str(annotation))


def constraints(field: FieldInfo) -> str:
    """The bounds of a field: `1 to 64`, `at least 1`, `over 0`."""
    bounds: dict[str, Any] = {}
    for item in field.metadata:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
            if getattr(item, name, None) is not None:
                bounds[name] = getattr(item, name)
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']} to {bounds['le']}"
    words = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under", "pattern": "like",
             "min_length": "of at least", "max_length": "of at most"}  # fmt: skip
    return ", ".join(f"{words[name]} {bound}" for name, bound in bounds.items())


def with_unit(value: float, kind: str) -> str:
    """A duration or a size as one would write it: the largest unit that takes it whole."""
    units, parse = {
        "duration": (("w", "d", "h", "min", "s", "ms"), parse_duration),
        "size": (("GB", "MB", "kB", "B"), parse_size),
    }[kind]
    for name in units:
        count = value / parse(f"1{name}")
        if count >= 1 and count == int(count):
            return f"{int(count)}{name}"
    return f"{value:g}"


def default(field: FieldInfo) -> str:
    """The default as YAML in one line; empty where the option has none and must be given."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    kind = unit(field.metadata)
    if kind in ("duration", "size") and isinstance(value, (int, float)):
        return with_unit(value, kind)
    if isinstance(value, (Times, Offsets)) and value.constant is not None:
        return with_unit(value.constant, "duration")
    return yaml.safe_dump(plain(value), default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def plain(value: object) -> object:
    """A value as data that YAML can show."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value == int(value):
        return int(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def rows(model: type[BaseModel]) -> Iterator[Row]:
    """Every option of a config model. Raises `ValueError` for one without a description."""
    for name, field in model.model_fields.items():
        if not field.description:
            raise ValueError(f"{model.__module__}.{model.__name__}.{name}: an option needs a description")
        bound = constraints(field)
        kind = type_name(field.annotation, field.metadata)
        yield Row(
            field.alias or name,
            f"{kind}, {bound}" if bound else kind,
            default(field),
            field.description,
            is_live(model, name),
        )


def nested_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The config models that the fields of this one are made of, each once; not those that have a word of their own."""
    found: dict[type[BaseModel], None] = {}

    def look(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in _WORDS:
            found[annotation] = None
        for arg in get_args(annotation):
            look(arg)

    for field in model.model_fields.values():
        look(field.annotation)
    return list(found)
