"""Names within a storage engine: what a blob may be called, and the folder that stands for a namespace."""

from __future__ import annotations

import re
from urllib.parse import quote

_BLOB = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\Z")


def check_blob_name(name: str) -> str:
    """The name itself; raises ValueError where it is not lower-case letters, digits and dashes, at most 100 of them."""
    if not _BLOB.match(name):
        raise ValueError(f"{name!r} is no blob name: use lower-case letters, digits and dashes, at most 100")
    return name


def folder_name(name: str) -> str:
    """A file name that stands for a network or an owner and for no other; `_node` for the empty network."""
    if not name:
        return "_node"
    quoted = quote(name, safe="")
    # Nothing may be called `.`, `..` or `_node`, and no folder is hidden.
    return f"%{ord(quoted[0]):02X}{quoted[1:]}" if quoted[0] in "._" else quoted
