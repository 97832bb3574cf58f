"""`p2pframe admin`: the way into a node's web admin."""

from __future__ import annotations

# real world: time: a code is good for ten minutes of the clock that the node's host has
import time

import click


@click.group()
def admin() -> None:
    """The web admin of a node."""


@admin.command()
@click.option("-c", "--config", required=True, type=click.Path(), help="The node's configuration.")
def link(config: str) -> None:
    """Print a link that logs in once, within ten minutes, as operator.

    It is made from a key in the node's data directory: who may read that may do all that the node can.
    """
    from p2pframe.admin.codes import make_code
    from p2pframe.config import load
    from p2pframe.core.context import SystemEntropy
    from p2pframe.core.data_dir import DataDir
    from p2pframe.errors import P2PFrameError
    from p2pframe.private_file import read_private

    try:
        spec = load(config)
        chosen = next((one for one in spec.applications if one.spec.name == "admin"), None)
        if chosen is None:
            raise click.ClickException(f"{config}: there is no application `admin`: add {{plugin: admin}}")
        path = DataDir(spec.node.data_dir).path_of("", "application.admin") / "key"
        key = read_private(path)
        address = read_private(path.with_name("url")).decode()
    except FileNotFoundError as error:
        why = f"{error.filename} is not there: has the node been started with this file?"
        raise click.ClickException(why) from None
    except P2PFrameError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{address}/login#{make_code(key, time.time(), SystemEntropy())}")
