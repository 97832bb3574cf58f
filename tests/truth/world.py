"""The thirty hosts of the truth test: graph, latencies and timetable, drawn once, and the files that say the same thing
to real nodes and to the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

from p2pframe.sim.graph import edges, neighbours

HOSTS = 30
DEGREE = 8
NEAREST, FARTHEST = 50, 300
"""Milliseconds of a link, one way: far above what two busy cores add."""
BEGIN = 30.0
"""Virtual seconds until the timetable begins: everybody is connected, and the chain synchronised, by then."""
AFTER = 60.0
"""Virtual seconds after the last item: it has reached everybody by then."""
WORKLOAD: Mapping[str, Any] = {"confirm": False}
"""A transaction that is in a block before it has spread spreads no further."""
PLUGINS = Path(__file__).with_name("plugins")
SETTINGS: Mapping[str, Any] = {
    # The graph is given: nobody looks for others.
    "topology": {"plugin": "random", "outbound": 0, "block_relay": 0, "feeler": 0, "manual": 20},
}


class Entry(NamedTuple):
    """One item to make: seconds after the beginning, which host, what."""

    at: float
    host: int
    topic: str
    size: int


@dataclass(frozen=True)
class World:
    """What both have in common."""

    dialled: Sequence[Sequence[int]]
    """Whom each host dials."""
    latencies: Mapping[tuple[int, int], int]
    """Milliseconds one way, by the lower number and the higher one."""
    port: int

    def address(self, host: int) -> str:
        """Each host has one of its own, on loopback."""
        return f"127.77.{host + 1}.1"

    def place(self, host: int) -> str:
        """Where it listens."""
        return f"{self.address(host)}:{self.port}"

    def latency(self, one: int, other: int) -> str:
        """As config files have it."""
        return f"{self.latencies[min(one, other), max(one, other)]}ms"

    def transport(self, host: int) -> dict[str, Any]:
        """Of a real node."""
        others = [other for other in range(len(self.dialled)) if other != host]
        return {
            "plugin": "delayed-tcp",
            "listen": [self.place(host)],
            "bind": self.address(host),
            "latencies": {self.address(other): self.latency(host, other) for other in others},
        }

    def node(self, host: int, relay: str, folder: Path, items: Sequence[Entry]) -> dict[str, Any]:
        """The node file of a host."""
        network: dict[str, Any] = {
            "protocol": {"plugin": "bitcoin", "chain": "regtest"},
            "transports": [self.transport(host)],
            "relay": {"plugin": relay},
            **SETTINGS,
        }
        peers = [self.place(peer) for peer in self.dialled[host]]
        network["discovery"] = [{"plugin": "static", "peers": peers}]
        own = [{"at": entry.at, "topic": entry.topic, "size": entry.size} for entry in items if entry.host == host]
        timetable = {
            "plugin": "timetable",
            "network": "bitcoin",
            **WORKLOAD,
            "journal": str(folder / f"h{host}.journal"),
            "go": str(folder / "go"),
            "items": own,
        }
        return {
            "version": 1,
            "node": {"data_dir": str(folder / f"h{host}-data"), "plugin_path": [str(PLUGINS)]},
            "storage": {"plugin": "sqlite"},
            "applications": [timetable],
            "networks": {"bitcoin": network},
        }

    def scenario(self, items: Sequence[Entry]) -> dict[str, Any]:
        """The same node files, but with plain `tcp`, and with the simulator's own workload."""
        everybody = range(len(self.dialled))
        return {
            "version": 1,
            "name": "truth",
            "duration": BEGIN + items[-1].at + AFTER,
            "hosts": {
                f"h{host}": {
                    "node": f"h{host}.yaml",
                    "override": {
                        "applications": [{"plugin": "bitcoin-workload", "network": "bitcoin", **WORKLOAD}],
                        "networks": {"bitcoin": {"transports": [{"plugin": "tcp", "listen": [self.place(host)]}]}},
                    },
                    "region": f"h{host}",
                    "addresses": {"ranges": [f"{self.address(host)}/32"]},
                }
                for host in everybody
            },
            "links": {
                "regions": {
                    f"h{one}": {f"h{other}": self.latency(one, other) for other in everybody if other > one}
                    for one in everybody
                    if one + 1 < len(self.dialled)
                }
            },
            # An entry's first item comes one `every` after its `start`.
            "workload": [
                {
                    "produce": entry.topic,
                    "network": "bitcoin",
                    "from": [f"h{entry.host}"],
                    "size": entry.size,
                    "start": BEGIN + entry.at - 0.001,
                    "every": "1ms",
                    "count": 1,
                }
                for entry in items
            ],
            "measures": {"propagation": {"network": "bitcoin", "topics": ["block", "tx"]}},
        }

    def write(self, folder: Path, relay: str, items: Sequence[Entry]) -> Path:
        """All files into a folder; the path of the scenario."""
        for host in range(len(self.dialled)):
            (folder / f"h{host}.yaml").write_text(yaml.safe_dump(self.node(host, relay, folder, items)))
        path = folder / "truth.yaml"
        path.write_text(yaml.safe_dump(self.scenario(items), sort_keys=False))
        return path


def draw(rng: Random, port: int) -> World:
    """A random regular graph, and a latency for each pair of hosts."""
    dialled = list(neighbours(HOSTS, edges("regular", HOSTS, DEGREE, rng)))
    pairs = [(one, other) for one in range(HOSTS) for other in range(one + 1, HOSTS)]
    return World(dialled, {pair: rng.randint(NEAREST, FARTHEST) for pair in pairs}, port)


def timetable(rng: Random, transactions: int, gap: float, blocks: int, block_gap: float) -> list[Entry]:
    """Items by hosts in random order, each host as often as the others; the first block comes at once.

    Blocks are so far apart that everybody has one before the next is made.
    """

    def makers(count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            found += rng.sample(range(HOSTS), HOSTS)
        return found[:count]

    made = [Entry(round(number * block_gap, 3), host, "block", 1000) for number, host in enumerate(makers(blocks))]
    for number, host in enumerate(makers(transactions)):
        # Not on the same beat as the blocks.
        made.append(Entry(round(1.0 + number * gap, 3), host, "tx", 250))
    return sorted(made)
