"""Protocols in their suite: those that there are, and wrong ones that it finds."""

from __future__ import annotations

import random
import sys

import pytest
from twisted.application.service import Service
from twisted.internet.defer import succeed
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from p2pframe.errors import UnreadableStream
from p2pframe.interfaces import (
    BucketView,
    IAddressBook,
    IConversation,
    ICountsMessages,
    IDatagramReceiver,
    IItems,
    IItemStore,
    INetworkProtocol,
    IRoutingTables,
    TopicRules,
    Use,
)
from p2pframe.model import Fact, Floor, HandshakeInfo, Item, ItemId, Topic
from p2pframe.plugin import PluginConfig, plugin
from p2pframe.testing.conformance import NonConformance, check
from tests.bitcoin.test_serving import spend

WORD = Topic("word")
LONGEST = 1_000


def lines(plugin):
    """Items of the `lines` protocol."""
    module = sys.modules[type(plugin).__module__]
    return [module.line_item("a line of text"), module.line_item("and another one")]


def test_lines(conforms):
    conforms("protocol", "lines", items=lines, largest=20_000, hash_seeds=True)


def transactions(plugin):
    """Items of the `bitcoin` protocol."""
    return [plugin.pool.item(spend(number).raw) for number in range(2)]


def test_bitcoin(conforms):
    conforms("protocol", "bitcoin", {"chain": "regtest"}, items=transactions, hash_seeds=True)
    conforms("protocol", "bitcoin")


def test_mainline(conforms):
    conforms("protocol", "mainline", hash_seeds=True)
    conforms("protocol", "mainline", {"public": False})


def test_beacon(conforms):
    conforms("protocol", "beacon", {"name": "alice"}, hash_seeds=True)


# --- streams ---


def word(text):
    """A word as an item."""
    return Item(WORD, ItemId(text.encode()), text, len(text))


def words(plugin):
    """Items of the protocols made here."""
    return [word("apple"), word("pear")]


@implementer(IItemStore)
class Words:
    """What is held."""

    def __init__(self):
        self.held = {}

    def have(self, id):
        return id in self.held

    def get(self, id):
        return succeed(self.held.get(id))

    def put(self, item):
        self.held[item.id] = item
        return succeed(True)


@implementer(IConversation)
class Talking:
    """Messages are a letter, two digits of length, and as many bytes; H(ello) first, then A(nnounce), R(equest), D."""

    def __init__(self, protocol, session):
        self.protocol = protocol
        self.session = session
        self.buffer = b""
        self.paid = False

    def start(self):
        self.say(b"H", self.protocol.id)

    def say(self, kind, body):
        self.session.sent(kind.decode())
        self.session.write(kind + b"%02d" % len(body) + body)

    def receive(self, data):
        self.buffer += data
        self.parse()

    def resume(self):
        self.paid = True
        self.parse()

    def parse(self):
        while len(self.buffer) >= 3 and not self.session.closing:
            kind, digits = self.buffer[:1], self.buffer[1:3]
            if kind not in b"HARDP" or not digits.isdigit():
                raise UnreadableStream("bad-header", "no message begins so")
            length = 3 + int(digits)
            if len(self.buffer) < length:
                return
            if not self.paid and not self.charge(kind.decode(), length):
                return
            self.paid = False
            body, self.buffer = self.buffer[3:length], self.buffer[length:]
            self.handle(kind, body)

    def charge(self, kind, length):
        return self.session.charge(kind, length)

    def handle(self, kind, body):
        items, session = self.protocol.items, self.session
        if kind == b"H":
            self.hello(body)
        elif session.link(WORD) is None:
            return
        elif kind == b"A":
            items.announced(session, WORD, [ItemId(body)])
        elif kind == b"R":
            self.protocol.store.get(ItemId(body)).addCallback(lambda item: item and self.deliver(WORD, item))
        elif kind == b"D":
            items.delivered(session, word(body.decode("utf-8", "replace")))

    def hello(self, body):
        session = self.session
        if session.link(WORD) is None and session.identified(HandshakeInfo(session.address, session.inbound)):
            session.opened([WORD])

    def tick(self, now):
        pass

    def drained(self):
        pass

    def announce(self, topic, items):
        for item in items:
            self.say(b"A", item.id)

    def request(self, topic, ids):
        for id in ids:
            self.say(b"R", id)

    def deliver(self, topic, item):
        self.say(b"D", item.body.encode())

    def push(self, topic, item):
        self.deliver(topic, item)

    def graft(self, topic):
        pass

    def prune(self, topic):
        pass

    def closed(self, reason):
        pass


