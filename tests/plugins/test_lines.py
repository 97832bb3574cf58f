"""The lines protocol by itself: any split of the bytes says the same, and what a peer may not do costs little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from zope.interface.verify import verifyObject

from p2pframe.errors import PluginError, UnreadableStream
from p2pframe.interfaces import IConversation, IItems, IItemStore, INetworkProtocol, IValidator
from p2pframe.model import HandshakeInfo, Outcome, PeerAddress, SessionCounters
from p2pframe.testing.context import FakeContext, result_of
from plugins.lines import LINE, MAX_IDS, LinesConfig, LinesConversation, LinesProtocol, line_item

HELLO = b"HELLO p2pframe-lines/1 theirs\n"


class Items:
    def __init__(self):
        self.heard: list[tuple] = []

    def announced(self, session, topic, ids):
        self.heard.append(("announced", tuple(ids)))

    def delivered(self, session, item, requested=True):
        self.heard.append(("delivered", item.body))

    def subscribe(self, topic, callback):
        self.accepted = callback
        return lambda: None


class Session:
    """As much of ISession as the conversation uses."""

    def __init__(self, budget=10**9):
        self.address, self.inbound, self.now = PeerAddress("192.0.2.1", 7777), True, 0.0
        self.counters = SessionCounters(0.0)
        self.closing, self.writable, self.budget = False, True, budget
        self.written = bytearray()
        self.charged: list[tuple[str, int]] = []
        self.ended: tuple[str, str] | None = None
        self.links = None

    def charge(self, kind, length):
        self.charged.append((kind, length))
        self.budget -= 1
        return self.budget >= 0

    def write(self, data):
        self.written += data

    def sent(self, kind, count=1):
        pass

    def identified(self, info: HandshakeInfo):
        return True

    def opened(self, topics):
        self.links = topics

    def link(self, topic):
        return self.links

    def close(self, reason, evidence=""):
        self.closing, self.ended = True, (reason, evidence)


def world(**options):
    items = Items()
    context = FakeContext("protocol.lines", services={IItems: items})
    return LinesProtocol(LinesConfig(**options), context), items


def talk(*pieces, budget=10**9, **options):
    protocol, items = world(**options)
    session = Session(budget)
    conversation = LinesConversation(protocol, session)
    conversation.start()
    for piece in pieces:
        conversation.receive(piece)
    return session, items, conversation


@given(
    st.lists(
        st.sampled_from([b"LINE a line", b"HAVE 0123456789abcdef fedcba9876543210", b"HAVE nothing", b"PING x",
        b"WHAT is this", b"",
                         "LINE naïve ☃".encode(), b"LINE \xff\xfe", b"HELLO again and again", b"GET 0123456789abcdef"]),
        max_size=20,
    ),
    st.lists(st.integers(0, 400), max_size=12),
)  # fmt: skip
def test_any_split_of_the_bytes_says_the_same(lines, cuts):
    data = HELLO + b"".join(line + b"\n" for line in lines)
    places = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    whole, split = talk(data), talk(*pieces)
    assert whole[1].heard == split[1].heard
    assert bytes(whole[0].written) == bytes(split[0].written)
    assert whole[0].charged == split[0].charged == [
        (kind if kind in ("HELLO", "HAVE", "GET", "LINE", "PING", "PONG") else "*", len(line) + 1)
        for line in data.split(b"\n")[:-1]
        for kind in [line.split(b" ")[0].decode()]
    ]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_raise_anything_but_unreadable(data, cut):
    try:
        talk(HELLO, data[:cut], data[cut:], longest=10)
    except UnreadableStream as error:
        assert error.reason == "oversized"


@pytest.mark.parametrize("pieces", [[b"LINE " + b"x" * 5000 + b"\n"], [b"x" * 100] * 50])
def test_a_line_without_end_is_given_up_before_it_is_long(pieces):
    with pytest.raises(UnreadableStream, match="oversized"):
        talk(HELLO, *pieces, longest=1000)


def test_over_the_budget_it_stops_and_goes_on_where_it_stopped():
    data = HELLO + b"LINE 1\nLINE 2\nLINE 3\nLINE 4\n"
    session, items, conversation = talk(data, b"LINE 5\n", budget=3)
    assert items.heard == [("delivered", "1"), ("delivered", "2")]
    session.budget = 100
    conversation.resume()
    assert [text for _, text in items.heard] == ["1", "2", "3", "4", "5"]
    # The one that was over the budget is not charged a second time.
    assert len(session.charged) == 6


def test_nothing_counts_before_the_hello_and_another_version_or_ourselves_ends_it():
    session, items, _ = talk(b"LINE too early\n", b"HAVE 0123456789abcdef\n")
    assert items.heard == [] and session.links is None
    assert talk(b"HELLO p2pframe-lines/2 x\n")[0].ended[0] == "wrong-version"
    protocol, _ = world()
    assert talk(f"HELLO p2pframe-lines/1 {protocol.nonce}\n".encode())[0].ended[0] == "self-connection"


def test_of_many_ids_a_bounded_number_counts():
    _, items, _ = talk(HELLO, b"HAVE " + b" ".join(b"%016x" % n for n in range(200)) + b"\n")
    assert len(items.heard[0][1]) == MAX_IDS


def test_what_is_asked_for_is_given_from_the_store_that_the_config_names():
    item = line_item("kept elsewhere")

    class Store:
        def get(self, id):
            return succeed(item if id == item.id else None)

    items = Items()
    context = FakeContext("protocol.lines", services={IItems: items, IItemStore: Store()})
    session = Session()
    conversation = LinesConversation(LinesProtocol(LinesConfig(), context), session)
    conversation.receive(HELLO + b"GET " + item.id + b" 0123456789abcdef\n")
    assert bytes(session.written).endswith(b"LINE kept elsewhere\n")
    assert session.written.count(b"LINE") == 1


def test_its_parts_keep_their_interfaces_and_bounds():
    protocol, items = world(kept=3, longest=5, first_word="news")
    verifyObject(INetworkProtocol, protocol)
    verifyObject(IConversation, LinesConversation(protocol, Session()))
    (store,), (validator,) = protocol.stores().values(), protocol.validators().values()
    verifyObject(IItemStore, store)
    verifyObject(IValidator, validator)
    for text in ("news", "news", "olds", "newsy", "", "n\0"):
        expected = Outcome.ACCEPT if text == "news" else Outcome.REJECT
        assert validator.validate(line_item(text)).outcome is expected, text
    for number in range(10):
        assert result_of(store.put(line_item(str(number))))
        items.accepted(line_item(str(number)), None)
    assert [item.body for item in store.held.values()] == list(protocol.lines()) == ["7", "8", "9"]
    assert protocol.status() == {"lines": 3}
    assert protocol.validators().keys() == protocol.stores().keys() == {LINE}


def test_a_store_is_optional_and_a_context_without_one_says_so_by_plugin_error():
    with pytest.raises(PluginError):
        FakeContext().service(IItemStore)
    protocol, _ = world()
    assert protocol.serving is protocol.store
