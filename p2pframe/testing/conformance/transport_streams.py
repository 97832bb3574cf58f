"""What a transport of streams is put through: dialled and listening ends on two hosts, over good links and bad ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from p2pframe.errors import HandshakeFailed
from p2pframe.interfaces import Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.unix_sockets import Paths

_DIAL = "Called for each dial: an endpoint that connects to `address`, on `context.reactor`."
_CAN_DIAL = "Called by the dialer: whether `dial` would know what to do with this kind of address. Never raises."
_LISTEN = "Called once at start: where to listen, from the config. Empty where the network only dials."
_PROVE = "Called for each connection, either way, when its wire is up: who is at the other end."
_FAILS = "A Deferred fails with `HandshakeFailed` where the other end is not accepted"
_WHO = "a transport that proves ids fails `prove` for anyone else"
_LIMIT = "The endpoint's own time limit is core's (`limits.connect_timeout`), by cancelling its Deferred."
_ITSELF = "It opens no connection itself: core connects the endpoints."
_BYTES = "How byte streams travel"
_ALICE, _BOB = "192.0.2.1", "198.51.100.1"
_LISTENING = f"{_BOB}:18444"
_ADDRESSES = (
    PeerAddress("198.51.100.7", 8333), PeerAddress("2001:db8::7", 8333), PeerAddress("peer.example", 8333, "name"),
    PeerAddress("expyuzz4wqqyqhjn.onion", 8333, "onion"), PeerAddress("abc.i2p", 0, "i2p"), PeerAddress("0.0.0.0", 0),
    PeerAddress("name.unix", 1, "name"), PeerAddress("::1", 65535), PeerAddress("../../x.unix", 1, "name"),
    PeerAddress("unknown", 0, "name"), PeerAddress("xn--bcher-kva.example", 1, "name"),
)  # fmt: skip
_LINKS: Mapping[str, LinkConfig] = {
    "good links": LinkConfig(segment=False),
    "links that split and lose": LinkConfig.model_validate(
        {"latency": "30ms", "jitter": {"uniform": {"low": 0, "high": "40ms"}}, "segment": True, "loss": 0.02}
    ),
}


def suite(bench: Bench) -> None:
    """Put a transport of streams through it. Raises `NonConformance`."""
    _opens_nothing_itself(bench)
    alike = bench.option("deterministic", True)
    for name in _LINKS:
        if alike:
            bench.twice(partial(_talk, bench, name), f"ITransport, over {name}")
        else:
            _talk(bench, name)
    _ends_connections(bench)
    _fails_to_reach_nobody(bench)
    _proves_who_is_there(bench)
    _bears_strangers(bench)


class End(Protocol):
    """One end of a connection, as core's sessions are: proof first, then bytes."""

    def __init__(self, world: _World, plugin: Any) -> None:
        self.world = world
        self.plugin = plugin
        self.received = bytearray()
        self.proved: TransportInfo | None = None
        self.refused: BaseException | None = None
        self.proving: Deferred[TransportInfo] | None = None
        self.lost = 0
        self.given_up = False

    def __repr__(self) -> str:
        return repr(self.proved or self.refused)

    def connectionMade(self) -> None:
        """The wire is up: ask who is there."""
        bench = self.world.bench
        try:
            answer = bench.call("prove", _PROVE, self.plugin.prove, self.transport, allowed=(HandshakeFailed,))
        except HandshakeFailed as error:
            self._not_proved(Failure(error))
            return
        if isinstance(answer, Deferred):
            self.proving = answer
            answer.addCallbacks(self._proved, self._not_proved)
        else:
            self._proved(answer)

    def _proved(self, info: object) -> None:
        bench = self.world.bench
        self.proving = None
        if not isinstance(info, TransportInfo):
            self.world.wrong.append(("prove", _PROVE, f"it answered {info!r}, no TransportInfo"))
            return
        bench.note(info.encryption)
        self.proved = info

    def _not_proved(self, failure: Failure) -> None:
        self.proving = None
        self.refused = failure.value
        if failure.check(HandshakeFailed) is None and not (self.given_up and failure.check(CancelledError)):
            self.world.wrong.append(("prove", _FAILS, f"its Deferred fails with {failure.value!r}"))
        cast(Any, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes."""
        if self.lost:
            self.world.wrong.append(("", _BYTES, "bytes came after the connection was lost"))
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The wire is gone."""
        self.lost += 1
        if self.lost > 1:
            self.world.wrong.append(("", _BYTES, "connectionLost was called twice"))


class Ends(Factory):
    """Makes the ends of one transport; `turn_away` builds nothing, as core does with those it does not want."""

    noisy = False

    def __init__(self, world: _World, plugin: Any) -> None:
        self.world = world
        self.plugin = plugin
        self.built: list[End] = []
        self.turn_away = False

    def buildProtocol(self, addr: object) -> End | None:
        """One more, or none."""
        if self.turn_away:
            return None
        end = End(self.world, self.plugin)
        self.built.append(end)
        return end


class _World:
    """Bob, who listens, and alice, who dials him."""

    def __init__(self, bench: Bench, links: str = "good links") -> None:
        self.bench = bench
        self.simulation = Simulation(seed=7, links=Links(LinksConfig(default=_LINKS[links]), 7))
        self.paths = Paths()
        self.wrong: list[tuple[str, str, str]] = []
        """What was seen where no exception would come through."""
        self.hosts = [self.simulation.host(address, name=address) for address in (_ALICE, _BOB)]
        self.incarnations = [host.boot() for host in self.hosts]
        self.contexts = [
            bench.context(seed, self.paths.reactor(incarnation.reactor, host.addresses[0]))
            for seed, (host, incarnation) in enumerate(zip(self.hosts, self.incarnations, strict=True), 1)
        ]
        bobs: Mapping[str, object] = bench.option("listen", {"listen": [_LISTENING]})
        alices: Mapping[str, object] = bench.option("silent", {"listen": []})
        self.alice = bench.build(self.contexts[0], **alices)
        self.bob = bench.build(self.contexts[1], **bobs)
        self.ends = Ends(self, self.bob)
        self.ports: list[Any] = []

    @property
    def address(self) -> PeerAddress:
        """Where bob is dialled."""
        return PeerAddress.parse(self.bench.option("address", _LISTENING))

    def listeners(self, plugin: Any) -> Sequence[Listener]:
        """What a transport says where it listens."""
        found = self.bench.call("listeners", _LISTEN, plugin.listeners)
        for listener in found:
            good = isinstance(listener, Listener) and IStreamServerEndpoint.providedBy(listener.endpoint)
            self.bench.require(good and listener.text, "listeners", _LISTEN, f"there is {listener!r}")
        return cast(Sequence[Listener], found)

    def listen(self) -> None:
        """Bob opens his ports."""
        found = self.listeners(self.bob)
        self.bench.require(found, "listeners", _LISTEN, "the config names a place, and there is no listener")
        for listener in found:
            self.ports.append(self.wait(listener.endpoint.listen(cast(Any, self.ends)), "listeners", _LISTEN))

    def dial(self, peer_id: PeerId | None = None, to: PeerAddress | None = None) -> Deferred[Any]:
        """Alice dials; the Deferred fires with her end."""
        endpoint = self.bench.call("dial", _DIAL, self.alice.dial, to or self.address, peer_id)
        good = IStreamClientEndpoint.providedBy(endpoint)
        self.bench.require(good, "dial", _DIAL, f"it gave {endpoint!r}, no IStreamClientEndpoint")
        connecting: Deferred[Any] = endpoint.connect(cast(Any, Ends(self, self.alice)))
        return connecting

    def pair(self, peer_id: PeerId | None = None) -> tuple[End, End]:
        """A connection between alice and bob, proved at both ends."""
        before = len(self.ends.built)
        mine: End = self.wait(self.dial(peer_id), "dial", _DIAL)
        self.until(lambda: len(self.ends.built) > before, "dial", _DIAL, "nobody was connected to")
        theirs = self.ends.built[before]
        self.until(lambda: mine.proved and theirs.proved, "prove", _PROVE, lambda: f"proved are {mine} and {theirs}")
        return mine, theirs

    def wait(self, deferred: Deferred[Any], method: str, sentence: str) -> Any:
        """What a Deferred fires with; a failure breaks the sentence."""
        results: list[Any] = []
        failures: list[Any] = []
        deferred.addCallbacks(results.append, failures.append)
        self.until(lambda: results or failures, method, sentence, "its Deferred has not fired")
        self.bench.require(not failures, method, sentence, lambda: failures[0].getTraceback())
        return results[0]

    def until(
        self, condition: Callable[[], object], method: str, sentence: str, evidence: object, limit: float = 120.0
    ) -> None:
        """Let time pass until it is so; a sentence is broken where it never is."""
        try:
            self.simulation.run_until(lambda: condition() or self.wrong, limit)
        except AssertionError:
            self.bench.require(False, method, sentence, evidence)
        self.judge()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.simulation.run(seconds)
        self.judge()

    def judge(self) -> None:
        """Raise what was seen in a callback."""
        for method, sentence, evidence in self.wrong:
            self.bench.require(False, method, sentence, evidence)

    def end(self) -> None:
        """Close the ports and look for what is left."""
        for port in self.ports:
            port.stopListening()
        self.run(100.0)
        for who, incarnation in zip(("the one who dialled", "the one who listened"), self.incarnations, strict=True):
            left = list(incarnation.reactor.getDelayedCalls())
            self.bench.rule(not left, self.bench.cls.__name__, "nothing is timed once every connection has ended",
                            f"{who} has {[str(call) for call in left[:3]]}")  # fmt: skip
            self.bench.rule(not incarnation.wires, self.bench.cls.__name__, "no connection is left open",
                            f"{who} has {len(incarnation.wires)}")  # fmt: skip
            self.bench.rule(not incarnation.ports, self.bench.cls.__name__, "a port that was stopped is free again",
                            f"{who} has {list(incarnation.ports)}")  # fmt: skip


def _opens_nothing_itself(bench: Bench) -> None:
    world = _World(bench)
    bench.require(not world.listeners(world.alice), "listeners", _LISTEN, "the config names none, and it has some")
    for address in (world.address, *_ADDRESSES):
        can = bench.call("can_dial", _CAN_DIAL, world.alice.can_dial, address)
        bench.require(isinstance(can, bool), "can_dial", _CAN_DIAL, f"for {address} it answers {can!r}")
        bench.note(str(address), can)
        if can:
            endpoint = bench.call("dial", _DIAL, world.alice.dial, address, None)
            bench.require(IStreamClientEndpoint.providedBy(endpoint), "dial", _DIAL, f"for {address}: {endpoint!r}")
    bench.require(world.alice.can_dial(world.address), "can_dial", _CAN_DIAL, f"it can't dial {world.address}")
    world.listeners(world.bob)
    world.run(5.0)
    opened = [(list(each.wires), list(each.ports)) for each in world.incarnations]
    bench.require(opened == [([], []), ([], [])], "", _ITSELF, f"after dial and listeners there are {opened}")


def _talk(bench: Bench, links: str) -> object:
    """Three connections at once, bytes of all lengths both ways, an orderly end; what the network saw."""
    world = _World(bench, links)
    world.listen()
    pairs = [world.pair() for _ in range(3)]
    rng = bench.random("talk", links)
    sent: dict[int, bytearray] = {id(end): bytearray() for pair in pairs for end in pair}
    for length in (1, 2, 100, 1460, 16_384, 70_000, 400_000):
        for pair in pairs:
            for end in pair:
                data = rng.randbytes(length)
                sent[id(end)] += data
                for at in range(0, length, 30_000):
                    cast(Any, end.transport).write(data[at : at + 30_000])
        world.run(rng.choice([0.0, 0.01, 1.0]))
    # A reader that rests, as sessions do.
    cast(Any, pairs[0][1].transport).pauseProducing()
    cast(Any, pairs[0][0].transport).write(b"x" * 1000)
    sent[id(pairs[0][0])] += b"x" * 1000
    world.run(30.0)
    cast(Any, pairs[0][1].transport).resumeProducing()
    for one, other in pairs:
        cast(Any, one.transport).write(b"the last")
        sent[id(one)] += b"the last"
        cast(Any, one.transport).loseConnection()
        world.until(partial(_both_lost, one, other), "", _BYTES, "a closed connection does not end")
    for one, other in pairs:
        for writer, reader in ((one, other), (other, one)):
            wanted, got = bytes(sent[id(writer)]), bytes(reader.received)
            seen = f"over {links} {len(wanted)} bytes were written and {len(got)} came, not all of them equal"
            bench.require(got == wanted, "", _BYTES, seen)
    world.end()
    return world.simulation.finish()


def _both_lost(one: End, other: End) -> bool:
    return bool(one.lost and other.lost)


def _ends_connections(bench: Bench) -> None:
    world = _World(bench)
    world.listen()
    for abort in (False, True):
        for which in (0, 1):
            pair = world.pair()
            wire = cast(Any, pair[which].transport)
            (wire.abortConnection if abort else wire.loseConnection)()
            world.until(
                partial(_both_lost, *pair), "", _BYTES, f"the ends have not both heard of the end (abort is {abort})"
            )
    # Whoever is over the limits is turned away by a factory that builds nothing.
    world.ends.turn_away = True
    results: list[Any] = []
    world.dial().addBoth(results.append)
    world.until(lambda: results and (isinstance(results[0], Failure) or results[0].lost), "listeners", _LISTEN,
                "a factory that builds no protocol does not end the connection")  # fmt: skip
    world.ends.turn_away = False
    one, _ = world.pair()
    cast(Any, one.transport).loseConnection()
    world.run(10.0)
    # A busy place is an error of `listen`, and the place is free when its port is stopped.
    second = bench.build(world.contexts[1], **bench.option("listen", {"listen": [_LISTENING]}))
    outcome: list[object] = []
    try:
        world.listeners(second)[0].endpoint.listen(cast(Any, Ends(world, second))).addBoth(outcome.append)
        world.run(1.0)
    except Exception as error:  # noqa: BLE001 - to fail is what is asked for, in whatever way
        outcome.append(Failure(error))
    bench.require(outcome and isinstance(outcome[0], Failure), "listeners", _LISTEN, "a busy place was bound again")
    world.end()
    world.ports.clear()
    world.listen()
    world.end()


def _fails_to_reach_nobody(bench: Bench) -> None:
    world = _World(bench)
    refused: list[Any] = []
    world.dial().addBoth(refused.append)
    world.until(lambda: refused, "dial", _DIAL, "nobody listens there, and its Deferred does not fail", limit=700.0)
    bench.require(isinstance(refused[0], Failure), "dial", _DIAL, "nobody listens there, and it says it has connected")
    nobody = PeerAddress.parse(bench.option("nobody", "203.0.113.9:18444"))
    outcome: list[Any] = []
    connecting = world.dial(to=nobody)
    connecting.addBoth(outcome.append)
    world.run(5.0)
    connecting.cancel()
    world.run(0.0)
    bench.require(outcome and isinstance(outcome[0], Failure), "dial", _LIMIT, f"cancelled, it gave {outcome}")
    world.end()
    # Cancelled in the very middle of connecting.
    world = _World(bench)
    world.listen()
    outcome = []
    connecting = world.dial()
    connecting.addBoth(outcome.append)
    world.run(0.01)
    if not outcome:
        connecting.cancel()
        world.run(10.0)
        bench.require(outcome and isinstance(outcome[0], Failure), "dial", _LIMIT, f"cancelled, it gave {outcome}")
        for end in world.ends.built:
            if not end.lost:
                cast(Any, end.transport).loseConnection()
        world.end()


def _proves_who_is_there(bench: Bench) -> None:
    world = _World(bench)
    world.listen()
    mine, theirs = world.pair()
    assert mine.proved is not None
    assert theirs.proved is not None
    proved = mine.proved.peer_id
    bench.require(
        proved is None or (isinstance(proved, bytes) and proved != theirs.proved.peer_id), "prove", _PROVE,
        f"two hosts have the peer ids {proved!r} and {theirs.proved.peer_id!r}",
    )  # fmt: skip
    again, _ = world.pair(proved)
    assert again.proved is not None
    bench.require(again.proved.peer_id == proved, "prove", _PROVE, "the same host has another peer id next time")
    other = PeerId(bytes(32))
    if proved is None:
        third, _ = world.pair(other)  # an upgrade or the protocol will look who it is
        ends = [mine, again, third]
    else:
        refused: list[Any] = []
        world.dial(other).addBoth(refused.append)
        world.until(
            lambda: refused and (isinstance(refused[0], Failure) or refused[0].refused or refused[0].proved),
            "dial", _WHO, "nothing has come of it",
        )  # fmt: skip
        accepted = not isinstance(refused[0], Failure) and refused[0].proved
        bench.require(not accepted, "dial", _WHO, f"{proved.hex()} answered where {other.hex()} was expected")
        ends = [mine, again]
    for end in ends:
        cast(Any, end.transport).loseConnection()
    world.run(20.0)
    for end in world.ends.built:
        if not end.lost:
            cast(Any, end.transport).abortConnection()
    world.end()


class _Stranger(Protocol):
    """Somebody at the port who speaks no protocol of ours."""

    def __init__(self, says: bytes, hangs_up: bool) -> None:
        self.says = says
        self.hangs_up = hangs_up
        self.lost = False

    def connectionMade(self) -> None:
        """Say it."""
        cast(Any, self.transport).write(self.says)
        if self.hangs_up:
            cast(Any, self.transport).loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone."""
        self.lost = True


def _bears_strangers(bench: Bench) -> None:
    rng = bench.random("strangers")
    for says, hangs_up in ((b"", True), (b"", False), (rng.randbytes(5000), False), (b"GET / HTTP/1.0\r\n\r\n", True),
                           (b"\x16\x03\x01\xff\xff" + bytes(70_000), False)):  # fmt: skip
        world = _World(bench)
        world.listen()
        bound = world.ports[0].getHost()
        world.incarnations[0].reactor.connectTCP(_BOB, bound.port, cast(Any, _Once(_Stranger(says, hangs_up))))
        world.run(20.0)
        for end in world.ends.built:
            waiting = end.proving
            if waiting is not None:
                end.given_up = True
                waiting.cancel()
                world.run(1.0)
                bench.require(end.proving is None, "prove", _FAILS, "given up by core, its Deferred does not fail")
            if not end.lost:
                cast(Any, end.transport).abortConnection()
        world.run(5.0)
        good, _ = world.pair()
        cast(Any, good.transport).loseConnection()
        world.run(20.0)
        world.end()


class _Once:
    """A factory for connectTCP, as endpoints make them."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def startedConnecting(self, connector: object) -> None:
        """See IClientFactory."""

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """See IClientFactory: the port that was bound is there."""

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        """See IClientFactory."""

    def buildProtocol(self, addr: Any) -> Any:
        """See IProtocolFactory."""
        return self._protocol
