"""The stream of events: goes on where it was, is bounded, ends with its session, and no slow reader disturbs others."""

import re
from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from p2pframe.admin.slices import SLICE
from p2pframe.admin.stream import Source, Streams
from tests.admin.web import VIEWER, next_turn

STREAM = "/api/v1/events/stream"
AS_VIEWER = {"authorization": f"Bearer {VIEWER}"}


async def opened(web, path=STREAM, **headers):
    raw = await web.connect()
    raw.transport.write(web.request("GET", path, connection=None, **(headers or AS_VIEWER)))
    await raw.until(lambda raw: b"retry: " in raw.data or raw.lost)
    return raw


def ids(raw):
    return [int(number) for number in re.findall(rb"^id: (\d+)$", raw.data, re.MULTILINE)]


@pytest_twisted.ensureDeferred
async def test_events_come_as_they_happen(web):
    web.view.happen()
    raw = await opened(web)
    web.view.happen(reason="line\nline\r\n\r\nid: 77\n\ndata: forged", other=b"x")
    web.view.happen()
    await raw.until(lambda raw: ids(raw)[-1:] == [3])
    assert ids(raw) == [2, 3], "nothing in a field looks like an event"
    assert raw.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/event-stream" in raw.data


@pytest.mark.parametrize("how", ["header", "query"])
@pytest_twisted.ensureDeferred
async def test_it_goes_on_after_the_last_one_seen(web, how):
    for _ in range(5):
        web.view.happen()
    if how == "header":
        raw = await opened(web, last_event_id="3", **AS_VIEWER)
    else:
        raw = await opened(web, STREAM + "?after=3")
    web.view.happen()
    await raw.until(lambda raw: ids(raw)[-1:] == [6])
    assert ids(raw) == [4, 5, 6]


@pytest.mark.parametrize("how", ["header", "query"])
@pytest.mark.parametrize("path", [STREAM, "/api/v1/logs/stream"])
@pytest_twisted.ensureDeferred
async def test_a_number_of_before_a_restart_misses_nothing(web, path, how):
    web.view.lines.clear()
    for _ in range(3):
        web.view.happen()
        web.view.say("line")
    for last, wanted in (("100000", [1, 2, 3, 4]), ("5", [1, 2, 3, 4, 5]), ("5", [6]), ("4", [5, 6, 7])):
        if how == "header":
            raw = await opened(web, path, last_event_id=last, **AS_VIEWER)
        else:
            raw = await opened(web, f"{path}?after={last}")
        web.view.happen()
        web.view.say("line")
        await raw.until(lambda raw, wanted=wanted: len(ids(raw)) >= len(wanted))
        assert ids(raw) == wanted
        raw.transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_with_nothing_kept_a_number_of_before_a_restart_waits_for_the_first(web):
    raw = await opened(web, last_event_id="100000", **AS_VIEWER)
    web.view.happen()
    await raw.until(ids)
    assert ids(raw) == [1]


@pytest_twisted.ensureDeferred
async def test_a_cursor_of_before_a_restart_begins_with_the_oldest(web):
    for _ in range(3):
        web.view.happen()
        await web.ask("POST", "/api/v1/bans/lift", body={"subject": "192.0.2.9"}, **web.operator)
    for path in ("events", "audit"):
        for cursor, wanted in ((2, [3]), (3, []), (4, [1, 2, 3]), (10**14, [1, 2, 3])):
            answer = await web.ask(path=f"/api/v1/{path}?cursor=%5B{cursor}%5D", **AS_VIEWER)
            assert [one["number"] for one in answer.json["events"]] == wanted, (path, cursor)
    newest = (await web.ask(path=f"/api/v1/logs?level=debug&cursor=%5B{10**14}%5D", **AS_VIEWER)).json["lines"][0]
    assert newest["number"] == len(web.view.lines), "the log is read from the newest: nothing is before it"


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "9" * 500, "\xb2", "0x1"])
@pytest_twisted.ensureDeferred
async def test_a_number_that_is_none_is_none(web, last):
    web.view.happen()
    raw = await opened(web, last_event_id=last, **AS_VIEWER)
    web.view.happen()
    await raw.until(lambda raw: ids(raw))
    assert ids(raw) == [2]
    for query in ("after=-1", "after=x", "after=", "after=1&after=2", "what=1"):
        assert (await web.ask("GET", f"{STREAM}?{query}", **AS_VIEWER)).status in (400, 422)


@pytest_twisted.ensureDeferred
async def test_there_are_so_many_and_one_that_ends_makes_room(webs):
    web = await webs(streams=2)
    first, _ = await opened(web), await opened(web)
    assert (await web.ask("GET", STREAM, **AS_VIEWER)).status == 503
    first.transport.loseConnection()
    await web.until(lambda: len(web.view.subscribers) == 1)
    again = await opened(web)
    web.view.happen()
    await again.until(ids)
    assert len(web.view.subscribers) == 2


@pytest_twisted.ensureDeferred
async def test_head_opens_none(web):
    assert (await web.ask("HEAD", STREAM, **AS_VIEWER)).status == 200
    assert web.view.subscribers == []


