"""What a report tells: the runs, the comparisons between them, and what is derived from both for every form of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from p2pframe.sim.results import (
    Aggregate,
    Group,
    Judgement,
    ResultsError,
    RunResult,
    aggregates,
    groups,
    judgement_from_data,
    judgement_to_data,
    to_number,
    value_names,
)
from p2pframe.visible import visible as spelled_out

FORMAT = "p2pframe sim results 1"
"""What `results.json` begins with, as the value of its key `format`."""


@dataclass(slots=True)
class Report:
    """All runs of one call of `p2pframe sim`; `command` is that call."""

    scenario: str
    results: list[RunResult]
    comparisons: list[Judgement] = field(default_factory=list)
    command: str = ""

    @property
    def ok(self) -> bool:
        """Whether every expectation of every run and every comparison holds."""
        return all(result.ok for result in self.results) and all(judgement.ok for judgement in self.comparisons)

    def to_json(self) -> str:
        """Everything, exact; the aggregates are there for readers of the file and made anew by `from_json`."""
        document = {
            "format": FORMAT,
            "scenario": self.scenario,
            "command": self.command,
            "ok": self.ok,
            "comparisons": [judgement_to_data(judgement) for judgement in self.comparisons],
            "aggregates": [
                {
                    "variant": group.variant,
                    "settings": dict(group.settings),
                    "values": {name: _aggregate_data(found) for name, found in aggregates(members).items()},
                }
                for group, members in groups(self.results).items()
            ],
            "results": [result.to_data() for result in self.results],
        }
        return json.dumps(document, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote. Raises `ResultsError` where it did not."""
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ResultsError(f"not the results of a simulation: its format is no {FORMAT!r}")
            return cls(
                document["scenario"],
                [RunResult.from_data(result) for result in document["results"]],
                [judgement_from_data(judgement) for judgement in document["comparisons"]],
                document["command"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"not the results of a simulation: {type(error).__name__}: {error}") from error


def _aggregate_data(found: Aggregate) -> dict[str, Any]:
    return {
        "n": found.n,
        "mean": to_number(found.mean),
        "deviation": to_number(found.deviation),
        "interval": [to_number(end) for end in found.interval] if found.interval else None,
        "least": to_number(found.least),
        "most": to_number(found.most),
    }


@dataclass(frozen=True, slots=True)
class ValueRow:
    """A value in each group, in the groups' order; None where no run of the group has it."""

    name: str
    cells: list[Aggregate | None]


def value_rows(results: Sequence[RunResult]) -> tuple[list[Group], list[ValueRow]]:
    """The table of all values: its columns are the groups."""
    found = groups(results)
    sums = [aggregates(members) for members in found.values()]
    return [*found], [ValueRow(name, [own.get(name) for own in sums]) for name in value_names(results)]


@dataclass(slots=True)
class ExpectationRow:
    """One expectation over the runs of a group: in how many it holds, and the seeds in which it does not."""

    group: str
    text: str
    where: str
    measured: list[float] = field(default_factory=list)
    runs: int = 0
    failed: list[int] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it holds in all of them."""
        return not self.failed


def expectation_rows(results: Sequence[RunResult]) -> list[ExpectationRow]:
    """Every expectation of every group, those that fail first."""
    rows: dict[tuple[Group, str, str], ExpectationRow] = {}
    for group, members in groups(results).items():
        for result in members:
            for judgement in result.judgements:
                key = (group, judgement.where, judgement.text)
                row = rows.setdefault(key, ExpectationRow(group.label, judgement.text, judgement.where))
                row.runs += 1
                if judgement.measured is not None:
                    row.measured.append(judgement.measured)
                if not judgement.ok:
                    row.failed.append(result.seed)
    return sorted(rows.values(), key=lambda row: row.ok)


def visible(text: str, limit: int = 2000) -> str:
    """Text of anyone's making on one line: what moves a cursor, turns the direction of reading or hides is spelled out.

    A host name or a user agent is chosen by who wants to be read: an escape sequence in it would act on the terminal.
    """
    if len(text) > limit:
        text = text[:limit] + "..."
    return spelled_out(text)
