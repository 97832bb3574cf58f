"""Sessions against a wire that stalls, a peer that does not read, and plugins that raise wherever they are called."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from p2pframe.errors import HandshakeFailed
from p2pframe.interfaces import Upgraded
from p2pframe.model import Fact, PeerAddress, TransportInfo

ALICE = "192.0.2.1"
GREETING = b"HELLO p2pframe-lines/1 abc\n"


class Wire(StringTransport):
    """A wire that notes how it was ended, and asks its writer to pause above 64 KiB as sockets do."""

    full = 65_536

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        super().write(data)
        if self.producer is not None and len(self.value()) > self.full:
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """What the peer reads: everything there is, after which the writer may go on."""
        data = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data

    def loseConnection(self) -> None:
        self.lost = True

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    setTcpKeepAlive = setTcpNoDelay


@pytest.fixture
def network(cluster):
    return cluster.start(ALICE).networks["chat"]


def connect(network, host="203.0.113.9", port=5000, hello=True):
    session = network.accept(PeerAddress(host, port), network.parts.transports[0])
    session.makeConnection(Wire())
    if hello:
        session.dataReceived(GREETING)
        assert session.state == "open"
    return session


def end(session):
    session.connectionLost()
    assert session.state == "closed"


def errors(network):
    return dict(network._plugin_errors.values)


@pytest.mark.parametrize("where", ["start", "receive", "resume", "tick", "drained", "closed"])
def test_what_a_conversation_raises_ends_its_own_session_and_is_counted(
    network, flush_logged_errors, monkeypatch, where
):
    other = connect(network, port=5001)
    session = connect(network, hello=where != "start") if where != "start" else None

    def broken(self, *args):
        raise RuntimeError("a bug of the plugin's")

    monkeypatch.setattr(type(other._conversation), where, broken)
    if where == "start":
        session = connect(network, hello=False)
    elif where == "receive":
        session.dataReceived(b"PING x\n")
    elif where == "resume":
        session._held = 1
        session._release(1)
    elif where == "tick":
        session.tick(network.clock.seconds())
    elif where == "drained":
        session.pauseProducing()
        session.resumeProducing()
    if where != "closed":
        assert session.wire.aborted and session.close_reason == "plugin-failed"
    end(session)
    assert session.id not in network.sessions
    assert errors(network)["protocol.lines", where] == 1
    monkeypatch.undo()
    other.dataReceived(b"PING y\n")
    assert b"PONG y\n" in other.wire.value()
    assert len(flush_logged_errors(RuntimeError)) >= 1


@pytest.mark.parametrize("verb", ["announce", "deliver", "push"])
def test_a_conversation_that_fails_at_a_verb_does_not_keep_others_from_hearing(
    cluster, network, flush_logged_errors, monkeypatch, verb
):
    from p2pframe.model import Topic

    sessions = [connect(network, port=port) for port in (5001, 5002, 5003)]
    bad = sessions[1]
    kind = type(bad._conversation)
    true = getattr(kind, verb)

    def broken(self, *args):
        if self is bad._conversation:
            raise RuntimeError("a bug of the plugin's")
        return true(self, *args)

    monkeypatch.setattr(kind, verb, broken)
    done = network.protocol.say("news")
    assert done.result.outcome.value == "accept"
    if verb == "deliver":
        item = next(iter(network.protocol.store.held.values()))
        for session in sessions:
            session.link(Topic("line")).deliver(item)
    elif verb == "announce":
        item = next(iter(network.protocol.store.held.values()))
        for session in sessions:
            session.link(Topic("line")).announce([item])
    cluster.net.run(10.0)
    assert bad.close_reason in ("plugin-failed", "") and (bad.wire.aborted or verb == "push")
    assert all(b"news" in s.wire.value() or b"HAVE" in s.wire.value() for s in (sessions[0], sessions[2]))
    flush_logged_errors(RuntimeError)


def test_a_protocol_that_cannot_begin_a_conversation_keeps_no_place_taken(
    network, flush_logged_errors, monkeypatch
):
    def broken(session):
        raise RuntimeError("a bug of the plugin's")

    monkeypatch.setattr(network.protocol, "conversation", broken)
    for port in range(5000, 5100):
        assert (
            network.accept(PeerAddress(f"203.{port % 250}.113.9", port), network.parts.transports[0]) is None
        )
    assert network.gate.handshakes == 0 and not network.sessions
    assert len(flush_logged_errors(RuntimeError)) == 100


def test_a_transport_that_raises_is_named_and_its_connection_dropped(
    network, flush_logged_errors, monkeypatch
):
    def broken(wire):
        raise RuntimeError("a bug of the transport's")

    monkeypatch.setattr(network.parts.transports[0], "prove", broken)
    session = connect(network, hello=False)
    assert session.wire.aborted
    assert errors(network) == {("transport.tcp", "prove"): 1}
    end(session)
    assert network.gate.handshakes == 0
    flush_logged_errors(RuntimeError)


def test_a_proof_that_comes_after_the_end_changes_nothing(network, monkeypatch):
    proof = Deferred()
    monkeypatch.setattr(network.parts.transports[0], "prove", lambda wire: proof)
    session = connect(network, hello=False)
    session.dataReceived(GREETING)
    assert session.wire.value() == b""
    session.close("asked-to")
    proof.callback(TransportInfo())
    assert session.wire.value() == b"" and session.wire.lost
    end(session)


class Instant:
    """An upgrade that is ready at once and xors all bytes; `early` bytes must pass it too."""

    name = "instant"

    def __init__(self) -> None:
        self.ready = False
        self.fails = ""

    def begin(self, address, inbound, peer_id):
        return self

    def start(self):
        self.ready = True
        return b""

    def receive(self, data):
        if self.fails:
            raise HandshakeFailed(self.fails)
        return Upgraded(b"", bytes(byte ^ 0x55 for byte in data))

    def send(self, data):
        if self.fails:
            raise RuntimeError(self.fails)
        return bytes(byte ^ 0x55 for byte in data)

    def info(self):
        return TransportInfo()


def test_bytes_that_came_before_the_proof_pass_the_upgrade_even_if_it_is_ready_at_once(network, monkeypatch):
    proof = Deferred()
    upgrade = Instant()
    monkeypatch.setattr(network.parts.transports[0], "prove", lambda wire: proof)
    monkeypatch.setattr(network, "upgrades", [upgrade])
    session = connect(network, hello=False)
    session.dataReceived(upgrade.send(GREETING))
    proof.callback(TransportInfo())
    assert session.state == "open"
    assert b"HELLO" in upgrade.send(session.wire.value())


def test_an_upgrade_that_fails_while_sending_ends_that_session_only(
    network, monkeypatch, flush_logged_errors
):
    upgrade = Instant()
    monkeypatch.setattr(network, "upgrades", [upgrade])
    session = connect(network, hello=False)
    session.dataReceived(upgrade.send(GREETING))
    upgrade.fails = "no more keys"
    session.write(b"PING x\n")
    assert session.wire.aborted and errors(network) == {("upgrade", "send"): 1}
    flush_logged_errors(RuntimeError)


def test_what_the_wire_has_not_taken_is_counted_to_the_byte_and_given_back_at_the_end(network):
    session = connect(network)
    session.wire.clear()
    session.write(b"x" * 900_000)
    in_wire = len(session.wire.value())
    assert in_wire < 200_000
    assert session.queued == network.queued == 900_000 - in_wire
    got = b""
    while session.queued:
        got += session.wire.read()
    got += session.wire.read()
    assert got.count(b"x") == 900_000 and network.queued == 0
    session.write(b"y" * 900_000)
    assert network.queued
    session.abort("test")
    assert network.queued == 0


def test_a_peer_that_does_not_read_is_not_answered_and_loses_nothing_when_it_does(network):
    network.protocol.store.held.clear()
    line = "z" * 1000
    assert network.protocol.say(line).result.outcome.value == "accept"
    id = next(iter(network.protocol.store.held))
    session = connect(network)
    session.wire.full = 1 << 30
    session.wire.clear()
    session.pauseProducing()
    session.write(b"w" * (network.limits.send_buffer + 1))
    assert session.wire.producerState == "paused"
    for number in range(50):
        session.dataReceived(b"PING %d\n" % number)
    received = session.counters.received
    assert session.queued == network.limits.send_buffer + 1
    session.wire.read()
    while session.queued:
        session.wire.read()
    assert session.wire.producerState == "producing"
    assert session.counters.received == received + 50
    assert [b"PONG %d" % n in session.wire.value() for n in range(50)] == [True] * 50
    assert id in network.protocol.store.held


def test_answers_stop_in_the_middle_of_a_read_once_the_queue_is_over_its_bound(network, monkeypatch):
    session = connect(network)
    session.wire.clear()

    def on_ping(conversation, rest):
        conversation._session.write(b"A" * 100_000)

    import sys

    lines = sys.modules[type(session._conversation).__module__]
    monkeypatch.setitem(lines.HANDLERS, b"PING", on_ping)
    session.dataReceived(b"PING x\n" * 8000)
    assert session.queued <= network.limits.send_buffer + 200_000
    assert not session.closing
    assert session.counters.messages_in["PING"] < 20


def test_a_session_that_takes_nothing_of_too_much_is_ended_with_the_reason(network):
    session = connect(network)
    session.pauseProducing()
    for _ in range(200):
        session.write(b"w" * 100_000)
    assert session.wire.aborted and session.close_reason == "does-not-read"
    assert network.queued == 0
    end(session)
    assert network._closed_total.values["does-not-read",] == 1


def test_unsent_bytes_of_all_are_bounded_by_ending_the_worst_once(network):
    sessions = [connect(network, host=f"203.{n}.113.9") for n in range(10)]
    for number, session in enumerate(sessions):
        session.pauseProducing()
        session.write(b"w" * (6_000_000 + number))
        for _ in range(5):
            session.write(b"w" * 1_000_000)
        assert network.queued <= network.limits.send_buffers_total
    ended = [s for s in sessions if s.closing]
    assert network._shed.values[()] == len(ended) >= 1


def test_a_tap_that_raises_is_taken_off_and_the_session_goes_on(network, flush_logged_errors):
    session = connect(network)

    def tap(way, data):
        raise RuntimeError("a bug of the application's")

    session.tap(tap)
    session.dataReceived(b"PING x\nPING y\n")
    assert b"PONG y" in session.wire.value() and not session.closing
    assert len(flush_logged_errors(RuntimeError)) == 1


def test_taps_are_shown_what_the_conversation_hears_and_says_each_until_it_ends(network):
    session = connect(network)
    first, second = [], []
    end_first = session.tap(lambda way, data: first.append((way, data)))
    end_second = session.tap(lambda way, data: second.append((way, data)))
    session.dataReceived(b"PING x\n")
    assert first == second == [("in", b"PING x\n"), ("out", b"PONG x\n")]
    end_first()
    end_first()
    session.dataReceived(b"PING y\n")
    assert len(first) == 2
    assert second[2:] == [("in", b"PING y\n"), ("out", b"PONG y\n")]
    end_second()
    assert session._taps is None, "idle again: one test of an attribute"


def test_a_tap_that_ends_in_its_own_call_leaves_the_others_theirs(network):
    session = connect(network)
    heard = []
    ends = [session.tap(lambda way, data: ends[0]()), session.tap(lambda way, data: heard.append(way))]
    session.dataReceived(b"PING x\n")
    assert heard == ["in", "out"]


def test_what_is_held_back_is_shown_when_the_conversation_gets_it(network):
    session = connect(network)
    heard = []
    session.tap(lambda way, data: heard.append((way, data)))
    session._pause(1)
    session.dataReceived(b"PING x\n")
    assert heard == []
    session._release(1)
    assert heard[0] == ("in", b"PING x\n")


def test_an_aborted_session_can_no_longer_open_or_be_ticked(network, monkeypatch):
    session = connect(network, hello=False)
    session.abort("test")
    session.dataReceived(GREETING)
    session.opened([])
    assert session.state == "handshaking" and not network._opened_total.values
    opened = connect(network)
    opened.abort("test")
    monkeypatch.setattr(
        type(opened._conversation), "tick", lambda self, now: pytest.fail("ticked after the end")
    )
    opened.tick(network.clock.seconds() + 1e6)
    assert opened.close_reason == "test"


def test_a_session_in_the_handshake_holds_no_more_than_the_bound_while_it_is_being_proved(
    network, monkeypatch
):
    proof = Deferred()
    monkeypatch.setattr(network.parts.transports[0], "prove", lambda wire: proof)
    session = connect(network, hello=False)
    chunk = bytes(65_536)
    for _ in range(network.limits.receive_buffer // len(chunk) + 2):
        session.dataReceived(chunk)
    assert session.wire.aborted and session.close_reason == "receive-buffer"
    assert session._pending is None
    end(session)


def test_who_was_refused_does_not_hold_a_slot_while_it_lingers(network, monkeypatch):
    from p2pframe.model import Action, Slot, Verdict

    allowed = network.slots()[Slot.INBOUND]
    monkeypatch.setattr(network, "slots", lambda: {Slot.INBOUND: 3})

    class Nobody:
        name = "nobody"

        def admit(self, info, slot):
            return Verdict(Action.DISCONNECT, "test", "not-you", "")

    assert allowed >= 3
    keeper = connect(network, port=4000)
    network.parts.authenticators.append(Nobody())
    for port in range(5000, 5020):
        refused = connect(network, port=port, hello=False)
        refused.dataReceived(GREETING)
        assert refused.state == "closing"  # and its wire is not closed yet: it does not read
    network.parts.authenticators.clear()
    honest = connect(network, host="198.51.100.7")
    assert honest.state == "open" and not keeper.closing


def test_a_scorer_forgets_sessions_that_never_opened(network):
    closed = []

    class Scorer:
        name = "notes"
        dry_run = False

        def observed(self, session, fact, now):
            from p2pframe.model import ALLOW

            return ALLOW

        def closed(self, session):
            closed.append(session)

    network.standing._scorers = [Scorer()]
    session = connect(network, hello=False)
    session.fact(Fact("odd"))
    end(session)
    assert closed == [session.id]
    assert not network.standing._scores and not network._connected and not network.addresses._budgets


def test_a_timer_of_the_network_that_fails_goes_on_and_ends_with_the_network(
    cluster, network, flush_logged_errors, monkeypatch
):
    calls = []

    def broken():
        calls.append(1)
        raise RuntimeError("a fault of core's own")

    monkeypatch.setattr(network.timers, "_tick", broken)
    network.timers.restart()
    cluster.net.run(10.0)
    assert 4 <= len(calls) <= 6
    cluster.stop()
    before = len(calls)
    cluster.net.run(10.0)
    assert len(calls) == before
    assert len(flush_logged_errors(RuntimeError)) == before


def test_nothing_of_a_session_is_left_when_it_has_ended(cluster, network):
    """Ten thousand sessions come and go: no table and no timer keeps any of them."""
    clock = cluster.net.clock
    timers = len(clock.getDelayedCalls())
    for number in range(2000):
        session = connect(network, host=f"203.{number % 256}.{number // 256}.9")
        session.dataReceived(b"HAVE 0123456789abcdef\nPING x\nNONSENSE\n")
        session.fact(Fact("odd", proven=True))
        end(session)
        cluster.net.run(0.5)
    cluster.net.run(60.0)
    assert not network.sessions and not network._connected and not network.addresses._budgets
    assert not network.standing._scores and network.queued == 0 and network.gate.handshakes == 0
    assert not network.scheduler._topics["line"].peers
    assert len(clock.getDelayedCalls()) <= timers + 2


def test_who_connects_and_says_nothing_does_not_keep_others_out(cluster, network):
    """Connections from four netgroups take all handshakes there are; honest ones still get in, and stay."""
    honest = [connect(network, host=f"198.51.{n}.7") for n in range(5)]
    slow = []
    for number in range(4 * 40):
        made = network.accept(
            PeerAddress(f"203.{number % 4}.113.9", 5000 + number), network.parts.transports[0]
        )
        if made is not None:
            made.makeConnection(Wire())
            slow.append(made)
    assert network.limits.handshakes - 1 <= network.gate.handshakes == len([s for s in slow if not s.closing])
    late = connect(network, host="192.0.2.77", hello=False)
    shed = network._handshakes_shed.values[()]
    assert shed >= 1 and network.gate.handshakes <= network.limits.handshakes
    for session in slow:
        if session.closing:
            assert session.close_reason == "handshake-evicted" and session.wire.aborted
            end(session)
    late.dataReceived(GREETING)
    assert late.state == "open" and all(s.state == "open" for s in honest)
    for session in slow:
        if not session.closing:
            session.tick(network.clock.seconds() + network.limits.handshake_timeout + 1)
            end(session)
    assert network.gate.handshakes == 0 and not network._handshaking


def test_half_messages_of_all_are_bounded_and_whoever_dialled_us_goes_first(network):
    network.protocol.config = network.protocol.config.model_copy(update={"longest": 100_000})
    network.limits = network.limits.model_copy(update={"receive_buffers_total": 1_000_000})
    honest = connect(network)
    sessions = [connect(network, host=f"203.{n}.113.9") for n in range(20)]
    for session in sessions:
        session.dataReceived(b"LINE " + b"x" * 90_000)  # and no end of the line
        assert network.unread <= 1_000_000
    ended = [session for session in sessions if session.closing]
    assert len(ended) == network._unread_shed.values[()] >= 1
    assert {session.close_reason for session in ended} == {"half-messages"}
    honest.dataReceived(b"PING x\n")
    assert b"PONG x\n" in honest.wire.value() and honest.unread == 0
    for session in sessions:
        if not session.closing:
            session.dataReceived(b"\nPING y\n")
            assert session.unread == 0 and b"PONG y\n" in session.wire.value()
        end(session)
    assert network.unread == 0


def test_unprocessed_bytes_are_counted_right_while_the_budget_is_spent(cluster, network):
    network.gate.reconfigure(
        network.limits.model_copy(update={"messages_per_second": 10.0, "messages_burst": 5.0})
    )
    session = connect(network)
    session.dataReceived(b"PING x\n" * 100 + b"PI")
    assert session.wire.producerState == "paused"
    assert 600 <= session.unread == network.unread <= 702
    cluster.net.run(30.0)
    assert session.counters.messages_in["PING"] == 100 and session.unread == 2
    end(session)
    assert network.unread == 0


def test_the_timer_of_a_spent_budget_ends_with_its_session(cluster, network):
    network.gate.reconfigure(
        network.limits.model_copy(update={"messages_per_second": 0.01, "messages_burst": 1.0})
    )
    session = connect(network)
    calls = len(cluster.net.clock.getDelayedCalls())
    session.dataReceived(b"PING x\n" * 10)
    assert len(cluster.net.clock.getDelayedCalls()) == calls + 1
    end(session)
    assert len(cluster.net.clock.getDelayedCalls()) == calls


def test_what_a_closing_session_has_not_sent_stays_counted_until_the_peer_reads_it(cluster, network):
    session = connect(network)
    wire = session.wire
    wire.clear()
    session.write(b"x" * 500_000)
    assert not session.writable and session.queued > 0
    session.close("enough")
    assert session.state == "closing" and not wire.lost
    assert network.queued == session.queued > 0
    session.write(b"after the end")
    got = b""
    while not wire.lost:
        got += wire.read()
    assert (got + wire.value()).strip(b"\n") == b"x" * 500_000
    assert network.queued == 0
    end(session)


def test_a_closing_session_whose_peer_does_not_read_is_aborted_and_its_bytes_are_let_go(cluster, network):
    session = connect(network)
    session.write(b"x" * 500_000)
    session.close("enough")
    cluster.net.run(network.limits.close_timeout + 2 * network.limits.tick)
    assert session.wire.aborted and network.queued == 0
    end(session)
