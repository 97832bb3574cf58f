"""Library for transports over TCP: endpoints for a `PeerAddress`, always on the reactor that the context gives."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint, ITCPTransport

from p2pframe.interfaces import IHostReactor, Listener
from p2pframe.model import PeerAddress
from p2pframe.plugin import Address

# Core ends a dial by cancelling it, after a time from its own config; an endpoint's limit is only there because
# Twisted's endpoints have one, and must not come first.
_CONNECT_LIMIT = 600.0


def _listen_address(address: PeerAddress) -> PeerAddress:
    if address.kind != "ip":
        raise PydanticCustomError(
            "listen_name", "listen on an IP address of this machine, not on a name: 0.0.0.0:port or [::]:port for all"
        )
    return address


def _source_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise PydanticCustomError("source_address", "not an IPv4 or IPv6 address") from None


ListenAddress = Annotated[Address, AfterValidator(_listen_address)]
"""Config type: an IP address and port to listen on; port 0 lets the system choose."""

SourceAddress = Annotated[str, AfterValidator(_source_address)]
"""Config type: an IP address of this machine to dial from."""


def tcp_reaches(address: PeerAddress, source: str | None) -> bool:
    """Whether TCP from `source` (an IP address, or None for any) could reach such an address.

    No onion, no other IP version.
    """
    if address.kind == "name":
        return True
    if address.kind != "ip":
        return False
    return source is None or (":" in source) == (":" in address.host)


def tcp_client(reactor: IHostReactor, address: PeerAddress, source: str | None = None) -> IStreamClientEndpoint:
    """An endpoint that dials `address`.

    A name is looked up by the reactor's own resolver, and its addresses are tried in turn.

    Raises ValueError for an address that `tcp_reaches` denies.
    """
    if not tcp_reaches(address, source):
        raise ValueError(f"{address} can't be reached over TCP" + (f" from {source}" if source else ""))
    binding = (source, 0) if source else None
    if address.kind == "name":
        return HostnameEndpoint(reactor, address.host, address.port, timeout=_CONNECT_LIMIT, bindAddress=binding)
    endpoint = TCP6ClientEndpoint if ":" in address.host else TCP4ClientEndpoint
    return endpoint(reactor, address.host, address.port, timeout=_CONNECT_LIMIT, bindAddress=binding)


def tcp_server(reactor: IHostReactor, address: PeerAddress, backlog: int) -> IStreamServerEndpoint:
    """An endpoint that listens on the IP address `address`."""
    endpoint = TCP6ServerEndpoint if ":" in address.host else TCP4ServerEndpoint
    return endpoint(reactor, address.port, backlog=backlog, interface=address.host)


def tcp_listeners(reactor: IHostReactor, addresses: Iterable[PeerAddress], backlog: int) -> tuple[Listener, ...]:
    """A `Listener` for each address."""
    return tuple(Listener(tcp_server(reactor, address, backlog), str(address)) for address in addresses)


def set_tcp_options(wire: object, nodelay: bool, keepalive: bool) -> None:
    """Set TCP options of a connection where it is one (the wires of a simulator are not)."""
    if ITCPTransport.providedBy(wire):
        wire.setTcpNoDelay(nodelay)
        wire.setTcpKeepAlive(keepalive)


__all__ = [
    "ListenAddress",
    "SourceAddress",
    "set_tcp_options",
    "tcp_client",
    "tcp_listeners",
    "tcp_reaches",
    "tcp_server",
]
