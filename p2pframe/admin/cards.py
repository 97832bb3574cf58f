"""What plugins add to the overview (`IOverview`): a plugin that fails is named, and hides no other."""

from __future__ import annotations

from twisted.logger import Logger

from p2pframe.admin import rows, values
from p2pframe.interfaces import INodeView, IOverview

_log = Logger(namespace="p2pframe.admin")


class Cards:
    """Of a node."""

    def __init__(self, view: INodeView) -> None:
        self._view = view
        self._failed: dict[str, None] = {}
        """Plugins whose failure has been logged: the overview is looked at every few seconds."""

    def now(self) -> list[values.Card]:
        """Of each plugin that has one, in the order of the configuration."""
        return [self._of(label, plugin) for label, plugin in self._view.providers(IOverview)]

    def _of(self, label: str, plugin: IOverview) -> values.Card:
        try:
            return rows.card(plugin.overview_title, label, dict(plugin.overview()))
        except Exception as error:  # noqa: BLE001 - a plugin's mistake hides no other card
            if label not in self._failed:
                self._failed[label] = None
                _log.failure("{plugin} could not say what is on its card", plugin=label)
            said = f"{label} could not say what is on this card: {type(error).__name__}."
            return values.Card(title=label, plugin=label, values={}, error=said)
