"""Who gets in: codes, sessions, tokens, roles; over real sockets, on a clock that the test moves."""

import base64
import math
import struct

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.admin import codes
from p2pframe.admin.access import Access, Limits, Refused, Role
from p2pframe.admin.codes import AHEAD, LIFE, USED, Codes, make_code
from p2pframe.errors import StartError
from p2pframe.private_file import write_private
from p2pframe.testing.context import FakeEntropy
from tests.admin.web import OPERATOR, World, example

KEY = b"k" * codes.KEY_BYTES
ENTROPY = FakeEntropy(1)


def signed(until, key=KEY):
    body = struct.pack(">d12s", until, ENTROPY.bytes(12))
    return base64.urlsafe_b64encode(body + codes._mac(key, body)).decode()


# --- codes ---


def test_a_code_is_good_once_and_for_ten_minutes():
    taker = Codes(KEY)
    code = make_code(KEY, 1000.0, ENTROPY)
    assert taker.take(code, 1000.0 + LIFE) is None
    assert taker.take(code, 1000.0 + LIFE) == "used"
    assert Codes(KEY).take(code, 1000.1 + LIFE) == "expired"
    assert LIFE == 600


def test_a_used_code_stays_used_in_another_spelling():
    taker = Codes(KEY)
    code = make_code(KEY, 0.0, ENTROPY)
    assert taker.take(code, 0.0) is None
    for other in (code + "=", code + "====", code[:5] + "!" + code[5:], code + "\n", " " + code):
        assert taker.take(other, 1.0) in ("used", "unknown")


@pytest.mark.parametrize("until", [math.nan, math.inf, -math.inf, 1e300, LIFE + AHEAD + 1.0])
def test_no_code_is_good_for_longer_whatever_it_says(until):
    assert Codes(KEY).take(signed(until), 0.0) == "expired"


def test_the_clock_of_who_made_a_code_may_be_a_little_ahead():
    assert Codes(KEY).take(make_code(KEY, AHEAD, ENTROPY), 0.0) is None


def test_a_code_of_another_key_is_none():
    assert Codes(KEY).take(make_code(b"o" * 32, 0.0, ENTROPY), 0.0) == "unknown"


def test_a_code_made_before_the_start_may_have_been_used_before_it():
    code = make_code(KEY, 999.0, ENTROPY)
    assert Codes(KEY, since=1000.0).take(code, 1001.0) == "older than the node's start"
    assert Codes(KEY, since=1000.0).take(make_code(KEY, 1000.0, ENTROPY), 1001.0) is None


def test_used_codes_are_bounded_and_forgotten_when_they_would_have_run_out():
    taker = Codes(KEY)
    for _ in range(USED):
        assert taker.take(make_code(KEY, 0.0, ENTROPY), 0.0) is None
    late = make_code(KEY, 0.0, ENTROPY)
    assert taker.take(late, 0.0) == "too many"
    assert taker.take(make_code(KEY, LIFE, ENTROPY), LIFE + 1) is None
    assert len(taker._used) == 1


@given(st.text(max_size=80))
def test_no_text_that_was_not_made_is_a_code(text):
    assert Codes(KEY).take(text, 0.0) == "unknown"


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_change_leaves_a_code_good(place, flip):
    raw = bytearray(base64.urlsafe_b64decode(make_code(KEY, 0.0, FakeEntropy(2)) + "=="))
    raw[place % len(raw)] ^= flip
    assert Codes(KEY).take(base64.urlsafe_b64encode(bytes(raw)).decode(), 0.0) == "unknown"


# --- sessions, and how often one may try ---


def access(**limits):
    return Access(Codes(KEY), FakeEntropy(3), Limits(**limits), {"grafana": (Role.VIEWER, "t" * 20)})


def test_a_session_ends_after_idle_and_after_its_life():
    one = access(idle=100, life=250)
    cookie, _ = one.log_in(make_code(KEY, 0.0, ENTROPY), "a", 0.0)
    assert one.session(cookie, 100.0)
    assert one.session(cookie, 200.0)
    assert one.session(cookie, 250.0)
    assert one.session(cookie, 250.1) is None
    cookie, _ = one.log_in(make_code(KEY, 300.0, ENTROPY), "a", 300.0)
    assert one.session(cookie, 400.1) is None
    assert one.session(cookie, 399.0), "who is not let in has not used it"


def test_sessions_are_bounded_and_the_longest_idle_makes_room():
    one = access(sessions=2)
    first, second = (one.log_in(make_code(KEY, at, ENTROPY), "a", at)[0] for at in (0.0, 1.0))
    assert one.session(first, 2.0)
    third, _ = one.log_in(make_code(KEY, 3.0, ENTROPY), "a", 3.0)
    assert one.open_sessions == 2
    assert one.session(second, 4.0) is None
    assert one.session(first, 4.0) and one.session(third, 4.0)


