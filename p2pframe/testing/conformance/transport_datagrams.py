"""What a transport of datagrams is put through: two hosts that send to each other, and what the system refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.errors import StartError
from p2pframe.interfaces import IDatagramPort, IDatagramReceiver
from p2pframe.model import PeerAddress
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.context import FakeContext

_OPEN = "Called once at start: bind, and deliver what arrives to `receiver`."
_BUSY = "Fails with `StartError` on a busy port."
_CLOSE = "Called once at stop: close the socket; nothing is delivered afterwards."
_SEND = "Send one datagram; what the system refuses is counted and lost, as the network would lose it."
_RECEIVED = "Called for each datagram that the gate let through."
_BOUND = "Where it is bound."
_ALICE, _BOB = "192.0.2.1", "198.51.100.1"
_PORT = 18444
_ODD = (
    PeerAddress("2001:db8::9", 18444), PeerAddress("peer.example", 18444, "name"), PeerAddress(_BOB, 0),
    PeerAddress("expyuzz4wqqyqhjn.onion", 1, "onion"), PeerAddress("255.255.255.255", 18444),
)  # fmt: skip


def suite(bench: Bench) -> None:
    """Put a transport of datagrams through it. Raises `NonConformance`."""
    bench.twice(lambda: _talk(bench), "IDatagramTransport")
    _counts_what_is_refused(bench)
    _closes(bench)
    _says_that_a_port_is_busy(bench)


@implementer(IDatagramReceiver)
class Receiver:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, PeerAddress]] = []

    def datagram_received(self, data: bytes, source: PeerAddress) -> None:
        """Keep it."""
        self.got.append((data, source))

    def awaited(self, data: bytes, source: PeerAddress) -> bool:
        """Nothing is."""
        return False


class _World:
    """Alice and bob, each with an open port."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.simulation = Simulation(seed=7)
        self.incarnations = [self.simulation.host(address, name=address).boot() for address in (_ALICE, _BOB)]
        self.contexts: list[FakeContext] = []
        self.plugins: list[Any] = []
        self.receivers: list[Receiver] = []
        self.ports: list[Any] = []
        for index in (0, 1):
            self.receivers.append(Receiver())
            self.plugins.append(self.build(index))
            self.ports.append(self.open(self.plugins[index], self.receivers[index]))
            bound = self.ports[index].address
            bench.require(
                isinstance(bound, PeerAddress) and bound.port == _PORT, "IDatagramPort.address", _BOUND,
                f"the config says {(_ALICE, _BOB)[index]}:{_PORT}, and it is {bound!r}",
            )  # fmt: skip

    def build(self, index: int) -> Any:
        """Another plugin on one of the hosts."""
        context = self.bench.context(index + 1, self.incarnations[index].reactor)
        self.contexts.append(context)
        host = (_ALICE, _BOB)[index]
        listen: Any = self.bench.option("listen", None)
        changes: Mapping[str, object] = listen(host, _PORT) if listen else {"listen": f"{host}:{_PORT}"}
        return self.bench.build(context, **changes)

    def open(self, plugin: Any, receiver: Receiver) -> Any:
        """Open a plugin's port, which has to work."""
        opened = self.opening(plugin, receiver)
        self.bench.require(not isinstance(opened, Failure), "open", _OPEN, f"it failed: {opened}")
        try:
            verifyObject(IDatagramPort, opened)
        except Invalid as error:
            self.bench.require(False, "open", _OPEN, f"what it fires with is no IDatagramPort: {error}")
        return opened

    def opening(self, plugin: Any, receiver: Receiver) -> Any:
        """What comes of `open`: a port or a failure."""
        outcome: list[Any] = []
        deferred: Deferred[Any] = self.bench.call("open", _BUSY, plugin.open, receiver)
        self.bench.require(isinstance(deferred, Deferred), "open", _OPEN, f"it gave {deferred!r}, no Deferred")
        deferred.addBoth(outcome.append)
        self.simulation.run(1.0)
        self.bench.require(outcome, "open", _OPEN, "its Deferred has not fired")
        return outcome[0]

    def send(self, index: int, data: bytes, target: PeerAddress | None = None) -> None:
        """One end sends, to the other where nothing else is said."""
        to = target or PeerAddress((_BOB, _ALICE)[index], _PORT)
        self.bench.call("IDatagramPort.send", _SEND, self.ports[index].send, data, to)

    def close(self) -> None:
        """Close both, bob first; nothing stays open or timed."""
        for plugin in reversed(self.plugins):
            done: list[Any] = []
            self.bench.call("close", _CLOSE, plugin.close).addBoth(done.append)
            self.simulation.run(1.0)
            self.bench.require(done and not isinstance(done[0], Failure), "close", _CLOSE, f"its Deferred gave {done}")
        for incarnation in self.incarnations:
            left = [*incarnation.reactor.getDelayedCalls(), *incarnation.datagram_ports]
            self.bench.require(not left, "close", _CLOSE, f"afterwards there are {left}")


