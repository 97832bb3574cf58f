"""The plots of a report: every curve, those of one name together, and the timeline of the faults.

Of a sweep the first run of each variant (and setting) is drawn; what all of them gave is in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from p2pframe.sim.report.graphs import drawings
from p2pframe.sim.report.model import visible
from p2pframe.sim.report.svg import FAULT, SERIES, drawn
from p2pframe.sim.results import TIME, Curve, FaultNote, RunResult, groups

WIDTH = 8.0
HEIGHT = 3.8
LABEL = 44
"""Characters of a label; a longer one would leave no room for the plot."""

# What one plot can show; the note below it says how much more there is.
MOST_SERIES = 24
MOST_BARS = 30
MOST_FAULTS = 60
MOST_TIMELINES = 6
MOST_GRAPHS = 4

_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot as an SVG element, and what it does not show."""

    title: str
    svg: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Series:
    label: str
    curve: Curve
    points: list[tuple[float, float]]


def plots(results: Sequence[RunResult]) -> list[Plot]:
    """All plots there are of these runs."""
    found = groups(results)
    firsts = [(group.label if len(found) > 1 else "", members[0]) for group, members in found.items()]
    together: dict[tuple[str, str], list[tuple[str, Curve]]] = {}
    for label, run in firsts:
        for curve in run.curves:
            named = " ".join(part for part in (label, curve.series) if part)
            together.setdefault((curve.name, curve.kind), []).append((named, curve))
    faults = firsts[0][1].faults if firsts and all(run.faults == firsts[0][1].faults for _, run in firsts) else []
    made: list[Plot] = []
    for curves in together.values():
        made.append(_curves(curves, faults, len(made)))
    pictures = [(label, graph) for label, run in firsts for graph in run.graphs]
    for label, graph in pictures[:MOST_GRAPHS]:
        made += [Plot(*picture) for picture in drawings(graph, label, len(made))]
    broken = [(label, run) for label, run in firsts if run.faults]
    for label, run in broken[:MOST_TIMELINES]:
        made.append(_timeline(label, run, len(made)))
    return made


