"""Protocols that can be inspected in their suite: Bitcoin's, and wrong ones that it finds."""

from __future__ import annotations

import pytest
from zope.interface import implementer, provider

from p2pframe.interfaces import IInspectable, IInspector, INetworkProtocol, InspectedMessage
from p2pframe.protocols.bitcoin.inspection import Inspector
from p2pframe.protocols.bitcoin.protocol import BitcoinProtocol
from p2pframe.testing.conformance import Bench, NonConformance, inspection
from p2pframe.testing.conformance.line_inspector import StandInInspectable, StandInInspector


def put_through(inspector, provides=True):
    """The suite of Bitcoin's protocol with another inspector."""

    class Other(BitcoinProtocol):
        """Bitcoin, seen by somebody else."""

        @classmethod
        def inspector(cls, way):
            return inspector()

    implementer(IInspectable)(Other)
    if provides:
        provider(IInspectable)(Other)
    bench = Bench(Other, INetworkProtocol, "protocol", {"chain": "regtest"}, {})
    try:
        inspection.suite(bench)
    finally:
        bench.close()


def test_bitcoins_passes():
    put_through(Inspector)


def test_the_stand_in_keeps_the_interface():
    assert IInspectable.providedBy(StandInInspectable)
    stream, found = b"one a\ntwo b!\nthr", []
    inspector = StandInInspectable.inspector("in")
    assert IInspector.providedBy(inspector)
    for at in range(len(stream)):
        found += inspector.feed(stream[at : at + 1])
    assert [(one.name, one.error) for one in found] == [("one", ""), ("two", "it has a !")]
    assert inspector.held == 3
    found += inspector.end()
    assert b"".join(one.raw for one in found) == stream
    assert StandInInspector().feed(b"x" * 25_000)[1].error == "it is too long"


class Wrong(Inspector):
    """One that is as good as Bitcoin's, but for what a test changes."""

    change = staticmethod(lambda message: message)

    def feed(self, data):
        return [self.change(message) for message in super().feed(data)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda one: InspectedMessage(one.name, one.raw[:-1], one.fields, one.error), "no byte is lost"),
        (lambda one: InspectedMessage("", one.raw), "whatever the bytes are|as people call it|with an `error`"),
        (lambda one: InspectedMessage(one.name, one.raw, {"x": b"bytes"}, one.error), "Bytes are text in hex"),
        (lambda one: InspectedMessage(one.name, one.raw, {"x": "x" * 1001}, one.error), "LONGEST_TEXT"),
        (lambda one: InspectedMessage(one.name, one.raw, {"x": list(range(500))}, one.error), "MOST_VALUES"),
        (lambda one: InspectedMessage(one.name, one.raw, {"x": [[[[[[[[[]]]]]]]]]}, one.error), "DEEPEST"),
    ],
)
def test_wrong_messages_are_found(change, sentence):
    with pytest.raises(NonConformance, match=sentence):
        put_through(type("Changing", (Wrong,), {"change": staticmethod(change)}))


class Raising(Wrong):
    def feed(self, data):
        if data[:1] == b"\xff":
            raise ValueError("what is this?")
        return super().feed(data)


class BySplits(Wrong):
    def feed(self, data):
        return [InspectedMessage(one.name, one.raw, {"read": len(data)}) for one in super().feed(data)]


class Hoarding(Wrong):
    kept = b""

    def feed(self, data):
        self.kept += data
        return []

    @property
    def held(self):
        return len(self.kept)

    def end(self):
        return [InspectedMessage("all", self.kept)] if self.kept else []


@pytest.mark.parametrize(
    ("inspector", "sentence"),
    [(Raising, "Raises nothing"), (BySplits, "however they are split"), (Hoarding, "longest there can be")],
)
def test_wrong_inspectors_are_found(inspector, sentence):
    with pytest.raises(NonConformance, match=sentence):
        put_through(inspector)


def test_a_class_that_needs_a_node_is_found():
    with pytest.raises(NonConformance, match="the class provides this too"):
        bench = Bench(Needy, INetworkProtocol, "protocol", {"chain": "regtest"}, {})
        inspection.suite(bench)


@implementer(IInspectable)
class Needy(BitcoinProtocol):
    """Its class provides nothing."""
