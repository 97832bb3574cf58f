"""A process with nothing but the v1 frame loop on Twisted's reactor, which answers pings: `bare_loop.py PORT`.

No gate, no counters, no state but the loop's: what a session costs is told by the difference.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from p2pframe.framing import FrameLoop
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.frame import V1Framing, command_table

FRAMING = V1Framing(REGTEST.magic)


class Bare(Protocol):
    """Session and conversation in one: as little as the loop can do with."""

    closing = False

    def connectionMade(self) -> None:
        self.loop = FrameLoop(self, FRAMING, self, TABLE)
        self.receive = self.loop.receive

    def dataReceived(self, data: bytes) -> None:
        self.receive(data)

    def charge(self, kind: str, length: int) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def on_ping(self, payload: bytes) -> None:
        self.loop.out.append(FRAMING.pong(payload))


TABLE = command_table({"ping": Bare.on_ping})

factory = Factory.forProtocol(Bare)
factory.noisy = False
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
