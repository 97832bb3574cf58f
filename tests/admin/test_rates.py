"""Who is logged in asks so often and no more: each session and each token by itself."""

import pytest
import pytest_twisted
from openapi_spec_validator import validate
from pydantic import ValidationError
from twisted.internet import reactor

from p2pframe.admin.access import Bucket, Rates
from p2pframe.admin.config import AdminConfig
from p2pframe.cli.remote.client import Client, RemoteError
from p2pframe.cli.remote.place import Place
from tests.admin.web import OPERATOR, VIEWER

inline = pytest_twisted.ensureDeferred
FEW = {"requests_per_second": 2, "request_burst": 20}


def counted(web):
    return web.context.metrics.value("admin_turned_away_total", "requests")


def refused_requests(web):
    return web.context.metrics.value("admin_requests_total", "request", "429")


async def statuses(web, count, path="/api/v1/bans", method="GET", body=None, **headers):
    return [(await web.ask(method, path, body=body, **headers)).status for _ in range(count)]


async def spend(web, **headers):
    """All that a log-in may ask for at once."""
    assert await statuses(web, web.admin.config.request_burst, **headers) == [200] * web.admin.config.request_burst


# --- a bucket ---


def test_a_bucket_is_full_at_first_and_fills_with_time_to_its_burst():
    bucket, rates = Bucket(), Rates(10.0, 3.0)
    assert [bucket.take(rates, 5.0) for _ in range(3)] == [0.0] * 3
    assert bucket.take(rates, 5.0) == pytest.approx(0.1)
    assert bucket.take(rates, 5.0) == pytest.approx(0.1), "a refusal costs nothing"
    assert bucket.take(rates, 5.04) == pytest.approx(0.06)
    assert bucket.take(rates, 5.1) == 0.0 and bucket.take(rates, 5.1) > 0.0
    assert [bucket.take(rates, 1000.0) == 0.0 for _ in range(4)] == [True] * 3 + [False]


def test_who_waits_as_told_is_served_whatever_is_rounded():
    for rate in (0.1, 3.0, 7.0, 49.9):
        bucket, rates, now = Bucket(), Rates(rate, 1.0), 1.7e9
        assert bucket.take(rates, now) == 0.0
        for _ in range(100):
            now += bucket.take(rates, now) + 1e-6
            assert bucket.take(rates, now) == 0.0


