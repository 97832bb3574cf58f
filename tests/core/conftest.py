"""Whole nodes of the `lines` protocol, on simulated hosts: what the tests of core are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from p2pframe.config import load
from p2pframe.core.node import Node
from p2pframe.sim.connecting import StreamPort
from p2pframe.sim.links import LinkConfig, LinksConfig
from p2pframe.testing.simulation import NodeSimulation

PLUGINS = Path(__file__).parents[2] / "plugins"

TEMPLATE = """
version: 1
node:
  data_dir: {data_dir}
  plugin_path: [{plugins}]
  watchdog: 0
  discourage_loopback: true
storage: {{plugin: memory}}
networks:
  chat:
    protocol: {{plugin: lines}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:7777"]}}]
{discovery}
{extra}
"""


class Cluster:
    """Nodes on simulated hosts with real folders, a hundredth of a second apart; all are stopped in the end.

    One host may have several nodes, and peers that a test speaks for.
    """

    def __init__(self, folder: Path) -> None:
        near = LinksConfig(default=LinkConfig(latency=0.01))
        self.net = NodeSimulation(folder, links=near, real_folders=True)
        self.net.epoch = 1_700_000_000.0
        self.folder = folder
        self.nodes: list[Node] = []

    @property
    def listening(self) -> dict[tuple[str, int], StreamPort]:
        """The listening ports of all hosts, by the host's address and the port's number."""
        return {
            (host.addresses[0], port): opened
            for host in self.net.hosts.values()
            for (_, port), opened in host.incarnation.ports.items()
        }

    def config(self, address: str, peers: tuple[str, ...] = (), extra: str = "") -> Path:
        """Write the config of a node and return its path."""
        path = self.folder / f"{address.replace(':', '-')}.yaml"
        quoted = ", ".join(f'"{peer}:7777"' for peer in peers)
        discovery = f"    discovery: [{{plugin: static, peers: [{quoted}]}}]" if peers else ""
        path.write_text(
            TEMPLATE.format(
                data_dir=self.folder / f"data-{address.replace(':', '-')}",
                plugins=PLUGINS,
                discovery=discovery,
                extra=extra,
            )
        )
        return path

    def start(self, address: str, peers: tuple[str, ...] = (), extra: str = "") -> Node:
        """Start a node of the `lines` protocol at an address."""
        return self.start_file(address, self.config(address, peers, extra))

    def start_file(self, address: str, path: Path) -> Node:
        """Start a node of a config file."""
        host = self.net.at(address)
        node = Node(load(path), host.reactor, host)
        node.prepare()
        self.nodes.append(node)
        self.wait(node.start())
        return node

    def wait(self, deferred: Deferred) -> object:
        """Let time pass until a Deferred fires; its result, or its failure raised."""
        return self.net.wait(deferred)

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            self.wait(node.stop())
        self.nodes.clear()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()
