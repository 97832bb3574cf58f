"""A DNS seed: answers with the addresses of peers that have kept answering, so that anyone can run one."""

from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig
from p2pframe.applications.dns_seed_server.server import DnsSeedServer

__all__ = ["DnsSeedServer", "DnsSeedServerConfig"]
