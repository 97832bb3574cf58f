"""What a run gives: named values, curves, faults, judgements; as plain data, exact through JSON and back.

A sweep's results are a list of these; `groups` puts those together that differ only in their seed, and `aggregate` sums
up one value over seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple, TypeVar

from p2pframe.errors import P2PFrameError
from p2pframe.sim.world_graph import WorldGraph

TIME = "virtual time (s)"
"""The x label of every curve over the run's own time: faults are shaded on the plots of these."""

CONFIDENCE = 0.95

T = TypeVar("T")


class ResultsError(P2PFrameError):
    """Results can't be read or written; the text names the file and what is wrong with it."""


@dataclass(slots=True)
class Curve:
    """One series of a plot; curves of one name are drawn together, over series and over variants.

    `x` and `y` label the axes, units in parentheses. What a point is depends on `kind`: (x, y) of a `line`; the value
    y that holds from x on in `steps`; the lower edge of a bin and what fell into it in a `histogram`, whose last bin is
    as wide as the one before it; (position, height) in `bars`, which `labels` names one by one.
    """

    name: str
    title: str
    x: str
    y: str
    points: list[tuple[float, float]]
    kind: Literal["line", "steps", "histogram", "bars"] = "line"
    series: str = ""
    labels: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FaultNote:
    """A fault of the schedule: its number there, from when to when (virtual seconds; None: it has no end), in words."""

    number: int
    time: float
    until: float | None
    text: str


@dataclass(slots=True)
class Judgement:
    """What became of an expectation: what was expected, whether it holds, what was measured, where it stands."""

    text: str
    ok: bool
    measured: float | None
    where: str


