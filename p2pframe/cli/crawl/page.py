"""The findings of a crawl as one HTML page that needs nothing else: no script, no address."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from p2pframe.cli.crawl.findings import Findings
from p2pframe.cli.crawl.tables import summary, tables
from p2pframe.sim.report import page as sim_page
from p2pframe.sim.report.model import visible
from p2pframe.sim.report.svg import SERIES, drawn

HOUR = 3600.0


def render(found: Findings) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parents[1] / "templates", Path(sim_page.__file__).parent /
        "templates"]), autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("crawl.html").render(
        summary=[row for row in summary(found) if row[1]],
        tables=[(title, rows) for title, rows in tables(found) if rows],
        plots=[(title, Markup(svg)) for title, svg in _plots(found)],
    )


def _finalized(value: object) -> object:
    return visible(value, 1000) if isinstance(value, str) and not isinstance(value, Markup) else value


def _plots(found: Findings) -> list[tuple[str, str]]:
    def growth(figure: Figure) -> None:
        axes = figure.subplots()
        hours = [seconds / HOUR for seconds, _, _ in found.growth]
        axes.plot(hours, [known for _, known, _ in found.growth], color=SERIES[0], label="known")
        axes.plot(hours, [met for _, _, met in found.growth], color=SERIES[1], label="have answered")
        axes.set_xlabel("hours")
        axes.set_ylabel("addresses")
        axes.legend()

    def sessions(figure: Figure) -> None:
        axes = figure.subplots()
        hours = [seconds / HOUR for seconds, _ in found.survival]
        axes.step(hours, [share for _, share in found.survival], where="post", color=SERIES[0])
        axes.set_xlabel("hours")
        axes.set_ylabel("share that lasts longer")
        axes.set_ylim(0, 1.02)

    def trips(figure: Figure) -> None:
        axes = figure.subplots()
        names = list(found.round_trips)
        axes.bar(names, [found.round_trips[name] * 1000 for name in names], color=SERIES[0])
        axes.set_ylabel("round trip, ms")
        axes.set_yscale("log")

    plots = [("Addresses by time", growth), ("How long sessions last (Kaplan and Meier)", sessions)]
    if found.round_trips:
        plots.append(("Round trips", trips))
    return [(title, drawn(draw, number, title, 8.0, 3.6)) for number, (title, draw) in enumerate(plots)]
