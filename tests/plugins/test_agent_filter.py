"""The agent filter: patterns over what peers call themselves; each refusal names its pattern."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IAuthenticator
from p2pframe.model import HandshakeInfo, PeerAddress, Slot
from p2pframe.testing.context import FakeContext
from tests.work import Work


def admit(plugin, agent, slot=Slot.INBOUND):
    return plugin.admit(HandshakeInfo(PeerAddress("192.0.2.1", 1), not slot.dialled, agent=agent), slot)


def test_whoever_matches_is_refused_with_the_pattern_as_evidence(made):
    plugin = made("authentication", "agent", FakeContext(), refuse=["*crawler*", "/snoop:*"])
    verifyObject(IAuthenticator, plugin)
    assert admit(plugin, "/Satoshi:29.0.0/")
    verdict = admit(plugin, "/Big-CRAWLER:1.0/")
    assert not verdict
    assert (verdict.rule, verdict.reason) == ("authentication.agent", "unwanted-agent")
    assert verdict.evidence == "'/big-crawler:1.0/' matches '*crawler*'"
    assert not admit(plugin, "/Snoop:2/")
    assert admit(plugin, "")


def test_only_those_named_come_in_where_some_are(made):
    plugin = made("authentication", "agent", FakeContext(), only=["/p2pframe:*"], refuse=["*:0.1*"])
    assert admit(plugin, "/p2pframe:1.0/")
    assert not admit(plugin, "/p2pframe:0.1/")
    assert "none of those" in admit(plugin, "other").evidence


def test_peers_that_we_dialled_are_asked_only_where_the_config_says_so_and_manual_ones_never(made):
    lenient, strict = (made("authentication", "agent", FakeContext(), refuse=["*"], dialled=d) for d in (False, True))
    assert admit(lenient, "x", Slot.OUTBOUND) and not admit(strict, "x", Slot.OUTBOUND)
    assert admit(lenient, "x", Slot.MANUAL) and admit(strict, "x", Slot.MANUAL)


@pytest.mark.parametrize("agent", ["a" * 1_000_000, "*[" * 1000, "ab" * 128 + "c"])
def test_what_a_peer_calls_itself_costs_little_whatever_it_is(made, agent):
    plugin = made("authentication", "agent", FakeContext(), refuse=["*a*b*a*b*a*b*a*b*x"] * 20)
    with Work(20_000):
        assert admit(plugin, agent)


def test_new_patterns_hold_for_the_next(made, example):
    plugin = made("authentication", "agent", FakeContext())
    assert admit(plugin, "x")
    plugin.reconfigure(example("authentication", "agent").__p2pframe_plugin__.config(refuse=("x",)))
    assert not admit(plugin, "x")
