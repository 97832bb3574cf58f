"""The version authenticator."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.authentication.version import VersionAuthenticator, VersionConfig
from p2pframe.interfaces import IAuthenticator, IReconfigurable
from p2pframe.model import Action, HandshakeInfo, PeerAddress, Slot
from p2pframe.testing.context import FakeContext


def authenticator(**options):
    return VersionAuthenticator(VersionConfig(**options), FakeContext("authentication.version"))


def peer(version=70016, *services):
    return HandshakeInfo(PeerAddress("192.0.2.1", 8333), inbound=False, version=version, services=frozenset(services))


def test_it_is_an_authenticator():
    verifyClass(IAuthenticator, VersionAuthenticator)
    verifyObject(IAuthenticator, authenticator())
    verifyObject(IReconfigurable, authenticator())


@pytest.mark.parametrize(
    ("version", "let_in"), [(70016, True), (70015, True), (70014, False), (None, False), (0, False)]
)
def test_old_versions_stay_out(version, let_in):
    verdict = authenticator(minimum=70015).admit(peer(version), Slot.INBOUND)
    assert bool(verdict) is let_in
    if not let_in:
        assert (verdict.action, verdict.rule, verdict.reason) == (
            Action.DISCONNECT, "authentication.version", "old-version",
        )  # fmt: skip
        assert "70015" in verdict.evidence


def test_without_a_minimum_no_version_is_needed():
    assert authenticator().admit(peer(None), Slot.INBOUND)


@pytest.mark.parametrize("slot", list(Slot))
def test_services_are_asked_of_those_we_dialled(slot):
    rule = authenticator(services=["NETWORK", "WITNESS"])
    assert rule.admit(peer(70016, "NETWORK", "WITNESS", "BLOOM"), slot)
    verdict = rule.admit(peer(70016, "WITNESS"), slot)
    assert bool(verdict) is (slot is Slot.INBOUND)
    if slot.dialled:
        assert verdict.reason == "missing-services"
        assert verdict.evidence == "lacks NETWORK; offers WITNESS"


def test_inbound_ones_may_be_asked_for_services_of_their_own():
    rule = authenticator(inbound_services=["NETWORK"])
    assert rule.admit(peer(), Slot.INBOUND).reason == "missing-services"
    assert rule.admit(peer(), Slot.OUTBOUND)


def test_evidence_is_bounded():
    verdict = authenticator(services=["NETWORK"]).admit(peer(1, *(f"X{n}" for n in range(1000))), Slot.OUTBOUND)
    assert len(verdict.evidence) < 300


def test_options_are_live():
    rule = authenticator(minimum=80000)
    assert not rule.admit(peer(), Slot.INBOUND)
    rule.reconfigure(VersionConfig(minimum=70000))
    assert rule.admit(peer(), Slot.INBOUND)
