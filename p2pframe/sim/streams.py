"""TCP between simulated hosts: connections that stock endpoints and protocols use unchanged.

::

    write -> [unsent: the peer's window is full] -> path: bandwidth, latency, jitter, loss -> arrive
          -> [stuck: cut, silent or dead on the way; sent again when that is over]
          -> [unread: the peer paused] -> dataReceived

A stream never loses or reorders bytes: loss is delay. What cannot arrive for `GIVE_UP` seconds ends its sender's side,
as a kernel does. Every delivery is noted in the trace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from p2pframe.sim.host import Host, Incarnation
    from p2pframe.sim.links import Path
    from p2pframe.sim.simulation import Simulation

WINDOW = 262_144
"""Bytes that wait at a reader who does not read, before its peer's writes stay with the peer."""
HIGH_WATER = 65_536
"""Unsent bytes at which a producer is paused, as in Twisted's own transports."""
GIVE_UP = 924.6
"""Seconds without an answer after which a sender is told (Linux: net.ipv4.tcp_retries2 = 15)."""
FIRST_RETRY, LONGEST_RETRY = 0.2, 120.0
"""Seconds between two tries of a sender that gets no answer: doubling, RFC 6298 section 5.5."""
SYN_TRIES = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
"""Seconds after which a connection attempt is repeated (RFC 6298: one second, doubling)."""

Endpoint = tuple[str, int]
_log = Logger(namespace="p2pframe.sim")


def tcp_address(endpoint: Endpoint) -> IPv4Address | IPv6Address:
    """An endpoint as Twisted names it."""
    return (IPv6Address if ":" in endpoint[0] else IPv4Address)("TCP", *endpoint)


