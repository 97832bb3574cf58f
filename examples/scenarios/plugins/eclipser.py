"""An attacker with many addresses, who wants to be everyone whom its victims know (an eclipse).

    applications:
      - {plugin: eclipser, attackers: [attackers.example], victims: [victims.example]}

It speaks just enough Bitcoin to be a good peer, faster than honest ones, and does three things with it:

- it tells everyone it is connected to of the attackers' addresses, again and again, to fill their address books;
- it keeps connections open to each victim, from addresses of its own chosen at random, to fill the inbound slots: a
  victim that starts again hears from the attackers first;
- it waits on all of its addresses. Who dials is treated well: answered at once, told of blocks, given what it asks for.
  Transactions are never passed on; an attacker who has a victim for itself would choose the blocks, too.

The attackers' and the victims' addresses come from names (in a scenario, `names`) or stand in the config. Which of them
are this host's own it finds by trying to listen on them. A whole node would do the same at twenty times the cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IConnector, IHostResolution, IListeningPort, IResolutionReceiver
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import PluginError, UnreadableStream
from p2pframe.interfaces import IApplication, IContext
from p2pframe.model import PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, Size, plugin
from p2pframe.protocols.bitcoin.api import (
    CHAINS,
    MSG_BLOCK,
    MSG_WITNESS_BLOCK,
    NODE_NETWORK,
    NODE_WITNESS,
    Locator,
    NetworkAddress,
    V1Framing,
    Version,
    decode_headers,
    decode_inventory,
    decode_locator,
    encode_addr,
    encode_headers,
    encode_ids,
    encode_locator,
    encode_version,
    hash256,
    network_address,
)

VERSION = 70015
"""The last one before wtxidrelay: there is less to agree on."""
SERVICES = NODE_NETWORK | NODE_WITNESS
CONNECT_LIMIT = 5.0
TALK_EVERY = 10.0
"""Seconds between two times that every peer is told something."""
HEADERS = 2000
"""Headers in one message at most."""
TOLD_AT_ONCE = 1000
"""Addresses in one message at most."""


class EclipserConfig(PluginConfig):
    """Options of the `eclipser` application."""

    chain: Literal["mainnet", "testnet4", "signet", "regtest"] = Field("regtest", description="The chain attacked.")
    attackers: tuple[str, ...] = Field(description="Names or addresses of all attackers, this one's own too.")
    victims: tuple[str, ...] = Field((), description="Names or addresses of those whose inbound slots it fills.")
    inbound: int = Field(6, ge=0, le=1000, description="Connections that this host keeps open to each victim.")
    retry: Duration = Field(3.0, gt=0, description="How long a victim is left alone that was not reached.")
    patience: Duration = Field(30.0, gt=0, description="How long one is left alone that hung up: it has no room.")
    told: int = Field(100, ge=0, le=TOLD_AT_ONCE, description="Attackers' addresses that a peer is told at once.")
    tell_every: Duration = Field(600.0, gt=0, description="How often.")
    chatter: Size = Field(
        0, le=1_000_000, description="Bytes sent every ten seconds to each peer that dialled us: we look fast by them."
    )
    sessions: int = Field(10_000, ge=1, description="Connections at once at most.")
    blocks: int = Field(1000, ge=1, description="The latest blocks that are kept to give to peers.")


@plugin("eclipser", config=EclipserConfig)
@implementer(IApplication)
class Eclipser:
    """Surrounds its victims with peers that are all its own; for scenarios."""

    name = "eclipser"

    def __init__(self, config: EclipserConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.chain = CHAINS[config.chain]
        self.framing = V1Framing(self.chain.magic)
        self.own: list[str] = []
        """The attackers' addresses that are this host's."""
        self.everyone: list[str] = []
        self.peers: dict[_Peer, None] = {}
        self.headers = _Headers(self.chain.genesis_hash, self.chain.genesis_header)
        self.blocks: OrderedDict[bytes, bytes] = OrderedDict()
        self._told: list[NetworkAddress] = []
        self._victims: dict[str, int] = {}
        """How many connections there are to each victim, or dials."""
        self._not_before: dict[str, float] = {}
        self._ports: list[IListeningPort] = []
        self._loops = [LoopingCall(self._dial), LoopingCall(self._talk)]
        for loop in self._loops:
            loop.clock = context.reactor
        self._refused = context.metrics.counter("eclipser_refused_total", "Connections beyond `sessions`.")

    # --- start and stop ---

    def start(self) -> Deferred[None]:
        """Fails with `PluginError` where no address of `attackers` is this host's own."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self.everyone = await self._addresses(self.config.attackers)
        self._victims = dict.fromkeys(await self._addresses(self.config.victims), 0)
        self._not_before = dict.fromkeys(self._victims, 0.0)
        port = self.chain.default_port
        entries = [network_address(PeerAddress(host, port), SERVICES, 0) for host in self.everyone]
        self._told = [entry for entry in entries if entry is not None]
        listen = _Listen(self)
        for address in self.everyone:
            try:
                self._ports.append(self.context.reactor.listenTCP(port, listen, interface=address))
            except CannotListenError:
                continue
            self.own.append(address)
        if not self.own:
            raise PluginError(f"eclipser: can't listen on any of the {len(self.everyone)} addresses of `attackers`")
        for loop, interval in zip(self._loops, (1.0, TALK_EVERY), strict=True):
            loop.start(interval, now=False)

    def stop(self) -> None:
        """End everything."""
        for loop in self._loops:
            if loop.running:
                loop.stop()
        for port in self._ports:
            port.stopListening()
        for peer in list(self.peers):
            peer.hang_up()

    async def _addresses(self, names: Sequence[str]) -> list[str]:
        found: list[str] = []
        for name in names:
            resolution = _Resolution()
            self.context.resolver.resolveHostName(cast(IResolutionReceiver, resolution), name)
            found += await resolution.done
        return list(dict.fromkeys(found))

    # --- connections ---

    def opened(self, peer: _Peer) -> bool:
        """A connection is there. False: there are too many."""
        if len(self.peers) >= self.config.sessions:
            self._refused.add()
            return False
        self.peers[peer] = None
        return True

    def ended(self, victim: str, reached: bool) -> None:
        """A connection to a victim, or a dial, has ended."""
        wait = self.config.patience if reached else self.config.retry
        self._victims[victim] -= 1
        self._not_before[victim] = self.context.reactor.seconds() + wait

    def _talk(self) -> None:
        now = self.context.reactor.seconds()
        for peer in list(self.peers):
            peer.tick(now)

    def _dial(self) -> None:
        now = self.context.reactor.seconds()
        for victim, held in self._victims.items():
            for _ in range(self.config.inbound - held if now >= self._not_before[victim] else 0):
                self._victims[victim] += 1
                # From any of our addresses: a netgroup has only so many slots.
                self.context.reactor.connectTCP(
                    victim, self.chain.default_port, _Dial(self, victim), CONNECT_LIMIT,
                    (self.context.rng.choice(self.own), 0),
                )  # fmt: skip

    def some_addresses(self) -> bytes:
        """An addr message of attackers, seen just now."""
        rng, now = self.context.rng, int(self.context.unix_time())
        chosen = rng.sample(self._told, min(self.config.told, len(self._told)))
        return encode_addr([entry._replace(time=now) for entry in chosen])

    # --- the chain, as far as a peer has to know it ---

    def learnt(self, peer: _Peer, headers: Sequence[bytes]) -> None:
        """Headers from a peer: what is new in them is asked for."""
        new = self.headers.add(headers)
        if new:
            peer.say("getdata", encode_ids(MSG_WITNESS_BLOCK, new))

    def took(self, raw: bytes) -> None:
        """A block from a peer: everyone hears of it from us."""
        hash = hash256(raw[:80])
        if hash in self.blocks:
            return
        self.blocks[hash] = raw
        while len(self.blocks) > self.config.blocks:
            self.blocks.popitem(last=False)
        for peer in list(self.peers):
            peer.say("inv", encode_ids(MSG_BLOCK, [hash]))


