"""The JSON Schema of scenario files, with every plugin, fault and measure: what editors complete and check from."""

from __future__ import annotations

from typing import Any

from p2pframe.config.loader import LISTS as PLUGIN_LISTS
from p2pframe.config.loader import SINGLES
from p2pframe.config.schema import DIALECT, add_model, schema
from p2pframe.errors import PluginError
from p2pframe.plugin import PluginConfig
from p2pframe.registry import Registry
from p2pframe.sim import sections
from p2pframe.sim.links import LinksConfig
from p2pframe.sim.scenario import DEFAULT, VERSION
from p2pframe.sim.scenario_check import LISTS, TABLES, TOP, Settings
from p2pframe.sim.scenario_file import NOT_IN_VARIANTS

_TEXTS = {
    "hosts": "Groups of hosts, by a name of your choice.",
    "names": "What the simulated resolver answers, by DNS name.",
    "graph": "Who is connected to whom.",
    "links": "What lies between two hosts.",
    "timeline": "What goes wrong, and when.",
    "churn": "Groups whose hosts come and go.",
    "workload": "What is produced.",
    "measures": "What is measured.",
    "expect": "What must come of each run.",
    "compare": "What must come of the variants, over all seeds.",
    "variants": "What is different in each variant, by a name of your choice; `default` is the file as it is.",
}


def scenario_schema(registry: Registry) -> tuple[dict[str, Any], list[PluginError]]:
    """The schema, and why some plugins are not in it (those that can't be imported)."""
    node, errors = schema(registry)
    defs: dict[str, Any] = node["$defs"]
    top = add_model(Settings, defs, "scenario")
    properties: dict[str, Any] = {
        "version": {"const": VERSION, "description": "The version of this format."},
        **top["properties"],
    }
    for key, model in TABLES.items():
        defs[key] = add_model(model, defs, key)
        properties[key] = {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{key}"}}
    for key, model in {**LISTS, "churn": sections.CHURN, "workload": sections.WORKLOAD}.items():
        defs[key] = add_model(model, defs, key)
        properties[key] = {"type": "array", "items": {"$ref": f"#/$defs/{key}"}}
    defs["hosts"]["properties"]["override"] = {
        "$ref": "#/$defs/override",
        "description": defs["hosts"]["properties"]["override"].get("description", ""),
    }
    defs["override"] = _override(defs)
    defs["links"] = add_model(LinksConfig, defs, "links")
    properties["links"] = {"$ref": "#/$defs/links"}
    faults = [_fault(word, model, defs) for word, model in sections.FAULTS.items()]
    properties["timeline"] = {"type": "array", "items": {"oneOf": faults, "required": ["do"]} if faults else False}
    for name, options in sections.MEASURES.items():
        defs[f"measure.{name}"] = add_model(options, defs, f"measure.{name}")
    properties["measures"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"$ref": f"#/$defs/measure.{name}"} for name in sections.MEASURES},
    }
    properties["variants"] = {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,62}$", "not": {"const": DEFAULT}},
        # A part of a scenario each, in which nothing is required: that the whole is right is for `p2pframe sim` to say.
        "additionalProperties": {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: {} for key in TOP if key not in NOT_IN_VARIANTS},
        },
    }
    properties["hosts"]["minProperties"] = 1
    for key, text in _TEXTS.items():
        properties[key] = {**properties[key], "description": text}
    whole = {
        "$schema": DIALECT,
        "title": "p2pframe scenario",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "hosts", *top.get("required", [])],
        "properties": {key: properties[key] for key in TOP},
        "$defs": defs,
    }
    return whole, errors


def _fault(word: str, model: type[PluginConfig], defs: dict[str, Any]) -> dict[str, Any]:
    key = f"fault.{word}"
    made = add_model(model, defs, key)
    made["properties"] = {**made.get("properties", {}), "do": {"const": word}}
    made["required"] = [*dict.fromkeys(["do", *made.get("required", [])])]
    defs[key] = made
    return {"$ref": f"#/$defs/{key}"}


def _override(defs: dict[str, Any]) -> dict[str, Any]:
    """A part of a node file: lists stand for themselves, of a mapping any part will do."""

    def part(kind: str) -> dict[str, Any]:
        # Without `plugin` they are options of the plugin that the node file names.
        return {"anyOf": [{"$ref": f"#/$defs/{kind}"}, {"type": "object", "not": {"required": ["plugin"]}}]}

    network = {
        "protocol": part("protocol"),
        **{key: {"type": "array", "items": {"$ref": f"#/$defs/{kind}"}} for key, kind in PLUGIN_LISTS.items()},
        **{key: part(kind) for key, kind in SINGLES.items()},
        "item_stores": {"type": "object", "additionalProperties": part("item-store")},
        "limits": {"$ref": "#/$defs/limits"},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "node": {"$ref": "#/$defs/node"},
            "storage": part("storage"),
            "networks": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": False, "properties": network},
            },
            "applications": {"type": "array", "items": {"$ref": "#/$defs/application"}},
        },
    }
