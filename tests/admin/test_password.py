"""Logging in with a password: hashed, bounded, rate-limited before anything is computed, and in no output."""

import re

import pytest
import pytest_twisted
from argon2 import PasswordHasher
from twisted.internet.defer import Deferred
from twisted.logger import eventAsText, globalLogPublisher

from p2pframe.admin import password as module
from p2pframe.admin.password import TooShort, checked_hash, make_hash, verified
from p2pframe.errors import StartError
from tests.admin.web import World

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


@pytest.fixture
def hash_file(tmp_path):
    file = tmp_path / "hash"
    file.write_text(CHEAP + "\n")
    file.chmod(0o600)
    return file


async def tried(web, password, **more):
    return await web.ask("POST", "/api/v1/login", body={"password": password}, **more)


@pytest.fixture
def hashed(monkeypatch):
    """Every password that was really hashed."""
    seen = []
    monkeypatch.setattr(module, "verified", lambda hash, password: seen.append(password) or verified(hash, password))
    return seen


@pytest_twisted.ensureDeferred
async def test_the_right_password_logs_in_as_operator_and_a_wrong_one_does_not(webs, hash_file):
    web = await webs(password_file=hash_file)
    answer = await tried(web, PASSWORD)
    assert (answer.status, answer.json["role"]) == (200, "operator")
    headers = {"cookie": answer.get("set-cookie").partition(";")[0], "x_csrf_token": answer.json["csrf"]}
    assert (await web.ask("POST", "/api/v1/logout", **headers)).status == 204
    refused = await tried(web, PASSWORD + " ")
    assert (refused.status, refused.json["detail"]) == (403, "the password is wrong")
    assert refused.get("set-cookie") is None
    events = (await web.ask("GET", "/api/v1/audit", **web.viewer)).json["events"]
    assert [(one["kind"], one["fields"].get("by"), one["fields"].get("reason")) for one in events] == [
        ("logged in", "password", None), ("logged out", None, None), ("login refused", None, "wrong"),
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_where_none_is_set_each_is_wrong_and_guesses_count(webs):
    web = await webs(tries=2)
    answers = [await tried(web, PASSWORD) for _ in range(3)]
    assert [one.status for one in answers] == [403, 403, 429]
    assert answers[0].json["detail"] == "the password is wrong"


@pytest.mark.parametrize(
    "body",
    [{}, {"code": "x", "password": "y"}, {"password": ""}, {"code": ""}, {"password": None}, {"password": "x" * 1001}],
)
@pytest_twisted.ensureDeferred
async def test_exactly_one_of_code_and_password_is_given(webs, hash_file, hashed, body):
    web = await webs(password_file=hash_file)
    assert (await web.ask("POST", "/api/v1/login", body=body)).status == 422
    assert hashed == []


@pytest_twisted.ensureDeferred
async def test_guesses_are_refused_before_anything_is_hashed_and_a_code_still_gets_in(webs, hash_file, hashed):
    web = await webs(password_file=hash_file, tries=3, pause="10s")
    answers = [await tried(web, f"guess {number}") for number in range(20)]
    assert [one.status for one in answers] == [403] * 3 + [429] * 17
    assert hashed == ["guess 0", "guess 1", "guess 2"]
    assert int(answers[-1].get("retry-after")) > 0
    assert (await tried(web, PASSWORD)).status == 429, "the right one too: else it would tell"
    assert (await web.log_in()).answer.status == 200
    web.context.reactor.advance(60.0)


@pytest_twisted.ensureDeferred
async def test_who_knows_the_password_is_not_kept_out_by_using_it(webs, hash_file):
    web = await webs(password_file=hash_file, tries=2)
    assert [(await tried(web, PASSWORD)).status for _ in range(10)] == [200] * 10


@pytest_twisted.ensureDeferred
async def test_so_many_are_hashed_at_once_and_who_goes_away_frees_nothing(webs, hash_file, monkeypatch):
    web = await webs(password_file=hash_file, password_checks=2)
    under_way = []

    def work(function, *args):
        under_way.append((Deferred(), function, args))
        return under_way[-1][0]

    monkeypatch.setattr(web.context, "work", work)
    waiting = [await web.connect() for _ in range(2)]
    for raw in waiting:
        raw.transport.write(web.request("POST", "/api/v1/login", body={"password": PASSWORD}))
    await web.until(lambda: len(under_way) == 2)
    busy = await tried(web, PASSWORD)
    assert busy.status == 503
    assert web.context.metrics.value("admin_turned_away_total", "password_checks") == 1
    waiting[0].transport.abortConnection()
    await waiting[0].closed()
    assert (await tried(web, PASSWORD)).status == 503, "its work is not done yet"
    for done, function, args in under_way:
        done.callback(function(*args))
    assert b"200 OK" in await waiting[1].closed()
    assert len(under_way) == 2
    again = await web.connect()
    again.transport.write(web.request("POST", "/api/v1/login", body={"password": PASSWORD}))
    await web.until(lambda: len(under_way) == 3)
    under_way[2][0].callback(True)
    assert b"200 OK" in await again.closed()


@pytest_twisted.ensureDeferred
async def test_the_login_page_asks_for_one_where_there_is_one(webs, hash_file):
    web, without = await webs(password_file=hash_file), await webs()
    assert b'type="password"' in (await web.ask("GET", "/login")).body
    assert b"password" not in (await without.ask("GET", "/login")).body


@pytest_twisted.ensureDeferred
async def test_neither_password_nor_hash_comes_out_anywhere(webs, hash_file, tmp_path):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        web = await webs(password_file=hash_file)
        guess = "a guess that nobody may see"
        shown = [await tried(web, PASSWORD), await tried(web, guess)]
        for path in ("/login", "/config", "/api/v1/config", "/api/v1/audit", "/api/v1/logs", "/metrics"):
            shown.append(await web.ask("GET", path, **web.operator))
        files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != hash_file]
        logged = [(eventAsText(event) + repr(event)).encode() for event in events]
        for text in (*(repr(one).encode() for one in shown), *files, *logged):
            for secret in (PASSWORD, guess, CHEAP, CHEAP.rpartition("$")[2]):
                assert secret.encode() not in text
    finally:
        globalLogPublisher.removeObserver(events.append)


