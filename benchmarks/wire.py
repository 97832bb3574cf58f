"""The other end: plain blocking sockets that speak just enough Bitcoin to load a node.

It runs in the benchmark's process.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from select import select
from struct import Struct
from typing import Self

from benchmarks.processes import Program
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.frame import V1Framing
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_WITNESS, Version, encode_version

FRAMING = V1Framing(REGTEST.magic)
FRAME = FRAMING.frame
_nonces = count(0x5EED_0001)
_U64 = Struct("<Q")


def version(height: int = 0) -> bytes:
    """A version message of a peer that has everything."""
    return FRAME(
        "version",
        encode_version(
            Version(
                70015,
                NODE_NETWORK | NODE_WITNESS,
                int(time.time()),
                nonce=next(_nonces),
                user_agent=b"/bench:1/",
                start_height=height,
            )
        ),
    )


def hash256(data: bytes) -> bytes:
    """Double SHA-256."""
    return sha256(sha256(data).digest()).digest()


def greeted(program: Program, limit: float = 60.0) -> Peer:
    """A session with a program that may be starting still: dialled until it answers."""
    deadline = time.monotonic() + limit
    while True:
        try:
            peer = Peer(program.port)
        except OSError:
            program.check(time.monotonic() < deadline)
            time.sleep(0.002)
            continue
        try:
            return peer.handshake()
        except (OSError, Closed):
            peer.close()
            program.check(time.monotonic() < deadline)
            time.sleep(0.002)


class Closed(Exception):
    """The node hung up."""


class Peer:
    """One connection to a node."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.kept: list[tuple[str, bytes]] = []

    def close(self) -> None:
        """Hang up."""
        self.wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, kind: str, payload: bytes = b"") -> None:
        """Send one message."""
        self.wire.sendall(FRAME(kind, payload))

    def messages(self, limit: float) -> Iterator[tuple[str, bytes]]:
        """What the node says, until `limit` seconds are over and nothing more is there. Pings are answered."""
        deadline = time.monotonic() + limit
        while True:
            while len(self.buffer) >= 24:
                length = int.from_bytes(self.buffer[16:20], "little")
                if len(self.buffer) < 24 + length:
                    break
                kind, payload = self.buffer[4:16].rstrip(b"\0").decode(), self.buffer[24 : 24 + length]
                self.buffer = self.buffer[24 + length :]
                if kind == "ping":
                    self.send("pong", payload)
                yield kind, payload
            if not select([self.wire], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return
            data = self.wire.recv(1 << 18)
            if not data:
                raise Closed("the node hung up")
            self.buffer += data

    def expect(self, kind: str, accept: Callable[[bytes], bool] = lambda _: True, limit: float = 30.0) -> bytes:
        """The next message of a kind."""
        for got, payload in self.messages(limit):
            if got == kind and accept(payload):
                return payload
        raise TimeoutError(f"no {kind} within {limit:g} s")

    def handshake(self, height: int = 0) -> Self:
        """Both versions and veracks, and what follows them: asked for headers, we have none."""
        self.wire.sendall(version(height))
        self.expect("version")
        self.send("verack")
        self.expect("verack")
        self.send("headers", b"\0")
        self.sync()
        return self

    def sync(self, limit: float = 60.0, keep: str = "") -> None:
        """Until the node has dealt with everything sent so far: a ping of ours and its pong.

        Messages of the kind `keep` that come before it are added to `kept`.
        """
        nonce = _U64.pack(next(_nonces))
        self.send("ping", nonce)
        for kind, payload in self.messages(limit):
            if kind == "pong" and payload == nonce:
                return
            if kind == keep:
                self.kept.append((kind, payload))
        raise TimeoutError(f"no pong within {limit:g} s")

    def flood(self, data: bytes, answer: int) -> None:
        """Send all of `data` as fast as the node takes it, reading meanwhile, until `answer` bytes have come back."""
        wire, view, sent, got = self.wire, memoryview(data), 0, 0
        wire.setblocking(False)
        try:
            while got < answer:
                readable, writable, _ = select([wire], [wire] if sent < len(data) else [], [], 30)
                if not readable and not writable:
                    raise TimeoutError(f"{got} of {answer} bytes answered, and nothing more for 30 s")
                if writable:
                    sent += wire.send(view[sent : sent + 262_144])
                if readable:
                    part = wire.recv(1 << 20)
                    if not part:
                        raise Closed("the node hung up")
                    got += len(part)
        finally:
            wire.setblocking(True)
