"""Captures: their format, and their bounds."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from p2pframe.admin.capturing import CaptureBounds, CaptureRefused, Captures
from p2pframe.capture_file import CaptureError, Record, decode, encode_head, encode_record
from p2pframe.cli.capture import show
from p2pframe.interfaces import Event
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.frame import frame
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
    def __init__(self, tmp_path, most=2, largest=10_000, quota=15_000, files=100, parts=1):
        self.context = FakeContext("application.admin", data_dir=tmp_path)
        self.taps = {}
        self.subscribers = []
        self.bounds = CaptureBounds(most, largest, quota, files, parts)
        self.turned_away = Counter()
        self.captures = Captures(
            self.context, self, self, tmp_path / "captures", lambda: self.bounds,
            lambda name: self.turned_away.update([name]),
        )  # fmt: skip

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
    size = os.stat(tmp_path / "captures" / name).st_size
    assert world.captures.list() == [(name, size, True, float(name.split("-")[0]), ("My Net", 7))]
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
    assert [one.running for one in world.captures.list()] == [False, True, False, True]
    assert world.taps[2] is not None, "it goes on in a next file"
    world.captures.stop_all()
    assert not any(one.running for one in world.captures.list())
    assert world.context.reactor.getDelayedCalls() == []
    assert world.subscribers == []
    assert {by_time, by_session, by_stop} < {one.name for one in world.captures.list()}


def test_what_is_refused(tmp_path):
    world = World(tmp_path)
    world.begin(1)
    with pytest.raises(CaptureRefused, match="captured already"):
        world.begin(1)
    world.begin(2)
    with pytest.raises(CaptureRefused, match="2 sessions are captured already"):
        world.begin(3)
    world.bounds = CaptureBounds(9, 10_000, 15_000, 100, 2)
    with pytest.raises(CaptureRefused, match="has ended"):
        world.begin(99)
    for session in (1, 2):
        for _ in range(20):
            if world.taps[session]:
                world.taps[session]("in", bytes(900))
    world.context.reactor.advance(2.0)
    assert 13_000 < world.captures.total() <= 15_000
    world.bounds = CaptureBounds(9, 10_000, 10_000, 100, 2)
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


def test_a_full_file_goes_on_in_a_next_one_and_the_oldest_make_room(tmp_path):
    world = World(tmp_path, largest=10_000, quota=10**6, parts=3)
    first = world.begin(1)
    stem = first.removesuffix(".p2pcap")
    for number in range(120):
        world.taps[1]("in", bytes([number]) * 1000)
        world.context.reactor.advance(0.1)
    world.context.reactor.advance(2.0)
    found = world.captures.list()
    assert [one.name for one in found] == [f"{stem}-{part}.p2pcap" for part in (12, 13, 14)]
    assert [one.running for one in found] == [False, False, True]
    assert all(8_000 < one.size <= 10_000 for one in found[:2])
    # Each can be read by itself, and together they are the end of what was said, without a gap.
    data = b"".join(record.data for one in found for record in world.read(one.name))
    assert data == b"".join(bytes([number]) * 1000 for number in range(120))[-len(data) :]
    heads = [decode(world.captures.path(one.name).read_bytes())[0] for one in found]
    assert [head["part"] for head in heads] == [12, 13, 14]
    assert len({head["began"] for head in heads}) == 1
    assert [head["heard"] for head in heads] == sorted(head["heard"] for head in heads)
    assert heads[0]["heard"] > 0, "later files do not begin with a handshake"
    assert world.read(found[1].name)[0].seconds > world.read(found[0].name)[-1].seconds
    assert (world.turned_away["capture_largest"], world.turned_away["capture_parts"]) == (13, 11)
    assert {os.stat(path).st_mode & 0o777 for path in (tmp_path / "captures").iterdir()} == {0o600}


def test_the_quota_holds_over_all_and_takes_of_a_captures_own(tmp_path):
    world = World(tmp_path, largest=10_000, quota=35_000, parts=100)
    one, other = world.begin(1, 500.0), world.begin(2)
    world.captures.stop("My Net", SessionId(2))
    for _ in range(100):
        world.taps[1]("out", bytes(1000))
        world.context.reactor.advance(1.0)
        assert world.captures.total() <= 35_000
    assert world.taps[1] is not None
    assert other in {file.name for file in world.captures.list()}, "another capture's file is left alone"
    assert one not in {file.name for file in world.captures.list()}
    assert world.turned_away["capture_quota"] > 5


def test_where_no_file_may_be_begun_its_own_oldest_goes_or_it_ends(tmp_path):
    world = World(tmp_path, files=2, parts=100, quota=10**6)
    world.begin(1)
    for _ in range(60):
        world.taps[1]("in", bytes(1000))
    world.context.reactor.advance(2.0)
    assert len(world.captures.list()) == 2
    world.bounds = world.bounds._replace(files=1)
    for _ in range(10):
        if world.taps[1]:
            world.taps[1]("in", bytes(1000))
    assert world.taps[1] is not None
    (tmp_path / "other").mkdir()
    world = World(tmp_path / "other", quota=10**6, parts=5)
    names = [world.begin(1), world.begin(2)]
    world.bounds = world.bounds._replace(files=1)
    for _ in range(10):
        if world.taps[1]:
            world.taps[1]("in", bytes(1000))
    assert world.taps[1] is None
    assert world.turned_away["capture_files"] == 1
    assert len(world.read(names[0])) > 5, "what it has is kept"


def test_a_read_larger_than_a_file_is_parted_and_whole(tmp_path):
    world = World(tmp_path, largest=10_000, quota=10**6, parts=100)
    world.begin(1)
    data = bytes(range(256)) * 300
    world.taps[1]("in", data)
    world.context.reactor.advance(2.0)
    found = world.captures.list()
    assert len(found) > 5
    assert all(one.size <= 10_000 for one in found)
    assert b"".join(record.data for one in found for record in world.read(one.name)) == data


class Slow(FakeContext):
    """A context whose jobs wait for the test."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.jobs = []

    def work(self, function, *args):
        done = Deferred()
        self.jobs.append((function, args, done))
        return done

    def do(self):
        function, args, done = self.jobs.pop(0)
        done.callback(function(*args))


