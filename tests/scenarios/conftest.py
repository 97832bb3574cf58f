"""Bitcoin nodes on regtest and their attackers (examples/scenarios/plugins), on simulated hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.config import load
from p2pframe.interfaces import IWorkload
from p2pframe.sim.simulation import Simulation

PLUGINS = Path(__file__).parents[2] / "examples" / "scenarios" / "plugins"

NODE = """
version: 1
node: {{plugin_path: ["{plugins}"]}}
storage: {{plugin: memory}}
applications:
  - {{plugin: bitcoin-workload, network: bitcoin}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest{options}}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:18444"]}}]
    discovery: {discovery}
    {extra}
"""
ECLIPSER = """
version: 1
node: {{plugin_path: ["{plugins}"]}}
storage: {{plugin: memory}}
applications: [{{plugin: eclipser, attackers: [attackers.example], victims: [victims.example]{options}}}]
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp}}]
"""


class World:
    """A simulation, and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.simulation = Simulation(seed=1)
        self.folder = folder

    def start(self, text: str, *addresses: str, **fields: str):
        host = self.simulation.host(*addresses)
        file = self.folder / f"{host.name}.yaml"
        file.write_text(text.format(plugins=PLUGINS, **fields))
        self.simulation.wait(host.start(load(file)))
        return host

    def node(self, address: str, peers=(), extra: str = "", options: str = ""):
        """A Bitcoin node; `extra` is a line of its network, `options` are of its protocol."""
        named = ", ".join(f'"{peer}:18444"' for peer in peers)
        discovery = f"[{{plugin: static, peers: [{named}]}}]" if peers else "[]"
        return self.start(NODE, address, discovery=discovery, extra=extra, options=options)

    def eclipser(self, *addresses: str, options: str = ""):
        return self.start(ECLIPSER, *addresses, options=options)

    def produce(self, host, topic: str, size: int = 300) -> bytes:
        """A new item of that node's own; its id."""
        (workload,) = [one for one in host.node.applications if IWorkload.providedBy(one)]
        return self.simulation.wait(workload.produce(topic, size))

    def run(self, seconds: float) -> None:
        self.simulation.run(seconds)

    def until(self, condition, limit: float = 60.0) -> None:
        self.simulation.run_until(condition, limit)


def network(host):
    return host.node.networks["bitcoin"]


def bitcoin(host):
    return network(host).protocol


def counted(host, metric: str, *labels: str) -> float:
    """A counter of a host, over all labels where none are given."""
    values = host.node.metrics.snapshot().get(f"p2pframe_{metric}_total", {})
    return sum(value for key, value in values.items() if not labels or key[1:] == labels)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)
