"""The linter of one rule: equal seeds give equal runs. `p2pframe lint PATH...`

Time, chance, names and threads come from the context, and no set decides an order (docs/how-to/write-plugins/
determinism.md). What a file has to take from the real world, because it never runs in the simulator, it names and gives
the reason, in a comment on a line of its own::

    # real world: time, os.urandom: this is where the service's own come from
    # real world: everything: the command line starts no simulation

Where the order of a set can reach neither the wire nor a decision, the line says why: `# any order: <why>`.

It reads the text of each file, imports nothing of it, and needs nothing but Python.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from p2pframe.testing.set_order import SetOrder

_CLOCK = "it has the time of this machine: use context.unix_time(), and context.reactor.seconds() for durations"
_GLOBAL = "it uses the process's reactor: use context.reactor"
_UNIQUE = "it is another in every run: draw it from context.rng, or from context.entropy where it is secret"
_THREADS = "threads and processes finish in any order: use context.work"
_SECRETS = "secrets come from context.entropy"

WORLD = {
    "twisted.internet.reactor": "the reactor comes from the context: use context.reactor",
    "twisted.protocols.policies.TimeoutMixin": "it uses the process's reactor: use context.reactor.callLater",
    "twisted.protocols.policies.TimeoutProtocol": _GLOBAL,
    "twisted.protocols.policies.ThrottlingFactory": _GLOBAL,
    "twisted.internet.task.cooperate": _GLOBAL + ".callLater between the steps",
    "twisted.internet.task.coiterate": _GLOBAL + ".callLater between the steps",
    "twisted.internet.task.react": _GLOBAL,
    "twisted.internet.utils": _GLOBAL,
    "twisted.internet.threads": "threads come from context.work",
    "twisted.python.threadpool": "threads come from context.work",
    "twisted.names.client": "names come from context.resolver",
    "threading": _THREADS,
    "multiprocessing": _THREADS,
    "concurrent.futures": _THREADS,
    "asyncio": "coroutines await Deferreds, nothing else",
    "time": _CLOCK,
    "datetime.datetime.now": _CLOCK,
    "datetime.datetime.utcnow": _CLOCK,
    "datetime.datetime.today": _CLOCK,
    "datetime.date.today": _CLOCK,
    "random": "chance comes from context.rng, secrets from context.entropy",
    "secrets": _SECRETS,
    "os.urandom": _SECRETS,
    "os.getrandom": _SECRETS,
    "uuid.uuid1": _UNIQUE,
    "uuid.uuid4": _UNIQUE,
    "os.getpid": "it is another in every run: a host of the simulator is no process",
    "tempfile": "its names are of chance, and on this machine's disk: use context.data_dir and names of your own",
}
"""What is not to be used, and what to write instead."""
# What context.rng is: a type, and a stream where a seed is given.
_RANDOM = "random.Random"
# What uses the process's reactor unless it is given another: the argument, by position and by name.
_GIVEN_CLOCK = {
    "twisted.internet.task.Cooperator": (1, "scheduler"),
    "twisted.application.internet.ClientService": (2, "clock"),
}
_LOOPING = ("twisted.internet.task.LoopingCall", "twisted.internet.task.LoopingCall.withCount")
EVERYTHING = "everything"
_MARK = re.compile(r"#\s*any order\b:?\s*(.*)")
_REAL = re.compile(r"#\s*real world\b:?\s*(.*)")
_SKIPPED = ("__pycache__", "node_modules")


@dataclass(frozen=True, slots=True, order=True)
class Offence:
    """A place where two runs of one seed may part. `name` is what `# real world:` would have to name; "" for sets."""

    line: int
    column: int
    text: str
    name: str = ""


def offences(source: str) -> list[Offence]:
    """Every place of a module's text, in the order of the text. Raises SyntaxError."""
    tree = ast.parse(source)
    module = _Module(source, tree)
    return sorted(dict.fromkeys(module.offences()))


def taken(source: str) -> list[str]:
    """What a module says that it takes from the real world, by name."""
    return sorted(_Module(source, ast.parse(source)).real)


