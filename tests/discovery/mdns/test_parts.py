"""Claiming a name, answering and browsing, each by itself on a clock: the rules of RFC 6762 one by one."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from twisted.internet.task import Clock

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.browser import Browser
from p2pframe.discovery.mdns.claim import Claim
from p2pframe.discovery.mdns.responder import Responder
from p2pframe.discovery.mdns.service import ENUMERATION, Service, service_name
from p2pframe.discovery.mdns.wire import Message, Question, Record

KIND = service_name("_p2p._tcp")
HERE = ["192.0.2.1", "2001:db8::1"]
EVERYBODY = ("192.0.2.9", 5353)


class World:
    """One claim and one responder on one link, and what they send, with the time of it."""

    def __init__(self, label="me", host="host", seed=0):
        self.clock = Clock()
        self.sent = []
        self.left_out = []
        self.taken = []
        self.service = Service(KIND, label, host, 8333, ["network=net"])
        rng = random.Random(seed)
        self.responder = Responder(
            lambda: self.service if self.claim.established else None,
            lambda: HERE, self.clock, rng, self.send, self.left_out.append,
        )  # fmt: skip
        self.claim = Claim(
            self.service, self.clock, rng, lambda made: self.send(made(HERE)), self.responder.announce,
            lambda: self.service.unique(HERE), lambda: self.taken.append(self.clock.seconds()), lambda name: None,
        )  # fmt: skip

    def send(self, message, to=None):
        data = wire.encode(message)
        assert wire.encode(wire.parse(data)) == data
        self.sent.append((self.clock.seconds(), message, to))

    def run(self, seconds):
        """What was sent meanwhile."""
        before = len(self.sent)
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)
        return self.sent[before:]

    def established(self):
        self.claim.begin(0.0)
        self.run(6)
        assert self.claim.established
        self.sent.clear()
        return self

    def asked(self, *questions, known=(), source=EVERYBODY, **more):
        self.responder.asked(Message(False, questions, known, **more), source)


def other(service, port=1):
    """The same names with other data: of somebody else."""
    theirs = Service(KIND, service.label, service.host, port, [])
    return theirs.unique(["192.0.2.200"])


# --- claiming ---


def test_three_probes_then_two_announcements():
    world = World()
    world.claim.begin()
    sent = world.run(4)
    probes = [(at, message) for at, message, _ in sent if not message.response]
    told = [(at, message) for at, message, _ in sent if message.response]
    assert len(probes) == 3
    assert probes[0][0] <= 0.26
    assert [later[0] - at[0] for at, later in pairwise(probes)] == pytest.approx([0.25, 0.25], abs=0.02)
    assert [question.type for question in probes[0][1].questions] == [wire.ANY, wire.ANY]
    assert {record.type for record in probes[0][1].authorities} == {wire.SRV, wire.TXT, wire.A, wire.AAAA}
    assert not any(record.flush for record in probes[0][1].authorities)
    assert [at for at, _ in told] == pytest.approx([probes[-1][0] + 0.25, probes[-1][0] + 1.25], abs=0.03)
    assert {record.type for record in told[0][1].answers} == {wire.PTR, wire.SRV, wire.TXT, wire.A, wire.AAAA}
    assert all(record.flush == (record.type != wire.PTR) for record in told[0][1].answers)
    assert len(world.taken) == 1


def test_nothing_is_answered_before_the_name_is_ours():
    world = World()
    world.claim.begin(0.0)
    world.run(0.1)
    world.asked(Question(KIND, wire.PTR))
    assert all(not message.response for _, message, _ in world.run(0.3))


def test_a_name_that_somebody_has_is_left_to_them():
    world = World()
    world.claim.begin(0.0)
    world.run(0.3)
    world.claim.heard(other(world.service)[:1])
    assert (world.service.label, world.service.host) == ("me (2)", "host")
    world.claim.heard(other(world.service)[2:])
    assert world.service.host == "host"
    world.run(0.3)
    world.claim.heard(other(world.service)[2:])
    assert world.service.host == "host-2"
    world.run(3)
    assert world.claim.established


def test_one_that_comes_later_makes_us_probe_again_and_not_give_up():
    """Section 9: theirs may be stale, or have come back to us by a loop."""
    world = World().established()
    world.claim.heard(other(world.service)[:1])
    assert not world.claim.established
    sent = world.run(3)
    assert sum(not message.response for _, message, _ in sent) == 3
    assert world.claim.established
    assert world.service.label == "me"


def test_the_same_records_from_elsewhere_are_no_conflict():
    world = World().established()
    world.claim.heard(world.service.unique(HERE))
    world.claim.heard([Record(world.service.host_name, wire.NSEC, 120, b"x", True)])
    world.claim.heard([one._replace(ttl=0) for one in other(world.service)])
    assert world.claim.established
    assert world.claim.conflicts == 0


@pytest.mark.parametrize(("port", "loses"), [(1, False), (9000, True)])
def test_of_two_that_probe_at_once_the_later_records_win(port, loses):
    world = World()
    world.claim.begin(0.0)
    world.run(0.3)
    theirs = [one for one in other(world.service, port) if one.type == wire.SRV]
    texts = [
        one._replace(data=world.service.unique([])[1].data) for one in other(world.service) if one.type == wire.TXT
    ]
    world.claim.heard_probe(Message(False, authorities=texts + theirs), HERE)
    quiet = world.run(0.9)
    assert bool(quiet) != loses
    world.run(3)
    # The one that lost tries again: by then the other defends the name, or is no more.
    assert world.claim.established
    assert world.service.label == "me"


def test_our_own_probe_that_comes_back_is_nobody_elses():
    world = World()
    world.claim.begin(0.0)
    sent = world.run(0.3)
    world.claim.heard_probe(sent[0][1], HERE)
    world.claim.heard_probe(sent[0][1], HERE[:1])
    assert world.run(0.3)


def test_many_conflicts_slow_it_down():
    world = World()
    world.claim.begin(0.0)
    for _ in range(15):
        world.run(0.3)
        world.claim.heard(other(world.service)[:1])
    assert world.service.label == "me (16)"
    assert world.run(4.9) == []
    assert world.run(0.3)


def test_long_names_are_cut_for_their_number():
    service = Service(KIND, "é" * 31, "h" * 63, 1, [])
    service.rename(wire.key(service.instance_name))
    service.rename(wire.key(service.host_name))
    assert service.label == "é" * 29 + " (2)"
    assert service.host == "h" * 61 + "-2"
    service.rename(wire.key(service.instance_name))
    assert service.label.endswith(" (3)")


# --- answering ---


def answers(sent):
    return [(at, record.type) for at, message, _ in sent if message.response for record in message.answers]


def test_who_asks_for_the_service_is_told_all_after_a_moment():
    world = World().established()
    begin = world.clock.seconds()
    world.asked(Question(tuple(label.upper() for label in KIND), wire.PTR))
    ((at, message, to),) = world.run(1)
    assert 0.01 < at - begin < 0.14
    assert to is None
    assert message.questions == ()
    assert [one.type for one in message.answers] == [wire.PTR]
    assert {one.type for one in message.additional} == {wire.SRV, wire.TXT, wire.A, wire.AAAA}


def test_what_only_we_have_is_told_at_once():
    world = World().established()
    world.asked(Question(world.service.instance_name, wire.SRV))
    assert [one.type for one in world.sent[0][1].answers] == [wire.SRV]
    assert {one.type for one in world.sent[0][1].additional} == {wire.A, wire.AAAA}


def test_kinds_of_services_are_told():
    world = World().established()
    world.asked(Question(ENUMERATION, wire.PTR))
    ((_, message, _),) = world.run(1)
    assert wire.read_target(message.answers[0]) == KIND


def test_what_is_not_there_is_said_to_be_not_there():
    world = World().established()
    world.asked(Question(world.service.host_name, 13))
    (nsec,) = world.sent[0][1].answers
    assert nsec.data == wire.nsec_data(world.service.host_name, [wire.A, wire.AAAA])
    world.asked(Question((b"others", b"local"), wire.A), Question((b"x", *KIND), wire.ANY))
    assert len(world.sent) == 1 + len(world.run(1))


@pytest.mark.parametrize(("ttl", "told"), [(4500, False), (2250, False), (2000, True)])
def test_what_the_asker_knows_is_not_told(ttl, told):
    world = World().established()
    known = world.service.shared()[0]._replace(ttl=ttl)
    world.asked(Question(KIND, wire.PTR), known=[known])
    assert bool(world.run(1)) == told


def test_the_rest_of_what_the_asker_knows_is_waited_for():
    world = World().established()
    world.asked(Question(KIND, wire.PTR), truncated=True)
    assert world.run(0.3) == []
    world.asked(known=[world.service.shared()[0]])
    assert world.run(1) == []
    world.asked(Question(KIND, wire.PTR), truncated=True)
    world.asked(known=[world.service.shared()[0]], source=("192.0.2.77", 5353))
    assert len(world.run(1)) == 1


def test_what_another_has_just_told_is_not_told_again():
    world = World().established()
    world.asked(Question(ENUMERATION, wire.PTR))
    world.responder.heard([world.service.shared()[1]])
    assert world.run(1) == []


def test_nobody_is_told_the_same_twice_within_a_second():
    world = World().established()
    for _ in range(50):
        world.asked(Question(world.service.instance_name, wire.SRV), Question(KIND, wire.PTR))
        world.run(0.01)
    assert sorted(kind for _, kind in answers(world.sent)) == [wire.PTR, wire.SRV]
    world.run(1)
    world.asked(Question(world.service.instance_name, wire.SRV))
    assert len(answers(world.sent)) == 3


def test_a_prober_hears_of_us_though_everybody_just_did():
    world = World().established()
    name = world.service.instance_name
    world.asked(Question(name, wire.ANY))
    world.run(0.3)
    world.asked(Question(name, wire.ANY), authorities=other(world.service)[:1])
    assert len(world.sent) == 2


def test_who_wants_it_alone_gets_it_alone_where_everybody_has_been_told_lately():
    world = World().established()
    world.asked(Question(world.service.instance_name, wire.SRV, unicast=True))
    assert world.sent[-1][2] == EVERYBODY
    world.run(31)
    world.asked(Question(world.service.instance_name, wire.SRV, unicast=True))
    assert world.sent[-1][2] is None


def test_a_plain_resolver_is_answered_as_by_a_server():
    world = World().established()
    question = Question(world.service.instance_name, wire.SRV)
    world.asked(question, source=("192.0.2.9", 40_000), id=77)
    ((_, message, to),) = world.sent
    assert (to, message.id, tuple(message.questions)) == (("192.0.2.9", 40_000), 77, (question,))
    assert all(one.ttl <= 10 and not one.flush for one in (*message.answers, *message.additional))
    world.asked(Question((b"nobody",), wire.A), source=("192.0.2.9", 40_000))
    assert len(world.sent) == 1


def test_answers_that_wait_are_bounded():
    world = World().established()
    for number in range(100):
        world.asked(Question(KIND, wire.PTR), source=(f"192.0.2.{number}", 5353))
    # Those that find no room are given at once, and for all.
    assert world.left_out == ["answers"] * 36
    assert len(world.sent) == 1
    assert world.run(1) == []


def test_goodbye_tells_everybody():
    world = World().established()
    world.responder.goodbye(world.service)
    ((_, message, to),) = world.sent
    assert to is None
    assert {one.type for one in message.answers} == {wire.PTR, wire.SRV, wire.TXT, wire.A, wire.AAAA}
    assert all(one.ttl == 0 for one in message.answers)
    assert all(wire.key(one.name) != ENUMERATION for one in message.answers)


# --- browsing ---


class Looking:
    def __init__(self, most=200, per_source=20):
        self.clock = Clock()
        self.sent = []
        self.left_out = []
        self.news = 0
        self.browser = Browser(
            KIND, self.clock, random.Random(0), self.send, self.new, self.left_out.append, lambda: (most, per_source)
        )
        self.browser.begin()

    def new(self):
        self.news += 1

    def send(self, message):
        data = wire.encode(message)
        assert wire.encode(wire.parse(data)) == data
        self.sent.append((self.clock.seconds(), message))

    def run(self, seconds, step=0.01):
        before = len(self.sent)
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
        return self.sent[before:]

    def hear(self, *records, source="192.0.2.50"):
        self.browser.heard(records, source)

    def found(self):
        return {(one.label, tuple(one.hosts), one.port) for one in self.browser.found()}


def there(label="you", hosts=("192.0.2.50",), port=7, host="theirs"):
    service = Service(KIND, label, host, port, ["network=net"])
    return [service.shared()[0], *service.unique(list(hosts))]


def test_questions_come_ever_more_seldom():
    looking = Looking()
    looking.run(70)
    times = [at for at, _ in looking.sent]
    assert [round(later - at) for at, later in pairwise(times)] == [1, 2, 4, 8, 16, 32]
    assert times[0] < 0.13
    looking.run(20_000, 1.0)
    times = [at for at, _ in looking.sent]
    assert times[-1] - times[-2] == pytest.approx(3600, abs=2)


def test_an_instance_is_found_with_all_its_addresses():
    looking = Looking()
    looking.hear(*there(hosts=("192.0.2.50", "2001:db8::50")))
    assert looking.found() == {("you", ("192.0.2.50", "2001:db8::50"), 7)}
    assert looking.browser.found()[0].texts == {"network": "net"}
    assert looking.news == 1
    looking.hear(*there(hosts=("192.0.2.50", "2001:db8::50")))
    assert looking.news == 1


def test_what_did_not_come_with_it_is_asked_for():
    looking = Looking()
    pointer, srv, txt, address = there()
    looking.hear(pointer)
    asked = [one for _, message in looking.run(0.9) for one in message.questions if one.type != wire.PTR]
    assert [one.type for one in asked] == [wire.SRV, wire.TXT]
    looking.hear(srv, txt)
    asked = [one for _, message in looking.run(2) for one in message.questions if one.type != wire.PTR]
    assert [one.type for one in asked[:2]] == [wire.A, wire.AAAA]
    assert looking.found() == set()
    looking.hear(address)
    assert looking.found() == {("you", ("192.0.2.50",), 7)}
    looking.run(10)
    assert sum(one.type != wire.PTR for _, message in looking.sent for one in message.questions) <= 6


def test_who_says_goodbye_is_gone_a_second_later():
    looking = Looking()
    looking.hear(*there())
    looking.hear(there()[0]._replace(ttl=0))
    looking.run(0.9)
    assert looking.found()
    looking.run(0.2)
    assert looking.found() == set()


def test_one_that_is_not_heard_of_any_more_is_asked_for_and_then_forgotten():
    looking = Looking()
    looking.run(4000, 1.0)
    looking.hear(*(one._replace(ttl=1000) for one in there()))
    looking.sent.clear()
    looking.run(1001, 1.0)
    parts = [(at - 4000) / 1000 for at, message in looking.sent if message.questions[0].type == wire.PTR]
    assert [part for part in parts if 0.5 < part < 0.99] == pytest.approx([0.81, 0.86, 0.91, 0.96], abs=0.012)
    assert looking.found() == set()


def test_a_question_says_who_is_known():
    looking = Looking()
    looking.hear(*there())
    ((_, message),) = looking.run(0.2)
    assert [one.data for one in message.answers] == [there()[0].data]
    looking.run(3700, 1.0)
    assert looking.sent[-1][1].answers == []


def test_many_known_ones_go_in_several_messages():
    looking = Looking(per_source=200)
    for number in range(100):
        looking.hear(*there(f"{number:060}", host=f"h{number}", hosts=(f"192.0.2.{number + 1}",)))
    sent = [message for _, message in looking.run(0.2)]
    assert [bool(message.questions) for message in sent] == [True] + [False] * (len(sent) - 1)
    assert [message.truncated for message in sent] == [True] * (len(sent) - 1) + [False]
    assert sum(len(message.answers) for message in sent) == 100
    assert all(len(wire.encode(message)) <= wire.ROOM for message in sent)


def test_new_addresses_take_the_place_of_the_old():
    looking = Looking()
    looking.hear(*there())
    looking.run(2)
    looking.hear(there(hosts=("192.0.2.51",))[-1])
    looking.run(2)
    assert looking.found() == {("you", ("192.0.2.51",), 7)}


def addresses_kept(browser):
    return sum(len(known) for source in browser._sources.values() for known in source.hosts.values())


def test_what_is_kept_is_bounded():
    looking = Looking(most=30, per_source=20)
    for number in range(40):
        looking.hear(*there(f"n{number}"), source="192.0.2.50")
    assert looking.left_out == ["of one source"] * 20
    for number in range(40, 60):
        looking.hear(*there(f"n{number}"), source="192.0.2.51")
    assert looking.left_out[20:] == ["instances"] * 10
    for number in range(100):
        looking.hear(there(hosts=(f"192.0.2.{number}",))[-1]._replace(flush=False))
    assert looking.left_out.count("addresses") == 100 - 15 - 1
    # Of others' services, and of hosts that nobody here has, nothing is kept.
    kept = addresses_kept(looking.browser)
    looking.hear(*(Record((b"x%d" % n, b"local"), wire.A, 9, bytes(4)) for n in range(1000)))
    looking.hear(*(Record((b"_other", b"_tcp", b"local"), wire.PTR, 9, wire.name_data((b"x",))) for n in range(1000)))
    assert addresses_kept(looking.browser) == kept


def test_nonsense_is_no_instance():
    looking = Looking()
    pointer = there()[0]
    looking.hear(
        pointer._replace(data=wire.name_data((b"a", b"b", *KIND))), pointer._replace(data=wire.name_data(KIND))
    )
    looking.hear(pointer._replace(data=wire.name_data((b"a", b"_other", b"_tcp", b"local"))))
    looking.hear(pointer, there()[1]._replace(data=b"\0\0\0\0\0\0\0"))
    looking.run(20)
    assert looking.found() == set()
    looking.browser.stop()
    assert looking.clock.getDelayedCalls() == []
