"""Whole nodes on simulated hosts that are attacked: of the `lines` protocol, and of Bitcoin."""

from __future__ import annotations

import pytest

from p2pframe.protocols.bitcoin.chains import CHAINS
from tests.bitcoin.conftest import BitcoinCluster, bitcoins  # noqa: F401 - a fixture
from tests.core.conftest import cluster  # noqa: F401 - a fixture
from tests.hostile.peer import Peer, dial

NODE = "192.0.2.1"


class Victim:
    """One Bitcoin node under attack, and how to look at what it made of it."""

    def __init__(self, nodes: BitcoinCluster, **how) -> None:
        self.cluster = nodes
        self.net = nodes.net
        self.node = nodes.start(NODE, **how)
        self.network = self.node.networks["bitcoin"]
        self.protocol = self.network.protocol

    def peer(self, source: str = "203.0.113.9", chain: str = "regtest") -> Peer:
        """A hostile (or honest) peer that has connected."""
        return dial(self.net, source, NODE, CHAINS[chain].default_port, chain)

    def friend(self, source: str = "198.51.100.7") -> Peer:
        """A peer that has shaken hands, and answers pings."""
        peer = self.peer(source)
        peer.polite = True
        return peer.shake()

    def closed(self) -> list[str]:
        """The reasons for which sessions ended, in order."""
        return [
            event.fields["reason"]
            for event in self.node.view.events(limit=100_000)
            if event.kind == "session.closed"
        ]

    def count(self, metric: str, *labels: str) -> float:
        """A counter's value, over all labels where none are given."""
        values = self.node.metrics.snapshot()[f"p2pframe_{metric}_total"]
        return sum(value for key, value in values.items() if not labels or key[1:] == labels)

    def session(self, peer_host: str):
        """The session of a peer, by its address."""
        (found,) = [s for s in self.network.sessions.values() if s.address.host == peer_host]
        return found


@pytest.fixture
def victim(bitcoins):  # noqa: F811 - the fixture
    return Victim(bitcoins)


@pytest.fixture
def attack(bitcoins):  # noqa: F811 - the fixture
    """`attack(extra=..., options=...)` starts a victim of that config."""
    return lambda **how: Victim(bitcoins, **how)
