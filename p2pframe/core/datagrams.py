"""Datagrams between a transport and a protocol: the gate stands between them, and what a protocol raises stops here.

A datagram's source may be forged. So the gate only limits rates here (dropped and counted), and nothing that a datagram
does leads to a ban.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.core.story import Rates
from p2pframe.interfaces import ICountsMessages, IDatagramPort, IDatagramReceiver, IDatagramTransport
from p2pframe.model import PeerAddress, SessionCounters

if TYPE_CHECKING:
    from p2pframe.core.network import Network

KINDS = 100
"""Types of message that are kept apart."""


@implementer(IDatagramReceiver, IDatagramPort)
class DatagramGate:
    """One datagram transport of a network: receives for the protocol, sends for it."""

    def __init__(self, network: Network, transport: IDatagramTransport) -> None:
        self._network = network
        self._transport = transport
        self._receiver: IDatagramReceiver | None = None
        self._port: IDatagramPort | None = None
        self.address = PeerAddress("0.0.0.0", 0)
        self._counters = SessionCounters(network.clock.seconds())
        self.rates = Rates(self._counters.started)
        """Of all datagrams, dropped ones too."""
        metrics = network.metrics
        self._received = metrics.counter("datagrams_received_total", "Datagrams that came in.", ("result",))
        self._sent = metrics.counter("datagrams_sent_total", "Datagrams sent.")

    async def open(self) -> None:
        """Bind, and let the protocol take what comes. Raises `StartError` on a busy port."""
        self._receiver = self._network.protocol.receiver(self)
        self._port = await self._transport.open(self)
        self.address = self._port.address

    async def close(self) -> None:
        """Close the socket."""
        if self._port is not None:
            self._port = None
            await self._transport.close()

    def datagram_received(self, data: bytes, source: PeerAddress) -> None:
        """See `IDatagramReceiver`: called by the transport."""
        network = self._network
        if self._receiver is None:
            return
        self._counters.received += 1
        self._counters.bytes_in += len(data)
        if not network.gate.datagram(source, network.clock.seconds(), data, self._receiver):
            self._received.add(1, "dropped")
            return
        self._received.add(1, "taken")
        try:
            self._receiver.datagram_received(data, source)
        except Exception:  # noqa: BLE001 - one bad datagram must not end the node
            network.plugin_failed(f"protocol.{network.protocol_name}", "datagram_received", Failure())

    def awaited(self, data: bytes, source: PeerAddress) -> bool:
        """See `IDatagramReceiver.awaited`."""
        return self._receiver is not None and self._receiver.awaited(data, source)

    def add_messages(self, sums: dict[str, tuple[int, int]]) -> None:
        """Add what came in, as (messages, bytes) by type, as far as the protocol says."""
        receiver = self._receiver
        if receiver is None or not ICountsMessages.providedBy(receiver):
            return
        none: Mapping[str, tuple[int, int]] = {}
        label = f"protocol.{self._network.protocol_name}"
        counted = self._network.call_plugin(label, "messages", none, lambda: dict(receiver.messages))
        for number, (kind, (messages, size)) in enumerate(counted.items()):
            if messages:
                name = kind if number < KINDS else "other"
                held = sums.get(name, (0, 0))
                sums[name] = held[0] + messages, held[1] + size

    @property
    def moved(self) -> tuple[int, int]:
        """The bytes that came in, of dropped datagrams too, and those that were sent."""
        return self._counters.bytes_in, self._counters.bytes_out

    def tick(self, now: float) -> None:
        """Look at what came and went; called by the network's one timer."""
        self.rates.step(self._counters, now)

    def send(self, data: bytes, target: PeerAddress) -> None:
        """See `IDatagramPort`: called by the protocol."""
        if self._port is not None:
            self._sent.add(1)
            self._counters.sent += 1
            self._counters.bytes_out += len(data)
            self._port.send(data, target)
