"""`p2pframe sim replay-capture`: what a node makes of a conversation that another one has had."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from p2pframe.sim.capture_result import Replayed


def _time(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Virtual time: `90s`, `2min`, or seconds."""
    from pydantic_core import PydanticCustomError

    from p2pframe.plugin import parse_duration

    try:
        return parse_duration(text)
    except PydanticCustomError as error:
        raise click.BadParameter(f"{text!r}: {error.message()}", ctx, param) from None


@click.command("replay-capture")
@click.argument("node", type=click.Path())
@click.argument("capture", type=click.Path(), nargs=-1, required=True)
@click.option(
    "--speed", "pace", type=click.Choice(["real", "as-fast"]), default="real", show_default=True,
    help="`real`: each record at its (virtual) time; `as-fast`: as soon as the node has said as much as then.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="The node's chance: its nonces, its jitter.")
@click.option(
    "--patience", callback=_time, default="5s", show_default=True, metavar="TIME",
    help="How long a record waits beyond its time for what the node had said before it then.",
)  # fmt: skip
@click.option(
    "--after", callback=_time, default="30s", show_default=True, metavar="TIME",
    help="How long the session may go on after the last record.",
)  # fmt: skip
@click.option(
    "--longest", callback=_time, default="1d", show_default=True, metavar="TIME",
    help="A record later than this is an error.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="All of it, as one JSON object.")
def replay_capture(
    node: str,
    capture: tuple[str, ...],
    pace: str,
    seed: int,
    patience: float,
    after: float,
    longest: float,
    as_json: bool,
) -> None:
    """Play a capture of a session to a simulated node of the config NODE, and show what the node does.

    The node is that of the file, with its plugins, and nothing in its data directory. The peer is a script: it comes
    from the captured address (or is dialled there, if it was), and says what it said. What the node said then is
    counted, and not compared. A file that `p2pframe capture show` prints is one that this plays; of a capture in
    several parts give all, in order.
    """
    from p2pframe.errors import P2PFrameError
    from p2pframe.sim.capture_replay import replay

    try:
        replayed = replay(
            Path(node), capture, seed=seed, pace="real" if pace == "real" else "as-fast", patience=patience,
            after=after, longest=longest,
        )  # fmt: skip
    except P2PFrameError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"{error.filename}: {error.strerror}" if error.filename else str(error), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(asdict(replayed), indent=2))
    else:
        for line in _lines(replayed):
            click.echo(line)


def _lines(told: Replayed) -> list[str]:
    """For people."""
    known: set[str] = set()

    def why(evidence: str) -> str:
        # One piece of evidence is behind a fact, a verdict, an end and a penalty: it is told with the first of them.
        if not evidence or evidence in known:
            return ""
        known.add(evidence)
        return f": {evidence}"

    direction = "whom the node dialled" if told.slot != "inbound" else "who dialled the node"
    waited = f"; {told.impatient} records did not wait for that any longer" if told.impatient else ""
    lines = [
        f"{told.network}: {told.peer}, {direction} ({told.slot}), {told.records} records of {told.seconds:g} s"
        + (f", agent {told.agent}" if told.agent else ""),
        *(f"note: {note}" for note in told.notes),
        f"played {told.played} of {told.records} records, {told.said} bytes",
        f"the node said {told.answered} bytes, {told.answered_then} then{waited}",
    ]
    for title, counts in (("in", told.messages_in), ("out", told.messages_out)):
        if counts:
            lines.append(f"messages {title}: " + ", ".join(f"{kind} {count}" for kind, count in counts.items()))
    for fact in told.facts:
        times = f" ({fact.times} times)" if fact.times > 1 else ""
        by = f" by {fact.rule}" if fact.rule else ""
        lines.append(
            f"{fact.seconds:12.6f}  fact {fact.kind}{times}: {fact.action}{by}, {fact.effect}{why(fact.evidence)}"
        )
    for event in told.events:
        what = " ".join(filter(None, (event.action, f"by {event.rule}" if event.rule else "", event.reason)))
        lines.append(f"{event.seconds:12.6f}  {event.kind} {event.peer} {what}{why(event.evidence)}")
    if told.ended is not None:
        when = "after it had opened" if told.ended.opened else "before it had opened"
        lines.append(
            f"the session ended at {told.ended.seconds:g} s, {when}: {told.ended.reason}{why(told.ended.evidence)}"
        )
    else:
        lines.append(
            "the node made no session" if told.session == "none" else f"the session was {told.session} at the end"
        )
    if told.score is not None:
        lines.append(f"score {told.score:.3f}")
    for kept in told.penalties:
        lines.append(
            f"in force at the end: {kept.action} of {kept.subject} in {kept.scope} by {kept.rule}: {kept.reason}"
            + why(kept.evidence)
        )
    lines += [f"log: {line}" for line in told.log]
    if told.left_out:
        lines.append(f"{told.left_out} more events and log lines")
    lines.append(f"seed {told.seed}, trace {told.trace}")
    return lines
