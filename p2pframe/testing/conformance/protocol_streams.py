"""What a protocol of streams is put through: two of its conversations talk, whole and split, and garbage is borne."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IConversation, IItems
from p2pframe.model import Item, Slot
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.services import StandInItems
from p2pframe.testing.conformance.sessions import BenchSession, Talk
from p2pframe.testing.conformance.splitting import SPLITS

_CHEAP = "Must be cheap: ten thousand idle ones are normal."
_KEEPS = "Must keep no more than its largest message of it."
_LENGTH = "`length` counts header and body in bytes."
_HOLD = "The conversation processes nothing more until `resume`, and does not charge this message again."
_REFUSED = "False: refused, and the session is closing with the reason."
_TICK = "the place for pings and silences"
_CLOSED = "Called once when the session has ended, whatever ended it, and also where `start` never was."
_GARBAGE_LENGTH = 20_000
_IDLE = 16_384
"""Bytes that one idle conversation may take."""


def suite(bench: Bench) -> None:
    """Put a protocol of streams through it. Raises `NonConformance`."""
    for split in SPLITS:
        bench.twice(partial(_shake_and_rest, bench, split), f"IConversation, {split}")
    _bears_a_budget(bench)
    _bears_refusal(bench)
    _offers_its_verbs(bench)
    _closes_in_every_state(bench)
    _bears_garbage(bench)
    _keeps_little(bench)
    _is_cheap(bench)


def _shake_and_rest(bench: Bench, split: str) -> list[str]:
    """A handshake, and ten quiet minutes; all that went over the wire."""
    talk = Talk(bench, split)
    for session in talk.sessions:
        try:
            verifyObject(IConversation, session.conversation)
        except Invalid as error:
            bench.require(False, "IConversation", "What is said over one session.", error)
    talk.shake()
    for session in talk.sessions:
        _paid_for_all(bench, session)
    talk.pass_time(600)
    for session in talk.sessions:
        bench.require(
            session.open, "IConversation.tick", _TICK, f"two good ends have ended their session: {session.reason}"
        )
        _paid_for_all(bench, session)
    talk.end()
    return [bytes(written).hex() for written in talk.written]


def _paid_for_all(bench: Bench, session: BenchSession) -> None:
    charged = sum(length for _, length in session.charges)
    bench.require(
        charged == session.given, "ISession.charge", _LENGTH,
        f"{session.given} bytes were received, every message whole, and {charged} charged: {session.charges[:10]}",
    )  # fmt: skip


def _bears_a_budget(bench: Bench) -> None:
    """Each message finds the budget used up once: the handshake takes longer, and comes to the same."""
    plain = Talk(bench)
    plain.shake()
    slow = Talk(bench)
    for session in slow.sessions:
        session.refuses = lambda kind, length: True
    slow.shake()
    for one, other in zip(plain.sessions, slow.sessions, strict=True):
        bench.require(
            sorted(one.charges) == sorted(other.charges), "ISession.charge", _HOLD,
            f"with a budget it charged {one.charges}, with each message refused once {other.charges}",
        )  # fmt: skip
        _paid_for_all(bench, other)
    plain.end()
    slow.end()


def _bears_refusal(bench: Bench) -> None:
    """The authenticators let nobody in: the session never opens, at whichever end."""
    for refusing in (0, 1):
        talk = Talk(bench)
        talk.sessions[refusing].admits = False
        talk.start()
        talk.carry()
        talk.pass_time(5)
        session = talk.sessions[refusing]
        bench.require(session.topics is None, "ISession.identified", _REFUSED, "it opened the session all the same")
        talk.end()


def _offers_its_verbs(bench: Bench) -> None:
    talk = Talk(bench, "random", "verbs")
    talk.shake()
    make: Callable[[Any], Sequence[Item]] | None = bench.option("items", None)
    made = list(make(talk.plugins[0])) if make is not None else []
    for session in talk.sessions:
        for topic in session.topics or ():
            link = session.link(topic)
            assert link is not None
            items = [item for item in made if item.topic == topic]
            if "announce" in link.verbs:
                link.announce(items)
            if "request" in link.verbs:
                link.request([item.id for item in items])
            for verb in ("graft", "prune"):
                if verb in link.verbs:
                    getattr(link, verb)()
        talk.carry()
        session.writable = False
        talk.pass_time(3)
        session.writable = True
        session.guard("drained", session.conversation.drained)
        talk.carry()
    for item in made:
        _spreads(bench, talk, item)
    talk.end()


def _spreads(bench: Bench, talk: Talk, item: Item) -> None:
    """An item is announced, asked for, and delivered; what the other node's items were told of it."""
    giver, taker = talk.sessions
    bench.rule(giver.open and taker.open, "IConversation", "two good ends stay open", [giver.reason, taker.reason])
    there, here = giver.link(item.topic), taker.link(item.topic)
    assert there is not None
    assert here is not None
    store = talk.plugins[0].stores().get(item.topic)
    if store is not None:
        bench.wait(store.put(item), talk.contexts[0], "IItemStore.put", "Called with an item that was validated.")
    told: StandInItems = talk.contexts[1].services[IItems]  # type: ignore[assignment]
    names = {item.id, *item.aliases}
    steps: dict[str, tuple[str, Callable[[], None], str]] = {
        "announce": ("announced", lambda: there.announce([item]), "Tell the peer that we have these (a link's verb)."),
        "request": ("delivered", lambda: here.request([item.id]), "Ask the peer for these"),
        "deliver": ("delivered", lambda: there.deliver(item), "Give what was asked for (a link's verb)."),
        "push": ("delivered", lambda: there.push(item), "Give it unasked (a link's verb)"),
    }
    for verb, (word, act, sentence) in steps.items():
        if verb not in bench.cls.verbs:
            continue
        told.calls.clear()
        act()
        talk.pass_time(5)
        heard = [call for call in told.calls if call[0] == word and call[1] == item.topic]
        ids = {id for call in heard for id in (call[2] if isinstance(call[2], tuple) else (call[2],))}
        bench.require(ids & names, f"IConversation.{verb}", sentence,
                      f"item {item.id.hex()}: the other end's items were told {told.calls}")  # fmt: skip


