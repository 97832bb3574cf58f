"""Applies a new configuration to a running node: live fields in place, the rest by restarting the network that changed.

What belongs to the process itself (storage, the node's own settings that are not live) can't be changed under it: that is
refused with what to do, and nothing is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2pframe.config import Changes, Effect, NetworkSpec, NodeSpec, PluginChoice
from p2pframe.core.building import Place
from p2pframe.errors import StartError
from p2pframe.interfaces import IReconfigurable

if TYPE_CHECKING:
    from p2pframe.core.node import Node


async def apply(node: Node, new: NodeSpec, changes: Changes) -> Sequence[str]:
    """Apply `changes`, the difference between the node's spec and `new`. Returns what was done, in words.

    Raises `StartError` where it takes a restart of the whole node (nothing is applied then), or where a restarted network
    did not come up (which the text names; the others run on).
    """
    if changes.node.effect is Effect.RESTART or changes.storage.effect is Effect.RESTART:
        fixed = [str(c) for part in (changes.node, changes.storage) for c in part.changes if not c.live]
        raise StartError("these take a restart of the node, and nothing was changed: " + "; ".join(fixed))
    done: list[str] = []
    old, node.spec = node.spec, new
    if changes.node.changes:
        node.bans.reconfigure(new.node)
        node.events.resize(new.node.events)
    _reconfigure(node.builder.places_of(""), [new.storage], old_choices=[old.storage])
    restart = [name for name, part in changes.networks.items() if part.effect is Effect.RESTART]
    for name, part in changes.networks.items():
        if part.effect is Effect.LIVE:
            _live_network(node, old.networks[name], new.networks[name])
    done += [f"changed: {text}" for text in changes.words()]
    for name in changes.removed:
        await node.remove_network(name)
        done.append(f"networks.{name} was stopped")
    for name in (*restart, *changes.added):
        await node.restart_network(new.networks[name])
        done.append(f"networks.{name} was {'restarted' if name in restart else 'started'}")
    if changes.applications.effect is Effect.LIVE:
        _reconfigure(node.builder.places_of(""), list(new.applications), list(old.applications))
    elif changes.applications.effect is Effect.RESTART and not (restart or changes.added or changes.removed):
        await node.restart_applications()
        done.append("the applications were restarted")
    return done


def _live_network(node: Node, old: NetworkSpec, new: NetworkSpec) -> None:
    network = node.networks[new.name]
    network.spec, network.limits = new, new.limits
    network.gate.reconfigure(new.limits)
    network.book.reconfigure(new.limits)
    network.restart_timers()
    _reconfigure(node.builder.places_of(new.name), choices_of(new), choices_of(old))


def _reconfigure(places: Sequence[Place], new: Sequence[PluginChoice], old_choices: Sequence[PluginChoice]) -> None:
    """Give each built plugin its new config. Old and new are the same plugins in the same order: `diff` saw to that."""
    by_choice = {id(place.choice): place for place in places}
    for before, after in zip(old_choices, new, strict=True):
        place = by_choice.get(id(before))
        if place is None:
            continue
        place.choice = after
        if before.config != after.config and IReconfigurable.providedBy(place.instance):
            place.instance.reconfigure(after.config)


def choices_of(spec: NetworkSpec) -> list[PluginChoice]:
    """Every plugin of a network, the protocol first."""
    return [
        spec.protocol, *spec.transports, *spec.upgrades, *spec.discovery,
        *([spec.topology] if spec.topology is not None else []),
        *([spec.relay] if spec.relay is not None else []),
        *spec.scoring, *spec.authentication, *spec.validators, *spec.item_stores.values(),
    ]  # fmt: skip
