"""Whole nodes in one test: a simulation that reads node files, and tells of what went wrong in it.

::

    simulation = NodeSimulation(folder, links=LinksConfig(default=LinkConfig(latency="20ms")))
    alice = simulation.start(ALICE, "192.0.2.1")         # the text of a node's config, or the path of its file
    bob = simulation.start(BOB, "198.51.100.1", name="bob")
    simulation.run(10.0)
    bob.kill()                                           # power_off(), stop(), restart(): see p2pframe.sim.host

In pytest the fixture `simulation` is one, made and closed by `p2pframe.testing.pytest_plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from p2pframe.config import load
from p2pframe.sim.host import Host, Incarnation
from p2pframe.sim.links import Links, LinksConfig
from p2pframe.sim.nat import Nat
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.logged import LoggedFailures


class HostOptions(TypedDict, total=False):
    """What `start` hands on to `Simulation.host`."""

    name: str
    region: str
    asn: int
    lan: str
    skew: float
    drift: float
    up: float
    down: float
    queue: int
    nat: Nat | None


class NodeSimulation(Simulation):
    """A simulation for tests. `folder` is where configs that are given as text are written and read."""

    def __init__(
        self, folder: Path, seed: int | str = 0, links: LinksConfig | None = None, real_folders: bool = False
    ) -> None:
        """`real_folders`: nodes keep what they keep as their config says, in real folders, and no crash takes it."""
        super().__init__(seed, Links(links, seed))
        self.folder = folder
        self.real_folders = real_folders
        self.logged = LoggedFailures()
        """The failures that were logged, in the fixture `simulation`."""

    def start(self, config: str | Path, *addresses: str, **options: Unpack[HostOptions]) -> Host:
        """A new host, and a node on it; returns when the node has started.

        `config` is the path of a node's file, or its text, in which paths are relative to `folder`. Raises ConfigError,
        StartError, and ValueError for an address that another host has.
        """
        host = self.host(*addresses, **options)
        host.real_folders = self.real_folders
        if not isinstance(config, Path):
            path = self.folder / f"{host.name.replace(':', '-')}.yaml"
            path.write_text(config)
            config = path
        self.wait(host.start(load(config)))
        return host

    def at(self, address: str) -> Incarnation:
        """The world of the host with an address, made and booted where there is none: for a test that is a peer itself.

        ::

            endpoint = TCP4ClientEndpoint(simulation.at("203.0.113.9").reactor, "192.0.2.1", 8333)
        """
        host = self.network.find(address)
        if host is None:
            host = self.host(address)
            host.real_folders = self.real_folders
        return host.incarnation or host.boot()

    def partition(self, *sides: Sequence[Host]) -> Callable[[], None]:
        """Let nothing pass between hosts of different sides, either way; call what it returns to mend that."""
        parted = {host.number: side for side, hosts in enumerate(sides) for host in hosts}
        self.network.part(parted)
        return lambda: self.network.join(parted)

    def stop(self, limit: float = 60.0) -> None:
        """Stop every node as a service stops. Raises AssertionError where one takes longer than `limit` seconds."""
        stopping = [host.stop() for host in self.hosts.values() if host.alive]
        for done in stopping:
            self.wait(done, limit)

    def complaints(self) -> list[str]:
        """What kept nodes from starting or stopping as they should."""
        return [text for host in self.hosts.values() for text in host.failures]


__all__ = ["HostOptions", "NodeSimulation"]
