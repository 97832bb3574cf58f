"""`p2pframe log` and `p2pframe events`: the latest lines of the log, the latest events, and those that come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from p2pframe.cli.remote.asking import Asked, reaching, read

if TYPE_CHECKING:
    from p2pframe.admin.values_logs import LogLine
    from p2pframe.cli.remote.client import Client

LEVELS = ("debug", "info", "warn", "error", "critical")
KIND = click.option("--kind", help="Of this kind alone: session.closed, or all of session.* by `session`.")


@click.command()
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=50, show_default=True, help="The latest so many.")
@click.option("-f", "--follow", is_flag=True, help="Then go on with each line as it comes, until Ctrl-C.")
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="At least as grave.")
@click.option("--namespace", default="", help="Of this part of the node alone: bitcoin, bitcoin.relay.inventory.")
@click.option("--text", default="", help="With this text in it.")
@reaching
def log(count: int, follow: bool, level: str, namespace: str, text: str, **given: Any) -> None:
    """Print the latest lines of a node's log, oldest first; with -f and --json an object a line.

    The node logs what is at least node.log_level, and keeps node.log_lines of it for this.
    """
    node = Asked(given)
    fitting = {"level": level, "namespace": namespace, "text": text}

    async def work(client: Client) -> Any:
        from p2pframe.admin.values_logs import LogLine, Logs

        answer = await client.get("/logs", limit=count, **fitting)
        if not follow and node.as_json:
            return answer
        lines = read(Logs, answer).lines
        for one in reversed(lines):
            _tell(json.dumps(one.model_dump()) if node.as_json else line(one))
        if follow:
            last = lines[0].number if lines else 0
            await client.stream("/logs/stream", _each(node, LogLine, line), after=last, **fitting)
        return None

    answer = node.ask(work)
    if not follow:
        node.printed(answer)


@click.command()
@click.option("-n", "--count", type=click.IntRange(1), help="The latest so many (50); with -f: end after so many.")
@click.option("-f", "--follow", is_flag=True, help="Each as it comes, until Ctrl-C; with --json an object a line.")
@click.option("--after", type=click.IntRange(0), help="With -f: begin behind the event of this number.")
@KIND
@reaching
def events(count: int | None, follow: bool, after: int | None, kind: str | None, **given: Any) -> None:
    """List what happened, oldest first, as far back as the node remembers; or follow what happens."""
    if after is not None and not follow:
        raise click.UsageError("--after goes with --follow")
    node = Asked(given)
    if follow:
        _follow_events(node, count, kind, after)
        return

    async def work(client: Client) -> Any:
        answer = await client.pages("/events", "events")
        rows = [one for one in answer["events"] if kind is None or _is_of(one, kind)]
        return {**answer, "events": rows[-(count or 50) :]}

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Events
        from p2pframe.cli.remote import show

        show.events(read(Events, answer).events)


def _follow_events(node: Asked, count: int | None, kind: str | None, after: int | None) -> None:
    from p2pframe.admin.values import Happened
    from p2pframe.cli.remote.show import event_line

    told = 0

    def counted() -> bool:
        nonlocal told
        told += 1
        return count is None or told < count

    tell = _each(node, Happened, event_line, lambda one: kind is None or _is_of(one, kind), counted)
    node.ask(lambda client: client.stream("/events/stream", tell, after=after))


def _each(
    node: Asked,
    model: type[Any],
    text: Callable[[Any], str],
    wanted: Callable[[object], bool] = lambda one: True,
    go_on: Callable[[], bool] = lambda: True,
) -> Callable[[str], bool]:
    def tell(data: str) -> bool:
        try:
            one = json.loads(data)
        except (ValueError, RecursionError):
            one = None
        made = read(model, one)
        if not wanted(one):
            return True
        _tell(json.dumps(one) if node.as_json else text(made))
        return go_on()

    return tell


def line(one: LogLine) -> str:
    """A line as the node's own log has it, with the traceback below."""
    from p2pframe.cli.remote.show import moment, printable

    mark = "" if one.level == "info" else f" {one.level}:"
    where = f" {one.namespace}:" if one.namespace else ""
    trace = "".join(f"\n    {printable(part)}" for part in one.traceback.splitlines())
    return printable(f"{moment(one.time)}{mark}{where} {one.text}") + trace


def _tell(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _is_of(event: object, kind: str) -> bool:
    found = event.get("kind") if isinstance(event, dict) else None
    return isinstance(found, str) and (found == kind or found.startswith(kind + "."))
