"""Connections between simulated hosts live and end as Twisted's own do; no byte is lost, doubled or out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.basic import FileSender
from zope.interface.verify import verifyObject

from p2pframe.sim.streams import GIVE_UP, HIGH_WATER, IN_FLIGHT, WINDOW
from tests.sim.ends import ALICE, BOB, End, Ends, HalfEnd, dial, joined, listen, pair, simulated, up

links = st.fixed_dictionaries(
    {},
    optional={
        "jitter": st.sampled_from(["5ms", {"exponential": {"mean": "30ms"}}]),
        "loss": st.sampled_from([0.05, 0.4]),
        "bandwidth": st.sampled_from([2000, 1_000_000]),
        "segment": st.just(True),
        "mtu": st.sampled_from([100, 1500]),
    },
)
writes = st.lists(
    st.tuples(st.booleans(), st.binary(min_size=0, max_size=600), st.sampled_from([0.0, 0.0, 0.001, 0.02])),
    max_size=40,
)


@given(links, writes, st.sampled_from([{}, {"up": 3000}, {"down": 3000}, {"up": 50_000, "down": 3000}]), st.booleans())
def test_any_writes_arrive_as_one_equal_stream_each_way(link, said, lines, slow):
    simulation = simulated(**link)
    alice, bob = up(simulation, ALICE, **lines), up(simulation, BOB, **lines)
    here, there = joined(simulation, alice, bob)
    if slow:
        there.transport.read_at(5000.0)
    expected = {here: b"", there: b""}
    for to_there, data, wait in said:
        sender, receiver = (here, there) if to_there else (there, here)
        sender.transport.write(data)
        expected[receiver] += data
        simulation.run(wait)
    simulation.run_until(lambda: here.data == expected[here], 1000.0)
    here.transport.loseConnection()
    simulation.run_until(lambda: there.lost is not None, 1000.0)
    assert there.data == expected[there] and there.why == here.why == "ConnectionDone"
    simulation.run(1000.0)
    assert simulation.clock.getDelayedCalls() == [] and not alice.incarnation.wires and not bob.incarnation.wires


def test_bytes_take_the_latency_and_writes_of_one_moment_come_together():
    simulation, _, _, here, there = pair(latency="25ms")
    start = simulation.clock.now
    here.transport.write(b"one")
    here.transport.writeSequence([b" ", b"two"])
    simulation.run(0.01)
    here.transport.write(b" three")
    simulation.run(1.0)
    assert there.pieces == [(pytest.approx(start + 0.025), b"one two"), (pytest.approx(start + 0.035), b" three")]


def test_a_transport_is_what_twisted_says_and_knows_its_ends():
    simulation, _, _, here, there = pair()
    assert verifyObject(ITCPTransport, here.transport)
    assert here.transport.getPeer() == there.transport.getHost()
    assert there.transport.getPeer() == here.transport.getHost()
    assert here.transport.getHost().host == ALICE and here.transport.getPeer().host == BOB
    assert not here.transport.disconnecting
    here.transport.setTcpNoDelay(True)
    here.transport.setTcpKeepAlive(True)


# --- closing ---


def test_lose_connection_sends_what_was_written_first_and_both_ends_hear_of_it_once():
    simulation, _, _, here, there = pair()
    here.transport.write(b"x" * 100_000)
    here.transport.loseConnection()
    here.transport.write(b"too late")
    here.transport.loseConnection()
    assert here.lost is None, "connectionLost never comes out of the call itself"
    simulation.run(1.0)
    assert there.data == b"x" * 100_000
    assert here.why == there.why == "ConnectionDone" and here.lost_at < there.lost_at


def test_what_arrives_after_lose_connection_is_not_handed_on():
    simulation, _, _, here, there = pair()
    there.transport.write(b"on its way")
    simulation.run(0.005)
    here.transport.loseConnection()
    simulation.run(1.0)
    assert here.data == b"" and there.why == "ConnectionDone"


def test_lose_connection_waits_for_a_reader_who_does_not_read():
    simulation, _, _, here, there = pair()
    there.transport.pauseProducing()
    for _ in range(40):
        here.transport.write(b"x" * 20_000)
        simulation.run(0.02)
    here.transport.loseConnection()
    assert here.transport.disconnecting
    simulation.run(60.0)
    assert here.lost is None and there.data == b""
    there.transport.resumeProducing()
    simulation.run(1.0)
    assert len(there.data) == 800_000 and here.why == there.why == "ConnectionDone"


def test_an_abort_drops_what_is_unsent_and_resets_the_other_end():
    simulation, _, _, here, there = pair()
    there.transport.write(b"on its way")
    here.transport.abortConnection()
    here.transport.write(b"too late")
    assert here.lost is None
    simulation.run(1.0)
    assert (here.why, there.why) == ("ConnectionAborted", "ConnectionLost")
    assert here.data == there.data == b""


def test_writing_to_one_who_has_closed_gets_a_reset():
    simulation, _, _, here, there = pair(there=HalfEnd)
    here.transport.loseConnection()
    simulation.run(1.0)
    assert [note for note, _ in there.notes] == ["made", "read lost"]
    there.transport.write(b"still there?")
    simulation.run(1.0)
    assert there.why == "ConnectionLost"


def test_half_close_goes_each_way_by_itself():
    simulation, _, _, here, there = pair(make=HalfEnd, there=HalfEnd)
    here.transport.write(b"question")
    here.transport.loseWriteConnection()
    here.transport.write(b"too late")
    simulation.run(1.0)
    assert [note for note, _ in here.notes] == ["made", "write lost"]
    assert [note for note, _ in there.notes] == ["made", "read lost"] and there.data == b"question"
    there.transport.write(b"answer")
    there.transport.loseConnection()
    simulation.run(1.0)
    assert here.data == b"answer" and here.notes[-1][0] == "read lost"
    here.transport.loseConnection()
    simulation.run(1.0)
    assert here.why == there.why == "ConnectionDone"


def test_half_close_comes_after_what_a_slow_reader_has_not_taken():
    simulation, _, _, here, there = pair(make=HalfEnd, there=HalfEnd)
    there.transport.pauseProducing()
    for _ in range(40):
        here.transport.write(b"x" * 20_000)
        simulation.run(0.02)
    here.transport.loseWriteConnection()
    simulation.run(5.0)
    assert len(here.notes) == 1, "not all of it has been sent"
    there.transport.resumeProducing()
    simulation.run(5.0)
    assert len(there.data) == 800_000 and there.notes[-1][0] == "read lost" and here.notes[-1][0] == "write lost"


def test_the_end_of_a_stream_does_not_overtake_it_on_a_slow_line():
    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB, down=10_000)
    here, there = joined(simulation, alice, bob)
    here.transport.write(b"x" * 50_000)
    here.transport.loseConnection()
    simulation.run(4.0)
    assert there.lost is None
    simulation.run(2.0)
    assert len(there.data) == 50_000 and there.why == "ConnectionDone"


# --- producers and readers ---


class Push:
    """Writes as long as it may, in pieces of 16 KiB."""

    def __init__(self, transport, total):
        self.transport, self.left, self.paused, self.stopped = transport, total, False, False
        self.pauses = 0
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self):
        self.paused = False
        while self.left and not self.paused:
            piece = min(self.left, 16_384)
            self.left -= piece
            self.transport.write(b"x" * piece)
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.paused = True
        self.pauses += 1

    def stopProducing(self):
        self.stopped = True


@pytest.mark.parametrize("link", [{}, {"bandwidth": 2_000_000}, {"jitter": "5ms"}, {"loss": 0.1}])
def test_a_push_producer_is_paused_and_resumed_until_all_has_arrived(link):
    simulation, _, _, here, there = pair(**link)
    producer = Push(here.transport, 20_000_000)
    assert producer.paused and producer.left > 20_000_000 - IN_FLIGHT - 2 * 16_384
    simulation.run_until(lambda: len(there.data) == 20_000_000, 100.0)
    assert producer.pauses >= 3 and not producer.stopped


@pytest.mark.parametrize("link", [{}, {"bandwidth": 2_000_000}, {"jitter": "5ms"}])
def test_a_pull_producer_is_asked_for_more_when_there_is_room(link, tmp_path):
    simulation, _, _, here, there = pair(**link)
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40_000)
    with (tmp_path / "file").open("rb") as file:
        simulation.wait(FileSender().beginFileTransfer(file, here.transport), 100.0)
        here.transport.loseConnection()
        simulation.run_until(lambda: there.lost, 100.0)
    assert there.data == (tmp_path / "file").read_bytes()


def test_a_pull_producer_without_an_end_leaves_time_to_the_others():
    simulation, _, _, here, there = pair()

    class Pull:
        written = 0

        def resumeProducing(self):
            self.written += 65_536
            here.transport.write(b"x" * 65_536)

        def stopProducing(self):
            pass

    pull = Pull()
    here.transport.registerProducer(pull, False)
    simulation.run(0.005)
    assert pull.written <= IN_FLIGHT + 65_536
    there.transport.pauseProducing()
    simulation.run(10.0)
    before = pull.written
    simulation.run(10.0)
    assert pull.written == before and there.transport._unread_bytes <= IN_FLIGHT + 2 * 65_536


def test_a_reader_who_pauses_holds_no_more_than_the_window_and_the_writer_is_paused():
    simulation, _, _, here, there = pair()
    there.transport.pauseProducing()
    simulation.run(0.1)
    producer = Push(here.transport, 10_000_000)
    simulation.run(60.0)
    assert producer.paused
    assert there.transport._unread_bytes <= WINDOW + 16_384
    assert here.transport._unsent_bytes <= HIGH_WATER + 16_384
    assert there.data == b""
    there.transport.resumeProducing()
    simulation.run_until(lambda: len(there.data) == 10_000_000)


def test_a_slow_reader_takes_its_rate_and_its_window_is_bounded():
    simulation, _, _, here, there = pair()
    there.transport.read_at(100_000.0)
    start = simulation.clock.now
    Push(here.transport, 1_000_000)
    largest = 0
    while len(there.data) < 1_000_000:
        simulation.run(0.1)
        largest = max(largest, there.transport._unread_bytes)
    assert simulation.clock.now - start == pytest.approx(10.0, rel=0.1)
    assert largest <= IN_FLIGHT


def test_pausing_inside_data_received_stops_at_once_and_nothing_is_lost():
    simulation, _, _, here, there = pair()
    there.on_data = lambda end: end.transport.pauseProducing()
    for number in range(5):
        here.transport.write(b"%d" % number)
        simulation.run(0.001)
    here.transport.loseConnection()
    simulation.run(1.0)
    assert there.data == b"0" and there.lost is None
    for number in range(1, 5):
        there.transport.resumeProducing()
        simulation.run(0.1)
        assert there.data == b"01234"[: number + 1]
    there.transport.resumeProducing()
    simulation.run(0.1)
    assert there.why == "ConnectionDone"


def test_a_producer_is_told_of_the_end_before_its_protocol_and_none_is_registered_twice():
    simulation, _, _, here, there = pair()
    order = []

    class Producer:
        def stopProducing(self):
            order.append("stop")

        def pauseProducing(self):
            pass

        resumeProducing = pauseProducing

    producer = Producer()
    here.transport.registerProducer(producer, True)
    with pytest.raises(RuntimeError, match="never unregistered"):
        here.transport.registerProducer(producer, True)
    here.connectionLost = lambda reason: order.append("lost")
    there.transport.abortConnection()
    simulation.run(1.0)
    assert order == ["stop", "lost"]
    here.transport.registerProducer(producer, True)
    assert order == ["stop", "lost", "stop"], "a connection that is over stops it at once"


def test_a_close_waits_for_a_paused_producer_and_not_for_an_idle_one():
    simulation, _, _, here, there = pair()
    producer = Push(here.transport, 6_000_000)
    assert producer.paused
    here.transport.loseConnection()
    simulation.run(5.0)
    assert len(there.data) == 6_000_000 and there.why == "ConnectionDone"
    here, there = joined(simulation, *list(simulation.hosts.values()))

    class Idle(Push):
        def resumeProducing(self):
            pass

    Idle(here.transport, 0)
    here.transport.loseConnection()
    simulation.run(1.0)
    assert there.why == "ConnectionDone"


# --- protocols with bugs ---


class Broken(End):
    def dataReceived(self, data):
        raise KeyError("a bug")


def test_a_protocol_that_raises_ends_its_connection_with_that(flush_logged_errors):
    simulation, _, _, here, there = pair(there=Broken)
    here.transport.write(b"hello")
    simulation.run(1.0)
    assert there.why == "KeyError" and here.why == "ConnectionDone"
    assert len(flush_logged_errors(KeyError)) == 1


def test_a_protocol_that_raises_when_it_is_connected(flush_logged_errors):
    class Bad(End):
        def connectionMade(self):
            super().connectionMade()
            raise KeyError("a bug")

    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB)
    server, client = listen(bob), dial(alice, BOB, make=Bad)
    simulation.run(1.0)
    assert client.end.why == "KeyError" and client.notes[-2:] == [("lost", "KeyError"), "stop"]
    assert server.end.why == "ConnectionDone"
    server.make = Bad
    other = dial(alice, BOB)
    simulation.run(1.0)
    # A reactor logs it, and keeps the connection that it has accepted.
    assert server.end.lost is None and other.end.lost is None
    other.end.transport.loseConnection()
    simulation.run(1.0)
    assert server.end.why == "ConnectionDone"
    assert len(flush_logged_errors(KeyError)) == 2


def test_a_factory_that_raises_or_has_no_protocol(flush_logged_errors):
    simulation = simulated()
    alice, bob = up(simulation, ALICE), up(simulation, BOB)

    class Bad(Ends):
        def buildProtocol(self, addr):
            raise KeyError("a bug")

    bad = Bad(simulation.clock)
    server = listen(bob)
    alice.incarnation.reactor.connectTCP(BOB, 8333, bad)
    simulation.run(1.0)
    assert bad.notes[2][:2] == ("failed", "ConnectError") and bad.notes[-1] == "stop"
    assert server.end.why == "ConnectionDone"
    none = dial(alice, BOB, make=None)
    simulation.run(1.0)
    assert none.notes == ["start", "connecting", "build", ("lost", "ConnectionDone"), "stop"]
    assert server.end.why == "ConnectionDone"
    bob.incarnation.reactor.listenTCP(8334, bad)
    listen(bob, 8335, make=None)
    for port in (8334, 8335):
        client = dial(alice, BOB, port)
        simulation.run(1.0)
        assert client.end.why == "ConnectionDone"
    assert not alice.incarnation.wires and not bob.incarnation.wires
    assert len(flush_logged_errors(KeyError)) == 2


# --- a network that is in the way ---


def test_what_is_sent_into_a_partition_arrives_after_it_in_order():
    simulation, alice, bob, here, there = pair()
    simulation.network.cut(alice, bob)
    for number in range(10):
        here.transport.write(b"%d" % number)
        there.transport.write(b"%d" % number)
        simulation.run(1.0)
    assert there.data == here.data == b"", "without acknowledgements the other way gets no further either"
    simulation.network.mend(alice, bob)
    mended = simulation.clock.now
    simulation.run(20.0)
    assert there.data == here.data == b"0123456789"
    # Sent again at doubling intervals: 0.2, 0.6, 1.4, 3.0, 6.2, 12.6 seconds after the first.
    assert mended < there.pieces[0][0] == pytest.approx(mended - 10.0 + 0.01 + 12.6 + 0.01, abs=0.02)
    here.transport.loseConnection()
    simulation.run(1.0)
    assert there.why == "ConnectionDone"


def test_a_sender_gives_up_after_fifteen_minutes_and_what_it_sent_never_arrives():
    simulation, alice, bob, here, there = pair()
    simulation.network.cut(alice, bob)
    start = simulation.clock.now
    here.transport.write(b"hello")
    simulation.run(1000.0)
    assert here.why == "ConnectionLost" and here.lost_at - start == pytest.approx(GIVE_UP, abs=0.1)
    simulation.network.mend(alice, bob)
    simulation.run(300.0)
    assert there.data == b"" and there.lost is None, "nobody has told the other end"
    there.transport.write(b"are you there?")
    simulation.run(1.0)
    assert there.why == "ConnectionLost"


def test_a_close_into_a_cut_is_forgotten_by_its_host_in_the_end():
    simulation, alice, bob, here, there = pair()
    simulation.network.cut(alice, bob)
    here.transport.write(b"last words")
    here.transport.loseConnection()
    simulation.run(1.0)
    assert here.why == "ConnectionDone"
    simulation.run(1000.0)
    simulation.network.mend(alice, bob)
    simulation.run(300.0)
    assert there.data == b"" and there.lost is None


def test_a_producer_into_a_partition_is_paused_and_goes_on_after_it():
    simulation, alice, bob, here, there = pair()
    simulation.network.cut(bob, alice)
    producer = Push(here.transport, 20_000_000)
    simulation.run(30.0)
    assert producer.paused and producer.left > 20_000_000 - 2 * IN_FLIGHT
    simulation.network.mend(bob, alice)
    simulation.run_until(lambda: len(there.data) == 20_000_000, 120.0)


def test_a_silent_connection_tells_nobody_until_the_sender_gives_up():
    simulation, _, _, here, there = pair()
    here.transport.silent = there.transport.silent = True
    here.transport.write(b"hello")
    there.transport.loseConnection()
    simulation.run(900.0)
    assert here.lost is None and there.why == "ConnectionDone"
    simulation.run(100.0)
    assert here.why == "ConnectionLost"


def test_an_uploader_is_as_fast_as_its_line_whoever_it_sends_to():
    simulation = simulated()
    alice, bob, carol = up(simulation, ALICE, up=100_000), up(simulation, BOB), up(simulation, "203.0.113.1")
    one, two = joined(simulation, alice, bob), joined(simulation, alice, carol)
    start = simulation.clock.now
    for here, _ in (one, two):
        here.transport.write(b"x" * 200_000)
    simulation.run_until(lambda: len(one[1].data) == len(two[1].data) == 200_000)
    assert simulation.clock.now - start == pytest.approx(4.0, rel=0.05)


def test_a_host_talks_to_itself():
    simulation = simulated()
    alice = up(simulation, ALICE)
    for name in ("127.0.0.1", ALICE):
        server = listen(alice, interface=name)
        client = dial(alice, name)
        simulation.run(0.1)
        client.end.transport.write(b"hello")
        simulation.run(0.1)
        assert server.end.data == b"hello" and server.end.transport.getPeer().host == name
        server.port.stopListening()
