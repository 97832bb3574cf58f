"""What somebody on the link may try: to be answered too much, to keep us busy, to speak for others, to end a loop."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import MessageLengthError

from p2pframe.discovery.mdns import MdnsConfig, MdnsDiscovery, wire
from p2pframe.discovery.mdns.link import _parts
from p2pframe.discovery.mdns.service import Service
from p2pframe.discovery.mdns.wire import MdnsError, Message, Question
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from tests.discovery.mdns.test_mdns import THREE, Alone, interface
from tests.discovery.mdns.test_mdns import there as said
from tests.discovery.mdns.test_parts import HERE, KIND, Looking, World, other, there

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


# --- the plugin as a whole ---


def rival(service):
    """The records of somebody else by the same names."""
    return Service(service.kind, service.label, service.host, 1, []).unique(["192.0.2.200"])


def test_a_look_at_the_interfaces_that_fails_is_not_the_last():
    alone = Alone(interfaces=THREE[:2])
    alone.find()
    listed = alone.context.interfaces

    def failing():
        raise OSError(24, "too many open files")

    alone.context.interfaces = failing
    alone.run(31)
    alone.context.interfaces = listed
    alone.context.host_interfaces = THREE
    alone.run(31)
    assert [port[1].interface.name for port in alone.context.reactor.udpPorts] == ["eth0", "eth1"]


def test_a_first_look_that_fails_leaves_the_second_to_find():
    context = FakeContext("discovery.mdns", "net")
    listed = context.interfaces
    context.interfaces = lambda: 1 // 0
    plugin = MdnsDiscovery(MdnsConfig(patience=0), context)
    with pytest.raises(ZeroDivisionError):
        result_of(plugin.find(1))
    context.interfaces = listed
    looking = plugin.find(1)
    context.reactor.advance(0.1)
    assert result_of(looking) == []


def test_stopped_while_an_interface_is_being_joined():
    context = FakeContext("discovery.mdns", "net")
    context.host_interfaces = THREE
    listen, joining = context.reactor.listenMulticast, []

    def slow(port, protocol, interface, *args, **kwargs):
        opened = listen(port, protocol, interface, *args, **kwargs)
        protocol.transport.joinGroup = lambda *args: joining.append(Deferred()) or joining[-1]
        return opened

    context.reactor.listenMulticast = slow
    plugin = MdnsDiscovery(MdnsConfig(), context)
    announcing = plugin.announce([PeerAddress("0.0.0.0", 8333)])
    announcing.addErrback(lambda _: None)
    assert len(joining) == 1
    assert result_of(plugin.withdraw()) is None
    assert len(joining) == 1
    assert not any(port[1].transport and port[1].transport.listening for port in context.reactor.udpPorts)
    assert context.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("error", [MessageLengthError("message too long"), ValueError("no such address"), OSError(101)])
def test_what_can_not_be_sent_ends_nothing(error):
    alone = Alone(interfaces=THREE[:2], ipv6=False)
    alone.find()
    transport = alone.port()[1].transport
    write, before = transport.write, len(alone.sent())

    def failing(*args):
        raise error

    transport.write = failing
    alone.hear(Message(True, answers=rival(alone.plugin._service)[:1]))
    alone.run(0.3)
    transport.write = write
    alone.run(200)
    assert alone.plugin._claim.established
    assert any(wire.parse(data).response for data, _ in alone.sent()[before:])
    assert any(not wire.parse(data).response for data, _ in alone.sent()[-1:])
    assert alone.left_out("unsent") >= 1


def test_who_stops_while_it_probes_again_says_so_too():
    """So it does when an interface has come."""
    alone = Alone(interfaces=THREE[:2])
    alone.context.host_interfaces = THREE
    alone.run(27.2)
    assert not alone.plugin._claim.established
    alone.plugin.withdraw()
    assert {one.ttl for one in wire.parse(alone.sent()[-1][0]).answers} == {0}


def test_who_never_had_its_name_takes_nobody_elses_back():
    alone = Alone(interfaces=THREE[:2])
    alone.plugin.withdraw()
    before = len(alone.sent())
    announcing = alone.plugin.announce([PeerAddress("0.0.0.0", 8333)])
    announcing.addErrback(lambda _: None)
    alone.run(0.5)
    alone.plugin.withdraw()
    assert all(not wire.parse(data).response for data, _ in alone.sent()[before:])


def test_a_link_where_we_announce_nothing_has_no_say_about_our_names():
    alone = Alone(announced=[PeerAddress("192.0.2.10", 8333)], interfaces=THREE)
    service = alone.plugin._service
    for _ in range(2):
        alone.hear(Message(True, answers=rival(service)[:1]), ("198.51.100.9", 5353), port=1)
        alone.run(0.1)
    assert alone.plugin._claim.established
    alone.plugin._claim.begin(0.0)
    alone.run(0.3)
    later = [one._replace(data=b"\xff" * 20) for one in rival(service)]
    alone.hear(Message(False, authorities=later), ("198.51.100.9", 5353), port=1)
    alone.run(0.6)
    assert alone.plugin._claim.established


def test_who_always_probes_at_once_with_us_does_not_keep_us_from_every_name():
    world = World()
    world.claim.begin(1.0)
    for _ in range(10):
        world.run(1.1)
        world.claim.heard_probe(
            Message(False, authorities=[one._replace(data=b"\xff" * 20) for one in other(world.service)[:1]]), HERE
        )
        if world.service.label != "me":
            break
    assert world.service.label == "me (2)"
    assert world.claim.conflicts == 1
    world.run(2)
    assert world.claim.established


def test_announcing_again_ends_what_was_announced():
    alone = Alone(interfaces=THREE[:2], ipv6=False)
    first = alone.plugin._claim
    alone.plugin.announce([PeerAddress("0.0.0.0", 8334)])
    alone.run(3)
    assert not first.established
    goodbye = [wire.parse(data) for data, _ in alone.sent()]
    assert sum(message.response and {one.ttl for one in message.answers} == {0} for message in goodbye) == 1
    alone.plugin.withdraw()
    assert alone.context.reactor.getDelayedCalls() == []


def test_who_tells_of_more_than_are_wanted_does_not_crowd_out_others():
    alone = Alone()
    looking = alone.plugin.find(100)
    for number in range(20):
        hosts = [f"192.0.2.{one}" for one in range(60, 76)]
        alone.hear(said(f"lie{number}", hosts, port=number + 1), ("192.0.2.66", 5353))
    for number in range(5):
        alone.hear(said(f"n{number}", [f"192.0.2.{number + 50}"]), (f"192.0.2.{number + 50}", 5353))
    alone.run(2)
    found = result_of(looking)
    assert len(found) == 100
    assert {one.address.host for one in found} >= {f"192.0.2.{number + 50}" for number in range(5)}
    assert alone.left_out("limit") == 20 * 16 + 5 - 100


def test_addresses_that_nobody_can_have():
    alone = Alone(interfaces=[interface("eth0", 2, "192.0.2.1/24")])
    looking = alone.plugin.find(100)
    alone.hear(said(hosts=("192.0.2.255", "192.0.2.0", "192.0.2.50")))
    alone.run(2)
    assert [one.address.host for one in result_of(looking)] == ["192.0.2.50"]
    alone = Alone(interfaces=[interface("tun0", 2, "192.0.2.0/31")])
    looking = alone.plugin.find(100)
    alone.hear(said(hosts=("192.0.2.1",)), ("192.0.2.1", 5353))
    alone.run(2)
    assert [one.address.host for one in result_of(looking)] == ["192.0.2.1"]


# --- room ---


def test_those_that_never_came_to_be_do_not_keep_others_out():
    """Who has been driven from name to name is told of under the last one; and bare names fill nothing."""
    looking = Looking(most=40, per_source=20)
    for number in range(20):
        looking.hear(there(f"gone{number}")[0])
        looking.hear(there(f"lie{number}")[0], source="192.0.2.66")
    looking.hear(*there("early"))
    assert looking.found() == set()
    looking.run(6)
    looking.hear(*there("mine"))
    looking.hear(*there("yours", ["192.0.2.51"], host="other"), source="192.0.2.51")
    assert looking.found() == {("mine", ("192.0.2.50",), 7), ("yours", ("192.0.2.51",), 7)}
    assert looking.left_out == ["of one source", "of one source", "instances"]


def test_what_an_instance_says_of_itself_is_bounded():
    """A TXT record of 9000 bytes can have 3000 keys, each a hundred times its size in memory."""
    looking = Looking(most=100, per_source=100)
    txt = b"".join(b"\3%c%c=" % (97 + number // 26 % 26, 97 + number % 26) for number in range(320))
    wanted = wire.txt_data(["network=net"])
    tracemalloc.start()
    for number in range(100):
        pointer, srv, texts, address = there(f"n{number}")
        looking.hear(pointer, srv, texts._replace(data=wanted + txt), address)
        looking.hear(texts._replace(data=txt * 6))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 500_000
    assert looking.left_out == ["texts"] * 100
    assert {one.texts["network"] for one in looking.browser.found()} == {"net"}
