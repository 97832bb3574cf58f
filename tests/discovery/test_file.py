"""The discovery `file`: a changed file is read, an unchanged one left alone, a wrong one named."""

import os

import pytest

from p2pframe.discovery.file import FileConfig, FileDiscovery
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import DiscoveryState
from p2pframe.testing.context import FakeContext, result_of


def made(path, **options):
    context = FakeContext("discovery.file")
    return FileDiscovery(FileConfig(path=path, **options), context), context


def found(plugin, limit=100):
    return sorted(str(one.address) for one in result_of(plugin.find(limit)))


def state(last_run):
    return DiscoveryState(10.0, 0, 8, 0, last_run)


def test_it_reads_a_file_once_and_again_when_it_has_changed(tmp_path):
    path = tmp_path / "peers"
    path.write_text("192.0.2.1:8333 # the first\n\n[2001:db8::1]:5\nseed.example\n192.0.2.1:8333\n")
    plugin, _ = made(path)
    assert found(plugin) == ["192.0.2.1:8333", "[2001:db8::1]:5", "seed.example:0"]
    assert found(plugin) == []
    other = tmp_path / "other"
    other.write_text("192.0.2.2:8333\n")
    os.replace(other, path)
    assert found(plugin) == ["192.0.2.2:8333"]


def test_it_reads_an_unchanged_file_again_after_a_while(tmp_path):
    path = tmp_path / "peers"
    path.write_text("192.0.2.1:8333\n")
    plugin, context = made(path, again="1h")
    assert found(plugin)
    context.reactor.advance(3599)
    assert not found(plugin)
    context.reactor.advance(1)
    assert found(plugin)


def test_a_file_that_is_gone_is_an_error_that_names_it_and_it_comes_back(tmp_path):
    path = tmp_path / "peers"
    plugin, _ = made(path)
    with pytest.raises(P2PFrameError, match=r"peers: No such file or directory: write the file"):
        result_of(plugin.find(9))
    path.write_text("192.0.2.1:1\n")
    assert found(plugin) == ["192.0.2.1:1"]


def test_bad_lines_cost_themselves_alone(tmp_path):
    path = tmp_path / "peers"
    path.write_bytes(b"192.0.2.1:1\n192.0.2.1:99999\n\xff\xfe:1\n a b:1\n192.0.2.2:2\n")
    plugin, context = made(path)
    assert found(plugin) == ["192.0.2.1:1", "192.0.2.2:2"]
    assert context.metrics.value("file_left_total", "bad lines") == 3


def test_a_file_without_end_is_read_so_far(tmp_path):
    path = tmp_path / "peers"
    path.write_text("".join(f"192.0.2.{n}:8333\n" for n in range(200)))
    plugin, context = made(path, largest=100, port=8333)
    assert len(found(plugin)) == 6
    assert context.metrics.value("file_left_total", "bytes") > 2000


def test_more_addresses_than_are_taken_at_once_are_counted(tmp_path):
    path = tmp_path / "peers"
    path.write_text("".join(f"192.0.2.{n}:8333\n" for n in range(200)))
    plugin, context = made(path)
    assert len(found(plugin, 50)) == 50
    assert context.metrics.value("file_left_total", "addresses") == 150


def test_it_looks_as_often_as_it_is_told():
    plugin, _ = made("peers", look="5s")
    assert [plugin.due(state(last)) for last in (None, 4.0, 5.0)] == [True, False, True]
