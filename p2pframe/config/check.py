"""Holds a part of the tree against its pydantic model, and puts each mistake where it stands."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError

from p2pframe.config.tree import HIDDEN, Listing, Place, Problems, Scalar, Table, Tree, has_secret, scalars, show
from p2pframe.config.wording import allowed, did_you_mean, is_ours, message, nearest

M = TypeVar("M", bound=BaseModel)

_TEXT_WANTED = ("string_type", "path_type", "bytes_type")


def check(
    model: type[M], tree: Table, path: str, problems: Problems, skip: Sequence[str] = (), owner: str = ""
) -> M | None:
    """The object that a mapping makes, None where it has mistakes, which go to `problems`.

    `skip` are keys that are not the model's; `owner` names the plugin whose model it is, for errors of its own code.
    Values are taken strictly, as their YAML types say: text is no number. Relative paths are made absolute from the
    file they stand in.
    """
    own = Table(tree.place, tree.folder, {k: e for k, e in tree.entries.items() if k not in skip})
    _mark_secrets(own, model)
    return _Check(model, own, path, problems, owner).run()


class _Check(Generic[M]):
    def __init__(self, model: type[M], tree: Table, path: str, problems: Problems, owner: str) -> None:
        self.model = model
        self.tree = tree
        self.path = path
        self.problems = problems
        self.owner = owner

    def run(self) -> M | None:
        errors = self.validate()
        if isinstance(errors, list) and self.retype(errors):
            errors = self.validate()
        broken = any(scalar.broken for scalar in scalars(self.tree))
        if not isinstance(errors, list):
            return None if broken else errors
        self.report(errors)
        return None

    def validate(self, hide: bool = False) -> M | list[Any]:
        """The object, or the list of pydantic's errors."""
        try:
            data = json.dumps(_data(self.tree, self.model, hide))
            return self.model.model_validate_json(data, strict=True)
        except ValidationError as error:
            return list(error.errors(include_url=False, include_input=False))
        except Exception as error:  # noqa: BLE001 - a plugin's validator may raise anything: that is its mistake to show
            text = f"{type(error).__name__}" if has_secret(self.tree) else f"{type(error).__name__}: {error}"
            return [
                {"type": "crash", "loc": (), "msg": f"the config model of {self.owner or 'this part'} failed: {text}"}
            ]

    def retype(self, errors: Sequence[Mapping[str, Any]]) -> bool:
        """Where text is wanted, what an environment variable holds is text, whatever it looks like."""
        changed = False
        for error in errors:
            tree = self.locate(error["loc"])[0]
            if isinstance(tree, Scalar) and error["type"] in _TEXT_WANTED and tree.from_env and tree.value != tree.text:
                tree.value = tree.text
                changed = True
        return changed

    def report(self, errors: Sequence[Mapping[str, Any]]) -> None:
        """Note every error, those of one value (the branches of a union) in one line."""
        unknown = [error for error in errors if error["type"] == "extra_forbidden"]
        meant = {name for error in unknown for name in [self.unknown(error)] if name}
        merged: dict[int, tuple[Tree, str, list[Mapping[str, Any]]]] = {}
        for error in errors:
            if error["type"] == "extra_forbidden":
                continue
            if error["type"] == "missing":
                self.missing(error, meant)
                continue
            tree, path = self.locate(error["loc"])
            if isinstance(tree, Scalar) and tree.broken:
                continue
            merged.setdefault(id(tree), (tree, path, []))[2].append(error)
        hidden: list[Mapping[str, Any]] | None = None
        for tree, path, found in merged.values():
            if has_secret(tree) and not all(is_ours(error["type"]) for error in found):
                if hidden is None:
                    answer = self.validate(hide=True)
                    hidden = answer if isinstance(answer, list) else []
                texts = [self.without_secret(error, hidden) for error in found]
            elif len(found) > 1:
                texts = [*dict.fromkeys(allowed(error) for error in found)]
                texts = [" or ".join(texts) + (f", found {show(tree)}" if isinstance(tree, Scalar) else "")]
            else:
                texts = [message(error, tree) for error in found]
            self.problems.add(tree.place, path, " or ".join(dict.fromkeys(texts)))

    def without_secret(self, error: Mapping[str, Any], hidden: Sequence[Mapping[str, Any]]) -> str:
        """A validator's own words only where they are the same for `***`: then they can't quote the value."""
        for other in hidden:
            if other["loc"] == error["loc"] and other["type"] == error["type"] and other["msg"] == error["msg"]:
                return f"{allowed(error)} (found {HIDDEN})"
        return f"is not accepted (found {HIDDEN}; the reason may quote it and is not shown)"

    def unknown(self, error: Mapping[str, Any]) -> str | None:
        """Note an unknown key; returns the name that was probably meant."""
        *outer, key = error["loc"]
        table, path = self.locate(outer)
        model = _model_at(self.model, outer)
        if not isinstance(table, Table) or key not in table.entries:
            table, path = self.tree, self.path
        names = field_names(model) if model else []
        for field, info in model.model_fields.items() if model else ():
            extra = info.json_schema_extra
            former = extra.get("renamed_from") if isinstance(extra, dict) else None
            if isinstance(former, (list, tuple)) and key in former:
                successor = info.alias or field
                self.problems.add(
                    table.entries[key].place, f"{path}.{key}", f"was renamed: write {successor!r} instead"
                )
                return _join(path, successor)
        entry = table.entries.get(str(key))
        place = entry.place if entry else table.place
        self.problems.add(place, _join(path, key), f"unknown key {key!r}" + did_you_mean(str(key), names))
        near = nearest(str(key), names)
        return _join(path, near) if near else None

    def missing(self, error: Mapping[str, Any], meant: set[str]) -> None:
        *outer, key = error["loc"]
        table, path = self.locate(outer)
        full = _join(path, key)
        if full not in meant:
            info = model.model_fields.get(str(key)) if (model := _model_at(self.model, outer)) else None
            what = f": {info.description}" if info is not None and info.description else ""
            self.problems.add(table.place, full, f"{key!r} is missing{what}")

    def locate(self, loc: Sequence[int | str]) -> tuple[Tree, str]:
        """The part of the tree that a location of pydantic names; the tags of a union's branches name nothing."""
        tree: Tree = self.tree
        path = self.path
        for part in loc:
            if isinstance(tree, Table) and str(part) in tree.entries:
                tree = tree.entries[str(part)].value
            elif isinstance(tree, Listing) and isinstance(part, int) and part < len(tree.items):
                tree = tree.items[part]
            else:
                continue
            path = _join(path, part)
        return tree, path


