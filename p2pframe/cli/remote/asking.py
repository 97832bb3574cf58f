"""What the commands that ask a node have in common: where it is, how it is asked, and how its answers are read."""

from __future__ import annotations

import json
import signal
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
NETWORK = click.option("--network", help="Of this network alone.")


def reaching(command: F) -> F:
    """The options that say which node."""
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


class Asked:
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


def read(model: type[Model], answer: object) -> Model:
    """The answer as the model that it was made of; the command ends where it is none."""
    from pydantic import ValidationError

    try:
        # A newer node may say more.
        return model.model_validate(answer, extra="ignore")
    except ValidationError:
        raise click.ClickException(
            "the node's answer is none that this version of p2pframe knows: --json prints it as it is"
        ) from None


def lasting(duration: str, longest: float) -> float:
    """The seconds of `--for`; the command ends where it is no time, none at all, or longer than the node takes."""
    from pydantic_core import PydanticCustomError

    from p2pframe.plugin import parse_duration

    try:
        seconds = parse_duration(duration)
    except (PydanticCustomError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    if seconds <= 0:
        raise click.BadParameter("it has to be more than 0", param_hint="--for")
    if seconds > longest:
        most = f"{longest // 86_400:g} days" if longest > 86_400 else f"{longest // 3600:g} hours"
        raise click.BadParameter(f"at most {most}", param_hint="--for")
    return seconds


def agreed(question: str) -> None:
    """Ask; ends the command where the answer is no. Ctrl-C is Python's own meanwhile: the reactor waits for us."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        click.confirm(question, abort=True)
    finally:
        signal.signal(signal.SIGINT, before)


async def sole_network(client: Client, network: str | None) -> str:
    """The network that is meant where none is named."""
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


async def find(client: Client, wanted: str, network: str | None, ended: bool = False) -> str:
    """The path of a peer that is named by its id or its address; with `ended` of one that has gone, by its id."""
    from p2pframe.cli.remote.client import RemoteError

    answer = await client.pages("/peers", "peers", network=network)
    try:
        found = [(str(one["network"]), int(one["id"])) for one in answer["peers"]
                 if wanted in (str(one["id"]), one["address"])]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise RemoteError(f"{client.url} answered what no p2pframe admin does") from None
    if not found and ended and wanted.isascii() and wanted.isdigit():
        found = [(name, int(wanted)) for name in await _known(client, wanted, network)]
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


async def _known(client: Client, id: str, network: str | None) -> list[str]:
    """The networks in which a session of that id has ended and is still known."""
    from p2pframe.cli.remote.client import RemoteError

    known = []
    try:
        names = [network] if network else [str(one["name"]) for one in (await client.get("/node"))["networks"]]
    except (KeyError, TypeError):
        raise RemoteError(f"{client.url} answered what no p2pframe admin does") from None
    for name in names:
        try:
            await client.get(f"/peers/{quote(name, safe='')}/{id}/story")
        except RemoteError as error:
            if error.status != 404:
                raise
        else:
            known.append(name)
    return known
