"""`p2pframe config`: what is set on a running node over its file: seen, tried, set, taken back, undone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from p2pframe.cli.remote.asking import Asked, agreed, reaching, read

if TYPE_CHECKING:
    from p2pframe.cli.remote.client import Client

Plain = str | int | float | bool


def _assigned(_: click.Context, __: click.Parameter, given: Sequence[str]) -> tuple[tuple[str, Plain], ...]:
    """`KEY=VALUE`: a number, true and false are that, anything else, and what stands in quotes, is text."""
    found = []
    for one in given:
        key, equals, text = one.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{one!r} is no KEY=VALUE, such as networks.bitcoin.limits.visits=2")
        found.append((key, _plain(text)))
    return tuple(found)


def _plain(text: str) -> Plain:
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    # A list stays the text that it is: the node says that it takes none.
    return value if isinstance(value, str | int | float) else text


@click.group()
def config() -> None:
    """What is set on a running node over what its file says.

    It holds until the file is read again, or the node stops. Keys are those of `p2pframe check --effective`, with dots:
    networks.bitcoin.limits.visits. Only those that are marked live are taken.
    """


@config.command()
@click.option(
    "-s", "--set", "wanted", metavar="KEY=VALUE", multiple=True, callback=_assigned,
    help="Tell what this would change, and change nothing.",
)  # fmt: skip
@click.option("--take-back", metavar="KEY", multiple=True, help="The same of a key that is given back to the file.")
@reaching
def diff(wanted: Sequence[tuple[str, Plain]], take_back: Sequence[str], **given: Any) -> None:
    """Show what is set over the file; with -s, what that would change."""
    node = Asked(given)

    async def work(client: Client) -> Any:
        changed = await _changed(client)
        if wanted or take_back:
            answer = await client.post("/config/check", {"values": _after(changed, wanted, take_back)})
            return {"changed": changed, "differences": _differences(answer)}
        back, note = await _back(client) if changed else ([], "")
        return {"changed": changed, "taken_back": back, "note": note}

    answer = node.ask(work)
    if node.printed(answer):
        return
    if "differences" in answer:
        _tell(answer["differences"], "nothing would change")
        return
    from p2pframe.cli.remote import show

    show.changed(answer["changed"], answer["taken_back"], answer["note"])


@config.command(name="apply")
@click.argument("wanted", metavar="KEY=VALUE...", nargs=-1, callback=_assigned)
@click.option("--take-back", metavar="KEY", multiple=True, help="Give this key back to the file.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; --json does not either.")
@reaching
def apply_(wanted: Sequence[tuple[str, Plain]], take_back: Sequence[str], yes: bool, **given: Any) -> None:
    """Set values over what the file says, once the differences have been shown and agreed to.

    What was set before stays set.
    """
    if not wanted and not take_back:
        raise click.UsageError("say what to set: KEY=VALUE, or --take-back KEY")
    node = Asked(given)

    async def work(client: Client) -> Any:
        changed = await _changed(client)
        values = _after(changed, wanted, take_back)
        if values == changed and not node.as_json:
            click.echo("that is set already: nothing was changed")
            return None
        if not yes and not node.as_json:
            answer = await client.post("/config/check", {"values": values})
            _tell(_differences(answer), "no value in force would change")
            agreed("Apply?")
        return await client.post("/config/apply", {"values": values, "based_on": changed})

    answer = node.ask(work)
    if answer is not None and not node.printed(answer):
        _tell(_differences(answer), "no value in force has changed")


@config.command()
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("-y", "--yes", is_flag=True, help="Do not ask; --json does not either.")
@reaching
def rollback(number: int, yes: bool, **given: Any) -> None:
    """Undo the change N of the history, and those after it, once the differences have been shown and agreed to.

    A change after which the file was read again can't be undone.
    """
    node = Asked(given)

    async def work(client: Client) -> Any:
        wanted: dict[str, Any] = {"number": number}
        if not yes and not node.as_json:
            from p2pframe.admin.values import History

            versions = read(History, await client.get("/config/history")).versions
            version = next((one for one in versions if one.number == number and one.undoable), None)
            # Else the node says why not.
            if version is not None:
                wanted["based_on"] = versions[-1].changed
                answer = await client.post("/config/check", {"values": version.before, "based_on": wanted["based_on"]})
                _tell(_differences(answer), "no value in force would change")
                agreed("Undo?")
        return await client.post("/config/rollback", wanted)

    answer = node.ask(work)
    if not node.printed(answer):
        _tell(_differences(answer), "no value in force has changed")


@config.command()
@reaching
def history(**given: Any) -> None:
    """List the changes since the node started, with their numbers, oldest first."""
    node = Asked(given)
    answer = node.ask(lambda client: client.get("/config/history"))
    if not node.printed(answer):
        from p2pframe.admin.values import History
        from p2pframe.cli.remote import show

        show.history(read(History, answer).versions)


async def _changed(client: Client) -> dict[str, Plain]:
    from p2pframe.admin.values import Config

    found = read(Config, await client.get("/config")).changed
    # The file's `null` can't be laid over it.
    return {key: value for key, value in found.items() if value is not None}


async def _back(client: Client) -> tuple[list[str], str]:
    """What would change if all were taken back, as only the node knows what its file says; else why it is not told."""
    from p2pframe.cli.remote.client import RemoteError

    try:
        return _differences(await client.post("/config/check", {"values": {}})), ""
    except RemoteError as error:
        # A viewer may not ask; a file that has changed since is worth a word.
        if error.status == 403:
            return [], ""
        if error.status in (409, 422):
            return [], str(error)
        raise


def _after(
    changed: dict[str, Plain], wanted: Sequence[tuple[str, Plain]], take_back: Sequence[str]
) -> dict[str, Plain]:  # fmt: skip
    values = {**changed, **dict(wanted)}
    for key in take_back:
        if key not in changed:
            raise click.ClickException(f"{key} is not set over the file: it can't be taken back")
        del values[key]
    return values


def _differences(answer: object) -> list[str]:
    from p2pframe.admin.values import Changed

    return read(Changed, answer).differences


def _tell(differences: Sequence[str], none: str) -> None:
    from p2pframe.cli.remote.show import printable

    for line in differences or [none]:
        click.echo(printable(line))
