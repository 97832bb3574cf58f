"""Lists of peers from who means us ill: the `http` discovery and its server, the `file` discovery and its file."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from p2pframe.discovery.file import FileConfig, FileDiscovery
from p2pframe.errors import P2PFrameError
from p2pframe.testing.context import FakeContext, result_of
from tests.discovery.test_http import MOVED, World, signed
from tests.work import Work

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@implementer(IPullProducer)
class Endless:
    """Says `first`, and then `again` whenever there is room, for ever; `sent` counts."""

    def __init__(self, transport, first, again):
        self.transport, self.again, self.sent = transport, again, 0
        transport.write(first)
        transport.registerProducer(self, False)

    def resumeProducing(self):
        self.sent += len(self.again)
        assert self.sent < 40_000_000, "the connection is not cut"
        self.transport.write(self.again)

    def stopProducing(self):
        self.transport = None


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (OK + b"\r\n", b"x" * 20_000),
        (OK + b"Content-Length: 99999999999\r\n\r\n", b"x\n" * 10_000),
        (CHUNKED, b"4e20\r\n" + b"x" * 20_000 + b"\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 4000),
        (b"HTTP/1.1 302 Found\r\n\r\n", b"x" * 20_000),
        (OK, b"".join(b"H%d: %s\r\n" % (n, b"y" * 80) for n in range(250))),
        (OK + b"H: ", b"y" * 20_000),
        (OK + b"H: ", b" y\r\n" * 5000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 800),
    ],
    ids=["a body", "its length said", "chunks", "chunks of a byte", "a redirect", "headers", "one header",
         "one header in many lines", "to be continued"],
)  # fmt: skip
def test_what_never_ends_is_cut_off_within_bounds_of_memory_and_time(first, again):
    made = []
    world = World(lambda transport: made.append(Endless(transport, first, again)))
    tracemalloc.start()
    try:
        with Work(100_000):
            said = world.refused()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "larger than 1000000 bytes (largest)" in said and said.startswith("http://203.0.113.5/list: ")
    assert peak < 25_000_000
    world.simulation.run(5)
    assert made[0].transport is None, "its connection is gone"
    world.factory.answer = signed()
    assert world.found(), "and the next list is taken"


def test_a_list_that_comes_a_byte_at_a_time_has_so_much_time_and_no_more():
    whole = OK + b"Content-Length: %d\r\n\r\n" % len(signed()) + signed()

    def dribble(transport, at=0):
        transport.write(whole[at : at + 1])
        world.simulation.clock.callLater(1.0, dribble, transport, at + 1)

    world = World(dribble)
    start = world.simulation.clock.seconds()
    assert "did not come within 20 s" in world.refused()
    assert world.simulation.clock.seconds() - start < 21

    def bytewise(transport):
        for at in range(len(whole)):
            transport.write(whole[at : at + 1])

    world.factory.answer = bytewise
    assert world.found(), "as bytes it is the same list"


def test_redirects_in_a_loop_are_not_followed_even_once():
    world = World(lambda transport: transport.write(MOVED.replace(b"192.0.2.1/", b"203.0.113.5/list")))
    assert "says 302, not 200 (redirects are not followed)" in world.refused()
    assert len(world.factory.asked) == 1


def test_a_wrong_signature_and_an_older_serial_change_nothing_that_is_kept():
    world = World(signed(serial=8))
    assert world.found()
    forger = Ed25519PrivateKey.generate()
    world.factory.answer = signed(serial=99, secret=forger)
    assert "not by the key that the config pins" in world.refused()
    for serial in (7, 0):
        world.factory.answer = signed(serial=serial)
        assert f"its serial is {serial}, and 8 has been seen" in world.refused()
    world.factory.answer = signed(serial=8)
    assert world.found(), "the forged serial is not remembered"


def test_ten_million_lines_are_no_list():
    lines = b"192.0.2.1:1\n" * 10_000_000
    world = World(lambda transport: Endless(transport, OK + b"Content-Length: %d\r\n\r\n" % len(lines), lines[:24_000]))
    assert "larger than 1000000 bytes" in world.refused()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda to: to.loseConnection(), "no answer in HTTP"),
        (lambda to: to.write(b"\xff" * 900) or to.loseConnection(), "no answer in HTTP"),
        (lambda to: to.write(b"SSH-2.0-x\r\n\r\n"), "no answer in HTTP"),
    ],
    ids=["hangs up", "ones", "another protocol"],
)
def test_what_is_no_http_is_said_in_words(answer, why):
    said = World(answer).refused()
    assert why in said and "<twisted" not in said


def test_a_list_without_a_length_ends_with_its_connection():
    assert World(lambda to: to.write(OK + b"\r\n" + signed()) or to.loseConnection()).found()


# --- the file ---


def look(path, **options):
    context = FakeContext("discovery.file")
    plugin = FileDiscovery(FileConfig(path=path, **options), context)
    return plugin, context


def found(plugin):
    return sorted(str(one.address) for one in result_of(plugin.find(100)))


@pytest.mark.parametrize("first", [b"", b"192.0.2.1:1\n"])
def test_a_sparse_file_of_a_gigabyte_costs_a_megabyte(tmp_path, first):
    path = tmp_path / "peers"
    path.write_bytes(first)
    os.truncate(path, 1_000_000_000)
    plugin, context = look(path)
    tracemalloc.start()
    with Work(5_000):
        told = found(plugin)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == (["192.0.2.1:1"] if first else [])
    assert peak < 10_000_000
    assert context.metrics.value("file_left_total", "bytes") == 999_000_000
    assert found(plugin) == [], "nor is it read again"


@pytest.mark.parametrize("kind", ["fifo", "a fifo with a writer", "directory", "device", "a link to a directory"])
def test_what_is_no_regular_file_is_an_error_at_once_and_holds_no_thread(tmp_path, kind):
    path = tmp_path / "peers"
    writer = None
    if "fifo" in kind:
        os.mkfifo(path)
        if "writer" in kind:
            writer = os.open(path, os.O_RDWR)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path)
    plugin, _ = look(path)
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(P2PFrameError, match="peers: not a regular file: write one, one address a line"):
            result_of(plugin.find(9))
    assert len(os.listdir("/proc/self/fd")) == opened
    if writer is not None:
        os.close(writer)
    path.rmdir() if kind == "directory" else path.unlink()
    path.write_text("192.0.2.1:1\n")
    assert found(plugin) == ["192.0.2.1:1"]


def test_a_link_that_leads_in_a_circle_is_an_error(tmp_path):
    (tmp_path / "peers").symlink_to(tmp_path / "peers")
    with pytest.raises(P2PFrameError, match="Too many levels of symbolic links"):
        result_of(look(tmp_path / "peers")[0].find(9))


@pytest.mark.parametrize("bad", [b"\xff\xfe:1", b"\xc3(:1", b"\xed\xa0\x80:1", b"\0" * 50, b"1" * 5000 + b":1"])
def test_lines_of_invalid_utf8_and_other_nonsense_cost_themselves_alone(tmp_path, bad):
    path = tmp_path / "peers"
    path.write_bytes(b"192.0.2.1:1\n" + (bad + b"\n") * 100 + b"192.0.2.2:1\n")
    plugin, context = look(path)
    assert found(plugin) == ["192.0.2.1:1", "192.0.2.2:1"]
    assert context.metrics.value("file_left_total", "bad lines") == 100