def test_a_slow_disk_is_waited_for_in_order_and_at_last_ends_it(tmp_path):
    world = World(tmp_path, largest=10**7, quota=10**9, parts=2)
    world.captures._context = context = Slow("application.admin", data_dir=tmp_path)
    name = world.begin(1)
    world.taps[1]("in", b"one")
    context.reactor.advance(2.0)
    world.taps[1]("in", b"two")
    context.reactor.advance(2.0)
    assert len(context.jobs) == 1, "one at a time"
    context.do()
    world.captures.stop("My Net", SessionId(1))
    stopped = world.captures.stop_all()
    context.do()
    assert stopped.called
    assert [one.data for one in world.read(name)] == [b"one", b"two"]
    world.begin(2)
    for _ in range(20):
        if world.taps[2]:
            world.taps[2]("in", bytes(500_000))
    assert world.taps[2] is None, "no more waits in memory than 8 MB"
    ended = world.captures.stop_all()
    while context.jobs:
        context.do()
    assert ended.called
    assert context.reactor.getDelayedCalls() == []


def test_the_node_stops_when_all_is_written(tmp_path):
    world = World(tmp_path)
    world.captures._context = context = Slow("application.admin", data_dir=tmp_path)
    name = world.begin(1)
    world.taps[1]("in", b"the last")
    stopped = world.captures.stop_all()
    assert not stopped.called
    context.do()
    assert stopped.called
    assert world.read(name)[0].data == b"the last"


def test_a_head_holds_no_more_of_a_peers_words_than_fits(tmp_path):
    world = World(tmp_path)
    session = SessionSnapshot(
        SessionId(1), "n", PeerAddress("192.0.2.1", 8333), "g", Slot.INBOUND, "open", "tcp", 0.0, 0.0, True,
        agent="\U0001f600\n<b>" * 5000,
    )  # fmt: skip
    name = world.captures.begin(session, "bitcoin", 5.0)
    world.context.reactor.advance(2.0)
    head, _ = decode(world.captures.path(name).read_bytes())
    assert head["agent"] == session.agent[:256]


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


