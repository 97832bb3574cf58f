"""The rules of every plugin, whatever its kind: what it says of itself, and how it lives in its context."""

from __future__ import annotations

# real world: random: it looks whether a plugin draws from the process's own chance
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from zope.interface import implementedBy
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import IReconfigurable
from p2pframe.plugin import PluginConfig, is_live
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.context import FakeContext

_SOCKETS = (
    "tcpClients", "tcpServers", "sslClients", "sslServers", "unixClients", "unixServers", "udpPorts", "connectors",
    "adoptedPorts", "adoptedStreamConnections", "readers", "writers",
)  # fmt: skip


def check(bench: Bench) -> None:
    """Hold a plugin to the rules of every plugin. Raises `NonConformance`."""
    _says_what_it_is(bench)
    _its_config_is_strict(bench)
    _its_constructor_opens_nothing(bench)
    _starts_and_stops(bench)
    _takes_live_options(bench)


@contextmanager
def nothing_touched(bench: Bench) -> Iterator[None]:
    """Hold what runs within to the context: it leaves the process's chance and its reactor alone."""
    chance = random.getstate()
    calls = _global_calls()
    yield
    bench.rule(
        random.getstate() == chance, "IContext.rng", "Order and jitter; repeatable in the simulator.",
        "the functions of the module `random` were used: draw from context.rng",
    )  # fmt: skip
    fresh = [call for call in _global_calls() if call not in calls]
    bench.rule(
        not fresh, "IContext.reactor", "Time and sockets: IReactorTime, IReactorTCP, IReactorUDP",
        f"the global reactor was used: {fresh[:3]}: use context.reactor, and give a LoopingCall its `clock`",
    )  # fmt: skip


def _says_what_it_is(bench: Bench) -> None:
    spec, cls = bench.spec, bench.cls
    bench.rule(
        spec.summary == spec.summary.strip() and len(spec.summary) > 10, "@plugin",
        "the docstring's first line is the summary that users see", f"the summary is {spec.summary!r}",
    )  # fmt: skip
    plugin, _ = bench.make()
    for seen, verify, thing in (("class", verifyClass, cls), ("object", verifyObject, plugin)):
        try:
            verify(bench.interface, thing)
        except Invalid as error:
            bench.rule(
                False, bench.interface.__name__, "a plugin has every name of its interface", f"the {seen}: {error}"
            )
    if "name" in bench.interface:
        said = plugin.name
        bench.require(said == spec.name, "name", "The plugin's name", f"@plugin says {spec.name!r}, name is {said!r}")


def _its_config_is_strict(bench: Bench) -> None:
    model = bench.spec.config
    bench.rule(
        issubclass(model, PluginConfig), "@plugin", "a config model is a PluginConfig", f"it is {model.__name__}"
    )
    try:
        model.model_validate({**bench.given, "no-such-option": 1})
    except ValidationError as error:
        refused = any(each["type"] == "extra_forbidden" for each in error.errors(include_url=False))
    else:
        refused = False
    bench.rule(refused, model.__name__, "a config refuses what it does not know", "it took the key 'no-such-option'")
    bench.rule(model.model_config.get("frozen"), model.__name__, "a config is frozen", "its fields can be set")
    for name, field in model.model_fields.items():
        bench.rule(field.description, f"{model.__name__}.{name}", "every option has a description", "it has none")
    live = [name for name in model.model_fields if is_live(model, name)]
    bench.rule(
        not live or implementedBy(bench.cls).isOrExtends(IReconfigurable), "IReconfigurable",
        "A plugin with live config fields also provides this.", f"live are {', '.join(live)}",
    )  # fmt: skip


def _its_constructor_opens_nothing(bench: Bench) -> None:
    plugin, context = bench.make()
    _nothing_open(bench, context, "after the constructor")
    storing = context._storage is not None
    bench.rule(
        not storing, "IContext.storage", "to be used from start on", "the constructor asked for context.storage"
    )
    del plugin


def _nothing_open(bench: Bench, context: FakeContext, when: str) -> None:
    pending = context.reactor.getDelayedCalls()
    bench.rule(not pending, bench.cls.__name__, "nothing is timed before start and nothing after stop",
               f"{when} there are delayed calls: {[str(call) for call in pending[:3]]}")  # fmt: skip
    opened = {name: getattr(context.reactor, name) for name in _SOCKETS if getattr(context.reactor, name, None)}
    bench.rule(not opened, bench.cls.__name__, "a constructor opens nothing", f"{when} the reactor has {opened}")
    bench.rule(not context.worked, bench.cls.__name__, "a constructor opens nothing", f"{when} context.work was used")


def _starts_and_stops(bench: Bench) -> None:
    """A plugin that is a service leaves nothing behind; those that are none have nothing to start here."""
    plugin, context = bench.make()
    bench.start(plugin)
    context.reactor.advance(1.0)
    bench.stop(plugin)
    pending = context.reactor.getDelayedCalls()
    bench.rule(not pending, bench.cls.__name__, "nothing is timed before start and nothing after stop",
               lambda: f"after stop there are delayed calls: {[str(call) for call in pending[:3]]}")  # fmt: skip


def _takes_live_options(bench: Bench) -> None:
    model = bench.spec.config
    if not implementedBy(bench.cls).isOrExtends(IReconfigurable):
        return
    for name in model.model_fields:
        if not is_live(model, name):
            continue
        for config in _other_values(bench, name):
            plugin, _ = bench.make()
            old = bench.config
            bench.call("IReconfigurable.reconfigure", "Must not raise.", plugin.reconfigure, config)
            kept = [key for key, value in getattr(plugin, "__dict__", {}).items() if value is old]
            bench.require(
                not kept, "IReconfigurable.reconfigure", "Usually `self.config = config`.",
                f"after another value for {name} it still holds the old config as {', '.join(kept)}",
            )  # fmt: skip


def _other_values(bench: Bench, name: str) -> list[PluginConfig]:
    """Configs that differ in one option, as far as its model takes what can be thought of for its type."""
    value: Any = getattr(bench.config, name)
    tries: list[object] = []
    if isinstance(value, bool):
        tries = [not value]
    elif isinstance(value, (int, float)):
        tries = [value * 2, value + 1, value / 2, type(value)(value // 2), 1]
    elif isinstance(value, (tuple, list, frozenset, set, dict)):
        tries = [()]
    elif value is None:
        tries = [1, "x"]
    found = []
    for other in tries:
        try:
            config = bench.changed(**{name: other})
        except ValidationError:
            continue
        if getattr(config, name) != value:
            found.append(config)
    return found


def _global_calls() -> list[Any]:
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    return list(reactor.getDelayedCalls()) if hasattr(reactor, "getDelayedCalls") else []
