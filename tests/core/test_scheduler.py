"""The scheduler asks one peer at a time, in order, within bounds, and gives no item up while anyone has it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from p2pframe.core.scheduler import Scheduler
from p2pframe.interfaces import IScheduler, TopicRules
from p2pframe.testing.context import FakeMetrics

TX = "tx"
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


class Core:
    """A scheduler, and what it asks core for."""

    def __init__(self, items: int = 50_000, **rules) -> None:
        self.clock = Clock()
        self.metrics = FakeMetrics()
        self.requests: list[tuple[int, list[bytes]]] = []
        self.timeouts: list[tuple[int, bytes]] = []
        self.exhausted: list[bytes] = []
        self.scheduler = Scheduler(
            self.clock,
            {TX: TopicRules(**rules), "block": TopicRules(in_flight=16)},
            lambda session, topic, ids: self.requests.append((session, ids)),
            lambda session, topic, id: self.timeouts.append((session, id)),
            self.metrics,
            items=items,
        )
        self.scheduler.on_exhausted(TX, self.exhausted.append)

    def offer(self, session: int, *ids: bytes, inbound: bool = False) -> None:
        self.scheduler.offer(TX, ids, session, inbound, self.clock.seconds())

    def asked(self) -> list[tuple[int, list[bytes]]]:
        """The requests since the last look, after the reactor has had its turn."""
        self.clock.advance(0)
        requests, self.requests = self.requests, []
        return requests


def ids_of(count: int, start: int = 0) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(start, start + count)]


def test_it_is_a_scheduler() -> None:
    verifyObject(IScheduler, Core().scheduler)


def test_an_outbound_peer_is_asked_at_once_and_in_one_request() -> None:
    core = Core()
    core.offer(1, A, B, C)
    assert core.requests == [(1, [A, B, C])]


def test_an_inbound_peer_waits_for_an_outbound_one() -> None:
    core = Core()
    core.offer(1, A, B, inbound=True)
    assert core.asked() == []
    core.clock.advance(1.0)
    core.offer(2, A)
    assert core.asked() == [(2, [A])]
    core.clock.advance(0.9)
    assert core.asked() == []
    core.clock.advance(0.1)
    assert core.asked() == [(1, [B])]


def test_only_one_peer_is_asked_for_an_item_and_the_next_one_after_a_timeout() -> None:
    core = Core(timeout=60.0)
    for session in (1, 2, 3):
        core.offer(session, A)
    assert core.asked() == [(1, [A])]
    core.clock.advance(59.9)
    assert core.asked() == []
    core.clock.advance(0.1)
    assert core.asked() == [(2, [A])]
    assert core.timeouts == [(1, A)]
    core.clock.advance(60)
    assert core.asked() == [(3, [A])]
    core.clock.advance(60)
    assert core.asked() == []
    assert core.exhausted == [A]
    assert core.timeouts == [(1, A), (2, A), (3, A)]
    assert core.metrics.value("scheduler_timeouts_total", TX) == 3
    assert core.metrics.value("scheduler_exhausted_total", TX) == 1


def test_after_it_was_given_up_an_item_may_be_announced_again() -> None:
    core = Core()
    core.offer(1, A)
    core.clock.advance(60)
    core.requests.clear()
    core.offer(1, A)
    assert core.asked() == [(1, [A])]


def test_outbound_before_inbound_then_the_fewest_in_flight_then_the_first_to_announce() -> None:
    core = Core()
    core.offer(9, A)
    core.offer(4, A, inbound=True)
    core.offer(3, *ids_of(2), A)
    core.offer(2, B, A)
    core.offer(1, C, A)
    core.asked()
    core.clock.advance(10)
    core.scheduler.failed(TX, A, 9)
    assert core.asked() == [(2, [A])], "2 and 1 have one in flight each and 2 announced first"
    core.scheduler.failed(TX, A, 2)
    assert core.asked() == [(1, [A])]
    core.scheduler.failed(TX, A, 1)
    assert core.asked() == [(3, [A])]
    core.scheduler.failed(TX, A, 3)
    assert core.asked() == [(4, [A])]


def test_a_refusal_hands_over_without_waiting_and_what_no_one_has_is_given_up() -> None:
    core = Core()
    core.offer(1, A)
    core.offer(2, A)
    core.asked()
    core.scheduler.failed(TX, A, 1)
    assert core.asked() == [(2, [A])]
    core.scheduler.failed(TX, A, 2)
    assert core.asked() == []
    assert core.exhausted == [A]
    assert core.timeouts == []


def test_a_peer_that_leaves_hands_over_what_it_was_asked_for() -> None:
    core = Core()
    core.offer(1, A, B)
    core.offer(2, A)
    core.asked()
    core.scheduler.forget(1)
    assert core.asked() == [(2, [A])]
    assert core.exhausted == [B]
    assert core.timeouts == []


def test_in_flight_is_bounded_per_peer_and_the_rest_follows_as_it_delivers() -> None:
    core = Core(in_flight=3)
    ids = ids_of(8)
    core.offer(1, *ids)
    assert core.asked() == [(1, ids[:3])]
    assert core.scheduler.in_flight(1, TX) == tuple(ids[:3])
    core.scheduler.done(TX, ids[0])
    core.scheduler.done(TX, ids[2])
    assert core.asked() == [(1, ids[3:5])], "one request for what one turn of the reactor has freed"
    core.offer(2, *ids[3:])
    assert core.asked() == [(2, ids[5:8])]


def test_who_is_full_waits_its_turn_and_others_take_over() -> None:
    core = Core(in_flight=1, timeout=60)
    core.offer(1, A, B)
    core.asked()
    core.offer(2, C, B)
    assert core.asked() == [(2, [C])]
    core.scheduler.done(TX, C)
    assert core.asked() == [(2, [B])]


def test_announcements_are_bounded_per_peer_and_what_is_beyond_is_counted() -> None:
    core = Core(announcements=10, in_flight=2)
    core.offer(1, *ids_of(50_000))
    assert core.metrics.value("scheduler_announcements_refused_total", TX, "peer") == 49_990
    core.offer(1, *ids_of(5, 100_000))
    assert core.metrics.value("scheduler_announcements_refused_total", TX, "peer") == 49_995
    core.asked()
    core.offer(2, A)
    assert core.asked() == [(2, [A])], "nobody else is held up by it"


def test_ids_of_nothing_delay_nobody_elses() -> None:
    core = Core(items=1000)
    for hostile in range(100, 110):
        core.offer(hostile, *ids_of(5000, hostile * 10_000))
    core.asked()
    assert core.metrics.value("scheduler_announcements_refused_total", TX, "items") > 0
    honest = ids_of(50)
    core.offer(1, *honest)
    assert core.asked() == [(1, honest)]


def test_the_items_of_a_topic_are_bounded_whoever_announces_them() -> None:
    core = Core(items=1000, in_flight=10)
    for hostile in range(125):
        core.offer(hostile, *ids_of(50_000, hostile * 100_000), inbound=True)
    taken = 125 * 50_000 - core.metrics.value("scheduler_announcements_refused_total")
    assert taken <= 1000 + 125 * 10


def test_announcing_twice_is_ignored() -> None:
    core = Core()
    core.offer(1, A, A)
    core.offer(1, A)
    assert core.asked() == [(1, [A])]
    core.scheduler.failed(TX, A, 1)
    core.offer(2, B)
    core.offer(1, A)
    assert core.asked() == [(2, [B])]
    assert core.exhausted == [A]


def test_announcing_again_does_not_bring_back_one_who_withheld() -> None:
    core = Core(timeout=60)
    core.offer(1, A)
    core.offer(2, A)
    core.clock.advance(60)
    core.offer(1, A)
    assert core.asked() == [(1, [A]), (2, [A])]
    core.clock.advance(60)
    assert core.asked() == []
    assert core.exhausted == [A]


def test_what_has_arrived_is_asked_of_nobody() -> None:
    core = Core(in_flight=1)
    core.offer(1, A, B)
    core.offer(3, A, inbound=True)
    core.asked()
    core.scheduler.done(TX, A)
    core.scheduler.unwant(TX, B)
    core.clock.advance(120)
    assert core.asked() == []
    assert core.timeouts == []
    assert core.exhausted == []


def test_wanted_items_are_asked_in_the_order_of_their_candidates_in_one_request_a_peer() -> None:
    core = Core(in_flight=2, timeout=60)
    core.offer(5, A)
    core.requests.clear()
    for id in (A, B, C):
        core.scheduler.want(TX, id, [7, 5])
    assert core.asked() == [(7, [B, C])]
    core.clock.advance(60)
    assert core.asked() == [(7, [A]), (5, [B, C])]


def test_wanting_again_adds_candidates_and_a_timeout_of_its_own_counts() -> None:
    core = Core(timeout=60)
    core.scheduler.want(TX, A, [1], timeout=2.0)
    core.scheduler.want(TX, A, [2])
    assert core.asked() == [(1, [A])]
    core.clock.advance(2)
    assert core.asked() == [(2, [A])]
    core.clock.advance(2)
    assert core.exhausted == [A]


def test_urgent_ones_are_asked_within_the_call_and_before_what_waits() -> None:
    core = Core(in_flight=1)
    core.scheduler.want(TX, A, [1], urgent=True)
    assert core.requests == [(1, [A])]
    core.requests.clear()
    core.offer(1, B)
    core.scheduler.want(TX, C, [1], urgent=True)
    core.scheduler.done(TX, A)
    assert core.asked() == [(1, [C])]


def test_several_urgent_ones_wait_in_order_until_they_are_refused_unwanted_or_asked() -> None:
    core = Core(in_flight=1)
    ids = ids_of(4, 100)
    core.offer(1, A, B)
    for id in ids:
        core.scheduler.want(TX, id, [1], urgent=True)
    core.scheduler.failed(TX, ids[0], 1)
    core.scheduler.unwant(TX, ids[1])
    core.requests.clear()
    core.scheduler.done(TX, A)
    assert core.asked() == [(1, [ids[2]])]
    assert core.exhausted == [ids[0]]
    core.scheduler.done(TX, ids[2])
    assert core.asked() == [(1, [ids[3]])]
    core.scheduler.done(TX, ids[3])
    assert core.asked() == [(1, [B])]


def test_a_wanted_items_candidates_are_bounded_and_may_leave() -> None:
    core = Core(announcements=2)
    core.offer(1, A, B)
    core.requests.clear()
    core.scheduler.want(TX, C, [1, 2, 3])
    assert core.metrics.value("scheduler_announcements_refused_total", TX, "peer") == 1
    assert core.asked() == [(2, [C])]
    core.scheduler.forget(3)
    core.scheduler.forget(2)
    assert core.asked() == []
    assert core.exhausted == [C]


def test_announcements_in_quick_succession_wait_together() -> None:
    core = Core(inbound_delay=2.0)
    for id in ids_of(50):
        core.offer(1, id, inbound=True)
        core.clock.advance(0.001)
    core.clock.advance(2.0)
    assert core.asked() == [(1, ids_of(50))]


def test_a_peer_that_refused_before_its_turn_came_is_not_asked() -> None:
    core = Core(in_flight=1)
    core.offer(1, A, B, C, inbound=True)
    core.scheduler.failed(TX, B, 1)
    core.clock.advance(2)
    assert core.asked() == [(1, [A])]
    core.scheduler.done(TX, A)
    assert core.asked() == [(1, [C])]
    assert core.exhausted == [B]


def test_a_sync_can_name_others_when_all_have_failed_and_may_do_so_from_the_callback() -> None:
    core = Core()
    core.scheduler.on_exhausted(
        TX, lambda id: core.scheduler.want(TX, id, [8], urgent=True) if len(core.exhausted) == 1 else None
    )
    core.scheduler.want(TX, A, [1])
    core.asked()
    core.scheduler.failed(TX, A, 1)
    core.clock.advance(0)
    core.clock.advance(0)
    assert core.asked() == [(8, [A])]
    core.scheduler.want(TX, B, [])
    core.asked()
    assert core.exhausted == [A, B]


def test_closing_a_session_out_of_a_timeout_or_a_request_is_safe() -> None:
    core = Core(timeout=5)
    core.scheduler._on_timeout = lambda session, topic, id: (
        core.timeouts.append((session, id)),
        core.scheduler.forget(session),
    )
    core.offer(1, A, B)
    core.offer(2, A, B)
    core.asked()
    core.clock.advance(5)
    assert core.asked() == [(2, [A, B])]
    sink = core.scheduler._request
    core.scheduler._request = lambda session, topic, ids: (sink(session, topic, ids), core.scheduler.forget(session))
    core.offer(3, C)
    core.offer(4, C)
    assert [session for session, _ in core.asked()] == [3, 4]
    core.clock.advance(0)
    assert core.exhausted == [C]


def test_one_timer_serves_all_and_none_is_left_after_stop() -> None:
    core = Core()
    for session in range(20):
        core.offer(session, *ids_of(50, session * 50), inbound=bool(session % 2))
    assert len(core.clock.getDelayedCalls()) == 1
    core.scheduler.stop()
    assert core.clock.getDelayedCalls() == []
    core.requests.clear()
    core.offer(1, A)
    core.scheduler.want(TX, B, [1])
    assert core.asked() == []


def test_nothing_is_kept_of_peers_that_came_and_went() -> None:
    core = Core(timeout=10)
    for round in range(200):
        core.offer(round % 7, A, inbound=bool(round % 2))
        core.clock.advance(2)
        core.scheduler.done(TX, A)
    assert len(core.scheduler._agenda) < 60
    core.clock.advance(10)
    core.clock.advance(10)
    assert core.scheduler._agenda == []
    assert core.scheduler._topics[TX].peers == {}
    assert core.clock.getDelayedCalls() == []


def test_a_topic_without_rules_is_an_error() -> None:
    with pytest.raises(KeyError):
        Core().scheduler.offer("nonsense", [A], 1, False, 0.0)


STEP = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 5), st.lists(st.integers(0, 9), min_size=1, max_size=6), st.booleans()),
    st.tuples(st.just("want"), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("done"), st.integers(0, 9)),
    st.tuples(st.just("failed"), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.just("forget"), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])),
)


def play(steps: list[tuple]) -> list[tuple]:
    """Run the steps against a scheduler, holding it against what must always be true; returns all that it did."""
    clock = Clock()
    flying: dict[bytes, tuple[int, float]] = {}
    candidates: dict[bytes, dict[int, None]] = {}
    asked: dict[bytes, set[int]] = {}
    trace: list[tuple] = []

    def request(session, topic, ids):
        assert ids, "no empty request"
        for id in ids:
            assert id not in flying, "never two in flight for one item"
            assert session in candidates[id], "only who announced it is asked"
            assert session not in asked.setdefault(id, set()), "nobody is asked twice"
            asked[id].add(session)
            flying[id] = (session, clock.seconds())
        assert sum(1 for holder, _ in flying.values() if holder == session) <= 2, "in flight is bounded"
        trace.append((clock.seconds(), session, tuple(ids)))

    def timed_out(session, topic, id):
        holder, since = flying.pop(id)
        assert holder == session
        assert clock.seconds() >= since + 5.0 - 1e-5
        trace.append((clock.seconds(), "timeout", session, id))

    def exhausted(id):
        assert id not in flying
        assert set(candidates[id]) <= asked.get(id, set()) | refused[id], "given up with someone unasked"
        settle(id)
        trace.append((clock.seconds(), "exhausted", id))

    def settle(id):
        for table in (flying, candidates, asked):
            table.pop(id, None)
        refused.pop(id, None)

    refused: dict[bytes, set[int]] = {}
    scheduler = Scheduler(
        clock, {TX: TopicRules(timeout=5.0, in_flight=2, announcements=100)}, request, timed_out, FakeMetrics()
    )
    scheduler.on_exhausted(TX, exhausted)
    for step in steps:
        match step:
            case "offer", session, numbers, inbound:
                ids = ids_of(10)
                for number in numbers:
                    candidates.setdefault(ids[number], {})[session] = None
                    refused.setdefault(ids[number], set())
                scheduler.offer(TX, [ids[number] for number in numbers], session, inbound, clock.seconds())
            case "want", sessions, number, urgent:
                id = ids_of(10)[number]
                for session in sessions:
                    candidates.setdefault(id, {})[session] = None
                candidates.setdefault(id, {})
                refused.setdefault(id, set())
                scheduler.want(TX, id, sessions, urgent=urgent)
            case "done", number:
                id = ids_of(10)[number]
                settle(id)
                scheduler.done(TX, id)
            case "failed", number, session:
                id = ids_of(10)[number]
                if id in candidates and session in candidates[id]:
                    refused[id].add(session)
                    if flying.get(id, (None, 0))[0] == session:
                        del flying[id]
                scheduler.failed(TX, id, session)
            case "forget", session:
                for id in list(candidates):
                    candidates[id].pop(session, None)
                    asked.get(id, set()).discard(session)
                    if flying.get(id, (None, 0))[0] == session:
                        del flying[id]
                scheduler.forget(session)
            case "advance", seconds:
                clock.advance(seconds)
    # From here on nobody answers: everybody who announced an item is asked in turn, until it is given up.
    for _ in range(400):
        clock.advance(0.5)
    assert candidates == {}
    assert flying == {}
    assert scheduler._topics[TX].items == {}
    assert scheduler._topics[TX].peers == {}
    assert clock.getDelayedCalls() == []
    return trace


@settings(max_examples=150)
@given(st.lists(STEP, max_size=40))
@example(
    [
        ("offer", 0, [0], False),
        ("offer", 1, [2, 3], False),
        ("done", 0),
        ("offer", 1, [0, 1], False),
        ("want", [], 1, True),
    ]
)
def test_one_in_flight_an_item_and_every_candidate_asked_until_it_is_done(steps) -> None:
    assert play(steps) == play(steps), "the same calls give the same requests"
