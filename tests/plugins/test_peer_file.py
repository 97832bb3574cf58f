"""The peer-file discovery."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import DiscoveryState, IDiscovery, IReconfigurable
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from plugins.peer_file import PeerFileConfig, PeerFileDiscovery, read_peers

GOOD = """
# kept up to date by somebody
192.0.2.1:8333   # the first
[2001:db8::1]:8333
node.example:18444
192.0.2.2
192.0.2.1:8333
not an address
192.0.2.3:port
k\u00e4se.example:1
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "peers.txt"
    path.write_text(GOOD)
    return path


def discovery(path, seed=0, **options):
    return PeerFileDiscovery(PeerFileConfig(path=path, **options), FakeContext("discovery.peer-file", seed=seed))


def addresses(found):
    return [str(entry.address) for entry in found]


def state(last_run):
    return DiscoveryState(uptime=0.0, outbound=0, wanted=8, book_size=0, last_run=last_run)


def test_it_is_a_discovery(path):
    verifyClass(IDiscovery, PeerFileDiscovery)
    plugin = discovery(path)
    verifyObject(IDiscovery, plugin)
    verifyObject(IReconfigurable, plugin)
    assert result_of(plugin.announce([])) is None
    assert result_of(plugin.withdraw()) is None


def test_good_lines_are_taken_and_bad_ones_counted(path):
    plugin = discovery(path)
    assert sorted(addresses(result_of(plugin.find(100)))) == [
        "192.0.2.1:8333", "192.0.2.2:0", "[2001:db8::1]:8333", "node.example:18444",
    ]  # fmt: skip
    assert plugin.context.metrics.value("peer_file_left_total", "bad lines") == 3
    assert plugin.context.worked == 1
    assert "192.0.2.2:7" in addresses(result_of(discovery(path, port=7).find(100)))


def test_of_too_many_some_are_drawn(path):
    path.write_text("".join(f"192.0.2.{n}:1\n" for n in range(200)))
    first = discovery(path, seed=1)
    drawn = addresses(result_of(first.find(10)))
    assert len(drawn) == 10
    assert drawn == addresses(result_of(discovery(path, seed=1).find(10)))
    assert drawn != addresses(result_of(discovery(path, seed=2).find(10)))
    assert first.context.metrics.value("peer_file_left_total", "addresses") == 190


def test_of_a_huge_file_the_beginning_is_read_and_no_address_is_cut(path):
    path.write_text("192.0.2.1:8333\n" * 3 + "192.0.2.99:8333\n")
    parsed = read_peers(path, 0, largest=55)
    assert parsed.addresses == [PeerAddress("192.0.2.1", 8333)]
    assert parsed.unread == path.stat().st_size - 55
    assert parsed.bad_lines == 0


def test_it_is_read_now_and_then(path):
    plugin = discovery(path, interval="5min")
    assert plugin.due(state(None))
    assert not plugin.due(state(299.0))
    assert plugin.due(state(300.0))
    plugin.reconfigure(PeerFileConfig(path=path, interval="1min"))
    assert plugin.due(state(60.0))


def test_a_missing_file_fails_the_look_for_core_to_retry(tmp_path):
    with pytest.raises(FileNotFoundError):
        result_of(discovery(tmp_path / "nowhere").find(10))


@given(st.binary(max_size=500), st.integers(1, 500))
def test_no_file_makes_it_fail(tmp_path_factory, data, largest):
    path = tmp_path_factory.mktemp("fuzz") / "peers"
    path.write_bytes(data)
    parsed = read_peers(path, 1, largest)
    assert all(isinstance(address, PeerAddress) for address in parsed.addresses)


@pytest.mark.parametrize("options", [{}, {"path": "x", "port": 0}, {"path": "x", "interval": "0s"}])
def test_mistakes_in_the_config_are_told(options):
    with pytest.raises(ValidationError):
        PeerFileConfig(**options)