@implementer(ITCPTransport)
class Wire:
    """One end of a connection: the transport that a protocol writes to, and the way of its bytes to the other end."""

    __slots__ = (
        "_batch",
        "_closing",
        "_deaf",
        "_end_queued",
        "_incarnation",
        "_last_arrival",
        "_local",
        "_path",
        "_producer",
        "_producer_paused",
        "_read_due",
        "_reading",
        "_remote",
        "_retry",
        "_sent_at",
        "_simulation",
        "_streaming",
        "_stuck",
        "_stuck_bytes",
        "_stuck_since",
        "_unread",
        "_unread_bytes",
        "_unsent",
        "_unsent_bytes",
        "_write_closed",
        "connected",
        "host",
        "key",
        "other",
        "protocol",
        "read_rate",
        "silent",
    )

    def __init__(
        self,
        simulation: Simulation,
        incarnation: Incarnation,
        local: Endpoint,
        remote: Endpoint,
        path: Path,
        key: bytes,
    ) -> None:
        self._simulation = simulation
        self._incarnation = incarnation
        self.host: Host = incarnation.host
        self._local = local
        self._remote = remote
        self._path = path
        self.key = key
        """Names this direction in the trace."""
        self.other: Wire
        self.protocol: Any = None
        self.connected = True
        self.silent = False
        """Nothing passes any more, either way, and nobody is told: a half-open connection."""
        self.read_rate = 0.0
        """Bytes a second that this end's host reads; 0: as they come."""
        self._batch: list[bytes] | None = None
        self._sent_at = -1.0
        self._last_arrival = 0.0
        self._unsent: deque[bytes] | None = None
        self._unsent_bytes = 0
        self._stuck: deque[bytes | None] | None = None
        self._stuck_bytes = 0
        self._stuck_since = 0.0
        self._retry = FIRST_RETRY
        self._unread: deque[bytes | None] | None = None
        self._unread_bytes = 0
        self._read_due = 0.0
        self._reading = True
        self._deaf = False
        self._closing = False
        self._write_closed = False
        self._end_queued = False
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False

    @property
    def label(self) -> str:
        """The ends of this direction, for people."""
        return f"{self.host.name}:{self._local[1]} > {self.other.host.name}:{self.other._local[1]} tcp"

    # --- what a protocol calls ---

    def write(self, data: bytes) -> None:
        """See ITransport."""
        if not data or not self.connected or self._closing or self._write_closed or not self._incarnation.alive:
            return
        self._send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See ITransport."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ITransport: when what was written has been sent, and the producer has finished."""
        if self.connected and not self._closing and self._incarnation.alive:
            if self._producer is not None:
                self._end_queued = True
                return
            self._closing = True
            self._finish()

    def loseWriteConnection(self) -> None:
        """See ITCPTransport: the other end is told that nothing more comes."""
        if self.connected and not self._closing and not self._write_closed:
            self._write_closed = True
            self._send_end()

    def abortConnection(self) -> None:
        """See ITCPTransport: nothing unsent is sent; the other end is reset."""
        if self.connected and self._incarnation.alive:
            self._unsent = None
            self._unsent_bytes = 0
            self._closing = True
            self._reading = False  # nothing that arrives before it is over is handed on, as in Twisted
            self._reset_other()
            self._simulation.clock.at(0.0, self._incarnation, self.end, error.ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer. Raises RuntimeError where one is registered."""
        if self._producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self._producer} was never unregistered."
            )
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None
        if self._end_queued:
            self._end_queued = False
            self.loseConnection()

    def pauseProducing(self) -> None:
        """See IPushProducer: read nothing for now."""
        self._reading = False

    def resumeProducing(self) -> None:
        """See IPushProducer: read again."""
        if self.connected and not self._closing:
            self._reading = True
            if self._unread is not None:
                self._simulation.clock.at(0.0, self._incarnation, self._read)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self.loseConnection()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end, as this one sees it."""
        return tcp_address(self._remote)

    def getHost(self) -> IPv4Address | IPv6Address:
        """This end."""
        return tcp_address(self._local)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport: there is no delay to speak of."""

    def getTcpNoDelay(self) -> bool:
        """See ITCPTransport."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ITCPTransport: probes would be the only traffic; they are not sent."""

    def getTcpKeepAlive(self) -> bool:
        """See ITCPTransport."""
        return False

    # --- sending ---

    def _send(self, data: bytes) -> None:
        other = self.other
        if self._unsent is not None or other._unread_bytes >= WINDOW or self._stuck_bytes >= WINDOW:
            self._keep(data)
            return
        path = self._path
        clock = self._simulation.clock
        now = clock.now
        if path.plain and self.host.up is None:
            if self._sent_at == now and self._batch is not None:
                self._batch.append(data)
                return
            arrival = now + path.latency
            if arrival < self._last_arrival:
                arrival = self._last_arrival
            self._last_arrival = arrival
            self._sent_at = now
            self._batch = batch = [data]
            clock.at(arrival, None, self._arrive_batch, batch)
            if self._producer is not None and not self._streaming:
                self._pace(now)
            return
        up = self.host.up
        gone = now
        for piece in path.split(data):
            if up is not None:
                gone = up.pass_through(now, len(piece))
            arrival = path.stream_arrival(gone, len(piece))
            self._last_arrival = arrival = max(arrival, self._last_arrival)
            if path.bandwidth:
                gone = max(gone, path.free_at)
            clock.at(arrival, None, self._arrive, piece)
        if self._producer is not None:
            self._pace(gone)

    def _pace(self, gone: float) -> None:
        """What was written has left this host at the time `gone`: a producer that is far ahead waits for that."""
        clock = self._simulation.clock
        rate = self._path.bandwidth or (self.host.up.rate if self.host.up is not None else 0)
        if not self._streaming:
            clock.at(gone, self._incarnation, self._drained)
        elif rate and (gone - clock.now) * rate > HIGH_WATER and not self._producer_paused:
            self._pause_producer()
            clock.at(gone, self._incarnation, self._drained)

    def _keep(self, data: bytes) -> None:
        if self._unsent is None:
            self._unsent = deque()
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._producer is not None and self._unsent_bytes > HIGH_WATER:
            self._pause_producer()

    def _pause_producer(self) -> None:
        if self._streaming and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _drained(self) -> None:
        producer = self._producer
        if producer is not None and self.connected and (self._producer_paused or not self._streaming):
            if self._unsent is not None:
                return
            self._producer_paused = False
            producer.resumeProducing()

    def _window_open(self) -> None:
        """The other end has read: send what was kept."""
        unsent, self._unsent = self._unsent, None
        self._unsent_bytes = 0
        while unsent:
            self._send(unsent.popleft())
            if self._unsent_bytes:
                for data in unsent:
                    self._keep(data)
                return
        self._drained()
        if self._closing and self.connected:
            self._finish()

    def _finish(self) -> None:
        """Close in order, once nothing is unsent."""
        if self._unsent is None:
            self._send_end()
            self._simulation.clock.at(0.0, self._incarnation, self.end, error.ConnectionDone())

    def _send_end(self) -> None:
        clock = self._simulation.clock
        self._last_arrival = max(self._last_arrival, clock.now + self._path.latency)
        self._batch = None
        clock.at(self._last_arrival, None, self._arrive, None)

    def _reset_other(self) -> None:
        clock = self._simulation.clock
        clock.at(clock.now + self._path.latency, None, self._arrive_reset)

    # --- on the way ---

    def _arrive_batch(self, batch: list[bytes]) -> None:
        if batch is self._batch:
            self._batch = None
        self._arrive(batch[0] if len(batch) == 1 else b"".join(batch))

    def _arrive(self, data: bytes | None) -> None:
        """Bytes, or the end of them (None), reach the other host, unless something is in the way."""
        other = self.other
        if self._stuck is not None or self.silent or not self._passable():
            self._get_stuck(data)
            return
        down = other.host.down
        if down is not None and data:
            clock = self._simulation.clock
            clock.at(down.pass_through(clock.now, len(data)), None, other._take, data, self)
            return
        other._take(data, self)

    def _passable(self) -> bool:
        other = self.other
        network = self._simulation.network
        if (network.cuts or network.partitions) and not (
            network.reachable(self.host, other.host) and network.reachable(other.host, self.host)
        ):
            # Without the way back there are no acknowledgements: the sender gets no further either.
            return False
        return other.host.kernel_up

    def _get_stuck(self, data: bytes | None) -> None:
        clock = self._simulation.clock
        if self._stuck is None:
            self._stuck = deque()
            self._stuck_since = clock.now
            self._retry = FIRST_RETRY
            clock.at(clock.now + GIVE_UP, self._incarnation, self._give_up, self._stuck)
            if not self.silent:
                self._simulation.network.mended.append(self._mended)
        self._stuck.append(data)
        self._stuck_bytes += len(data) if data is not None else 0

    def _give_up(self, stuck: object) -> None:
        if self._stuck is stuck and self.connected:
            self.end(error.TCPTimedOutError())

    def _mended(self) -> None:
        """Something has changed: the next repeat of what is stuck may get through."""
        stuck = self._stuck
        if stuck is None:
            return
        if not self._incarnation.alive and not self.host.kernel_up:
            self._stuck = None
            return
        if self.silent or not self._passable():
            if not self.silent:
                self._simulation.network.mended.append(self._mended)
            return
        clock = self._simulation.clock
        # The sender repeats at doubling intervals since it got stuck: the next of these times is when it goes on.
        time, interval = self._stuck_since, FIRST_RETRY
        while time < clock.now:
            time += interval
            interval = min(interval * 2, LONGEST_RETRY)
        clock.at(time + self._path.latency, None, self._unstick, stuck)

    def _unstick(self, stuck: object) -> None:
        if self._stuck is not stuck or self._stuck is None:
            return
        if not self._passable():
            self._simulation.network.mended.append(self._mended)
            return
        waiting, self._stuck = self._stuck, None
        self._stuck_bytes = 0
        self._last_arrival = max(self._last_arrival, self._simulation.clock.now)
        for data in waiting:
            self.other._take(data, self)
        if self._unsent is not None and self._incarnation.alive:
            self._window_open()

    def _arrive_reset(self) -> None:
        other = self.other
        if not self.silent and self._passable() and other.connected and other._incarnation.alive:
            self._simulation.trace.delivery(self._simulation.clock.now, self, b"RST")
            self._simulation.clock.current = other._incarnation
            other.end(error.ConnectionLost())

    # --- receiving ---

    def _take(self, data: bytes | None, sender: Wire) -> None:
        """What the other end sent has reached this host."""
        simulation = self._simulation
        incarnation = self._incarnation
        if not self.connected or not incarnation.alive:
            # Nobody has this connection any more: the host says so.
            if data is not None and sender.connected and sender._incarnation.alive and not self._deaf:
                self._deaf = True
                self._reset_other()
            return
        simulation.trace.delivery(simulation.clock.now, sender, b"FIN" if data is None else data)
        if self._unread is not None or not self._reading or self.read_rate:
            if self._unread is None:
                self._unread = deque()
                if self._reading:
                    self._read_later(data)
            self._unread.append(data)
            self._unread_bytes += len(data) if data is not None else 0
            return
        simulation.clock.current = incarnation
        self._hand_over(data)

    def read_at(self, rate: float) -> None:
        """Have this end's host read so many bytes a second from now on; 0: as they come."""
        self.read_rate = rate
        self._read_due = 0.0
        if self._unread is not None and self._reading and self._incarnation.alive:
            self._simulation.clock.at(0.0, self._incarnation, self._read)

    def _read_later(self, data: bytes | None) -> None:
        clock = self._simulation.clock
        self._read_due = clock.now + len(data or b"") / self.read_rate
        clock.at(self._read_due, self._incarnation, self._read)

    def _read(self) -> None:
        """Hand over what waited, until the protocol pauses again."""
        unread = self._unread
        if unread is None or (self.read_rate and self._simulation.clock.now < self._read_due):
            return
        full = self._unread_bytes >= WINDOW
        while unread and self._reading and self.connected:
            data = unread.popleft()
            self._unread_bytes -= len(data) if data is not None else 0
            self._hand_over(data)
            if self.read_rate and unread:
                self._read_later(unread[0])
                break
        if not unread and self._unread is unread:
            self._unread = None
        other = self.other
        if full and self._unread_bytes < WINDOW and other._unsent is not None and other._incarnation.alive:
            clock = self._simulation.clock
            clock.at(clock.now + self._path.latency, other._incarnation, other._window_open)

    def _hand_over(self, data: bytes | None) -> None:
        protocol = self.protocol
        if data is None:
            half = IHalfCloseableProtocol(protocol, None)
            if half is not None and not self._closing:
                half.readConnectionLost()
            else:
                self.end(error.ConnectionDone())
            return
        try:
            protocol.dataReceived(data)
        except Exception:  # noqa: BLE001 - as a reactor does: log it, and end the connection with it
            failure = Failure()
            _log.failure("a protocol failed on {host}", failure, host=self.host.name)
            self._reset_other()
            self.end(failure.value if isinstance(failure.value, Exception) else error.ConnectionLost())

    def end(self, why: Exception) -> None:
        """The connection is over at this end."""
        if not self.connected or not self._incarnation.alive:
            return
        self.connected = False
        self._incarnation.wires.pop(self, None)
        self._unsent = self._unread = None
        self._unsent_bytes = self._unread_bytes = 0
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(why))

    def vanish(self) -> None:
        """The process at this end is gone and its host's kernel closes the connection."""
        self.connected = False
        self._send_end_of_process()

    def _send_end_of_process(self) -> None:
        clock = self._simulation.clock
        self._unsent = None
        self._last_arrival = max(self._last_arrival, clock.now + self._path.latency)
        self._batch = None
        # What is unread at a close is answered with a reset (RFC 1122 4.2.2.13), else the stream ends in order.
        clock.at(self._last_arrival, None, self._arrive_reset if self._unread_bytes else self._arrive_fin)

    def _arrive_fin(self) -> None:
        self._arrive(None)


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


