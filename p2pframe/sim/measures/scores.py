"""How peers are judged: the scores of the sessions that hosts hold, of honest peers and of attackers."""

from __future__ import annotations

from p2pframe.plugin import Field
from p2pframe.sim.measures.base import Measure, MeasureConfig, mean
from p2pframe.sim.results import Curve


class ScoresConfig(MeasureConfig):
    """Options of the `scores` measure."""

    bins: int = Field(20, ge=1, le=200, description="Bins of the distribution, from 0 to 1.")


class Scores(Measure):
    """The distribution of scores in the end, and how many penalties honest hosts gave to honest ones and to others."""

    config = ScoresConfig
    options: ScoresConfig

    def finish(self) -> None:
        """See `Measure.finish`."""
        find = self.run.simulation.network.find
        scores: dict[str, list[float]] = {"honest": [], "others": []}
        penalties = {"honest": 0, "others": 0}
        for host in self.hosts():
            assert host.node is not None
            for session in host.node.view.sessions(self.options.network):
                if session.score is not None and session.state == "open":
                    other = find(session.address.host)
                    scores["honest" if other is None or other.honest else "others"].append(session.score)
            for penalty in host.node.view.penalties():
                other = find(str(penalty.subject).split("/")[0])
                if other is not None:
                    penalties["honest" if other.honest else "others"] += 1
        bins = self.options.bins
        for who, found in scores.items():
            self.put(f"{who}.sessions", len(found))
            self.put(f"{who}.mean", mean(found))
            self.put(f"{who}.penalties", penalties[who])
            counts = [0] * bins
            for score in found:
                counts[max(0, min(bins - 1, int(score * bins)))] += 1
            self.run.curves.append(
                Curve(
                    "scores", "Scores of open sessions", "score", "sessions",
                    [(n / bins, float(count)) for n, count in enumerate(counts)], kind="histogram", series=who,
                )
            )  # fmt: skip
