"""What the admin answers, as tables on the terminal. Whatever a peer may have said is shown without control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from p2pframe.admin.values import Captured, Happened, Node, Peer, Penalty, Plain, Version
from p2pframe.admin.words import amount, duration, milliseconds, short
from p2pframe.logs import clean

WIDE = 250
"""Columns where the output is no terminal: what reads it wants no line broken."""


def lasting(seconds: float | None) -> str:
    """`3 d 4 h`, `5 min`, `12 s`; empty for None."""
    return "" if seconds is None else duration(seconds)


def moment(unix: float) -> str:
    """A time, in UTC; the number itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{unix:g}"


def printable(text: str) -> str:
    """One line without control characters, and without what the terminal can't say."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return clean(text).encode(encoding, "backslashreplace").decode(encoding)


def event_line(one: Happened) -> str:
    """One event as one line, as the log has them."""
    about = [moment(one.time), one.kind]
    about += [one.network] if one.network else []
    about += [one.address] if one.address else []
    about += [f"session {one.session}"] if one.session is not None else []
    fields = ", ".join(f"{name}={value}" for name, value in one.fields.items() if value not in (None, ""))
    return printable(f"{' '.join(about)}{': ' if fields else ''}{fields}")


def status(node: Node) -> None:
    """At a glance."""
    rows = [("node", f"p2pframe {node.version}"), ("up for", lasting(node.uptime))]
    rows += [("healthy", "yes")] if node.healthy else [("not healthy", reason) for reason in node.reasons]
    rows += [("look at", f"{one.text} {one.runbook}") for one in node.alerts if not one.critical]
    for network in node.networks:
        rows += [("", ""), (network.name, network.protocol)]
        rows.append(("listening", ", ".join(network.listening) or "nowhere"))
        rows += [(name.replace("_", " "), f"{use.used} of {use.allowed}") for name, use in network.slots.items()]
        rows.append(("addresses", ", ".join(f"{name} {count}" for name, count in network.addresses.items())))
        rows += [(name, str(value)) for name, value in network.status.items()]
        rows += [
            (f"from {one.name}", f"{one.held} held, {one.tried} tried" + (f"; {one.error}" if one.error else ""))
            for one in network.sources
        ]
    _pairs(rows)


def peers(found: Sequence[Peer]) -> None:
    """A line each."""
    if not found:
        console().print("no peers")
        return
    _table(
        ("network", "id", "address", "slot", "state", "age", "ping", "in", "out", "score", "agent"),
        [
            (one.network, str(one.id), one.address, one.slot.replace("_", " "), one.state, lasting(one.age),
             "" if one.ping is None else f"{one.ping * 1000:.0f} ms", f"{one.bytes_in:,}", f"{one.bytes_out:,}",
             "" if one.score is None else f"{one.score:.2f}", one.agent)
            for one in found
        ],
        right=("id", "age", "ping", "in", "out", "score"),
    )  # fmt: skip


def peer(one: Peer) -> None:
    """All there is to say of one."""
    rows: list[tuple[str, str]] = []
    for name, value in one.model_dump().items():
        if name in ("age", "quiet", "useless", "sent", "block", "last_useful"):
            text = lasting(value)
        elif name in ("ping", "best_ping"):
            text = "" if value is None else milliseconds(value)
        elif name in ("bytes_in", "bytes_out"):
            text = amount(value)
        elif name in ("rate_in", "rate_out"):
            text = f"{amount(value)}/s"
        elif isinstance(value, float):
            text = f"{value:.2f}" if name == "score" else short(value)
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {count}" for key, count in sorted(value.items()))
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        else:
            text = "" if value is None else str(value)
        if text:
            rows.append((name.replace("_", " "), text))
    _pairs(rows)


def bans(found: Sequence[Penalty]) -> None:
    """A line each."""
    if not found:
        console().print("nobody is kept out")
        return
    _table(
        ("subject", "scope", "action", "until", "rule", "reason", "evidence"),
        [
            (one.subject, one.scope, one.action, moment(one.until), one.rule, one.reason, one.evidence)
            for one in found
        ],
    )  # fmt: skip


def events(found: Sequence[Happened]) -> None:
    """A line each, oldest first."""
    if not found:
        console().print("nothing has happened")
        return
    _table(
        ("number", "time", "event", "network", "session", "address", "more"),
        [
            (str(one.number), moment(one.time), one.kind, one.network,
             "" if one.session is None else str(one.session), one.address or "",
             ", ".join(f"{name}={value}" for name, value in one.fields.items() if value not in (None, "")))
            for one in found
        ],
        right=("number", "session"),
    )  # fmt: skip


def changed(found: Mapping[str, Plain], back: Sequence[str], note: str) -> None:
    """What is set over the file, and what the file would have instead."""
    if not found:
        console().print("nothing is set over the file")
        return
    _table(("key", "set to"), [(key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(found.items())])
    if back:
        console().print("\ntaken back, it would be:")
        for line in back:
            console().print(_text(f"  {line}"))
    if note:
        console().print(_text(note))


def history(found: Sequence[Version]) -> None:
    """A line for each difference, the number at the first of a change."""
    if not found:
        console().print("nothing has been changed since the node started")
        return
    rows = []
    for one in found:
        first = (str(one.number), moment(one.time), one.who)
        for number, line in enumerate(one.differences or ["no value in force"]):
            rows.append((*(first if number == 0 else ("", "", "")), line))
    _table(("number", "time", "by", "what changed"), rows, right=("number",))
    before = [one.number for one in found if not one.undoable]
    if before:
        console().print(f"the file was read again after change {before[-1]}: none up to it can be undone")


def captures(found: Sequence[Captured]) -> None:
    """A line each."""
    if not found:
        console().print("there are no captures")
        return
    _table(
        ("name", "size", ""),
        [(one.name, amount(one.size), "under way" if one.running else "") for one in found],
        right=("size",),
    )


def console() -> Console:
    """Where tables go."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDE)


def _pairs(rows: Sequence[tuple[str, str]]) -> None:
    table = Table(show_header=False, box=None)
    for row in rows:
        table.add_row(*map(_text, row))
    console().print(table)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in head:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    console().print(table)


def _text(text: str) -> Text:
    # No markup: what a peer says of itself is no style.
    return Text(printable(text))
