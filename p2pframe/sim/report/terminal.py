"""A report on the terminal: what was measured, what became of the expectations, and how to run what failed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2pframe.sim.report.model import Report, expectation_rows, value_rows, visible
from p2pframe.sim.results import Aggregate, RunResult, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

COLUMNS = 4
"""Variants side by side; more go into tables of their own."""
LINES = 20
"""Of each kind of list; the rest is counted, and stands in the files."""


def show(report: Report, console: Console | None = None) -> None:
    """Print a report, on standard output where no console is given."""
    if console is None:
        from rich.console import Console

        console = Console(highlight=False)
    _Terminal(report, console).show()


class _Terminal:
    def __init__(self, report: Report, console: Console) -> None:
        self.report = report
        self.console = console
        self.wide = console.encoding.lower().startswith("utf")

    def show(self) -> None:
        results = self.report.results
        self.line(self.headline())
        self.values(results)
        self.expectations(results)
        self.comparisons()
        broken = [result for result in results if not result.ok or result.failures]
        told = results if len(results) == 1 else broken[:1]
        for result in told:
            self.faults(result)
        self.failures(broken)
        self.commands(broken)

    def headline(self) -> str:
        results = self.report.results
        if len(results) != 1:
            return f"{self.report.scenario}: {len(results)} runs"
        one = results[0]
        rate = f", {shown(round(one.deliveries / one.cpu))} per CPU second" if one.cpu > 0 else ""
        return (
            f"{one.scenario}: {one.variant}, seed {one.seed}: {shown(one.duration)} s of {one.hosts} hosts in "
            f"{one.cpu:.1f} CPU seconds, {one.deliveries} deliveries{rate}, trace {one.trace}"
        )

    def values(self, results: Sequence[RunResult]) -> None:
        columns, rows = value_rows(results)
        if not rows:
            return
        for first in range(0, len(columns), COLUMNS):
            table = self.table("value", *(group.label for group in columns[first : first + COLUMNS]))
            for column in table.columns[1:]:
                column.justify = "right"
            for row in rows:
                table.add_row(self.text(row.name), *(self.cell(cell) for cell in row.cells[first : first + COLUMNS]))
            self.console.print(table)
        if any(cell is not None and cell.n > 1 for row in rows for cell in row.cells):
            self.line("mean of all seeds, with 95% interval")

    def cell(self, cell: Aggregate | None) -> str:
        if cell is None:
            return "-"
        if cell.interval is None:
            return shown(cell.mean)
        sign = "±" if self.wide else "+-"
        return f"{shown(cell.mean)} {sign} {(cell.interval[1] - cell.mean):.3g}"

    def expectations(self, results: Sequence[RunResult]) -> None:
        rows = expectation_rows(results)
        if not rows:
            return
        table = self.table("", "expected", "measured", "where")
        for row in rows:
            low, high = (min(row.measured), max(row.measured)) if row.measured else (None, None)
            measured = shown(low) if low == high else f"{shown(low)} to {shown(high)}"
            if row.runs > 1:
                measured += f" ({row.runs - len(row.failed)} of {row.runs} runs)"
            text = row.text if len(results) == row.runs else f"{row.group}: {row.text}"
            table.add_row(self.verdict(row.ok), self.text(text), measured or "-", self.text(row.where))
        self.console.print(table)

    def comparisons(self) -> None:
        if not self.report.comparisons:
            return
        table = self.table("", "compared", "measured", "where")
        for judgement in self.report.comparisons:
            measured = shown(judgement.measured) or "-"
            table.add_row(self.verdict(judgement.ok), self.text(judgement.text), measured, self.text(judgement.where))
        self.console.print(table)

    def faults(self, result: RunResult) -> None:
        if not result.faults:
            return
        table = self.table("fault", "at (s)", "until (s)", "what")
        for fault in result.faults[:LINES]:
            table.add_row(str(fault.number), shown(fault.time), shown(fault.until) or "-", self.text(fault.text))
        self.console.print(table)
        self.more(len(result.faults), "faults")

    def failures(self, broken: Sequence[RunResult]) -> None:
        found = [(result, failure) for result in broken for failure in result.failures]
        for result, failure in found[:LINES]:
            lines = failure.strip().splitlines() or [""]
            self.line(f"logged failure, {self.run(result)}: {lines[-1]}")
        self.more(len(found), "logged failures")

    def commands(self, broken: Sequence[RunResult]) -> None:
        again = [result for result in broken if result.command]
        if again:
            self.line("to run again what failed:")
        for result in again[:LINES]:
            # Never wrapped: it is there to be copied.
            self.line(f"  {result.command}", limit=1_000_000)
        self.more(len(again), "commands")

    def run(self, result: RunResult) -> str:
        settings = "".join(f" {key}={value}" for key, value in result.settings.items())
        return f"{result.variant}{settings} seed {result.seed}"

    def more(self, count: int, what: str) -> None:
        if count > LINES:
            self.line(f"and {count - LINES} more {what}")

    def verdict(self, ok: bool) -> Text:
        from rich.text import Text

        return Text("pass", "green") if ok else Text("FAIL", "bold red")

    def text(self, text: str, limit: int = 2000) -> Text:
        """Anyone's text: no markup is read in it, and nothing in it acts on the terminal."""
        from rich.text import Text

        return Text(self.plain(text, limit))

    def plain(self, text: str, limit: int = 2000) -> str:
        safe = visible(text, limit)
        return safe if self.wide else safe.encode("ascii", "backslashreplace").decode("ascii")

    def line(self, text: str, limit: int = 2000) -> None:
        self.console.print(self.text(text, limit), soft_wrap=True)

    def table(self, *header: str) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
        for title in header:
            table.add_column(self.text(title), overflow="fold")
        return table
