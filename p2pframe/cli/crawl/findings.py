"""What a crawler's database says, in numbers.

How long sessions last is estimated after Kaplan and Meier ("Nonparametric Estimation from Incomplete Observations",
1958): those that were not over when the crawl ended count for as long as they were seen, and not as ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1
TOP = 20
"""Rows of a table."""
POINTS = 200
"""Points of a curve."""


class CrawlError(Exception):
    """A database that can't be read; the text says why and what to do."""


@dataclass(frozen=True)
class Count:
    """How many of one kind there are, and their share of all."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class Findings:
    """What was found. Times are unix seconds, durations seconds.

    `reachable` have answered at least once, `answering` at the latest visit. `half` is how many netgroups hold half
    of the reachable ones. `round_trips` are percentiles by their number, `survival` points of the share of sessions
    that last longer than so many seconds, `growth` points of how many were known, and had answered, by when.
    `changing` addresses have answered under several ids, `shared` ids from several addresses.
    """

    began: float
    ended: float
    known: int
    reachable: int
    answering: int
    visits: int
    failed: int
    agents: list[Count]
    versions: list[Count]
    netgroups: list[Count]
    half: int
    reasons: list[Count]
    round_trips: dict[str, float]
    sessions: int
    over: int
    median_session: float | None
    survival: list[tuple[float, float]]
    growth: list[tuple[float, int, int]]
    changing: int
    shared: int


def read(path: Path, since: float | None = None) -> Findings:
    """Read a database; `since` leaves out what was last seen longer ago, in seconds. Raises `CrawlError`."""
    if not path.is_file():
        raise CrawlError(f"{path}: there is no such file: name the database of a crawler")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA:
                raise CrawlError(f"{path}: its version is {version}, this program reads {SCHEMA}")
            return _findings(database, since)
    except sqlite3.Error as error:
        raise CrawlError(f"{path}: {error}: is it the database of a crawler?") from None


def _findings(database: sqlite3.Connection, since: float | None) -> Findings:
    began, ended = database.execute("SELECT min(time), max(time) FROM visits").fetchone()
    if began is None:
        raise CrawlError("no visit is in the database yet")
    start = began if since is None else ended - since
    nodes = database.execute(
        "SELECT netgroup, agent, version, last_answer, failures FROM nodes WHERE coalesce(last_visit, first_seen) >= ?",
        (start,),
    ).fetchall()
    there = [row for row in nodes if row[3] is not None and row[3] >= start]
    visits, failed = database.execute(
        "SELECT count(*), coalesce(sum(answered = 0), 0) FROM visits WHERE time >= ?", (start,)
    ).fetchone()
    groups = _counts((row[0] for row in there), None)
    trips = sorted(
        value
        for (value,) in database.execute(
            "SELECT round_trip FROM visits WHERE round_trip IS NOT NULL AND time >= ?", (start,)
        )
    )
    lasting = database.execute("SELECT ended - began, over FROM sessions WHERE ended >= ?", (start,)).fetchall()
    curve = survival(lasting)
    (changing,) = database.execute(
        "SELECT count(*) FROM (SELECT address FROM visits WHERE id <> ''"
        " GROUP BY address HAVING count(DISTINCT id) > 1)"
    ).fetchone()
    (shared,) = database.execute(
        "SELECT count(*) FROM (SELECT id FROM nodes WHERE id <> '' GROUP BY id HAVING count(*) > 1)"
    ).fetchone()
    return Findings(
        began=start,
        ended=ended,
        known=len(nodes),
        reachable=len(there),
        answering=sum(row[4] == 0 for row in there),
        visits=visits,
        failed=failed,
        agents=_counts(row[1] or "not said" for row in there),
        versions=_counts("not said" if row[2] is None else str(row[2]) for row in there),
        netgroups=groups[:TOP],
        half=_half(groups),
        reasons=_counts(
            why.split(": ", 1)[-1]
            for (why,) in database.execute("SELECT why FROM visits WHERE answered = 0 AND time >= ?", (start,))
        ),
        round_trips={f"p{part}": _percentile(trips, part) for part in (1, 10, 25, 50, 75, 90, 99)} if trips else {},
        sessions=len(lasting),
        over=sum(bool(over) for _, over in lasting),
        median_session=next((seconds for seconds, share in curve if share <= 0.5), None),
        survival=_thinned(curve),
        growth=_growth(database, start, ended),
        changing=changing,
        shared=shared,
    )


def survival(lasting: Iterable[tuple[float, int]]) -> list[tuple[float, float]]:
    """Kaplan and Meier's estimate: of (seconds, whether it was over) the share that lasts longer, at each end."""
    left = sorted(lasting)
    at_risk, share = len(left), 1.0
    curve = [(0.0, 1.0)]
    at = 0
    while at < len(left):
        seconds = left[at][0]
        ends = gone = 0
        while at < len(left) and left[at][0] == seconds:
            ends += bool(left[at][1])
            gone += 1
            at += 1
        if ends:
            share *= 1 - ends / at_risk
            curve.append((seconds, share))
        at_risk -= gone
    return curve


def _growth(database: sqlite3.Connection, began: float, ended: float) -> list[tuple[float, int, int]]:
    known = [when for (when,) in database.execute("SELECT first_seen FROM nodes ORDER BY first_seen")]
    first = database.execute("SELECT min(time) FROM visits WHERE answered GROUP BY address ORDER BY 1").fetchall()
    met = [when for (when,) in first]
    points = []
    for number in range(POINTS + 1):
        when = began + (ended - began) * number / POINTS
        points.append((when - began, _before(known, when), _before(met, when)))
    return points


def _before(times: Sequence[float], when: float) -> int:
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] <= when:
            low = middle + 1
        else:
            high = middle
    return low


def _counts(names: Iterable[str], most: int | None = TOP) -> list[Count]:
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    total = sum(counted.values())
    rows = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return [Count(name, count, count / total) for name, count in rows[:most]]


def _half(groups: Sequence[Count]) -> int:
    every, total = sum(group.count for group in groups), 0
    for number, group in enumerate(groups, 1):
        total += group.count
        if 2 * total >= every:
            return number
    return 0


def _percentile(values: Sequence[float], part: int) -> float:
    return values[min(len(values) - 1, len(values) * part // 100)]


def _thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, len(curve) // POINTS)
    return curve[::step] + ([curve[-1]] if (len(curve) - 1) % step else [])
