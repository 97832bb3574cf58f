"""`p2pframe sign-list`: makes the list that the `http` discovery reads, and the key that signs it."""

from __future__ import annotations

# real world: time: a list is good until a time of the day, and it is a person who signs it
import json
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click


@click.command("sign-list")
@click.argument("peers", type=click.File("r"))
@click.option(
    "--key", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="The file of the private key; made where there is none.",
)  # fmt: skip
@click.option("--network", required=True, help="The network that the list is for, as its readers call it.")
@click.option("--serial", type=int, help="Larger than the last one's; the unix time where it is not given.")
@click.option("--good-for", default="7d", show_default=True, help="How long it is good.")
def sign_list(peers: TextIO, key: Path, network: str, serial: int | None, good_for: str) -> None:
    """Sign a list of PEERS (a file, one address a line) for the `http` discovery; prints the list.

    The public key, for the readers' config, is told on standard error. A private key that is not there is made, in a
    file that nobody else may read.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from p2pframe.model import PeerAddress
    from p2pframe.plugin import parse_duration
    from p2pframe.private_file import write_private

    if key.exists():
        try:
            secret = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key.read_text().strip()))
        except ValueError:
            raise click.ClickException(f"{key} is no key: 64 hex digits") from None
    else:
        secret = Ed25519PrivateKey.generate()
        write_private(key, secret.private_bytes_raw().hex().encode() + b"\n")
    addresses = []
    for number, line in enumerate(peers, 1):
        text = line.split("#", 1)[0].strip()
        if text:
            try:
                addresses.append(str(PeerAddress.parse(text)))
            except ValueError as error:
                raise click.ClickException(f"line {number}: {error}") from None
    try:
        lasts = parse_duration(good_for)
    except ValueError as error:
        raise click.ClickException(f"--good-for: {error}") from None
    now = time.time()
    until = datetime.fromtimestamp(now + lasts, UTC)
    said = {
        "serial": int(now) if serial is None else serial,
        "expires": until.isoformat(timespec="seconds"),
        "network": network,
        "peers": addresses,
    }
    body = (json.dumps(said, indent=1) + "\n").encode()
    click.echo(f"public key: {secret.public_key().public_bytes_raw().hex()}", err=True)
    click.echo((b64encode(secret.sign(body)) + b"\n" + body).decode(), nl=False)
