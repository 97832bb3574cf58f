"""An attacker of a DHT who is everybody near one key (a Sybil attack), so that what is stored there is stored with it.

    applications:
      - {plugin: sybil, topic: the-topic, attackers: [attackers.example], starts: [seed.example]}

Each of its addresses is a node of the BitTorrent DHT (BEP 5) with an id of its own that is nearer to the infohash of
`topic` than any honest one could hope to be. These nodes

- look for the honest nodes nearest to the infohash, and ask them for it again and again: who is asked pings back, and
  takes whoever answers into its table;
- answer everything at once, and tell of one another only: a lookup that has met one of them ends among them;
- take every announcement, and never tell of it: who looks for the topic finds nobody.

With `ids: bound` they keep to BEP 42: the first 21 bits of an id then follow from the address and three bits that are
free to choose, so that each address has the nearest of eight ids. That is the best that an attacker can do to nodes
that hold everybody to it.

The attackers' addresses come from names (in a scenario, `names`) or stand in the config. Which of them are this host's
own it finds by trying to bind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Literal, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IHostResolution, IListeningPort, IResolutionReceiver
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from p2pframe.errors import PluginError
from p2pframe.interfaces import IApplication, IContext
from p2pframe.plugin import Duration, Field, PluginConfig, plugin
from p2pframe.protocols.mainline.api import BencodeError, Value, decode, encode, infohash

Where = tuple[str, int]
"""An IPv4 address and a port."""

COMPACT = 26
"""Bytes of a node in `nodes`: id (20), IPv4 address (4), port (2)."""
K = 8
"""Nodes in one answer."""
SHARED = 60
"""Leading bits that the ids have in common with the infohash: of a million honest nodes the nearest shares 20."""
LARGEST = 1500
"""Bytes of a datagram."""
UNKNOWN_METHOD: list[Value] = [204, b"Method Unknown"]
POLYNOMIAL = 0x82F63B78
"""Castagnoli's, with its bits reversed."""


class SybilConfig(PluginConfig):
    """Options of the `sybil` application."""

    topic: str = Field(description="Whose key is attacked: a name, or 40 hex digits of an infohash.")
    attackers: tuple[str, ...] = Field(min_length=1, description="Names or addresses of all attackers, ours too.")
    starts: tuple[str, ...] = Field(min_length=1, description="Names or addresses of honest nodes to begin with.")
    port: int = Field(6881, ge=1, le=65_535, description="The port of everybody.")
    ids: Literal["near", "bound"] = Field("near", description="near: any; bound: such as fit the address (BEP 42).")
    every: Duration = Field(5.0, gt=0, description="How often each of our nodes asks an honest one.")
    known: int = Field(200, ge=K, le=100_000, description="Honest nodes that are remembered, the nearest ones.")


