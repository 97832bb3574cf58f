"""A transport in one file: streams over Unix sockets, between nodes of one machine. A worked example of `ITransport`.

    networks:
      chat:
        transports: [{plugin: unix, folder: ./sockets, listen: [alice]}]        # ./sockets/alice.sock
        discovery: [{plugin: static, peers: ["bob.unix:1"]}]                    # ./sockets/bob.sock

A peer is named by its socket: the address `bob.unix` is `bob.sock` in the folder (the port is there because addresses
have one; it means nothing here). So addresses stay what they are to the rest of the node, and a network may have `tcp`
beside it: name this one first, as the first transport that can dial an address gets it.

Who may connect is for the file system to say. A folder that the node makes is the user's own (mode 0700), and a socket
is of mode 0600 unless the config says otherwise. Where the system tells who the other end is (Linux does), only root,
the node's own user and those in `users` get any further: that is checked in `prove`, before a byte is read, where `tls`
checks certificates.

Whoever dials us has no address of its own on a Unix socket. To the node all of them are `unknown`, one netgroup: they
share its rates, and what is held against one of them is held against all. Let an upgrade prove a peer id where that
matters.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import StringConstraints
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IReactorUNIX, IStreamClientEndpoint
from twisted.internet.interfaces import ITransport as IWire
from zope.interface import implementer

from p2pframe.errors import HandshakeFailed, StartError
from p2pframe.interfaces import IContext, ITransport, Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Field, PluginConfig, plugin

SUFFIX = ".unix"
# A sockaddr_un has room for so many bytes (unix(7)); with more, the system would bind to a path that was cut off, or
# refuse.
LONGEST_PATH = 107
_PEER = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class UnixConfig(PluginConfig):
    """Options of the `unix` transport."""

    folder: Path = Field(
        description="The folder of the sockets; made where it is not there. Relative to the config file."
    )
    listen: tuple[Name, ...] = Field(
        (), max_length=100, description="Names to listen as; none: this network only dials."
    )
    users: tuple[int, ...] = Field(
        (), max_length=1000, description="Numbers of further users who may be at the other end."
    )
    mode: int = Field(0o600, ge=0, le=0o777, description="Permissions of the sockets, such as 0o660.")


@plugin("unix", config=UnixConfig)
@implementer(ITransport)
class UnixTransport:
    """Streams over Unix sockets, between nodes of one machine."""

    name = "unix"

    def __init__(self, config: UnixConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._refused = context.metrics.counter("unix_refused_total", "Connections of users who may not.")
        if not IReactorUNIX.providedBy(context.reactor):
            raise StartError("transport unix: there are no Unix sockets here: use another transport")
        self._reactor = cast(Any, context.reactor)
        try:
            config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"transport unix: can't make the folder {config.folder}: {error.strerror}") from None
        for name in config.listen:
            path = os.fsencode(self._path(name))
            if len(path) > LONGEST_PATH:
                raise StartError(
                    f"transport unix: the path of socket {name} has {len(path)} bytes, {LONGEST_PATH} are possible: "
                    f"use a folder with a shorter path than {config.folder}"
                )

    def can_dial(self, address: PeerAddress) -> bool:
        """Names that end in `.unix`, with a plain word before it: no peer's address leads out of the folder."""
        return (
            address.kind == "name" and address.host.endswith(SUFFIX) and bool(_PEER.match(address.host[: -len(SUFFIX)]))
        )

    def dial(self, address: PeerAddress, peer_id: PeerId | None) -> IStreamClientEndpoint:
        """The endpoint of that name's socket. A `peer_id` is for an upgrade or the protocol to prove."""
        return UNIXClientEndpoint(self._reactor, str(self._path(address.host[: -len(SUFFIX)])))

    def listeners(self) -> Sequence[Listener]:
        """One for each name.

        A lock beside the socket keeps two nodes apart, and lets one take over what a crash left.
        """
        paths = [self._path(name) for name in self.config.listen]
        return [
            Listener(UNIXServerEndpoint(self._reactor, str(path), mode=self.config.mode, wantPID=True), str(path))
            for path in paths
        ]

    def prove(self, wire: IWire) -> TransportInfo:
        """Who is at the other end, by the system's word. Raises `HandshakeFailed` for a user who may not."""
        user = user_of(wire)
        if user is not None and user not in (0, os.getuid(), *self.config.users):
            self._refused.add()
            raise HandshakeFailed(f"unix-user: user {user} may not: name it under `users` where it should")
        # It stays on this machine: nobody reads along, and who is there has no identity of its own.
        return TransportInfo(encryption="" if user is None else f"local, user {user}")

    def _path(self, name: str) -> Path:
        return self.config.folder / f"{name}.sock"


def user_of(wire: IWire) -> int | None:
    """The number of the user whose process connected, or listens, there; None where the system does not tell."""
    handle = getattr(wire, "getHandle", None)
    option = getattr(socket, "SO_PEERCRED", None)
    if handle is None or option is None:
        return None
    _process, user, _group = struct.unpack("3i", handle().getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return int(user)
