"""What somebody on the link may try: to be answered too much, to keep us busy, to speak for others, to end a loop."""

from __future__ import annotations

import struct

import pytest

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.link import _parts
from p2pframe.discovery.mdns.wire import MdnsError, Message, Question
from tests.discovery.mdns.test_mdns import Alone
from tests.discovery.mdns.test_parts import HERE, KIND, Looking, World, there

SOMEBODY = ("192.0.2.9", 40_000)


def query(name, types):
    """A query that asks for one name, written once, by each of the types."""
    out = bytearray(struct.pack("!6H", 0, 0, len(types), 0, 0, 0))
    for number, type in enumerate(types):
        out += wire.name_data(name) if not number else b"\xc0\x0c"
        out += struct.pack("!2H", type, wire.IN)
    return bytes(out)


# --- answers ---


@pytest.mark.parametrize("type", [wire.SRV, wire.ANY])
def test_a_question_asked_a_thousand_times_is_answered_once(type):
    """A resolver's address is forged as easily as any: what is answered to it must not be a hundred times the query."""
    world = World().established()
    asked = query(world.service.instance_name, [type] * 1000)
    world.responder.asked(wire.parse(asked), SOMEBODY)
    ((_, message, _),) = world.sent
    assert sum(len(wire.encode(part)) for part in _parts(message)) < 500


@pytest.mark.parametrize("port", [5353, 40_000])
def test_a_thousand_questions_for_one_name_are_not_all_looked_at(port):
    world = World().established()
    asked = wire.parse(query(world.service.instance_name, range(300, 1300)))
    looked = []
    answers = world.service.answers
    world.service.answers = lambda question, addresses: looked.append(question) or answers(question, addresses)
    world.responder.asked(asked, ("192.0.2.9", port))
    assert len(looked) == 16
    assert world.left_out == ["questions"]
    assert len(world.sent) == 1
    assert all(len(wire.encode(part)) < 500 for part in _parts(world.sent[0][1]))


def test_questions_for_others_do_not_crowd_out_ours():
    world = World().established()
    others = [Question((b"x%d" % number, b"local"), wire.A) for number in range(500)]
    world.asked(*others, Question(world.service.instance_name, wire.SRV))
    assert [one.type for one in world.sent[0][1].answers] == [wire.SRV]
    assert world.left_out == []


def test_another_program_of_this_host_is_answered_by_multicast():
    """The port is shared: what comes to it alone reaches one of its sockets, and hardly the one that asked."""
    world = World().established()
    world.asked(Question(world.service.instance_name, wire.SRV, unicast=True), source=(HERE[0], 5353))
    world.run(2)
    world.asked(Question(world.service.instance_name, wire.SRV, unicast=True), source=(HERE[0], 5353))
    assert {to for _, _, to in world.sent} == {None}


def test_who_tells_our_own_answer_to_us_alone_does_not_silence_us():
    """That it was sent to everybody can't be seen; and what only we can say nobody has said before us."""
    world = World().established()
    world.asked(Question(KIND, wire.PTR))
    world.responder.heard([world.service.shared()[0]])
    assert len(world.run(1)) == 1


def test_a_full_list_of_waiting_answers_keeps_nobody_from_theirs():
    world = World().established()
    for number in range(64):
        source = (f"192.0.2.{number}", 5353)
        world.asked(Question(KIND, wire.PTR), source=source, truncated=True)
        world.asked(known=[world.service.shared()[0]], source=source)
    world.asked(Question(KIND, wire.PTR))
    assert len(world.run(1)) == 1


# --- what it costs ---


def test_names_that_cost_much_to_read_are_malformed():
    long = b"\1a" * 126 + b"\0"
    record = struct.pack("!2HIH", wire.A, wire.IN, 9, 0)
    with pytest.raises(MdnsError, match="labels"):
        wire.parse(struct.pack("!6H", 0, 0x8400, 0, 500, 0, 0) + long + record + (b"\xc0\x0c" + record) * 499)
    pointer = struct.pack("!2HIH", wire.PTR, wire.IN, 9, 2) + b"\xc0\x0c"
    with pytest.raises(MdnsError, match="labels"):
        wire.parse(struct.pack("!6H", 0, 0x8400, 1, 500, 0, 0) + long + b"\0\1\0\1" + (b"\0" + pointer) * 500)
    many = [there(f"n{number}", host=f"h{number}") for number in range(70)]
    assert wire.parse(wire.encode(Message(True, answers=[one for lot in many for one in lot])))


