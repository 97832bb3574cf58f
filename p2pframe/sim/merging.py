"""One tree laid over another: how an override changes a node file, and a variant its scenario."""

from __future__ import annotations

from collections.abc import Iterator

from p2pframe.config.loader import DEFAULTS, SINGLES
from p2pframe.config.tree import Entry, Listing, Place, Scalar, Table, Tree, set_value
from p2pframe.sim.distributions import SHAPES


def merged(base: Tree, over: Tree) -> Tree:
    """A new tree; everything keeps the place and the folder that it was read with.

    Mappings merge, lists and values replace. A mapping that names another plugin than the one below it replaces that,
    for the options of the one are not the other's; so does another distribution.
    """
    if not isinstance(base, Table) or not isinstance(over, Table) or _another(base, over):
        return over
    found = Table(base.place, base.folder, dict(base.entries))
    for key, entry in over.entries.items():
        below = base.entries.get(key)
        if below is None:
            found.entries[key] = entry
        else:
            value = merged(below.value, entry.value)
            # Where only something within has changed, the key stands where it did.
            found.entries[key] = Entry(key, entry.place if value is entry.value else below.place, value)
    return found


def overridden(node: Tree, override: Table) -> Tree:
    """A node file with an override laid over it.

    Where the override has options of a plugin that the file leaves to the default, they are that plugin's.
    """
    networks, changed = (tree.get("networks") if isinstance(tree, Table) else None for tree in (node, override))
    if isinstance(networks, Table) and isinstance(changed, Table):
        for name, entry in changed.entries.items():
            network = networks.get(name)
            for key in SINGLES:
                options = entry.value.get(key) if isinstance(entry.value, Table) else None
                given = isinstance(options, Table) and "plugin" not in options.entries
                if given and isinstance(network, Table) and key not in network.entries:
                    plugin = DEFAULTS[key][0]
                    value = Scalar(network.place, network.folder, plugin, plugin)
                    written = set_value(node, ["networks", name, key, "plugin"], value)
                    node = node if isinstance(written, str) else written
    return merged(node, override)


def _another(base: Table, over: Table) -> bool:
    one, other = base.get("plugin"), over.get("plugin")
    if isinstance(one, Scalar) and isinstance(other, Scalar) and one.value != other.value:
        return True
    shapes = [key for key in over.entries if key in SHAPES]
    return bool(shapes) and not all(key in base.entries for key in shapes)


def places(tree: Tree) -> Iterator[Place]:
    """The places of everything in it, keys too."""
    yield tree.place
    if isinstance(tree, Listing):
        for item in tree.items:
            yield from places(item)
    elif isinstance(tree, Table):
        for entry in tree.entries.values():
            yield entry.place
            yield from places(entry.value)
