"""Builds the plugins of a node in the order that they ask for one another.

A plugin's constructor may ask its context for a service; whoever provides it is built first. The order in which
buildings complete is the order of the start, reversed that of the stop. Asking in a circle is a config error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zope.interface import implementedBy
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from p2pframe.config.settings import PluginChoice
from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import SEAMS


@dataclass(eq=False)
class Place:
    """One plugin of the config in its network (empty: the node's), and its instance once it is built."""

    choice: PluginChoice
    network: str
    instance: Any = None
    building: bool = False

    @property
    def label(self) -> str:
        """For messages: `bitcoin: relay.inventory`."""
        return f"{self.network}: {self.choice.label}" if self.network else self.choice.label


class Builder:
    """Holds the places of a node, builds them on demand and remembers the order."""

    def __init__(self, make_context: Callable[[Place], object]) -> None:
        self._make_context = make_context
        self._places: list[Place] = []
        self._offered: dict[tuple[str, type[object]], object] = {}
        self.built: list[Place] = []

    def place(self, choice: PluginChoice, network: str) -> Place:
        """Add a plugin to be built."""
        place = Place(choice, network)
        self._places.append(place)
        return place

    def offer(self, network: str, interface: type[object], instance: object) -> None:
        """Core's own services (network empty: the node's)."""
        self._offered[network, interface] = instance

    def places_of(self, network: str) -> list[Place]:
        """The places of a network (empty: the node's), in config order."""
        return [place for place in self._places if place.network == network]

    def forget_kind(self, kind: str) -> None:
        """The node's plugins of a kind are taken down."""
        gone = [p for p in self._places if not p.network and p.choice.spec.kind == kind]
        self._places = [place for place in self._places if place not in gone]
        self.built = [place for place in self.built if place not in gone]

    def forget(self, network: str) -> None:
        """A network is taken down: its places and services are gone."""
        self._places = [place for place in self._places if place.network != network]
        self.built = [place for place in self.built if place.network != network]
        self._offered = {key: value for key, value in self._offered.items() if key[0] != network}

    def build(self, place: Place) -> Any:
        """The place's instance, built now if it is not yet. Raises `PluginError`, which names who it was."""
        if place.instance is not None:
            return place.instance
        where = f" ({place.choice.where})" if place.choice.where else ""
        if place.building:
            circle = " -> ".join(p.label for p in self._places if p.building)
            raise PluginError(f"{place.label}{where}: plugins ask for one another in a circle: {circle}")
        place.building = True
        try:
            instance = place.choice.cls(place.choice.config, self._make_context(place))
        except P2PFrameError:
            raise
        except Exception as error:
            raise PluginError(
                f"{place.label}{where}: could not be built: {type(error).__name__}: {error}"
                f" (from {place.choice.origin})"
            ) from error
        finally:
            place.building = False
        for seam in [seam for seam in SEAMS[place.choice.spec.kind] if seam.providedBy(instance)]:
            _verify(seam, instance, f"{place.label}{where}", place.choice.origin)
        place.instance = instance
        self.built.append(place)
        return instance

    def provide(self, asker: str, interface: type[object], network: str) -> object:
        """Whoever provides `interface` in `network`, or else in the node. Raises `PluginError`."""
        for scope in dict.fromkeys((network, "")):
            offered = self._offered.get((scope, interface))
            if offered is not None:
                return offered
            for place in self._places:
                if place.network == scope and implementedBy(place.choice.cls).isOrExtends(interface):
                    return self.build(place)
        known = sorted({p.network for p in self._places if p.network})
        where = f"network {network!r}" if network else "the node"
        hint = f"; the networks are {', '.join(known)}" if network and network not in known else ""
        raise PluginError(f"{asker} asks for {interface.__name__}, which nobody provides in {where}{hint}")


def _verify(seam: InterfaceClass, instance: object, label: str, origin: str) -> None:
    try:
        verifyObject(seam, instance)
    except Invalid as error:
        raise PluginError(f"{label}: {error} (from {origin})") from error
