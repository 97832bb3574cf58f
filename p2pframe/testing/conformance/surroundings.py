"""Worlds for a plugin that looks for something outside: one that answers, one that is silent, one that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IListeningPort
from zope.interface import implementer

from p2pframe.testing.context import FakeContext

Mood = Literal["answering", "silent", "failing"]

EVERYWHERE = (
    *(f"198.51.{n}.{n + 1}" for n in range(100)), *(f"2001:db8:{n + 1:x}::1" for n in range(50)),
    "198.51.7.8", "0.0.0.0", "::", "224.0.0.1", "127.0.0.1", "::ffff:198.51.100.99",
)  # fmt: skip
"""What each name resolves to where the caller says nothing else: good addresses, one twice, and some of no use."""


class Surroundings:
    """What is outside of one world, and what the plugin has open to it."""

    def __init__(self, context: FakeContext, mood: Mood, names: Mapping[str, Sequence[str]] | None) -> None:
        self.context = context
        self.ports: list[Any] = []
        self.servers: list[Any] = []
        self.closed: list[Any] = []
        self.waiting: list[Deferred[Any]] = []
        context.reactor.installNameResolver(_Resolver(mood, names))
        if mood != "answering":
            context.work = self._no_work(mood)  # type: ignore[method-assign]
        listen: Callable[..., IListeningPort] = context.reactor.listenUDP

        def noted(*args: Any, **kwargs: Any) -> IListeningPort:
            port = listen(*args, **kwargs)
            self.ports.append(port)
            return port

        context.reactor.listenUDP = noted
        serve: Callable[..., Any] = context.reactor.listenTCP

        def serving(*args: Any, **kwargs: Any) -> Any:
            port = serve(*args, **kwargs)
            self.servers.append(port)
            port.stopListening = lambda: self.closed.append(port)
            return port

        context.reactor.listenTCP = serving

    def open(self) -> list[str]:
        """In words, all that is timed or open now."""
        reactor = self.context.reactor
        found = [f"a delayed call {call}" for call in reactor.getDelayedCalls()]
        found += [f"a UDP port on {port.getHost()}" for port in self.ports if port.listening]
        found += [
            f"a TCP connection to {connector.getDestination()}"
            for connector in reactor.connectors
            if not connector.stoppedConnecting and not connector._disconnected
        ]
        return found + [f"a TCP port on {port.getHost()}" for port in self.servers if port not in self.closed]

    def dialled(self) -> set[tuple[str, int]]:
        """Where TCP connections went."""
        return {(client[0], client[1]) for client in self.context.reactor.tcpClients}

    def _no_work(self, mood: Mood) -> Callable[..., Deferred[Any]]:
        def work(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
            if mood == "failing":
                return fail(OSError("the disk does not answer: this world fails on purpose"))
            waiting: Deferred[Any] = Deferred()
            self.waiting.append(waiting)
            return waiting

        return work


@implementer(IHostnameResolver)
class _Resolver:
    """Resolves every name to the same, to nothing, or never."""

    def __init__(self, mood: Mood, names: Mapping[str, Sequence[str]] | None) -> None:
        self._mood = mood
        self._names = names

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[Any]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See `IHostnameResolver`."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        if self._mood == "silent":
            return resolution
        if self._mood == "answering":
            hosts = EVERYWHERE if self._names is None else self._names.get(hostName, ())
            wanted = tuple(addressTypes or (IPv4Address, IPv6Address))
            for host in hosts:
                kind = IPv6Address if ":" in host else IPv4Address
                if kind in wanted:
                    resolutionReceiver.addressResolved(kind("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing is under way."""
