"""A scripted Bitcoin peer over a real, blocking socket: it says what a test tells it to say, right or wrong.

It keeps everything that it received, in order, and waits by message type with a deadline. It answers pings on the way,
so that the node sees a living peer, and nothing else.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import ClassVar, Self

import pytest

from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.chains import REGTEST, Chain
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_WITNESS_BLOCK,
    Locator,
    decode_entries,
    decode_headers,
    encode_entries,
    encode_headers,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_WITNESS, Version, encode_version
from tests.interop.processes import LOOPBACK
from tests.interop.wire_tls import WireTls

_nonces = count(0x5EED_0000_0001)


class Closed(Exception):
    """The node hung up."""


class WirePeer:
    """One connection, dialled by the peer (`dial`) or taken by it (`Listener.accept`); over TLS while `tls` is set."""

    tls: ClassVar[WireTls | None] = None

    def __init__(self, wire: socket.socket, chain: Chain = REGTEST) -> None:
        self.wire = wire
        self.chain = chain
        self.received: list[tuple[str, bytes]] = []
        self.version: Version | None = None
        self.closed = False
        self._buffer = bytearray()
        self._seen = 0

    @classmethod
    def dial(cls, port: int, source: str = LOOPBACK, chain: Chain = REGTEST) -> Self:
        """Connect to the node at `port` from the address `source`; nothing is said yet."""
        wire = socket.create_connection((LOOPBACK, port), timeout=10, source_address=(source, 0))
        return cls(cls.tls.client.wrap_socket(wire) if cls.tls else wire, chain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    # --- say ---

    def send(self, kind: str, payload: bytes = b"") -> None:
        """Send one message."""
        self.send_raw(frame(self.chain.magic, kind, payload))

    def send_raw(self, data: bytes) -> None:
        """Send bytes, whatever they are; `Closed` where nobody takes them."""
        try:
            self.wire.sendall(data)
        except OSError as error:
            self.closed = True
            raise Closed(str(error)) from error

    def say_version(
        self,
        number: int = 70016,
        services: int = NODE_NETWORK | NODE_WITNESS,
        height: int = 0,
        relay: bool = True,
        nonce: int | None = None,
    ) -> None:
        """Introduce ourselves."""
        chosen = next(_nonces) if nonce is None else nonce
        self.send(
            "version",
            encode_version(
                Version(
                    number,
                    services,
                    int(time.time()),
                    nonce=chosen,
                    user_agent=b"/script:1/",
                    start_height=height,
                    relay=relay,
                )
            ),
        )

    def handshake(
        self, number: int = 70016, services: int = NODE_NETWORK | NODE_WITNESS, height: int = 0, relay: bool = True
    ) -> Self:
        """Both versions and veracks."""
        self.say_version(number, services, height, relay)
        self.expect("version")
        self.send("verack")
        self.expect("verack")
        return self

    def show(self, headers: Sequence[bytes]) -> None:
        """Tell of headers of 80 bytes each."""
        self.send("headers", encode_headers(headers))

    # --- hear ---

    def read(self, deadline: float) -> bool:
        """Take one message into `received`; False at the deadline. `Closed` once the node has hung up."""
        while True:
            if len(self._buffer) >= 24:
                length = int.from_bytes(self._buffer[16:20], "little")
                if len(self._buffer) >= 24 + length:
                    break
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.wire.settimeout(left)
            try:
                data = self.wire.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            if not data:
                self.closed = True
                raise Closed("the node hung up")
            self._buffer += data
        head, payload = bytes(self._buffer[:24]), bytes(self._buffer[24 : 24 + length])
        del self._buffer[: 24 + length]
        assert head[:4] == self.chain.magic, f"the node sent the magic {head[:4].hex()}"
        assert head[20:24] == hash256(payload)[:4], "the node sent a bad checksum"
        kind = head[4:16].rstrip(b"\0").decode("ascii")
        self.received.append((kind, payload))
        if kind == "ping":
            self.send("pong", payload)
        return True

    def expect(self, kind: str, accept: Callable[[bytes], bool] = lambda _: True, limit: float = 20.0) -> bytes:
        """The payload of the next message of that kind which `accept` takes, among those not looked at yet."""
        deadline = time.monotonic() + limit
        while True:
            while self._seen < len(self.received):
                got, payload = self.received[self._seen]
                self._seen += 1
                if got == kind and accept(payload):
                    return payload
            if not self.read(deadline):
                pytest.fail(f"no {kind} within {limit:g} s; received {self.kinds()}")

    def kinds(self) -> list[str]:
        """The types of all that was received, in order."""
        return [kind for kind, _ in self.received]

    def sync(self, limit: float = 20.0) -> None:
        """Until the node has dealt with everything sent so far: a ping of ours and its pong.

        `Closed` where it hung up.
        """
        nonce = struct.pack("<Q", next(_nonces))
        self.send("ping", nonce)
        self.expect("pong", lambda payload: payload == nonce, limit)

    def hung_up(self, limit: float = 20.0) -> bool:
        """Whether the node ends the connection within `limit` seconds."""
        deadline = time.monotonic() + limit
        try:
            while self.read(deadline):
                pass
        except Closed:
            return True
        return False

    # --- ask ---

    def headers(self, known: Sequence[bytes] = (), limit: float = 20.0) -> list[bytes]:
        """What the node answers to a getheaders from a locator; from genesis by default."""
        locator = list(known) or [self.chain.genesis_hash]
        self.sync(limit)
        self.send("getheaders", encode_locator(Locator(70016, locator)))
        return decode_headers(self.expect("headers", limit=limit))

    def all_headers(self) -> list[bytes]:
        """The node's whole chain behind genesis."""
        found: list[bytes] = []
        while True:
            part = self.headers([hash256(found[-1])] if found else ())
            found += part
            if len(part) < 2000:
                return found

    def block(self, hash: bytes, limit: float = 10.0) -> bytes | None:
        """A block that the node serves; None where it stays silent (it answers a ping sent behind the request)."""
        nonce = struct.pack("<Q", next(_nonces))
        before = len(self.received)
        self.send("getdata", encode_entries([(MSG_WITNESS_BLOCK, hash)]))
        self.send("ping", nonce)
        deadline = time.monotonic() + limit
        ponged = False
        while True:
            for kind, payload in self.received[before:]:
                if kind == "block" and hash256(payload[:80]) == hash:
                    return payload
                ponged |= kind == "pong" and payload == nonce
            # The block may come behind the pong: it is read from the disk.
            if ponged:
                deadline = min(deadline, time.monotonic() + 1.0)
                ponged = False
            before = len(self.received)
            if not self.read(deadline):
                return None

    def asked_for_block(self, hash: bytes, limit: float = 20.0) -> None:
        """Until the node asks us for a block."""
        self.expect(
            "getdata",
            lambda payload: any(
                kind in (MSG_BLOCK, MSG_WITNESS_BLOCK) and wanted == hash for kind, wanted in decode_entries(payload)
            ),
            limit,
        )


class Listener:
    """Where a scripted peer waits to be dialled."""

    def __init__(self, host: str = LOOPBACK, port: int = 0, chain: Chain = REGTEST) -> None:
        self.socket = socket.create_server((host, port))
        self.chain = chain
        self.port: int = self.socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def accept(self, limit: float = 30.0) -> WirePeer:
        """The next connection; fails after `limit` seconds."""
        self.socket.settimeout(limit)
        try:
            wire, _ = self.socket.accept()
        except TimeoutError:
            pytest.fail(f"nobody dialled 127.0.0.1:{self.port} within {limit:g} s")
        tls = WirePeer.tls
        return WirePeer(tls.server.wrap_socket(wire, server_side=True) if tls else wire, self.chain)