def test_a_clock_that_is_set_back_shuts_nobody_out():
    bucket, rates = Bucket(), Rates(1.0, 2.0)
    assert [bucket.take(rates, 1e9) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(rates, 0.0) == 1.0
    assert bucket.take(rates, 1.0) == 0.0


# --- requests ---


@inline
async def test_who_asks_too_often_is_told_when_to_come_again(webs):
    web = await webs(**FEW)
    await spend(web, **web.viewer)
    answer = await web.ask("GET", "/peers", **web.viewer)
    assert (answer.status, answer.get("retry-after")) == (429, "1")
    assert answer.get("content-type") == "application/problem+json"
    problem = answer.json
    assert (problem["status"], problem["title"]) == (429, "Too many requests")
    for said in ("2 requests a second", "20 at once", "requests_per_second", "request_burst"):
        assert said in problem["detail"]
    assert (counted(web), refused_requests(web)) == (1, 1)
    web.clock.advance(0.4)
    assert await statuses(web, 2, **web.viewer) == [429, 429]
    assert counted(web) == 3
    web.clock.advance(0.1)
    assert await statuses(web, 2, **web.viewer) == [200, 429]
    web.clock.advance(3600)
    await spend(web, **web.viewer)
    assert await statuses(web, 1, **web.viewer) == [429]


@inline
async def test_no_other_log_in_is_disturbed(webs):
    web = await webs(**FEW)
    one, other = await web.log_in(), await web.log_in()
    await spend(web, **web.viewer)
    await spend(web, **one.headers)
    for headers in (web.viewer, one.headers):
        assert await statuses(web, 1, **headers) == [429]
    for headers in (web.operator, other.headers):
        assert await statuses(web, 1, **headers) == [200]
    await web.log_in()
    # What takes no log-in is served as before, also to who has used up theirs.
    for path in ("/healthz", "/readyz", "/login", "/static/admin.css"):
        assert await statuses(web, 25, path, **one.headers) == [200] * 25


@inline
async def test_what_is_forbidden_or_forged_or_wrong_counts_too(webs):
    web = await webs(**FEW)
    body = {"subject": "192.0.2.9", "duration": 60, "reason": "x"}
    assert await statuses(web, 21, "/api/v1/bans", "POST", body, **web.viewer) == [403] * 20 + [429]
    assert await statuses(web, 21, "/api/v1/bans", "POST", {"x": 1}, **web.operator) == [422] * 20 + [429]
    person = await web.log_in()
    assert await statuses(web, 21, "/api/v1/bans", "POST", body, cookie=person.cookie) == [403] * 20 + [429]
    # What was refused was not done.
    calls = list(web.control.calls)
    assert await statuses(web, 1, "/api/v1/bans", "POST", body, **person.headers) == [429]
    assert web.control.calls == calls


@inline
async def test_who_is_nobody_takes_nothing_of_anybody(webs):
    web = await webs(**FEW)
    person = await web.log_in()
    nobody = await statuses(web, 30, authorization="Bearer none", cookie=person.cookie)
    assert nobody == [401] * web.admin.config.tries + [429] * (30 - web.admin.config.tries), "as tries to log in are"
    assert await statuses(web, 30, origin="http://elsewhere.example", cookie=person.cookie) == [403] * 30
    assert counted(web) == 0
    await spend(web, **person.headers)


@inline
async def test_a_stream_counts_once_when_it_begins(webs):
    web = await webs(**FEW)
    raw = await web.connect()
    raw.transport.write(web.request(path="/api/v1/events/stream", **web.viewer))
    await raw.until(lambda one: b"retry:" in one.data)
    for _ in range(100):
        web.view.happen()
    await raw.until(lambda one: one.data.count(b"\nevent:") + one.data.count(b"event: ") >= 100)
    assert await statuses(web, 20, **web.viewer) == [200] * 19 + [429]
    assert await statuses(web, 1, "/api/v1/events/stream", **web.viewer) == [429]
    web.clock.advance(60)
    assert not raw.lost, "what has begun goes on"


@inline
async def test_it_is_changed_while_the_node_runs(webs):
    web = await webs(**FEW)
    await spend(web, **web.viewer)
    assert await statuses(web, 1, **web.viewer) == [429]
    web.admin.reconfigure(web.admin.config.model_copy(update={"requests_per_second": 40.0, "request_burst": 30}))
    web.clock.advance(0.5)
    assert await statuses(web, 21, **web.viewer) == [200] * 20 + [429]
    web.clock.advance(3600)
    assert await statuses(web, 31, **web.viewer) == [200] * 30 + [429]


@pytest.mark.parametrize("value", [{"requests_per_second": 0.5}, {"requests_per_second": 0}, {"request_burst": 19}])
def test_nobody_shuts_themselves_out_by_it(value):
    with pytest.raises(ValidationError):
        AdminConfig(**value)


def test_the_api_and_the_limits_have_room_by_default():
    # Five open pages refresh themselves once a second each, and `p2pframe top --every 200ms` asks three times a look.
    assert AdminConfig().requests_per_second >= 5 * 1 + 3 / 0.2
    rates = Rates()
    assert (AdminConfig().requests_per_second, AdminConfig().request_burst) == (rates.per_second, rates.burst)


# --- who is told ---


@inline
async def test_a_command_says_in_one_line_what_happened_and_which_key_sets_it(webs):
    web = await webs(**FEW)
    await spend(web, **web.viewer)
    client = Client(Place(f"http://{web.host}", token=VIEWER), reactor)
    for asking in (client.get("/node"), client.stream("/events/stream", lambda line: True)):
        with pytest.raises(RemoteError) as caught:
            await asking
        assert caught.value.status == 429
        assert str(caught.value) == (
            f"http://{web.host} refused: more than 2 requests a second of one log-in, after 20 at once "
            "(requests_per_second and request_burst of the application admin): try again in 1 s"
        )


@inline
async def test_it_is_part_of_the_description(web):
    document = (await web.ask(path="/api/v1/openapi.json", authorization=f"Bearer {OPERATOR}")).json
    validate(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            said = operation["responses"].get("429")
            if operation["x-role"] is not None:
                assert "Retry-After" in said["headers"], (method, path)
            else:
                assert (said is not None) == (path == "/api/v1/login")
