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
    from p2pframe.cli.remote.place import NotFound, of_config
    from p2pframe.core.context import SystemEntropy

    try:
        place = of_config(config)
    except NotFound as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{place.url}/login#{make_code(place.key, time.time(), SystemEntropy())}")
