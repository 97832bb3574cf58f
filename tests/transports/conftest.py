"""Two ends on loopback: what a transport's tests connect and listen with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext


class End(Protocol):
    """A protocol that asks its transport for a proof as core does: in `connectionMade`, before anything else."""

    def __init__(self, transport_plugin, ask=True):
        self.plugin = transport_plugin
        self.received = b""
        self.before_proof = b""
        self.proven = False
        self.ask = ask
        self.closed = Deferred()
        self.proof = Deferred()
        self.waiting = []
        self.greeting = b""
        self.up = []

    def connectionMade(self):
        if self.ask:
            self.prove()
        for deferred in self.up:
            deferred.callback(self)

    def prove(self):
        answer = self.plugin.prove(self.transport)
        if not isinstance(answer, Deferred):
            self._proven(answer)
            return
        answer.addCallbacks(self._proven, self.proof.errback)

    def _proven(self, info):
        self.proven = True
        if self.greeting:
            self.transport.write(self.greeting)
        self.proof.callback(info)

    def dataReceived(self, data):
        if not self.proven:
            self.before_proof += data
        self.received += data
        for wanted, deferred in list(self.waiting):
            if len(self.received) >= wanted:
                self.waiting.remove((wanted, deferred))
                deferred.callback(self.received)

    def read(self, length):
        deferred = Deferred()
        if len(self.received) >= length:
            deferred.callback(self.received)
        else:
            self.waiting.append((length, deferred))
        return deferred

    def connectionLost(self, reason):
        self.closed.callback(reason.value)


class EndFactory(Factory):
    noisy = False

    def __init__(self, transport_plugin, greeting=b"", ask=True):
        self.plugin = transport_plugin
        self.greeting = greeting
        self.ask = ask
        self.built = []
        self.waiting = []

    def buildProtocol(self, address):
        end = End(self.plugin, self.ask)
        end.greeting = self.greeting
        self.built.append(end)
        end.up, self.waiting = self.waiting, []
        return end

    def next(self):
        deferred = Deferred()
        self.waiting.append(deferred)
        return deferred


class Loopback:
    """Contexts on the real reactor, and ports that are closed when the test ends."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.ports = []
        self.contexts = 0

    def context(self, seed=0, name="transport.test"):
        self.contexts += 1
        folder = self.tmp_path / f"node{self.contexts}"
        context = FakeContext(name, seed=seed, reactor=reactor, data_dir=folder)
        context.unix_epoch = 0.0
        return context

    async def listen(self, transport_plugin, factory=None):
        factory = factory or EndFactory(transport_plugin)
        [listener] = transport_plugin.listeners()
        port = await listener.endpoint.listen(factory)
        self.ports.append(port)
        return factory, PeerAddress.of(port.getHost().host, port.getHost().port)

    async def close(self):
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        self.ports.clear()


@pytest.fixture
def loopback(tmp_path) -> Loopback:
    return Loopback(tmp_path)


@pytest.fixture
def end_factory() -> Callable[..., EndFactory]:
    return EndFactory
