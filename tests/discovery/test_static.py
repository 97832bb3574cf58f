"""The static discovery: what the config names, once, and again after a change."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.discovery.static import StaticConfig, StaticDiscovery
from p2pframe.interfaces import DiscoveryState, IDiscovery, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.testing.context import FakeContext, result_of

STATE = DiscoveryState(uptime=0.0, outbound=0, wanted=8, book_size=0, last_run=None)


def static(*peers):
    return StaticDiscovery(StaticConfig(peers=peers), FakeContext("discovery.static"))


def test_it_is_a_discovery_of_manual_peers():
    verifyClass(IDiscovery, StaticDiscovery)
    discovery = static("127.0.0.1:1")
    verifyObject(IDiscovery, discovery)
    verifyObject(IReconfigurable, discovery)
    assert discovery.manual
    assert result_of(discovery.announce([])) is None
    assert result_of(discovery.withdraw()) is None


def test_it_tells_addresses_names_and_ids_once():
    discovery = static(
        "127.0.0.1:1", "[::1]:2", "node.example:3", {"address": "192.0.2.1:4", "peer_id": "AB:" * 31 + "AB"}
    )
    assert discovery.due(STATE)
    assert result_of(discovery.find(100)) == [
        FoundAddress(PeerAddress("127.0.0.1", 1)),
        FoundAddress(PeerAddress("::1", 2)),
        FoundAddress(PeerAddress("node.example", 3, "name")),
        FoundAddress(PeerAddress("192.0.2.1", 4), peer_id=b"\xab" * 32),
    ]
    assert not discovery.due(STATE)


def test_a_changed_list_is_told_again():
    discovery = static("127.0.0.1:1")
    discovery.find(100)
    discovery.reconfigure(StaticConfig(peers=["127.0.0.1:2"]))
    assert discovery.due(STATE)
    assert [found.address.port for found in result_of(discovery.find(100))] == [2]
    assert not discovery.due(STATE)


def test_what_is_over_the_limit_is_counted():
    discovery = static("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    assert len(result_of(discovery.find(2))) == 2
    assert discovery.context.metrics.value("static_left_out_total") == 1


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ([], "at least 1 item"),
        (["127.0.0.1"], "has no port"),
        (["127.0.0.1:0"], "port 0"),
        (["127.0.0.1:1", "127.0.0.1:1"], "is there twice"),
        ([{"address": "127.0.0.1:1", "peer_id": "xyz"}], "not a peer id"),
        ([{"address": "127.0.0.1:1", "peer": "x"}], "Extra inputs"),
        ([{"peer_id": "11" * 32}], "Field required"),
        ([5], "valid dictionary"),
    ],
)
def test_mistakes_in_the_config_are_told(peers, said):
    with pytest.raises(ValidationError, match=said):
        StaticConfig(peers=peers)


def test_the_config_can_be_shown_again():
    config = StaticConfig(peers=["127.0.0.1:1", {"address": "[::1]:2", "peer_id": "11" * 32}])
    shown = config.model_dump(mode="json")
    assert shown == {
        "peers": [{"address": "127.0.0.1:1", "peer_id": None}, {"address": "[::1]:2", "peer_id": "11" * 32}]
    }
    assert StaticConfig(**shown) == config
    assert "anyOf" in StaticConfig.model_json_schema()["properties"]["peers"]["items"]