def lint(paths: Iterable[Path]) -> Iterator[str]:
    """`file:line:column: text` for each place in the files, and in the Python files of the folders. Raises OSError."""
    for path in paths:
        for file in _files(path):
            try:
                with tokenize.open(file) as stream:
                    source = stream.read()
                found = offences(source)
            except (SyntaxError, ValueError) as error:
                line = getattr(error, "lineno", None) or 1
                yield f"{file}:{line}:1: this is no Python that could be read: {error}"
                continue
            for offence in found:
                yield f"{file}:{offence.line}:{offence.column}: {offence.text}"


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*.py")):
        inside = file.relative_to(path).parts
        if not any(part in _SKIPPED or part.startswith(".") for part in inside):
            yield file


class _Module:
    """One module: its imports, comments, and which node stands in which."""

    def __init__(self, source: str, tree: ast.Module) -> None:
        self.tree = tree
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.imports: dict[str, str] = {}
        self.marks: dict[int, str] = {}
        self.real: set[str] = set()
        self.misread: list[Offence] = []
        self._read_comments(source)

    def offences(self) -> Iterator[Offence]:
        yield from self.misread
        for offence in (*self._world(), *self._clocks(), *self._identity()):
            if not self._exempt(offence.name):
                yield offence
        yield from self._sets()

    def _read_comments(self, source: str) -> None:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type != tokenize.COMMENT:
                continue
            line = token.start[0]
            if match := _MARK.match(token.string):
                self.marks[line] = match[1]
            elif (match := _REAL.match(token.string)) and token.line.lstrip().startswith("#"):
                names, _, why = match[1].partition(":")
                for name in (part.strip() for part in names.split(",")):
                    if not why.strip():
                        text = "say what is used, and why: `# real world: time, os.urandom: <why>`"
                        self.misread.append(Offence(line, token.start[1] + 1, text))
                    elif name != EVERYTHING and not _known(name):
                        text = f"{name!r} is nothing that is forbidden: name it as the finding does"
                        self.misread.append(Offence(line, token.start[1] + 1, text))
                    else:
                        self.real.add(name)

    def _exempt(self, name: str) -> bool:
        return EVERYTHING in self.real or any(_within(name, real) for real in self.real)

    # --- time, chance, names, threads

    def _world(self) -> Iterator[Offence]:
        imported: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    imported[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
                    yield from _forbidden(node, alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    imported[alias.asname or alias.name] = name
                    yield from _forbidden(node, name)
        self.imports = imported
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and not isinstance(self.parents.get(node), ast.Attribute):
                name = self._dotted(node)
                # What could not even be imported is told of once, where it is.
                if name and not any(_forbidden(node, head) for head in self._heads(node)):
                    yield from _forbidden(node, name)
            elif isinstance(node, ast.Call) and self._dotted(node.func) == _RANDOM and not (node.args or node.keywords):
                yield _at(node, "Random() without a seed is another in every run: use context.rng", "random")

    def _heads(self, node: ast.expr) -> list[str]:
        """The imported name that a chain of attributes begins with, where that name itself is forbidden."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return [self.imports[node.id]] if isinstance(node, ast.Name) and node.id in self.imports else []

    def _dotted(self, node: ast.expr) -> str:
        """The full name of what `node` takes from an import; "" for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.imports:
            return ""
        return ".".join((self.imports[node.id], *reversed(parts)))

    def _clocks(self) -> Iterator[Offence]:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call):
                continue
            name = self._dotted(node.func)
            if name in _LOOPING and not self._gets_clock(node):
                yield _at(
                    node,
                    "LoopingCall counts by the process's reactor until it has a clock: keep it in a name and set its"
                    " `.clock = context.reactor` before start()",
                    _LOOPING[0],
                )
            elif name in _GIVEN_CLOCK:
                position, keyword = _GIVEN_CLOCK[name]
                if len(node.args) <= position and all(given.arg not in (keyword, None) for given in node.keywords):
                    short = name.rpartition(".")[2]
                    yield _at(node, f"{short} without {keyword}= uses the process's reactor: give it one", name)

    def _gets_clock(self, call: ast.Call) -> bool:
        """Whether what holds this LoopingCall has its clock set, in this function, or class for an attribute."""
        held: ast.AST = call
        parent = self.parents[call]
        while isinstance(parent, (ast.List, ast.Tuple, ast.Dict, ast.ListComp)):
            held, parent = parent, self.parents[parent]
        if isinstance(parent, ast.For) and held is parent.iter:
            return _sets_clock(parent, parent.target)
        targets: list[ast.expr] = []
        if isinstance(parent, ast.Assign):
            targets = parent.targets
        elif isinstance(parent, (ast.AnnAssign, ast.NamedExpr)):
            targets = [parent.target]
        for target in targets:
            scope = self._around(call, (ast.ClassDef,) if isinstance(target, ast.Attribute) else _FUNCTIONS)
            if held is call and _sets_clock(scope, target):
                return True
            # Of several in a list, a loop over that sets them.
            name = ast.unparse(target)
            loops = [node for node in ast.walk(scope) if isinstance(node, ast.For)]
            over = [loop for loop in loops if name in map(ast.unparse, _expressions(loop.iter))]
            if any(_sets_clock(loop, each) for loop in over for each in _expressions(loop.target)):
                return True
        return False

    def _around(self, node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> ast.AST:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, kinds):
                return node
        return self.tree

    # --- order

    def _identity(self) -> Iterator[Offence]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "hash":
                    function = self._around(node, _FUNCTIONS)
                    if getattr(function, "name", "") != "__hash__":
                        yield _at(
                            node, "hash() of a text is another in every process: use zlib.crc32 or hashlib", "hash"
                        )
                elif node.func.id == "id" and self._decides(node):
                    yield _at(node, "id() is where the object lies, another in every run: compare what it is", "id")
            elif isinstance(node, ast.keyword) and node.arg == "key" and _last(node.value) in ("id", "hash"):
                name = _last(node.value)
                yield _at(node.value, f"{name} orders anew in every run: order by what they are", name)

    def _decides(self, call: ast.Call) -> bool:
        """Whether an id is compared for order, reckoned with, or a key to sort by; a table may be kept by ids."""
        child: ast.AST = call
        while child in self.parents:
            parent = self.parents[child]
            if isinstance(parent, ast.BinOp):
                return not isinstance(parent.op, ast.BitOr)
            if isinstance(parent, ast.Compare):
                return any(isinstance(op, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for op in parent.ops)
            if isinstance(parent, ast.Lambda):
                return isinstance(up := self.parents[parent], ast.keyword) and up.arg == "key"
            if not isinstance(parent, (ast.Tuple, ast.UnaryOp)):
                return False
            child = parent
        return False

    def _sets(self) -> Iterator[Offence]:
        for (line, column, how), node in SetOrder(self.tree).found.items():
            lines = [*range(line, (node.end_lineno or line) + 1), self._statement_line(node)]
            why = next((self.marks[at] for at in lines if at in self.marks), None)
            if why:
                continue
            text = (
                f"a set {how}: its order is another in every run; use sorted(), or a dict in its place"
                " (dict.fromkeys), or say why it is nothing: `# any order: <why>`"
            )
            yield Offence(line, column + 1, text if why is None else "say why any order will do: `# any order: <why>`")

    def _statement_line(self, node: ast.AST) -> int:
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node.lineno


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _at(node: ast.expr | ast.stmt, text: str, name: str) -> Offence:
    return Offence(node.lineno, node.col_offset + 1, text, name)


def _known(name: str) -> bool:
    known = (*WORLD, *_GIVEN_CLOCK, _LOOPING[0], "hash", "id")
    return any(_within(name, one) for one in known)


def _forbidden(node: ast.expr | ast.stmt, name: str) -> list[Offence]:
    """What is to be said of the use of a full name."""
    if _within(name, _RANDOM):
        return []
    return [_at(node, f"{name}: {why}", name) for one, why in WORLD.items() if _within(name, one)]


def _expressions(node: ast.expr) -> list[ast.expr]:
    return [inner for inner in ast.walk(node) if isinstance(inner, ast.expr)]


def _sets_clock(scope: ast.AST, holder: ast.expr) -> bool:
    """Whether `holder.clock` is assigned to in there."""
    clock = f"{ast.unparse(holder)}.clock"
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node) == clock
        for node in ast.walk(scope)
    )


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")
