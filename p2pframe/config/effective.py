"""A whole configuration as plain data, defaults filled in, secrets as `***`: what may be shown to anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from pydantic import BaseModel

from p2pframe.config.settings import NetworkSpec, NodeSettings, PluginChoice
from p2pframe.config.tree import HIDDEN, Listing, Scalar, Table, Tree, has_secret

if TYPE_CHECKING:
    from p2pframe.config.choices import Choices


def effective(
    settings: NodeSettings,
    storage: PluginChoice,
    networks: Mapping[str, NetworkSpec],
    applications: Sequence[PluginChoice],
    tree: Table,
    choices: Choices,
) -> dict[str, object]:
    """All of a configuration in the shape of its file."""
    networks_tree = tree.get("networks")

    def choice(chosen: PluginChoice) -> dict[str, object]:
        around = choices.tree(chosen)
        data: dict[str, object] = {"plugin": chosen.spec.name}
        if chosen.network is not None:
            data["network"] = chosen.network
        data |= _dump(chosen.config)
        named = around.get("plugin") if around else None
        shown = _hide(data, around) if around else data
        if isinstance(shown, dict) and named is not None and has_secret(named):
            shown["plugin"] = HIDDEN
        return shown if isinstance(shown, dict) else data

    def network(spec: NetworkSpec) -> dict[str, object]:
        of_network = networks_tree.get(spec.name) if isinstance(networks_tree, Table) else None
        limits_tree = of_network.get("limits") if isinstance(of_network, Table) else None
        return {
            "protocol": choice(spec.protocol),
            "transports": [choice(c) for c in spec.transports],
            "upgrades": [choice(c) for c in spec.upgrades],
            "discovery": [choice(c) for c in spec.discovery],
            "topology": choice(spec.topology) if spec.topology else None,
            "relay": choice(spec.relay) if spec.relay else None,
            "scoring": [choice(c) for c in spec.scoring],
            "authentication": [choice(c) for c in spec.authentication],
            "validators": [choice(c) for c in spec.validators],
            "item_stores": {topic: choice(c) for topic, c in spec.item_stores.items()},
            "limits": _hide(_dump(spec.limits), limits_tree),
        }

    return {
        "version": 1,
        "node": _hide(_dump(settings), tree.get("node")),
        "storage": choice(storage),
        "applications": [choice(c) for c in applications],
        "networks": {name: network(spec) for name, spec in networks.items()},
    }


def _dump(model: BaseModel) -> dict[str, object]:
    try:
        return dict(model.model_dump(mode="json", by_alias=True, fallback=str))
    except Exception:  # noqa: BLE001 - a plugin's own serializer may raise anything, and this is only for showing
        return {name: _text(getattr(model, name)) for name in type(model).model_fields}


def _text(value: object) -> object:
    return (
        str(value)
        if isinstance(value, PurePath) or not isinstance(value, (str, int, float, bool, type(None)))
        else value
    )


def _hide(data: object, tree: Tree | None) -> object:
    """The data with `***` wherever the tree has a secret; all of a value whose shape the model has changed."""
    if tree is None or not has_secret(tree):
        return data
    if isinstance(tree, Table) and isinstance(data, dict):
        return {key: _hide(value, tree.get(key)) for key, value in data.items()}
    if isinstance(tree, Listing) and isinstance(data, list) and len(data) == len(tree.items):
        return [_hide(value, item) for value, item in zip(data, tree.items, strict=True)]
    if isinstance(tree, Scalar) or has_secret(tree):
        return HIDDEN
    return data
