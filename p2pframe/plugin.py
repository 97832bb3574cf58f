"""All that a plugin file imports besides the interfaces: the decorator, the config base class, and values with units.

A plugin is a class, a name, a config model and a one-line summary (the first line of its docstring)::

    class PatientConfig(PluginConfig):
        interval: Duration = Field(30.0, description="How long to wait between two looks.")

    @plugin("patient", config=PatientConfig)
    @implementer(IDiscovery)
    class PatientDiscovery:
        \"\"\"Looks now and then.\"\"\"

        def __init__(self, config: PatientConfig, context: IContext) -> None: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError
from zope.interface import implementedBy

from p2pframe.errors import PluginError
from p2pframe.interfaces import SEAMS
from p2pframe.model import PeerAddress

C = TypeVar("C", bound=type)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)?\Z", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?\Z", re.ASCII)
_BYTES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def parse_duration(value: object) -> float:
    """Seconds, from `30s`, `2min`, `1.5h`, `250ms`, `7d`, `2w`, or a plain number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        match = _DURATION.match(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise PydanticCustomError(
                "duration", "not a duration: write a number with ms, s, min, h, d or w, such as 30s"
            )
        number = float(match[1]) * _SECONDS[match[2] or "s"]
    if not 0 <= number < 1e11:
        raise PydanticCustomError("duration", "a duration can't be negative, infinite or over three thousand years")
    return number


def parse_size(value: object) -> int:
    """Bytes, from `5MB`, `64KiB`, `1.5GB`, or a plain number of bytes."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        match = _SIZE.match(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise PydanticCustomError(
                "size", "not a size: write a number with B, kB, MB, GB, KiB, MiB or GiB, such as 5MB"
            )
        number = float(match[1]) * _BYTES[match[2] or "B"]
    if not 0 <= number < 2**63 or number != int(number):
        raise PydanticCustomError("size", "a size is a whole number of bytes between 0 and 2^63")
    return int(number)


def _parse_address(value: object) -> PeerAddress:
    if isinstance(value, PeerAddress):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("address", "not an address: write host:port or [v6-address]:port")
    try:
        return PeerAddress.parse(value)
    except ValueError as error:
        raise PydanticCustomError("address", "{text}", {"text": str(error)}) from None


def _from_hex(value: object) -> bytes:
    try:
        return bytes.fromhex(value.replace(":", "")) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _peer_id(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    peer_id = _from_hex(value)
    if not 16 <= len(peer_id) <= 64:
        raise PydanticCustomError("peer_id", "not a peer id: write its 32 to 128 hex digits")
    return peer_id


def _pin(value: object) -> bytes:
    pin = value if isinstance(value, bytes) else _from_hex(value)
    if len(pin) != 32:
        raise PydanticCustomError("pin", "not a pin: write the 64 hex digits of the SHA-256 of the public key")
    return pin


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\s*(ms|s|min|m|h|d|w)?$", "examples": ["30s"]}
    ),
]
"""Seconds as a float; in the YAML `30s`, `5min`, `2h` or a number of seconds."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\s*([kKMGT]?B|[KMGT]iB)?$", "examples": ["5MB"]}
    ),
]
"""Bytes as an int; in the YAML `5MB`, `64KiB` or a number of bytes."""

