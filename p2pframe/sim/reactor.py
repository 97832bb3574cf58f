"""The reactor of one host, for one boot: Twisted's own interfaces over virtual time and the simulated network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorMulticast,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
    IResolutionReceiver,
)
from twisted.internet.protocol import AbstractDatagramProtocol
from zope.interface import implementer

from p2pframe.sim.connecting import Connector, StreamPort
from p2pframe.sim.datagrams import SimulatedUDPPort

if TYPE_CHECKING:
    from p2pframe.sim.host import Incarnation


LOOPBACK = ("127.0.0.1", "::1")


class DeadCall:
    """What a dead incarnation gets for its `callLater`: a call that never happens."""

    __slots__ = ()

    def getTime(self) -> float:
        """Never."""
        return float("inf")

    def active(self) -> bool:
        """It can be cancelled, as often as one likes."""
        return True

    def cancel(self) -> None:
        """Nothing to cancel."""

    def reset(self, secondsFromNow: float) -> None:
        """Nothing to move."""

    def delay(self, secondsLater: float) -> None:
        """Nothing to move."""


@implementer(IReactorTime, IReactorTCP, IReactorUDP, IReactorMulticast, IReactorPluggableNameResolver)
class HostReactor:
    """What `context.reactor` is on a simulated host."""

    def __init__(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation
        self._clock = incarnation.host.simulation.clock
        self.nameResolver: IHostnameResolver = SimulatedResolver(incarnation)

    def seconds(self) -> float:
        """See IReactorTime: seconds since the start of the simulation."""
        return self._clock.now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """See IReactorTime."""
        incarnation = self._incarnation
        if not incarnation.alive:
            return cast(IDelayedCall, DeadCall())
        return self._clock.call_for(incarnation, delay, callable, args, kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See IReactorTime: those of this host."""
        return list(self._clock.waiting(self._incarnation))

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See IReactorTCP. Raises CannotListenError."""
        opened = StreamPort(self._incarnation, interface or "0.0.0.0", port, factory)
        opened.startListening()
        return opened

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float | None = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """See IReactorTCP."""
        incarnation = self._incarnation
        connector = Connector(incarnation, (host, port), factory, timeout, bindAddress)
        if incarnation.alive:
            connector.connect()
        return connector

    def listenUDP(
        self, port: int, protocol: AbstractDatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort:
        """See IReactorUDP. Raises CannotListenError."""
        opened = SimulatedUDPPort(self._incarnation, port, protocol, interface, maxPacketSize)
        opened.startListening()
        return opened

    def listenMulticast(
        self,
        port: int,
        protocol: AbstractDatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> Any:
        """See IReactorMulticast. Raises CannotListenError."""
        opened = SimulatedUDPPort(
            self._incarnation, port, protocol, interface, maxPacketSize, listen_multiple=listenMultiple
        )
        opened.startListening()
        return opened

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See IReactorPluggableNameResolver."""
        former, self.nameResolver = self.nameResolver, resolver
        return former


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False

    def cancel(self) -> None:
        """See IHostResolution."""
        self.cancelled = True


@implementer(IHostnameResolver)
class SimulatedResolver:
    """Answers from `network.names`, after the network's `name_delay`; a literal address is its own answer."""

    def __init__(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver. A name that nobody has completes without addresses."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        simulation = self._incarnation.host.simulation
        try:
            found: tuple[str, ...] = (str(ipaddress.ip_address(hostName)),)
            delay = 0.0
        except ValueError:
            name = hostName.lower().rstrip(".")
            found = LOOPBACK if name == "localhost" else simulation.network.names.get(name, ())
            delay = 0.0 if name == "localhost" else simulation.network.name_delay

        def answer() -> None:
            if resolution.cancelled:
                return
            for text in found:
                kind = IPv6Address if ":" in text else IPv4Address
                if addressTypes is None or kind in addressTypes:
                    semantics: Any = transportSemantics
                    resolutionReceiver.addressResolved(kind(semantics, text, portNumber))
            resolutionReceiver.resolutionComplete()

        simulation.clock.at(simulation.clock.now + delay, self._incarnation, answer)
        return resolution