BITCOIN = {"network": "n", "protocol": "bitcoin", "agent": "/\x1b[2Jclear/"}


def shown(tmp_path, *options, head=BITCOIN, parts=()):
    """What the command prints of a capture of a ping in two reads, its pong, and half a message more."""
    path = tmp_path / "b.p2pcap"
    ping, pong = (frame(REGTEST.magic, kind, bytes(8)) for kind in ("ping", "pong"))
    said = parts or [(0.5, "in", ping[:7]), (1.0, "in", ping[7:] + ping[:9]), (1.5, "out", pong)]
    path.write_bytes(encode_head(head) + b"".join(encode_record(Record(*one)) for one in said))
    return CliRunner().invoke(show, [str(path), *options])


def test_the_command_says_what_messages_mean_where_the_protocol_is_installed(tmp_path):
    said = shown(tmp_path)
    assert said.output == (
        "network: n, protocol: bitcoin, agent: /\\x1b[2Jclear/\n"
        '    1.000000 in        32 ping         "nonce": "0000000000000000"\n'
        '    1.500000 out       32 pong         "nonce": "0000000000000000"\n'
        "    1.500000 in         9 ?            (the stream ends within a message)\n"
    )
    assert len(shown(tmp_path, "--type", "pong").output.splitlines()) == 2
    assert "pong" not in shown(tmp_path, "--way", "in").output
    lines = [json.loads(line) for line in shown(tmp_path, "--json", "--way", "out").output.splitlines()]
    assert (lines[1]["type"], lines[1]["fields"], lines[1]["size"]) == ("pong", {"nonce": "0" * 16}, 32)
    assert '"nonce...' in shown(tmp_path, "--characters", "6").output


def test_the_command_shows_reads_where_it_is_told_to_or_can_not_decode(tmp_path):
    assert len(shown(tmp_path, "--raw").output.splitlines()) == 4
    assert len(shown(tmp_path, "--raw", "--way", "out").output.splitlines()) == 2
    for head in ({"network": "n"}, {"protocol": "unheard-of"}, {"protocol": "mainline"}, {"protocol": 5}):
        said = shown(tmp_path, head=head)
        assert (said.exit_code, len(said.output.splitlines())) == (0, 4), head
        assert shown(tmp_path, "--decode", head=head).exit_code == 1
        assert shown(tmp_path, "--type", "ping", head=head).exit_code == 1
    assert "leave out --raw" in shown(tmp_path, "--raw", "--type", "ping").output


def test_nothing_that_a_peer_said_reaches_the_terminal_but_as_plain_characters(tmp_path):
    nasty = b"\x1b]0;owned\x07\r\n\x9b31m"
    reject = frame(REGTEST.magic, "reject", b"\x02tx\x01" + bytes([len(nasty)]) + nasty)
    parts = [(0.0, "in", reject), (0.1, "in", nasty)]
    for options in ((), ("--raw",), ("--json",)):
        output = shown(tmp_path, *options, parts=parts).output
        assert all(sign == "\n" or sign.isprintable() for sign in output), output
    turned = "/\u202e:1.0\u3164/"
    for head in (BITCOIN | {turned: turned}, {"protocol": turned}, {"protocol": "mainline", "agent": turned}):
        for options in ((), ("--decode",)):
            said = shown(tmp_path, *options, head=head).output
            assert "/\\u202e:1.0\\u3164/" in said or options
            assert not set("\u202e\u3164") & set(said), said


def test_the_command_shows_it(tmp_path):
    path = tmp_path / "a.p2pcap"
    path.write_bytes(encode_head({"network": "n"}) + encode_record(Record(1.25, "in", b"hi\n" + bytes(100))))
    said = CliRunner().invoke(show, [str(path), "--bytes", "4"])
    assert said.output == "network: n\n    1.250000 in       103 68690a00...  hi.....\n"
    assert '"way": "in"' in CliRunner().invoke(show, [str(path), "--json"]).output
    path.write_bytes(b"nothing")
    said = CliRunner().invoke(show, [str(path)])
    assert (said.exit_code, "this is no capture" in said.output) == (1, True)
