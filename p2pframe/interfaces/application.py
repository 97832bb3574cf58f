"""IApplication: what is it all for?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class IApplication(Interface):
    """Code that uses the networks. Reaches them by `context.service(...)`, asked for in its constructor."""

    name: str = Attribute("The plugin's name.")

    def start() -> Deferred[None] | None:
        """Called once, when every network of the node has started. A failure stops the start with the plugin's name."""

    def stop() -> Deferred[None] | None:
        """Called once at stop, before the networks stop; core waits for it at most `node.stop_timeout`."""
