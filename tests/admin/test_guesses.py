"""Tokens that are none: a try to log in each, refused after so many, noted, and no trouble to who has a right one."""

import json

import pytest
import pytest_twisted

from p2pframe.admin.access import Refused
from tests.admin.test_access import access

inline = pytest_twisted.ensureDeferred
LOGIN = "/api/v1/login"


async def guess(web, count, path="/api/v1/node", method="GET", **more):
    answers = [await web.ask(method, path, authorization=f"Bearer guess-{n:020}", **more) for n in range(count)]
    return [one.status for one in answers], answers[-1]


@pytest.mark.parametrize("path", ["/api/v1/node", "/metrics", "/api/v1/nothing", "/", "/nothing"])
@inline
async def test_after_so_many_guesses_it_is_too_many(web, path):
    tries, person = web.admin.config.tries, await web.log_in()
    statuses, last = await guess(web, 60, path)
    wanted = {"/": 303, "/nothing": 404, "/api/v1/nothing": 404}.get(path, 401)
    assert statuses == [wanted] * tries + [429] * (60 - tries)
    assert last.json["title"] == "Too many requests" and int(last.get("retry-after")) > 0
    assert web.context.metrics.value("admin_turned_away_total", "tries") == 60 - tries
    # Who has a right one, or a session, or says nothing, is as well off as before; one more guess is not.
    for headers in (web.viewer, web.operator, person.headers):
        assert (await web.ask(path="/api/v1/node", **headers)).status == 200
    assert (await web.ask(path="/api/v1/node")).status == 401
    assert (await guess(web, 1, path))[0] == [429]
    web.clock.advance(int(last.get("retry-after")) + web.admin.config.pause)
    assert (await guess(web, 1, path))[0] == [wanted]


@inline
async def test_guesses_are_noted_apart_from_what_was_done_and_not_without_end(web):
    await web.ask("POST", "/api/v1/bans/lift", body={"subject": "192.0.2.9"}, **web.operator)
    await guess(web, 100)
    lines = [json.loads(one) for one in (web.context.data_dir / "access.jsonl").read_bytes().splitlines()]
    assert [one["kind"] for one in lines] == ["token refused"] * 20
    assert [one["fields"]["reason"] for one in lines] == ["unknown"] * 10 + ["too many tries"] * 10
    assert {one["address"] for one in lines} == {"127.0.0.1"}
    [done] = (web.context.data_dir / "audit.jsonl").read_bytes().splitlines()
    assert json.loads(done)["kind"] == "unbanned"
    assert b"guess-" not in (web.context.data_dir / "access.jsonl").read_bytes()


@inline
async def test_nothing_else_tells_a_right_token_from_a_wrong_one_without_end(web):
    # The body of who has none may be smaller.
    statuses, last = await guess(web, 30, LOGIN, "POST", content_length="20000", content_type="application/json")
    assert statuses == [413] * 10 + [429] * 20
    assert last.get("connection") == "close"


@inline
async def test_what_takes_no_token_is_answered_whatever_is_sent_with_it(web):
    for path in ("/healthz", "/login", "/static/admin.css"):
        assert (await guess(web, 30, path))[0] == [200] * 30
    # Nor is any other kind of proof a token.
    for _ in range(30):
        assert (await web.ask(path="/api/v1/node", authorization="Basic eDp5")).status == 401
    assert (await guess(web, 1))[0] == [401]


@inline
async def test_guesses_of_tokens_and_of_passwords_are_tries_alike(web):
    await guess(web, 10)
    answer = await web.ask("POST", LOGIN, body={"password": "a password"})
    assert answer.status == 429
    assert (await web.ask("POST", LOGIN, body={"code": web.code()})).status == 200


def test_what_is_remembered_of_guesses_is_bounded():
    one = access(tries=3, pause=10, sources=50)
    outcomes = []
    for number in range(100_000):
        try:
            one.wrong_token(str(number), 0.0)
        except Refused:
            outcomes.append(number)
    assert outcomes == list(range(30, 100_000)) and len(one._tries) <= 50
    assert one.token("t" * 20), "who has a right one is never asked"
