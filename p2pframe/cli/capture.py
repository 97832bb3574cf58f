"""`p2pframe capture`: shows what a session said, out of a file that the admin has written; and has it written."""

from __future__ import annotations

import json
import string
from pathlib import Path

import click

from p2pframe.cli.remote.captures import COMMANDS

_SHOWN = frozenset(string.printable.encode()) - frozenset(b"\t\n\r\x0b\x0c")


@click.group()
def capture() -> None:
    """Captures of sessions."""


@capture.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bytes", "most", default=64, show_default=True, help="Bytes shown of each record.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each, all bytes in hex.")
def show(file: Path, most: int, as_json: bool) -> None:
    """Print what went in and out, in order, with the time since the capture began."""
    from p2pframe.capture_file import CaptureError, decode

    try:
        head, records = decode(file.read_bytes())
        if as_json:
            click.echo(json.dumps(head))
        else:
            click.echo(", ".join(f"{name}: {value}" for name, value in head.items()))
        for record in records:
            if as_json:
                click.echo(json.dumps({"seconds": record.seconds, "way": record.way, "data": record.data.hex()}))
                continue
            data = record.data[:most]
            text = "".join(chr(byte) if byte in _SHOWN else "." for byte in data)
            more = "..." if len(record.data) > most else ""
            click.echo(f"{record.seconds:12.6f} {record.way:3} {len(record.data):8} {data.hex()}{more}  {text}{more}")
    except CaptureError as error:
        raise click.ClickException(f"{file}: {error}") from None


for one in COMMANDS:
    capture.add_command(one)
