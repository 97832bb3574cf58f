"""The command `p2pframe`: check a configuration, list plugins, write a first file, ask a running node.

Exit status 1 says that something is wrong, 2 that the command was not understood. What a command needs is imported when
it runs, so that `--help` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from p2pframe.cli.admin import admin
from p2pframe.cli.capture import capture
from p2pframe.cli.crawl import crawl
from p2pframe.cli.remote import COMMANDS
from p2pframe.cli.sign_list import sign_list
from p2pframe.cli.sim import sim

KINDS = (
    "transport", "upgrade", "protocol", "validator", "item-store", "discovery", "topology", "relay", "scoring",
    "authentication", "storage", "application",
)  # fmt: skip
_CONFIG = click.option(
    "-c", "--config", type=click.Path(), help="A configuration, for the local plugins of its node.plugin_path."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)


@contextmanager
def _reported() -> Iterator[None]:
    """Errors that an operator can act on are printed as they are, with exit status 1."""
    from p2pframe.errors import P2PFrameError

    try:
        yield
    except P2PFrameError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"p2pframe {version('p2pframe')}")
        except PackageNotFoundError:
            _fail("p2pframe is not installed: it runs from its source folder")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version and exit."
)
def main() -> None:
    """Everything about a p2pframe node but running it, which `twistd p2pnode -c FILE` does."""


@main.command()
@click.argument("file", type=click.Path())
@click.option("--effective", is_flag=True, help="Print the whole configuration, defaults filled in, secrets as ***.")
@_JSON
def check(file: str, effective: bool, as_json: bool) -> None:
    """Read a configuration as the node would and report every mistake, each at its line and column."""
    from dataclasses import asdict

    from p2pframe.config import load
    from p2pframe.errors import ConfigError

    with _reported():
        try:
            spec = load(file)
        except ConfigError as error:
            if as_json:
                click.echo(json.dumps({"ok": False, "problems": [asdict(p) for p in error.problems]}, indent=2))
                sys.exit(1)
            count = len(error.problems)
            _fail(f"{error}\n{count} mistake{'' if count == 1 else 's'}")
        if as_json:
            click.echo(json.dumps({"ok": True, "problems": [], "effective": spec.effective}, indent=2))
        elif effective:
            import yaml

            click.echo(yaml.safe_dump(dict(spec.effective), sort_keys=False, allow_unicode=True), nl=False)
        else:
            click.echo(f"{file}: good: {', '.join(spec.networks)}")


@main.command()
@_CONFIG
@click.option("--scenario", is_flag=True, help="Of scenario files, which `p2pframe sim` takes.")
def schema(config: str | None, scenario: bool) -> None:
    """Print the JSON Schema of configurations, with every plugin there is, for editors to complete from."""
    from p2pframe.config.loader import registry_for

    if scenario:
        from p2pframe.sim.scenario_schema import scenario_schema as make
    else:
        from p2pframe.config.schema import schema as make

    with _reported():
        whole, errors = make(registry_for(config))
        click.echo(json.dumps(whole, indent=2))
        if errors:
            _fail("\n".join(f"left out: {error}" for error in errors))


@main.command()
@click.argument("kind", required=False, type=click.Choice(KINDS))
@_CONFIG
@_JSON
def plugins(kind: str | None, config: str | None, as_json: bool) -> None:
    """List plugins, of one KIND or of all: name, summary, origin, options."""
    from p2pframe.cli.listing import describe, table
    from p2pframe.config.loader import registry_for

    with _reported():
        found, errors = describe(registry_for(config), kind)
        if as_json:
            click.echo(json.dumps(found, indent=2))
        else:
            click.echo(table(found), nl=False)
        if errors:
            _fail("\n".join(f"left out: {error}" for error in errors))


@main.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
def lint(paths: tuple[Path, ...]) -> None:
    """Find what would make two runs of one seed differ, in Python files and folders of them.

    It sees the machine's time and chance, the process's reactor, and where the order of a set gets out. Nothing of what
    it reads is imported or run.
    """
    from p2pframe.testing.determinism import lint as look

    with _reported():
        found = list(look(paths))
        for line in found:
            click.echo(line)
        if found:
            _fail(f"{len(found)} place{'' if len(found) == 1 else 's'}")


@main.command()
@click.argument("template", required=False)
@click.argument("file", required=False, type=click.Path())
def init(template: str | None, file: str | None) -> None:
    """Write a first configuration from TEMPLATE to FILE, or print it; without TEMPLATE, list the templates."""
    folder = Path(__file__).parent / "templates"
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}
    if template is None:
        width = max(map(len, texts))
        for name, text in texts.items():
            click.echo(f"{name:{width}}  {text.splitlines()[0].lstrip('# ')}")
        return
    if template not in texts:
        raise click.UsageError(f"no template {template!r}: there is {', '.join(texts)}")
    if file is None:
        click.echo(texts[template], nl=False)
        return
    with _reported():
        try:
            with Path(file).open("x", encoding="utf-8") as stream:
                stream.write(texts[template])
        except FileExistsError:
            _fail(f"{file} exists already: it is not overwritten")
        click.echo(f"{file}: written; next: p2pframe check {file}", err=True)


main.add_command(admin)
main.add_command(capture)
main.add_command(sim)
main.add_command(sign_list)
main.add_command(crawl)
for one in COMMANDS:
    main.add_command(one)
