"""The JSON Schema of a configuration, with every plugin there is: what editors complete and check from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from p2pframe.config.loader import DEFAULT_STORAGE, DEFAULTS, LISTS, SINGLES, VERSION
from p2pframe.config.settings import Limits, NodeSettings
from p2pframe.errors import PluginError
from p2pframe.interfaces import SEAMS
from p2pframe.registry import Registry
from p2pframe.registry.registry import spec_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LIST_TEXT = {
    "transports": "How streams or datagrams travel.",
    "upgrades": "What secures or wraps a stream, in order.",
    "discovery": "Where peers are found.",
    "scoring": "What facts and activity are worth; the strictest verdict wins.",
    "authentication": "Who is let in; each one must allow.",
    "validators": "Further judges of items, after the protocol's own.",
}
_SINGLE_TEXT = {"topology": "Which peers to hold.", "relay": "Who is told of an item, when, in full or by id."}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator; a type that JSON has no word for may be anything."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}

    def encode_default(self, dft: Any) -> Any:
        try:
            return super().encode_default(dft)
        except (PydanticInvalidForJsonSchema, ValueError, TypeError):
            return str(dft)


def schema(registry: Registry) -> tuple[dict[str, Any], list[PluginError]]:
    """The schema, and why some plugins are not in it (those that can't be imported)."""
    defs: dict[str, Any] = {}
    errors: list[PluginError] = []
    for kind in SEAMS:
        branches = []
        for known in registry.known(kind):
            try:
                spec = spec_of(registry.load(known))
            except PluginError as error:
                errors.append(error)
                continue
            key = f"{kind}.{spec.name}"
            defs[key] = _plugin(spec.config, spec.name, spec.summary, kind, defs, key)
            branches.append({"$ref": f"#/$defs/{key}"})
        # A `oneOf` of nothing is not allowed: where there is no plugin of a kind, nothing fits.
        defs[kind] = {"oneOf": branches, "required": ["plugin"]} if branches else {"not": {}}
    defs["node"] = add_model(NodeSettings, defs, "node", "What belongs to the process and its data directory.")
    defs["limits"] = add_model(Limits, defs, "limits", "Every bound that is held for this network.")
    defs["network"] = _network()
    whole = {
        "$schema": DIALECT,
        "title": "p2pframe node",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "networks"],
        "properties": {
            "version": {"const": VERSION, "description": "The version of this format."},
            "node": {"$ref": "#/$defs/node"},
            "storage": {
                "$ref": "#/$defs/storage",
                "default": {"plugin": DEFAULT_STORAGE},
                "description": "What survives a crash.",
            },
            "networks": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,62}$"},
                "additionalProperties": {"$ref": "#/$defs/network"},
                "description": "The networks that the node takes part in, by a name of your choice.",
            },
            "applications": {
                "type": "array",
                "items": {"$ref": "#/$defs/application"},
                "description": "Code that uses the networks.",
            },
        },
        "$defs": defs,
    }  # fmt: skip
    return whole, errors


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of one config model, complete in itself."""
    return dict(_plain(model.model_json_schema(schema_generator=_Generator)))


def _network() -> dict[str, Any]:
    properties: dict[str, Any] = {"protocol": {"$ref": "#/$defs/protocol", "description": "What the bytes mean."}}
    for key, kind in LISTS.items():
        properties[key] = {
            "type": "array", "items": {"$ref": f"#/$defs/{kind}"}, "description": _LIST_TEXT[key],
        }  # fmt: skip
        if key in DEFAULTS:
            properties[key]["default"] = [{"plugin": name} for name in DEFAULTS[key]]
    for key, kind in SINGLES.items():
        properties[key] = {
            "$ref": f"#/$defs/{kind}", "description": _SINGLE_TEXT[key], "default": {"plugin": DEFAULTS[key][0]},
        }  # fmt: skip
    properties["item_stores"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/item-store"},
        "description": "By topic: a store in place of the protocol's own.",
    }
    properties["limits"] = {"$ref": "#/$defs/limits"}
    return {"type": "object", "additionalProperties": False, "required": ["protocol"], "properties": properties}


def add_model(model: type[BaseModel], defs: dict[str, Any], prefix: str, text: str = "") -> dict[str, Any]:
    """A model's schema; the definitions that it needs go to `defs` under names of their own."""
    made = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}", schema_generator=_Generator)
    for name, inner in made.pop("$defs", {}).items():
        defs[f"{prefix}.{name}"] = _plain(inner)
    plain: dict[str, Any] = _plain(made)
    if text:
        plain["description"] = text
    return plain


def _plugin(
    model: type[BaseModel], name: str, summary: str, kind: str, defs: dict[str, Any], key: str
) -> dict[str, Any]:
    made = add_model(model, defs, key, summary)
    properties = {"plugin": {"const": name, "description": summary}, **made.get("properties", {})}
    if kind != "protocol":
        properties.setdefault(
            "network", {"type": "string", "description": "Another network of this node, whose service is wanted."}
        )
    made["properties"] = properties
    made["required"] = ["plugin", *made.get("required", [])]
    made["title"] = f"{kind} {name}"
    return made


def _plain(value: Any) -> Any:
    """Without what only this package reads, and with defaults that JSON can hold."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if k not in ("renamed_from", "live", "bound")}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