@pytest_twisted.ensureDeferred
async def test_a_stream_lasts_and_says_that_it_does(web):
    raw = await opened(web)
    for _ in range(40):
        web.clock.advance(15)
    web.view.happen()
    await raw.until(ids)
    assert raw.data.count(b": still here") == 40
    assert not raw.lost


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_is_dropped_and_nobody_else_is_disturbed(web):
    slow, quick = await opened(web), await opened(web)
    slow.transport.pauseProducing()
    sent = 0
    while len(web.view.subscribers) == 2:
        web.view.happen(reason="x" * 200_000)
        sent += 1
        await quick.until(lambda raw, sent=sent: ids(raw)[-1:] == [sent])
        assert sent < 5_000, "the system's buffers end somewhere"
    # It does not keep the connection by not reading either.
    web.clock.advance(web.admin.config.idle_timeout)
    await web.until(lambda: len(web.site._open) == 1)
    web.view.happen()
    await quick.until(lambda raw: ids(raw)[-1:] == [sent + 1])
    assert ids(quick) == list(range(1, sent + 2))
    slow.transport.resumeProducing()
    await slow.closed()


@pytest_twisted.ensureDeferred
async def test_a_stream_ends_with_its_session(web):
    one, other = await web.log_in(), await web.log_in()
    ended, kept, token = [
        await opened(web, **headers) for headers in ({"cookie": one.cookie}, {"cookie": other.cookie}, AS_VIEWER)
    ]
    await web.ask("POST", "/api/v1/logout", **one.headers)
    web.clock.advance(5)
    await ended.closed()
    assert not kept.lost
    web.clock.advance(web.admin.config.idle + 10)
    await kept.closed()
    web.view.happen()
    await token.until(ids)
    assert len(web.view.subscribers) == 1


@pytest_twisted.ensureDeferred
async def test_it_ends_at_stop(web):
    raws = [await opened(web) for _ in range(3)]
    await web.admin.stop()
    for raw in raws:
        await raw.closed()
    assert web.view.subscribers == []


@pytest_twisted.ensureDeferred
async def test_old_http_has_streams_too(web):
    raw = await web.connect()
    head = f"GET {STREAM} HTTP/1.0\r\nHost: {web.host}\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
    raw.transport.write(head.encode())
    await raw.until(lambda raw: b"retry: " in raw.data)
    web.view.happen()
    await raw.until(ids)


@pytest_twisted.ensureDeferred
async def test_who_asks_for_more_on_the_connection_of_a_stream_is_bounded(web):
    raw = await opened(web)
    for _ in range(200):
        raw.transport.write(web.request(connection=None) * 100)
        await web.soon(lambda: False, 2)
    [channel] = web.site._open
    assert sum(map(len, channel._dataBuffer)) < 200_000
    web.view.happen()
    await raw.until(ids)


@pytest_twisted.ensureDeferred
async def test_all_that_was_missed_comes_over_as_many_connections_as_it_takes(web, flush_logged_errors):
    for _ in range(1500):
        web.view.happen(reason="x" * 500)
    seen = [0]
    for _ in range(20):
        raw = await opened(web, last_event_id=str(seen[-1]), **AS_VIEWER)
        web.view.happen()
        await web.soon(lambda raw=raw: ids(raw)[-1:] == [len(web.view.kept)] or raw.lost, 1000)
        seen += ids(raw)
        raw.transport.abortConnection()
    assert flush_logged_errors() == []
    assert seen == list(range(len(web.view.kept) + 1))


class Reader:
    """Of a stream of numbers: as much of a request as is written to, each write of which takes half a millisecond."""

    def __init__(self, kept, wants=lambda one: True):
        self.clock, self.kept, self.listeners = Clock(), [SimpleNamespace(number=n) for n in range(1, kept + 1)], []
        self.data, self.looked_at = b"", 0
        self.source = Source(self.since, self.subscribe, lambda one: ("x", b"{}"), lambda _: self.kept[-1:], wants)
        self.streams = Streams(self.clock, lambda: 1)

    def begin(self, last=0):
        return self.streams.begin(self, self.source, last)

    def since(self, number, limit):
        found = self.kept[number : number + limit]
        self.looked_at += len(found)
        return found

    def subscribe(self, callback):
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def happen(self):
        self.kept.append(SimpleNamespace(number=len(self.kept) + 1))
        for callback in list(self.listeners):
            callback(self.kept[-1])

    def registerProducer(self, producer, streaming):
        pass

    def write(self, data):
        self.data += data
        self.clock.rightNow += 0.0005


def test_what_was_missed_is_written_in_slices_and_what_happens_meanwhile_comes_after_it():
    reader = Reader(1000)
    reader.begin()
    turns = []
    while ids(reader)[-1] < 1001:
        if len(turns) == 20:
            reader.happen()
        turns.append(next_turn(reader.clock))
    assert ids(reader) == list(range(1, 1002))
    assert max(turns) <= SLICE + 0.0005 + 1e-9 and len(turns) > 100
    reader.happen()
    assert ids(reader)[-1] == 1002
    next_turn(reader.clock)
    assert len(reader.clock.getDelayedCalls()) == 1, "nothing but its sign of life is to come"


def test_a_stream_that_ends_while_it_catches_up_leaves_nothing_behind():
    reader = Reader(1000)
    stream = reader.begin()
    stream.pauseProducing()
    written = len(reader.data)
    next_turn(reader.clock)
    assert len(reader.data) == written, "there is no room"
    stream.resumeProducing()
    assert len(reader.data) > written
    stream.stopProducing()
    assert reader.clock.getDelayedCalls() == [] and reader.listeners == []


def test_what_does_not_fit_is_passed_over_once():
    reader = Reader(10_000, wants=lambda one: one.number % 1000 == 0)
    reader.begin()
    next_turn(reader.clock)
    assert ids(reader) == list(range(1000, 10_001, 1000))
    # In the middle of a hundred its time was up.
    assert reader.looked_at <= 10_100
