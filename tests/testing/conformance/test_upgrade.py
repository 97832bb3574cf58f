"""Upgrades in their suite: the one that there is, and wrong ones that it finds."""

from __future__ import annotations

import random
import zlib

import pytest
from zope.interface import implementer

from p2pframe.errors import HandshakeFailed, UnreadableStream
from p2pframe.interfaces import IUpgrade, IUpgradeState, Upgraded
from p2pframe.model import TransportInfo
from p2pframe.plugin import Field, PluginConfig, plugin
from p2pframe.testing.conformance import NonConformance, check

LONGEST = 60_000


def test_psk(conforms):
    conforms("upgrade", "psk", {"key": "11" * 32}, stranger={"key": "22" * 32}, longest=20_000, hash_seeds=True)


class MadeConfig(PluginConfig):
    """Options of the upgrades made here."""

    hello: str = Field("F", description="What the handshake begins with.")


@implementer(IUpgradeState)
class Framed:
    """A hello of some bytes, then packets: two bytes of length, four of their check, the bytes."""

    def __init__(self, config, context):
        self.hello = config.hello.encode()
        self.context = context
        self.ready = False
        self.buffer = b""

    def start(self):
        return self.hello

    def receive(self, data):
        self.buffer += data
        if not self.ready and len(self.buffer) >= len(self.hello):
            if not self.buffer.startswith(self.hello):
                raise HandshakeFailed("another hello")
            self.buffer, self.ready = self.buffer[len(self.hello) :], True
        return Upgraded(b"", self.packets() if self.ready else b"")

    def packets(self):
        found = b""
        while len(self.buffer) >= 6:
            length = int.from_bytes(self.buffer[:2])
            if length > LONGEST:
                raise UnreadableStream("oversized", f"a packet of {length} bytes")
            if len(self.buffer) < 6 + length:
                break
            check, part = self.buffer[2:6], self.buffer[6 : 6 + length]
            self.buffer = self.buffer[6 + length :]
            self.check(check, part)
            found += part
        return found

    def check(self, check, part):
        if check != zlib.crc32(part).to_bytes(4):
            raise UnreadableStream("checksum", "a packet was changed on the way")

    def send(self, data):
        if not self.ready:
            raise RuntimeError("the handshake is not done")
        parts = [data[at : at + LONGEST] for at in range(0, len(data), LONGEST)]
        return b"".join(len(part).to_bytes(2) + zlib.crc32(part).to_bytes(4) + part for part in parts)

    def info(self):
        return TransportInfo()


def made(**methods):
    """An upgrade whose state is `Framed` but for some methods."""
    state = type("State", (Framed,), methods)

    @plugin("made", config=MadeConfig)
    @implementer(IUpgrade)
    class Made:
        """Puts bytes into packets."""

        name = "made"

        def __init__(self, config, context) -> None:
            self.config = config
            self.context = context

        def begin(self, address, inbound, peer_id):
            return state(self.config, self.context)

    return Made


def test_a_good_one_passes():
    check(made(), stranger={"hello": "another one"}, longest=LONGEST)


def loses_a_split_header(self):
    found = b""
    while self.buffer:
        length = int.from_bytes(self.buffer[:2])
        found, self.buffer = found + self.buffer[6 : 6 + length], self.buffer[6 + length :]
    return found


def wrong_error(self, check, part):
    if check != zlib.crc32(part).to_bytes(4):
        raise HandshakeFailed("long after the handshake")


def times(self):
    self.context.reactor.callLater(60, lambda: None)
    return self.hello


def passes_on_early(self, data):
    self.ready = self.ready or data.endswith(self.hello)
    return Upgraded(b"", data)


def never_empties(self, data):
    """Waits for the rest of a packet, however long that is."""
    try:
        return Framed.receive(self, data)
    except UnreadableStream:
        return Upgraded(b"", b"")


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"packets": loses_a_split_header}, "in any segmentation"),
    ({"receive": lambda self, data: data}, "in any segmentation"),
    ({"receive": lambda self, data: 1 // 0}, "in any segmentation"),
    ({"receive": passes_on_early}, "True once the handshake is done|in any segmentation"),
    ({"send": lambda self, data: data}, "in any segmentation"),
    ({"start": lambda self: "F"}, "the bytes that open the handshake"),
    ({"start": lambda self: b""}, "True once the handshake is done"),
    ({"start": times}, "sans-I/O"),
    ({"send": lambda self, data: Framed.send(self, data) if self.ready else data}, "only then does `send` take bytes"),
    ({"info": lambda self: None}, "what it proved about the other end"),
    ({"check": wrong_error}, "Raises `HandshakeFailed` before it is ready, `UnreadableStream` afterwards"),
    ({"info": lambda self: TransportInfo(encryption="strong"), "check": lambda self, check, part: None},
     "Raises `HandshakeFailed` before it is ready, `UnreadableStream` afterwards"),
    ({"receive": never_empties}, "Must buffer no more than its own longest packet"),
], ids=range(13))
def test_wrong_ones_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(**methods))


def test_one_that_mixes_up_its_sessions():
    cls = made()
    begin = cls.begin

    def shared(self, address, inbound, peer_id):
        """The buffer of whoever was last."""
        state = begin(self, address, inbound, peer_id)
        first = self.__dict__.setdefault(f"first_{inbound}", state)
        state.packets = lambda: Framed.packets(first) if state is first else other(first, state)
        return state

    def other(first, state):
        first.buffer, state.buffer = first.buffer + state.buffer, b""
        return Framed.packets(first)

    cls.begin = shared
    with pytest.raises(NonConformance, match="in any segmentation"):
        check(cls)


def test_one_that_lets_strangers_in():
    def receive(self, data):
        self.buffer += data
        if not self.ready and len(self.buffer) >= len(self.hello):
            self.buffer, self.ready = self.buffer[len(self.hello) :], True
        return Upgraded(b"", self.packets() if self.ready else b"")

    with pytest.raises(NonConformance, match="the handshake is done all the same"):
        check(made(receive=receive), stranger={"hello": "X"})


def test_one_that_uses_chance_of_its_own():
    def start(self):
        return self.hello if random.random() < 2 else b""

    with pytest.raises(NonConformance, match="the functions of the module `random` were used"):
        check(made(start=start))
