"""The plugins of one network, once they are built: what a node hands to it."""

from __future__ import annotations

from typing import Any

from p2pframe.interfaces import (
    IAuthenticator,
    IDatagramTransport,
    IDiscovery,
    INetworkProtocol,
    IRelayPolicy,
    IScorer,
    ITopology,
    ITransport,
    IUpgrade,
    IValidator,
)
from p2pframe.model import Topic


class Parts:
    """The plugins of a network, once they are built."""

    def __init__(self) -> None:
        self.protocol: INetworkProtocol
        self.transports: list[ITransport] = []
        self.datagrams: list[IDatagramTransport] = []
        self.upgrades: list[IUpgrade] = []
        self.discovery: list[IDiscovery] = []
        self.topology: ITopology | None = None
        self.relay: IRelayPolicy | None = None
        self.scorers: list[IScorer] = []
        self.authenticators: list[IAuthenticator] = []
        self.validators: list[IValidator] = []
        self.stores: dict[Topic, Any] = {}