def _counted(context: FakeContext) -> float:
    return sum(sum(metric.values.values()) for metric in context.metrics.metrics.values())


def _talk(bench: Bench) -> object:
    """Datagrams of many lengths both ways; what the network saw."""
    world = _World(bench)
    rng = bench.random("talk")
    sent: list[list[bytes]] = [[], []]
    for length in (1, 2, 17, 100, 508, 1000, 1200, 1232):
        for index in (0, 1):
            data = rng.randbytes(length)
            sent[index].append(data)
            world.send(index, data)
        world.simulation.run(rng.choice([0.0, 0.5]))
    world.simulation.run(5.0)
    for index in (0, 1):
        source = PeerAddress((_BOB, _ALICE)[index], _PORT)
        got = world.receivers[index].got
        good = all(type(data) is bytes and isinstance(by, PeerAddress) for data, by in got)
        bench.require(good, "IDatagramReceiver.datagram_received", _RECEIVED, f"it was given {got[:1]!r:.200}")
        bench.require(
            sorted(data for data, _ in got) == sorted(sent[1 - index]), "open", _OPEN,
            f"datagrams of {list(map(len, sent[1 - index]))} bytes were sent, {[len(data) for data, _ in got]} came",
        )  # fmt: skip
        bench.require(
            {by for _, by in got} == {source}, "open", _OPEN, f"{source} sent them, and they came as from {got[0][1]}"
        )
    world.close()
    return world.simulation.finish()


def _counts_what_is_refused(bench: Bench) -> None:
    world = _World(bench)
    for data, target in ((bytes(70_000), None), *((b"odd", odd) for odd in _ODD)):
        before = _counted(world.contexts[0])
        world.send(0, data, target)
        world.simulation.run(1.0)
        too_long = target is None
        bench.require(
            not too_long or _counted(world.contexts[0]) > before, "IDatagramPort.send", _SEND,
            f"{len(data)} bytes are more than a datagram holds, and nothing was counted",
        )  # fmt: skip
    bench.require(not world.receivers[1].got, "IDatagramPort.send", _SEND, "it was not lost")
    world.send(0, b"after that")
    world.simulation.run(1.0)
    came = [data for data, _ in world.receivers[1].got]
    bench.require(came == [b"after that"], "IDatagramPort.send", _SEND, f"a good one after it: {came} came")
    world.close()


def _closes(bench: Bench) -> None:
    world = _World(bench)
    world.send(0, b"on its way")
    world.close()
    world.simulation.run(1.0)
    world.send(0, b"too late")
    world.simulation.run(1.0)
    # One that was on its way when it closed is lost as well.
    bench.require(not world.receivers[1].got, "close", _CLOSE, f"{world.receivers[1].got} came")
    again = Receiver()
    plugin = world.build(1)
    world.open(plugin, again)
    world.plugins = [plugin]
    world.close()


def _says_that_a_port_is_busy(bench: Bench) -> None:
    world = _World(bench)
    second = world.build(1)
    outcome = world.opening(second, Receiver())
    failed = isinstance(outcome, Failure) and outcome.check(StartError) is not None
    bench.require(failed, "open", _BUSY, f"a second one on that port gave {outcome!r:.300}")
    world.close()
