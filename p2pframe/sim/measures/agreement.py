"""Whether the hosts agree: on a value of their protocol's status, such as the tip of their chain."""

from __future__ import annotations

from collections import Counter

from p2pframe.plugin import Duration, Field
from p2pframe.sim.host import Host
from p2pframe.sim.measures.base import Measure, MeasureConfig
from p2pframe.sim.results import TIME, Curve


class AgreementConfig(MeasureConfig):
    """Options of the `agreement` measure."""

    status: str = Field("tip", description="The value of the protocol's status to agree on.")
    height: str = Field("height", description="A number of the status, of which least and most are given; empty: none.")
    every: Duration = Field(10.0, gt=0, description="How often it is looked at.")


class Agreement(Measure):
    """How many different answers there are, over time and in the end, and when they were last more than one."""

    config = AgreementConfig
    options: AgreementConfig

    def begin(self) -> None:
        """See `Measure.begin`."""
        self._answers: list[tuple[float, float]] = []
        self._disagreed = 0.0
        self.run.every(self.options.every, self._look)

    def _look(self, now: float) -> None:
        answers = self._count(self.options.status)
        self._answers.append((now, float(len(answers))))
        if len(answers) > 1:
            self._disagreed = now

    def _count(self, name: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for host in self.hosts():
            value = status_of(host, self.options.network, name)
            if value is not None:
                found[str(value)] += 1
        return found

    def finish(self) -> None:
        """See `Measure.finish`."""
        answers = self._count(self.options.status)
        hosts = sum(answers.values())
        self.put("hosts", hosts)
        self.put("answers", len(answers))
        self.put("share", max(answers.values(), default=0) / hosts if hosts else float("nan"))
        self.put("most_answers", max((count for _, count in self._answers), default=len(answers)))
        self.put("disagreed_until", self._disagreed)
        if self.options.height:
            heights = [
                value
                for host in self.hosts()
                if isinstance(value := status_of(host, self.options.network, self.options.height), (int, float))
            ]
            self.put(f"least_{self.options.height}", min(heights, default=float("nan")))
            self.put(f"most_{self.options.height}", max(heights, default=float("nan")))
        self.run.curves.append(
            Curve(
                f"agreement.{self.options.status}",
                f"Different answers to: {self.options.status}",
                TIME,
                "answers",
                self._answers,
                kind="steps",
            )
        )


def status_of(host: Host, network: str, name: str) -> str | int | float | bool | None:
    """A value of a protocol's status on a host that runs; None where there is none."""
    node = host.node
    if node is None or network not in node.networks:
        return None
    return node.networks[network].describe().status.get(name)
