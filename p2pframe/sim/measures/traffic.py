"""What it costs: messages and bytes that came in, by type, as the nodes themselves counted them."""

from __future__ import annotations

from p2pframe.plugin import Duration, Field
from p2pframe.sim.measures.base import Measure, MeasureConfig
from p2pframe.sim.results import TIME, Curve


class TrafficConfig(MeasureConfig):
    """Options of the `traffic` measure."""

    every: Duration = Field(10.0, gt=0, description="How often it is looked at.")
    after: Duration = Field(0.0, description="What came before this time is not counted.")


class Traffic(Measure):
    """Messages and bytes by type; what a host counted before its latest boot is kept where it was looked at."""

    config = TrafficConfig
    options: TrafficConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._counted: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
        """By host and boot, what it counted at the last look."""
        self._before: dict[str, tuple[int, int]] = {}
        self._rate: list[tuple[float, float]] = []
        self._bytes = 0
        self._time = 0.0
        self.run.every(self.options.every, self._look)
        if self.options.after:
            self.run.simulation.clock.at(self.options.after, None, self._start)

    def _start(self) -> None:
        self._look(self.run.simulation.clock.now)
        self._before = self._sums()

    def _look(self, now: float) -> None:
        for host in self.hosts():
            assert host.node is not None
            network = host.node.networks.get(self.options.network)
            if network is not None:
                self._counted[host.name, host.boots] = dict(network.describe().messages)
        total = sum(size for _, size in self._sums().values())
        if now > self._time:
            self._rate.append((now, (total - self._bytes) / (now - self._time)))
        self._bytes, self._time = total, now

    def _sums(self) -> dict[str, tuple[int, int]]:
        sums: dict[str, tuple[int, int]] = {}
        for counted in self._counted.values():
            for kind, (messages, size) in counted.items():
                held = sums.get(kind, (0, 0))
                sums[kind] = held[0] + messages, held[1] + size
        return sums

    def finish(self) -> None:
        """See `Measure.finish`."""
        self._look(self.run.simulation.clock.now)
        sums = {}
        for kind, (messages, size) in sorted(self._sums().items()):
            before = self._before.get(kind, (0, 0))
            if messages > before[0]:
                sums[kind] = messages - before[0], size - before[1]
        hosts = len(self.hosts())
        self.put("messages", sum(messages for messages, _ in sums.values()))
        self.put("bytes", sum(size for _, size in sums.values()))
        self.put("bytes_a_host", sum(size for _, size in sums.values()) / hosts if hosts else float("nan"))
        for kind, (messages, size) in sums.items():
            self.put(f"messages.{kind}", messages)
            self.put(f"bytes.{kind}", size)
        largest = sorted(sums, key=lambda kind: (-sums[kind][1], kind))[:20]
        self.run.curves.append(
            Curve(
                "traffic.types", "Received by type, with headers", "type", "bytes",
                [(float(n), float(sums[kind][1])) for n, kind in enumerate(largest)], kind="bars", labels=largest,
            )
        )  # fmt: skip
        self.run.curves.append(
            Curve("traffic", "Received, with headers", TIME, "bytes per second, all hosts", self._rate, kind="steps")
        )
