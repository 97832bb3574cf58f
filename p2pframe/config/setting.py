"""The values of a running node one by one: where each comes from, and a config with others laid over the file's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel
from zope.interface import implementedBy

from p2pframe.config.loader import load_tree
from p2pframe.config.reader import read
from p2pframe.config.settings import NodeSpec, PluginChoice
from p2pframe.config.tree import HIDDEN, Listing, Place, Plain, Problems, Scalar, Table, Tree, set_value
from p2pframe.errors import ConfigError
from p2pframe.interfaces import IReconfigurable
from p2pframe.interfaces.node import SettingView
from p2pframe.plugin import is_live
from p2pframe.registry import Registry

_RESTARTS = {"networks": "network", "applications": "applications"}
"""What is restarted for a value that is not live; the node itself for all the others."""
FIXED = ("node", "storage", "version")
"""Parts that are the process's own: nothing in them is set while it runs but by the file."""
_SET = "set while it runs"


def load_with(
    path: Path, values: Mapping[str, Plain], env: Mapping[str, str] | None = None, registry: Registry | None = None
) -> NodeSpec:
    """Read a configuration with values by dotted path laid over it. Raises `ConfigError` with every mistake.

    What the file takes from the environment is not overridden: whoever set that there decides on it.
    """
    problems = Problems()
    tree = read(path, os.environ if env is None else env, problems)
    given: dict[str, Scalar] = {}
    for dotted, value in values.items():
        if tree is None:
            break
        place = Place(_SET, 1, 1)
        keys = dotted.split(".")
        there = _at(tree, keys)
        why = ""
        if keys[0] in FIXED or len(keys) < 3:
            why = "is not set while the node runs: change the file"
        elif isinstance(there, Scalar) and (there.secret or there.from_env):
            why = "comes from the environment or an included file: change it there"
        elif there is not None and not isinstance(there, Scalar):
            why = "is no single value"
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            given[dotted] = Scalar(place, path.parent, text, value)
            changed = set_value(tree, keys, given[dotted])
            if isinstance(changed, str):
                why = changed
            else:
                tree = changed
        if why:
            problems.add(place, dotted, why)
    if tree is not None and not problems:
        spec = load_tree(path, tree, problems, Registry() if registry is None else registry)
        for dotted, scalar in given.items():
            # The check has marked it: what is set here is kept, and shown to who may look.
            if scalar.secret:
                problems.add(scalar.place, dotted, "is a secret, which is not set while the node runs: change the file")
        if spec is not None and not problems:
            return spec
    raise ConfigError(problems.sorted())


def settings(spec: NodeSpec, values: Mapping[str, Plain], env: Mapping[str, str] | None = None) -> list[SettingView]:
    """Every value of a configuration in force: where it comes from, and whether it can be set while the node runs.

    The places are those of the file as it is now.
    """
    problems = Problems()
    tree = read(spec.path, os.environ if env is None else env, problems) if spec.path is not None else None
    live = dict(_live(spec))
    found = []
    for dotted, value in _leaves(spec.effective, ""):
        keys = dotted.split(".")
        there = _said(tree, keys) if tree is not None else None
        if dotted in values:
            where = _SET
        elif there is not None:
            where = f"{there.place.file}:{there.place.line}:{there.place.column}"
        else:
            where = "default"
        # A secret that the file itself says is known by how it is shown only: the tree is not checked here.
        secret = value == HIDDEN or (isinstance(there, Scalar) and (there.secret or there.from_env))
        reloaded, settable = live.get(dotted) or (_of_live(dotted, live), False)
        changeable = reloaded and settable and not secret
        takes = "" if changeable else "reload" if reloaded else _RESTARTS.get(keys[0], "node")
        found.append(SettingView(dotted, value, where, changeable, takes))
    return found


def _live(spec: NodeSpec) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """By path: whether it is changed in place, and whether that may be asked for while the node runs."""
    yield from _of_model(spec.node, "node", False)
    yield from _of_choice(spec.storage, "storage", False)
    for index, choice in enumerate(spec.applications):
        # Who may change what is not changed by whoever may change things.
        yield from _of_choice(choice, f"applications.{index}", choice.spec.name != "admin")
    for name, network in spec.networks.items():
        at = f"networks.{name}"
        yield from _of_model(network.limits, f"{at}.limits", True)
        yield from _of_choice(network.protocol, f"{at}.protocol", True)
        for key in ("topology", "relay"):
            one = getattr(network, key)
            if one is not None:
                yield from _of_choice(one, f"{at}.{key}", True)
        for key in ("transports", "upgrades", "discovery", "scoring", "authentication", "validators"):
            for index, choice in enumerate(getattr(network, key)):
                yield from _of_choice(choice, f"{at}.{key}.{index}", True)


def _of_choice(choice: PluginChoice, at: str, allowed: bool) -> Iterator[tuple[str, tuple[bool, bool]]]:
    if implementedBy(choice.cls).isOrExtends(IReconfigurable):
        yield from _of_model(choice.config, at, allowed)


def _of_model(model: BaseModel, at: str, allowed: bool) -> Iterator[tuple[str, tuple[bool, bool]]]:
    for name, info in type(model).model_fields.items():
        yield f"{at}.{info.alias or name}", (is_live(type(model), name), allowed)


def _leaves(value: object, at: str) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{at}.{index}")
    else:
        yield at, value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _of_live(dotted: str, live: Mapping[str, tuple[bool, bool]]) -> bool:
    """Whether a value is part of one, a list say, that is changed in place."""
    while dotted:
        dotted = dotted.rpartition(".")[0]
        if dotted in live:
            return live[dotted][0]
    return False


def _said(tree: Tree, keys: Sequence[str]) -> Tree | None:
    """What in the file says a value: itself, or the short form (an address as text, say) that it is part of."""
    for length in range(len(keys), 0, -1):
        there = _at(tree, keys[:length])
        if there is not None:
            return there if length == len(keys) or isinstance(there, Scalar) else None
    return None


def _at(tree: Tree, keys: Sequence[str]) -> Tree | None:
    for key in keys:
        if isinstance(tree, Table):
            inner = tree.get(key)
        elif isinstance(tree, Listing) and key.isascii() and key.isdigit() and int(key) < len(tree.items):
            inner = tree.items[int(key)]
        else:
            return None
        if inner is None:
            return None
        tree = inner
    return tree
