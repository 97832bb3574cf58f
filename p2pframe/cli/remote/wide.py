"""How much a ban of a network takes in: a slip in the prefix length can cut a node off from everybody."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

_WIDEST = {4: 8, 6: 16}
"""The shortest prefix that is banned without a question."""


def refuses(subject: str) -> str:
    """What is refused, in words, where that is a very wide network; empty where it is not, or is no network."""
    try:
        # Read as the node reads it.
        network = ip_network(subject.strip().strip("[]"), strict=False)
    except ValueError:
        return ""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        network = ip_network((mapped, network.prefixlen - 96), strict=False)
    if network.prefixlen >= _WIDEST[network.version]:
        return ""
    if network.prefixlen == 0:
        return f"every IPv{network.version} address"
    return f"one in {2**network.prefixlen:,} of all IPv{network.version} addresses ({network})"
