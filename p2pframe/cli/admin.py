"""`p2pframe admin`: the way into a node's web admin."""

from __future__ import annotations

# real world: time: a code is good for ten minutes of the clock that the node's host has
import os
import sys
import time
from pathlib import Path

import click


@click.group()
def admin() -> None:
    """The web admin of a node."""


@admin.command()
@click.option("-c", "--config", required=True, type=click.Path(), help="The node's configuration.")
@click.option(
    "--role", type=click.Choice(["operator", "viewer"]), default="operator", show_default=True,
    help="What whoever opens it may do: change things, or look.",
)  # fmt: skip
def link(config: str, role: str) -> None:
    """Print a link that logs in once, within ten minutes.

    It is made from a key in the node's data directory: who may read that may do all that the node can.
    """
    from p2pframe.admin.codes import make_code
    from p2pframe.cli.remote.place import NotFound, of_config
    from p2pframe.core.context import SystemEntropy

    try:
        place = of_config(config)
    except NotFound as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{place.url}/login#{make_code(place.key, time.time(), SystemEntropy(), role)}")


@admin.command()
@click.option("-c", "--config", required=True, type=click.Path(), help="The node's configuration.")
@click.option("--stdin", is_flag=True, help="Read the password from the first line of the standard input.")
def password(config: str, stdin: bool) -> None:
    """Set the password that logs in to the web admin as operator.

    It is asked for twice. Its hash (argon2id) goes into the file that `password_file` of the admin names, or into
    admin.password beside the configuration. The node takes it at its next start, which ends all log-ins.
    """
    from p2pframe.admin.password import MISSING, TooShort, make_hash
    from p2pframe.errors import P2PFrameError
    from p2pframe.private_file import write_private

    file, is_named = _password_file(config)
    if stdin:
        text = sys.stdin.readline().rstrip("\r\n")
    else:
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        write_private(file, make_hash(text).encode() + b"\n")
    except TooShort as error:
        raise click.ClickException(str(error)) from None
    except UnicodeEncodeError:
        raise click.ClickException("a password is text") from None
    except ImportError:
        raise click.ClickException(MISSING) from None
    except P2PFrameError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"the hash of the password is in {file}; restart the node, and it logs in")
    if not is_named:
        named = os.path.relpath(file, Path(config).parent)
        click.echo(f"add to the application admin in {config}: password_file: {named}")


def _password_file(config: str) -> tuple[Path, bool]:
    """Where the hash belongs, and whether the configuration says so."""
    from typing import Any, cast

    from p2pframe.config import load
    from p2pframe.errors import P2PFrameError

    try:
        spec = load(config)
    except P2PFrameError as error:
        raise click.ClickException(str(error)) from None
    chosen = next((one for one in spec.applications if one.spec.name == "admin"), None)
    if chosen is None:
        raise click.ClickException(f"{config}: there is no application `admin`: add {{plugin: admin}}")
    file = cast(Any, chosen.config).password_file
    return (file, True) if file is not None else (Path(config).absolute().with_name("admin.password"), False)
