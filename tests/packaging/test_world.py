"""Time, chance and threads come from the context, and no set decides an order: equal seeds give equal runs.

import-linter sees packages, and every module of Twisted is in one; so p2pframe.testing.determinism reads the source.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.testing.determinism import lint, taken

ROOT = Path(__file__).parents[2]
# Whoever adds to these opens a way round the seam that the simulator stands on.
TAKEN = {
    "p2pframe/tap.py": ["everything"],
    # Where what the others are given comes from.
    "p2pframe/core/context.py": ["os.urandom", "time", "twisted.internet.threads", "twisted.python.threadpool"],
    # It watches the reactor's thread from one of its own.
    "p2pframe/core/watchdog.py": ["threading"],
    "p2pframe/core/data_dir.py": ["os.getpid"],
}
# What is no part of a node: the simulator itself, the command line, what tests use.
BESIDE = ("p2pframe/sim/", "p2pframe/cli/", "p2pframe/testing/")


@pytest.mark.parametrize("folder", ["p2pframe", "plugins", "examples"])
def test_nobody_else_reaches_for_the_world_or_goes_by_the_order_of_a_set(folder: str) -> None:
    found = list(lint([ROOT / folder]))
    assert not found, "\n".join(found)


def test_nothing_more_of_the_world_is_taken_than_is_known() -> None:
    paths = [path for folder in ("p2pframe", "plugins", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
    names = {path: path.relative_to(ROOT).as_posix() for path in paths}
    found = {name: taken(path.read_text()) for path, name in names.items() if not name.startswith(BESIDE)}
    assert {name: what for name, what in found.items() if what} == TAKEN
