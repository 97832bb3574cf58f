"""The node that a capture is played to: that of its config, but for what was around the conversation."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from p2pframe.config.settings import NodeSpec, PluginChoice
from p2pframe.config.wording import did_you_mean
from p2pframe.errors import P2PFrameError
from p2pframe.model import PeerAddress
from p2pframe.registry import Registry
from p2pframe.sim.capture_peer import Captured
from p2pframe.sim.listening import listening

_GENERIC = (("203.0.113.1", "203.0.113.2"), ("2001:db8::1", "2001:db8::2"))


def fitted(spec: NodeSpec, captured: Captured, registry: Registry) -> tuple[NodeSpec, list[str]]:
    """The config with that network open to a peer of plain TCP, and a line for each thing that is not as it was."""
    network = spec.networks.get(captured.network)
    if network is None:
        raise P2PFrameError(
            f"{spec.path}: the capture is of network {captured.network!r}, and there is none of that name"
            + did_you_mean(captured.network, spec.networks)
        )
    protocol = network.protocol.spec.name
    if protocol != captured.protocol:
        raise P2PFrameError(
            f"{network.protocol.where}: network {captured.network!r} speaks {protocol!r}, and the capture is of "
            f"{captured.protocol!r}"
        )
    if getattr(network.protocol.cls, "datagrams", False):
        raise P2PFrameError(f"{network.protocol.where}: {protocol!r} speaks datagrams: it has no sessions to play")
    notes = []
    if network.upgrades:
        names = ", ".join(choice.spec.name for choice in network.upgrades)
        notes.append(f"upgrades left out: {names}; the capture holds what was said inside")
    kept, changed = [], []
    for choice in network.transports:
        if choice.spec.name == captured.transport:
            kept.append(choice if choice.spec.name == "tcp" else _plain(choice, registry))
        else:
            changed.append(choice.spec.name)
    if not kept:
        raise P2PFrameError(
            f"{network.protocol.where}: network {captured.network!r} has no transport {captured.transport!r}, "
            "over which the capture came" + did_you_mean(captured.transport, changed)
        )
    if captured.transport != "tcp":
        notes.append(f"transport {captured.transport} is plain tcp here; the capture holds what was said inside")
    # The watchdog's clock is the real one, and there is no thread that could watch.
    node = spec.node.model_copy(update={"watchdog": 0.0})
    changed_network = replace(network, transports=tuple(kept), upgrades=())
    return replace(spec, node=node, networks={**spec.networks, captured.network: changed_network}), notes


def _plain(choice: PluginChoice, registry: Registry) -> PluginChoice:
    """Plain TCP that listens where another transport does."""
    listen = getattr(choice.config, "listen", None)
    many = listen if isinstance(listen, (tuple, list)) else [listen]
    return plain_tcp(registry, [one for one in many if isinstance(one, PeerAddress) and one.kind == "ip"], choice.where)


def plain_tcp(registry: Registry, listen: Iterable[PeerAddress], where: str) -> PluginChoice:
    cls = registry.find("transport", "tcp")
    spec = registry.spec("transport", "tcp")
    config = spec.config.model_validate({"listen": [str(one) for one in listen]})
    return PluginChoice(spec, cls, config, registry.origin("transport", "tcp"), where)


def addresses(spec: NodeSpec, captured: Captured) -> tuple[str, ...]:
    """Those that the node's host has: all that its config names, and one of each family for who listens on any."""
    named: dict[str, None] = {}
    for one in listening(spec):
        named[one.address.host] = None
    for choice in spec.applications:
        listen = getattr(choice.config, "listen", None)
        for value in listen if isinstance(listen, (tuple, list)) else [listen]:
            if isinstance(value, PeerAddress) and value.kind == "ip":
                named[value.host] = None
    for network in spec.networks.values():
        for choice in network.transports:
            bind = getattr(choice.config, "bind", None)
            if bind is not None:
                with suppress(ValueError):
                    named[str(ip_address(str(bind)))] = None
    own = [host for host in named if not (ip_address(host).is_loopback or ip_address(host).is_unspecified)]
    for first, second in _GENERIC:
        if not any((":" in host) == (":" in first) for host in own if host != captured.address.host):
            own.append(second if captured.address.host == first else first)
    return tuple(own)
