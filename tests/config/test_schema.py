"""The JSON Schema: valid itself, and says the same as the check."""

from __future__ import annotations

import json

import pytest
import yaml

from p2pframe.config.loader import load, registry_for
from p2pframe.config.schema import schema
from p2pframe.errors import ConfigError
from p2pframe.interfaces import SEAMS
from p2pframe.registry import Registry

from .conftest import GOOD

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (extra `test`)")


@pytest.fixture
def made(folder):
    whole, errors = schema(Registry([folder.path / "plugins"], installed=()))
    assert not errors
    return json.loads(json.dumps(whole, allow_nan=False))


def test_it_is_a_valid_schema_with_every_plugin(made):
    jsonschema.Draft202012Validator.check_schema(made)
    for kind in SEAMS:
        assert made["$defs"][kind]["oneOf"]
    assert made["$defs"]["relay.lazy"]["properties"]["plugin"]["const"] == "lazy"
    assert made["$defs"]["limits"]["properties"]["draws"]["default"] == 100
    assert made["$defs"]["limits"]["properties"]["tick"]["description"]
    assert "renamed_from" not in json.dumps(made)


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ("", True),
        ("    relay: {plugin: lazy, delay: 5s}\n", True),
        ("    scoring: [{plugin: behaviour, ban: 5}]\n", True),
        ("    discovery: [{plugin: seeds, seeds: [{host: a}]}, {plugin: static, network: other}]\n", True),
        ("    limits: {tick: 250ms, draws: 5}\n", True),
        ("    relay: {plugin: lzy}\n", False),
        ("    relay: {plugin: lazy, dely: 5s}\n", False),
        ("    relay: {plugin: lazy, delay: 5 parsecs}\n", False),
        ("    limits: {draws: 0}\n", False),
        ("    limits: {drws: 1}\n", False),
        ("    discovery: [{plugin: seeds, seeds: [{}]}]\n", False),
        ("    relays: {}\n", False),
        ("storage: {plugin: sqlite, file: x.db}\n", True),
        ("nodes: {}\n", False),
        ("applications: [{plugin: miner}]\n", False),
    ],
)
def test_it_accepts_what_the_check_accepts(folder, made, more, good):
    text = (
        GOOD + more + ("  other: " + GOOD.split("  main:")[1].replace("18444", "1") if "network: other" in more else "")
    )
    data = yaml.safe_load(text)
    assert jsonschema.Draft202012Validator(made).is_valid(data) is good
    if good:
        folder.load(text)
    else:
        with pytest.raises(ConfigError):
            folder.load(text)


def test_a_kind_without_plugins_takes_nothing():
    whole, _ = schema(Registry(installed=()))
    jsonschema.Draft202012Validator.check_schema(whole)
    assert not jsonschema.Draft202012Validator(whole).is_valid(
        {"version": 1, "networks": {"a": {"protocol": {"plugin": "x"}}}}
    )


def test_the_registry_of_a_config_needs_no_good_config(folder):
    text = (folder.path / "plugins" / "all.py").read_text()
    # A name that no installed plugin has.
    folder.write(
        text.split("@plugin(")[0] + text[text.index('@plugin("mesh"') :].split('@plugin("weighted')[0], "own/mesh.py"
    )
    path = folder.write("version: 7\nnode: {plugin_path: [own], data_dir: }\n")
    assert "mesh" in registry_for(path, {}).names("relay")
    with pytest.raises(ConfigError, match="no such plugin folder"):
        registry_for(folder.write("node: {plugin_path: [nowhere]}\n"), {})


def test_effective_is_a_config_again(folder):
    spec = folder.load(GOOD)
    again = load(folder.write(yaml.safe_dump(_without_nulls(spec.effective)), "again.yaml"), {}, Registry(installed=()))
    assert again.networks["main"].limits == spec.networks["main"].limits
    assert again.networks["main"].protocol.config == spec.networks["main"].protocol.config


def _without_nulls(data):
    if isinstance(data, dict):
        return {k: _without_nulls(v) for k, v in data.items() if v is not None}
    return [_without_nulls(v) for v in data] if isinstance(data, list) else data
