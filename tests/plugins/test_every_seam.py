"""plugins/ holds one example for every seam, and each is a plugin that a node takes."""

from __future__ import annotations

import ast
import json
import re

import pytest
from click.testing import CliRunner
from zope.interface import implementedBy
from zope.interface.verify import verifyClass

from p2pframe.cli import main
from p2pframe.interfaces import SEAMS, IReconfigurable
from p2pframe.plugin import is_live
from p2pframe.registry import Registry
from tests.plugins.conftest import ROOT

FILES = sorted((ROOT / "plugins").glob("*.py"))
REGISTRY = Registry([ROOT / "plugins"], installed=[])
KNOWN = list(REGISTRY.known())


def test_there_is_an_example_of_every_interface_of_every_seam():
    classes = [REGISTRY.load(known) for known in KNOWN]
    missing = [
        seam.__name__
        for seams in SEAMS.values()
        for seam in seams
        if not any(implementedBy(cls).isOrExtends(seam) for cls in classes)
    ]
    assert missing == []
    assert {known.kind for known in KNOWN} == set(SEAMS)


def test_each_file_holds_one_plugin():
    origins = [known.origin for known in KNOWN]
    assert sorted(ROOT / "plugins" / path.name for path in FILES) == FILES
    assert [sum(path.name in origin for origin in origins) for path in FILES] == [1] * len(FILES)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.kind}.{known.name}")
def test_it_keeps_its_interface_and_explains_itself(known):
    cls = REGISTRY.load(known)
    spec = cls.__p2pframe_plugin__
    for seam in SEAMS[spec.kind]:
        if implementedBy(cls).isOrExtends(seam):
            verifyClass(seam, cls)
    assert len(spec.summary) > 20 and spec.summary.endswith(".")
    for name, field in spec.config.model_fields.items():
        assert field.description, name
    if any(is_live(spec.config, name) for name in spec.config.model_fields):
        assert implementedBy(cls).isOrExtends(IReconfigurable), "it has live options that nobody could change"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_what_a_plugin_may_and_no_more(path):
    """By the rule of docs/architecture.md, which import-linter can't hold for files outside the package."""
    allowed = re.compile(r"p2pframe\.(model|errors|interfaces|plugin|framing|keyspace|endpoints|protocols\.\w+\.api)\b")
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert allowed.match(name) or not name.startswith(("p2pframe", "plugins")), f"line {node.lineno}: {name}"
            assert name not in ("random", "time", "secrets"), f"line {node.lineno}: {name} comes from the context"
            assert name != "twisted.internet.reactor", f"line {node.lineno}: the reactor comes from the context"


def test_the_command_lists_them_all_with_their_origin(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(f'version: 1\nnode: {{plugin_path: ["{ROOT / "plugins"}"]}}\n')
    result = CliRunner().invoke(main, ["plugins", "-c", str(path), "--json"])
    assert result.exit_code == 0, result.output
    listed = {(one["kind"], one["name"]): one for one in json.loads(result.output)}
    for known in KNOWN:
        one = listed[known.kind, known.name]
        assert str(ROOT / "plugins") in one["origin"]
        assert one["summary"]
