"""Where a node's admin is, and what opens it: the key in its data directory, or a token."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from hyperlink import URL

from p2pframe.errors import P2PFrameError
from p2pframe.private_file import read_private


class NotFound(Exception):
    """The node could not be found, or what opens it not be read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """An admin. `key` is what codes are made from, `token` a token; only this `certificate` is taken where it is given.

    A certificate that is not given is checked as a browser does.
    """

    url: str
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    certificate: Path | None = None


class Address(URL):
    """An address as treq takes it. As a plain `URL` it would take the IPv6 address in `https://[::1]` for a name."""

    def to_uri(self) -> URL:
        """See `URL.to_uri`. Raises `ValueError` where the host can be no name."""
        if ":" not in self.host:
            return super().to_uri()
        return URL.to_uri(self.replace(host="localhost")).replace(host=self.host)


def of_config(config: str) -> Place:
    """Of the node that runs with a configuration, on this host. Raises `NotFound`."""
    from p2pframe.config import load
    from p2pframe.core.data_dir import DataDir

    try:
        spec = load(config)
        chosen = next((one for one in spec.applications if one.spec.name == "admin"), None)
        if chosen is None:
            raise NotFound(f"{config}: there is no application `admin`: add {{plugin: admin}}")
        path = DataDir(spec.node.data_dir).path_of("", "application.admin") / "key"
        key = read_private(path)
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename} is not there: has the node been started with this file?") from None
    except P2PFrameError as error:
        raise NotFound(str(error)) from None
    try:
        # The admin removes it when it stops.
        url = read_private(path.with_name("url")).decode()
    except FileNotFoundError:
        raise NotFound(
            f"the node of {config} does not run, or is just starting: start it with twistd p2pnode -c {config}"
        ) from None
    except P2PFrameError as error:
        raise NotFound(str(error)) from None
    try:
        Address.from_text(url).to_uri()
    except ValueError:
        raise NotFound(f"{url!r}, where the admin says it is, can't be dialled: see its `hosts`") from None
    return Place(url, key=key, certificate=cast(Any, chosen.config).certificate)


def of_url(url: str, token_file: str, certificate: str | None = None) -> Place:
    """Of a node that may be anywhere, by a token. Raises `NotFound`."""
    if "@" in url:
        raise NotFound("no name or password goes into --url: the token is in --token-file")
    try:
        parts = urlsplit(url)
        host, found = parts.hostname or "", _found(parts)
    except (ValueError, OSError):
        host = found = ""
    if not found or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.fragment:
        raise NotFound(f"{url!r} is no address of an admin: write https://HOST:PORT")
    if parts.scheme == "http" and not _is_here(host):
        raise NotFound(f"a token for {host} would go there in the open: use https, or a tunnel to this host")
    try:
        token = read_private(Path(token_file), 1000).decode("ascii").strip()
    except FileNotFoundError:
        raise NotFound(f"{token_file}: there is no such file") from None
    except UnicodeDecodeError:
        raise NotFound(f"{token_file} holds no token") from None
    except P2PFrameError as error:
        raise NotFound(str(error)) from None
    if not token or not token.isprintable():
        raise NotFound(f"{token_file} holds no token")
    return Place(found, token=token, certificate=Path(certificate) if certificate else None)


def _found(parts: SplitResult) -> str:
    """The scheme, host and port, of a host that can be dialled. Raises `ValueError` or `OSError` where it can't be."""
    host, port = parts.hostname or "", parts.port
    if "[" in parts.netloc:
        if not re.search(r"\](:[0-9]*)?$", parts.netloc):
            raise ValueError(parts.netloc)
        # Spelled as the admin spells it, who takes no other Host.
        host = f"[{socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))}]"
    found = f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}"
    Address.from_text(found).to_uri()
    return found if host else ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
