"""The CSV files: a row for every run, and every point of every curve in a row of its own (the long format)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from p2pframe.sim.report.model import visible
from p2pframe.sim.results import RunResult, settings_of, value_names

# How the files begin: their first columns.
VALUES_START = "scenario,variant,seed,"
CURVES_START = "scenario,variant,seed,"
NODES_START = "scenario,variant,seed,"
EDGES_START = "scenario,variant,seed,"

_RUN = ("trace", "duration", "hosts", "events", "deliveries", "cpu", "judgements", "failed", "failures")
_NODE = (
    "graph", "network", "time", "node", "name", "group", "netgroup", "honest", "hosts", "dialled", "dialled_by",
    "score",
)  # fmt: skip
_EDGE = ("graph", "network", "time", "source", "target", "sessions")
_CURVE = ("curve", "series", "kind", "x_label", "y_label", "label", "x", "y")

# What a spreadsheet takes for the beginning of a formula, the full-width forms as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe_cell(text: str) -> str:
    """Text that stays text in a spreadsheet: what begins like a formula, and is no number, gets an apostrophe."""
    shown = visible(text)
    if not text.lstrip(" ").startswith(_FORMULA):
        return shown
    try:
        float(text)
    except ValueError:
        return "'" + shown
    return shown


def values(results: Sequence[RunResult]) -> str:
    """A row for each run: what it is, its settings (`setting:KEY`), what it cost, and its values."""
    settings, names = settings_of(results), value_names(results)
    header = ["scenario", "variant", "seed", *_settings_header(settings), *_RUN, *map(safe_cell, names)]
    return _written(
        header,
        (
            [
                *_run_cells(result, settings),
                safe_cell(result.trace),
                result.duration,
                result.hosts,
                result.events,
                result.deliveries,
                result.cpu,
                len(result.judgements),
                sum(not judgement.ok for judgement in result.judgements),
                len(result.failures),
                *(result.values.get(name, "") for name in names),
            ]
            for result in results
        ),
    )


def curves(results: Sequence[RunResult]) -> str:
    """A row for each point of each curve of each run."""
    settings = settings_of(results)
    return _written(["scenario", "variant", "seed", *_settings_header(settings), *_CURVE], _points(results, settings))


def nodes(results: Sequence[RunResult]) -> str:
    """A row for each node of each graph of each run; `node` is its number there."""
    settings = settings_of(results)
    header = ["scenario", "variant", "seed", *_settings_header(settings), *_NODE]
    return _written(
        header,
        (
            [
                *_run_cells(result, settings), safe_cell(graph.name), safe_cell(graph.network), graph.time, number,
                safe_cell(node.name), safe_cell(node.group), safe_cell(node.netgroup), int(node.honest), node.hosts,
                node.dialled, node.dialled_by, "" if node.score is None else node.score,
            ]
            for result in results for graph in result.graphs for number, node in enumerate(graph.nodes)
        ),
    )  # fmt: skip


def edges(results: Sequence[RunResult]) -> str:
    """A row for each edge of each graph of each run: who dialled and who was dialled, by number, and sessions."""
    settings = settings_of(results)
    header = ["scenario", "variant", "seed", *_settings_header(settings), *_EDGE]
    return _written(
        header,
        (
            [*_run_cells(result, settings), safe_cell(graph.name), safe_cell(graph.network), graph.time, *edge]
            for result in results for graph in result.graphs for edge in graph.edges
        ),
    )  # fmt: skip


def _points(results: Iterable[RunResult], settings: Sequence[str]) -> Iterable[list[object]]:
    for result in results:
        run = _run_cells(result, settings)
        for curve in result.curves:
            what = [safe_cell(text) for text in (curve.name, curve.series, curve.kind, curve.x, curve.y)]
            for index, (x, y) in enumerate(curve.points):
                label = safe_cell(curve.labels[index]) if index < len(curve.labels) else ""
                yield [*run, *what, label, x, y]


def _settings_header(settings: Iterable[str]) -> list[str]:
    return [visible(f"setting:{key}") for key in settings]


def _run_cells(result: RunResult, settings: Iterable[str]) -> list[object]:
    chosen = [safe_cell(result.settings.get(key, "")) for key in settings]
    return [safe_cell(result.scenario), safe_cell(result.variant), result.seed, *chosen]


def _written(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    # A float is written as its repr, which reads back as the same float.
    writer.writerows(rows)
    return stream.getvalue()
