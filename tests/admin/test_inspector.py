"""The message inspector: what is kept of a session, within which bounds, and how the API and the page tell it."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from p2pframe.admin import inspecting
from p2pframe.admin.inspecting import InspectBounds, Inspections, InspectRefused, bounded
from p2pframe.admin.inspector import LISTED, Inspector
from p2pframe.admin.slices import SLICE
from p2pframe.admin.values_inspector import InspectedQuery, PageOfMessagesQuery
from p2pframe.capture_file import decode
from p2pframe.interfaces import Event, IInspectable, InspectedMessage
from p2pframe.interfaces.inspect import DEEPEST, LONGEST_TEXT, MOST_VALUES
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot
from p2pframe.testing.conformance.line_inspector import StandInInspectable, StandInInspector
from p2pframe.testing.context import FakeContext, result_of
from tests.admin.web import next_turn

PEER = "/api/v1/peers/net/1/inspect"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}\"'&amp;"


class World:
    """A node whose sessions say what a test lets them."""

    def __init__(self, inspectable=StandInInspectable, **bounds):
        self.context = FakeContext("application.admin")
        self.taps, self.subscribers = {}, []
        self.inspectable = inspectable
        self.bounds = InspectBounds(2, 100, 100_000, 300.0)._replace(**bounds)
        self.turned_away = Counter()
        self.inspections = Inspections(
            self.context, self, self, lambda: self.bounds, lambda name: self.turned_away.update([name])
        )

    def tap(self, network, session, callback):
        if session == 99:
            return None
        self.taps[session] = callback
        return lambda: self.taps.pop(session)

    def subscribe(self, callback):
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def providers(self, interface):
        assert interface is IInspectable
        return [("other: protocol.x", None), ("net: protocol.lines", self.inspectable())] if self.inspectable else []

    def begin(self, number=1):
        session = SessionSnapshot(
            SessionId(number), "net", PeerAddress("192.0.2.1", 8333), "g", Slot.INBOUND, "open", "tcp", 0.0, 0.0, True
        )
        return self.inspections.begin(session, "lines")

    def end(self, number=1):
        for callback in list(self.subscribers):
            callback(Event(1, 0.0, "session.closed", "net", SessionId(number), None))


def said(inspection, **filters):
    return [(one.number, one.way, one.message.name) for one in inspection.select(**filters) if one is not None]


def test_what_is_said_both_ways_is_kept_in_order():
    world = World()
    one = world.begin()
    world.taps[1]("in", b"hello alice\nwho")
    world.context.reactor.advance(2.5)
    world.taps[1]("out", b"hi\n")
    world.taps[1]("in", b" are you!\n")
    assert said(one) == [(1, "in", "hello"), (2, "out", "hi"), (3, "in", "who")]
    assert [seen.seconds for seen in one.kept] == [0.0, 2.5, 2.5]
    assert one.find(3).message == InspectedMessage("who", b"who are you!\n", {"text": "who are you!"}, "it has a !")
    assert (one.find(0), one.find(4)) == (None, None)
    assert world.begin() is one, "asked for twice it is the same"
    assert one.decoded


def test_filters_are_of_the_direction_the_type_and_the_words():
    one = (world := World()).begin()
    world.taps[1]("in", b"tx Alpha one\ntx beta two!\nping\n")
    world.taps[1]("out", b"tx alpha two\n")
    assert said(one, way="out") == [(4, "out", "tx")]
    assert said(one, kind="ping") == [(3, "in", "ping")]
    assert [number for number, _, _ in said(one, text="ALPHA")] == [1, 4]
    assert [number for number, _, _ in said(one, text="tx alpha two")] == [4]
    assert [number for number, _, _ in said(one, text="has")] == [2], "what is wrong with it is text too"
    assert said(one, way="out", kind="ping") == []


def test_some_by_number_and_the_newest_first():
    one = (world := World(messages=5)).begin()
    for number in range(1, 9):
        world.taps[1]("in", b"m %d\n" % number)
    numbers = lambda **more: [number for number, _, _ in said(one, **more)]  # noqa: E731
    assert numbers(after=6) == [7, 8] and numbers(before=6) == [4, 5]
    assert numbers(after=1, before=99) == [4, 5, 6, 7, 8] and numbers(after=8) == numbers(before=2) == []
    assert numbers(before=7, newest=True) == [6, 5, 4] and numbers(newest=True, text="5") == [5]


class Slow:
    """Many messages, of which each takes a millisecond to be searched, and what shows them."""

    def __init__(self, monkeypatch, count):
        self.world = World(messages=1000, size=10_000_000)
        self.clock = self.world.context.reactor
        self.world.begin()
        for number in range(1, count + 1):
            self.world.taps[1]("in", b"tx number %d\n" % number)
        says = inspecting._says
        self.searched = 0

        def slow(message, words):
            self.searched += 1
            self.clock.rightNow += 0.001
            return says(message, words)

        monkeypatch.setattr(inspecting, "_says", slow)
        maker = SimpleNamespace(made=lambda *args, **values: SimpleNamespace(pieces=[values]))
        view = SimpleNamespace(session=lambda network, id: None)
        api = SimpleNamespace(context=self.world.context, session_of=lambda call: ("net", SessionId(1)), view=view)
        self.inspector = Inspector(api, maker, self.world.inspections)


def test_a_search_through_many_messages_lets_others_have_their_turn(monkeypatch):
    slow = Slow(monkeypatch, 300)
    query = InspectedQuery(text="number 300", after=100)
    answer = Deferred.fromCoroutine(slow.inspector.messages(SimpleNamespace(query=query)))
    slow.world.taps[1]("in", b"tx number 300 again\n")
    turns = []
    while not answer.called:
        turns.append(next_turn(slow.clock))
    assert [one.number for one in result_of(answer).messages] == [300], "of those that there were when it began"
    assert slow.searched == 200
    assert len(turns) >= 30 and max(turns) <= SLICE + 0.001 + 1e-9


def test_a_page_is_searched_in_pieces_from_the_newest_and_no_further_than_it_shows(monkeypatch):
    slow = Slow(monkeypatch, 300)
    for text, found, searched, older in (("tx", LISTED, LISTED + 1, 201), ("nowhere", 0, 300, 0)):
        slow.searched = 0
        query = PageOfMessagesQuery(text=text)
        *pieces, values = slow.inspector.page(SimpleNamespace(query=query)).pieces
        assert pieces == [""] * searched == [""] * slow.searched
        assert (len(values["messages"]), values["older"]) == (found, older)


def test_so_many_messages_are_kept_and_those_that_went_are_counted():
    one = (world := World(messages=3)).begin()
    for number in range(10):
        world.taps[1]("in", b"m %d\n" % number)
    assert [seen.number for seen in one.kept] == [8, 9, 10]
    assert (one.dropped, one.latest, world.turned_away["inspected_messages"]) == (7, 10, 7)
    assert one.find(7) is None
    assert one.find(8).message.raw == b"m 7\n"


def test_so_many_bytes_are_kept_what_they_mean_included():
    one = (world := World(size=5000)).begin()
    for _ in range(50):
        world.taps[1]("in", b"m " + b"x" * 800 + b"\n")
        assert one.size <= 5000
    assert 0 < len(one.kept) < 5
    assert one.size == sum(seen.cost for seen in one.kept)
    assert world.turned_away["inspected_bytes"] == one.dropped > 40
    world.taps[1]("in", b"y" * 9000 + b"\n")
    assert list(one.kept) == [], "one that is larger than all of it is not kept"


def test_so_many_sessions_at_once_and_ended_ones_make_room():
    world = World(sessions=2)
    world.begin(1)
    world.begin(2)
    with pytest.raises(InspectRefused, match="2 sessions are inspected already"):
        world.begin(3)
    assert world.turned_away["inspections"] == 1
    world.end(1)
    world.begin(3)
    assert [one.session.id for one in world.inspections.all()] == [2, 3]
    with pytest.raises(InspectRefused, match="the session has ended"):
        World().begin(99)


def test_it_ends_when_nobody_looked_for_a_while_and_goes_on_while_somebody_does():
    world = World(idle=300.0)
    world.begin()
    for _ in range(5):
        world.context.reactor.advance(200.0)
        assert world.inspections.find("net", SessionId(1)) is not None
    world.context.reactor.advance(299.0)
    assert 1 in world.taps
    world.context.reactor.advance(2.0)
    assert world.taps == {}, "nothing is shown any more, and nothing costs"
    assert world.inspections.find("net", SessionId(1)) is None
    assert world.context.reactor.getDelayedCalls() == []
    assert world.subscribers == []


def test_what_a_session_said_is_there_for_a_while_after_its_end():
    one = (world := World()).begin()
    world.taps[1]("in", b"last words\nunfin")
    world.end()
    assert not one.running
    assert world.taps == {}
    assert said(one) == [(1, "in", "last"), (2, "in", "")]
    assert one.find(2).message.error == "the stream ends within a line"
    assert world.inspections.find("net", SessionId(1)) is one
    world.context.reactor.advance(301.0)
    assert world.inspections.find("net", SessionId(1)) is None


def test_stopping_forgets_all_of_it():
    world = World()
    world.begin(1)
    world.begin(2)
    assert world.inspections.stop("net", SessionId(1))
    assert not world.inspections.stop("net", SessionId(1))
    world.inspections.stop_all()
    assert (world.taps, world.subscribers, world.context.reactor.getDelayedCalls()) == ({}, [], [])


def test_of_a_protocol_that_says_nothing_there_are_the_reads():
    one = (world := World(inspectable=None)).begin()
    world.taps[1]("in", b"\x00\x01")
    world.taps[1]("out", b"\xff")
    assert not one.decoded
    assert [(seen.message.name, seen.message.raw) for seen in one.kept] == [("bytes", b"\x00\x01"), ("bytes", b"\xff")]


class Failing(StandInInspector):
    def feed(self, data):
        raise RuntimeError("a bug of the protocol's")


class FailingInspectable(StandInInspectable):
    @classmethod
    def inspector(cls, way):
        return Failing()


class Unmakeable(StandInInspectable):
    @classmethod
    def inspector(cls, way):
        raise RuntimeError("a bug of the protocol's")


@pytest.mark.parametrize("inspectable", [FailingInspectable, Unmakeable])
def test_an_inspector_that_fails_leaves_the_bytes_and_is_logged(inspectable, flush_logged_errors):
    one = (world := World(inspectable)).begin()
    world.taps[1]("in", b"a\n")
    world.taps[1]("in", b"b\n")
    assert [seen.message.raw for seen in one.kept] == [b"a\n", b"b\n"]
    assert not one.decoded
    assert len(flush_logged_errors(RuntimeError)) == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=50,
)  # fmt: skip


def values_of(value, deep=0):
    assert deep <= DEEPEST
    if isinstance(value, dict):
        return 1 + sum(values_of(one, deep + 1) for one in value.values())
    if isinstance(value, list):
        return 1 + sum(values_of(one, deep + 1) for one in value)
    assert value is None or isinstance(value, (bool, int, float, str))
    assert not isinstance(value, str) or len(value) <= LONGEST_TEXT
    return 1


@given(st.dictionaries(st.text(), anything))
def test_whatever_a_plugin_gives_is_kept_within_bounds(fields):
    found = bounded(InspectedMessage("x", b"", fields))
    assert values_of(found.fields) <= MOST_VALUES
    json.dumps(found.fields)


def test_the_bounds_of_fields_are_reached_and_not_passed():
    deep = fields = {}
    for _ in range(50):
        deep["more"] = deep = {}
    for given_fields in ({"list": list(range(10_000))}, {"text": "x" * 10_000}, fields, {"n": 10**400}):
        assert values_of(bounded(InspectedMessage("x", b"", given_fields)).fields) <= MOST_VALUES
    assert len(bounded(InspectedMessage("x" * 5000, b"", {}, "e" * 5000)).name) == 100


# --- over HTTP ---


@pytest_twisted.async_yield_fixture
async def inspected(web):
    """The admin of a node whose session 1 says lines."""
    taps = {}

    def tap(network, session, callback):
        taps[session] = callback
        return lambda: taps.pop(session)

    web.control.tap = tap
    providers = web.view.providers
    web.view.providers = lambda interface: (
        [("net: protocol.lines", StandInInspectable())] if interface is IInspectable else providers(interface)
    )
    web.taps = taps
    yield web


async def ask(web, method, path, status=200, **more):
    answer = await web.ask(method, path, **web.operator, **more)
    assert answer.status == status, (path, answer)
    return answer


@pytest_twisted.ensureDeferred
async def test_an_inspection_from_its_beginning_to_its_end(inspected):
    web = inspected
    await ask(web, "GET", PEER, 404)
    await ask(web, "POST", PEER + "/stop", 404)
    begun = (await ask(web, "POST", PEER)).json
    assert (begun["running"], begun["decoded"], begun["kept"]) == (True, True, 0)
    web.taps[1]("in", b"hello there\n")
    web.taps[1]("out", b"oops!\n" + b"long " + b"x" * 2000 + b"\n")
    found = (await ask(web, "GET", PEER)).json
    assert [(one["number"], one["way"], one["type"]) for one in found["messages"]] == [
        (1, "in", "hello"), (2, "out", "oops!"), (3, "out", "long"),
    ]  # fmt: skip
    first, second, third = found["messages"]
    assert (bytes.fromhex(first["hex"]), first["cut"], first["size"]) == (b"hello there\n", False, 12)
    assert first["fields"] == {"text": "hello there"}
    assert second["error"] == "it has a !"
    assert (len(third["hex"]), third["cut"], third["size"]) == (2048, True, 2006)
    raw = await ask(web, "GET", PEER + "/3")
    assert raw.body == b"long " + b"x" * 2000 + b"\n"
    assert raw.get("content-type") == "application/octet-stream"
    assert raw.get("content-disposition") == 'attachment; filename="net-1-3.bin"'
    for wrong in ("4", "0", "x", "-1", "9" * 40, "%2e%2e"):
        await ask(web, "GET", f"{PEER}/{wrong}", 404)
    all_of_them = (await ask(web, "GET", "/api/v1/inspections")).json["inspections"]
    assert [one["id"] for one in all_of_them] == [1]
    await ask(web, "POST", PEER + "/stop", 204)
    assert web.taps == {}
    await ask(web, "GET", PEER, 404)


@pytest_twisted.ensureDeferred
async def test_who_asks_again_and_again_sees_each_message_once(inspected):
    web = inspected
    await ask(web, "POST", PEER)
    seen, after = [], 0
    for number in range(7):
        web.taps[1]("in", b"m %d\n" % number)
    while True:
        found = (await ask(web, "GET", f"{PEER}?after={after}&limit=3")).json
        seen += [one["number"] for one in found["messages"]]
        if found["next"] is None:
            break
        after = found["next"]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    found = (await ask(web, "GET", f"{PEER}?way=in&type=m&text=m%205")).json
    assert [one["number"] for one in found["messages"]] == [6]
    for wrong in ("way=up", "after=-1", "limit=0", "limit=201", "text=" + "x" * 201, "other=1"):
        await ask(web, "GET", f"{PEER}?{wrong}", 422)


@pytest_twisted.ensureDeferred
async def test_all_that_is_shown_can_be_downloaded(inspected):
    web = inspected
    await ask(web, "POST", PEER)
    web.taps[1]("in", b"one\n")
    web.clock.advance(1.5)
    web.taps[1]("out", b"two\n")
    lines = (await ask(web, "GET", PEER + "/lines")).body.splitlines()
    assert [(one["type"], bytes.fromhex(one["hex"])) for one in map(json.loads, lines)] == [
        ("one", b"one\n"), ("two", b"two\n"),
    ]  # fmt: skip
    answer = await ask(web, "GET", PEER + "/capture?way=out&type=&text=")
    assert answer.get("content-disposition") == 'attachment; filename="net-1.p2pcap"'
    head, records = decode(answer.body)
    assert (head["network"], head["protocol"], head["address"]) == ("net", "bitcoin", "192.0.2.7:8333")
    assert [(one.seconds, one.way, one.data) for one in records] == [(1.5, "out", b"two\n")]


@pytest_twisted.ensureDeferred
async def test_operators_alone_see_what_peers_say(inspected):
    web = inspected
    await ask(web, "POST", PEER)
    web.taps[1]("in", b"secret\n")
    for path in ("", "/1", "/lines", "/capture"):
        assert (await web.ask("GET", PEER + path, **web.viewer)).status == 403
    answer = await web.ask("GET", "/peers/net/1/messages", **web.viewer)
    assert answer.status == 403
    assert b"secret" not in answer.body
    assert b"/messages" not in (await web.ask("GET", "/peers/net/1", **web.viewer)).body


@pytest_twisted.ensureDeferred
async def test_the_page_shows_the_latest_and_one_of_them_whole(inspected):
    web = inspected
    empty = (await ask(web, "GET", "/peers/net/1/messages")).body.decode()
    assert "Nobody inspects this peer." in empty
    assert 'data-do="inspect"' in empty
    await ask(web, "POST", PEER)
    assert "Nothing was said yet." in (await ask(web, "GET", "/peers/net/1/messages")).body.decode()
    for number in range(150):
        web.taps[1]("in", b"word %d %s\n" % (number, b"\x01\x02"))
    page = (await ask(web, "GET", "/peers/net/1/messages?message=150&way=&type=&text=")).body.decode()
    assert page.count("data-message=") == 100
    assert "Older messages" in page
    assert "000000  77 6f 72 64 20 31 34 39  20 01 02 0a              word 149 ..." in page
    page = (await ask(web, "GET", "/peers/net/1/messages?before=51")).body.decode()
    assert page.count("data-message=") == 50
    assert "Older messages" not in page
    page = (await ask(web, "GET", "/peers/net/1/messages?text=nowhere&message=999")).body.decode()
    assert "No message that is kept fits." in page
    assert "This message is kept no longer." in page
    await ask(web, "GET", "/peers/net/2/messages", 404)


@pytest_twisted.ensureDeferred
async def test_what_a_peer_says_is_text_on_the_page(inspected):
    web = inspected
    await ask(web, "POST", PEER)
    web.taps[1]("in", HOSTILE.encode() + b"\n" + HOSTILE.replace(" ", "").encode() + b"!\n")
    for path in ("?message=1", "?message=2", "?type=%3Cscript%3E&text=%22%3E%3Cb%3E"):
        page = (await ask(web, "GET", "/peers/net/1/messages" + path)).body.decode()
        assert "<img" not in page.replace('<img src="/static/icon.svg"', "")
        assert "<script>" not in page
        assert "<b>" not in page
        if "message=" in path:
            assert "alert(2)" in page, "it is shown all the same"
            assert "{{7*7}}" in page
