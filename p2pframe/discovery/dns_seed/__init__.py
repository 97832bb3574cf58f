"""DNS seeds: names that a network's people keep pointing at nodes that answer.

Asked only while there are too few peers.
"""

from p2pframe.discovery.dns_seed.discovery import DnsSeedConfig, DnsSeedDiscovery

__all__ = ["DnsSeedConfig", "DnsSeedDiscovery"]
