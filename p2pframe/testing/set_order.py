"""Finds where the order of a set gets out: into a loop, a list, a text, a choice.

Strings and bytes hash anew in every process (PEP 456), so a set of them has another order in each run of the same seed;
and a set of ints has the order of its table, which is nobody's decision. So a set is walked through `sorted(...)`, or a
dict takes its place (`dict.fromkeys(...)`: a set in the order of arrival), or the line says why any order will do::

    for session in closing:  # any order: each one only has its timer cancelled
        session.timer.cancel()

The module's text is all that is read: a set that comes from another module without an annotation is not seen.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence

from p2pframe.testing.shapes import SET, STIRRED, Class, Env, Shape, joined, last_name, of_annotation

# To whom order is nothing.
_BLIND = {"sorted", "set", "frozenset", "sum", "len", "any", "all", "min", "max", "bool", "isinstance", "WeakSet"}
# Who keeps the order that they are given; those of the second kind pair it with something.
_KEEPING = {
    "list", "tuple", "iter", "next", "map", "filter", "reversed", "deque", "chain", "islice", "from_iterable",
    "fromkeys", "accumulate", "takewhile", "dropwhile", "starmap",
}  # fmt: skip
_PAIRING = {"enumerate", "zip", "zip_longest", "reduce", "cycle", "batched", "pairwise"}
_KEEPING_METHODS = {"join", "extend", "extendleft", "writelines"}
_SET_MAKING = {"union", "intersection", "difference", "symmetric_difference", "copy", "__or__", "__and__", "__sub__"}
# What the values of the interfaces hold as frozensets, whoever has them.
_OF_INTERFACES = {"verbs", "exclude_netgroups"}
# A key that tells any two apart as well as they can be told apart.
_TOTAL_KEYS = {"str", "repr", "bytes"}

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension = ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp


class SetOrder:
    """One module looked at: `found` holds (node, what happens there), each place once."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: dict[tuple[int, int, str], ast.expr] = {}
        self._classes: dict[str, Class] = {}
        self._aliases: dict[str, ast.expr] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self._classes[node.name] = Class([last_name(base) for base in node.bases])
        for statement in tree.body:
            if (
                isinstance(statement, ast.Assign)
                and isinstance(statement.targets[0], ast.Name)
                and isinstance(statement.value, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute))
            ):
                self._aliases[statement.targets[0].id] = statement.value
        # Two rounds before the one that counts: what a method leaves in an attribute, another one walks over.
        for _ in range(3):
            self.found.clear()
            self._later: list[tuple[_Function, Env, str]] = []
            module: Env = {}
            self._run(tree.body, module, "")
            while self._later:
                self._function(*self._later.pop())

    # --- statements

    def _run(self, body: Iterable[ast.stmt], env: Env, cls: str) -> None:
        for statement in body:
            self._statement(statement, env, cls)

    def _statement(self, node: ast.stmt, env: Env, cls: str) -> None:
        if isinstance(node, _Function):
            for expression in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
                self._shape(expression, env)
            returns = self._annotation(node.returns)
            if isinstance(node, ast.AsyncFunctionDef):
                returns = Shape("awaitable", returns)
            env[node.name] = Shape("function", returns)
            if cls:
                methods = self._classes[cls].methods
                if any(last_name(decorator) in ("property", "cached_property") for decorator in node.decorator_list):
                    if returns is not None:
                        self._classes[cls].attributes[node.name] = returns
                else:
                    methods[node.name] = returns
            self._later.append((node, env, cls))
        elif isinstance(node, ast.ClassDef):
            for expression in (*node.decorator_list, *node.bases):
                self._shape(expression, env)
            # Names of a class body are not seen from its methods, which still see what is round the class.
            self._run([s for s in node.body if not isinstance(s, _Function)], {**env}, node.name)
            for method in node.body:
                if isinstance(method, _Function):
                    before = env.get(method.name)
                    self._statement(method, env, node.name)
                    env[method.name] = before
        elif isinstance(node, ast.Assign):
            shape = self._shape(node.value, env)
            for target in node.targets:
                self._bind(target, shape, env, node.value)
                self._note(target, shape, cls, env)
        elif isinstance(node, ast.AnnAssign):
            shape = self._shape(node.value, env) if node.value else None
            shape = self._annotation(node.annotation) or shape
            self._bind(node.target, shape, env, None)
            self._note(node.target, shape, cls, env, annotated=True)
        elif isinstance(node, ast.AugAssign):
            shape = self._shape(node.value, env)
            into = self._shape(node.target, env)
            if shape and shape.kind == "set" and into and into.kind == "sequence":
                self._report(node.value, "is added to a list")
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            held = self._walked(node.iter, env, "is walked over by a for loop")
            for _ in range(2):
                self._bind(node.target, held, env, None)
                self._branches(env, cls, node.body)
            self._run(node.orelse, env, cls)
        elif isinstance(node, (ast.If, ast.While)):
            self._shape(node.test, env)
            self._branches(env, cls, node.body, node.orelse)
        elif isinstance(node, (ast.Try, ast.TryStar)):
            self._branches(env, cls, [*node.body, *node.orelse], *(handler.body for handler in node.handlers))
            self._run(node.finalbody, env, cls)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                shape = self._shape(item.context_expr, env)
                if item.optional_vars is not None:
                    self._bind(item.optional_vars, shape, env, None)
            self._run(node.body, env, cls)
        elif isinstance(node, ast.Match):
            self._shape(node.subject, env)
            for case in node.cases:
                if case.guard is not None:
                    self._shape(case.guard, env)
            self._branches(env, cls, *(case.body for case in node.cases))
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self._shape(child, env)

    def _branches(self, env: Env, cls: str, *bodies: Sequence[ast.stmt]) -> None:
        """Each body from here, then on with what any of them, or none, may have left."""
        ends: list[Env] = []
        for body in bodies:
            ends.append({**env})
            self._run(body, ends[-1], cls)
        # Where all of an if's branches set a name anew, what it was before is gone.
        whole = len(bodies) > 1 and all(bodies)
        for name in dict.fromkeys(name for end in ends for name in end):
            before = () if whole else (env.get(name),)
            env[name] = joined(*before, *(end.get(name) for end in ends))

    def _function(self, node: _Function, outer: Env, cls: str) -> None:
        env: Env = {**outer}
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            env[argument.arg] = self._annotation(argument.annotation)
        if arguments.vararg:
            env[arguments.vararg.arg] = Shape("sequence", self._annotation(arguments.vararg.annotation))
        if arguments.kwarg:
            env[arguments.kwarg.arg] = Shape("dict", self._annotation(arguments.kwarg.annotation))
        positional = (*arguments.posonlyargs, *arguments.args)
        if cls and positional and not any(last_name(d) == "staticmethod" for d in node.decorator_list):
            env[positional[0].arg] = Shape("object", name=cls)
        self._run(node.body, env, "")

    def _bind(self, target: ast.expr, shape: Shape | None, env: Env, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = shape
        elif isinstance(target, ast.Starred):
            self._bind(target.value, None, env, None)
        elif isinstance(target, (ast.Tuple, ast.List)):
            if shape is not None and shape.kind == "set" and len(target.elts) > 1 and value is not None:
                self._report(value, "is unpacked into names")
            for index, element in enumerate(target.elts):
                inner = None
                if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                    inner = self._shape(value.elts[index], env)
                elif shape is not None and shape.kind == "pair" and index == 1:
                    inner = shape.of
                self._bind(element, inner, env, None)

    def _note(self, target: ast.expr, shape: Shape | None, cls: str, env: Env, annotated: bool = False) -> None:
        """What is said or put into an attribute of a class of this module."""
        if cls and isinstance(target, ast.Name):
            owner, name = self._classes[cls], target.id
        elif isinstance(target, ast.Attribute) and (holder := self._shape(target.value, env)) and holder.name:
            owner, name = self._classes[holder.name], target.attr
        else:
            return
        if annotated and shape is not None:
            owner.attributes[name] = shape
            owner.annotated.add(name)
        elif shape is not None and name not in owner.annotated:
            found = joined(shape, owner.attributes.get(name))
            if found is not None:
                owner.attributes[name] = found

    # --- expressions

    def _shape(self, node: ast.expr, env: Env, blind: bool = False) -> Shape | None:
        """What an expression is; `blind` where its order is nothing to whoever takes it."""
        if isinstance(node, ast.Name):
            return env.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._shape(node.value, env)
            if holder is not None and holder.name:
                return self._attribute(holder.name, node.attr)
            return SET if node.attr in _OF_INTERFACES else None
        if isinstance(node, ast.Call):
            return self._call(node, env, blind)
        if isinstance(node, _Comprehension):
            return self._comprehension(node, env, blind)
        if isinstance(node, ast.Starred):
            shape = self._walked(node.value, env, "is unpacked by a star", blind)
            return Shape("sequence", shape)
        if isinstance(node, (ast.Set, ast.List, ast.Tuple)):
            of_set = isinstance(node, ast.Set)
            held = [self._shape(element, env, blind or of_set) for element in node.elts]
            return SET if of_set else Shape("sequence", joined(*held) if held else None)
        if isinstance(node, ast.Dict):
            values = [self._shape(value, env) for value in node.values]
            for key in node.keys:
                if key is not None:
                    self._shape(key, env)
            return Shape("dict", joined(*values))
        if isinstance(node, ast.BinOp):
            left, right = self._shape(node.left, env, blind), self._shape(node.right, env, blind)
            kinds = {shape.kind for shape in (left, right) if shape is not None}
            if isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)) and kinds & {"set", "keys", "items"}:
                return SET
            return left or right
        if isinstance(node, ast.BoolOp):
            return joined(*(self._shape(value, env, blind) for value in node.values))
        if isinstance(node, ast.IfExp):
            self._shape(node.test, env)
            return joined(self._shape(node.body, env, blind), self._shape(node.orelse, env, blind))
        if isinstance(node, ast.NamedExpr):
            shape = self._shape(node.value, env, blind)
            self._bind(node.target, shape, env, node.value)
            return shape
        if isinstance(node, ast.Await):
            shape = self._shape(node.value, env)
            return shape.of if shape is not None and shape.kind == "awaitable" else None
        if isinstance(node, ast.YieldFrom):
            self._walked(node.value, env, "is handed on by yield from")
            return None
        if isinstance(node, ast.Subscript):
            shape = self._shape(node.value, env)
            self._shape(node.slice, env)
            if isinstance(node.slice, ast.Slice):
                return shape
            return shape.of if shape is not None and shape.kind in ("dict", "sequence") else None
        if isinstance(node, ast.Lambda):
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            self._shape(node.body, {**env, **{argument.arg: None for argument in names}})
            return None
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._shape(child, env)
        return None

    def _walked(self, node: ast.expr, env: Env, how: str, blind: bool = False) -> Shape | None:
        """Walk over `node`, which is reported where it is a set. Returns what it holds."""
        shape = self._shape(node, env, blind)
        if shape is None:
            return None
        if shape.kind == "set" and not blind:
            self._report(node, how)
        if shape.kind == "items":
            return Shape("pair", shape.of)
        return shape.of if shape.kind == "sequence" else None

    def _comprehension(self, node: _Comprehension, env: Env, blind: bool) -> Shape:
        blind = blind or isinstance(node, ast.SetComp)
        inner: Env = {**env}
        stirred = False
        for generator in node.generators:
            source = self._shape(generator.iter, inner, blind)
            stirred = stirred or (source is not None and source.kind in ("set", "stirred"))
            held = self._walked(generator.iter, inner, "is walked over by a comprehension", blind)
            self._bind(generator.target, held, inner, None)
            for condition in generator.ifs:
                self._shape(condition, inner)
        if isinstance(node, ast.DictComp):
            self._shape(node.key, inner)
            held = self._shape(node.value, inner)
            return STIRRED if stirred and blind else Shape("dict", held)
        held = self._shape(node.elt, inner)
        if isinstance(node, ast.SetComp):
            return SET
        return STIRRED if stirred and blind else Shape("sequence", held)

    def _call(self, node: ast.Call, env: Env, blind: bool) -> Shape | None:
        name = last_name(node.func)
        owner = self._shape(node.func.value, env) if isinstance(node.func, ast.Attribute) else None
        if not isinstance(node.func, (ast.Name, ast.Attribute)):
            self._shape(node.func, env)
        for keyword in node.keywords:
            self._shape(keyword.value, env)
        if owner is not None and owner.kind == "set":
            return self._set_method(node, name, env, blind)
        if name == "cast" and len(node.args) == 2:
            return self._annotation(node.args[0]) or self._shape(node.args[1], env, blind)
        own = env.get(name) if isinstance(node.func, ast.Name) else None
        if isinstance(node.func, ast.Name) and own is None:
            if name in self._classes:
                self._arguments(node, env)
                return Shape("object", name=name)
            if name in _BLIND:
                return self._blind_call(node, name, env)
        if name in _KEEPING or name in _PAIRING:
            builtin = hasattr(builtins, name)
            if isinstance(node.func, ast.Name) == builtin or not builtin:
                return self._keeping_call(node, name, env, blind and name not in _PAIRING)
        if isinstance(node.func, ast.Attribute) and name in _KEEPING_METHODS:
            how = "is joined into a text" if name == "join" else "is added to a list"
            for argument in node.args:
                self._walked(argument, env, how)
            return None
        arguments = self._arguments(node, env)
        if own is not None and own.kind == "function":
            return own.of
        if isinstance(node.func, ast.Attribute):
            return self._method(owner, name, node, arguments)
        return None

    def _arguments(self, node: ast.Call, env: Env) -> list[Shape | None]:
        return [self._shape(argument, env) for argument in node.args]

    def _blind_call(self, node: ast.Call, name: str, env: Env) -> Shape | None:
        shapes = [self._shape(argument, env, blind=True) for argument in node.args]
        key = next((keyword.value for keyword in node.keywords if keyword.arg == "key"), None)
        if key is not None and last_name(key) not in _TOTAL_KEYS:
            for argument, shape in zip(node.args, shapes, strict=True):
                if shape is not None and shape.kind in ("set", "stirred"):
                    self._report(argument, f"decides between equals of {name}(..., key=...)")
        held = shapes[0].of if shapes and shapes[0] is not None and shapes[0].kind == "sequence" else None
        if name in ("set", "frozenset", "WeakSet"):
            return SET
        if name == "sorted":
            return Shape("sequence", held)
        return held if name in ("min", "max") else None

    def _keeping_call(self, node: ast.Call, name: str, env: Env, blind: bool) -> Shape | None:
        held = None
        stirred = False
        for argument in node.args:
            shape = self._shape(argument, env, blind)
            if shape is not None and shape.kind in ("set", "stirred"):
                stirred = True
            held = self._walked(argument, env, f"is put into an order by {name}()", blind)
        if name == "next":
            return held
        if stirred and blind:
            return STIRRED
        if name in ("map", "filter", "zip", "starmap"):
            held = None
        if name == "fromkeys":
            return Shape("dict")
        return Shape("pair", held) if name == "enumerate" else Shape("sequence", held)

    def _set_method(self, node: ast.Call, name: str, env: Env, blind: bool) -> Shape | None:
        if name == "pop" and not node.args:
            self._report(node, "gives one of its own choice by pop()")
        for argument in node.args:
            self._shape(argument, env, blind=True)
        return SET if name in _SET_MAKING else None

    def _method(self, owner: Shape | None, name: str, node: ast.Call, arguments: list[Shape | None]) -> Shape | None:
        of = owner.of if owner is not None and owner.kind in ("dict", "sequence") else None
        if name in ("keys", "items") and not node.args:
            return Shape(name, of)
        if owner is None:
            return None
        if name == "values":
            return Shape("sequence", of)
        if name in ("get", "pop", "setdefault"):
            return joined(of, *arguments[1:])
        if name in ("popleft", "__getitem__"):
            return of
        if name == "copy":
            return owner
        return self._attribute(owner.name, name, method=True) if owner.name else None

    # --- names

    def _attribute(self, cls: str, name: str, method: bool = False, depth: int = 0) -> Shape | None:
        known = self._classes.get(cls)
        if known is None or depth > 20:
            return None
        table: Mapping[str, Shape | None] = known.methods if method else known.attributes
        if name in table:
            return table[name]
        for base in known.bases:
            shape = self._attribute(base, name, method, depth + 1)
            if shape is not None:
                return shape
        return None

    def _annotation(self, node: ast.expr | None) -> Shape | None:
        return of_annotation(node, self._classes, self._aliases)

    def _report(self, node: ast.expr, how: str) -> None:
        self.found[(node.lineno, node.col_offset, how)] = node
