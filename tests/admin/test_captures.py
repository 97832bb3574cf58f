"""Captures: their format, and their bounds."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.admin.capturing import CaptureRefused, Captures
from p2pframe.capture_file import CaptureError, Record, decode, encode_head, encode_record
from p2pframe.cli.capture import show
from p2pframe.interfaces import Event
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot
from p2pframe.testing.context import FakeContext

records = st.builds(
    lambda micro, way, data: Record(micro / 1e6, way, data),
    st.integers(0, 10**12), st.sampled_from(["in", "out"]), st.binary(max_size=100),
)  # fmt: skip


@given(st.lists(records, max_size=20), st.integers(0, 200))
def test_what_is_written_is_read_and_a_file_cut_short_is_good_until_there(written, cut):
    data = encode_head({"network": "n", "began": 1.5}) + b"".join(map(encode_record, written))
    head, read = decode(data)
    assert head == {"network": "n", "began": 1.5}
    assert [(round(one.seconds * 1e6), *one[1:]) for one in read] == [(round(w.seconds * 1e6), *w[1:]) for w in written]
    body = len(encode_head({"network": "n", "began": 1.5}))
    _, read = decode(data[: max(body, len(data) - cut)])
    assert len(list(read)) <= len(written)


@given(st.binary(max_size=300))
def test_fuzz_any_bytes_are_a_capture_or_a_clear_error(data):
    for text in (data, b"p2pcap1\n" + data, encode_head({}) + data):
        try:
            _, read = decode(text)
            assert sum(len(one.data) for one in read) <= len(text)
        except CaptureError:
            pass


class World:
    def __init__(self, tmp_path, most=2, largest=10_000, quota=15_000, files=100):
        self.context = FakeContext("application.admin", data_dir=tmp_path)
        self.taps = {}
        self.subscribers = []
        self.bounds = (most, largest, quota, files)
        self.captures = Captures(self.context, self, self, tmp_path / "captures", lambda: self.bounds)

    def tap(self, network, session, callback):
        if session == 99:
            return None
        self.taps[session] = callback
        return lambda: self.taps.update({session: None})

    def subscribe(self, callback):
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def begin(self, number, seconds=60.0):
        session = SessionSnapshot(
            SessionId(number), "My Net", PeerAddress("192.0.2.1", 8333), "g", Slot.INBOUND, "open", "tcp", 0.0,
            0.0, True,
        )  # fmt: skip
        return self.captures.begin(session, "bitcoin", seconds)

    def read(self, name):
        return list(decode(self.captures.path(name).read_bytes())[1])


def test_what_a_session_says_is_in_a_file_of_our_own(tmp_path):
    world = World(tmp_path)
    name = world.begin(7)
    world.taps[7]("in", b"hello")
    world.context.reactor.advance(0.5)
    world.taps[7]("out", b"you")
    world.context.reactor.advance(1.0)
    assert [(one.way, one.data) for one in world.read(name)] == [("in", b"hello"), ("out", b"you")]
    assert world.read(name)[1].seconds == 0.5
    assert os.stat(tmp_path / "captures" / name).st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / "captures").st_mode & 0o777 == 0o700
    assert world.captures.list() == [(name, os.stat(tmp_path / "captures" / name).st_size, True)]
    assert not world.captures.delete(name), "it is under way"
    assert world.captures.stop("My Net", SessionId(7))
    assert world.taps[7] is None
    assert not world.captures.stop("My Net", SessionId(7))
    assert world.captures.delete(name)
    assert world.captures.list() == []
    assert world.subscribers == []


def test_it_ends_by_its_time_its_size_its_session_and_with_the_node(tmp_path):
    world = World(tmp_path, most=9, quota=10**6)
    by_time, by_size, by_session, by_stop = (world.begin(n, 5.0 if n == 1 else 500.0) for n in (1, 2, 3, 4))
    for _ in range(20):
        world.taps[2]("in", bytes(1000)) if world.taps[2] else None
    world.context.reactor.advance(5.0)
    for callback in list(world.subscribers):
        callback(Event(1, 0.0, "session.closed", "My Net", SessionId(3), None))
    assert [on for _, _, on in world.captures.list()] == [False, False, False, True]
    assert 8 <= len(world.read(by_size)) <= 10
    world.captures.stop_all()
    assert not any(on for _, _, on in world.captures.list())
    assert world.context.reactor.getDelayedCalls() == []
    assert world.subscribers == []
    assert {by_time, by_session, by_stop} < {name for name, _, _ in world.captures.list()}


def test_what_is_refused(tmp_path):
    world = World(tmp_path)
    world.begin(1)
    with pytest.raises(CaptureRefused, match="captured already"):
        world.begin(1)
    world.begin(2)
    with pytest.raises(CaptureRefused, match="2 sessions are captured already"):
        world.begin(3)
    world.bounds = (9, 10_000, 15_000, 100)
    with pytest.raises(CaptureRefused, match="has ended"):
        world.begin(99)
    for session in (1, 2):
        for _ in range(20):
            if world.taps[session]:
                world.taps[session]("in", bytes(900))
    world.context.reactor.advance(2.0)
    assert 13_000 < world.captures.total() <= 15_000
    world.bounds = (9, 10_000, 10_000, 100)
    with pytest.raises(CaptureRefused, match="fill the 10000 bytes"):
        world.begin(4)


def test_there_are_so_many_files_and_deleting_makes_room(tmp_path):
    world = World(tmp_path, files=1)
    name = world.begin(1)
    with pytest.raises(CaptureRefused, match="there are 1 captures already"):
        world.begin(2)
    world.captures.stop("My Net", SessionId(1))
    assert world.captures.delete(name)
    assert world.begin(2)


def test_a_full_disk_ends_it_and_nothing_else(tmp_path):
    world = World(tmp_path)
    name = world.begin(1)
    (tmp_path / "captures" / name).mkdir()
    world.taps[1]("in", b"x")
    world.context.reactor.advance(2.0)
    assert world.taps[1] is None


@pytest.mark.parametrize("name", ["../key", "..", "key", "/etc/passwd", "a.p2pcap/../../key", "", "x.p2pcap\0"])
def test_no_other_file_is_reached(tmp_path, name):
    (tmp_path / "key").write_text("secret")
    world = World(tmp_path)
    world.begin(1)
    assert world.captures.path(name) is None
    assert not world.captures.delete(name)
    assert (tmp_path / "key").exists()


def test_the_command_shows_it(tmp_path):
    path = tmp_path / "a.p2pcap"
    path.write_bytes(encode_head({"network": "n"}) + encode_record(Record(1.25, "in", b"hi\n" + bytes(100))))
    said = CliRunner().invoke(show, [str(path), "--bytes", "4"])
    assert said.output == "network: n\n    1.250000 in       103 68690a00...  hi.....\n"
    assert '"way": "in"' in CliRunner().invoke(show, [str(path), "--json"]).output
    path.write_bytes(b"nothing")
    said = CliRunner().invoke(show, [str(path)])
    assert (said.exit_code, "this is no capture" in said.output) == (1, True)