def made(methods=None, /, **attributes):
    """A protocol of words, but for some methods of its own or of its conversations."""
    talking = type("Talking", (Talking,), dict(methods or {}))

    class Made:
        """Words that spread."""

        seams = {"transport": Use.REQUIRED, "relay": Use.OPTIONAL}
        topics = {WORD: TopicRules()}
        verbs = frozenset({"announce", "request", "deliver", "push"})
        datagrams = False
        default_port = 7000

        def __init__(self, config, context):
            self.config = config
            self.context = context
            self.items = context.service(IItems)
            self.store = Words()
            self.id = context.entropy.bytes(8).hex().encode()

        def conversation(self, session):
            return talking(self, session)

        def receiver(self, port):
            raise TypeError("words travel over connections")

        def dialable(self, address):
            return True

        def stores(self):
            return {WORD: self.store}

        def validators(self):
            return {}

        def stale(self):
            return False

    cls = type("Made", (Made,), {"__doc__": "Words that spread.", **attributes})
    return plugin("made")(implementer(INetworkProtocol)(cls))


OPTIONS = {"items": words, "largest": LONGEST}


def test_a_good_one_passes():
    check(made(), **OPTIONS)


@pytest.mark.parametrize(("attributes", "sentence"), [
    ({"seams": {"transports": Use.REQUIRED}}, "A kind left out is NONE"),
    ({"topics": [WORD]}, "The topics of its items, with their rules"),
    ({"verbs": frozenset({"shout"})}, "What its links offer"),
    ({"verbs": {"announce"}}, "What its links offer"),
    ({"datagrams": 0}, "True where it speaks datagrams without sessions"),
    ({"default_port": 0}, "The port that an address without one means"),
    ({"dialable": lambda self, address: address.ip.is_global}, "Called before an address enters the book"),
    ({"dialable": lambda self, address: None}, "Called before an address enters the book"),
    ({"stores": lambda self: {Topic("other"): Words()}}, "the item stores of its topics"),
    ({"stores": lambda self: {WORD: {}}}, "the item stores of its topics"),
    ({"validators": lambda self: None}, "the protocol's own validators"),
    ({"stale": lambda self: None}, "Called now and then"),
    ({"conversation": lambda self, session: self}, "What is said over one session"),
], ids=range(13))
def test_wrong_ones_are_found(attributes, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(**attributes), **OPTIONS)


def needs_whole_messages(self, data):
    self.buffer = data
    self.parse()


def charges_twice(self):
    self.paid = False
    self.parse()


def goes_on_unpaid(self, kind, length):
    self.session.charge(kind, length)
    return True


def opens_at_once(self, body):
    if self.session.link(WORD) is None:
        self.session.opened([WORD])


def opens_for_anyone(self, body):
    if self.session.link(WORD) is None:
        self.session.identified(HandshakeInfo(self.session.address, self.session.inbound))
        self.session.closing = False
        self.session.opened([WORD])


def opens_another(self, body):
    if self.session.link(WORD) is None and self.session.identified(HandshakeInfo(self.session.address, False)):
        self.session.opened([WORD, Topic("other")])


def keeps_everything(self, data):
    self.everything = getattr(self, "everything", b"") + data
    self.buffer += data
    try:
        self.parse()
    except UnreadableStream:
        self.buffer = b""


def times(self):
    self.call = self.protocol.context.reactor.callLater(9_000, lambda: None)
    Talking.start(self)


def remembers(self):
    self.protocol.__dict__.setdefault("all", []).append((self, bytearray(2_000)))
    Talking.start(self)


def shouts(self, now):
    self.session.close("bored")


def much_evidence(self, kind, body):
    if kind == b"A" and self.session.link(WORD) is None:
        self.session.fact(Fact("early", Floor.END, "x" * 100_000))
    Talking.handle(self, kind, body)


def by_chance(self):
    self.say(b"H", self.protocol.id + random.Random().randbytes(4).hex().encode())


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"receive": needs_whole_messages}, "Say that the handshake is complete|any other exception"),
    ({"hello": lambda self, body: None}, "Say that the handshake is complete"),
    ({"hello": opens_at_once}, "Say who the peer is, once the handshake tells"),
    ({"hello": opens_for_anyone}, "False: refused, and the session is closing with the reason"),
    ({"hello": opens_another}, "there is a link for each of `topics`"),
    ({"resume": charges_twice}, "does not charge this message again"),
    ({"charge": goes_on_unpaid}, "processes nothing more until `resume`"),
    ({"charge": lambda self, kind, length: self.session.charge(kind, length - 3)}, "counts header and body in bytes"),
    ({"charge": lambda self, kind, length: True}, "counts header and body in bytes"),
    ({"charge": lambda self, kind, length: self.session.charge(None, length)}, "when its header is known"),
    ({"handle": lambda self, kind, body: Talking.handle(self, kind, body.decode().encode())}, "any other exception"),
    ({"receive": keeps_everything}, "Must keep no more than its largest message of it"),
    ({"start": times}, "Called once when the session has ended"),
    ({"start": remembers}, "Called once when the session has ended"),
    ({"closed": lambda self, reason: self.timer.cancel()}, "any other exception is logged"),
    ({"tick": shouts}, "the place for pings and silences"),
    ({"tick": lambda self, now: 1 // 0}, "any other exception is logged"),
    ({"announce": lambda self, topic, items: None}, "Tell the peer that we have these"),
    ({"request": lambda self, topic, ids: None}, "Ask the peer for these"),
    ({"deliver": lambda self, topic, item: self.say(b"D", b"another")}, "Ask the peer for these|Give what was asked"),
    ({"push": lambda self, topic, item: None}, "Give it unasked"),
    ({"drained": lambda self: self.nothing}, "any other exception is logged"),
    ({"handle": much_evidence}, "bounded by who writes it"),
    ({"start": by_chance}, "in equal worlds"),
    ({"__init__": lambda self, protocol, session: (Talking.__init__(self, protocol, session),
                                                   setattr(self, "ballast", bytearray(100_000)))[0]},
     "ten thousand idle ones are normal"),
], ids=range(25))
def test_wrong_conversations_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(methods), **OPTIONS)


