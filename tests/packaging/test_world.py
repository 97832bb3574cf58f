"""Time, chance and threads come from the context.

Only it, the watchdog and the command line's side reach for the world.

import-linter sees packages, and every module of Twisted is in one; so this reads the source itself.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "twisted.internet.reactor": "the reactor comes from the context",
    "twisted.protocols.policies.TimeoutMixin": "it uses the global reactor: use context.reactor.callLater",
    "twisted.internet.threads": "threads come from context.work",
    "threading": "threads come from context.work",
    "concurrent.futures": "threads come from context.work",
    "asyncio": "coroutines await Deferreds, nothing else",
    "time": "time comes from context.reactor.seconds() and context.unix_time()",
    "secrets": "secrets come from context.entropy",
    "os.urandom": "secrets come from context.entropy",
    "random": "chance comes from context.rng, secrets from context.entropy",
}
# `Random` as a type is what context.rng is.
ALLOWED = {"random.Random"}
EXEMPT = {
    "p2pframe/tap.py": set(FORBIDDEN),
    "p2pframe/cli/": set(FORBIDDEN),
    # Where what the others are given comes from.
    "p2pframe/core/context.py": {"time", "os.urandom", "twisted.internet.threads"},
    # It watches the reactor's thread from one of its own.
    "p2pframe/core/watchdog.py": {"threading", "time"},
}


def names(source: str) -> list[tuple[int, str]]:
    """Every dotted name that `source` imports, inside functions too, or reads from a module it imports, by line."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [(node.lineno, alias.name) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules = {name.split(".")[0] for _, name in found}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node).split(".")[0] in modules:
            # `message.time` is an attribute of a value; `os.urandom` one of a module.
            found.append((node.lineno, ast.unparse(node)))
    return found


def offences(source: str, exempt: frozenset[str] | set[str] = frozenset()) -> list[str]:
    return sorted(
        f"{line}: {name}: {why}"
        for line, name in names(source)
        for forbidden, why in FORBIDDEN.items()
        if f"{name}.".startswith(f"{forbidden}.") and forbidden not in exempt and name not in ALLOWED
    )


@pytest.mark.parametrize("folder", ["p2pframe", "plugins"])
def test_nobody_else_reaches_for_the_world(folder: str) -> None:
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        exempt = set().union(*(what for where, what in EXEMPT.items() if name.startswith(where)))
        wrong += [f"{name}:{offence}" for offence in offences(path.read_text(), exempt)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "from twisted.internet import reactor",
        "import twisted.internet.reactor",
        "from twisted.internet.reactor import callLater",
        "def f():\n    from twisted.internet import defer, reactor",
        "from twisted.protocols.policies import TimeoutMixin",
        "from twisted.internet.threads import deferToThread",
        "from twisted.internet import threads",
        "import time",
        "from time import time",
        "import random",
        "from random import shuffle",
        "import os\nkey = os.urandom(16)",
        "from os import urandom",
        "import secrets",
        "import asyncio",
    ],
)
def test_the_check_sees(source: str) -> None:
    assert offences(source)


def test_the_check_lets_others_be() -> None:
    assert not offences(
        "import os\nfrom random import Random\nfrom twisted.internet import defer, task\n"
        "def f(rng: Random, event):\n    rng.random()\n    return event.time, os.path.sep\n"
    )


def test_an_exemption_is_no_more_than_it_says() -> None:
    assert not offences("import time\ntime.time()", {"time"})
    assert offences("import time\nfrom twisted.internet import reactor", {"time"})
