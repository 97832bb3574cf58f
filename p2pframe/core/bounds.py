"""Every bound of the configuration in force: its value, what is used of it, and how often it turned something away.

The declarations say which fields are bounds and what counts them (`p2pframe.plugin.bound`); core knows how much of its
own bounds is used, and asks a plugin for its own (`IUsage`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel
from twisted.python.failure import Failure

from p2pframe.config.setting import settings
from p2pframe.config.settings import NodeSpec, PluginChoice
from p2pframe.config.tree import Plain
from p2pframe.core.metrics import PREFIX
from p2pframe.interfaces import BoundView, IUsage, SettingView
from p2pframe.plugin import Bound, bound_of

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.node import Node

BUCKET = 64
"""Addresses of one bucket of the address book: its bounds are numbers of buckets."""
TEXT = 200
"""Characters of a list that are told of it."""
_LISTS = ("transports", "upgrades", "discovery", "scoring", "authentication", "validators")

Numbers = Mapping[str, Mapping[tuple[str, ...], float]]


class _Declared(NamedTuple):
    """A bound as the configuration has it. `part` is the plugin's choice; None: core's own."""

    network: str
    field: str
    part: PluginChoice | None
    said: Bound
    setting: SettingView
    description: str


class Bounds:
    """The bounds of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._of: tuple[NodeSpec, dict[str, Plain]] | None = None
        self._declared: list[_Declared] = []

    def now(self) -> Sequence[BoundView]:
        """See `INodeView.bounds`."""
        numbers = self._node.metrics.snapshot()
        usage: dict[tuple[str, int], Mapping[str, float]] = {}
        slots = {
            name: {slot.name.lower(): float(used) for slot, used in network.open_sessions().items()}
            for name, network in self._node.networks.items()
        }
        found = []
        for one in self._all():
            key = one.network, id(one.part)
            if key not in usage:
                usage[key] = self._usage(one.network, one.part, numbers)
            said, setting = one.said, one.setting
            used = slots.get(one.network, {}).get(said.slot) if said.slot else usage[key].get(one.field)
            found.append(
                BoundView(
                    one.network, setting.path, setting.value, said.unit, setting.where, setting.live, one.description,
                    f"{PREFIX}{said.counter}_total" if said.counter else "", said.label, said.refuses, said.fills,
                    _counted(one, numbers), used,
                )
            )  # fmt: skip
        return found

    def _all(self) -> list[_Declared]:
        """What is declared: looked up anew when the configuration has changed, as its places are read from the file."""
        node = self._node
        known = self._of
        if known is None or known[0] is not node.spec or known[1] != node.changed:
            self._of = node.spec, dict(node.changed)
            self._declared = list(_declared(node.spec, settings(node.spec, node.changed)))
        return self._declared

    def _usage(self, network: str, part: PluginChoice | None, numbers: Numbers) -> Mapping[str, float]:
        node = self._node
        if part is None:
            held = node.networks.get(network)
            return _of_network(held) if held is not None else _of_node(node, numbers) if not network else {}
        for place in node.builder.places_of(network):
            if place.choice is part and IUsage.providedBy(place.instance):
                try:
                    return dict(place.instance.usage())
                except Exception:  # noqa: BLE001 - a plugin that can't say it hides no other's
                    node.plugin_failed(network, part.label, "usage", Failure())
        return {}


def _of_network(network: Network) -> Mapping[str, float]:
    """What is used now of the fields of `limits`."""
    sessions = network.sessions.values()
    queued = max((one.queued for one in sessions), default=0)
    book = network.book.counts
    return {
        "receive_buffer": max((one.unread for one in sessions), default=0),
        "receive_buffers_total": network.unread,
        "send_buffer": queued,
        "send_buffer_max": queued,
        "send_buffers_total": network.queued,
        "netgroups": network.gate.netgroups,
        "visits": len(network.visits),
        "handshakes": network.gate.handshakes,
        "dial_concurrency": len(network.dialer.under_way),
        "book_new_buckets": book.get("new", 0) / BUCKET,
        "book_tried_buckets": book.get("tried", 0) / BUCKET,
        "wanted_items": network.scheduler.most_wanted,
        **network.items.usage(),
    }


def _of_node(node: Node, numbers: Numbers) -> Mapping[str, float]:
    """What is used now of the node's own fields."""
    penalties = numbers.get(f"{PREFIX}penalties_in_force", {})
    return {
        "events": len(node.events),
        "bans": penalties.get(("", "ban"), 0),
        "discouraged": penalties.get(("", "discouragement"), 0),
    }


def _counted(one: _Declared, numbers: Numbers) -> float:
    """How often a bound has turned something away; what belongs to the node is counted by whoever meets it."""
    if not one.said.counter:
        return 0.0
    of_node = one.part is None and not one.network
    return sum(
        value
        for (network, *labels), value in numbers.get(f"{PREFIX}{one.said.counter}_total", {}).items()
        if (of_node or network == one.network) and all(label in labels for label in one.said.label)
    )


def _declared(spec: NodeSpec, known: Sequence[SettingView]) -> Iterator[_Declared]:
    by_path = {one.path: one for one in known}
    lists: dict[str, list[SettingView]] = {}
    for one in known:
        above = one.path.rpartition(".")[0]
        lists.setdefault(above, []).append(one)

    def of(model: BaseModel, at: str, network: str, part: PluginChoice | None) -> Iterator[_Declared]:
        for name, info in type(model).model_fields.items():
            said = bound_of(type(model), name)
            if said is None:
                continue
            path = f"{at}.{info.alias or name}"
            setting = by_path.get(path)
            if setting is None:
                several = lists.get(path, [])
                if not several:
                    continue  # an empty list bounds nothing
                text = ", ".join(str(one.value) for one in several)
                setting = SettingView(path, text[:TEXT], several[0].where, False)
            yield _Declared(network, name, part, said, setting, info.description or "")

    yield from of(spec.node, "node", "", None)
    yield from of(spec.storage.config, "storage", "", spec.storage)
    for index, choice in enumerate(spec.applications):
        yield from of(choice.config, f"applications.{index}", "", choice)
    for name, network in spec.networks.items():
        at = f"networks.{name}"
        yield from of(network.limits, f"{at}.limits", name, None)
        yield from of(network.protocol.config, f"{at}.protocol", name, network.protocol)
        for key in ("topology", "relay"):
            single: PluginChoice | None = getattr(network, key)
            if single is not None:
                yield from of(single.config, f"{at}.{key}", name, single)
        for key in _LISTS:
            for index, choice in enumerate(getattr(network, key)):
                yield from of(choice.config, f"{at}.{key}.{index}", name, choice)
        for topic, choice in network.item_stores.items():
            yield from of(choice.config, f"{at}.item_stores.{topic}", name, choice)
