"""Events: numbered, bounded, fair to rare kinds, and safe from those who listen."""


from p2pframe.core.events import Events
from p2pframe.model import PeerAddress, SessionId
from p2pframe.testing.context import FakeMetrics
from tests.work import Work


def make(limit=100):
    metrics = FakeMetrics()
    return Events(limit, lambda: 1234.5, metrics), metrics


def test_events_are_numbered_without_gaps_and_read_from_a_number_on():
    events, _ = make()
    address = PeerAddress.of("192.0.2.1", 1)
    assert events.emit("session.opened", "net", SessionId(7), address, slot="inbound") == 1
    for _ in range(5):
        events.emit("item.accepted", "net")
    events.emit("session.closed", "net", SessionId(7), address, rule="gate.ban", evidence="x")
    kept = events.since()
    assert [event.number for event in kept] == [1, 2, 3, 4, 5, 6, 7]
    assert (kept[0].kind, kept[0].time, kept[0].session, kept[0].address) == ("session.opened", 1234.5, 7, address)
    assert kept[-1].fields == {"rule": "gate.ban", "evidence": "x"}
    assert [event.number for event in events.since(4)] == [5, 6, 7]
    assert [event.number for event in events.since(2, limit=2)] == [3, 4]


def test_the_latest_come_first_of_all_of_a_network_or_of_one_session():
    events, _ = make()
    for number in range(3):
        events.emit("session.opened", "net", SessionId(number))
        events.emit("item.accepted", "other", SessionId(number))
    assert [event.number for event in events.latest(4)] == [6, 5, 4, 3]
    assert [event.number for event in events.latest(10, "net")] == [5, 3, 1]
    assert [event.number for event in events.latest(10, "other", SessionId(1))] == [4]


def test_a_flood_of_one_kind_does_not_wash_out_the_others():
    events, metrics = make(100)
    ban = events.emit("peer.banned", "net", reason="bad-block")
    for _ in range(10_000):
        events.emit("session.closed", "net")
    assert len(events) == 100
    assert [event.number for event in events.since() if event.kind == "peer.banned"] == [ban]
    assert events.last == 10_001
    assert metrics.value("events_forgotten", "session.closed") == 10_001 - 100


def test_kinds_without_end_stay_within_the_bound():
    events, _ = make(100)
    for number in range(1000):
        events.emit(f"kind-{number}")
    assert len(events) == 100
    assert events.since()[-1].number == 1000


def test_a_listener_that_raises_is_logged_and_the_others_still_hear(flush_logged_errors):
    events, metrics = make()
    heard = []

    def broken(event):
        raise RuntimeError("listener")

    events.subscribe(broken)
    end = events.subscribe(heard.append)
    events.emit("a")
    assert [event.kind for event in heard] == ["a"]
    assert metrics.value("event_subscriber_errors") == 1
    assert len(flush_logged_errors(RuntimeError)) == 1
    end()
    events.emit("b")
    flush_logged_errors(RuntimeError)
    assert len(heard) == 1


def test_what_a_peer_wrote_into_evidence_is_cut():
    events, _ = make()
    events.emit("x", evidence="a" * 1_000_000)
    assert len(events.since()[0].fields["evidence"]) < 1100


def test_fewer_are_kept_once_asked_to():
    events, _ = make(100)
    for _ in range(100):
        events.emit("x")
    events.resize(10)
    assert [event.number for event in events.since()] == list(range(91, 101))


def test_who_catches_up_page_by_page_goes_over_none_of_it_twice():
    events, _ = make(10_000)
    for number in range(10_000):
        events.emit(f"kind {number % 7}", "net")
    last, seen = 0, 0
    with Work(10_000 * 20):
        while page := events.since(last, 100):
            assert page[0].number == last + 1
            last, seen = page[-1].number, seen + len(page)
    assert (last, seen) == (10_000, 10_000)


def test_an_idle_emit_is_cheap():
    events, _ = make(10_000)
    with Work(20_000 * 40):
        for _ in range(20_000):
            events.emit("session.closed", "net", reason="idle")