@implementer(IConnector)
class Connector:
    """A connection being made: SYN there, SYN-ACK back, ACK there; half a round trip each."""

    def __init__(
        self, incarnation: Incarnation, target: Endpoint, factory: Any, timeout: float | None, local: Endpoint
    ) -> None:
        self._incarnation = incarnation
        self._simulation = incarnation.host.simulation
        self._target = target
        self._factory = factory
        self._timeout = timeout
        self._local = local
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
        clock = self._simulation.clock
        attempt = self._attempt
        if self._timeout is not None:
            clock.at(clock.now + self._timeout, self._incarnation, self._timed_out, attempt)
        self._syn(attempt, 0)

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
        return tcp_address(self._target)

    def _current(self, attempt: int) -> bool:
        return self.state == "connecting" and attempt == self._attempt and self._incarnation.alive

    def _timed_out(self, attempt: int) -> None:
        if self._current(attempt):
            self._fail(error.TimeoutError())

    def _syn(self, attempt: int, number: int) -> None:
        """Send one SYN; the next is due if it gets no answer."""
        if not self._current(attempt):
            return
        clock = self._simulation.clock
        if number + 1 < len(SYN_TRIES):
            wait = SYN_TRIES[number + 1] - SYN_TRIES[number]
            clock.at(clock.now + wait, self._incarnation, self._syn, attempt, number + 1)
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
        arrival = network.path(host, there).stream_arrival(clock.now, 40)
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
        back = network.path(there, host).stream_arrival(clock.now, 40)
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
        if not port.incarnation.alive:
            return
        simulation = self._simulation
        number = simulation.connections = simulation.connections + 1
        key = f"{host.name}:{self._local[1]}>{there.name}:{at[1]}#{number}".encode()
        here = Wire(simulation, self._incarnation, self._local, self._target, network.path(host, there), key)
        far = Wire(simulation, port.incarnation, at, seen, network.path(there, host), key + b"<")
        here.other, far.other = far, here
        here.read_rate, far.read_rate = host.read_rate, there.read_rate
        self._wire = here
        self.state = "connected"
        self._incarnation.wires[here] = None
        clock = simulation.clock
        here._last_arrival = clock.now + here._path.latency
        clock.at(here._last_arrival, port.incarnation, self._accept, port, far)
        protocol = self._factory.buildProtocol(tcp_address(self._target))
        if protocol is None:
            here.abortConnection()
            self.state = "disconnected"
            return
        here.protocol = _Client(protocol, self)
        protocol.makeConnection(here)

    def _accept(self, port: StreamPort, wire: Wire) -> None:
        """The ACK: the connection is up at the listening end."""
        if not port.listening:
            wire._reset_other()
            wire.connected = False
            return
        port.incarnation.wires[wire] = None
        protocol = port.factory.buildProtocol(tcp_address(wire._remote))
        if protocol is None:
            wire.abortConnection()
            return
        wire.protocol = protocol
        protocol.makeConnection(wire)

    def _fail(self, why: Exception) -> None:
        self.state = "disconnected"
        self._factory.clientConnectionFailed(self, Failure(why))
        self._over()

    def lost(self, reason: Failure) -> None:
        """The connection that was made is over."""
        self.state = "disconnected"
        self._factory.clientConnectionLost(self, reason)
        self._over()

    def _over(self) -> None:
        if self.state == "disconnected" and self._started:
            self._started = False
            self._factory.doStop()


class _Client:
    """The protocol of a dialled connection, whose factory is told of its end as well."""

    __slots__ = ("_connector", "_protocol", "dataReceived")

    def __init__(self, protocol: Any, connector: Connector) -> None:
        self._protocol: IProtocol = protocol
        self._connector = connector
        self.dataReceived = protocol.dataReceived

    def __conform__(self, interface: Any) -> object:
        return interface(self._protocol, None)

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol, then the factory, as Twisted does."""
        self._protocol.connectionLost(reason)
        self._connector.lost(reason)


__all__ = ["Connector", "IReactorTime", "StreamPort", "Wire", "tcp_address"]
