"""The examples of finding each other, as they stand but for their ports and folders: two real processes on loopback."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.processes import P2PNode, free_port

FOLDER = Path(__file__).parents[2] / "examples" / "find-each-other"
WAYS = sorted(path.stem.removesuffix("-a") for path in FOLDER.glob("*-a.yaml"))


def test_there_is_a_pair_for_each_way() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == {f"{way}-{which}.yaml" for way in WAYS for which in "ab"}
    assert set(WAYS) >= {"dht"}


@pytest.mark.parametrize("way", WAYS)
def test_the_two_find_each_other(way: str, tmp_path: Path) -> None:
    texts = {which: (FOLDER / f"{way}-{which}.yaml").read_text() for which in "ab"}
    ports = {port: str(free_port()) for text in texts.values() for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
    with ExitStack() as stack:
        nodes = []
        for which, text in texts.items():
            node = P2PNode(f"{way}-{which}", tmp_path, {})
            for old, new in {"./node-data/": f"{tmp_path}/", "./": f"{FOLDER}/"}.items():
                text = text.replace(old, new)
            node.path.write_text(re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: ports[found[0]], text))
            nodes.append(stack.enter_context(node))
        for node in nodes:
            node.start(ready="node started")
        for node in nodes:
            node.wait_for("peer 127.0.0.1:", 40)
        for node in nodes:
            node.stop()
