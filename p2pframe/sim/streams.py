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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from p2pframe.sim.connecting import Connector
    from p2pframe.sim.host import Host, Incarnation
    from p2pframe.sim.links import Path
    from p2pframe.sim.simulation import Simulation

WINDOW = 262_144
"""Bytes that wait at a reader who does not read, before its peer's writes stay with the peer."""
HIGH_WATER = 65_536
"""Unsent bytes at which a producer is paused, as in Twisted's own transports."""
IN_FLIGHT = 4_194_304
"""Bytes on their way at which a producer is paused (Linux: net.ipv4.tcp_wmem, the largest send buffer)."""
GIVE_UP = 924.6
"""Seconds without an answer after which a sender is told (Linux: net.ipv4.tcp_retries2 = 15)."""
FIRST_RETRY, LONGEST_RETRY = 0.2, 120.0
"""Seconds between two tries of a sender that gets no answer: doubling, RFC 6298 section 5.5."""

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
        "_fin_sent",
        "_flight",
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
        "connector",
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
        self.connector: Connector | None = None
        """Whoever made the connection, at the end that dialled: told when it is over."""
        self.connected = True
        self.silent = False
        """Nothing passes any more, either way, and nobody is told: a half-open connection."""
        self.read_rate = 0.0
        """Bytes a second that this end's host reads; 0: as they come."""
        self._batch: list[bytes] | None = None
        self._sent_at = -1.0
        self._last_arrival = 0.0
        self._flight = 0
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
        self._fin_sent = False
        self._end_queued = False
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False

    @property
    def disconnecting(self) -> bool:
        """Whether it closes as soon as everything is sent; see `twisted.internet.abstract.FileDescriptor`."""
        return self.connected and (self._closing or self._end_queued)

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
            self._reading = False  # nothing that arrives from here on is handed on, as in Twisted
            if self._producer is not None and (self._producer_paused or not self._streaming):
                self._end_queued = True
                return
            self._closing = True
            self._finish()

    def loseWriteConnection(self) -> None:
        """See ITCPTransport: when what was written has been sent, the other end is told that nothing more comes."""
        if self.connected and not self._closing and not self._write_closed and self._incarnation.alive:
            self._write_closed = True
            if self._unsent is None:
                self._half_close()

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
        if self.connected and not self._closing and not self._end_queued:
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
        if (
            self._unsent is not None
            or self._stuck_bytes >= WINDOW
            or (self._flight + other._unread_bytes >= WINDOW and (other._unread_bytes or not other._reading))
        ):
            self._keep(data)
            return
        self._flight += len(data)
        path = self._path
        clock = self._simulation.clock
        now = clock.now
        if path.plain and self.host.up is None:
            if self._sent_at == now and self._batch is not None:
                self._batch.append(data)
            else:
                arrival = now + path.latency
                if arrival < self._last_arrival:
                    arrival = self._last_arrival
                self._last_arrival = arrival
                self._sent_at = now
                self._batch = batch = [data]
                clock.at(arrival, None, self._arrive_batch, batch)
            if self._producer is not None and (self._flight >= IN_FLIGHT or not self._streaming):
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
        if self._flight >= IN_FLIGHT:
            self._pause_producer()  # until enough of it has arrived
        elif not self._streaming:
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
        if not self._producer_paused:
            self._producer_paused = True
            if self._streaming:
                self._producer.pauseProducing()

    def _drained(self) -> None:
        producer = self._producer
        if producer is not None and self.connected and (self._producer_paused or not self._streaming):
            if self._unsent is not None:
                return
            if self._flight >= IN_FLIGHT:
                self._pause_producer()
                return
            self._producer_paused = False
            producer.resumeProducing()

    def _window_open(self) -> None:
        """The other end has read: send what was kept."""
        unsent, self._unsent = self._unsent, None
        if unsent is None:
            return
        self._unsent_bytes = 0
        while unsent:
            self._send(unsent.popleft())
            if self._unsent_bytes:
                for data in unsent:
                    self._keep(data)
                return
        self._drained()
        if self._unsent is None and self.connected:
            if self._closing:
                self._finish()
            elif self._write_closed and not self._fin_sent:
                self._half_close()

    def _finish(self) -> None:
        """Close in order, once nothing is unsent."""
        if self._unsent is None:
            self._send_end()
            self._simulation.clock.at(0.0, self._incarnation, self.end, error.ConnectionDone())

    def _half_close(self) -> None:
        self._send_end()
        self._simulation.clock.at(0.0, self._incarnation, self._write_side_closed)

    def _write_side_closed(self) -> None:
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is not None and self.connected:
            half.writeConnectionLost()

    def _send_end(self) -> None:
        if self._fin_sent:
            return
        self._fin_sent = True
        clock = self._simulation.clock
        self._last_arrival = max(self._last_arrival, clock.now + self._path.latency)
        self._batch = None
        clock.at(self._last_arrival, None, self._arrive, None)

    def follow(self, accept: Callable[[Wire], None]) -> None:
        """The acknowledgement that makes a connection, ahead of everything this end sends: `accept(other end)` then."""
        clock = self._simulation.clock
        self._last_arrival = clock.now + self._path.latency
        clock.at(self._last_arrival, None, accept, self.other)

    def refuse(self) -> None:
        """Nobody wants this end after all: reset the other one."""
        self.connected = False
        if self.host.kernel_up:
            self._reset_other()

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
        if data is not None:
            self._flight -= len(data)
        if self._stuck is not None or self.silent or not self._passable():
            self._get_stuck(data)
            return
        self._over_line(data)
        if self._producer_paused and self._unsent is None:
            self._acknowledged()

    def _over_line(self, data: bytes | None) -> None:
        """The last of the way: the other host's own line."""
        other = self.other
        down = other.host.down
        if down is None:
            other._take(data, self)
        else:
            clock = self._simulation.clock
            # What ends the stream waits behind what is in it.
            clock.at(down.pass_through(clock.now, len(data) if data is not None else 0), None, other._take, data, self)

    def _acknowledged(self) -> None:
        """Something has arrived that a producer waits for: it is told half a round trip later."""
        if self._flight < IN_FLIGHT - HIGH_WATER:
            clock = self._simulation.clock
            clock.at(clock.now + self._path.latency, self._incarnation, self._drained)

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
            clock.at(clock.now + GIVE_UP, None, self._give_up, self._stuck)
            if not self.silent:
                self._simulation.network.mended.append(self._mended)
        self._stuck.append(data)
        self._stuck_bytes += len(data) if data is not None else 0

    def _give_up(self, stuck: object) -> None:
        if self._stuck is stuck:
            # As a kernel does, whose process may have closed the connection or ended long ago.
            self._stuck = None
            self._stuck_bytes = 0
            self.end(error.ConnectionLost("what was sent was not acknowledged"))

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
            self._over_line(data)
        if self._incarnation.alive:
            self._window_open()
            if self._producer_paused:
                self._acknowledged()

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
        while unread and self._reading and self.connected:
            data = unread.popleft()
            self._unread_bytes -= len(data) if data is not None else 0
            self._hand_over(data)
            if self.read_rate and unread:
                self._read_later(unread[0])
                break
        if not unread and self._unread is unread:
            self._unread = None
        if self._unread_bytes < WINDOW:
            self._open_window()

    def _open_window(self) -> None:
        """Have the other end, where it has kept something, learn that there is room."""
        other = self.other
        if other._unsent is not None and other._incarnation.alive:
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
        except Exception as raised:  # noqa: BLE001 - as a reactor does: log it, and end the connection with it
            self.failed(raised)

    def failed(self, raised: Exception) -> None:
        """The protocol raised this: the connection ends with it. To be called where it is handled."""
        _log.failure("a protocol failed on {host}", Failure(raised), host=self.host.name)
        if self.connected:
            self._send_end()
            self.end(raised)

    def end(self, why: Exception) -> None:
        """The connection is over at this end."""
        if not self.connected or not self._incarnation.alive:
            return
        self.connected = False
        self._incarnation.wires.pop(self, None)
        self._forget()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        reason = Failure(why)
        if self.protocol is not None:
            self.protocol.connectionLost(reason)
        if self.connector is not None:
            self.connector.lost(reason)

    def vanish(self) -> None:
        """Nobody is at this end any more, and its host's kernel closes the connection."""
        self.connected = False
        self._incarnation.wires.pop(self, None)
        clock = self._simulation.clock
        # What is unread at a close is answered with a reset (RFC 1122 4.2.2.13), else the stream ends in order.
        if self._unread_bytes:
            self._last_arrival = max(self._last_arrival, clock.now + self._path.latency)
            clock.at(self._last_arrival, None, self._arrive_reset)
        else:
            self._send_end()
        self._forget()

    def _forget(self) -> None:
        self._unsent = self._unread = None
        self._unsent_bytes = self._unread_bytes = 0
        self._batch = None
        self._open_window()  # what the other end kept for this one goes out, and is answered with a reset
