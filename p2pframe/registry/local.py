"""Local plugin files: what they hold, told from their text alone, and their import once one is named."""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from p2pframe.errors import PluginError
from p2pframe.interfaces import SEAMS
from p2pframe.registry.ownership import check_owner

MAX_BYTES = 1_000_000
"""A plugin file may be this long: it is read whole."""

_KINDS = {interface.__name__: kind for kind, seams in SEAMS.items() for interface in seams}


@dataclass(frozen=True, slots=True)
class Mention:
    """A plugin that a file's text promises. `kind` is None where only an import can tell."""

    name: str
    kind: str | None
    summary: str
    file: Path
    line: int
    attribute: str


def read_source(path: Path) -> str:
    """The text of a plugin file that nobody else could have changed. Raises `PluginError`."""
    try:
        check_owner(path)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PluginError(f"{path}: can't be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise PluginError(f"{path}: longer than {MAX_BYTES:,} bytes: this is no plugin file")
    try:
        return importlib.util.decode_source(data)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}:1: not Python text: {error}") from None


def scan(path: Path) -> list[Mention]:
    """The plugins of a file, without running it. Raises `PluginError` for a file that is not Python."""
    try:
        tree = ast.parse(read_source(path), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise PluginError(f"{path}:{line}: not Python: {getattr(error, 'msg', None) or error}") from None
    return list(_mentions(tree, path))


def _mentions(tree: ast.Module, path: Path) -> Iterator[Mention]:
    decorators = _decorator_names(tree)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in decorators:
                keywords = {k.arg: k.value for k in decorator.keywords}
                name = decorator.args[0] if decorator.args else keywords.get("name")
                if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
                    raise PluginError(f"{path}:{decorator.lineno}: write the plugin's name as text: @plugin(\"name\")")
                summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
                yield Mention(name.value, _kind(node, keywords), summary, path, node.lineno, node.name)


def _decorator_names(tree: ast.Module) -> set[str]:
    """By what names this file calls the decorator: however it imported it."""
    names = {"p2pframe.plugin.plugin"}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if node.module == "p2pframe.plugin" and alias.name == "plugin":
                    names.add(alias.asname or alias.name)
                elif node.module == "p2pframe" and alias.name == "plugin":
                    names.add(f"{alias.asname or alias.name}.plugin")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "p2pframe.plugin" and alias.asname:
                    names.add(f"{alias.asname}.plugin")
    return names


def _kind(node: ast.ClassDef, keywords: Mapping[str | None, ast.expr]) -> str | None:
    said = keywords.get("kind")
    if isinstance(said, ast.Constant) and said.value in SEAMS:
        return str(said.value)
    kinds = set()
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).rpartition(".")[2] == "implementer":
            for argument in decorator.args:
                kinds.add(_KINDS.get(ast.unparse(argument).rpartition(".")[2]))
    kinds.discard(None)
    return kinds.pop() if len(kinds) == 1 else None  # any order: there is one


class _Loader(importlib.abc.InspectLoader):
    """Runs the text that was checked.

    Nothing compiled is kept: a cache in the folder would be one more thing to guard.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    def get_source(self, fullname: str) -> str:
        return self.source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.source, str(self.path))

    def is_package(self, fullname: str) -> bool:
        return False


_loaded: dict[Path, tuple[str, ModuleType]] = {}
"""Files imported so far, with the text that ran: an unchanged file keeps its classes when the config is read again."""


def load(path: Path) -> ModuleType:
    """Import a plugin file, once for each text of it. Raises `PluginError` with the line that failed."""
    source = read_source(path)
    real = path.resolve()
    known = _loaded.get(real)
    if known is not None and known[0] == source:
        return known[1]
    digest = hashlib.sha256(f"{real}\0{source}".encode()).hexdigest()[:12]
    name = f"p2pframe_local_{digest}_{path.stem}"
    spec = importlib.util.spec_from_loader(name, _Loader(real, source), origin=str(real))
    if spec is None:
        raise PluginError(f"{path}: can't be imported")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(real)
    sys.modules[name] = module
    try:
        _exec(spec.loader, module)
    except Exception as error:  # noqa: BLE001 - whatever a plugin's own code raises is that plugin's error
        del sys.modules[name]
        raise PluginError(import_failure(error, str(real))) from None
    except SystemExit:
        del sys.modules[name]
        raise PluginError(f"{path}: ends the program when it is imported") from None
    if known is not None:
        sys.modules.pop(known[1].__name__, None)
    _loaded[real] = (source, module)
    return module


def _exec(loader: object, module: ModuleType) -> None:
    if not isinstance(loader, _Loader):
        raise PluginError(f"{module.__name__}: lost its loader")
    loader.exec_module(module)


def import_failure(error: BaseException, file: str) -> str:
    """One line on why an import failed: the last line of `file` that was being run, and the error."""
    line: int | None = None
    where = file
    if isinstance(error, SyntaxError) and error.filename:
        where, line = error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == file]
        outside = [f for f in frames if "importlib" not in f.filename and "/registry/" not in f.filename]
        for frame in own[-1:] or outside[-1:]:
            where, line = frame.filename, frame.lineno
    text = (str(error).splitlines() or [""])[0][:300]
    if isinstance(error, PluginError):
        return f"{where}:{line or 1}: {text}"
    return f"{where}:{line or 1}: importing it failed: {type(error).__name__}: {text}"
