"""Pydantic's errors in plain words: what is allowed, and what was found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from p2pframe.config.tree import Listing, Scalar, Tree, show

_CHOICE = re.compile(r"'((?:[^'\\]|\\.)*)'")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that a slip of the finger turned into `name`."""
    names = list(names)
    folded = {n.lower().replace("_", "-"): n for n in names}
    found = get_close_matches(name.lower().replace("_", "-"), folded, 1, 0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`(did you mean 'x'?)`, or what there is to choose from."""
    names = list(names)
    near = nearest(name, names)
    if near is not None:
        return f" (did you mean {near!r}?)"
    return ": there is " + ", ".join(names) if names else ""


def _items(word: str, field: str) -> Callable[[Mapping[str, Any]], str]:
    def text(ctx: Mapping[str, Any]) -> str:
        count = ctx[field]
        return f"must have {word} {count} item{'' if count == 1 else 's'}"

    return text


def _letters(word: str, field: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda ctx: f"must have {word} {ctx[field]} character{'' if ctx[field] == 1 else 's'}"


_WORDS: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": _letters("at least", "min_length"),
    "string_too_long": _letters("at most", "max_length"),
    "string_pattern_mismatch": lambda ctx: f"must look like {ctx['pattern']}",
    "bytes_type": "must be text",
    "path_type": "must be a path",
    "greater_than": lambda ctx: f"must be over {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than": lambda ctx: f"must be under {ctx['lt']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "multiple_of": lambda ctx: f"must be a multiple of {ctx['multiple_of']}",
    "too_short": _items("at least", "min_length"),
    "too_long": _items("at most", "max_length"),
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "iterable_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dataclass_type": "must be a mapping",
    "none_required": "must be null",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "enum": lambda ctx: f"must be {ctx['expected']}",
}


def is_ours(kind: str) -> bool:
    """Whether an error of this type is put in our own words, which never quote the value but by `show`."""
    return kind in _WORDS


def allowed(error: Mapping[str, Any]) -> str:
    """What an error of pydantic says is allowed; free text of a plugin's validator as it is."""
    words = _WORDS.get(error["type"])
    if words is None:
        text = str(error["msg"])
        for prefix in ("Value error, ", "Assertion failed, "):
            text = text.removeprefix(prefix)
        return " ".join(text.split())[:500]
    return words if isinstance(words, str) else words(error.get("ctx", {}))


def message(error: Mapping[str, Any], tree: Tree) -> str:
    """The whole message on a value: allowed, found, the nearest right word, how to mend it."""
    kind = error["type"]
    text = allowed(error)
    if not is_ours(kind):
        shown = show(tree)
        return text if not isinstance(tree, Scalar) or shown in text else f"{text} (found {shown})"
    if kind in ("too_short", "too_long") and isinstance(tree, Listing):
        return f"{text}, found {len(tree.items)}"
    text += f", found {show(tree)}"
    if isinstance(tree, Scalar) and not tree.secret:
        if kind == "string_type" and tree.value is not None:
            text += ": put it in quotes"
        elif kind in ("literal_error", "enum") and isinstance(tree.value, str):
            near = nearest(tree.value, _CHOICE.findall(str(error.get("ctx", {}).get("expected", ""))))
            text += f" (did you mean {near!r}?)" if near else ""
        elif isinstance(tree.value, str) and kind in ("int_type", "float_type", "bool_type"):
            text += ": take the quotes away" if _is_of(kind, tree.text) else ""
    return text


def _is_of(kind: str, text: str) -> bool:
    if kind == "bool_type":
        return text in ("true", "false")
    return re.fullmatch(r"[-+]?\d+" if kind == "int_type" else r"[-+]?\d+(\.\d+)?", text, re.ASCII) is not None