Address = Annotated[
    PeerAddress,
    BeforeValidator(_parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:18444", "[::1]:18444"]}),
]
"""A `PeerAddress`; in the YAML `host:port`, `[v6]:port`."""


PeerIdHex = Annotated[
    bytes,
    BeforeValidator(_peer_id),
    PlainSerializer(bytes.hex, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([0-9a-fA-F]{2}:?)+$"}),
]
"""A peer id as bytes; in the YAML its hex digits, with or without colons."""

Pin = Annotated[
    bytes,
    BeforeValidator(_pin),
    PlainSerializer(bytes.hex, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([0-9a-fA-F]{2}:?){32}$"}),
]
"""SHA-256 of a certificate's SubjectPublicKeyInfo, 32 bytes; in the YAML 64 hex digits, with or without colons."""


class PluginConfig(BaseModel):
    """Base of every config model: frozen, no unknown keys, constraints as pydantic has them.

    Give each field a default that is safe and a description; mark with `live` those that `reconfigure` may change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        # Any value may have come from ${ENV}: what is printed or logged shows none.
        return f"{type(self).__name__}(...)"

    __str__ = __repr__


def live(default: Any, *, description: str, **constraints: Any) -> Any:
    """A config field that may be changed while the node runs; see `IReconfigurable`."""
    return Field(default, description=description, json_schema_extra={"live": True}, **constraints)


@dataclass(frozen=True, slots=True)
class Bound:
    """What `bound` says of a config field.

    `counter` is the metric that counts what the bound turned away, as it is named where it is made; empty where nothing
    is ever turned away (a pace, a time that runs out, the size of an answer of ours). `label` are the values of its
    labels that stand for this bound; none: all. `refuses` are the reasons of refusals, ends of sessions and verdicts
    that it leads to, `slot` the class of slots that it is the number of, `unit` is `bytes`, `seconds` or empty.
    `fills`: it is full in the course of things (the latest of something are kept, slots are to be taken), and that is
    no alarm.
    """

    counter: str
    label: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    slot: str = ""
    unit: str = ""
    fills: bool = False


def bound(
    default: Any = ...,
    *,
    counter: str,
    label: str | tuple[str, ...] = (),
    refuses: tuple[str, ...] = (),
    slot: str = "",
    fills: bool = False,
    live: bool = True,
    description: str,
    **constraints: Any,
) -> Any:
    """A config field that is a bound, and says what counts what it turns away; see `Bound`.

    So the node can show every bound with its counter, and explain a refusal by the key that sets it. It may be changed
    while the node runs, unless `live` is False.
    """
    labels = (label,) if isinstance(label, str) else label
    said = {"counter": counter, "label": labels, "refuses": refuses, "slot": slot, "fills": fills}
    extra: Any = {"live": live, "bound": said}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def bound_of(model: type[BaseModel], name: str) -> Bound | None:
    """What a field of a config model says of itself as a bound; None where it is none."""
    info = model.model_fields[name]
    extra = info.json_schema_extra
    said: Any = extra.get("bound") if isinstance(extra, dict) else None
    if said is None:
        return None
    reads = [one.func for one in info.metadata if isinstance(one, BeforeValidator)]
    unit = "bytes" if parse_size in reads else "seconds" if parse_duration in reads else ""
    return Bound(said["counter"], said["label"], said["refuses"], said["slot"], unit, said["fills"])


def is_live(model: type[BaseModel], name: str) -> bool:
    """Whether a field of a config model is marked live."""
    extra = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and extra.get("live") is True


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """What `@plugin` notes on a class as `__p2pframe_plugin__`."""

    kind: str
    name: str
    config: type[PluginConfig]
    summary: str
    unrepeatable: str = ""
    """Why equal seeds do not give equal runs in the simulator where this plugin takes part; empty: they do."""


def plugin(
    name: str, *, config: type[PluginConfig] = PluginConfig, kind: str | None = None, unrepeatable: str = ""
) -> Callable[[C], C]:
    """Make a class a plugin of the kind whose interface it implements (`kind` chooses where it implements several).

    `unrepeatable` says why runs with it can't be repeated (a library that draws its own chance, say): the simulator
    runs it, and `p2pframe sim --check` refuses it by name with this reason.

    Raises `PluginError` for a name that is not lower-case words with dashes, no docstring, or no interface of a seam.
    """

    def decorate(cls: C) -> C:
        origin = f"{cls.__module__}.{cls.__qualname__}"
        if not _NAME.match(name):
            raise PluginError(f"{origin}: {name!r} is no plugin name: use lower-case words joined by dashes")
        summary = (cls.__doc__ or "").strip().split("\n", 1)[0].strip()
        if not summary:
            raise PluginError(f"{origin}: a plugin needs a docstring; its first line is the summary that users see")
        implemented = implementedBy(cls)
        kinds = [k for k, seams in SEAMS.items() if any(implemented.isOrExtends(seam) for seam in seams)]
        if kind is not None and kind not in kinds:
            raise PluginError(f"{origin}: says kind={kind!r} but does not implement it: put @implementer below @plugin")
        if kind is None and len(kinds) != 1:
            found = "implements no interface of a seam" if not kinds else "implements several: " + ", ".join(kinds)
            raise PluginError(f"{origin}: {found}: put @implementer(...) below @plugin, or say kind=...")
        cls.__p2pframe_plugin__ = PluginSpec(kind or kinds[0], name, config, summary, unrepeatable)  # type: ignore[attr-defined]
        return cls

    return decorate


__all__ = [
    "Address",
    "Bound",
    "Duration",
    "Field",
    "PeerIdHex",
    "Pin",
    "PluginConfig",
    "PluginSpec",
    "Size",
    "bound",
    "bound_of",
    "is_live",
    "live",
    "parse_duration",
    "parse_size",
    "plugin",
]