def _curves(curves: Sequence[tuple[str, Curve]], faults: Sequence[FaultNote], number: int) -> Plot:
    first = curves[0][1]
    title = visible(first.title or first.name, 100)
    series = [_Series(_short(label), curve, _finite(curve.points)) for label, curve in curves]
    notes: list[str] = []
    if len(series) > MOST_SERIES:
        notes.append(f"{len(series) - MOST_SERIES} more series are in curves.csv.")
        series = series[:MOST_SERIES]
    left_out = sum(len(one.curve.points) - len(one.points) for one in series)
    if left_out:
        notes.append(f"{left_out} points that are infinite or no numbers are not drawn.")
    faults = faults if first.x == TIME else []
    if len(faults) > MOST_FAULTS:
        notes.append(f"The first {MOST_FAULTS} of {len(faults)} faults are shaded.")
        faults = faults[:MOST_FAULTS]
    categories: list[str] = []
    height = HEIGHT
    if first.kind == "bars":
        categories, note = _categories(series)
        notes += note
        height = max(HEIGHT, 1.3 + 0.16 * len(categories) * max(1.4, len(series)))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_title(title, loc="left")
        if first.kind == "bars":
            _bars(axes, series, categories)
            axes.set_xlabel(_short(first.y))
            axes.set_ylabel(_short(first.x))
        else:
            for index, one in enumerate(series):
                _line(axes, one, index)
            axes.set_xlabel(_short(first.x))
            axes.set_ylabel(_short(first.y))
        _shade(axes, faults)
        _legend(figure, series if len(series) > 1 else [], first.kind == "bars", bool(faults))

    height += 0.2 * (len(series) // _columns(series))
    return Plot(title, drawn(draw, number, title, WIDTH, height), tuple(notes))


def _line(axes: Axes, one: _Series, index: int) -> None:
    colour, dashes = SERIES[index % len(SERIES)], _DASHES[index // len(SERIES) % len(_DASHES)]
    points = sorted(one.points) if one.curve.kind == "histogram" else one.points
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if not points:
        return
    if one.curve.kind == "histogram":
        width = xs[-1] - xs[-2] if len(xs) > 1 else 1.0
        axes.stairs(ys, [*xs, xs[-1] + width], color=colour, linestyle=dashes, linewidth=1.6)
        return
    style = "steps-post" if one.curve.kind == "steps" else "default"
    # A line of one point would not be seen.
    axes.plot(xs, ys, color=colour, linestyle=dashes, drawstyle=style, marker="o" if len(xs) == 1 else "")


def _bars(axes: Axes, series: Sequence[_Series], categories: Sequence[str]) -> None:
    thick = 0.8 / len(series)
    for index, one in enumerate(series):
        heights = _heights(one)
        places = [row - 0.4 + thick * (index + 0.5) for row in range(len(categories))]
        axes.barh(
            places,
            [heights.get(name, 0.0) for name in categories],
            height=thick,
            color=SERIES[index % len(SERIES)],
        )
    axes.set_yticks(range(len(categories)), [_short(name) for name in categories])
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def _heights(one: _Series) -> dict[str, float]:
    found: dict[str, float] = {}
    for index, (x, y) in enumerate(one.curve.points):
        if math.isfinite(y):
            name = one.curve.labels[index] if index < len(one.curve.labels) else f"{x:g}"
            found[name] = found.get(name, 0.0) + y
    return found


def _categories(series: Sequence[_Series]) -> tuple[list[str], list[str]]:
    """The bars' names in their order; of too many the highest, and a note that says so."""
    sums: dict[str, float] = {}
    for one in series:
        for name, height in _heights(one).items():
            sums[name] = sums.get(name, 0.0) + abs(height)
    if len(sums) <= MOST_BARS:
        return [*sums], []
    highest = set(sorted(sums, key=lambda name: -sums[name])[:MOST_BARS])
    return [name for name in sums if name in highest], [f"The {MOST_BARS} highest of {len(sums)} bars are drawn."]


def _shade(axes: Axes, faults: Iterable[FaultNote]) -> None:
    low, high = axes.get_xlim()
    for fault in faults:
        if fault.until is None:
            if math.isfinite(fault.time):
                axes.axvline(fault.time, color=FAULT, linewidth=0.9, alpha=0.6)
        elif math.isfinite(fault.time):
            axes.axvspan(fault.time, min(fault.until, max(high, fault.time)), color=FAULT, alpha=0.15, linewidth=0)
    axes.set_xlim(low, high)


def _legend(figure: Figure, series: Sequence[_Series], bars: bool, faults: bool) -> None:
    handles: list[Line2D | Patch] = []
    for index, one in enumerate(series):
        colour = SERIES[index % len(SERIES)]
        # A label that begins with _ is one that matplotlib hides.
        label = " " + one.label if one.label.startswith("_") else one.label or "-"
        dashes = _DASHES[index // len(SERIES) % len(_DASHES)]
        handles.append(
            Patch(color=colour, label=label) if bars else Line2D([], [], color=colour, linestyle=dashes, label=label)
        )
    if faults:
        handles.append(Patch(color=FAULT, alpha=0.3, label="fault"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=_columns(series))


def _columns(series: Sequence[_Series]) -> int:
    """How many labels of the legend fit side by side."""
    return max(1, min(4, 80 // (6 + max((len(one.label) for one in series), default=0))))


def _timeline(label: str, run: RunResult, number: int) -> Plot:
    title = "Faults" + (f": {visible(label, 100)}, seed {run.seed}" if label else f" of seed {run.seed}")
    faults = run.faults[:MOST_FAULTS]
    ends = [time for fault in faults for time in (fault.time, fault.until) if time is not None and math.isfinite(time)]
    high = max([run.duration, *ends, 1.0])
    notes = (f"{len(run.faults) - MOST_FAULTS} more are in results.json.",) if len(run.faults) > MOST_FAULTS else ()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_title(title, loc="left")
        for row, fault in enumerate(faults):
            if not math.isfinite(fault.time):
                continue
            if fault.until is None:
                axes.plot([fault.time], [row], marker="D", markersize=5, color=FAULT, linestyle="")
            else:
                axes.barh(row, min(fault.until, high) - fault.time, left=fault.time, height=0.6, color=FAULT)
        axes.set_xlim(0, high)
        axes.set_ylim(len(faults) - 0.5, -0.5)
        axes.set_yticks(range(len(faults)), [_short(f"{fault.number} {fault.text}") for fault in faults])
        axes.set_xlabel(TIME)
        axes.set_ylabel("fault")
        axes.grid(False, axis="y")

    return Plot(title, drawn(draw, number, title, WIDTH, 1.3 + 0.22 * len(faults)), notes)


def _finite(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _short(text: str) -> str:
    return visible(text, LABEL)
