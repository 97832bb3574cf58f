"""The `mdns` discovery: DNS-SD over multicast DNS. Only `link` knows of sockets, `discovery` joins the parts."""

from p2pframe.discovery.mdns.config import MdnsConfig
from p2pframe.discovery.mdns.discovery import MdnsDiscovery

__all__ = ["MdnsConfig", "MdnsDiscovery"]