class _Headers:
    """The longest chain of headers that peers showed, unchecked: they are honest."""

    def __init__(self, genesis: bytes, header: bytes) -> None:
        self._chain = [genesis]
        self._header = {genesis: header}
        self._height = {genesis: 0}

    @property
    def tip(self) -> bytes:
        return self._chain[-1]

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._height

    def add(self, headers: Sequence[bytes]) -> list[bytes]:
        """The hashes of those that are new and make our chain longer."""
        hashes = [hash256(header) for header in headers]
        above = self._height.get(headers[0][4:36]) if headers else None
        if above is None or above + len(hashes) < len(self._chain):
            return []
        new = [hash for hash in hashes if hash not in self._header]
        for hash in self._chain[above + 1 :]:
            del self._height[hash]
        self._chain[above + 1 :] = hashes
        for number, hash in enumerate(hashes, above + 1):
            self._height[hash] = number
            self._header[hash] = headers[number - above - 1]
        return new

    def after(self, hashes: Sequence[bytes]) -> list[bytes]:
        """The headers behind the first of these hashes that is on the chain."""
        at = next((self._height[hash] for hash in hashes if hash in self._height), 0)
        return [self._header[hash] for hash in self._chain[at + 1 : at + 1 + HEADERS]]


class _Peer(Protocol):
    """One connection; `victim` is whom we dialled, empty for who dialled us."""

    def __init__(self, by: Eclipser, victim: str = "") -> None:
        self._by = by
        self._victim = victim
        self._buffer = b""
        self._open = False
        self._tell_at = 0.0

    def connectionMade(self) -> None:
        """See IProtocol: who dials speaks first."""
        if not self._by.opened(self):
            self.hang_up()
        elif self._victim:
            self._say_version()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._open = False
        self._by.peers.pop(self, None)
        if self._victim:
            self._by.ended(self._victim, reached=True)

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol. Other ends are honest nodes: a message is no longer than theirs are."""
        buffer, at, framing = self._buffer + data, 0, self._by.framing
        try:
            while len(buffer) - at >= framing.header_size:
                command, length, _ = framing.header(buffer, at)
                start = at + framing.header_size
                if len(buffer) - start < length:
                    break
                at = start + length
                handler = HANDLERS.get(command.rstrip(b"\0").decode("latin-1"))
                if handler is not None:
                    handler(self, buffer[start:at])
        except UnreadableStream:
            self.hang_up()
        self._buffer = buffer[at:]

    def hang_up(self) -> None:
        """End it."""
        if self.transport is not None:
            self.transport.loseConnection()

    def say(self, kind: str, payload: bytes = b"") -> None:
        """Send a message, once the handshake is over."""
        if self._open:
            self._send(kind, payload)

    def tick(self, now: float) -> None:
        """Called every `TALK_EVERY` seconds."""
        if not self._open:
            return
        if now >= self._tell_at and self._by.config.told:
            self._tell_at = now + self._by.config.tell_every
            self.say("addr", self._by.some_addresses())
        if self._by.config.chatter and not self._victim:
            self.say("chatter", bytes(self._by.config.chatter))

    def _send(self, kind: str, payload: bytes) -> None:
        if self.transport is not None:
            self.transport.write(self._by.framing.frame(kind, payload))

    def _say_version(self) -> None:
        context = self._by.context
        nonce = context.entropy.integer(64)
        self._send("version", encode_version(Version(VERSION, SERVICES, int(context.unix_time()), nonce=nonce)))

    # --- what the other end says ---

    def on_version(self, payload: bytes) -> None:
        if not self._victim:
            self._say_version()
        self._send("verack", b"")

    def on_verack(self, payload: bytes) -> None:
        self._open = True
        self._ask_headers()

    def on_ping(self, payload: bytes) -> None:
        self._send("pong", payload)

    def on_getaddr(self, payload: bytes) -> None:
        self.say("addr", self._by.some_addresses())

    def on_getheaders(self, payload: bytes) -> None:
        self.say("headers", encode_headers(self._by.headers.after(decode_locator(payload).hashes)))

    def on_headers(self, payload: bytes) -> None:
        self._by.learnt(self, decode_headers(payload))

    def on_inv(self, payload: bytes) -> None:
        if any(hash not in self._by.headers for hash in decode_inventory(payload).get(MSG_BLOCK, ())):
            self._ask_headers()

    def on_getdata(self, payload: bytes) -> None:
        for hash in decode_inventory(payload, "getdata").get(MSG_WITNESS_BLOCK, ()):
            if hash in self._by.blocks:
                self.say("block", self._by.blocks[hash])

    def on_block(self, payload: bytes) -> None:
        self._by.took(payload)

    def _ask_headers(self) -> None:
        self.say("getheaders", encode_locator(Locator(VERSION, [self._by.headers.tip, self._by.chain.genesis_hash])))


HANDLERS: Mapping[str, Callable[[_Peer, bytes], None]] = {
    "version": _Peer.on_version,
    "verack": _Peer.on_verack,
    "ping": _Peer.on_ping,
    "getaddr": _Peer.on_getaddr,
    "getheaders": _Peer.on_getheaders,
    "headers": _Peer.on_headers,
    "inv": _Peer.on_inv,
    "getdata": _Peer.on_getdata,
    "block": _Peer.on_block,
}


class _Listen(ServerFactory):
    """Takes whoever dials us."""

    noisy = False

    def __init__(self, by: Eclipser) -> None:
        self._by = by

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """See IProtocolFactory."""
        return _Peer(self._by)


class _Dial(ClientFactory):
    """One dial to a victim."""

    noisy = False

    def __init__(self, by: Eclipser, victim: str) -> None:
        self._by = by
        self._victim = victim

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """See IProtocolFactory."""
        return _Peer(self._by, self._victim)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """It is down, or refuses us: the next round tries again."""
        self._by.ended(self._victim, reached=False)


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
