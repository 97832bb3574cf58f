"""UDP between simulated hosts: ports that stock datagram protocols use unchanged, multicast on a LAN included.

::

    write -> [the sender's NAT] -> [its line up: dropped when the queue is full] -> path: latency, jitter, loss, copies
          -> [the target's NAT] -> [its line down] -> datagramReceived, or port unreachable

Nothing is kept for later: what meets a cut, a host that is off, a NAT that does not know it, is gone, and a sender
learns of it only where a real one would: a connected port, from a host that is up and has nobody there. Cuts and NATs
are asked at the time at which a datagram reaches them, so that hole punching works. Every delivery is in the trace.

A port bound to `::` takes and sends IPv4 too, by mapped addresses (RFC 4291 section 2.5.5.2), as Linux has it.
"""

from __future__ import annotations

from errno import EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENETUNREACH, ENODEV, ETOOMANYREFS
from functools import lru_cache
from ipaddress import IPv6Address as IPv6
from ipaddress import ip_address
from os import strerror
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, InvalidAddressError, MessageLengthError, MulticastJoinError
from twisted.internet.interfaces import IListeningPort, IMulticastTransport
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

if TYPE_CHECKING:
    from p2pframe.sim.host import Host, Incarnation
    from p2pframe.sim.nat import Endpoint

LARGEST = {False: 65_507, True: 65_527}
"""Bytes of the largest datagram by whether it is IPv6: 65,535 less the UDP header, and less IPv4's own."""
MEMBERSHIPS = 20
"""Groups that one port may join (Linux: net.ipv4.igmp_max_memberships)."""
ICMP_SIZE = 56
"""Bytes of a port unreachable with what it quotes (RFC 792)."""

_ANY = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")


def _error(number: int) -> OSError:
    return OSError(number, strerror(number))


