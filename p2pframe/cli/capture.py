"""`p2pframe capture`: shows what a session said, out of a file that the admin has written; and has it written."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2pframe.cli.remote.captures import COMMANDS
from p2pframe.visible import visible

if TYPE_CHECKING:
    from p2pframe.capture_file import Record
    from p2pframe.interfaces import IInspectable, InspectedMessage

_SHOWN = frozenset(string.printable.encode()) - frozenset(b"\t\n\r\x0b\x0c")


@click.group()
def capture() -> None:
    """Captures of sessions."""


@capture.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--decode/--raw", "decoded", default=None,
    help="Messages, or the reads that they came in; without either, messages where the protocol is installed.",
)  # fmt: skip
@click.option("--type", "kind", help="Messages of this type alone.")
@click.option("--way", type=click.Choice(["in", "out"]), help="One direction alone.")
@click.option("--bytes", "most", default=64, show_default=True, help="Bytes shown of each record.")
@click.option("--characters", default=200, show_default=True, help="Characters shown of what a message says.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each, all fields and all bytes in hex.")
def show(
    file: Path, decoded: bool | None, kind: str | None, way: str | None, most: int, characters: int, as_json: bool
) -> None:
    """Print what went in and out, in order, with the time since the capture began."""
    from p2pframe.capture_file import CaptureError, read

    with file.open("rb") as opened:
        try:
            head, records = read(opened)
            inspectable = None if decoded is False else _inspectable(head, decoded is True or kind is not None)
            if kind is not None and inspectable is None:
                raise click.UsageError("--type takes messages, not reads: leave out --raw")
            if as_json:
                click.echo(json.dumps(head))
            else:
                click.echo(", ".join(visible(f"{name}: {value}") for name, value in head.items()))
            # Both directions are read, whichever is shown: a read is cheap, and a file is one stream each way.
            if inspectable is None:
                for record in records:
                    if way in (None, record.way):
                        click.echo(_raw(record, most, as_json))
                return
            for seconds, side, message in _messages(inspectable, records):
                if way in (None, side) and kind in (None, message.name):
                    click.echo(_said(seconds, side, message, characters, as_json))
        except CaptureError as error:
            raise click.ClickException(f"{file}: {visible(str(error))}") from None


def _inspectable(head: Mapping[str, object], wanted: bool) -> IInspectable | None:
    """The protocol that a capture is of, where it is installed and says what its messages mean."""
    from p2pframe.errors import PluginError
    from p2pframe.interfaces import IInspectable
    from p2pframe.registry import Registry

    name = head.get("protocol")
    try:
        if not isinstance(name, str) or not name:
            raise click.ClickException("the capture does not say of which protocol it is")
        cls: object = Registry().find("protocol", name)
        if IInspectable.providedBy(cls):
            return cls
        raise click.ClickException(f"the protocol {visible(name)} does not say what its messages mean")
    except PluginError as error:
        if wanted:
            raise click.ClickException(visible(str(error))) from None
    except click.ClickException:
        if wanted:
            raise
    return None


def _messages(inspectable: IInspectable, records: Iterable[Record]) -> Iterator[tuple[float, str, InspectedMessage]]:
    """Each message with the time at which the last of it came."""
    inspectors = {way: inspectable.inspector(way) for way in ("in", "out")}
    seconds = 0.0
    for record in records:
        seconds = record.seconds
        for message in inspectors[record.way].feed(record.data):
            yield seconds, record.way, message
    for way, inspector in inspectors.items():
        for message in inspector.end():
            yield seconds, way, message


def _said(seconds: float, way: str, message: InspectedMessage, characters: int, as_json: bool) -> str:
    if as_json:
        return json.dumps({
            "seconds": seconds, "way": way, "type": message.name, "size": len(message.raw), "fields": message.fields,
            "error": message.error, "data": message.raw.hex(),
        })  # fmt: skip
    # As JSON: nothing that a peer says reaches the terminal but as plain characters.
    says = json.dumps(message.fields)[1:-1]
    cut = f"{says[:characters]}..." if len(says) > characters else says
    error = f"({visible(message.error)}) " if message.error else ""
    return f"{seconds:12.6f} {way:3} {len(message.raw):8} {visible(message.name) or '?':12} {error}{cut}".rstrip()


def _raw(record: Record, most: int, as_json: bool) -> str:
    if as_json:
        return json.dumps({"seconds": record.seconds, "way": record.way, "data": record.data.hex()})
    data = record.data[:most]
    text = "".join(chr(byte) if byte in _SHOWN else "." for byte in data)
    more = "..." if len(record.data) > most else ""
    return f"{record.seconds:12.6f} {record.way:3} {len(record.data):8} {data.hex()}{more}  {text}{more}"


for one in COMMANDS:
    capture.add_command(one)