def place_of(tree: Table, loc: Sequence[int | str]) -> Place:
    """Where a value stands, or the nearest part around it."""
    here: Tree = tree
    for part in loc:
        if isinstance(here, Table) and str(part) in here.entries:
            here = here.entries[str(part)].value
        elif isinstance(here, Listing) and isinstance(part, int) and part < len(here.items):
            here = here.items[part]
    return here.place


def field_names(model: type[BaseModel]) -> list[str]:
    """The keys that a model takes."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _data(tree: Tree, annotation: Any, hide: bool = False) -> object:
    """The data for validation: plain, but for paths, which are made absolute from the file they stand in."""
    annotation = _bare(annotation)
    if isinstance(tree, Scalar):
        if hide and tree.secret:
            return HIDDEN
        if isinstance(tree.value, str) and _takes(annotation, lambda a: isinstance(a, type) and issubclass(a, Path)):
            return os.path.normpath(tree.folder / os.path.expanduser(tree.value)) if tree.value else tree.value
        return tree.value
    if isinstance(tree, Listing):
        return [_data(item, _item(annotation, tuple, list, Sequence, set, frozenset), hide) for item in tree.items]
    model = _model(annotation)
    data: dict[str, object] = {}
    for key, entry in tree.entries.items():
        inner = _field(model, key) if model else _item(annotation, dict, Mapping)
        data[key] = _data(entry.value, inner, hide)
    for name, info in model.model_fields.items() if model else ():
        if isinstance(info.default, Path) and (info.alias or name) not in data:
            data[info.alias or name] = os.path.normpath(tree.folder / info.default)
    return data


def _mark_secrets(tree: Tree, annotation: Any) -> None:
    """What a model keeps as a secret (`SecretStr` and its like) is one from here on, wherever the file says it."""
    if _takes(annotation, _is_secret):
        for scalar in scalars(tree):
            scalar.secret = True
    elif isinstance(tree, Scalar):
        # One value where a list or a mapping with secrets belongs: probably the secret.
        tree.secret = tree.secret or _has_secrets(annotation, ())
    elif isinstance(tree, Listing):
        for item in tree.items:
            _mark_secrets(item, _item(annotation, tuple, list, Sequence, set, frozenset))
    elif isinstance(tree, Table):
        models = [b for b in _branches(annotation) if isinstance(b, type) and issubclass(b, BaseModel)]
        for key, entry in tree.entries.items():
            _mark_secrets(entry.value, _item(annotation, dict, Mapping))
            for model in models:
                _mark_secrets(entry.value, _field(model, key))


def _is_secret(annotation: Any) -> bool:
    found = get_origin(annotation) or annotation
    return isinstance(found, type) and issubclass(found, (SecretStr, SecretBytes, Secret))


def _has_secrets(annotation: Any, around: tuple[Any, ...]) -> bool:
    if annotation in around:
        return False
    inner = [*get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [info.annotation for info in annotation.model_fields.values()]
    return _is_secret(annotation) or any(_has_secrets(one, (*around, annotation)) for one in inner)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _branches(annotation: Any) -> list[Any]:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return [branch for arg in get_args(annotation) for branch in _branches(arg)]
    return [annotation]


def _takes(annotation: Any, test: Callable[[Any], bool]) -> bool:
    return any(test(branch) for branch in _branches(annotation))


def _item(annotation: Any, *origins: Any) -> Any:
    """What the items of a container are (of a mapping: its values)."""
    for branch in _branches(annotation):
        if isinstance(get_origin(branch), type) and issubclass(get_origin(branch), origins):
            args = [arg for arg in get_args(branch) if arg is not Ellipsis]
            return args[-1] if args else None
    return None


def _model(annotation: Any) -> type[BaseModel] | None:
    for branch in _branches(annotation):
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            return branch
    return None


def _field(model: type[BaseModel], key: str) -> Any:
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            return info.annotation
    return None


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that a location is inside of."""
    here: Any = model
    for part in loc:
        inner = _model(here)
        if inner is not None and isinstance(part, str):
            found = _field(inner, part)
            if found is not None:
                here = found
        elif isinstance(part, int):
            here = _item(here, tuple, list, Sequence, set, frozenset) or here
        else:
            here = _item(here, dict, Mapping) or here
    return _model(here)
