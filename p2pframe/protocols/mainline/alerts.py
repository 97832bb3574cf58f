"""What the operator of a DHT node should look at: it knows nobody, or nobody answers."""

from __future__ import annotations

from p2pframe.interfaces import Alert
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.endpoint import DEAF, Endpoint

ALONE = 120.0
"""Seconds after which an empty routing table is no matter of starting any more."""


class DhtWatch:
    """Of one network. It knows of an empty table since it was first asked while the table was empty."""

    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self._alone: dict[Endpoint, float] = {}

    def alerts(self) -> list[Alert]:
        """See `IAlerts.alerts`; to be asked every few seconds."""
        dht = self._dht
        network, now = dht.context.network, dht.context.reactor.seconds()
        self._alone = {one: self._alone.get(one, now) for one in dht.endpoints if not one.table.size}
        found = []
        for one in dht.endpoints:
            if one in self._alone:
                lonely = now - self._alone[one]
                if lonely > ALONE:
                    # In a network of one's own somebody has to be the first.
                    found.append(Alert(
                        "dht-alone", dht.config.public, network,
                        f"{network}: {one.label} has known no other node of the DHT for {lonely / 60:.0f} minutes.",
                        "See Discovery for errors; a firewall has to let UDP out, and its answers in.",
                    ))  # fmt: skip
            elif one.silent >= DEAF:
                found.append(Alert(
                    "dht-silent", False, network,
                    f"{network}: of the nodes that {one.label} knows none has answered its latest {one.silent} "
                    "queries.",
                    "Is the host's network up? A firewall or a NAT may have forgotten the port: let UDP through.",
                ))  # fmt: skip
        return found