@lru_cache(maxsize=65_536)
def _literal(text: str) -> tuple[str, bool, bool] | None:
    """An address as hosts write theirs, whether it was written as IPv6, whether it is a group's; None: no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6) else None
    return str(mapped or address), address.version == 6, address.is_multicast


def _takers(at: Endpoint) -> tuple[Endpoint, ...]:
    """The bindings that take what comes to an address and port, the nearest first."""
    if ":" in at[0]:
        return at, ("::", at[1])
    return at, ("0.0.0.0", at[1]), ("::", at[1])


class Datagrams:
    """The way of a datagram, as the trace names it."""

    __slots__ = ("key", "label")

    def __init__(self, source: Host, own: Endpoint, target: Host, at: Endpoint) -> None:
        self.label = f"{source.name}:{own[1]} > {target.name}:{at[1]} udp"
        """The ends, for people."""
        self.key = self.label.encode()


@implementer(IListeningPort, IMulticastTransport)
class SimulatedUDPPort:
    """A UDP port of a simulated host, and the transport of the protocol on it.

    `dropped` counts those of its datagrams that found no room: in its host's NAT, in its line up, in a target's line
    down.
    """

    _log = Logger(namespace="p2pframe.sim")

    def __init__(
        self,
        incarnation: Incarnation,
        port: int,
        protocol: AbstractDatagramProtocol,
        interface: str = "",
        max_packet_size: int = 8192,
        listen_multiple: bool = False,
    ) -> None:
        """Raises InvalidAddressError for an interface that is no IP address."""
        bound = _literal(interface or "0.0.0.0")
        if bound is None:
            raise InvalidAddressError(interface, "not an IPv4 or IPv6 address.")
        address, self._six, self._is_group = bound
        self._incarnation = incarnation
        self._host = incarnation.host
        self._simulation = incarnation.host.simulation
        self._bound: Endpoint = (address, port)
        self._remote: Endpoint | None = None
        self._max_packet_size = max_packet_size
        self._listen_multiple = listen_multiple
        self._groups: dict[str, None] = {}
        self._outgoing = ""
        self._loopback = True
        self._ttl = 1
        self._broadcast = False
        self._closing: Deferred[None] | None = None
        self.protocol: Any = protocol
        self.listening = False
        self.dropped = 0

    # --- IListeningPort ---

    def startListening(self) -> None:
        """Take the address and connect the protocol.

        Raises CannotListenError where the address is taken, or none of the host's.
        """
        if not self._incarnation.alive:
            return
        address, port = self._bound
        if not (self._is_group or self._host.has(address)):
            raise CannotListenError(address, port, _error(EADDRNOTAVAIL))
        if not port:
            port = self._ephemeral(address)
        elif not self._free(address, port):
            raise CannotListenError(address, port, _error(EADDRINUSE))
        self._bound = (address, port)
        self._incarnation.datagram_ports.setdefault(self._bound, []).append(self)
        self.listening = True
        self.protocol.makeConnection(self)

    def stopListening(self) -> Deferred[None]:
        """Give the address back; the protocol is told in the next turn of the reactor, and then this fires."""
        if not self.listening:
            return succeed(None)
        if self._closing is None:
            self._closing = Deferred()
            self._simulation.clock.at(self._simulation.clock.now, self._incarnation, self._closed)
        return self._closing

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens."""
        return (IPv6Address if self._six else IPv4Address)("UDP", *self._bound)

    def _free(self, address: str, port: int) -> bool:
        ports = self._incarnation.datagram_ports
        for other in (address, *self._host.addresses, *_LOOPBACK, *_ANY):
            sharers = ports.get((other, port))
            if sharers is None or (self._listen_multiple and sharers[0]._listen_multiple):
                continue
            same = (":" in other) == self._six
            if other == address or (same and (other in _ANY or address in _ANY)) or "::" in (other, address):
                return False
        return True

    def _ephemeral(self, address: str) -> int:
        first = port = self._host.free_port()
        while not self._free(address, port):
            port = self._host.free_port()
            if port == first:
                raise CannotListenError(address, 0, _error(EADDRINUSE))
        return port

    def _closed(self) -> None:
        self.listening = False
        sharers = self._incarnation.datagram_ports[self._bound]
        sharers.remove(self)
        if not sharers:
            del self._incarnation.datagram_ports[self._bound]
        closing, self._closing = self._closing, None
        self.protocol.doStop()
        if closing is not None:
            closing.callback(None)

    # --- IUDPTransport ---

    def connect(self, host: str, port: int) -> None:
        """Send to this address and take from it alone.

        Raises RuntimeError where it has one already, InvalidAddressError where it can't send to this one.
        """
        if self._remote is not None:
            raise RuntimeError("already connected, reconnecting is not currently supported")
        self._remote = (self._checked(host), port)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """Send one datagram.

        Raises what a Twisted port does: InvalidAddressError for a name or an address of the other family,
        MessageLengthError (EMSGSIZE) for more than IP carries, OSError for an address that can't be reached from here,
        RuntimeError where the port has been closed.
        """
        if not self._incarnation.alive:
            return
        if not self.listening:
            raise RuntimeError("this UDP port is closed: it can't send")
        if self._remote is not None:
            if addr is not None and (self._checked(addr[0]), addr[1]) != self._remote:
                raise ValueError(f"this UDP port is connected to {self._remote}: it can't send to {addr}")
            address, port = self._remote
        elif addr is None:
            raise ValueError("this UDP port is not connected: say where to send")
        else:
            address, port = self._checked(addr[0]), addr[1]
        data = packet if isinstance(packet, bytes) else bytes(memoryview(packet))
        if len(data) > LARGEST[":" in address]:
            raise MessageLengthError("message too long")
        if not 0 <= port < 65536:
            raise OverflowError("port must be 0-65535.")
        if not port:
            raise _error(EINVAL)
        source = self._source(address)
        if _is_group(address):
            self._send_to_group(address, port, source, data)
        else:
            self._send((address, port), source, data)

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """See IUDPTransport. Nobody is reached by broadcast here."""
        self._broadcast = bool(enabled)

    def getBroadcastAllowed(self) -> bool:
        """See IUDPTransport."""
        return self._broadcast

    def _checked(self, text: str) -> str:
        found = _literal(text)
        if found is None:
            raise InvalidAddressError(text, "write() only accepts IP addresses, not hostnames")
        if found[1] != self._six:
            ours, theirs = ("IPv6", "IPv4") if self._six else ("IPv4", "IPv6")
            raise InvalidAddressError(text, f"{ours} port can't send to an {theirs} address")
        return found[0]

    def _source(self, target: str) -> Endpoint:
        """What a datagram to `target` says that it comes from."""
        address, port = self._bound
        if self._is_group or address in _ANY:
            if target in _LOOPBACK:
                address = target
            elif self._outgoing and _is_group(target):
                address = self._outgoing
            else:
                address = self._host.address_for(target)
                if address in _ANY:
                    raise _error(ENETUNREACH)
        elif (":" in address) != (":" in target):
            raise _error(ENETUNREACH)
        elif address in _LOOPBACK and target not in _LOOPBACK and target not in self._host.addresses:
            raise _error(EINVAL)
        return address, port

    # --- IMulticastTransport ---

    def joinGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """Take what is sent to a group on the host's LAN. Fails with MulticastJoinError."""
        why = self._refusal(addr, interface)
        if not why and self._checked(addr) in self._groups:
            why = EADDRINUSE
        if not why and len(self._groups) >= MEMBERSHIPS:
            why = ETOOMANYREFS
        if why:
            return fail(MulticastJoinError(addr, interface, why, strerror(why)))
        self._groups[self._checked(addr)] = None
        return succeed(None)

    def leaveGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """No longer. Fails with MulticastJoinError where it has not joined."""
        why = self._refusal(addr, interface)
        if not why and self._checked(addr) not in self._groups:
            why = EADDRNOTAVAIL
        if why:
            return fail(MulticastJoinError(addr, interface, why, strerror(why)))
        del self._groups[self._checked(addr)]
        return succeed(None)

    def _refusal(self, addr: str, interface: str) -> int:
        group, own = _literal(addr), _literal(interface) if interface else None
        if group is None or not group[2] or group[1] != self._six:
            return EINVAL
        if interface and (own is None or not self._host.has(own[0])):
            return ENODEV
        return 0

    def setOutgoingInterface(self, addr: str | int) -> Deferred[int]:
        """Send to groups from this address of the host (IPv6: interface numbers; every host has one interface)."""
        if isinstance(addr, str):
            if addr not in self._host.addresses:
                return fail(_error(EADDRNOTAVAIL))
            self._outgoing = addr
        return succeed(1)

    def getOutgoingInterface(self) -> str | int:
        """The address that was set; 0.0.0.0 or 0: the host's first."""
        return 0 if self._six else self._outgoing or "0.0.0.0"

    def setLoopbackMode(self, mode: int) -> None:
        """Whether this host's own ports take what this one sends to a group that they joined; they do at first."""
        self._loopback = bool(mode)

    def getLoopbackMode(self) -> bool:
        """See `setLoopbackMode`."""
        return self._loopback

    def setTTL(self, ttl: int) -> None:
        """How far what is sent to a group may go, 0 to 255: 0 stays on the host; no router here lets any of it pass."""
        if not 0 <= ttl <= 255:
            raise _error(EINVAL)
        self._ttl = ttl

    def getTTL(self) -> int:
        """See `setTTL`."""
        return self._ttl

    # --- the way there ---

    def _send(self, target: Endpoint, source: Endpoint, data: bytes) -> None:
        host, network, clock = self._host, self._simulation.network, self._simulation.clock
        if target[0] in _LOOPBACK or target[0] in host.addresses:
            for arrival in network.path(host, host).datagram_arrivals(clock.now, len(data)):
                clock.at(arrival, None, self._deliver, host, target, source, data)
            return
        seen = network.seen_as("udp", host, source, target, clock.now)
        gone = self._through_line_up(len(data)) if seen is not None else None
        if seen is None or gone is None:
            self.dropped += 1
            return
        there = network.ahead("udp", host, target[0], target[1], clock.now)
        if there is None or not network.reachable(host, there):
            return
        for arrival in network.path(host, there).datagram_arrivals(gone, len(data)):
            clock.at(arrival, None, self._reach, there, target, seen, data)

    def _through_line_up(self, size: int) -> float | None:
        """When it has left the host; None: the queue is full."""
        now, up = self._simulation.clock.now, self._host.up
        if up is None:
            return now
        return None if up.full(now, size) else up.pass_through(now, size)

    def _reach(self, there: Host, target: Endpoint, seen: Endpoint, data: bytes) -> None:
        """It is at the other end, before a NAT that may be there. `there` is whom that stood for when it was sent."""
        network, clock = self._simulation.network, self._simulation.clock
        if not network.reachable(self._host, there):
            return
        route = network.route("udp", self._host, target[0], target[1], seen, clock.now)
        if route is not None:
            host, *at = route
            self._through_line_down(host, len(data), self._deliver, host, tuple(at), seen, data)

    def _through_line_down(self, there: Host, size: int, then: Any, *args: object) -> None:
        clock, down = self._simulation.clock, there.down
        if down is None:
            then(*args)
        elif down.full(clock.now, size):
            self.dropped += 1
        else:
            clock.at(down.pass_through(clock.now, size), None, then, *args)

    def _deliver(self, there: Host, at: Endpoint, seen: Endpoint, data: bytes) -> None:
        """Hand over to who listens there."""
        if not there.kernel_up:
            return
        ports = there.incarnation.datagram_ports if there.incarnation is not None else {}
        for bound in _takers(at):
            for port in ports.get(bound, ()):
                if port._remote is None or port._remote == seen:
                    port._take(data, seen, self, there, at)
                    return
        if self._remote is not None:
            self._unreachable(there, at)

    def _take(self, data: bytes, seen: Endpoint, sender: SimulatedUDPPort, there: Host, at: Endpoint) -> None:
        simulation = self._simulation
        way = Datagrams(sender._host, seen, there, at)
        simulation.trace.delivery(simulation.clock.now, way, data)
        simulation.clock.current = self._incarnation
        try:
            if self._six and ":" not in seen[0]:
                seen = (f"::ffff:{seen[0]}", seen[1])
            self.protocol.datagramReceived(data[: self._max_packet_size], seen)
        except Exception:  # noqa: BLE001 - as a reactor does: one bad datagram does not end the port
            self._log.failure("a datagram protocol failed on {host}", host=there.name)

    def _unreachable(self, there: Host, at: Endpoint) -> None:
        """Nobody is there: the host says so, and a connected sender hears it (RFC 1122 section 4.1.3.3)."""
        network, clock = self._simulation.network, self._simulation.clock
        if network.reachable(there, self._host):
            for arrival in network.path(there, self._host).datagram_arrivals(clock.now, ICMP_SIZE):
                clock.at(arrival, self._incarnation, self._refused, there, at)

    def _refused(self, there: Host, at: Endpoint) -> None:
        simulation = self._simulation
        if self.listening and simulation.network.reachable(there, self._host):
            way = Datagrams(there, at, self._host, self._bound)
            simulation.trace.delivery(simulation.clock.now, way, b"port unreachable")
            simulation.clock.current = self._incarnation
            self.protocol.connectionRefused()

    # --- to a group ---

    def _send_to_group(self, group: str, port: int, source: Endpoint, data: bytes) -> None:
        host, network, clock = self._host, self._simulation.network, self._simulation.clock
        at = (group, port)
        if self._loopback:
            for arrival in network.path(host, host).datagram_arrivals(clock.now, len(data)):
                clock.at(arrival, None, self._deliver_to_group, host, at, source, data)
        if not self._ttl or not host.lan:
            return
        gone = self._through_line_up(len(data))
        if gone is None:
            self.dropped += 1
            return
        for there in network.lans.get(host.lan, ()):
            if there is not host and network.reachable(host, there):
                for arrival in network.path(host, there).datagram_arrivals(gone, len(data)):
                    clock.at(arrival, None, self._reach_group, there, at, source, data)

    def _reach_group(self, there: Host, at: Endpoint, source: Endpoint, data: bytes) -> None:
        if self._simulation.network.reachable(self._host, there):
            self._through_line_down(there, len(data), self._deliver_to_group, there, at, source, data)

    def _deliver_to_group(self, there: Host, at: Endpoint, source: Endpoint, data: bytes) -> None:
        """Hand over to each port of the host that has joined."""
        if not there.kernel_up or there.incarnation is None:
            return
        ports = there.incarnation.datagram_ports
        for bound in _takers(at):
            for port in tuple(ports.get(bound, ())):
                if at[0] in port._groups and (port._remote is None or port._remote == source):
                    port._take(data, source, self, there, at)


def _is_group(address: str) -> bool:
    found = _literal(address)
    return found is not None and found[2]
