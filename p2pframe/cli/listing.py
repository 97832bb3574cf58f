"""What there is to say of each plugin: its name, summary, origin and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from pydantic import BaseModel

from p2pframe.config.schema import model_schema
from p2pframe.errors import PluginError
from p2pframe.plugin import is_live
from p2pframe.registry import Registry
from p2pframe.registry.registry import spec_of

WIDTH = 100


def describe(registry: Registry, kind: str | None) -> tuple[list[dict[str, Any]], list[PluginError]]:
    """Every plugin (of one kind), as plain data, and why some could not be looked at."""
    found: list[dict[str, Any]] = []
    errors: list[PluginError] = []
    for known in registry.known(kind):
        try:
            spec = spec_of(registry.load(known))
        except PluginError as error:
            errors.append(error)
            continue
        found.append(
            {
                "kind": spec.kind,
                "name": spec.name,
                "summary": spec.summary,
                "origin": known.origin,
                "options": list(_options(spec.config)),
            }
        )
    return found, errors


def _options(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    properties = model_schema(model).get("properties", {})
    for name, info in model.model_fields.items():
        key = info.alias or name
        said = dict(properties.get(key, {}))
        option: dict[str, Any] = {
            "name": key,
            "description": said.pop("description", ""),
            "required": info.is_required(),
            "live": is_live(model, name),
        }
        if not info.is_required():
            option["default"] = said.pop("default", None)
        said.pop("title", None)
        option["schema"] = said
        yield option


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The same for people."""
    lines: list[str] = []
    kind = ""
    for plugin in found:
        if plugin["kind"] != kind:
            kind = plugin["kind"]
            lines += [kind] if not lines else ["", kind]
        lines.append(f"  {plugin['name']}: {plugin['summary']}")
        lines.append(f"      from {plugin['origin']}")
        for option in plugin["options"]:
            default = "required" if option["required"] else f"default {_yaml(option['default'])}"
            live = ", live" if option["live"] else ""
            text = f"{option['name']} ({default}{live}): {option['description']}"
            lines.append(fill(text, WIDTH, initial_indent="      - ", subsequent_indent="        "))
    return "\n".join(lines) + "\n" if lines else "no plugins\n"


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return str(value)
