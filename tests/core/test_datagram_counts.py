"""What came in over datagrams, by type, as the protocol counts it: bounded, and a protocol that fails hides nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock
from zope.interface import implementer

from p2pframe.core.datagrams import KINDS, DatagramGate
from p2pframe.interfaces import ICountsMessages
from p2pframe.testing.context import FakeMetrics


@implementer(ICountsMessages)
class Counting:
    def __init__(self, messages):
        self.messages = messages


@implementer(ICountsMessages)
class Failing:
    @property
    def messages(self):
        raise RuntimeError("no counts today")


class Network:
    protocol_name = "made"

    def __init__(self):
        self.clock = Clock()
        self.metrics = FakeMetrics()
        self.failed = []

    def call_plugin(self, label, where, otherwise, method):
        try:
            return method()
        except RuntimeError:
            self.failed.append((label, where))
            return otherwise


@pytest.fixture
def sums_of():
    def made(*receivers):
        network, sums = Network(), {}
        for receiver in receivers:
            gate = DatagramGate(network, SimpleNamespace())
            gate._receiver = receiver
            gate.add_messages(sums)
        return sums, network.failed

    return made


def test_sockets_of_a_network_are_summed_and_what_never_came_is_left_out(sums_of):
    sums, _ = sums_of(Counting({"ping": (2, 100), "get": (0, 0)}), None, object(), Counting({"ping": (1, 50)}))
    assert sums == {"ping": (3, 150)}


def test_types_beyond_the_bound_are_counted_together(sums_of):
    sums, _ = sums_of(Counting({f"kind{number}": (1, 10) for number in range(KINDS + 40)}))
    assert len(sums) == KINDS + 1 and sums["other"] == (40, 400)


def test_a_protocol_that_fails_is_named(sums_of):
    sums, failed = sums_of(Failing(), Counting({"ping": (1, 50)}))
    assert sums == {"ping": (1, 50)} and failed == [("protocol.made", "messages")]
