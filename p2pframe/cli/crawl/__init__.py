"""`p2pframe crawl report`: what a crawler has found, as tables, JSON and one HTML page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.group()
def crawl() -> None:
    """What the `crawler` application has found."""


@crawl.command()
@click.argument("database", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", default="", help="Only what was seen within this time: 24h, 7d. All where it is not given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots.")
def report(database: Path, since: str, as_json: bool, page: Path | None) -> None:
    """Tell what is in a crawler's DATABASE: peers that answer, their software, netgroups, round trips, sessions."""
    from p2pframe.cli.crawl.findings import CrawlError, read
    from p2pframe.plugin import parse_duration

    try:
        found = read(database, parse_duration(since) if since else None)
    except (CrawlError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        from p2pframe.cli.crawl.tables import show

        show(found)
    if page is not None:
        try:
            from p2pframe.cli.crawl.page import render
        except ModuleNotFoundError as error:
            why = f"the page's plots need {error.name}: pip install 'p2pframe[report]'"
            raise click.ClickException(why) from None
        page.write_text(render(found), encoding="utf-8")
        click.echo(f"written: {page}", err=as_json)
