"""Figures and ratios: what a benchmark gives back, and the table that is printed of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` is the bound it is held to ("" where it only informs), `met` whether it holds."""

    what: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""

    def text(self) -> tuple[str, str, str, str, str]:
        """The cells."""
        verdict = "" if self.met is None else "met" if self.met else "MISSED"
        if self.value != self.value:
            return self.what, "-", "", "", self.note
        return self.what, f"{shown(self.value)} {self.unit}".strip(), self.target, verdict, self.note


def shown(value: float) -> str:
    """A number with about three digits that say something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def figure(what: str, value: float, unit: str, note: str = "") -> Row:
    """A measured figure that is only told."""
    return Row(what, value, unit, note=note)


def absent(what: str, why: Exception) -> Row:
    """A ratio that could not be measured, as there is nothing to compare with."""
    return Row(what, float("nan"), "", note=str(why))


def at_least(what: str, value: float, unit: str, least: float, note: str = "") -> Row:
    """A measured figure that should not be smaller."""
    return Row(what, value, unit, f">= {shown(least)}", value >= least, note)


def at_most(what: str, value: float, unit: str, most: float, note: str = "") -> Row:
    """A measured figure that should not be larger."""
    return Row(what, value, unit, f"<= {shown(most)}", value <= most, note)


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, taken in turns, so that what else the machine does falls on all of them alike."""
    results: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, found in zip(measures, results, strict=True):
            found.append(measure())
    return [median(found) for found in results]


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    cells = [("what", "measured", "target", "", "note"), *(row.text() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = []
    for line in cells:
        start = "  ".join(cell.ljust(width) for cell, width in zip(line[:4], widths, strict=True))
        lines.append(f"{start}  {line[4]}".rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
