"""Applies a new configuration to a running node: live fields in place, the rest by restarting the network that changed.

What belongs to the process itself (storage, the node's own settings that are not live) can't be changed under it: that
is refused with what to do, and nothing is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from p2pframe.config import Changes, Effect, NetworkSpec, NodeSpec, PluginChoice, diff
from p2pframe.config.setting import load_with, settings
from p2pframe.config.tree import Plain
from p2pframe.errors import ConfigError, ConfigProblem, P2PFrameError, RestartNeeded, StartError
from p2pframe.interfaces import IReconfigurable

if TYPE_CHECKING:
    from p2pframe.core.node import Node


async def apply(node: Node, new: NodeSpec, changes: Changes) -> Sequence[str]:
    """Apply `changes`, the difference between the node's spec and `new`. Returns what was done, in words.

    A network that did not come up the last time is tried again, whatever differs. Raises `RestartNeeded` (nothing
    is applied then), or `StartError` where networks did not come up: the rest is applied, and the
    text names those that are down.
    """
    if changes.node.effect is Effect.RESTART or changes.storage.effect is Effect.RESTART:
        fixed = [str(c) for part in (changes.node, changes.storage) for c in part.changes if not c.live]
        raise RestartNeeded("these take a restart of the node, and nothing was changed: " + "; ".join(fixed))
    done: list[str] = []
    old, node.spec = node.spec, new
    if changes.node.changes:
        node.bans.reconfigure(new.node)
        node.events.resize(new.node.events)
        node.log_lines.resize(new.node)
        for changed in node.settings_changed:
            changed(new.node)
    _reconfigure(node, "", [new.storage], [old.storage])
    restart = [name for name, part in changes.networks.items() if part.effect is Effect.RESTART]
    down = [name for name in changes.networks if name not in node.networks and name not in restart]
    for name, part in changes.networks.items():
        if part.effect is Effect.LIVE and name not in down:
            _live_network(node, old.networks[name], new.networks[name])
    done += [f"changed: {text}" for text in changes.words()]
    for name in changes.removed:
        await node.remove_network(name)
        done.append(f"networks.{name} was stopped")
    failures: list[str] = []
    for name in (*restart, *changes.added, *down):
        try:
            await node.restart_network(new.networks[name])
        except P2PFrameError as error:
            failures.append(f"networks.{name} is down: {error}")
        else:
            done.append(f"networks.{name} was {'restarted' if name in restart else 'started'}")
    if changes.applications.effect is Effect.LIVE:
        _reconfigure(node, "", list(new.applications), list(old.applications))
    elif changes.applications.effect is Effect.RESTART and not (restart or changes.added or changes.removed or down):
        await node.restart_applications()
        done.append("the applications were restarted")
    if failures:
        raise StartError("\n".join(failures) + "\nthe rest runs on; mend that and have the configuration read again")
    return done


async def change(
    node: Node, values: Mapping[str, object], dry: bool, based_on: Mapping[str, object] | None = None
) -> Sequence[str]:
    """See `INodeControl.change`."""
    if based_on is not None and based_on != node.changed:
        raise P2PFrameError(
            "somebody has set something meanwhile, or the file was read again: nothing was changed, look again"
        )
    if node.spec.path is None:
        raise RestartNeeded("this node was not started from a file: nothing can be laid over it")
    wanted: dict[str, Plain] = {}
    for path, value in values.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            place = ConfigProblem("set while it runs", 1, 1, path, "is no single value")
            raise ConfigError([place])
        wanted[path] = value
    new = load_with(node.spec.path, wanted)
    changes = diff(node.spec, new)
    parts = (changes.node, changes.storage, changes.applications, *changes.networks.values())
    found = [one for part in parts for one in part.changes]
    ours = {*wanted, *node.changed}
    strange = [one.path for one in found if one.path not in ours]
    if strange or changes.added or changes.removed:
        named = ", ".join([*strange, *changes.added, *changes.removed][:5])
        raise RestartNeeded(f"the file has changed since it was read ({named}): have it read again first (SIGHUP)")
    allowed = {one.path for one in settings(new, {}) if one.live}
    fixed = [
        ConfigProblem("set while it runs", 1, 1, one.path, "is not set while the node runs: change the file")
        for one in found
        if one.path not in allowed
    ]
    if fixed:
        raise ConfigError(fixed)
    if dry:
        return changes.words()
    done = await apply(node, new, changes)
    node.changed = wanted
    return done


def _live_network(node: Node, old: NetworkSpec, new: NetworkSpec) -> None:
    node.networks[new.name].reconfigure(new)
    _reconfigure(node, new.name, choices_of(new), choices_of(old))


def _reconfigure(node: Node, network: str, new: Sequence[PluginChoice], old: Sequence[PluginChoice]) -> None:
    """Give each built plugin its new config. Old and new are the same plugins in the same order: `diff` saw to that."""
    by_choice = {id(place.choice): place for place in node.builder.places_of(network)}
    for before, after in zip(old, new, strict=True):
        place = by_choice.get(id(before))
        if place is None:
            continue
        place.choice = after
        if before.config != after.config and IReconfigurable.providedBy(place.instance):
            try:
                place.instance.reconfigure(after.config)
            except Exception:  # noqa: BLE001 - one plugin's fault must not leave the others with half a configuration
                node.plugin_failed(network, place.choice.label, "reconfigure", Failure())


def choices_of(spec: NetworkSpec) -> list[PluginChoice]:
    """Every plugin of a network, the protocol first."""
    return [
        spec.protocol, *spec.transports, *spec.upgrades, *spec.discovery,
        *([spec.topology] if spec.topology is not None else []),
        *([spec.relay] if spec.relay is not None else []),
        *spec.scoring, *spec.authentication, *spec.validators, *spec.item_stores.values(),
    ]  # fmt: skip
