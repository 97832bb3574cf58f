"""A link full of liars: nothing they send takes much time or memory, and who is there in truth is found."""

from __future__ import annotations

import random
import struct
import tracemalloc

from p2pframe.discovery.mdns import MdnsConfig, MdnsDiscovery, wire
from p2pframe.discovery.mdns.service import Service, service_name
from p2pframe.discovery.mdns.wire import Message, Question, Record
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from tests.work import Work

KIND = service_name("_p2pframe._tcp")
LIAR = ("192.0.2.66", 5353)
HONEST = ("192.0.2.50", 5353)


def liar_messages(rng):
    """One after the other, each hostile in another way."""
    responses = struct.pack("!6H", 0, 0x8400, 0, 60, 0, 0)
    loop = responses + b"\xc0\x0c" * 4000
    chain = b"".join(struct.pack("!H", 0xC000 | max(12, 10 + 2 * n)) for n in range(4000))
    label = responses + b"\xff" * 8900
    long_data = responses + b"\1a\0" + struct.pack("!2HIH", wire.TXT, 1, 9, 65_535) + bytes(8000)
    number = rng.randrange(2**32)
    yield from (loop, responses + chain, label, long_data, rng.randbytes(rng.randrange(9001)), bytes(9001))
    names = [(b"%08x%04d" % (number, n), *KIND) for n in range(150)]
    yield wire.encode(
        Message(True, answers=[Record(KIND, wire.PTR, 2**32 - 1, wire.name_data(name)) for name in names])
    )
    yield wire.encode(
        Message(False, [Question(name, wire.ANY, True) for name in names] + [Question(KIND, wire.ANY)] * 99)
    )
    target = (b"t%08x" % number, b"local")
    yield wire.encode(
        Message(
            True,
            answers=[Record(KIND, wire.PTR, 9999, wire.name_data(names[0]))],
            additional=[
                Record(names[0], wire.SRV, 9999, wire.srv_data(1, target)),
                Record(names[0], wire.TXT, 9999, b"\xff" * 2000),
                *(Record(target, wire.A, 9999, rng.randbytes(4)) for _ in range(200)),
            ],
        )
    )
    yield wire.encode(Message(False, [Question(KIND, wire.PTR)], truncated=True))


def test_a_thousand_hostile_messages_a_second():
    context = FakeContext("discovery.mdns", "net")
    plugin = MdnsDiscovery(MdnsConfig(), context)
    plugin.announce([PeerAddress("0.0.0.0", 8333)])
    plugin.find(100)
    context.reactor.pump([0.05] * 60)
    protocol = context.reactor.udpPorts[0][1]
    written = protocol.transport.written
    rng = random.Random(7)
    # What Python itself keeps of a first run does not count.
    for data in liar_messages(rng):
        protocol.datagramReceived(data, LIAR)
    context.reactor.advance(1.0)
    written.clear()
    tracemalloc.start()
    received = 0
    sources = [(f"192.0.2.{100 + n}", 5353) for n in range(10)]
    for _ in range(10):
        for source in sources:
            for data in liar_messages(rng):
                received += len(data)
                with Work(150_000):
                    protocol.datagramReceived(data, source)
        context.reactor.advance(0.2)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 3_000_000
    assert sum(len(data) for data, _ in written) < received / 10
    context.reactor.pump([0.5] * 4)
    honest = Service(KIND, "honest", "theirs", 7, ["network=net"])
    told = Message(True, answers=[honest.shared()[0], *honest.unique(["192.0.2.50"])])
    protocol.datagramReceived(wire.encode(told), HONEST)
    looking = plugin.find(1000)
    context.reactor.pump([0.5] * 4)
    found = {str(one.address) for one in result_of(looking)}
    left_out = context.metrics.value
    assert left_out("mdns_left_out_total", "malformed") > 0
    assert left_out("mdns_left_out_total", "of one source") > 0
    assert "192.0.2.50:7" in found, "liars fill the room of their own, and no other"
    assert all(one.startswith("192.0.2.") for one in found)
    plugin.withdraw()


def test_one_liar_leaves_room_for_the_others():
    context = FakeContext("discovery.mdns", "net")
    plugin = MdnsDiscovery(MdnsConfig(patience=0), context)
    plugin.find(100)
    context.reactor.advance(0.1)
    protocol = context.reactor.udpPorts[0][1]
    for data in liar_messages(random.Random(1)):
        protocol.datagramReceived(data, LIAR)
    honest = Service(KIND, "honest", "theirs", 7, ["network=net"])
    told = Message(True, answers=[honest.shared()[0], *honest.unique(["192.0.2.50"])])
    protocol.datagramReceived(wire.encode(told), HONEST)
    assert "192.0.2.50:7" in {str(one.address) for one in result_of(plugin.find(1000))}
    assert context.metrics.value("mdns_left_out_total", "of one source") == 130
    plugin.withdraw()


def test_who_contests_every_name_is_not_followed_for_ever():
    """Each name that we take, somebody else has at once: fifteen tries, then one in five seconds (section 8.1)."""
    context = FakeContext("discovery.mdns", "net")
    plugin = MdnsDiscovery(MdnsConfig(instance="me"), context)
    announcing = plugin.announce([PeerAddress("0.0.0.0", 8333)])
    protocol = context.reactor.udpPorts[0][1]
    for _ in range(6000):
        context.reactor.advance(0.01)
        service = plugin._service
        theirs = Service(KIND, service.label, service.host, 1, ["a=b"])
        protocol.datagramReceived(wire.encode(Message(True, answers=theirs.unique(["192.0.2.66"]))), LIAR)
    assert not announcing.called
    assert 15 < context.metrics.value("mdns_conflicts_total") < 30
    assert all(not wire.parse(data).response for data, _ in protocol.transport.written)
    announcing.addErrback(lambda _: None)
    plugin.withdraw()
