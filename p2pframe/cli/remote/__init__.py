"""The commands that ask a running node: status, peers, bans, events and the rest, over the admin's HTTP API.

Exit status 1, with one sentence, where the node is not there, refuses or has no such thing. Nothing but click is
imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from p2pframe.cli.remote.asking import NETWORK, Asked, agreed, find, lasting, reaching, read, sole_network
from p2pframe.cli.remote.config import config
from p2pframe.cli.remote.log import events, log
from p2pframe.cli.remote.top import top

if TYPE_CHECKING:
    from p2pframe.cli.remote.client import Client


@click.command()
@reaching
def status(**given: Any) -> None:
    """Print a node at a glance; the exit status is 0 also where it is not healthy."""
    node = Asked(given)
    answer = node.ask(lambda client: client.get("/node"))
    if not node.printed(answer):
        from p2pframe.admin.values import Node
        from p2pframe.cli.remote import show

        show.status(read(Node, answer))


@click.command()
@NETWORK
@reaching
def peers(network: str | None, **given: Any) -> None:
    """List a node's peers."""
    node = Asked(given)
    answer = node.ask(lambda client: client.pages("/peers", "peers", network=network))
    if not node.printed(answer):
        from p2pframe.admin.values import Peers
        from p2pframe.cli.remote import show

        show.peers(read(Peers, answer).peers)


@click.command()
@click.argument("id")
@NETWORK
@reaching
def peer(id: str, network: str | None, **given: Any) -> None:
    """Tell all about one peer and how it went, by its ID or its address; by its ID after it has gone too."""
    node = Asked(given)

    async def work(client: Client) -> Any:
        return await client.get(f"{await find(client, id, network, ended=True)}/story")

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values_story import Story
        from p2pframe.cli.remote import story

        story.told(read(Story, answer))


@click.command()
@reaching
def bans(**given: Any) -> None:
    """List who is kept out, and why."""
    node = Asked(given)
    answer = node.ask(lambda client: client.pages("/bans", "penalties"))
    if not node.printed(answer):
        from p2pframe.admin.values import Penalties
        from p2pframe.cli.remote import show

        show.bans(read(Penalties, answer).penalties)


@click.command()
@click.argument("subject")
@click.option("--for", "duration", default="24h", show_default=True, help="How long: 30min, 24h, 7d.")
@click.option("--reason", default="by hand", show_default=True, help="For the list of bans and the audit log.")
@click.option("--scope", default="node", show_default=True, help="A network's name, or node for all.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; --json does not either.")
@reaching
def ban(subject: str, duration: str, reason: str, scope: str, yes: bool, **given: Any) -> None:
    """Keep SUBJECT out and end its sessions: an address, a network (192.0.2.0/24) or id: and hex.

    It asks first where the network is wider than a /8 of IPv4 or a /16 of IPv6.
    """
    from p2pframe.admin.values import LONGEST_BAN

    seconds = lasting(duration, LONGEST_BAN)
    node = Asked(given)
    body = {"subject": subject, "duration": seconds, "reason": reason, "scope": scope}

    async def work(client: Client) -> Any:
        from p2pframe.cli.remote.wide import refuses

        if not yes and not node.as_json and (much := refuses(subject)):
            agreed(f"This refuses {much}{'' if scope == 'node' else f' in {scope}'}. Ban?")
        return await client.post("/bans", body)

    answer = node.ask(work)
    if not node.printed(answer):
        click.echo(f"{subject} is kept out for {duration}")


@click.command()
@click.argument("subject")
@click.option("--scope", default="node", show_default=True, help="A network's name, or node for all.")
@reaching
def unban(subject: str, scope: str, **given: Any) -> None:
    """Let SUBJECT in again, as `p2pframe bans` names it."""
    node = Asked(given)
    answer = node.ask(lambda client: client.post("/bans/lift", {"subject": subject, "scope": scope}))
    if not node.printed(answer):
        click.echo(f"{subject} may come in again")


@click.command()
@click.argument("address")
@click.option("--network", help="Needed where the node has several.")
@reaching
def connect(address: str, network: str | None, **given: Any) -> None:
    """Dial a peer at ADDRESS (host:port) once, and wait until the session is open."""
    node = Asked(given)

    async def work(client: Client) -> Any:
        from p2pframe.cli.remote.client import DIALLING

        body = {"network": await sole_network(client, network), "address": address}
        return await client.post("/connect", body, DIALLING)

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Connected

        made = read(Connected, answer)
        click.echo(f"connected to {address}: session {made.id}")


@click.command()
@click.argument("id")
@NETWORK
@click.option("--reason", default="by hand", show_default=True, help="For the log and the audit log.")
@reaching
def disconnect(id: str, network: str | None, reason: str, **given: Any) -> None:
    """End the session with a peer, by its ID or its address; it may come again."""
    node = Asked(given)

    async def work(client: Client) -> Any:
        return await client.post(await find(client, id, network) + "/disconnect", {"reason": reason})

    answer = node.ask(work)
    if not node.printed(answer):
        click.echo(f"{id} is disconnected")


@click.command()
@click.argument("level", type=click.IntRange(0, 4), default=0)
@click.option("--legend", is_flag=True, help="Explain the columns, and ask no node.")
@NETWORK
@reaching
def netinfo(level: int, legend: bool, network: str | None, **given: Any) -> None:
    """Count connections by network and direction, as bitcoin-cli -netinfo does.

    LEVEL 1 lists every peer as well, 2 with addresses, 3 with software, 4 with both.
    """
    if legend:
        from p2pframe.cli.remote.netinfo import HELP

        click.echo(HELP, nl=False)
        return
    node = Asked(given)

    async def work(client: Client) -> Any:
        found = await client.pages("/peers", "peers", network=network)
        return {"node": await client.get("/node"), "peers": found["peers"]}

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import Node, Peers
        from p2pframe.cli.remote.netinfo import netinfo as lines

        about = read(Node, answer["node"])
        if network is not None:
            about = about.model_copy(update={"networks": [one for one in about.networks if one.name == network]})
            if not about.networks:
                raise click.ClickException(f"there is no network {network}")
        rows = read(Peers, {"peers": answer["peers"], "next": None}).peers
        click.echo(lines(about, rows, level), nl=False)


COMMANDS: tuple[click.Command, ...] = (
    status, peers, peer, bans, ban, unban, connect, disconnect, events, netinfo, log, config, top,
)  # fmt: skip
