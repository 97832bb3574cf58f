"""What a protocol that can be inspected (IInspectable) is put through: its words, whole and damaged, however split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IInspectable, IInspector, InspectedMessage
from p2pframe.interfaces.inspect import DEEPEST, LONGEST_TEXT, MOST_VALUES
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.sessions import Talk
from p2pframe.testing.conformance.splitting import SPLITS

_CLASS = "`inspector` is a class method, and the class provides this too"
_SAME = "The same bytes make the same messages however they are split"
_LOST = "no byte is lost: the `raw` of all messages, one after another, with what is still held, is what was fed."
_BOUNDS = "within `MOST_VALUES`, `LONGEST_TEXT` and `DEEPEST`"
_HELD = "Bytes that wait for the rest of their message: never more than the longest there can be."
_RAISES = "Raises nothing, whatever the bytes are."
_NAMED = "`name` is its type, as people call it; empty where that can't be told."
_AGAIN = "it says so by a message with an `error`"


def suite(bench: Bench) -> None:
    """Put its inspectors through it. Raises `NonConformance`."""
    bench.require(IInspectable.providedBy(bench.cls), "IInspectable", _CLASS, "the class does not")
    talk = Talk(bench)
    talk.shake()
    talk.pass_time(300)
    said = [bytes(written) for written in talk.written]
    talk.end()
    rng = bench.random("inspection")
    for way, data in zip(("out", "in"), said, strict=True):
        found = _read(bench, way, [data], "its own words")
        good = all(message.name and not message.error for message in found)
        bench.rule(good or not data, "InspectedMessage.name", _NAMED, f"of its own words: {found!r:.500}")
        for number in range(30):
            damaged = bytearray(data)
            for _ in range(min(number, 5)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            if number % 3 == 1:
                del damaged[: rng.randrange(len(damaged))]
            elif number % 3 == 2:
                at = rng.randrange(len(damaged))
                damaged[at:at] = rng.randbytes(rng.choice([1, 30, 3000]))
            _alike(bench, way, bytes(damaged))
        for junk in (bytes(5000), rng.randbytes(5000), b"\xff" * 5000, data[len(data) // 2 :] + data, b""):
            _alike(bench, way, junk)
    _holds_little(bench, said[0])


def _alike(bench: Bench, way: str, data: bytes) -> None:
    whole = _read(bench, way, [data], "in one piece")
    for name, split in SPLITS.items():
        found = _read(bench, way, split(data, bench.random("inspected", name)), name)
        bench.require(found == whole, "IInspector.feed", _SAME, f"{name}: {found!r:.300} and not {whole!r:.300}")


def _read(bench: Bench, way: str, parts: Iterable[bytes], how: str) -> list[InspectedMessage]:
    inspector = bench.call("IInspectable", _CLASS, bench.cls.inspector, way)
    try:
        verifyObject(IInspector, inspector)
    except Invalid as error:
        bench.require(False, "IInspector", "One direction of one stream", error)
    fed = bytearray()
    found: list[InspectedMessage] = []
    for part in parts:
        fed += part
        found += bench.call("IInspector.feed", _RAISES, inspector.feed, part)
    kept = inspector.held
    told = sum(len(message.raw) for message in found)
    bench.require(told + kept == len(fed), "IInspector.feed", _LOST, f"{len(fed)} fed, {told} told, {kept} held")
    found += bench.call("IInspector.end", _RAISES, inspector.end)
    bench.require(b"".join(message.raw for message in found) == fed, "IInspector.feed", _LOST, f"{how}: they differ")
    for message in found:
        bench.rule(isinstance(message, InspectedMessage), "InspectedMessage.name", _NAMED, f"it gives {message!r:.100}")
        bench.require(message.name or message.error, "IInspector.feed", _AGAIN, f"it gives {message!r:.300}")
        most = _values(bench, message.fields, 0)
        bench.rule(most <= MOST_VALUES, "InspectedMessage.fields", _BOUNDS, f"a {message.name} has {most} values")
    return found


def _values(bench: Bench, value: Any, deep: int) -> int:
    bench.rule(deep <= DEEPEST, "InspectedMessage.fields", _BOUNDS, "they are deeper")
    if isinstance(value, Mapping):
        for name in value:
            good = isinstance(name, str) and len(name) <= LONGEST_TEXT
            bench.rule(good, "InspectedMessage.fields", _BOUNDS, f"a field is called {name!r:.100}")
        return 1 + sum(_values(bench, one, deep + 1) for one in value.values())
    if isinstance(value, str):
        bench.rule(len(value) <= LONGEST_TEXT, "InspectedMessage.fields", _BOUNDS, f"a text has {len(value)}")
        return 1
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return 1 + sum(_values(bench, one, deep + 1) for one in value)
    plain = value is None or isinstance(value, (int, float, bool))
    bench.rule(plain, "InspectedMessage.fields", "Bytes are text in hex.", f"a value is {value!r:.100}")
    return 1


def _holds_little(bench: Bench, said: bytes) -> None:
    largest: int = bench.option("largest", 4_194_304)
    junk = bench.random("held").randbytes(65_536).replace(b"\n", b" ").replace(b"\0", b" ")
    for first in (b"", said[: max(1, len(said) // 3)], said[:-1]):
        inspector = bench.cls.inspector("in")
        inspector.feed(first)
        for _ in range(2 * largest // len(junk) + 2):
            inspector.feed(junk)
            held = inspector.held
            bench.require(held <= largest, "IInspector.held", _HELD, f"of bytes that are no message it holds {held}")
