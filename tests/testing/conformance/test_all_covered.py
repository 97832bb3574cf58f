"""No plugin is left out: every built-in one and every example has its line in these tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from p2pframe.interfaces import SEAMS
from p2pframe.registry import Registry

ROOT = Path(__file__).parents[3]


def covered() -> set[tuple[str, str]]:
    """Kind and name of each call of `conforms` in the files beside this one."""
    found = set()
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "conforms":
                words = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
                assert len(words) == 2, f"{path.name}:{node.lineno}: kind and name are to stand there as words"
                found.add(tuple(words))
    return found


def test_every_plugin_has_its_line() -> None:
    ours = Registry([ROOT / "plugins"]).known()
    places = (str(ROOT / "plugins"), "package p2pframe ")
    mine = {(known.kind, known.name) for known in ours if known.origin.startswith(places)}
    assert len(mine) > 25
    assert not mine - covered(), "put it through its suite: one line in test_<kind>.py"


@pytest.mark.parametrize("kind", SEAMS)
def test_every_kind_has_a_suite_and_tests_of_it(kind: str) -> None:
    word = kind.replace("-", "_")
    assert (ROOT / "p2pframe" / "testing" / "conformance" / f"{word}.py").is_file()
    assert (Path(__file__).parent / f"test_{word}.py").is_file()
