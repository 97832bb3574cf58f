"""What a value is, as far as the text of one module says it: a set, or what holds sets.

Only as much as set_order.py needs: annotations, displays, and the methods that make sets of sets.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of value and, for a container, of what it holds.

    Kinds: `set`; `keys` and `items`, the views of a dict, whose own order is sound but whose algebra gives sets;
    `dict`, `sequence` and `awaitable`, which hold `of`; `pair`, a tuple of two whose second is `of`; `stirred`, what
    came out of a set in its order, for a taker to whom order is nothing; `function`, which returns `of`; `object`, an
    instance of the class `name` of this module.
    """

    kind: str
    of: Shape | None = None
    name: str = ""


SET = Shape("set")
STIRRED = Shape("stirred")
Env = dict[str, "Shape | None"]

_SETS = {"set", "frozenset", "Set", "AbstractSet", "FrozenSet", "MutableSet", "WeakSet"}
_DICTS = {
    "dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict", "ChainMap",
    "WeakKeyDictionary", "WeakValueDictionary",
}  # fmt: skip
_SEQUENCES = {
    "list", "List", "Sequence", "MutableSequence", "Iterable", "Iterator", "Collection", "deque", "Deque", "Generator",
    "tuple", "Tuple", "ValuesView",
}  # fmt: skip
_VIEWS = {"KeysView": "keys", "ItemsView": "items"}
_AWAITABLES = {"Awaitable", "Deferred", "Coroutine", "Future"}
_TRANSPARENT = {"Optional", "Annotated", "Final", "ClassVar", "InitVar", "Required", "NotRequired"}


@dataclass(slots=True)
class Class:
    """What the module says of one of its classes."""

    bases: list[str]
    attributes: dict[str, Shape] = field(default_factory=dict)
    annotated: set[str] = field(default_factory=set)
    methods: dict[str, Shape | None] = field(default_factory=dict)


def joined(*shapes: Shape | None) -> Shape | None:
    """What a value is that may be any of these: a set where one is, for one run in which it is one is enough."""
    known = [shape for shape in shapes if shape is not None]
    for kind in ("set", "stirred"):
        for shape in known:
            if shape.kind == kind:
                return shape
    return known[0] if known else None


def last_name(node: ast.expr) -> str:
    """`Deferred` of `defer.Deferred`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def of_annotation(
    node: ast.expr | None, classes: Mapping[str, Class], aliases: Mapping[str, ast.expr], depth: int = 0
) -> Shape | None:
    """What a value with this annotation is; aliases and classes are those of the module."""
    if node is None or depth > 20:
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return None
    if isinstance(node, ast.BinOp):
        return joined(*(of_annotation(part, classes, aliases, depth + 1) for part in (node.left, node.right)))
    arguments: list[ast.expr] = []
    base = node
    if isinstance(node, ast.Subscript):
        arguments = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        base = node.value
    name = last_name(base)

    def shape(index: int) -> Shape | None:
        return of_annotation(arguments[index], classes, aliases, depth + 1) if arguments else None

    if name in classes and isinstance(base, ast.Name):
        return Shape("object", name=name)
    if name in aliases and isinstance(base, ast.Name):
        return of_annotation(aliases[name], classes, aliases, depth + 1)
    if name in _SETS:
        return SET
    if name in _VIEWS:
        return Shape(_VIEWS[name], shape(-1))
    if name in _DICTS:
        return Shape("dict", shape(-1))
    if name in _SEQUENCES:
        return Shape("sequence", shape(0))
    if name in _AWAITABLES:
        return Shape("awaitable", shape(-1))
    if name in _TRANSPARENT:
        return shape(0)
    if name == "Union":
        return joined(*(of_annotation(part, classes, aliases, depth + 1) for part in arguments))
    return None
