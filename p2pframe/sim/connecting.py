"""How streams between simulated hosts come about: ports that listen, and attempts to connect.

::

    connect -> [look the name up] -> SYN: repeated until it is answered -> there: a port, or a reset
            <- SYN-ACK, half a round trip later: buildProtocol here -> ACK: buildProtocol there

What happens when a protocol or a factory raises or declines is what Twisted's own TCP does then.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IResolutionReceiver,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.sim.streams import Endpoint, Wire, tcp_address

if TYPE_CHECKING:
    from p2pframe.sim.host import Host, Incarnation

SYN_TRIES = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
"""Seconds after which a connection attempt is repeated (RFC 6298: one second, doubling)."""
SYN_GIVE_UP = 127.0
"""Seconds after which it is given up by the host itself (Linux: net.ipv4.tcp_syn_retries = 6)."""
SYN_SIZE = 40

_log = Logger(namespace="p2pframe.sim")


@implementer(IListeningPort)
class StreamPort:
    """A listening TCP port of a simulated host."""

    def __init__(self, incarnation: Incarnation, address: str, port: int, factory: IProtocolFactory) -> None:
        self.incarnation = incarnation
        self.endpoint: Endpoint = (address, port)
        self.factory = factory
        self.listening = False

    def startListening(self) -> None:
        """Take the address. Raises CannotListenError where it is taken, or is none of this host's."""
        self.incarnation.take_port(self)
        self.listening = True
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Give the address back."""
        if self.listening:
            self.listening = False
            self.incarnation.give_port(self)
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        """Where it listens."""
        return tcp_address(self.endpoint)

    def accept(self, wire: Wire) -> None:
        """The last of the three segments: a connection is up at this end, unless nobody is here any more."""
        if not self.listening or not self.incarnation.alive:
            wire.refuse()
            return
        self.incarnation.host.simulation.clock.current = self.incarnation
        self.incarnation.wires[wire] = None
        try:
            protocol = self.factory.buildProtocol(wire.getPeer())
        except Exception:  # noqa: BLE001 - as a reactor does: logged, and the connection dropped
            _log.failure("a factory on {host} failed", host=self.incarnation.host.name)
            protocol = None
        if protocol is None:
            wire.vanish()
            return
        wire.protocol = protocol
        # What this raises the clock logs; the connection stays, as in twisted.internet.tcp.Port.doRead.
        protocol.makeConnection(wire)


@implementer(IConnector)
class Connector:
    """A connection being made: SYN there, SYN-ACK back, ACK there; half a round trip each."""

    def __init__(
        self,
        incarnation: Incarnation,
        target: Endpoint,
        factory: Any,
        timeout: float | None,
        bind: tuple[str, int] | None,
    ) -> None:
        """`target` has an address or a name; `bind` is where to connect from, None: wherever the system likes."""
        self._incarnation = incarnation
        self._simulation = incarnation.host.simulation
        self._target = self._asked = target
        self._factory = factory
        self._timeout = timeout
        self._bind = bind
        self._local: Endpoint = ("", 0)
        self._wire: Wire | None = None
        self._attempt = 0
        self._started = False
        self.state = "disconnected"

    def connect(self) -> None:
        """Try (again). Raises RuntimeError while a try is under way."""
        if self.state != "disconnected":
            raise RuntimeError("can't connect in this state")
        self.state = "connecting"
        self._attempt += 1
        if not self._started:
            self._started = True
            self._factory.doStart()
        self._factory.startedConnecting(self)
        attempt = self._attempt
        if not self._current(attempt):
            return
        clock = self._simulation.clock
        if self._timeout is not None:
            clock.at(clock.now + self._timeout, self._incarnation, self._timed_out, attempt)
        try:
            ip_address(self._asked[0].partition("%")[0])
        except ValueError:
            _Lookup(self, attempt, self._asked[0], self._incarnation)
        else:
            self.resolved(attempt, self._asked[0])

    def resolved(self, attempt: int, address: str) -> None:
        """The address of the target is known ("" where its name has none): begin."""
        if not self._current(attempt):
            return
        host = self._incarnation.host
        clock = self._simulation.clock
        if not address:
            why: Exception = error.DNSLookupError(f"no address for {self._asked[0]!r}")
        elif self._bind is not None and not host.has(self._bind[0] or "0.0.0.0"):
            why = error.ConnectBindError(string=f"{self._bind[0]} is no address of {host.name}")
        else:
            self._target = (address, self._asked[1])
            self._local = host.source_for(address, self._bind)
            if self._local[0] not in ("0.0.0.0", "::"):
                self._syn(attempt, 0)
                return
            why = error.NoRouteError(string=f"{host.name} has no address to reach {address} from")
        clock.at(clock.now, self._incarnation, self._fail_attempt, attempt, why)

    def disconnect(self) -> None:
        """See IConnector."""
        if self.state == "connecting":
            self.stopConnecting()
        elif self._wire is not None:
            self._wire.loseConnection()

    def stopConnecting(self) -> None:
        """See IConnector. Raises NotConnectingError."""
        if self.state != "connecting":
            raise error.NotConnectingError("we're not trying to connect")
        self._fail(error.UserError())

    def getDestination(self) -> IAddress:
        """Where it goes."""
        return tcp_address(self._asked)

    def _current(self, attempt: int) -> bool:
        return self.state == "connecting" and attempt == self._attempt and self._incarnation.alive

    def _timed_out(self, attempt: int) -> None:
        self._fail_attempt(attempt, error.TimeoutError())

    def _fail_attempt(self, attempt: int, why: Exception) -> None:
        if self._current(attempt):
            self._fail(why)

    def _syn(self, attempt: int, number: int) -> None:
        """Send one SYN; the next is due if it gets no answer."""
        if not self._current(attempt):
            return
        clock = self._simulation.clock
        if number + 1 < len(SYN_TRIES):
            wait = SYN_TRIES[number + 1] - SYN_TRIES[number]
            clock.at(clock.now + wait, self._incarnation, self._syn, attempt, number + 1)
        else:
            wait = SYN_GIVE_UP - SYN_TRIES[number]
            clock.at(clock.now + wait, self._incarnation, self._fail_attempt, attempt, error.TCPTimedOutError())
        host = self._incarnation.host
        network = self._simulation.network
        if self._target[0] in ("127.0.0.1", "::1") or self._target[0] in host.addresses:
            clock.at(clock.now, self._incarnation, self._reach, attempt, host, self._target, self._local)
            return
        seen = network.seen_as("tcp", host, self._local, self._target, clock.now)
        if seen is None:
            return
        route = network.route("tcp", host, *self._target, seen, clock.now)
        if route is None:
            return
        there, *at = route
        arrival = network.path(host, there).stream_arrival(clock.now, SYN_SIZE)
        clock.at(arrival, self._incarnation, self._reach, attempt, there, tuple(at), seen)

    def _reach(self, attempt: int, there: Host, at: Endpoint, seen: Endpoint) -> None:
        """The SYN is at the other host."""
        network = self._simulation.network
        host = self._incarnation.host
        if not self._current(attempt) or not network.reachable(host, there) or not there.kernel_up:
            return
        clock = self._simulation.clock
        incarnation = there.incarnation
        port = incarnation.listener(at) if incarnation is not None else None
        back = network.path(there, host).stream_arrival(clock.now, SYN_SIZE)
        clock.at(back, self._incarnation, self._answer, attempt, there, at, seen, port)

    def _answer(self, attempt: int, there: Host, at: Endpoint, seen: Endpoint, port: StreamPort | None) -> None:
        """SYN-ACK, or a reset."""
        network = self._simulation.network
        host = self._incarnation.host
        if not self._current(attempt) or not network.reachable(there, host):
            return
        if port is None:
            self._fail(error.ConnectionRefusedError())
            return
        simulation = self._simulation
        number = simulation.connections = simulation.connections + 1
        key = f"{host.name}:{self._local[1]}>{there.name}:{at[1]}#{number}".encode()
        here = Wire(simulation, self._incarnation, self._local, self._target, network.path(host, there), key)
        far = Wire(simulation, port.incarnation, at, seen, network.path(there, host), key + b"<")
        here.other, far.other = far, here
        here.read_rate, far.read_rate = host.read_rate, there.read_rate
        here.follow(port.accept)
        self._incarnation.wires[here] = None
        self._connected(here)

    def _connected(self, wire: Wire) -> None:
        self.state = "connected"
        try:
            protocol = self._factory.buildProtocol(tcp_address(self._target))
        except Exception as raised:  # noqa: BLE001 - as a reactor does: it counts as an attempt that failed
            _log.failure("a factory on {host} failed", host=self._incarnation.host.name)
            wire.vanish()
            self._fail(error.ConnectError(string=str(raised)))
            return
        self._wire = wire
        wire.connector = self
        if protocol is None:
            # As twisted.internet.tcp.BaseClient does: the connection was made, and is closed.
            wire.protocol = Protocol()
            wire.loseConnection()
            return
        wire.protocol = protocol
        try:
            protocol.makeConnection(wire)
        except Exception as raised:  # noqa: BLE001 - as a reactor does: it ends the connection
            wire.failed(raised)

    def _fail(self, why: Exception) -> None:
        self.state = "disconnected"
        self._factory.clientConnectionFailed(self, Failure(why))
        self._over()

    def lost(self, reason: Failure) -> None:
        """The connection that was made is over."""
        self.state = "disconnected"
        self._wire = None
        self._factory.clientConnectionLost(self, reason)
        self._over()

    def _over(self) -> None:
        if self.state == "disconnected" and self._started:
            self._started = False
            self._factory.doStop()


@implementer(IResolutionReceiver)
class _Lookup:
    """The first IPv4 address of a name: what connectTCP makes of one. Endpoints resolve names themselves."""

    def __init__(self, connector: Connector, attempt: int, name: str, incarnation: Incarnation) -> None:
        self._connector = connector
        self._attempt = attempt
        self._found = ""
        types: Sequence[type[IPv4Address]] = (IPv4Address,)
        incarnation.reactor.nameResolver.resolveHostName(self, name, 0, types, "TCP")

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See IResolutionReceiver."""

    def addressResolved(self, address: IAddress) -> None:
        """See IResolutionReceiver."""
        if not self._found and isinstance(address, IPv4Address):
            self._found = address.host

    def resolutionComplete(self) -> None:
        """See IResolutionReceiver."""
        self._connector.resolved(self._attempt, self._found)


__all__ = ["SYN_GIVE_UP", "SYN_TRIES", "Connector", "StreamPort"]
