"""The network interfaces of the host that this process runs on."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface

import ifaddr

from p2pframe.model import NetworkInterface


def host_interfaces() -> Sequence[NetworkInterface]:
    """Those that have addresses, by their numbers."""
    found = []
    for adapter in ifaddr.get_adapters():
        # IPv6 addresses come with their scope, which the interface's own number says again.
        named = (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips)
        addresses = tuple(
            ip_interface(f"{text}/{ip.network_prefix}") for text, ip in zip(named, adapter.ips, strict=True)
        )
        if addresses and adapter.index is not None:
            found.append(NetworkInterface(adapter.nice_name, adapter.index, addresses))
    return sorted(found, key=lambda one: one.index)
