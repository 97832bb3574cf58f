"""The hosts of a world as real nodes, each `twistd p2pnode` in a process of its own, and what their journals say."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from p2pframe.sim.measures.base import percentile
from tests.interop.processes import TWISTD, RunningProcess, wait_until

CONNECTED = 120.0
"""Seconds in which all are connected to all their neighbours, on a slow machine too."""
QUIET = 2.0
"""Seconds between that and the beginning: headers and addresses have been exchanged by then."""
REACHED = 60.0
"""Seconds after the last item in which everybody has every item."""


@dataclass
class Journal:
    """What one node wrote down."""

    sessions: int = 0
    taken: dict[tuple[str, str], float] = field(default_factory=dict)
    """Unix time, by topic and id."""
    made: list[tuple[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lag: tuple[float, ...] = ()
    """Median, 99th percentile and worst, seconds."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """As far as it is written."""
        found = cls()
        for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
            if not line.endswith("\n"):
                break
            match line.split():
                case ["open", count]:
                    found.sessions = int(count)
                case ["item", topic, when, id]:
                    found.taken.setdefault((topic, id), float(when))
                case ["made", topic, id]:
                    found.made.append((topic, id))
                case ["failed", *why]:
                    found.failed.append(" ".join(why))
                case ["lag", *seconds]:
                    found.lag = tuple(map(float, seconds))
        return found


@dataclass
class Spread:
    """How the items of a topic spread in a real run."""

    items: int
    coverage: float
    delays: list[float]
    """Seconds from where an item was made to each other host, sorted."""

    def percentile(self, share: int) -> float:
        """By the simulator's own rule."""
        return percentile(self.delays, share / 100)


@dataclass
class RealRun:
    """What the processes have shown."""

    journals: Sequence[Journal]

    @property
    def lag(self) -> tuple[float, float]:
        """The worst 99th percentile, and the worst call, of any node's reactor: seconds."""
        return max(journal.lag[1] for journal in self.journals), max(journal.lag[2] for journal in self.journals)

    def spread(self, topic: str) -> Spread:
        """Of all items of a topic."""
        delays = []
        items = 0
        for origin in self.journals:
            for key in origin.made:
                if key[0] == topic:
                    items += 1
                    delays += [
                        other.taken[key] - origin.taken[key]
                        for other in self.journals
                        if other is not origin and key in other.taken
                    ]
        return Spread(items, len(delays) / (items * (len(self.journals) - 1)), sorted(delays))


class Processes:
    """All nodes of a folder; whatever happens, leaving the block ends each, by its own Popen object."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self.folder = folder
        self.nodes = []
        for host in range(hosts):
            own = folder / f"h{host}-run"
            own.mkdir()
            self.nodes.append(RunningProcess(f"h{host}", own))

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.spawn(
                [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "p2pnode", "-c", self.folder / f"{node.name}.yaml"]
            )
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()
        for node in self.nodes:
            node.kill()

    def journals(self) -> list[Journal]:
        """All of them, as far as they are written."""
        return [Journal.read(self.folder / f"{node.name}.journal") for node in self.nodes]

    def run(self, degree: int, items: int, length: float) -> RealRun:
        """Have them connect, begin, and make the `items` of their timetables, which last `length` seconds."""
        wait_until(
            f"each has {degree} sessions",
            lambda: all(journal.sessions == degree for journal in self.journals()),
            CONNECTED,
            self._state,
        )
        time.sleep(QUIET)
        begin = time.time() + 1.0
        draft = self.folder / "go.draft"
        draft.write_text(repr(begin))
        draft.rename(self.folder / "go")
        time.sleep(begin + length - time.time())
        wait_until(
            f"all have taken {items} items",
            lambda: self._all_taken(items),
            REACHED,
            self._state,
        )
        self._stop()
        return RealRun(self.journals())

    def _all_taken(self, items: int) -> bool:
        found = self.journals()
        assert not any(journal.failed for journal in found), self._state()
        return all(len(journal.taken) == items for journal in found)

    def _stop(self) -> None:
        for node in self.nodes:
            assert node.process is not None, f"{node.name} has ended"
            node.process.send_signal(signal.SIGTERM)
        for node in self.nodes:
            status = node.wait()
            assert status in (0, -signal.SIGTERM), node.tail()
            assert "Traceback" not in node.log(), node.tail()

    def _state(self) -> str:
        lines = [
            f"{node.name}: {journal.sessions} sessions, {len(journal.taken)} items {journal.failed}"
            for node, journal in zip(self.nodes, self.journals(), strict=True)
        ]
        return "\n".join([*lines, self.nodes[0].tail()])
