"""Which addresses a node of the public network may be told of: those that the internet routes.

A public DHT must not be led to private, loopback or multicast addresses, which would aim its queries at a victim's own
network; nor to ports that no DHT uses and other services do.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from p2pframe.model import PeerAddress


@lru_cache(maxsize=16_384)
def routable_host(host: str) -> bool:
    """Whether a textual IP address is a global unicast one (IANA's special-purpose registries, by `ipaddress`)."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return ip.is_global and not ip.is_multicast


def usable(address: PeerAddress, public: bool) -> bool:
    """Whether a node at this address may be asked and told of."""
    if address.kind != "ip" or not 0 < address.port < 65_536:
        return False
    if not public:
        return address.host not in ("0.0.0.0", "::", "255.255.255.255")
    return routable_host(address.host)


@lru_cache(maxsize=16_384)
def subnet(host: str) -> str:
    """The network that one operator easily has many addresses of: IPv4 /24, IPv6 /64.

    Loopback addresses stand for themselves, so that a test network on one machine is not one group.
    """
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return host
    length = 24 if ip.version == 4 else 64
    return str(ipaddress.ip_network((ip, length), strict=False))


@lru_cache(maxsize=16_384)
def wide_subnet(host: str) -> str:
    """What a budget is for: IPv4 /24, IPv6 /48; loopback addresses stand for themselves."""
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return host
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
