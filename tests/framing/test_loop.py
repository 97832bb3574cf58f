"""FrameLoop, driven by a small framing that is not Bitcoin's: a type, a length of 2 bytes, a checksum of one."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.errors import UnreadableStream
from p2pframe.framing import UNKNOWN, FrameLoop, MalformedMessage, TooMany

LIMIT = 1000


class SmallFraming:
    header_size = 4
    max_payload = LIMIT

    def header(self, data, at):
        kind, high, low, check = data[at : at + 4]
        length = high << 8 | low
        if kind == 0xFF:
            raise UnreadableStream("bad-magic")
        if length > LIMIT:
            raise UnreadableStream("oversized")
        return kind, length, bytes([check])

    def intact(self, payload, checksum):
        return sum(payload) & 0xFF == checksum[0]


def small(kind: int, payload: bytes = b"") -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "big") + bytes([sum(payload) & 0xFF]) + payload


class FakeSession:
    def __init__(self) -> None:
        self.closing = False
        self.charges: list[tuple[str, int]] = []
        self.written: list[bytes] = []
        self.budget = 10**9
        self.on_write = None

    def charge(self, kind, length):
        self.charges.append((kind, length))
        self.budget -= 1
        return self.budget >= 0

    def write(self, data):
        self.written.append(data)
        if self.on_write is not None:
            self.on_write(data)


class Conversation:
    def __init__(self, table=None) -> None:
        self.session = FakeSession()
        self.heard: list[tuple] = []
        self.loop = FrameLoop(self.session, SmallFraming(), self, TABLE if table is None else table)

    def corrupt(self, kind, length):
        self.heard.append(("corrupt", kind, length))

    def malformed(self, kind, error):
        self.heard.append(("malformed", kind, str(error)))

    def excessive(self, kind, error):
        self.heard.append(("excessive", kind, error.count))
        self.session.closing = True

    def note(self, payload):
        self.heard.append(("note", payload))

    def echo(self, payload):
        self.heard.append(("echo", payload))
        self.loop.send(payload)

    def bad(self, payload):
        raise MalformedMessage("not so", "bad")

    def many(self, payload):
        raise TooMany("many", 7, 3)

    def close(self, payload):
        self.heard.append(("close", payload))
        self.session.closing = True

    def halt(self, payload):
        self.heard.append(("halt", payload))
        self.loop.stop()

    def switch(self, payload):
        self.loop.table = OTHER

    def inject(self, payload):
        self.heard.append(("inject", payload))
        self.loop.receive(payload)

    def crash(self, payload):
        raise ZeroDivisionError


TABLE = {
    1: ("note", Conversation.note, LIMIT),
    2: ("echo", Conversation.echo, LIMIT),
    3: ("bad", Conversation.bad, LIMIT),
    4: ("many", Conversation.many, LIMIT),
    5: ("close", Conversation.close, LIMIT),
    6: ("halt", Conversation.halt, LIMIT),
    7: ("switch", Conversation.switch, LIMIT),
    8: ("ignored", None, 10),
    9: ("inject", Conversation.inject, LIMIT),
    10: ("crash", Conversation.crash, LIMIT),
    11: ("short", Conversation.note, 10),
}
OTHER = {1: ("other", lambda conversation, payload: conversation.heard.append(("other", payload)), LIMIT)}

payloads = st.binary(max_size=40)
frames = st.tuples(st.sampled_from([1, 2, 3, 7, 8, 11, 77]), payloads).map(lambda pair: small(*pair))
broken = payloads.map(lambda payload: bytes([1]) + small(1, payload)[1:3] + bytes([~sum(payload) & 0xFF]) + payload)
streams = st.lists(st.one_of(frames, broken), max_size=12).map(b"".join)


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[left:right] for left, right in pairwise(edges)]


def outcome(pieces):
    conversation = Conversation()
    for piece in pieces:
        conversation.loop.receive(piece)
    session = conversation.session
    return conversation.heard, session.charges, b"".join(session.written), conversation.loop.buffered


@given(streams, st.lists(st.integers(0, 10**6), max_size=20), st.integers(0, 3))
def test_any_split_of_the_bytes_gives_the_same_messages_charges_and_replies(stream, places, tail):
    stream += small(1, b"abcdef")[: 3 * tail]
    assert outcome(cut(stream, places)) == outcome([stream])


@given(streams)
def test_byte_by_byte_gives_the_same_messages(stream):
    assert outcome([bytes([byte]) for byte in stream]) == outcome([stream])


@given(streams, st.lists(st.integers(0, 10**6), max_size=9), st.integers(1, 3))
def test_pauses_lose_and_repeat_nothing(stream, places, budget):
    expected = outcome([stream])
    conversation = Conversation()
    session, loop = conversation.session, conversation.loop
    session.budget = budget
    for piece in cut(stream, places):
        loop.receive(piece)
        while loop.paused:
            session.budget = budget
            loop.resume()
    assert (conversation.heard, session.charges, b"".join(session.written), loop.buffered) == expected


def test_replies_to_one_read_are_written_once_and_in_order():
    conversation = Conversation()
    conversation.loop.receive(small(2, b"a") + small(1) + small(2, b"b"))
    assert conversation.session.written == [b"ab"]


def test_outside_of_a_handler_send_writes_at_once():
    conversation = Conversation()
    conversation.loop.send(b"now")
    assert conversation.session.written == [b"now"]


def test_a_message_is_charged_at_its_header_before_its_body_arrives():
    conversation = Conversation()
    conversation.loop.receive(small(1, b"12345")[:5])
    assert conversation.session.charges == [("note", 9)] and conversation.heard == []
    conversation.loop.receive(b"2345")
    assert conversation.session.charges == [("note", 9)] and conversation.heard == [("note", b"12345")]


def test_over_budget_nothing_more_is_handled_until_resume_and_no_message_is_charged_twice():
    conversation = Conversation()
    session, loop = conversation.session, conversation.loop
    session.budget = 1
    loop.receive(small(1, b"a") + small(1, b"b") + small(1, b"c"))
    assert conversation.heard == [("note", b"a")] and loop.paused and loop.buffered == 10
    loop.receive(small(1, b"d"))
    assert conversation.heard == [("note", b"a")]
    session.budget = 1
    loop.resume()
    # b was charged already; c took the budget's one; d is refused.
    assert [payload for _, payload in conversation.heard] == [b"a", b"b", b"c"] and loop.paused
    session.budget = 5
    loop.resume()
    assert [payload for _, payload in conversation.heard] == [b"a", b"b", b"c", b"d"]
    assert len(session.charges) == 4 and not loop.paused and loop.buffered == 0


def test_resume_without_a_pause_does_nothing():
    conversation = Conversation()
    conversation.loop.receive(small(1, b"abc")[:4])
    conversation.loop.resume()
    assert conversation.heard == [] and conversation.loop.buffered == 4


def test_a_refused_message_whose_body_is_missing_waits_for_it_after_resume():
    conversation = Conversation()
    conversation.session.budget = 0
    conversation.loop.receive(small(1, b"abc")[:5])
    conversation.session.budget = 5
    conversation.loop.resume()
    assert conversation.heard == []
    conversation.loop.receive(b"bc")
    assert conversation.heard == [("note", b"abc")] and len(conversation.session.charges) == 1


def test_a_session_that_closes_while_it_refuses_a_charge_stops_the_loop():
    conversation = Conversation()
    session = conversation.session
    session.budget, session.closing = 0, True
    conversation.loop.receive(small(1, b"abc"))
    assert conversation.loop.stopped and not conversation.loop.paused and conversation.loop.buffered == 0


def test_a_malformed_message_is_dropped_and_the_stream_goes_on():
    conversation = Conversation()
    conversation.loop.receive(small(3) + small(1, b"x"))
    assert conversation.heard == [("malformed", "bad", "bad: not so"), ("note", b"x")]


def test_a_bad_checksum_is_dropped_and_the_stream_goes_on():
    conversation = Conversation()
    conversation.loop.receive(b"\x01\x00\x01\x00\x05" + small(1, b"x"))
    assert conversation.heard == [("corrupt", "note", 1), ("note", b"x")]


def test_unknown_types_are_charged_under_one_name_and_ignored_ones_under_their_own():
    conversation = Conversation()
    conversation.loop.receive(small(99, b"??") + small(8))
    assert conversation.session.charges == [(UNKNOWN, 6), ("ignored", 4)] and conversation.heard == []


def test_the_state_may_change_between_two_messages_of_one_read():
    conversation = Conversation()
    conversation.loop.receive(small(1, b"a") + small(7) + small(1, b"b"))
    assert conversation.heard == [("note", b"a"), ("other", b"b")]
    assert [kind for kind, _ in conversation.session.charges] == ["note", "switch", "other"]


@pytest.mark.parametrize(("kind", "heard"), [(5, ("close", b"")), (6, ("halt", b"")), (4, ("excessive", "many", 7))])
def test_a_handler_that_ends_the_session_is_the_last_one_called(kind, heard):
    conversation = Conversation()
    conversation.loop.receive(small(2, b"bye") + small(kind) + small(1, b"never"))
    assert conversation.heard == [("echo", b"bye"), heard]
    assert conversation.session.written == [b"bye"]
    conversation.loop.receive(small(1, b"never"))
    conversation.loop.resume()
    assert conversation.heard[-1] == heard and conversation.loop.buffered == 0


@pytest.mark.parametrize(("header", "reason"), [(b"\xff\0\0\0", "bad-magic"), (b"\x01\xff\xff\0", "oversized")])
def test_an_unreadable_stream_is_raised_after_its_good_messages_are_answered(header, reason):
    conversation = Conversation()
    with pytest.raises(UnreadableStream) as caught:
        conversation.loop.receive(small(2, b"ok") + header)
    assert caught.value.reason == reason
    assert conversation.session.written == [b"ok"] and conversation.loop.stopped


def test_any_other_fault_of_a_handler_comes_out_and_stops_the_loop():
    conversation = Conversation()
    with pytest.raises(ZeroDivisionError):
        conversation.loop.receive(small(10) + small(1))
    assert conversation.loop.stopped and conversation.heard == []


def test_bytes_that_a_handler_causes_to_arrive_come_behind_those_that_were_read_before():
    conversation = Conversation()
    late = small(1, b"late")
    conversation.loop.receive(small(9, late[:3]) + small(1, b"early") + late[3:][:0])
    assert conversation.heard == [("inject", late[:3]), ("note", b"early")] and conversation.loop.buffered == 3
    conversation.loop.receive(late[3:])
    assert conversation.heard[-1] == ("note", b"late")


def test_whole_messages_that_a_handler_causes_to_arrive_are_handled_in_the_same_turn():
    conversation = Conversation()
    conversation.loop.receive(small(9, small(2, b"late")) + small(2, b"early"))
    assert conversation.heard[1:] == [("echo", b"early"), ("echo", b"late")]
    assert conversation.session.written == [b"earlylate"]


def test_late_bytes_complete_a_message_that_was_cut():
    conversation = Conversation()
    message = small(1, b"in two")
    conversation.loop.receive(small(9, message[6:]) + message[:6])
    assert conversation.heard[-1] == ("note", b"in two") and len(conversation.session.charges) == 2


def test_a_write_that_is_answered_at_once_is_handled_too():
    conversation = Conversation()
    answers = [small(1, b"answer")]
    conversation.session.on_write = lambda data: answers and conversation.loop.receive(answers.pop())
    conversation.loop.receive(small(2, b"question"))
    assert conversation.heard == [("echo", b"question"), ("note", b"answer")]


def test_what_arrives_in_spite_of_a_pause_is_bounded():
    conversation = Conversation()
    conversation.session.budget = 0
    conversation.loop.receive(small(1))
    with pytest.raises(UnreadableStream) as caught:
        for _ in range(10):
            conversation.loop.receive(bytes(50_000))
    assert caught.value.reason == "flood" and conversation.loop.buffered == 0 and conversation.loop.stopped


def test_an_idle_loop_costs_a_few_hundred_bytes_and_holds_no_buffer():
    conversations = [Conversation() for _ in range(10)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    loops = [
        FrameLoop(conversation.session, SmallFraming(), conversation, TABLE)
        for conversation in conversations
        for _ in range(100)
    ]
    for loop in loops:
        loop.receive(small(1, bytes(900)))
    for conversation in conversations:
        conversation.heard.clear()
        conversation.session.charges.clear()
    spent = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert spent / len(loops) < 600
    assert all(loop.buffered == 0 for loop in loops) and sys.getsizeof(loops[0]) < 250


def test_a_claimed_length_allocates_nothing():
    class Huge(SmallFraming):
        header_size = 4
        max_payload = 1 << 40

        def header(self, data, at):
            return 1, 1 << 40, b""

    conversation = Conversation()
    loop = FrameLoop(conversation.session, Huge(), conversation, {1: ("note", Conversation.note, 1 << 40)})
    tracemalloc.start()
    loop.receive(b"head" + bytes(100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 and loop.buffered == 104


def test_a_payload_that_is_too_long_for_its_type_is_not_held_and_the_stream_goes_on():
    conversation = Conversation()
    conversation.loop.receive(small(11, bytes(500))[:300])
    assert conversation.heard == [("malformed", "short", "short: 500 bytes where at most 10 are of use")]
    assert conversation.loop.buffered == 0
    conversation.loop.receive(bytes(204))
    conversation.loop.receive(small(11, b"fits"))
    assert conversation.heard[1:] == [("note", b"fits")]
    assert conversation.session.charges == [("short", 504), ("short", 8)]


def test_a_long_payload_that_nobody_handles_is_not_held():
    conversation = Conversation()
    conversation.loop.receive(small(8, bytes(500))[:300])
    assert conversation.heard == [] and conversation.loop.buffered == 0
    conversation.loop.receive(bytes(204) + small(1, b"next"))
    assert conversation.heard == [("note", b"next")]


def test_a_session_that_closes_over_a_payload_that_is_too_long_hears_no_more():
    conversation = Conversation()
    conversation.malformed = lambda kind, error: conversation.loop.stop()
    conversation.loop.receive(small(11, bytes(11)) + small(1, b"never"))
    conversation.loop.receive(small(1, b"never"))
    assert conversation.heard == []


@pytest.mark.parametrize("late", [100, 204, 210])
def test_late_bytes_are_skipped_too_where_they_belong_to_what_is_not_held(late):
    conversation = Conversation()
    rest = bytes(204) + small(1, b"next")
    conversation.loop.receive(small(9, rest[:late]) + small(8, bytes(500))[:300])
    conversation.loop.receive(rest[late:])
    assert conversation.heard[1:] == [("note", b"next")] and conversation.loop.buffered == 0


def test_a_long_body_in_small_segments_is_not_quadratic():
    """Each received byte is looked at a bounded number of times: counted by header parses, not by the clock."""

    class Counted(SmallFraming):
        max_payload = 10**7
        parses = 0

        def header(self, data, at):
            Counted.parses += 1
            return data[at], 400_000, b""

        def intact(self, payload, checksum):
            return len(payload) == 400_000

    conversation = Conversation()
    loop = FrameLoop(conversation.session, Counted(), conversation, {1: ("note", Conversation.note, 10**7)})
    loop.receive(b"\x01\0\0\0")
    for _ in range(40_000):
        loop.receive(bytes(10))
    assert Counted.parses == 2 and conversation.heard == [("note", bytes(400_000))]
