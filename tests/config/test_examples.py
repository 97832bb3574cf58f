"""The examples and the templates are good configurations, by the check and by the schema."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from p2pframe.config import load
from p2pframe.config.schema import schema
from p2pframe.registry import Registry

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "examples").glob("*.yaml")), *sorted((ROOT / "p2pframe/cli/templates").glob("*.yaml"))]

needs_package = pytest.mark.skipif(
    not entry_points(group="p2pframe.plugins"), reason="p2pframe is not installed, so there are no built-in plugins"
)


@pytest.fixture
def copies(tmp_path):
    """The examples and the drop-in plugins as a user has them: in folders that only they can write."""
    (tmp_path / "examples").mkdir(mode=0o755)
    (tmp_path / "plugins").mkdir(mode=0o755)
    for file in (ROOT / "plugins").glob("*.py"):
        shutil.copy(file, tmp_path / "plugins")
        (tmp_path / "plugins" / file.name).chmod(0o644)
    return tmp_path / "examples"


@needs_package
@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_each_passes_the_check(copies, file):
    shutil.copy(file, copies / file.name)
    spec = load(copies / file.name, {})
    assert spec.networks["bitcoin"].protocol.label == "protocol.bitcoin"


@needs_package
@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_each_passes_the_schema(copies, file):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (extra `test`)")
    whole, errors = schema(Registry([copies.parent / "plugins"]))
    assert not errors
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(whole, allow_nan=False)))
    assert [error.message for error in validator.iter_errors(yaml.safe_load(file.read_text()))] == []


def test_the_two_regtest_nodes_share_nothing_but_the_wire():
    one, other = (
        yaml.safe_load((ROOT / "examples" / name).read_text()) for name in ("regtest.yaml", "regtest-follower.yaml")
    )
    assert one["node"]["data_dir"] != other["node"]["data_dir"]
    [listen] = one["networks"]["bitcoin"]["transports"][0]["listen"]
    assert other["networks"]["bitcoin"]["discovery"] == [{"plugin": "static", "peers": [listen]}]