@plugin("sybil", config=SybilConfig)
@implementer(IApplication)
class Sybil:
    """Surrounds one key of a DHT with nodes that are all its own; for scenarios."""

    name = "sybil"

    def __init__(self, config: SybilConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.key = infohash(config.topic)
        self.target = int.from_bytes(self.key, "big")
        self.nodes = b""
        """What every answer tells of: the attackers' nodes that are nearest to the key."""
        self.asked = context.metrics.counter("sybil_queries_total", "Queries that came to us, by method.", ("method",))
        self._own: list[_Node] = []
        self._everyone: dict[Where, int] = {}
        """All attackers' nodes, and their ids."""
        self._honest: dict[Where, int] = {}
        """The honest ones nearest to the key that are known, nearest first."""
        self._starts: list[Where] = []
        self._ports: list[IListeningPort] = []
        self._loop = LoopingCall(self._ask)
        self._loop.clock = context.reactor

    # --- start and stop ---

    def start(self) -> Deferred[None]:
        """Fails with `PluginError` where no address of `attackers` is this host's own."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        port = self.config.port
        for host in await self._addresses(self.config.attackers):
            # The same at each of the attackers' hosts: nothing has to be agreed upon.
            self._everyone[host, port] = (
                bound_id(self.target, host) if self.config.ids == "bound" else near_id(self.target, host)
            )
        self._starts = [(host, port) for host in await self._addresses(self.config.starts)]
        nearest = sorted(self._everyone, key=lambda where: self._everyone[where] ^ self.target)
        self.nodes = b"".join(packed(self._everyone[where], where) for where in nearest[:K])
        for where, identity in self._everyone.items():
            node = _Node(self, identity.to_bytes(20, "big"))
            try:
                self._ports.append(self.context.reactor.listenUDP(port, node, where[0], LARGEST))
            except CannotListenError:
                continue
            self._own.append(node)
        if not self._own:
            raise PluginError(f"sybil: can't bind any of the {len(self._everyone)} addresses of `attackers`")
        self._loop.start(self.config.every / len(self._own), now=False)

    def stop(self) -> None:
        """End everything."""
        if self._loop.running:
            self._loop.stop()
        for port in self._ports:
            port.stopListening()

    async def _addresses(self, names: Sequence[str]) -> list[str]:
        found: list[str] = []
        for name in names:
            resolution = _Resolution()
            self.context.resolver.resolveHostName(cast(IResolutionReceiver, resolution), name)
            found += await resolution.done
        return list(dict.fromkeys(found))

    # --- getting known ---

    def _ask(self) -> None:
        """One of our nodes asks one honest node for the key: most often one of those nearest to it."""
        rng = self.context.rng
        honest = list(self._honest) or self._starts
        if not honest:
            return
        # The nearest ones first: they are who tells of the key's neighbourhood.
        target = honest[min(int(rng.expovariate(3.0 / len(honest))), len(honest) - 1)]
        rng.choice(self._own).ask(target)

    def learnt(self, nodes: bytes) -> None:
        """An honest node has told of these."""
        for at in range(0, len(nodes) - COMPACT + 1, COMPACT):
            where = (str(IPv4Address(nodes[at + 20 : at + 24])), int.from_bytes(nodes[at + 24 : at + 26], "big"))
            if where not in self._everyone and where[1]:
                self._honest[where] = int.from_bytes(nodes[at : at + 20], "big")
        nearest = sorted(self._honest, key=lambda where: self._honest[where] ^ self.target)
        self._honest = {where: self._honest[where] for where in nearest[: self.config.known]}


class _Node(DatagramProtocol):
    """One node of ours: one address and id."""

    noisy = False

    def __init__(self, by: Sybil, identity: bytes) -> None:
        self._by = by
        self._id = identity

    def ask(self, target: Where) -> None:
        """Ask for the key: whoever is asked may take us into its table."""
        transaction = self._by.context.rng.randbytes(2)
        arguments: dict[bytes, Value] = {b"id": self._id, b"target": self._by.key}
        self._send({b"t": transaction, b"y": b"q", b"q": b"find_node", b"a": arguments}, target)

    def datagramReceived(self, datagram: bytes, addr: Where) -> None:
        """See `DatagramProtocol`."""
        try:
            message = decode(datagram)
        except BencodeError:
            return
        if not isinstance(message, dict):
            return
        if message.get(b"y") == b"q":
            self._answer(message, addr)
        elif isinstance(reply := message.get(b"r"), dict) and isinstance(nodes := reply.get(b"nodes"), bytes):
            self._by.learnt(nodes)

    def _answer(self, message: dict[bytes, Value], source: Where) -> None:
        transaction, method = message.get(b"t"), message.get(b"q")
        if not isinstance(transaction, bytes) or not isinstance(method, bytes):
            return
        reply: dict[bytes, Value] = {b"id": self._id}
        if method in (b"find_node", b"get_peers", b"get"):
            reply[b"nodes"] = self._by.nodes
            if method != b"find_node":
                reply[b"token"] = b"any"
        elif method not in (b"ping", b"announce_peer", b"put"):
            self._by.asked.add(1, "other")
            self._send({b"t": transaction, b"y": b"e", b"e": UNKNOWN_METHOD}, source)
            return
        self._by.asked.add(1, method.decode())
        self._send({b"t": transaction, b"y": b"r", b"r": reply}, source)

    def _send(self, message: dict[bytes, Value], target: Where) -> None:
        if self.transport is not None:
            self.transport.write(encode(message), target)


def packed(identity: int, where: Where) -> bytes:
    """A node in its compact form (BEP 5)."""
    return identity.to_bytes(20, "big") + IPv4Address(where[0]).packed + where[1].to_bytes(2, "big")


def near_id(target: int, host: str) -> int:
    """An id that shares its first 60 bits with a target; the rest is an address's own."""
    rest = 160 - SHARED
    return target >> rest << rest | int(IPv4Address(host)) << rest - 32 | target & (1 << rest - 32) - 1


def bound_id(target: int, host: str) -> int:
    """Of the ids that fit an IPv4 address (BEP 42), the one that is nearest to a target."""
    address = int(IPv4Address(host)) & 0x030F3FFF
    # The last byte tells which three bits were chosen; what lies between is free.
    return min(
        (
            crc32c((address | chosen << 29).to_bytes(4, "big")) >> 11 << 139 | target & (1 << 139) - 1 & ~0xFF | chosen
            for chosen in range(8)
        ),
        key=lambda identity: identity ^ target,
    )


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@implementer(IResolutionReceiver)
class _Resolution:
    """Gathers the addresses of a name; `done` fires with them."""

    def __init__(self) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See IResolutionReceiver."""

    def addressResolved(self, address: IAddress) -> None:
        """See IResolutionReceiver."""
        self._found.append(getattr(address, "host", ""))

    def resolutionComplete(self) -> None:
        """See IResolutionReceiver."""
        self.done.callback(self._found)