@dataclass(slots=True)
class RunResult:
    """One run of a scenario.

    `duration` is in virtual seconds, `cpu` in seconds of this machine, and alone in differing between two runs of one
    seed. `failures` are the failures that the run logged, `command` runs it again.
    """

    scenario: str
    seed: int
    variant: str = "default"
    settings: dict[str, str] = field(default_factory=dict)
    trace: str = ""
    duration: float = 0.0
    cpu: float = 0.0
    events: int = 0
    deliveries: int = 0
    hosts: int = 0
    values: dict[str, float] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    faults: list[FaultNote] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    command: str = ""
    graphs: list[WorldGraph] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every expectation holds."""
        return all(judgement.ok for judgement in self.judgements)

    def to_data(self) -> dict[str, Any]:
        """Plain data that JSON takes; numbers that JSON has no form for are the texts `inf`, `-inf` and `nan`."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "variant": self.variant,
            "settings": dict(self.settings),
            "trace": self.trace,
            "duration": to_number(self.duration),
            "cpu": to_number(self.cpu),
            "events": self.events,
            "deliveries": self.deliveries,
            "hosts": self.hosts,
            "values": {name: to_number(value) for name, value in self.values.items()},
            "curves": [
                {
                    "name": c.name,
                    "title": c.title,
                    "x": c.x,
                    "y": c.y,
                    "kind": c.kind,
                    "series": c.series,
                    "labels": list(c.labels),
                    "points": [[to_number(x), to_number(y)] for x, y in c.points],
                }
                for c in self.curves
            ],
            "faults": [
                {"number": f.number, "time": to_number(f.time), "until": _maybe(to_number, f.until), "text": f.text}
                for f in self.faults
            ],
            "failures": list(self.failures),
            "judgements": [judgement_to_data(judgement) for judgement in self.judgements],
            "command": self.command,
            "graphs": [graph.to_data() for graph in self.graphs],
        }

    @classmethod
    def from_data(cls, data: Any) -> RunResult:
        """The result that `to_data` made this of. Raises `ResultsError` where it did not."""
        try:
            fields = dict(data)
            for name in ("duration", "cpu"):
                fields[name] = from_number(fields[name])
            fields["values"] = {name: from_number(value) for name, value in fields["values"].items()}
            fields["curves"] = [
                Curve(**{**c, "points": [(from_number(x), from_number(y)) for x, y in c["points"]]})
                for c in fields["curves"]
            ]
            fields["faults"] = [
                FaultNote(**{**f, "time": from_number(f["time"]), "until": _maybe(from_number, f["until"])})
                for f in fields["faults"]
            ]
            fields["judgements"] = [judgement_from_data(judgement) for judgement in fields["judgements"]]
            # Results of an earlier version have none.
            fields["graphs"] = [WorldGraph.from_data(graph) for graph in fields.get("graphs", ())]
            return cls(**fields)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"not the result of a run: {type(error).__name__}: {error}") from error

    def to_json(self) -> str:
        """All of it as one line of ASCII, whatever a peer called itself."""
        return json.dumps(self.to_data(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        """The result that `to_json` wrote. Raises `ResultsError` where it did not."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ResultsError(f"not the result of a run: {error}") from error
        return cls.from_data(data)


def judgement_to_data(judgement: Judgement) -> dict[str, Any]:
    """Plain data that JSON takes."""
    return {
        "text": judgement.text,
        "ok": judgement.ok,
        "measured": _maybe(to_number, judgement.measured),
        "where": judgement.where,
    }


def judgement_from_data(data: Any) -> Judgement:
    """What `judgement_to_data` made this of. Raises TypeError, KeyError or ValueError where it did not."""
    return Judgement(**{**data, "measured": _maybe(from_number, data["measured"])})


def to_number(value: float) -> float | str:
    """A number as JSON has it; one that JSON can't write as text."""
    return value if math.isfinite(value) else str(float(value))


def from_number(value: object) -> float:
    """A number that `to_number` wrote. Raises TypeError or ValueError for anything else."""
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value


def _maybe(convert: Callable[[Any], T], value: object) -> T | None:
    return None if value is None else convert(value)


class Group(NamedTuple):
    """What the runs of a group have in common."""

    variant: str
    settings: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """`variant key=value`."""
        return " ".join([self.variant, *(f"{key}={value}" for key, value in self.settings)])


def groups(results: Iterable[RunResult]) -> dict[Group, list[RunResult]]:
    """Runs that differ only in their seed together, in the order in which the groups first appear."""
    found: dict[Group, list[RunResult]] = {}
    for result in results:
        found.setdefault(Group(result.variant, tuple(result.settings.items())), []).append(result)
    return found


def value_names(results: Iterable[RunResult]) -> list[str]:
    """The names of all values that any of these runs has, in the order in which they first appear."""
    return [*dict.fromkeys(name for result in results for name in result.values)]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One value over `n` runs. `interval` holds the mean with 95%; None where `n` is 1 or a value is not finite."""

    n: int
    mean: float
    deviation: float
    interval: tuple[float, float] | None
    least: float
    most: float


def aggregate(values: Sequence[float]) -> Aggregate:
    """Sum up a value over seeds: runs of different seeds are independent, so the mean's interval is Student's.

    That holds for shares too (captured victims of all): each run is one draw, whose victims share their fate and are
    no independent trials, as an interval of a binomial share would have it. Raises ValueError for no values at all.
    """
    if not values:
        raise ValueError("no values to sum up")
    n = len(values)
    least, most = min(values), max(values)
    if not all(map(math.isfinite, values)):
        # inf is a rightful answer (it never arrived), of which there is a mean but no spread.
        if any(map(math.isnan, values)):
            least = most = math.nan
        return Aggregate(n, sum(values) / n, math.nan, None, least, most)
    mean = fmean(values)
    if n == 1:
        return Aggregate(n, mean, 0.0, None, least, most)
    deviation = stdev(values)
    half = student_t(n - 1) * deviation / math.sqrt(n)
    return Aggregate(n, mean, deviation, (mean - half, mean + half), least, most)


def aggregates(results: Sequence[RunResult]) -> dict[str, Aggregate]:
    """Every value of runs that differ only in their seed; `n` is the number of those that have it."""
    return {
        name: aggregate([result.values[name] for result in results if name in result.values])
        for name in value_names(results)
    }


@lru_cache(maxsize=1024)
def student_t(freedom: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors to each side hold `confidence` of Student's distribution; `freedom` is 1 or more.

    For whole degrees of freedom the distribution is a finite sum over the angle whose tangent is t/sqrt(freedom)
    (Abramowitz and Stegun, 26.7.3 and 26.7.4), which grows with it, so the angle is found by halving.
    """
    if freedom < 1 or not 0 < confidence < 1:
        raise ValueError("Student's t needs a degree of freedom, and a confidence between 0 and 1")
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(middle)


def _within(angle: float, freedom: int) -> float:
    """The share of the distribution that lies between -t and t."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    if freedom == 1:
        return 2 * angle / math.pi
    for k in range(2 + odd, freedom, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 * (angle + sine * total) / math.pi if odd else sine * total


def settings_of(results: Iterable[RunResult]) -> list[str]:
    """The keys that the runs of a sweep were given, in the order in which they first appear."""
    return [*dict.fromkeys(key for result in results for key in result.settings)]


def variants_of(results: Iterable[RunResult]) -> list[str]:
    """The variants there are runs of, in the order in which they first appear."""
    return [*dict.fromkeys(result.variant for result in results)]


def shown(value: float | None) -> str:
    """A number for people: whole ones in full, others to six digits."""
    if value is None:
        return ""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"