def refused(one, source, now, code="wrong"):
    with pytest.raises(Refused) as caught:
        one.log_in(code, source, now)
    return caught.value


def test_one_source_may_try_so_often_and_others_go_on():
    one = access(tries=3, pause=10)
    assert [refused(one, "a", 0.0).reason for _ in range(4)] == ["unknown"] * 3 + ["too many tries"]
    assert refused(one, "b", 0.0).reason == "unknown"
    last = refused(one, "a", 0.0)
    assert last.reason == "too many tries"
    assert refused(one, "a", last.retry).reason == "unknown"


def test_who_goes_on_trying_waits_for_a_bounded_time():
    one = access(tries=3, pause=10)
    for _ in range(1000):
        last = refused(one, "a", 0.0)
    assert last.retry <= 3 * 10 + 10
    assert refused(one, "a", last.retry).reason == "unknown"


def test_all_together_may_try_ten_times_as_often_and_sources_are_bounded():
    one = access(tries=3, pause=10, sources=50)
    outcomes = [refused(one, str(number), 0.0).reason for number in range(100)]
    assert outcomes == ["unknown"] * 30 + ["too many tries"] * 70
    assert len(one._tries) <= 50
    assert refused(one, "late", 1000.0).reason == "unknown"
    assert len(one._tries) <= 50


def test_only_hashes_of_cookies_and_tokens_are_kept():
    one = access()
    cookie, _ = one.log_in(make_code(KEY, 0.0, ENTROPY), "a", 0.0)
    kept = repr((one._sessions.keys(), one._tokens))
    assert cookie not in kept and "t" * 20 not in kept
    assert one.token("t" * 20) == ("grafana", Role.VIEWER)
    assert one.token("t" * 19) is None and one.token("") is None


# --- over the wire ---


@pytest_twisted.ensureDeferred
async def test_a_code_logs_in_once(web):
    code = web.code()
    session = await web.log_in(code)
    assert (await web.ask("GET", "/api/v1/node", **session.headers)).status == 200
    again = await web.ask("POST", "/api/v1/login", body={"code": code})
    assert (again.status, again.json["detail"]) == (403, "the code is used: make a new one")
    assert again.get("set-cookie") is None


@pytest_twisted.ensureDeferred
async def test_a_code_stays_used_over_a_restart(tmp_path):
    first = await World(tmp_path).start()
    code = first.code()
    await first.log_in(code)
    await first.stop()
    again = World(tmp_path)
    again.clock.advance(60.0)
    await again.start()
    answer = await again.ask("POST", "/api/v1/login", body={"code": code})
    await again.log_in()
    await again.stop()
    assert answer.status == 403


@pytest_twisted.ensureDeferred
async def test_codes_that_are_old_or_wrong_do_not(web):
    old = web.code()
    web.clock.advance(LIFE + 1)
    for code, why in ((old, "expired"), ("x" * 48, "unknown"), (make_code(KEY, web.now, ENTROPY), "unknown")):
        answer = await web.ask("POST", "/api/v1/login", body={"code": code})
        assert (answer.status, answer.json["detail"]) == (403, f"the code is {why}: make a new one")


