"""The commands that ask a running node: status, peers, bans, events and the rest, over the admin's HTTP API.

Exit status 1, with one sentence, where the node is not there, refuses or has no such thing. Nothing but click is
imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

    from p2pframe.cli.remote.client import Client

    Model = TypeVar("Model", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
_NETWORK = click.option("--network", help="Of this network alone.")


def _reaching(command: F) -> F:
    for option in reversed(
        (
            click.option("-c", "--config", type=click.Path(), help="The node's configuration, on the node's own host."),
            click.option("--url", help="Where the admin is, with --token-file: https://HOST:PORT."),
            click.option("--token-file", type=click.Path(), help="A file with a token (mode 0600)."),
            click.option("--certificate", type=click.Path(), help="With --url: take this certificate, and no other."),
            click.option("--json", "as_json", is_flag=True, help="Print the API's answer."),
        )
    ):
        command = option(command)
    return command


class _Node:
    """Where the command was told to look, and how to print."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.as_json: bool = given["as_json"]
        self._given = given

    def ask(self, work: Callable[[Client], Awaitable[Any]]) -> Any:
        """What the node answers; the command ends where that is nothing good."""
        given = self._given
        if (given["config"] is None) == (given["url"] is None):
            raise click.UsageError("say which node: -c node.yaml, or --url and --token-file")
        if (given["url"] is None) != (given["token_file"] is None):
            raise click.UsageError("--url and --token-file go together")
        if given["certificate"] is not None and given["url"] is None:
            raise click.UsageError("--certificate goes with --url: -c takes the one of the configuration")
        from p2pframe.cli.remote.client import Interrupted, RemoteError, ask
        from p2pframe.cli.remote.place import NotFound, of_config, of_url

        try:
            if given["config"] is not None:
                place = of_config(given["config"])
            else:
                place = of_url(given["url"], given["token_file"], given["certificate"])
            return ask(place, work)
        except (NotFound, RemoteError) as error:
            raise click.ClickException(str(error)) from None
        except Interrupted:
            sys.exit(130)

    def printed(self, answer: object) -> bool:
        """Whether the answer was wanted as JSON, and has been printed."""
        if self.as_json:
            click.echo(json.dumps({} if answer is None else answer, indent=2))
        return self.as_json


def _read(model: type[Model], answer: object) -> Model:
    from pydantic import ValidationError

    try:
        # A newer node may say more.
        return model.model_validate(answer, extra="ignore")
    except ValidationError:
        raise click.ClickException(
            "the node's answer is none that this version of p2pframe knows: --json prints it as it is"
        ) from None


async def _sole_network(client: Client, network: str | None) -> str:
    if network is not None:
        return network
    from p2pframe.cli.remote.client import RemoteError

    answer = await client.get("/node")
    try:
        names = [str(one["name"]) for one in answer["networks"]]
    except (KeyError, TypeError):
        raise RemoteError(f"{client.url} answered what no p2pframe admin does") from None
    if len(names) != 1:
        raise RemoteError(f"the node has {len(names)} networks: say --network, of {', '.join(names)}")
    return names[0]


async def _find(client: Client, wanted: str, network: str | None) -> str:
    """The path of a peer that is named by its id or its address."""
    from p2pframe.cli.remote.client import RemoteError

    answer = await client.pages("/peers", "peers", network=network)
    try:
        found = [(str(one["network"]), int(one["id"])) for one in answer["peers"]
                 if wanted in (str(one["id"]), one["address"])]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise RemoteError(f"{client.url} answered what no p2pframe admin does") from None
    if not found:
        raise RemoteError(f"there is no peer {wanted}" + ("" if network is None else f" in {network}"))
    if len(found) > 1:
        raise RemoteError(
            f"{wanted} is in several networks or sessions: "
            + ", ".join(f"{id} of {name}" for name, id in found[:20])
            + "; give an id and --network"
        )
    name, id = found[0]
    return f"/peers/{quote(name, safe='')}/{id}"


@click.command()
@_reaching
def status(**given: Any) -> None:
    """Print a node at a glance; the exit status is 0 also where it is not healthy."""
    node = _Node(given)
    answer = node.ask(lambda client: client.get("/node"))
    if not node.printed(answer):
        from p2pframe.admin.values import Node
        from p2pframe.cli.remote import show

        show.status(_read(Node, answer))


@click.command()
@_NETWORK
@_reaching
def peers(network: str | None, **given: Any) -> None:
    """List a node's peers."""
    node = _Node(given)
    answer = node.ask(lambda client: client.pages("/peers", "peers", network=network))
    if not node.printed(answer):
        from p2pframe.admin.values import Peers
        from p2pframe.cli.remote import show

        show.peers(_read(Peers, answer).peers)


@click.command()
@click.argument("id")
@_NETWORK
@_reaching
def peer(id: str, network: str | None, **given: Any) -> None:
    """Tell all about one peer, by its ID or its address."""
    node = _Node(given)

    async def work(client: Client) -> Any:
        return await client.get(await _find(client, id, network))

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Peer
        from p2pframe.cli.remote import show

        show.peer(_read(Peer, answer))


@click.command()
@_reaching
def bans(**given: Any) -> None:
    """List who is kept out, and why."""
    node = _Node(given)
    answer = node.ask(lambda client: client.get("/bans"))
    if not node.printed(answer):
        from p2pframe.admin.values import Penalties
        from p2pframe.cli.remote import show

        show.bans(_read(Penalties, answer).penalties)


