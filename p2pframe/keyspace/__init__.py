"""A library for storage engines: keys kept in order in memory, and the rules for names."""

from __future__ import annotations

from p2pframe.keyspace.names import check_blob_name, folder_name
from p2pframe.keyspace.ordered import OrderedKeys

__all__ = ["OrderedKeys", "check_blob_name", "folder_name"]
