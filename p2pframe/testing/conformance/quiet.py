"""What a plugin that decides and does nothing leaves in its world: no timer, no work, no socket, no storage."""

from __future__ import annotations

from p2pframe.testing.context import FakeContext


def touched(context: FakeContext) -> dict[str, int]:
    """What has been timed, opened, worked on or stored in a world, by name; what was not is left out."""
    reactor = context.reactor
    found = {
        "delayed calls": len(reactor.getDelayedCalls()),
        "uses of context.work": context.worked,
        "uses of context.storage": int(context._storage is not None),
        "TCP connections": len(reactor.tcpClients),
        "TCP ports": len(reactor.tcpServers),
        "UDP ports": len(reactor.udpPorts),
    }
    return {name: count for name, count in found.items() if count}