def _closes_in_every_state(bench: Bench) -> None:
    talk = Talk(bench)
    talk.end()  # never started
    probe = Talk(bench)
    probe.shake()
    length = len(probe.written[0])
    probe.end()
    rng = bench.random("cuts")
    for cut in sorted({0, 1, length - 1, *(rng.randrange(length) for _ in range(6))} if length else {0}):
        talk = Talk(bench)
        talk.start()
        left = cut
        for _ in range(50):
            one, other = talk.sessions
            data, one.out = bytes(one.out), bytearray()
            other.give(data[:left])
            left -= min(left, len(data))
            data, other.out = bytes(other.out), bytearray()
            one.give(data)
        talk.end()
        # Closed is closed: what comes late is core's to drop, and the clock has nothing to say any more.
        talk.reactor.advance(7200.0)


def _bears_garbage(bench: Bench) -> None:
    rng = bench.random("garbage")
    plain = Talk(bench)
    plain.shake()
    said = [bytes(written) for written in plain.written]
    plain.end()
    raw: Mapping[str, bytes] = {
        "random bytes": rng.randbytes(_GARBAGE_LENGTH),
        "zeros": bytes(_GARBAGE_LENGTH),
        "bytes of 255": b"\xff" * _GARBAGE_LENGTH,
        "lines": b"\n" * 500 + b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" * 100 + b"\xc3\x28\n\x00\n",
        "its own words": said[1] * 3,
    }
    for split in SPLITS:
        for name, data in raw.items():
            for opened in (False, True):
                talk = Talk(bench, split, name)
                talk.shake() if opened else talk.start()
                for part in SPLITS[split](data[: 2000 if split == "byte by byte" else None], rng):
                    talk.sessions[0].give(part)
                    talk.sessions[0].go_on()
                talk.pass_time(10)
                talk.end()
    # Something of what it says in truth, with a few bytes changed: past the magic, and into the bodies.
    for index in (0, 1):
        talk = Talk(bench)
        for number in range(200):
            talk.connect()
            talk.start()
            wire = bytearray(said[1 - index])
            if not wire:
                break
            for _ in range(rng.choice([1, 1, 2, 5])):
                wire[rng.randrange(len(wire))] = rng.randrange(256)
            if number % 3 == 0:
                at = rng.randrange(len(wire))
                wire[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
            for part in SPLITS["random"](bytes(wire), rng):
                talk.sessions[index].give(part)
                talk.sessions[index].go_on()
            talk.sessions[index].tick()
            for session in talk.sessions:
                session.finish()
        talk.end()


def _keeps_little(bench: Bench) -> None:
    largest: int = bench.option("largest", 4_194_304)
    rng = bench.random("much")
    plain = Talk(bench)
    plain.shake()
    said = bytes(plain.written[1])
    plain.end()
    allowed = largest + largest // 4 + 262_144
    junk = rng.randbytes(65_536).replace(b"\n", b" ").replace(b"\0", b" ")
    for first in (b"", said[: max(1, len(said) // 3)], said[:-1]):
        talk = Talk(bench)
        talk.start()
        session = talk.sessions[0]
        session.give(first)
        session.go_on()
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(2 * allowed // len(junk) + 2):
                session.give(junk)
                session.go_on()
                if session.closing:
                    break
            kept, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # What it was charged for has been processed; a session that closes is let go of.
        bench.require(session.closing or kept <= allowed, "IConversation.receive", _KEEPS,
                      f"of {session.given} bytes that are no message it keeps {kept}")  # fmt: skip
        talk.end()


def _is_cheap(bench: Bench) -> None:
    talk = Talk(bench)
    context, plugin = talk.contexts[0], talk.plugins[0]
    def session() -> BenchSession:
        made = BenchSession(bench, context, True, Slot.INBOUND, bench.cls.verbs)
        made.conversation = plugin.conversation(made)
        return made

    for _ in range(20):
        session().finish()
    gc.collect()
    tracemalloc.start()
    try:
        idle = [session() for _ in range(200)]
        for each in idle:
            each.start()
        held, _peak = tracemalloc.get_traced_memory()
        bench.require(held < 200 * _IDLE, "conversation", _CHEAP, f"two hundred idle ones take {held} bytes")
        for each in idle:
            each.finish()
        idle.clear()
        each = None  # type: ignore[assignment]
        gc.collect()
        left, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bench.require(left < 100_000 and left < held / 2 + 20_000, "IConversation.closed", _CLOSED,
                  f"two hundred have closed, and of {held} bytes {left} are still held")  # fmt: skip
    talk.end()
