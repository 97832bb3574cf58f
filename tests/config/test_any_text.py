"""Whatever stands in a file, the answer is a configuration or a list of problems: never another exception."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pframe.config import load
from p2pframe.errors import ConfigError
from p2pframe.registry import Registry

from .conftest import Folder
from .test_thirty_mistakes import DISCOVERY, LIMITS, MAIN

PIECES = [
    "", " ", "\n", "  ", ":", "-", "{", "}", "[", "]", ",", "'", '"', "&a ", "*a", "!include ", "!!int ", "|", ">", "#",
    "%", "~",
    "${",
    "${SHORT}", '"${SHORT}"', "null", "true", "1", "1e3", ".inf", '"\\0"', "{}", "[]", "plugin: ", "main",
    "network: main", "\t",
    "x: ", "<<: ", "0x", "9" * 50, "é", "\u2028", "limits.yaml", "discovery.yaml", "[[1]]", "{a: {b: 1}}", "- 1", "? x",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("any"))
    folder.write(DISCOVERY, "discovery.yaml")
    folder.write(LIMITS, "limits.yaml")
    return folder, Registry(installed=())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(MAIN)), st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=4
    )
)
def test_an_edited_config_is_good_or_has_problems_with_places(place, edits):
    folder, registry = place
    text = MAIN
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    path = folder.write(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {"SHORT": "hunter2", "AGENT": "Hunter2"}, registry)
    for problem in caught.value.problems:
        assert problem.line >= 1 and problem.column >= 1
        assert "unter2" not in str(problem)
