"""`p2pframe capture start`, `stop`, `list`, `get` and `delete`: the captures of a running node, over its API."""

from __future__ import annotations

# real world: secrets: the name of a file that is still being fetched, on the disk of who asks
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from p2pframe.cli.remote.asking import NETWORK, Asked, find, lasting, reaching, read

if TYPE_CHECKING:
    from p2pframe.cli.remote.client import Client

LARGEST = 2_000_000_000
"""Bytes of a capture that are fetched at most."""
_PEER = re.compile(r"([a-z0-9-]{1,63})/([0-9]{1,18})\Z")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\Z")


async def _path(client: Client, wanted: str, network: str | None) -> str:
    named = _PEER.match(wanted)
    return f"/peers/{named[1]}/{named[2]}" if named else await find(client, wanted, network)


@click.command()
@click.argument("peer")
@click.option("--for", "duration", default="10min", show_default=True, help="How long at most: 30s, 10min, 2h.")
@NETWORK
@reaching
def start(peer: str, duration: str, network: str | None, **given: Any) -> None:
    """Write down what a session sends and receives, on the node's disk.

    PEER is NETWORK/ID, an id or an address. It ends with the session, too, and where it is as large as it may be.
    """
    from p2pframe.admin.values import LONGEST_CAPTURE

    seconds = lasting(duration, LONGEST_CAPTURE)
    node = Asked(given)

    async def work(client: Client) -> Any:
        return await client.post(await _path(client, peer, network) + "/capture", {"seconds": seconds})

    answer = node.ask(work)
    if not node.printed(answer):
        from p2pframe.admin.values import CaptureName
        from p2pframe.cli.remote.show import printable

        click.echo(f"{printable(read(CaptureName, answer).name)} is being written, for {duration} at most")


@click.command()
@click.argument("peer")
@NETWORK
@reaching
def stop(peer: str, network: str | None, **given: Any) -> None:
    """End the capture of a session; what there is of it is kept. PEER is NETWORK/ID, an id or an address."""
    node = Asked(given)

    async def work(client: Client) -> Any:
        return await client.post(await _path(client, peer, network) + "/capture/stop")

    answer = node.ask(work)
    if not node.printed(answer):
        click.echo(f"{peer} is not captured any more")


@click.command(name="list")
@reaching
def list_(**given: Any) -> None:
    """List the captures that the node has, the latest last."""
    node = Asked(given)
    answer = node.ask(lambda client: client.get("/captures"))
    if not node.printed(answer):
        from p2pframe.admin.values import Captures
        from p2pframe.cli.remote import show

        show.captures(read(Captures, answer).captures)


@click.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to; else NAME, here.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@reaching
def get(name: str, output: Path | None, force: bool, **given: Any) -> None:
    """Fetch a capture into a file that nobody else may read."""
    if output is None and not _FILE.match(name):
        raise click.UsageError(f"{name!r} is no name for a file: say -o FILE")
    target = Path(name) if output is None else output
    node = Asked(given)
    if os.path.lexists(target) and not force:
        raise click.ClickException(f"{target} is there already: --force overwrites it")

    async def work(client: Client) -> Any:
        return await _fetch(client, f"/captures/{quote(name, safe='')}", target, force)

    size = node.ask(work)
    if not node.printed({"file": str(target), "size": size}):
        click.echo(f"{target}: {size:,} bytes")


@click.command()
@click.argument("name")
@reaching
def delete(name: str, **given: Any) -> None:
    """Delete a capture on the node."""
    node = Asked(given)
    answer = node.ask(lambda client: client.post(f"/captures/{quote(name, safe='')}/delete"))
    if not node.printed(answer):
        click.echo(f"{name} is deleted")


async def _fetch(client: Client, path: str, target: Path, force: bool) -> int:
    """The size of what is at `target` now; a file that has not come whole is never there."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                await client.download(path, file.write, LARGEST)
                size = file.tell()
            if not force:
                # Fails where something has come to be there meanwhile, which a rename alone would overwrite.
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise click.ClickException(f"{target} is there already: --force overwrites it") from None
    except OSError as error:
        raise click.ClickException(f"{target}: {error.strerror or error}") from None
    return size


COMMANDS = (start, stop, list_, get, delete)