PARTS = re.match(r"(\$argon2id)(\$v=19)\$m=(\d+),t=(\d+),p=(\d+)(.*)", CHEAP)


@pytest.mark.parametrize(
    "text",
    [
        "", "garbage", "$2b$12$" + "a" * 53, CHEAP.replace("argon2id", "argon2i"), CHEAP.replace("v=19", "v=16"),
        CHEAP.replace("m=64", "m=4000000"), CHEAP.replace("m=64", "m=4"), CHEAP.replace("t=1", "t=1000"),
        CHEAP.replace("p=1", "p=100"), CHEAP.replace("m=64", "m=064"), CHEAP.replace("m=64", "m=" + "9" * 5000),
        CHEAP + CHEAP, CHEAP[:-30], CHEAP + "\nmore", "\xff" * 10, "x" * 5000,
    ],
    # A hash has a salt, and is another in each process that runs tests.
    ids=str.split("empty garbage bcrypt argon2i v16 memory little times lanes zero digits twice cut more latin long"),
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_file_with_anything_but_a_bounded_hash_stops_the_start(tmp_path, text, hashed):
    file = tmp_path / "hash"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    with pytest.raises(StartError, match="password_file") as raised:
        await World(tmp_path, password_file=file).start()
    assert str(file) in str(raised.value)
    assert not text or text not in str(raised.value), "what it holds is not quoted"


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_not_there_or_that_others_may_read_stops_the_start(tmp_path, hash_file):
    with pytest.raises(StartError, match="p2pframe admin password"):
        await World(tmp_path, password_file=tmp_path / "none").start()
    hash_file.chmod(0o644)
    with pytest.raises(StartError, match="others may read"):
        await World(tmp_path, password_file=hash_file).start()


@pytest_twisted.ensureDeferred
async def test_without_the_extra_the_start_says_which(tmp_path, hash_file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "argon2", None)
    with pytest.raises(StartError, match=re.escape("p2pframe[password]")):
        await World(tmp_path, password_file=hash_file).start()
    web = await World(tmp_path).start()
    await web.stop()


def test_what_is_made_is_what_is_taken():
    made = make_hash(PASSWORD)
    assert checked_hash(made) == made
    assert verified(made, PASSWORD) and not verified(made, PASSWORD.upper())
    assert make_hash(PASSWORD) != made, "salted"
    for wrong in ("short", "x" * 1001):
        with pytest.raises(TooShort):
            make_hash(wrong)


