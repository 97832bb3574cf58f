"""The registry: every plugin there is, by kind and name, loaded when it is named and not before.

Installed packages tell of theirs in the entry-point group `p2pframe.plugins`, as `kind.name = module:Class`; folders of
`plugin_path` hold single files. Both are known by name without importing anything.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from zope.interface import Invalid, implementedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

from p2pframe.errors import PluginError
from p2pframe.interfaces import SEAMS
from p2pframe.plugin import PluginSpec
from p2pframe.registry import local
from p2pframe.registry.ownership import check_owner

_PREAMBLE = re.compile(
    r"^(The object )?.*? has failed to implement interface [\w.]+: The (contract of )?([\w.]+\.(?=I[A-Z]))?"
)
"""How zope begins what it says of one fault; the rest names the interface's method."""
GROUP = "p2pframe.plugins"


@dataclass(frozen=True, slots=True)
class Known:
    """A plugin that can be named. `origin` says where it comes from: a package with its version, or a file."""

    kind: str
    name: str
    origin: str
    source: EntryPoint | local.Mention


class Registry:
    """Every plugin there is. `plugin_path` are folders of local files; raises `PluginError` for the first bad one.

    `installed` replaces the entry points of the environment (for tests).
    """

    def __init__(self, plugin_path: Sequence[Path] = (), installed: Iterable[EntryPoint] | None = None) -> None:
        self._installed = None if installed is None else list(installed)
        self._known: dict[tuple[str, str], list[Known]] | None = None
        self._folders: dict[Path, tuple[Path, list[local.Mention]]] = {}
        self._classes: dict[Known, type[Any]] = {}
        for folder in plugin_path:
            errors = self.add_folder(folder)
            if errors:
                raise errors[0]

    def add_folder(self, folder: Path) -> list[PluginError]:
        """Learn what the files of a folder hold, without running them; a folder that is known is read again.

        Returns every error: a missing folder, one that others may write, a file that is not Python.
        """
        try:
            check_owner(folder)
            if not folder.is_dir():
                return [PluginError(f"{folder}: not a folder")]
            files = sorted(p for p in folder.iterdir() if p.suffix == ".py" and not p.name.startswith((".", "_")))
        except PluginError as error:
            return [error]
        except OSError as error:
            return [PluginError(f"{folder}: no such plugin folder ({error.strerror})")]
        errors: list[PluginError] = []
        mentions: list[local.Mention] = []
        for file in files:
            try:
                mentions += local.scan(file)
            except PluginError as error:
                errors.append(error)
        real = folder.resolve()
        self._folders[real] = (folder, mentions)
        self._known = None
        ours = {(m.kind, m.name) for m in mentions if m.kind is not None}
        for (kind, name), found in self._table().items():
            if (kind, name) in ours and len(found) > 1:
                errors.append(_duplicate(kind, name, found))
        return errors

    def set_folders(self, folders: Sequence[Path]) -> list[list[PluginError]]:
        """Hold exactly these folders; the errors of each."""
        self._folders.clear()
        self._known = None
        return [self.add_folder(folder) for folder in folders]

    def known(self, kind: str | None = None) -> list[Known]:
        """Everything that can be named, by kind and name; files whose text does not tell their kind are imported."""
        self._settle()
        return [k for key, found in sorted(self._table().items()) if kind in (None, key[0]) for k in found]

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted({k.name for k in self.known(kind)})

    def find(self, kind: str, name: str) -> type[Any]:
        """The class of a plugin, imported and checked against its interface. Raises `PluginError`."""
        return self.load(self._one(kind, name))

    def origin(self, kind: str, name: str) -> str:
        """Where a plugin comes from. Raises `PluginError` where there is none."""
        return self._one(kind, name).origin

    def spec(self, kind: str, name: str) -> PluginSpec:
        """What `@plugin` noted on the class. Raises `PluginError`."""
        return spec_of(self.find(kind, name))

    def nearest(self, kind: str, name: str) -> str | None:
        """The name of that kind that looks most like `name`."""
        return next(iter(difflib.get_close_matches(name.lower(), self.names(kind), 1)), None)

    def load(self, known: Known) -> type[Any]:
        """Import and check one. Raises `PluginError` that names its origin."""
        if known not in self._classes:
            cls = _local_class(known.source) if isinstance(known.source, local.Mention) else _entry_point_class(known)
            _verify(cls, known)
            self._classes[known] = cls
        return self._classes[known]

    def _one(self, kind: str, name: str) -> Known:
        if kind not in SEAMS:
            raise PluginError(f"no kind of plugin is called {kind!r}: there are " + ", ".join(SEAMS))
        if (kind, name) not in self._table():
            self._settle()
        found = self._table().get((kind, name), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise _duplicate(kind, name, found)
        near = self.nearest(kind, name)
        raise PluginError(f"no {kind} plugin {name!r}" + (f" (did you mean {near!r}?)" if near else self._offer(kind)))

    def _offer(self, kind: str) -> str:
        names = self.names(kind)
        return ": there is " + ", ".join(names) if names else f": there is no {kind} plugin at all"

    def _settle(self) -> None:
        """Import the files whose text does not tell the kind of a plugin."""
        for folder, (shown, mentions) in list(self._folders.items()):
            if any(m.kind is None for m in mentions):
                settled = [_settled(m) if m.kind is None else m for m in mentions]
                self._folders[folder] = (shown, settled)
                self._known = None

    def _table(self) -> Mapping[tuple[str, str], list[Known]]:
        if self._known is None:
            table: dict[tuple[str, str], list[Known]] = {}
            if self._installed is None:
                self._installed = list(entry_points(group=GROUP))
            seen: set[tuple[str, str, str]] = set()
            for point in self._installed:
                kind, _, name = point.name.partition(".")
                origin = _package(point)
                if (origin, point.name, point.value) not in seen:
                    seen.add((origin, point.name, point.value))
                    table.setdefault((kind, name), []).append(Known(kind, name, origin, point))
            for _, mentions in self._folders.values():
                for m in mentions:
                    if m.kind is not None:
                        table.setdefault((m.kind, m.name), []).append(Known(m.kind, m.name, f"{m.file}:{m.line}", m))
            self._known = table
        return self._known


def spec_of(cls: type[Any]) -> PluginSpec:
    """What `@plugin` noted on a class. Raises `PluginError` for a class without it."""
    spec = cls.__dict__.get("__p2pframe_plugin__")
    if not isinstance(spec, PluginSpec):
        raise PluginError(f"{cls.__module__}.{cls.__qualname__} is no plugin: put @plugin(...) on it")
    return spec


def _duplicate(kind: str, name: str, found: Sequence[Known]) -> PluginError:
    origins = " and ".join(k.origin for k in found)
    return PluginError(f"two {kind} plugins are called {name!r}: in {origins}: rename or remove one")


def _package(point: EntryPoint) -> str:
    if point.dist is None:
        return f"entry point {point.value}"
    return f"package {point.dist.name} {point.dist.version} ({point.value})"


def _entry_point_class(known: Known) -> type[Any]:
    # Not asked for its class: a package that imports the backport importlib_metadata (Dask does) puts that one's own
    # EntryPoint in the place of Python's.
    point = known.source
    assert not isinstance(point, local.Mention)
    try:
        cls = point.load()
    except Exception as error:  # noqa: BLE001 - whatever a plugin's own code raises is that plugin's error
        raise PluginError(
            f"{known.kind} plugin {known.name!r} of {known.origin}: {local.import_failure(error, _file(point))}"
        ) from None
    if not isinstance(cls, type):
        raise PluginError(f"{known.kind} plugin {known.name!r} of {known.origin}: the entry point names no class")
    return cls


def _file(point: EntryPoint) -> str:
    try:
        spec = importlib.util.find_spec(point.module)
    except (ImportError, ValueError, AttributeError):
        spec = None
    return spec.origin if spec and spec.origin else point.module


def _local_class(mention: local.Mention) -> type[Any]:
    cls = getattr(local.load(mention.file), mention.attribute, None)
    if not isinstance(cls, type):
        raise PluginError(f"{mention.file}:{mention.line}: importing it leaves no class {mention.attribute}")
    return cls


def _settled(mention: local.Mention) -> local.Mention:
    kind = spec_of(_local_class(mention)).kind
    return local.Mention(mention.name, kind, mention.summary, mention.file, mention.line, mention.attribute)


def _verify(cls: type[Any], known: Known) -> None:
    """That it is what its name says, and has all that the interfaces of its kind ask for."""
    who = f"{known.kind} plugin {known.name!r} of {known.origin}"
    spec = spec_of(cls)
    if (spec.kind, spec.name) != (known.kind, known.name):
        raise PluginError(f"{who}: its class says that it is the {spec.kind} plugin {spec.name!r}")
    implemented = implementedBy(cls)
    seams: list[InterfaceClass] = [seam for seam in SEAMS[known.kind] if implemented.isOrExtends(seam)]
    if not seams:
        wanted = " or ".join(seam.__name__ for seam in SEAMS[known.kind])
        raise PluginError(f"{who}: does not implement {wanted}: put @implementer({wanted}) below @plugin")
    for seam in seams:
        try:
            verifyClass(seam, cls)
        except Invalid as error:
            # MultipleInvalid holds one error for each method.
            faults = getattr(error, "exceptions", (error,))
            raise PluginError(f"{who}: {'; '.join(_missing(e) for e in faults)}") from None


def _missing(error: Exception) -> str:
    """zope's words in one line, without what was said before: whose class it is, and the modules of the interface."""
    text = " ".join(str(error).split()).rstrip(".")
    return _PREAMBLE.sub("", text).replace(" attribute was not provided", " is missing")
