"""A viewer by a code is a viewer everywhere, whatever is sent along."""

import base64

import pytest_twisted

from p2pframe.admin.access import Role
from p2pframe.admin.codes import VIEWER, make_code
from tests.admin.web import OPERATOR, example


def viewer_code(web):
    return make_code((web.context.data_dir / "key").read_bytes(), web.now, web.context.entropy, VIEWER)


@pytest_twisted.ensureDeferred
async def test_a_viewers_session_is_refused_each_change_and_each_message(web):
    viewer = await web.log_in(viewer_code(web))
    assert viewer.answer.json["role"] == "viewer"
    refused = 0
    for route in web.routes:
        if "stream" in route.path or route.path.endswith("/logout") or route.role is None:
            continue
        path, body = example(route)
        before = list(web.control.calls)
        answer = await web.ask(route.method, path, body=body, **viewer.headers)
        expected = route.role == Role.OPERATOR
        assert (answer.status == 403) == expected, (route.method, path, answer.status)
        assert web.control.calls == before, path
        assert not (route.writes and not expected), f"{path} changes something for a viewer"
        refused += expected
        # A token that is none does not help a session that may not, nor the other way round.
        if expected:
            more = {**viewer.headers, "authorization": "Bearer operator"}
            web.clock.advance(web.admin.config.pause)
            assert (await web.ask(route.method, path, body=body, **more)).status in (401, 303)
    assert refused >= 20


@pytest_twisted.ensureDeferred
async def test_no_change_to_a_viewers_code_makes_an_operator_of_it(web):
    code = viewer_code(web)
    raw = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
    for body in ({"code": code, "role": "operator"}, {"code": code + "\x00operator"}):
        assert (await web.ask("POST", "/api/v1/login", body=body)).status in (403, 422)
    for place in range(0, len(raw), 5):
        other = base64.urlsafe_b64encode(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]).decode()
        web.clock.advance(60.0)
        assert (await web.ask("POST", "/api/v1/login", body={"code": other})).status == 403
    assert (await web.ask("POST", "/api/v1/login", body={"code": viewer_code(web)})).json["role"] == "viewer"


@pytest_twisted.ensureDeferred
async def test_the_token_of_another_session_changes_nothing_in_ones_own(web):
    viewer, operator = await web.log_in(viewer_code(web)), await web.log_in()
    mixed = [
        {"cookie": viewer.cookie, "x_csrf_token": operator.csrf},
        {"cookie": operator.cookie, "x_csrf_token": viewer.csrf},
        {"cookie": operator.cookie, "x_csrf_token": ""}, {"cookie": operator.cookie},
        {"cookie": f"{viewer.cookie}; {operator.cookie}", "x_csrf_token": viewer.csrf},
    ]  # fmt: skip
    body = {"subject": "192.0.2.9", "duration": 60, "reason": "x"}
    for headers in mixed:
        assert (await web.ask("POST", "/api/v1/bans", body=body, **headers)).status == 403, headers
    assert web.control.calls == []
    text = b"".join([(await web.ask(path=path, **viewer.headers)).body for path in ("/", "/peers", "/config")])
    assert operator.csrf.encode() not in text and OPERATOR.encode() not in text
