"""Tells the service manager how far we are, by the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(state: str, env: Mapping[str, str] | None = None) -> bool:
    """Send a state (`READY=1`, `STOPPING=1`) to the socket that NOTIFY_SOCKET names.

    False where there is none or it fails.

    A name that begins with `@` is an abstract socket.
    """
    name = (os.environ if env is None else env).get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(state.encode(), address)
    except OSError:
        return False
    return True
