"""A Bitcoin peer that says what a test tells it to, right or wrong, from a simulated host."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from twisted.internet.protocol import Factory, Protocol

from p2pframe.protocols.bitcoin.chains import CHAINS, REGTEST
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.protocols.bitcoin.messages import (
    NODE_NETWORK,
    NODE_WITNESS,
    Version,
    decode_version,
    encode_version,
)

SERVES = NODE_NETWORK | NODE_WITNESS
HEAD = struct.Struct("<4s12sI4s")


class Peer(Protocol):
    """One connection. `got` has every message that came, in order; `lost` says whether the node hung up."""

    def __init__(self, net, magic: bytes = REGTEST.magic) -> None:
        self.net = net
        self.magic = magic
        self.got: list[tuple[str, bytes]] = []
        self.lost = False
        self.up = False
        self.polite = False
        self._buffer = b""

    def connectionMade(self) -> None:
        self.up = True

    def connectionLost(self, reason=None) -> None:
        self.lost = True

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            _, kind, length, _ = HEAD.unpack_from(self._buffer)
            if len(self._buffer) < HEAD.size + length:
                return
            payload = self._buffer[HEAD.size : HEAD.size + length]
            self._buffer = self._buffer[HEAD.size + length :]
            said = kind.rstrip(b"\0").decode()
            self.got.append((said, payload))
            if said == "ping" and self.polite:
                self.say("pong", payload)

    # --- what a test says ---

    def raw(self, data: bytes) -> Peer:
        self.transport.write(data)
        return self

    def say(self, kind: str, payload: bytes = b"") -> Peer:
        return self.raw(frame(self.magic, kind, payload))

    def version(
        self, number: int = 70016, services: int = SERVES, nonce: int = 7, relay: bool = True
    ) -> Peer:
        return self.say(
            "version", encode_version(Version(number, services, 1_700_000_000, nonce=nonce, relay=relay))
        )

    def wait(self, seconds: float = 0.1) -> Peer:
        self.net.run(seconds)
        return self

    def shake(self, number: int = 70016, services: int = SERVES, relay: bool = True) -> Peer:
        """The whole handshake; the messages that it took are taken out of `got`."""
        self.wait()
        self.version(number, services, relay=relay).wait()
        self.say("verack").wait()
        assert "verack" in self.kinds(), self.got
        self.got.clear()
        return self

    def ping(self, nonce: bytes = b"12345678") -> bool:
        """Whether the node answers, within a quarter of a virtual second."""
        self.say("ping", nonce).wait(0.25)
        return ("pong", nonce) in self.got

    def stop_reading(self) -> Peer:
        self.transport.pauseProducing()
        return self

    # --- what it heard ---

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.got]

    def heard(self, kind: str) -> list[bytes]:
        return [payload for said, payload in self.got if said == kind]

    def theirs(self) -> Version:
        return decode_version(self.heard("version")[0])


class _Dial(Factory):
    noisy = False

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def buildProtocol(self, addr):
        return self.peer

    def startedConnecting(self, connector):
        pass

    def clientConnectionFailed(self, connector, reason):
        self.peer.lost = True

    def clientConnectionLost(self, connector, reason):
        pass


def dial(net, source: str, target: str, port: int = 18444, chain: str = "regtest") -> Peer:
    """A peer at `source` connects to the node at `target`; it has said nothing yet."""
    peer = Peer(net, CHAINS[chain].magic)
    net.at(source).reactor.connectTCP(target, port, _Dial(peer))
    net.run(0.05)
    return peer


def listen(net, address: str, port: int = 18444, chain: str = "regtest") -> Sequence[Peer]:
    """A host that takes connections; the peers that were dialled are in the list returned."""
    taken: list[Peer] = []

    class Take(Factory):
        noisy = False

        def buildProtocol(self, addr):
            taken.append(Peer(net, CHAINS[chain].magic))
            return taken[-1]

    net.at(address).reactor.listenTCP(port, Take())
    return taken
