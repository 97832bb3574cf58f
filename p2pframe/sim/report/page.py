"""The HTML page: one file that needs nothing else, no script, no address; tables first, then the plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from p2pframe.sim.report.model import Report, expectation_rows, value_rows, visible
from p2pframe.sim.results import ResultsError, RunResult, settings_of, shown

if TYPE_CHECKING:
    from p2pframe.sim.report.plots import Plot

MOST_ROWS = 500
"""Of each table; the rest is counted on the page, and stands in results.json."""


def page(report: Report, plots: Sequence[Plot]) -> str:
    """The page, but for its very first line."""
    folder = Path(__file__).parent / "templates"
    if not (folder / "report.html").is_file():
        raise ResultsError(f"{folder}/report.html is missing: p2pframe is not installed whole: install it again")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        # Whatever is put into the page is text that is spelled out and escaped; what we drew is the only exception.
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": shown, "digits": _digits}
    groups, rows = value_rows(report.results)
    results = report.results
    broken = [result for result in results if not result.ok or result.failures]
    told = results if len(results) == 1 else broken[:1]
    return environment.get_template("report.html").render(
        report=report,
        single=results[0] if len(results) == 1 else None,
        groups=groups,
        rows=rows,
        several=any(cell is not None and cell.n > 1 for row in rows for cell in row.cells),
        expectations=expectation_rows(results),
        settings=settings_of(results),
        broken=broken,
        told=told,
        run_name=_run_name,
        failures=[(result, failure) for result in broken for failure in result.failures],
        plots=[(plot, Markup(plot.svg)) for plot in plots],
        seeds=_seeds(results),
        most=MOST_ROWS,
    )


def _finalized(value: object) -> object:
    return visible(value, 100_000) if isinstance(value, str) and not isinstance(value, Markup) else value


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _run_name(result: RunResult) -> str:
    return " ".join([result.variant, *(f"{k}={v}" for k, v in result.settings.items()), f"seed {result.seed}"])


def _seeds(results: Sequence[RunResult]) -> str:
    seeds = [*dict.fromkeys(result.seed for result in results)]
    return ", ".join(map(str, seeds[:20])) + (f" and {len(seeds) - 20} more" if len(seeds) > 20 else "")
