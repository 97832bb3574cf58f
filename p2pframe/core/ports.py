"""The listening ports of a network: opened before anything is started, so that a busy one is known at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from p2pframe.core.session import Session
from p2pframe.errors import StartError
from p2pframe.interfaces import ITransport
from p2pframe.model import PeerAddress

if TYPE_CHECKING:
    from p2pframe.core.network import Network


class _Inbound(Factory):
    """Makes the sessions of one listening place, for those that the gate lets through."""

    noisy = False

    def __init__(self, network: Network, via: ITransport) -> None:
        self.network = network
        self.via = via

    def buildProtocol(self, addr: IAddress | None) -> Session | None:
        """Called for each connection accepted; None hangs up."""
        return None if addr is None else self.network.accept(_peer_address(addr), self.via)


class Ports:
    """The listening ports of one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ports: list[IListeningPort] = []
        self._waiting: list[Deferred[None]] = []
        self._closed = False
        self.places: list[str] = []
        """Where it listens, as the config wrote it."""

    def open(self) -> list[Deferred[None]]:
        """Open the listening ports; sessions are refused until the network is open.

        Called before anything is started, so that a busy port is known at once. Returns what has not bound yet. Raises
        `StartError` naming the address, or has a Deferred fail with it.
        """
        waiting = self._waiting
        for via in self._network.parts.transports:
            for endpoint, text in via.listeners():
                failures: list[Failure] = []
                listening = maybeDeferred(endpoint.listen, _Inbound(self._network, via))

                def bound(port: IListeningPort, text: str = text) -> object:
                    if self._closed:
                        return port.stopListening()  # it took so long to bind that nobody wants it any more
                    self._ports.append(port)
                    self.places.append(text)
                    return None

                def busy(failure: Failure, text: str = text) -> Failure:
                    try:
                        # Twisted's own text would name the address again.
                        reason = getattr(failure.value, "socketError", failure.value)
                        raise StartError(
                            f"{self._network.name}: can't listen on {text}: {reason}; "
                            f"stop what uses it, or change `listen` of this network's transport"
                        )
                    except StartError:
                        return Failure()

                listening.addCallbacks(bound, busy)
                listening.addErrback(failures.append)
                _raise(failures)
                if not listening.called:
                    waiting.append(listening.addCallback(partial(_raise, failures)))
        return waiting

    @property
    def bound(self) -> list[PeerAddress]:
        """The addresses that are bound."""
        return [_peer_address(port.getHost()) for port in self._ports]

    async def close(self) -> None:
        """Listen no more, and on nothing that binds later either."""
        self._closed = True
        for binding in self._waiting:
            # Whoever waited has heard of the first that failed, and the rest fail for having been given up.
            binding.addErrback(lambda _: None)
            binding.cancel()
        ports, self._ports = self._ports, []
        self.places.clear()
        closing = [maybeDeferred(port.stopListening) for port in ports]
        for closed in closing:
            closed.addErrback(self._not_closed)
        await DeferredList(closing)

    def _not_closed(self, failure: Failure) -> None:
        self._network.log.error("a port could not be closed: {why}", why=failure.getErrorMessage())


def _raise(failures: list[Failure], _bound: object = None) -> None:
    if failures:
        failures[0].raiseException()


def _peer_address(address: IAddress) -> PeerAddress:
    """A `PeerAddress` from what Twisted says of a connection's other end."""
    host = getattr(address, "host", None)
    port = getattr(address, "port", None)
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or not isinstance(port, int):
        return PeerAddress("unknown", 0, "name")
    return PeerAddress.of(host, port)
