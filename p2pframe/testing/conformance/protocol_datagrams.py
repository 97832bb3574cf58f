"""What a protocol of datagrams is put through: its receiver takes whatever comes, and nobody is flooded by it."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.interfaces import (
    BucketView,
    IAddressBook,
    ICountsMessages,
    IDatagramPort,
    IDatagramReceiver,
    IRoutingTables,
)
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.context import FakeReactor

_RECEIVER = "Called once at start where `datagrams` is True: what takes the datagrams of `port`."
_FORGED = "The source may be forged: treat it as unproven."
_RAISED = "An exception is logged with the plugin's name and counted; the datagram is lost."
_BUCKETS = "Every bucket of every table, table by table, by depth, at most a few hundred."
_ROOM = "A bucket has no more nodes than room, and its `last_changed` is not in the future."
_COUNTS = "What came in, as (messages, bytes) by type"
_AMPLIFICATION = 3
"""Bytes that a source that is not proven may cause for each of its own (RFC 9000, section 8.1)."""


def suite(bench: Bench) -> None:
    """Put a protocol of datagrams through it. Raises `NonConformance`."""
    said = bench.twice(lambda: _two_nodes(bench), "IDatagramReceiver")
    _bears_garbage(bench, [bytes.fromhex(data) for _, data in said])


@implementer(IDatagramPort)
class BenchPort:
    """An open socket: what is sent is kept."""

    def __init__(self, address: PeerAddress) -> None:
        self.address = address
        self.sent: list[tuple[bytes, PeerAddress]] = []

    def send(self, data: bytes, target: PeerAddress) -> None:
        """Keep it."""
        self.sent.append((data, target))


class _Node:
    """One protocol with its port."""

    def __init__(self, bench: Bench, reactor: FakeReactor, seed: int, address: str) -> None:
        self.bench = bench
        self.context = bench.context(seed, reactor)
        self.plugin = bench.build(self.context)
        self.port = BenchPort(PeerAddress(address, 18444))
        # In the order of core: the service starts, then the port is there.
        bench.start(self.plugin)
        self.taken = 0
        self.receiver: Any = bench.call("receiver", _RECEIVER, self.plugin.receiver, self.port)
        try:
            verifyObject(IDatagramReceiver, self.receiver)
        except Invalid as error:
            bench.require(False, "receiver", _RECEIVER, error)

    def take(self, data: bytes, source: PeerAddress) -> None:
        """A datagram comes."""
        self.taken += 1
        method = "IDatagramReceiver.datagram_received"
        self.bench.call(method, _RAISED, self.receiver.datagram_received, data, source)


def _two_nodes(bench: Bench) -> list[tuple[str, str]]:
    """Two nodes that know of each other, for five minutes; what was sent, to whom."""
    reactor = FakeReactor()
    nodes = [_Node(bench, reactor, seed, address) for seed, address in ((1, "192.0.2.1"), (2, "198.51.100.1"))]
    for node, other in zip(nodes, reversed(nodes), strict=True):
        book: Any = node.context.services[IAddressBook]
        book.add([FoundAddress(other.port.address)], "conformance")
    said: list[tuple[str, str]] = []
    for _ in range(300):
        reactor.advance(1.0)
        for _ in range(100):
            moving = [(node, *datagram) for node in nodes for datagram in node.port.sent]
            if not moving:
                break
            for node in nodes:
                node.port.sent.clear()
            for node, data, target in moving:
                good = isinstance(data, bytes) and isinstance(target, PeerAddress)
                bench.require(good, "IDatagramPort.send", "Send one datagram", f"it sent {data!r:.100} to {target!r}")
                said.append((str(target), data.hex()))
                for other in nodes:
                    if other.port.address == target:
                        other.take(data, node.port.address)
        else:
            bench.rule(False, "IDatagramReceiver", "two ends come to rest", "each answers the other's answer, for ever")
    for node in nodes:
        _tells_of_its_tables(bench, node)
        _counts_messages(bench, node)
        bench.stop(node.plugin)
    left = reactor.getDelayedCalls()
    bench.rule(not left, bench.cls.__name__, "nothing is timed before start and nothing after stop",
               f"after stop there are {[str(call) for call in left[:3]]}")  # fmt: skip
    return said


def _bears_garbage(bench: Bench, said: list[bytes]) -> None:
    rng = bench.random("garbage")
    reactor = FakeReactor()
    node = _Node(bench, reactor, 1, "192.0.2.1")
    datagrams = [b"", b"\0", b"\xff", bytes(1500), b"\xff" * 1500, b"d" * 1000, b"\n" * 50]
    datagrams += [rng.randbytes(rng.randrange(1500)) for _ in range(300)]
    for _ in range(500 if said else 0):
        changed = bytearray(rng.choice(said))
        for _ in range(rng.choice([0, 1, 2, 5])):
            if changed:
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        length = len(changed)
        datagrams.append(bytes(changed[: rng.choice([length, length, rng.randrange(length + 1)])]))
    for number, data in enumerate(datagrams):
        source = PeerAddress(f"203.0.{number // 250}.{number % 250}", 1 + rng.randrange(65_535))
        if number % 7 == 0:
            source = PeerAddress(f"2001:db8::{number:x}", 18444)
        node.port.sent.clear()
        node.take(data, source)
        answered = sum(len(reply) for reply, _ in node.port.sent)
        bench.require(
            answered <= _AMPLIFICATION * len(data), "IDatagramReceiver.datagram_received", _FORGED,
            f"{len(data)} bytes of a source that is not proven had {answered} sent",
        )  # fmt: skip
        if number % 50 == 0:
            reactor.advance(1.0)
    _tells_of_its_tables(bench, node)
    _counts_messages(bench, node)
    bench.stop(node.plugin)


def _tells_of_its_tables(bench: Bench, node: _Node) -> None:
    """`IRoutingTables`, where the protocol provides it."""
    if not IRoutingTables.providedBy(node.plugin):
        return
    method = "IRoutingTables.buckets"
    found = bench.call(method, _BUCKETS, node.plugin.buckets)
    good = all(isinstance(one, BucketView) for one in found)
    bench.require(good, method, _BUCKETS, f"{found!r:.200}")
    bench.require(len(found) <= 1000, method, _BUCKETS, f"it gave {len(found)}")
    places = [(one.table, one.depth) for one in found]
    bench.require(places == sorted(places), method, _BUCKETS, f"tables and depths are {places!r:.200}")
    for one in found:
        counts = (one.good, one.questionable, one.bad, one.replacements, one.depth)
        bench.require(
            min(counts) >= 0 and one.nodes <= one.room, method, _ROOM, f"it gave {one!r}"
        )
    now = node.context.unix_time()
    late = [one for one in found if not 0 <= one.last_changed <= now]
    bench.require(not late, method, _ROOM, f"at {now}: {late[:1]!r}")


def _counts_messages(bench: Bench, node: _Node) -> None:
    """`ICountsMessages`, where the receiver provides it."""
    if not ICountsMessages.providedBy(node.receiver):
        return
    method = "ICountsMessages.messages"
    found = dict(node.receiver.messages)
    good = all(
        isinstance(kind, str) and isinstance(messages, int) and isinstance(size, int) and messages >= 0 and size >= 0
        for kind, (messages, size) in found.items()
    )
    bench.require(good, method, _COUNTS, f"{found!r:.200}")
    bench.require(len(found) <= 100, method, "Of more than 100 types the rest is shown as `other`.", f"{len(found)}")
    counted = sum(messages for messages, _ in found.values())
    bench.require(counted <= node.taken, method, _COUNTS, f"{counted} of the {node.taken} datagrams that came in")