def test_large_messages_count_for_as_many_as_they_are_large():
    alone = Alone(rate=50)
    for _ in range(20):
        alone.hear(bytes(8900))
    assert alone.left_out("too many") == 20 - 8


def test_all_sources_together_can_not_keep_it_busy():
    alone = Alone(rate=50, rate_of_all=120)
    for number in range(200):
        alone.hear(b"", (f"192.0.2.{number % 10 + 50}", 5353))
    assert alone.left_out("too many") == 80
    alone.run(1.1)
    alone.hear(b"")
    assert alone.left_out("too many") == 80


# --- what is known of others ---


def asked(sent, *types):
    return [at for at, message in sent for one in message.questions if one.type in types]


def test_who_is_there_stays_found_for_as_long_as_it_answers():
    """Addresses live for two minutes, instances for 75: the former must be asked for all the while."""
    looking = Looking()
    looking.hear(*there())
    missed = 0
    for _ in range(4 * 3600):
        sent = looking.run(0.5, 0.1)
        if asked(sent, wire.A):
            looking.hear(there()[-1])
        if any(one.questions[0].type == wire.PTR and not one.answers for _, one in sent):
            looking.hear(there()[0])
        missed += not looking.found()
    assert missed == 0
    # And no more than is needed: the last fifth of two minutes begins each 96 seconds.
    assert len(asked(looking.sent, wire.A)) == pytest.approx(7200 / 96, abs=4)


def test_who_comes_back_is_asked_for_its_address_again():
    looking = Looking()
    looking.hear(*there()[:3])
    looking.run(20)
    looking.sent.clear()
    looking.hear(there()[0])
    assert asked(looking.run(1), wire.A)


@pytest.mark.parametrize(
    "lie",
    [
        [there()[0]._replace(ttl=0)],
        [one._replace(ttl=0) for one in there()],
        there(hosts=("192.0.2.66",))[-1:],
        there(port=1, host="liar", hosts=("192.0.2.66",)),
        there(port=1, hosts=("192.0.2.66",)),
        there(hosts=[f"192.0.2.{number}" for number in range(60, 80)])[-20:],
    ],
)
def test_nobody_takes_back_what_another_has_said(lie):
    """Neither by a goodbye nor by a flush nor by another place: it could be sent to us alone, so none could object."""
    looking = Looking()
    looking.hear(*there())
    looking.run(2)
    looking.hear(*lie, source="192.0.2.66")
    looking.run(5)
    assert ("you", ("192.0.2.50",), 7) in looking.found()


def test_who_says_it_first_does_not_keep_out_whose_it_is():
    looking = Looking()
    looking.hear(*there(port=1, hosts=[f"192.0.2.{number}" for number in range(60, 90)]), source="192.0.2.66")
    looking.run(2)
    # The one whose name it is says its place when asked for it, and need not say that it is there.
    looking.hear(*there()[1:])
    assert ("you", ("192.0.2.50",), 7) in looking.found()
    assert any(not message.answers for _, message in looking.run(100) if message.questions[0].type == wire.PTR)


def test_a_goodbye_is_no_reason_to_ask():
    """With many on a link each goodbye would bring four questions of each of them."""
    looking = Looking()
    looking.hear(*there())
    looking.run(1000, 1.0)
    looking.sent.clear()
    looking.hear(there()[0]._replace(ttl=0))
    looking.run(5)
    assert looking.sent == []
    assert looking.found() == set()


def test_short_lives_do_not_make_us_ask_without_end():
    looking = Looking()
    looking.run(300, 1.0)
    looking.sent.clear()
    for round in range(10):
        for number in range(20):
            looking.hear(there(f"n{number} {round}")[0]._replace(ttl=1))
        looking.run(1, 0.01)
    assert len(asked(looking.sent, wire.PTR)) <= 11
    assert len(looking.sent) - len(asked(looking.sent, wire.PTR)) <= 101


def test_a_message_of_one_costs_nothing_for_what_all_others_have_said():
    looking = Looking()
    for number in range(200):
        hosts = [f"192.0.2.{one + 1}" for one in range(16)]
        looking.hear(*there(f"n{number}", host=f"h{number}", hosts=hosts), source=f"192.0.2.{number // 20 + 50}")
    looking.hear(*there("last", host="last"), source="192.0.2.99")
    assert looking.left_out == ["instances"]