@pytest_twisted.ensureDeferred
async def test_the_cookie_is_for_this_node_and_for_no_script_and_no_other_site(web, webs):
    session = await web.log_in()
    name, *attributes = session.answer.get("set-cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert not any(one.lower().startswith("domain") for one in attributes)
    assert len(session.cookie.partition("=")[2]) >= 43, "256 bits"
    other = await webs()
    other.context.entropy.bytes(100)
    # Cookies know no ports: two nodes of one host must not overwrite each other's.
    write_private(other.context.data_dir / "key", b"z" * 32)
    await other.admin.stop()
    await other.start()
    there = await other.log_in()
    assert there.cookie.partition("=")[0] != name.partition("=")[0]


@pytest_twisted.ensureDeferred
async def test_cookies_of_others_on_the_host_neither_hide_nor_replace_a_session(web):
    session = await web.log_in()
    name = session.cookie.partition("=")[0]
    for cookie in (
        f'a="b c; {session.cookie}', f"{{1: 2}}=3; {session.cookie}", f"{name}=forged; {session.cookie}",
        f";;=;{session.cookie};x", f"a\\b=1; {session.cookie}",
    ):  # fmt: skip
        assert (await web.ask("GET", "/api/v1/node", cookie=cookie)).status == 200
    for cookie in (f"{name}=", f"{name}", f"x{session.cookie}", session.cookie[:-1], session.cookie + "A", "\xff=\xff"):
        assert (await web.ask("GET", "/api/v1/node", cookie=cookie)).status == 401


@pytest_twisted.ensureDeferred
async def test_a_session_ends_when_idle_and_when_logged_out(web):
    one, other = await web.log_in(), await web.log_in()
    answer = await web.ask("POST", "/api/v1/logout", **one.headers)
    assert answer.status == 204
    assert "Max-Age=0" in answer.get("set-cookie")
    assert (await web.ask("GET", "/api/v1/node", **one.headers)).status == 401
    assert (await web.ask("GET", "/api/v1/node", **other.headers)).status == 200
    web.clock.advance(web.admin.config.idle + 1)
    assert (await web.ask("GET", "/api/v1/node", **other.headers)).status == 401


@pytest_twisted.ensureDeferred
async def test_log_ins_are_limited_and_the_limit_passes(web):
    tries = web.admin.config.tries
    statuses = [(await web.ask("POST", "/api/v1/login", body={"code": "x"})).status for _ in range(tries + 1)]
    assert statuses == [403] * tries + [429]
    answer = await web.ask("POST", "/api/v1/login", body={"code": "x"})
    wait = int(answer.get("retry-after"))
    assert answer.status == 429 and 0 < wait <= 120
    web.clock.advance(wait)
    await web.log_in()


@pytest_twisted.ensureDeferred
async def test_every_route_asks_for_its_role(web):
    session = await web.log_in()
    who = {"nobody": {}, "viewer": web.viewer, "operator": web.operator, "person": session.headers}
    rank = {"nobody": 0, "viewer": Role.VIEWER, "operator": Role.OPERATOR, "person": Role.OPERATOR}
    checked = 0
    # Logging out ends the session that the others use.
    for route in sorted(web.routes, key=lambda one: one.path.endswith("/logout")):
        path, body = example(route)
        for name, headers in who.items():
            allowed = rank[name] >= (route.role or 0)
            if allowed and "stream" in path:
                method = "HEAD"
            else:
                method = route.method
            before = len(web.control.calls)
            answer = await web.ask(method, path, body=body, **headers)
            told = f"{name}: {route.method} {path} gave {answer.status}"
            if allowed:
                assert answer.status not in (401, 303), told
                assert answer.status < 500 or path == "/readyz", told
                assert (answer.status == 403) == (path == "/api/v1/login"), told
            else:
                refusal = 403 if rank[name] else 303 if route.page else 401
                assert answer.status == refusal, told
                assert len(web.control.calls) == before, told
                assert answer.get("location") == ("/login" if refusal == 303 else None)
            checked += 1
    assert checked == 4 * len(web.routes)
    everybody = {route.path for route in web.routes if route.role is None}
    assert everybody == {"/healthz", "/readyz", "/api/v1/login", "/login", "/static/{name}"}
    viewers = {route.path for route in web.routes if route.writes and route.role != Role.OPERATOR}
    assert viewers == {"/api/v1/login", "/api/v1/logout"}, "only operators change anything"


@pytest_twisted.ensureDeferred
async def test_no_token_but_these(web):
    for said in ("Bearer ", "Bearer x", f"Basic {OPERATOR}", OPERATOR, f"Bearer {OPERATOR}x", "Bearer \xff", "bearer"):
        assert (await web.ask("GET", "/api/v1/node", authorization=said)).status == 401
    session = await web.log_in()
    # A token that is none is not made up for by a cookie.
    answer = await web.ask("GET", "/api/v1/node", authorization="Bearer x", cookie=session.cookie)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "should be in .* which is not there"),
        (lambda path: (path.write_text("t" * 30), path.chmod(0o640)), "others may read or change it"),
        (lambda path: (path.write_text("t" * 30), path.chmod(0o606)), "others may read or change it"),
        (lambda path: write_private(path, b"short"), "no token of 20 to 500 characters"),
        (lambda path: write_private(path, b"t" * 600), "no token of 20 to 500 characters"),
        (lambda path: write_private(path, b"t" * 5000), "not a plain file of at most 1000 bytes"),
        (lambda path: write_private(path, b"\xff" * 30), "the token bad"),
        (lambda path: path.mkdir(), "the token bad"),
        (lambda path: path.symlink_to("/dev/zero"), "the token bad"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_token_that_others_may_read_stops_the_start(tmp_path, make, why):
    path = tmp_path / "bad.token"
    make(path)
    world = World(tmp_path, tokens=[{"name": "bad", "role": "viewer", "file": path}])
    with pytest.raises(StartError, match=why):
        await world.admin.start()
    assert world.admin._port is None


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
@pytest_twisted.ensureDeferred
async def test_a_key_that_others_may_read_stops_the_start(tmp_path, mode):
    world = World(tmp_path)
    key = world.context.data_dir / "key"
    key.write_bytes(KEY)
    key.chmod(mode)
    with pytest.raises(StartError, match="others may read or change it"):
        await world.admin.start()


@pytest_twisted.ensureDeferred
async def test_what_the_admin_writes_nobody_else_may_read(web):
    await web.log_in()
    for file in web.context.data_dir.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
