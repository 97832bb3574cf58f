"""The transport of sealed datagrams: who has the key is heard, and nobody else."""

from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from plugins.sealed_udp import SealedUdpConfig, SealedUdpTransport

TARGET = PeerAddress("192.0.2.9", 7778)


class Receiver:
    def __init__(self):
        self.got = []

    def awaited(self, data, source):
        return False

    def datagram_received(self, data, source):
        self.got.append((data, source))


def opened(key="correct horse battery"):
    context = FakeContext("transport.sealed-udp")
    receiver = Receiver()
    transport = SealedUdpTransport(SealedUdpConfig(key=key, listen="127.0.0.1:7778"), context)
    port = result_of(transport.open(receiver))
    return context, transport, port, receiver


def sent(transport, data):
    return transport.seal(data) + data


def test_what_is_sealed_by_the_same_key_is_heard():
    context, transport, _, receiver = opened()
    _, other, _, _ = opened()
    transport._socket.datagramReceived(sent(other, b"hello"), ("192.0.2.1", 5))
    assert receiver.got == [(b"hello", PeerAddress("192.0.2.1", 5))]


def test_anything_else_is_dropped_and_counted():
    context, transport, port, receiver = opened()
    _, stranger, _, _ = opened("another key altogether")
    for data in (b"", b"hello", sent(stranger, b"hello"), sent(transport, b"hello")[:-1]):
        transport._socket.datagramReceived(data, ("192.0.2.1", 5))
    transport._socket.datagramReceived(sent(transport, b"hello"), ("192.0.2.1", 0))
    transport._socket.datagramReceived(sent(transport, bytes(1401)), ("192.0.2.1", 5))
    port.send(bytes(1401), TARGET)
    assert receiver.got == []
    reasons = ("no seal", "no port", "too large")
    assert [context.metrics.value("sealed_udp_dropped_total", why) for why in reasons] == [4, 1, 2]
