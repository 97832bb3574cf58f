"""The attackers of the scenarios are plugins like any other: they keep their interfaces, and import what those may."""

from __future__ import annotations

import ast
import re

import pytest
from zope.interface import implementedBy
from zope.interface.verify import verifyClass

from p2pframe.interfaces import SEAMS
from p2pframe.registry import Registry
from tests.scenarios.conftest import PLUGINS

KNOWN = list(Registry([PLUGINS], installed=[]).known())
ALLOWED = re.compile(r"p2pframe\.(model|errors|interfaces|plugin|framing|keyspace|endpoints|protocols\.\w+\.api)\b")


def test_they_are_all_there():
    assert {f"{one.kind}.{one.name}" for one in KNOWN} == {
        "application.eclipser", "application.sybil", "relay.spammer", "upgrade.withholder",
    }  # fmt: skip


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_each_keeps_its_interface_and_explains_itself(known):
    cls = Registry([PLUGINS], installed=[]).load(known)
    spec = cls.__p2pframe_plugin__
    for seam in SEAMS[spec.kind]:
        if implementedBy(cls).isOrExtends(seam):
            verifyClass(seam, cls)
    assert spec.summary.endswith("for scenarios.")
    assert all(field.description for field in spec.config.model_fields.values())


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("*.py")), ids=lambda path: path.stem)
def test_each_imports_what_a_plugin_may(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("p2pframe"):
            assert ALLOWED.match(node.module), f"line {node.lineno}: {node.module}"
        assert not isinstance(node, ast.Import), f"line {node.lineno}"
