"""The linter of determinism: every rule is seen, every allowance is let be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2pframe.cli import main
from p2pframe.testing.determinism import WORLD, lint, offences

ROOT = Path(__file__).parents[2]


def texts(source: str) -> list[str]:
    return [offence.text for offence in offences(source)]


# --- time, chance, names, threads


@pytest.mark.parametrize("name", WORLD)
def test_what_comes_from_the_world_is_seen_however_it_is_imported(name):
    module, _, last = name.rpartition(".")
    assert texts(f"import {name}")
    assert texts(f"def f():\n    import {name} as x")
    if module:
        assert texts(f"from {module} import {last}")
        assert texts(f"from {module} import {last} as y\ny()")
        outer, _, inner = module.rpartition(".")
        assert texts(f"from {outer} import {inner}\n{inner}.{last}" if outer else f"import {module}\n{name}()")


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\ndatetime.now()",
        "from datetime import datetime as d\nd.utcnow()",
        "import datetime\ndatetime.datetime.today()",
        "from twisted.protocols import policies\nclass P(policies.TimeoutMixin): ...",
        "from random import Random\nrng = Random()",
        "from twisted.internet.task import Cooperator\nc = Cooperator()",
        "from twisted.application.internet import ClientService\nClientService(endpoint, factory)",
        "from os import path, urandom",
        "from random import Random, shuffle",
    ],
)
def test_other_ways_to_it_are_seen(source):
    assert len(texts(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from random import Random\ndef f(rng: Random): return rng.random()",
        "from random import Random\nrng = Random(7)",
        "import os\nos.path.join('a', 'b')",
        "def f(event): return event.time, event.random.choice, event.datetime.now()",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(context.unix_time(), UTC)",
        "from twisted.internet import defer, task\ntask.deferLater(context.reactor, 1.0)",
        "from twisted.internet.task import Cooperator\nCooperator(scheduler=soon)",
        "from twisted.application.internet import ClientService\nClientService(endpoint, factory, clock=reactor)",
        "from .random import RandomTopology\nfrom p2pframe.topology.random import RandomTopology",
        "import uuid\nuuid.uuid5(uuid.NAMESPACE_DNS, 'a')",
    ],
)
def test_what_repeats_is_let_be(source):
    assert texts(source) == []


def test_a_module_is_told_of_where_it_is_imported_and_a_name_where_it_is_used():
    assert [o.line for o in offences("import time\ntime.time()\ntime.sleep(1)")] == [1]
    assert [(o.line, o.column) for o in offences("import os\nx = 1\nkey = os.urandom(8)")] == [(3, 7)]


# --- LoopingCall

LOOPING = "from twisted.internet.task import LoopingCall\nfrom twisted.internet import task\n"


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    LoopingCall(g).start(1)",
        "def f():\n    loop = LoopingCall(g)\n    loop.start(1)",
        "def f():\n    loop = task.LoopingCall(g)\n    other.clock = reactor\n    loop.start(1)",
        "def f():\n    loop = LoopingCall(g)\ndef h(loop):\n    loop.clock = reactor",
        "class A:\n    def f(self):\n        self.loop = LoopingCall.withCount(g)\n        self.loop.start(1)",
        "class A:\n    def f(self):\n        return LoopingCall(g)",
        "def f():\n    loops = [LoopingCall(g)]\n    for loop in loops:\n        loop.start(1)",
        "def f():\n    loops = [LoopingCall(g)]\n    for loop in others:\n        loop.clock = reactor",
        "def f():\n    for loop in (LoopingCall(g), LoopingCall.withCount(h)):\n        other.clock = reactor",
    ],
)
def test_a_looping_call_without_a_clock_is_seen(source):
    assert [text for text in texts(LOOPING + source) if "clock" in text]


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    loop = LoopingCall(g)\n    loop.clock = reactor\n    loop.start(1)",
        "class A:\n    def f(self):\n        self.loop = LoopingCall(g)\n        self.loop.clock = self.reactor",
        "class A:\n    def f(self):\n        self.loop = task.LoopingCall(g)\n    def start(self):\n"
        "        self.loop.clock = self.reactor\n        self.loop.start(1)",
        "class A:\n    def f(self):\n        loop = self.loop = LoopingCall(g)\n        loop.clock = self.reactor",
        "class A:\n    def f(self):\n        self.loops = [LoopingCall(g), LoopingCall(h)]\n"
        "        for loop in self.loops:\n            loop.clock = self.reactor",
        "def f():\n    loops = {'a': LoopingCall(g)}\n    for n, loop in loops.items():\n        loop.clock = reactor",
        "def f():\n    for loop in (LoopingCall(g), LoopingCall(h)):\n        loop.clock = reactor",
        "def f():\n    loops = [LoopingCall(g) for g in gs]\n    for loop in reversed(loops):\n        loop.clock = c",
        "def f() -> LoopingCall | None: ...",
    ],
)
def test_a_looping_call_with_a_clock_is_let_be(source):
    assert texts(LOOPING + source) == []


# --- identity and hash


@pytest.mark.parametrize(
    "source",
    [
        "hash(x) % 7",
        "def f(x): return hash(x)",
        "sorted(xs, key=id)",
        "xs.sort(key=hash)",
        "min(xs, key=lambda x: (x.age, id(x)))",
        "id(a) < id(b)",
        "slot = id(x) % 16",
    ],
)
def test_where_identity_or_hash_decides_is_seen(source):
    assert texts(source)


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __hash__(self): return hash(self.name)",
        "table[id(x)] = x",
        "gone = {id(x) for x in xs}\nrest = [x for x in xs if id(x) not in gone]",
        "id(a) == id(b)",
        "def f(id): return id < 5",
        "item.hash(x)",
    ],
)
def test_where_it_only_finds_again_is_let_be(source):
    assert texts(source) == []


# --- the order of sets: what is a set

SETS = [
    "s = {1, 2}",
    "s = set(xs)",
    "s = frozenset(xs)",
    "s = {x for x in xs}",
    "s = a - b; a = set(); s = a - b",
    "a: set[int] = f(); s = a | b",
    "s = set().union(xs, ys)",
    "a = {1}; s = a.intersection(b)",
    "s = d.keys() - held",
    "s = held & d.keys()",
    "s = d.items() ^ e.items()",
    "s = {1} if x else ()",
    "s = xs or {1}",
    "s: 'set[int]' = f()",
    "s: set[int] | None = f()",
    "from typing import Optional\ns: Optional[frozenset[str]] = f()",
    "from collections.abc import Set as AbstractSet\ns: AbstractSet[str] = f()",
    "from weakref import WeakSet\ns = WeakSet()",
    "from typing import cast\ns = cast('set[int]', x)",
    "Ids = set[int]\ns: Ids = f()",
    "def f() -> set[int]: ...\ns = f()",
    "d: dict[str, set[int]] = {}\ns = d['a']",
    "d: dict[str, set[int]] = {}\ns = d.get('a', ())",
    "d = {}\ns = d.setdefault('a', set())",
    "from collections import defaultdict\nd: defaultdict[str, set[int]] = defaultdict(set)\ns = d.pop('a')",
    "sets: list[set[int]] = []\ns = sets[0]",
    "s = other = {1}",
    "a, s = 1, {2}",
    "if x:\n    s = {1}\nelse:\n    s = [1]",
    "s = ()\nif x:\n    s = {1}",
    "s = link.verbs",
    "s = want.exclude_netgroups",
    "with x as y:\n    s = {1}",
    "if (s := {1}): ...",
]


@pytest.mark.parametrize("source", SETS)
def test_a_set_is_known_for_one(source):
    assert texts(f"{source}\nfor x in s: f(x)")


@pytest.mark.parametrize(
    "source",
    [
        "s = [1, 2]",
        "s = {}",
        "s = {1: 2}",
        "s = dict.fromkeys(xs)",
        "s = {x: 1 for x in xs}",
        "s = sorted({1, 2})",
        "s = {1}\ns = sorted(s)",
        "s = a - b",
        "a = {1: 2}; s = a | b",
        "s = d.keys()",
        "s = d.items()",
        "s: dict[str, set[int]] = {}",
        "s: list[set[int]] = []",
        "if x:\n    s = {1}\n    s = list(sorted(s))",
        "s = {1}\nif x:\n    s = [1]\nelse:\n    s = [2]",
        "gauge.set(1)\ns = gauge.values()",
        "class set_like: ...\ns = set_like()",
    ],
)
def test_what_has_an_order_is_let_be(source):
    assert texts(f"{source}\nfor x in s: f(x)") == []


@pytest.mark.parametrize(
    "body",
    [
        "    def __init__(self):\n        self._s: set[int] = f()",
        "    def __init__(self):\n        self._s = set()",
        "    _s: frozenset[str]",
        "    _s = frozenset({1})",
        "    def __init__(self, names: frozenset[str]):\n        self._s = names",
        "    @property\n    def _s(self) -> set[int]: ...",
        "    def __init__(self):\n        self._s: set[int] | None = None",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_attributes_are_known_from_anywhere_in_the_class(body, before):
    walk = "    def walk(self):\n        for x in self._s: f(x)"
    parts = [body, walk] if before else [walk, body]
    assert texts("class A:\n" + "\n".join(parts))
    assert not texts("class A:\n    def __init__(self):\n        self._s: dict[int, None] = {}\n" + walk)


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    s: set[int]\nclass B(A):\n    def f(self):\n        return list(self.s)",
        "class A:\n    s: set[int]\ndef f(a: A):\n    return list(a.s)",
        "class A:\n    s: set[int]\ndef f(xs: list[A]):\n    for a in xs:\n        list(a.s)",
        "class A:\n    s: set[int]\nclass B:\n    def __init__(self):\n        self.a = A()\n    def f(self):\n"
        "        return list(self.a.s)",
        "class A:\n    def f(self) -> set[int]: ...\n    def g(self): return list(self.f())",
        "class A:\n    async def f(self) -> set[int]: ...\n    async def g(self): return list(await self.f())",
        "from twisted.internet.defer import Deferred\nasync def g(d: Deferred[set[int]]): return list(await d)",
        "class A:\n    d: dict[int, set[int]]\n    def f(self):\n        for key, ids in self.d.items():\n"
        "            list(ids)",
        "class A:\n    d: dict[int, set[int]]\n    def f(self):\n        for ids in self.d.values():\n"
        "            list(ids)",
        "def f(s: set[int]):\n    def g():\n        return list(s)\n    return g",
        "def f(*names: set[int]):\n    return list(names[0])",
        "def f(s: set[int]):\n    return lambda: list(s)",
        "def f(a: set, b: set):\n    for pair in zip(sorted(a), b): ...",
        "def f(xs):\n    s = ()\n    for y in xs:\n        list(s)\n        s = {1}",
    ],
)
def test_sets_are_followed_through_a_module(source):
    assert len(texts(source)) == 1


# --- the order of sets: where it gets out


@pytest.mark.parametrize(
    "use",
    [
        "for x in s: f(x)",
        "for x in s | t: f(x)",
        "for i, x in enumerate(s): f(x)",
        "list(s)",
        "tuple(s)",
        "iter(s)",
        "next(iter(s))",
        "enumerate(s)",
        "zip(s, xs)",
        "map(f, s)",
        "', '.join(s)",
        "', '.join(str(x) for x in s)",
        "s.pop()",
        "[*s]",
        "f(*s)",
        "print(*xs, *s)",
        "[x for x in s]",
        "{x: 1 for x in s}",
        "f(x for x in s)",
        "[x for y in xs for x in s]",
        "dict.fromkeys(s)",
        "xs.extend(s)",
        "a, b = s",
        "def g():\n    yield from s",
        "from collections import deque\ndeque(s, 7)",
        "from itertools import chain, islice\nislice(s, 7)",
        "import itertools\nitertools.chain(xs, s)",
        "import itertools\nitertools.chain.from_iterable(s)",
        "list(s)[0]",
        "rng.choice(tuple(s))",
        "rng.choice(list(s - t))",
        "xs = []\nxs += s",
        "sorted(s, key=len)",
        "min(s, key=lambda x: x.age)",
        "max((x for x in s if x), key=f)",
        "sorted(enumerate(s))",
        "set(zip(s, xs))",
        "assert list(s)",
        "if f(list(s)): ...",
        "match list(s):\n    case _: ...",
        "try:\n    list(s)\nexcept E:\n    ...",
        "x = {'a': [y for y in s]}",
        "f(a=[y for y in s])",
        "f'{list(s)}'",
        "@f(list(s))\ndef g(): ...",
        "def g(x=list(s)): ...",
        "async def g():\n    async with x as y:\n        list(s)",
    ],
)
def test_where_the_order_gets_out_is_seen(use):
    assert len(texts(f"s = {{1}}; t = {{2}}; xs = f()\n{use}")) == 1, use


@pytest.mark.parametrize(
    "use",
    [
        "for x in sorted(s): f(x)",
        "sorted(s, reverse=True)",
        "sorted(s, key=str)",
        "sorted(list(s))",
        "sorted(f(x) for x in s if x)",
        "sorted([f(x) for x in s])",
        "sorted(map(f, s))",
        "min(s), max(s)",
        "min(f(x) for x in s)",
        "sum(s), len(s), bool(s)",
        "sum(x.size for x in s)",
        "any(x for x in s)",
        "all(f(x) for x in s)",
        "set(s), frozenset(s)",
        "{f(x) for x in s}",
        "{*s, 1}",
        "x in s",
        "s <= t",
        "if s: ...",
        "s.add(1); s.discard(2); s.remove(3); s.clear()",
        "s.update(x for x in t)",
        "s.union(*[sorted(t)], t)",
        "set().union(*xs)",
        "s.isdisjoint(t)",
        "xs.pop(), d.pop('a')",
        "(x,) = s",
        "s |= t",
        "', '.join(sorted(s))",
        "f(s)",
        "return_ = s",
        "len(list(s))",
    ],
)
def test_where_it_does_not_is_let_be(use):
    assert texts(f"s = {{1}}; t = {{2}}; xs = f(); d = {{}}\n{use}") == [], use


# --- reasons


@pytest.mark.parametrize(
    "source",
    [
        "s = {1}\nfor x in s:  # any order: each is only cancelled\n    x.cancel()",
        "s = {1}\nf([\n    x\n    for x in s  # any order: counted\n])",
        "s = {1}\nx = s.pop()  # any order: there is one",
        "s = {1}\nf(  # any order: why\n    list(s)\n)",
    ],
)
def test_a_line_that_says_why_is_let_be(source):
    assert texts(source) == []


def test_a_mark_without_a_reason_and_one_elsewhere_are_none():
    assert "say why" in texts("s = {1}\nfor x in s:  # any order\n    f(x)")[0]
    assert "say why" in texts("s = {1}\nfor x in s:  # any order:\n    f(x)")[0]
    assert texts("s = {1}  # any order: why\nfor x in s:\n    f(x)  # any order: why")
    assert texts("s = {1}\nfor x in '# any order: why', *s:\n    f(x)")


def test_a_file_may_name_what_it_has_to_take_from_the_real_world():
    source = "import time\nimport os\nos.urandom(1)\ntime.time()\n"
    assert texts("# real world: time, os.urandom: the service's own come from here\n" + source) == []
    assert texts("# real world: everything: why\n" + source) == []
    assert len(texts("# real world: time: why\n" + source)) == 1
    assert len(texts("# real world: time: why\nfrom twisted.internet import reactor")) == 1
    assert len(texts("# real world: everything: why\nfor x in {1, 2}: f(x)")) == 1
    assert texts("# real world: twisted.internet.task.LoopingCall: why\n" + LOOPING + "LoopingCall(f)") == []


def test_a_file_that_gives_no_reason_or_names_nothing_is_told():
    assert "say what is used, and why" in texts("# real world: time\nimport time")[0]
    assert "'tiem' is nothing that is forbidden" in texts("# real world: tiem: why")[0]
    assert texts("import time  # real world: time: why")


# --- running it


def test_findings_come_with_their_places_in_the_order_of_the_text():
    found = offences("import os\nfor x in {1, 2}:\n    y = os.urandom(1)\nimport time")
    assert [(o.line, o.column, o.name) for o in found] == [(2, 10, ""), (3, 9, "os.urandom"), (4, 1, "time")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.py").write_text("import time\n")
    (tmp_path / "a.py").write_text("x = 1\nfor y in {1, 2}: print(y)\n")
    (tmp_path / "good.py").write_text("for y in sorted({1, 2}): print(y)\n")
    for hidden in (".git", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "c.py").write_text("import time\n")
    return tmp_path


def test_the_command_prints_each_place_and_fails(folder):
    result = CliRunner().invoke(main, ["lint", str(folder)])
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{folder}/a.py:2:10: a set is walked over by a for loop: ") and "sorted()" in first
    assert second.startswith(f"{folder}/b.py:1:1: time: ") and "context.unix_time()" in second
    assert result.stderr == "2 places\n"


def test_the_command_says_nothing_of_what_is_good(folder):
    result = CliRunner().invoke(main, ["lint", str(folder / "good.py")])
    assert (result.exit_code, result.output) == (0, "")


def test_what_can_not_be_read_is_told_of(folder):
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "latin.py").write_bytes(b"x = '\xe9'\n")
    (folder / "nul.py").write_bytes(b"x = 1\0\n")
    found = [line for line in lint([folder]) if "no Python" in line]
    assert [line.split(": ")[0] for line in found] == [
        f"{folder}/{name}.py:1:1" for name in ("broken", "latin", "nul")
    ]
    result = CliRunner().invoke(main, ["lint", str(folder / "none")])
    assert result.exit_code == 1
    assert "none: No such file" in result.stderr


def test_nothing_else_is_needed_to_run_it():
    code = (
        "import sys; import p2pframe.testing.determinism;"
        "print([m for m in ('twisted', 'zope', 'pydantic', 'yaml') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
