"""The `admin` application: web pages and an API to watch and steer a node, by INodeView and INodeControl alone."""

from p2pframe.admin.application import Admin
from p2pframe.admin.config import AdminConfig

__all__ = ["Admin", "AdminConfig"]
