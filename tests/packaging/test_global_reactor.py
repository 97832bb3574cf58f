"""Only the command line's side may import the global reactor: all others are given theirs by the context.

import-linter sees packages, and every module of Twisted is in one; so this reads the imports itself.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = ("p2pframe/tap.py", "p2pframe/cli/")
FORBIDDEN = {
    "twisted.internet.reactor": "the reactor comes from the context",
    "twisted.protocols.policies.TimeoutMixin": "it uses the global reactor: use context.reactor.callLater",
    "twisted.internet.threads": "threads come from context.work",
}


def imported_names(source: str) -> list[tuple[int, str]]:
    """Every dotted name that `source` imports, with its line, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.lineno, node.module or "")]
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def offences(source: str) -> list[str]:
    return sorted({f"{line}: {name}: {FORBIDDEN[name]}" for line, name in imported_names(source) if name in FORBIDDEN})


@pytest.mark.parametrize("folder", ["p2pframe", "plugins"])
def test_nobody_else_imports_the_global_reactor(folder: str) -> None:
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(ALLOWED):
            wrong += [f"{name}:{offence}" for offence in offences(path.read_text())]
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
    ],
)
def test_the_check_sees(source: str) -> None:
    assert offences(source)


def test_the_check_lets_others_be() -> None:
    assert not offences("from twisted.internet import defer, task\nfrom twisted.internet.task import Clock\n")
