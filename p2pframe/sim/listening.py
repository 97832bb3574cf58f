"""Where the nodes of a group listen, as their config says: what other hosts can dial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from p2pframe.config.settings import NetworkSpec, NodeSpec
from p2pframe.model import PeerAddress


class Listening(NamedTuple):
    """An address that a transport listens on: of which network, by which of its transports, and where that stands."""

    network: str
    transport: int
    address: PeerAddress
    loc: tuple[str | int, ...]


def listening(spec: NodeSpec) -> Iterator[Listening]:
    """Every address that a node listens on for its networks: the `listen` option that transports have."""
    for name, network in spec.networks.items():
        for index, choice in enumerate(network.transports):
            listen = getattr(choice.config, "listen", None)
            many = isinstance(listen, (tuple, list))
            for place, value in enumerate(listen if many and listen else [] if many else [listen]):
                if isinstance(value, PeerAddress) and value.kind == "ip":
                    loc = ("networks", name, "transports", index, "listen", *((place,) if many else ()))
                    yield Listening(name, index, value, loc)


def dialable_at(network: NetworkSpec, addresses: Sequence[str]) -> PeerAddress | None:
    """Where a host with these addresses can be dialled in a network; None where it does not listen on any of them.

    The ports are those of its own config. [::] is IPv6 alone, as everywhere here.
    """
    for choice in network.transports:
        listen = getattr(choice.config, "listen", None)
        for value in listen if isinstance(listen, (tuple, list)) else [listen]:
            if not isinstance(value, PeerAddress) or value.kind != "ip" or not value.port:
                continue
            ip = ip_address(value.host)
            for address in addresses:
                if value.host == address or (ip.is_unspecified and (":" in address) == (ip.version == 6)):
                    return PeerAddress(address, value.port)
    return None
