"""What the suites stand on: a plugin built in a fresh world, what is required of it, and how that is said.

A suite quotes the interface it holds a plugin to: `require` takes the sentence of the docstring that would be broken,
and refuses one that does not stand there, so that no suite asks for what no interface promises.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar, cast

from pydantic import BaseModel
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface.interface import InterfaceClass

import p2pframe.interfaces
from p2pframe.plugin import PluginConfig, PluginSpec
from p2pframe.testing.conformance.services import stand_ins
from p2pframe.testing.context import FakeContext

T = TypeVar("T")

_MISSING = object()


class NonConformance(AssertionError):
    """A plugin does not do what its interface says: who, which method, which sentence, and what was seen."""

    def __init__(self, plugin: str, method: str, sentence: str, evidence: str) -> None:
        self.plugin = plugin
        self.method = method
        self.sentence = sentence
        self.evidence = evidence
        super().__init__(f"{plugin} breaks {method}: {sentence!r}\n  seen: {evidence}")


class Bench:
    """One plugin class under one suite.

    `cls` is the class, `config` its checked config, `kind` and `interface` what it is tested as, `options` what the
    caller of `check` gave besides. Nothing here needs a reactor: time passes when the suite says so.
    """

    def __init__(
        self,
        cls: type[Any],
        interface: InterfaceClass,
        kind: str,
        config: Mapping[str, object] | PluginConfig | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.cls = cls
        self.interface = interface
        self.kind = kind
        self.spec: PluginSpec = cls.__p2pframe_plugin__
        self.options = dict(options or {})
        self.label = f"{kind} {self.spec.name} ({cls.__module__}.{cls.__qualname__})"
        self.given = _as_mapping(config)
        """The options as they were given, before they were checked."""
        self.config = self.spec.config.model_validate(self.given)
        self._read: set[str] = set()
        self._running: list[Any] = []
        self._contexts: list[tuple[Any, Any]] = []
        self._trace = hashlib.sha256()

    # --- worlds ---

    def make(self, **config_changes: object) -> tuple[Any, FakeContext]:
        """A new plugin in a new world of its own, equal to every other world of this bench; not started yet.

        `config_changes` are options as the YAML would give them, over those of `check`.
        """
        context = self.context()
        return self.build(context, **config_changes), context

    def context(self, seed: int = 0, reactor: Any = None) -> FakeContext:
        """A new world: a clock at 0, seeded chance, memory for storage, stand-ins for core's services.

        Two that are to meet have seeds of their own and may share a reactor.
        """
        context = FakeContext(f"{self.kind}.{self.spec.name}", seed=seed, reactor=reactor)
        services = dict(stand_ins(context))
        given: Any = self.option("services", None)
        services.update((given(context) if callable(given) else given) or {})
        context.services = cast(dict[Any, object], services)
        return context

    def build(self, context: Any, **config_changes: object) -> Any:
        """A new plugin in a world that is there."""
        config = self.changed(**config_changes)
        plugin = self.call("", "", self.cls, config, context)
        self._contexts.append((plugin, context))
        return plugin

    def changed(self, **config_changes: object) -> PluginConfig:
        """The config with other values for some options, checked."""
        return self.config if not config_changes else self.spec.config.model_validate({**self.given, **config_changes})

    def start(self, plugin: Any) -> None:
        """Start a plugin that is also a service, as its network would."""
        if IService.providedBy(plugin):
            self._running.append(plugin)
            self._finish(plugin, self.call("", "", plugin.startService))

    def stop(self, plugin: Any) -> None:
        """Stop what `start` started, as its network would; nothing where it was not started."""
        if plugin in self._running:
            self._running.remove(plugin)
            self._finish(plugin, self.call("", "", plugin.stopService))

    def _finish(self, plugin: Any, deferred: object) -> None:
        context = next(context for built, context in self._contexts if built is plugin)
        if isinstance(deferred, Deferred):
            self.wait(deferred, context, "", "")

    def close(self) -> None:
        """Stop every plugin that a suite left running."""
        for plugin in list(self._running):
            self.stop(plugin)

    def option(self, name: str, default: T) -> T:
        """An option that the caller of `check` gave to the suite; `check` complains of those that nobody asked for."""
        self._read.add(name)
        return cast(T, self.options.get(name, default))

    def unread(self) -> set[str]:
        """The options that no suite has asked for."""
        return set(self.options) - self._read

    def random(self, *labels: object) -> Random:
        """A stream of chance of the suite's own, the same one in every run."""
        return Random("/".join(map(str, (self.kind, *labels))))

    # --- what is required ---

    def require(self, condition: object, method: str, sentence: str, evidence: object = "") -> None:
        """Raise `NonConformance` unless `condition` holds.

        `method` is a name of the interface under test (`find`), or of another one (`IConversation.receive`); `""` is
        the interface itself. `sentence` is quoted from its docstring: ValueError where it does not stand there.
        `evidence` may be a function, called only when it is needed.
        """
        self._check_quote(method, sentence)
        if not condition:
            self._said(method, sentence, str(evidence() if callable(evidence) else evidence))

    def rule(self, condition: object, where: str, sentence: str, evidence: object = "") -> None:
        """Like `require`, for what is asked of every plugin by the docs and stands in no single interface."""
        if not condition:
            raise NonConformance(self.label, where, sentence, str(evidence() if callable(evidence) else evidence))

    def call(
        self,
        method: str,
        sentence: str,
        function: Callable[..., T],
        *args: Any,
        allowed: tuple[type[BaseException], ...] = (),
        **kwargs: Any,
    ) -> T:
        """Call into the plugin: an exception (but those `allowed`) breaks `sentence`, with its traceback as evidence.

        Without a sentence it breaks the rule that a plugin raises nothing that its interface does not name.
        """
        try:
            return function(*args, **kwargs)
        except NonConformance:
            raise
        except allowed:
            raise
        except Exception as error:
            self._blame(method, sentence, error)
            raise AssertionError("not reached") from error

    def wait(
        self,
        deferred: Deferred[T] | T,
        context: Any,
        method: str,
        sentence: str,
        limit: float = 60.0,
        allowed: tuple[type[BaseException], ...] = (),
    ) -> T:
        """What a Deferred fires with, at most `limit` virtual seconds from now.

        A failure breaks `sentence`, but for those `allowed`, which are raised as they are.
        """
        results: list[Any] = []
        failures: list[Failure] = []
        maybeDeferred(lambda: deferred).addCallbacks(results.append, failures.append)
        waited = 0.0
        while not results and not failures and waited < limit:
            context.reactor.advance(0.25)
            waited += 0.25
        if failures:
            if allowed and failures[0].check(*allowed):
                failures[0].raiseException()
            self._blame(method, sentence, cast(BaseException, failures[0].value))
        if not results:
            self._said(method, sentence, f"its Deferred has not fired after {limit:g} virtual seconds")
        return cast(T, results[0])

    # --- what can be told of two runs ---

    def note(self, *things: object) -> None:
        """Add to the trace of the run, which must be the same under any PYTHONHASHSEED: values with a stable repr."""
        self._trace.update(repr(things).encode())

    @property
    def trace(self) -> str:
        """The hash of all that was noted."""
        return self._trace.hexdigest()

    def twice(self, story: Callable[[], object], where: str = "the trace") -> Any:
        """Run a story in two equal worlds and require equal ends, which are also noted; returns the first.

        The story makes its own plugin and returns plain values: what was sent, answered, decided.
        """
        first, second = story(), story()
        self.rule(
            first == second,
            where,
            "two instances in equal worlds given the same calls do the same: time and chance come from the context",
            lambda: f"first {_short(first)}, then {_short(second)}",
        )
        self.note(first)
        return first

    # --- how it is said ---

    def _blame(self, method: str, sentence: str, error: BaseException) -> None:
        lines = traceback.format_exception(error)
        self._said(
            method, sentence or "raises nothing that its interface does not name", "".join(lines[-6:]).strip(), error
        )

    def _said(self, method: str, sentence: str, evidence: str, error: BaseException | None = None) -> None:
        sentence = sentence or "every Deferred fires"
        raise NonConformance(self.label, self._name(method), sentence, evidence) from error

    def _name(self, method: str) -> str:
        if not method:
            return self.interface.__name__
        return method if method.startswith("I") and method[1:2].isupper() else f"{self.interface.__name__}.{method}"

    def _check_quote(self, method: str, sentence: str) -> None:
        name, _, attribute = self._name(method).partition(".")
        interface = self.interface if name == self.interface.__name__ else getattr(p2pframe.interfaces, name)
        text = interface.__doc__ if not attribute else interface[attribute].__doc__
        if _plain(sentence) not in _plain(text or ""):
            raise ValueError(f"the suite of {self.kind} quotes what {self._name(method)} does not say: {sentence!r}")


def source_of(cls: type[Any]) -> str:
    """The file that defines a class."""
    return inspect.getfile(cls)


def _as_mapping(config: Mapping[str, object] | PluginConfig | None) -> dict[str, object]:
    if config is None:
        return {}
    if isinstance(config, BaseModel):
        return {name: getattr(config, name) for name in sorted(config.model_fields_set)}
    return dict(config)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