# --- datagrams ---


def made_of_datagrams(**methods):
    """A protocol of echoes, but for some methods."""

    class Made(Service):
        """Echoes."""

        seams = {"transport": Use.REQUIRED}
        topics = {}
        verbs = frozenset()
        datagrams = True
        default_port = 7000

        def __init__(self, config: PluginConfig, context) -> None:
            self.config = config
            self.context = context
            self.book = context.service(IAddressBook)
            self.loop = LoopingCall(self.ask)
            self.loop.clock = context.reactor

        def startService(self):
            super().startService()
            self.loop.start(10.0, now=False)

        def stopService(self):
            super().stopService()
            self.loop.stop()

        def ask(self):
            for found in self.book.sample(10):
                self.port.send(b"?" + self.context.entropy.bytes(7), found.address)

        def receiver(self, port):
            self.port = port
            return self

        def awaited(self, data, source):
            return False

        def datagram_received(self, data, source):
            if data[:1] == b"?" and len(data) == 8:
                self.port.send(b"!" + data[1:], source)

        def conversation(self, session):
            raise TypeError("no conversations")

        def dialable(self, address):
            return address.kind == "ip"

        def stores(self):
            return {}

        def validators(self):
            return {}

        def stale(self):
            return False

    cls = type("Made", (Made,), {"__doc__": "Echoes of datagrams.", **methods})
    return plugin("made")(implementer(INetworkProtocol, IDatagramReceiver)(cls))


def test_a_good_one_of_datagrams_passes():
    check(made_of_datagrams())


def floods(self, data, source):
    if data[:1] == b"?" and len(data) == 8:
        self.port.send(b"!" * 1000, source)


def answers_answers(self, data, source):
    self.port.send(data, source)


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"datagram_received": lambda self, data, source: data[0] and None}, "the datagram is lost"),
    ({"datagram_received": lambda self, data, source: source.ip.packed[15]}, "is lost"),
    ({"datagram_received": lambda self, data, source: data.decode()}, "the datagram is lost"),
    ({"datagram_received": floods}, "The source may be forged"),
    ({"datagram_received": answers_answers}, "two ends come to rest"),
    ({"receiver": lambda self, port: None}, "what takes the datagrams of `port`"),
    ({"stopService": lambda self: None}, "nothing is timed before start and nothing after stop"),
    ({"ask": lambda self: [self.port.send(random.Random().randbytes(4), f.address) for f in self.book.sample(9)]},
     "in equal worlds"),
], ids=range(8))
def test_wrong_ones_of_datagrams_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made_of_datagrams(**methods))


def bucket(depth=0, good=1, table="t", last_changed=0.0):
    return BucketView(table, depth, False, 8, good, 0, 0, 0, last_changed)


def tells(buckets=(), messages=None):
    """One of datagrams that has tables, and counts."""
    cls = made_of_datagrams(buckets=lambda self: list(buckets), messages={} if messages is None else messages)
    return implementer(IRoutingTables, ICountsMessages)(cls)


def test_one_that_tells_of_its_tables_and_counts_passes():
    check(tells([bucket(), bucket(1), bucket(table="u")], {"?": (1, 8)}))


@pytest.mark.parametrize(("buckets", "messages", "sentence"), [
    ([1], None, "Every bucket of every table"),
    ([bucket()] * 1001, None, "at most a few hundred"),
    ([bucket(1), bucket()], None, "by depth"),
    ([bucket(good=9)], None, "no more nodes than room"),
    ([bucket(good=-1)], None, "no more nodes than room"),
    ([bucket(last_changed=9e9)], None, "not in the future"),
    ([], {b"ping": (1, 8)}, "by type"),
    ([], {"ping": (-1, 8)}, "by type"),
    ([], {"ping": (10**9, 8)}, "datagrams that came in"),
    ([], {str(number): (0, 0) for number in range(101)}, "shown as `other`"),
], ids=range(10))  # fmt: skip
def test_wrong_tables_and_counts_are_found(buckets, messages, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(tells(buckets, messages))
