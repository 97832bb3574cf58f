"""The allow-list authenticator."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.authentication.allow_list import AllowListAuthenticator, AllowListConfig
from p2pframe.interfaces import IAuthenticator, IReconfigurable
from p2pframe.model import Action, HandshakeInfo, PeerAddress, PeerId, Slot
from p2pframe.testing.context import FakeContext

ID = "ab" * 32


def authenticator(**options):
    return AllowListAuthenticator(AllowListConfig(**options), FakeContext("authentication.allow-list"))


def peer(host, peer_id=None, port=40000):
    return HandshakeInfo(PeerAddress.of(host, port), inbound=True, peer_id=None if peer_id is None else PeerId(peer_id))


def test_it_is_an_authenticator():
    verifyClass(IAuthenticator, AllowListAuthenticator)
    verifyObject(IAuthenticator, authenticator(addresses=["::1"]))
    verifyObject(IReconfigurable, authenticator(addresses=["::1"]))


@pytest.mark.parametrize(
    ("who", "let_in"),
    [
        (peer("192.0.2.1"), True),
        (peer("192.0.2.2"), False),
        (peer("::ffff:192.0.2.1"), True),
        (peer("198.51.100.255"), True),
        (peer("198.51.101.0"), False),
        (peer("2001:db8:0:0::1"), True),
        (peer("2001:db9::1"), False),
        (peer("node.example"), True),
        (peer("other.example"), False),
        (peer("203.0.113.1", bytes.fromhex(ID)), True),
        (peer("203.0.113.1", bytes(32)), False),
        (peer("203.0.113.1"), False),
    ],
)
def test_any_one_entry_lets_in(who, let_in):
    rule = authenticator(
        addresses=["192.0.2.1", "Node.Example"], networks=["198.51.100.0/24", "2001:db8::/32"], peer_ids=[ID.upper()]
    )
    verdict = rule.admit(who, Slot.INBOUND)
    assert bool(verdict) is let_in
    if not let_in:
        assert (verdict.action, verdict.rule, verdict.reason) == (
            Action.DISCONNECT, "authentication.allow-list", "not-listed",
        )  # fmt: skip
        assert who.address.host in verdict.evidence


def test_those_we_dialled_may_be_left_out_of_it():
    rule = authenticator(addresses=["192.0.2.1"], dialled=False)
    assert rule.admit(peer("192.0.2.9"), Slot.OUTBOUND)
    assert not rule.admit(peer("192.0.2.9"), Slot.INBOUND)
    assert not authenticator(addresses=["192.0.2.1"]).admit(peer("192.0.2.9"), Slot.OUTBOUND)


def test_lists_are_live():
    rule = authenticator(addresses=["192.0.2.1"])
    rule.reconfigure(AllowListConfig(networks=["192.0.2.8/30"]))
    assert not rule.admit(peer("192.0.2.1"), Slot.INBOUND)
    assert rule.admit(peer("192.0.2.9"), Slot.INBOUND)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nobody would get in"),
        ({"addresses": []}, "nobody would get in"),
        ({"addresses": ["192.0.2.1:8333"]}, "without a port"),
        ({"addresses": ["192.0.2.0/24"]}, "networks go into networks"),
        ({"addresses": ["a b"]}, "neither an address nor a host name"),
        ({"networks": ["192.0.2.1/24"]}, "has host bits set"),
        ({"networks": ["somewhere"]}, "not a network such as"),
        ({"peer_ids": ["abc"]}, "not a peer id"),
        ({"peer_ids": [7]}, "not a peer id"),
    ],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        AllowListConfig(**options)


def test_the_config_can_be_shown_again():
    config = AllowListConfig(addresses=["::0001"], networks=["192.0.2.0/24"], peer_ids=[ID])
    shown = config.model_dump(mode="json")
    assert shown["addresses"] == ["::1"]
    assert AllowListConfig(**shown) == config
