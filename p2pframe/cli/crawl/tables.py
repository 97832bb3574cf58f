"""The findings of a crawl as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from p2pframe.cli.crawl.findings import Count, Findings
from p2pframe.sim.report.model import visible


def lasting(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "longer than was seen"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def summary(found: Findings) -> list[tuple[str, str]]:
    """What is said first."""
    trips = found.round_trips
    return [
        ("seen for", lasting(found.ended - found.began)),
        ("addresses known", f"{found.known:,}"),
        ("that have answered", f"{found.reachable:,}"),
        ("that answered the last time", f"{found.answering:,}"),
        ("visits", f"{found.visits:,}, {found.failed:,} of them in vain"),
        ("round trips", ", ".join(f"{name} {lasting(trips[name])}" for name in ("p50", "p90", "p99") if name in trips)),
        ("netgroups that hold half of them", str(found.half)),
        ("sessions", f"{found.sessions:,}, {found.over:,} of them over; median {lasting(found.median_session)}"),
        ("addresses under several ids", str(found.changing)),
        ("ids at several addresses", str(found.shared)),
    ]


def tables(found: Findings) -> list[tuple[str, list[Count]]]:
    """The rest, by title."""
    return [
        ("Software", found.agents),
        ("Protocol versions", found.versions),
        ("Netgroups", found.netgroups),
        ("Why visits were in vain", found.reasons),
    ]


def show(found: Findings) -> None:
    """Print them."""
    console = Console()
    head = Table(show_header=False, box=None)
    for name, value in summary(found):
        head.add_row(name, value)
    console.print(head)
    for title, rows in tables(found):
        if not rows:
            continue
        table = Table(title=title, title_justify="left")
        table.add_column("")
        table.add_column("count", justify="right")
        table.add_column("share", justify="right")
        for row in rows:
            # What a peer calls itself is no markup, and moves no cursor.
            table.add_row(visible(row.name, 80).replace("[", "\\["), f"{row.count:,}", f"{row.share:.1%}")
        console.print(table)
