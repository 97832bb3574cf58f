"""The suite of upgrades: two ends shake hands and talk, whatever way their bytes are split, and garbage is refused.

Option `stranger`: options of an end that must not get through (another key). Option `longest`: bytes that an end may
keep of what is not whole yet, 256 KiB where nothing is said.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.errors import HandshakeFailed, UnreadableStream
from p2pframe.interfaces import IUpgradeState, Upgraded
from p2pframe.model import PeerAddress, TransportInfo
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.splitting import SPLITS, Split

_ANY_SPLIT = "Called with what came from the wire, in any segmentation."
_RAISES = "Raises `HandshakeFailed` before it is ready, `UnreadableStream` afterwards; core closes on both."
_READY = "True once the handshake is done: only then does `send` take bytes."
_SEND = "Called with what the layer above sends, once `ready`: the bytes for the wire."
_INFO = "Called once it is ready: what it proved about the other end."
_BUFFER = "Must buffer no more than its own longest packet."
_SANS_IO = "One upgrade at work on one session: sans-I/O"
_ALICE, _BOB = PeerAddress("192.0.2.1", 40_001), PeerAddress("198.51.100.1", 8333)


def suite(bench: Bench) -> None:
    """Put an upgrade through it. Raises `NonConformance`."""
    for name in SPLITS:
        bench.twice(partial(_talk, bench, name), f"IUpgrade, {name}")
    _takes_bytes_only_when_ready(bench)
    _sessions_are_apart(bench)
    _refuses_garbage(bench)
    _refuses_what_was_changed(bench)
    _keeps_little(bench)
    stranger: Mapping[str, object] = bench.option("stranger", {})
    if stranger:
        _refuses_a_stranger(bench, stranger)


class _Pair:
    """Two ends of one session: alice dialled bob."""

    def __init__(self, bench: Bench, split: Split, rng: Random, **bobs: object) -> None:
        self.bench = bench
        self.split = split
        self.rng = rng
        self.contexts = [bench.context(seed=seed) for seed in (1, 2)]
        dialler, answerer = bench.build(self.contexts[0]), bench.build(self.contexts[1], **bobs)
        self.begin(dialler, answerer)

    def begin(self, dialler: Any, answerer: Any) -> None:
        """A new session between two plugins."""
        bench = self.bench
        never = "Called for each session once its transport has proved the peer. Never blocks."
        alice = bench.call("begin", never, dialler.begin, _BOB, False, None)
        bob = bench.call("begin", never, answerer.begin, _ALICE, True, None)
        self.ends: list[Any] = [alice, bob]
        self.wire: list[bytes] = [b"", b""]
        """By end: bytes that it sent and that have not arrived."""
        self.got: list[bytes] = [b"", b""]
        self.sent: list[bytes] = [b"", b""]
        for end in self.ends:
            try:
                verifyObject(IUpgradeState, end)
            except Invalid as error:
                bench.require(False, "IUpgradeState", "One upgrade at work on one session", error)

    def start(self) -> None:
        """Both ends open their handshake."""
        said = "Called once, first: the bytes that open the handshake (empty where the other end begins)."
        for index, end in enumerate(self.ends):
            opening = self.bench.call("IUpgradeState.start", said, end.start)
            self.bench.require(isinstance(opening, bytes), "IUpgradeState.start", said, f"it gave {opening!r}")
            self._put(index, opening)

    def shake(self) -> None:
        """Carry bytes until both are ready; `NonConformance` where they do not get there."""
        self.start()
        self.carry()
        for who, end in zip(("the one who dialled", "the one who was dialled"), self.ends, strict=True):
            self.bench.require(
                end.ready is True, "IUpgradeState.ready", _READY, f"nothing is under way any more, and {who} is not"
            )

    def carry(self) -> None:
        """Carry bytes until there are none left."""
        rounds = 0
        while any(self.wire):
            rounds += 1
            self.bench.rule(rounds < 10_000, "IUpgradeState.receive", "two ends come to rest", "they go on and on")
            for index in (0, 1):
                data, self.wire[index] = self.wire[index], b""
                for part in self.split(data, self.rng):
                    self.give(1 - index, part)

    def give(self, index: int, data: bytes, allowed: tuple[type[BaseException], ...] = ()) -> None:
        """Hand bytes of the wire to an end."""
        end = self.ends[index]
        out = self.bench.call("IUpgradeState.receive", _ANY_SPLIT, end.receive, data, allowed=allowed)
        good = isinstance(out, Upgraded) and isinstance(out.to_wire, bytes) and isinstance(out.received, bytes)
        self.bench.require(good, "IUpgradeState.receive", _ANY_SPLIT, f"it gave {out!r:.200}, not Upgraded of bytes")
        self.bench.require(
            end.ready or not out.received, "IUpgradeState.ready", _READY,
            f"before it is ready it passes {out.received!r:.100} on to the layer above",
        )  # fmt: skip
        self._put(index, out.to_wire)
        self.got[index] += out.received

    def send(self, index: int, data: bytes) -> bytes:
        """The layer above sends; returns what goes to the wire."""
        wire: bytes = self.bench.call("IUpgradeState.send", _SEND, self.ends[index].send, data)
        self.bench.require(isinstance(wire, bytes), "IUpgradeState.send", _SEND, f"it gave {wire!r:.200}")
        self.sent[index] += data
        self._put(index, wire)
        return wire

    def arrived(self) -> None:
        """`NonConformance` unless each end has what the other sent."""
        for index in (0, 1):
            wanted, got = self.sent[1 - index], self.got[index]
            self.bench.require(
                got == wanted, "IUpgradeState.receive", _ANY_SPLIT,
                f"{len(wanted)} bytes were sent and {len(got)} came out, equal up to {_common(wanted, got)}",
            )  # fmt: skip

    def _put(self, index: int, data: bytes) -> None:
        self.wire[index] += data


def _talk(bench: Bench, name: str) -> list[object]:
    """A handshake, and bytes of many lengths both ways; what went over the wire."""
    pair = _Pair(bench, SPLITS[name], bench.random("talk", name))
    pair.shake()
    infos = []
    for end in pair.ends:
        info = bench.call("IUpgradeState.info", _INFO, end.info)
        bench.require(isinstance(info, TransportInfo), "IUpgradeState.info", _INFO, f"it gave {info!r}")
        infos.append(repr(info))
    rng = bench.random("lengths")
    lengths = [0, 1, 2, 3, 17, 255, 256, 1000, 4096, 16_383, 16_384, 16_385, 70_000]
    if name == "byte by byte":
        lengths = [0, 1, 2, 17, 256, 1000]
    over: list[object] = list(infos)
    for length in lengths:
        for index in (0, 1):
            over.append(pair.send(index, rng.randbytes(length)).hex())
            if length % 2:
                pair.carry()
    pair.carry()
    pair.arrived()
    for context in pair.contexts:
        reactor = context.reactor
        busy = reactor.getDelayedCalls() or reactor.tcpClients or reactor.tcpServers or reactor.udpPorts
        bench.require(not busy and not context.worked, "IUpgradeState", _SANS_IO, f"it has timed or opened: {busy}")
    return over


def _takes_bytes_only_when_ready(bench: Bench) -> None:
    pair = _Pair(bench, SPLITS["whole"], bench.random("early"))
    if not pair.ends[0].ready:
        try:
            given = pair.ends[0].send(b"too early")
        except Exception:  # noqa: BLE001 - to refuse is what is asked for, in whatever words
            given = None
        bench.require(given is None, "IUpgradeState.ready", _READY, f"before start it sent {given!r:.100}")
    # The first bytes of the layer above come in one read with the end of the handshake.
    pair = _Pair(bench, SPLITS["whole"], bench.random("early"))
    pair.start()
    early = [False, False]
    for _ in range(100):
        for index in (0, 1):
            if pair.ends[index].ready and not early[index]:
                early[index] = True
                pair.send(index, b"at once")
            data, pair.wire[index] = pair.wire[index], b""
            if data:
                pair.give(1 - index, data)
    pair.arrived()


def _sessions_are_apart(bench: Bench) -> None:
    """Two sessions of one pair of plugins, their bytes coming in turns."""
    one = _Pair(bench, SPLITS["random"], bench.random("apart", 1))
    plugins = [bench.build(context) for context in one.contexts]
    one.begin(*plugins)
    two = _Pair(bench, SPLITS["random"], bench.random("apart", 2))
    two.begin(*plugins)
    one.start()
    two.shake()
    one.carry()
    for number in range(20):
        index = number % 2
        for pair in (one, two):
            pair.send(index, bench.random("apart", number, pair is one).randbytes(100 + number))
        # Half a packet of one, half a packet of the other, and then the rest of both.
        halves = [(pair, pair.wire[index], len(pair.wire[index]) // 2) for pair in (one, two)]
        for pair, data, half in halves:
            pair.wire[index] = b""
            pair.give(1 - index, data[:half])
        for pair, data, half in halves:
            pair.give(1 - index, data[half:])
    for pair in (two, one):
        pair.carry()
        pair.arrived()


def _refused(bench: Bench, pair: _Pair, index: int, data: bytes, what: str) -> bool:
    """Hand an end what it may refuse, and then only with the right error. Returns whether it did."""
    was_ready = pair.ends[index].ready
    try:
        pair.give(index, data, allowed=(HandshakeFailed, UnreadableStream))
    except (HandshakeFailed, UnreadableStream) as error:
        # Bytes of one read may end the handshake and hold a bad packet too.
        right = isinstance(error, UnreadableStream) if was_ready else True
        bench.require(right, "IUpgradeState.receive", _RAISES, f"{what}, being ready, it raises {error!r}")
        bench.rule(str(error).strip(), "IUpgradeState.receive", "Errors say what, where, and what to do", what)
        return True
    return False


def _refuses_garbage(bench: Bench) -> None:
    rng = bench.random("garbage")
    kinds: dict[str, Callable[[int], bytes]] = {
        "random bytes": rng.randbytes,
        "zeros": bytes,
        "bytes of 255": lambda length: b"\xff" * length,
        "an HTTP request": lambda length: b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" * (length // 37 + 1),
    }
    for name, make in kinds.items():
        for ready in (False, True):
            for split in SPLITS.values():
                pair = _Pair(bench, split, rng)
                if ready:
                    pair.shake()
                else:
                    pair.start()
                for part in split(make(3000), rng):
                    if _refused(bench, pair, 1, part, f"given {name}"):
                        break


def _refuses_what_was_changed(bench: Bench) -> None:
    """One bit changed on the way: an end that says it encrypts never gives the layer above what was not sent."""
    rng = bench.random("changed")
    for attempt in range(60):
        pair = _Pair(bench, SPLITS["whole"], rng)
        pair.shake()
        encrypts = pair.ends[1].info().encryption
        wire = bytearray(pair.send(0, rng.randbytes(1 + attempt)))
        pair.wire = [b"", b""]
        wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
        if not _refused(bench, pair, 1, bytes(wire), "given a packet that was changed") and encrypts:
            bench.require(
                pair.sent[0].startswith(pair.got[1]), "IUpgradeState.receive", _RAISES,
                f"it says {encrypts!r}, was given a packet that was changed, and made {pair.got[1]!r:.100} of it",
            )  # fmt: skip
    for _ in range(60):
        pair = _Pair(bench, SPLITS["whole"], rng)
        pair.start()
        wire = bytearray(pair.wire[0])
        if wire:
            wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
            _refused(bench, pair, 1, bytes(wire), "given a hello that was changed")


def _keeps_little(bench: Bench) -> None:
    longest: int = bench.option("longest", 262_144)
    for ready in (False, True):
        pair = _Pair(bench, SPLITS["whole"], bench.random("much"))
        # A valid beginning, and then whatever: the end that waits for the rest must not wait for ever.
        first = b""
        if ready:
            pair.shake()
            first = pair.send(0, b"first")[:-1]
        else:
            pair.start()
            first = pair.wire[0][:-1]
        junk = bench.random("junk").randbytes(65_536)
        tracemalloc.start()
        try:
            parts = [first, *[junk] * (4 * longest // len(junk) + 1)]
            refused = any(part and _refused(bench, pair, 1, part, "given bytes without end") for part in parts)
            kept, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        kept -= len(pair.got[1]) + len(pair.wire[1])
        # One that has refused is let go of with the session.
        small = refused or kept < 2 * longest
        bench.require(small, "IUpgradeState.receive", _BUFFER, f"it keeps {kept} bytes of what is not whole")


def _refuses_a_stranger(bench: Bench, stranger: Mapping[str, object]) -> None:
    for name, split in SPLITS.items():
        pair = _Pair(bench, split, bench.random("stranger", name), **stranger)
        pair.start()
        refused = [False, False]
        for _ in range(100):
            for index in (0, 1):
                data, pair.wire[index] = pair.wire[index], b""
                for part in split(data, pair.rng):
                    if not refused[1 - index]:
                        refused[1 - index] = _refused(bench, pair, 1 - index, part, "before a stranger")
        for index in (0, 1):
            bench.require(
                not pair.ends[index].ready, "IUpgradeState.ready", _READY,
                f"the other end has {sorted(stranger)} of its own, and the handshake is done all the same",
            )  # fmt: skip
        bench.require(any(refused), "IUpgradeState.receive", _RAISES, "two ends that can't agree wait for ever")


def _common(one: bytes, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