@click.command()
@click.argument("subject")
@click.option("--for", "duration", default="24h", show_default=True, help="How long: 30min, 24h, 7d.")
@click.option("--reason", default="by hand", show_default=True, help="For the list of bans and the audit log.")
@click.option("--scope", default="node", show_default=True, help="A network's name, or node for all.")
@_reaching
def ban(subject: str, duration: str, reason: str, scope: str, **given: Any) -> None:
    """Keep SUBJECT out and end its sessions: an address, a network (192.0.2.0/24) or id: and hex."""
    from pydantic_core import PydanticCustomError

    from p2pframe.plugin import parse_duration

    try:
        seconds = parse_duration(duration)
    except (PydanticCustomError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    node = _Node(given)
    body = {"subject": subject, "duration": seconds, "reason": reason, "scope": scope}
    answer = node.ask(lambda client: client.post("/bans", body))
    if not node.printed(answer):
        click.echo(f"{subject} is kept out for {duration}")


@click.command()
@click.argument("subject")
@click.option("--scope", default="node", show_default=True, help="A network's name, or node for all.")
@_reaching
def unban(subject: str, scope: str, **given: Any) -> None:
    """Let SUBJECT in again, as `p2pframe bans` names it."""
    node = _Node(given)
    answer = node.ask(lambda client: client.post("/bans/lift", {"subject": subject, "scope": scope}))
    if not node.printed(answer):
        click.echo(f"{subject} may come in again")


@click.command()
@click.argument("address")
@click.option("--network", help="Needed where the node has several.")
@_reaching
def connect(address: str, network: str | None, **given: Any) -> None:
    """Dial a peer at ADDRESS (host:port) once, and wait until the session is open."""
    node = _Node(given)

    async def work(client: Client) -> Any:
        from p2pframe.cli.remote.client import DIALLING

        body = {"network": await _sole_network(client, network), "address": address}
        return await client.post("/connect", body, DIALLING)

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Connected

        made = _read(Connected, answer)
        click.echo(f"connected to {address}: session {made.id}")


@click.command()
@click.argument("id")
@_NETWORK
@click.option("--reason", default="by hand", show_default=True, help="For the log and the audit log.")
@_reaching
def disconnect(id: str, network: str | None, reason: str, **given: Any) -> None:
    """End the session with a peer, by its ID or its address; it may come again."""
    node = _Node(given)

    async def work(client: Client) -> Any:
        return await client.post(await _find(client, id, network) + "/disconnect", {"reason": reason})

    answer = node.ask(work)
    if not node.printed(answer):
        click.echo(f"{id} is disconnected")


@click.command()
@click.option("-n", "--count", type=click.IntRange(1), default=50, show_default=True, help="The latest so many.")
@click.option("--kind", help="Of this kind alone: session.closed, or all of session.* by `session`.")
@_reaching
def events(count: int, kind: str | None, **given: Any) -> None:
    """List what happened, oldest first, as far back as the node remembers."""
    node = _Node(given)

    async def work(client: Client) -> Any:
        answer = await client.pages("/events", "events")
        rows = [one for one in answer["events"] if kind is None or _is_of(one, kind)]
        return {**answer, "events": rows[-count:]}

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Events
        from p2pframe.cli.remote import show

        show.events(_read(Events, answer).events)


@click.command()
@click.argument("level", type=click.IntRange(0, 4), default=0)
@click.option("--legend", is_flag=True, help="Explain the columns, and ask no node.")
@_NETWORK
@_reaching
def netinfo(level: int, legend: bool, network: str | None, **given: Any) -> None:
    """Count connections by network and direction, as bitcoin-cli -netinfo does.

    LEVEL 1 lists every peer as well, 2 with addresses, 3 with software, 4 with both.
    """
    if legend:
        from p2pframe.cli.remote.netinfo import HELP

        click.echo(HELP, nl=False)
        return
    node = _Node(given)

    async def work(client: Client) -> Any:
        found = await client.pages("/peers", "peers", network=network)
        return {"node": await client.get("/node"), "peers": found["peers"]}

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Node, Peers
        from p2pframe.cli.remote.netinfo import netinfo as lines

        about = _read(Node, answer["node"])
        if network is not None:
            about = about.model_copy(update={"networks": [one for one in about.networks if one.name == network]})
            if not about.networks:
                raise click.ClickException(f"there is no network {network}")
        rows = _read(Peers, {"peers": answer["peers"], "next": None}).peers
        click.echo(lines(about, rows, level), nl=False)


@click.command()
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many.")
@click.option("--kind", help="Of this kind alone: session.closed, or all of session.* by `session`.")
@click.option("--after", type=click.IntRange(0), help="Begin behind the event of this number; else with the next one.")
@_reaching
def log(count: int | None, kind: str | None, after: int | None, **given: Any) -> None:
    """Follow what happens, a line for each event as it comes, until Ctrl-C; with --json an object a line."""
    node = _Node(given)

    async def work(client: Client) -> None:
        from p2pframe.admin.values import Happened
        from p2pframe.cli.remote.show import event_line

        told = 0

        def tell(data: str) -> bool:
            nonlocal told
            try:
                one = json.loads(data)
            except (ValueError, RecursionError):
                one = None
            event = _read(Happened, one)
            if kind is None or _is_of(one, kind):
                told += 1
                click.echo(json.dumps(one) if node.as_json else event_line(event))
                sys.stdout.flush()
            return count is None or told < count

        await client.stream("/events/stream", tell, after=after)

    node.ask(work)


def _is_of(event: object, kind: str) -> bool:
    found = event.get("kind") if isinstance(event, dict) else None
    return isinstance(found, str) and (found == kind or found.startswith(kind + "."))


COMMANDS = (status, peers, peer, bans, ban, unban, connect, disconnect, events, netinfo, log)
