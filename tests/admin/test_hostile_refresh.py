"""Pages that refresh themselves share what was made: nobody has another's page by that, or holds it up."""

import re

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.admin.access import Role
from p2pframe.admin.rendering import KEPT, Made, Rendering

REFRESH = {"x_refresh": "1"}


def made(clock, rendering, key, role, begin):
    found = []
    Deferred.fromCoroutine(rendering.refreshed(key, begin, role)).addCallback(found.append)
    clock.advance(0)
    [shown] = found
    return shown


def test_what_one_role_asks_for_all_the_time_neither_holds_up_nor_pushes_out_the_page_of_another():
    clock = Clock()
    rendering = Rendering(clock, lambda: 0.01, lambda how: None)

    def dear():
        clock.advance(0.5)
        return Made(["dear"])

    number = iter(range(1000))
    seen = []
    for second in range(10):
        for query in range(KEPT + 5):
            made(clock, rendering, ("/topology", query), Role.VIEWER, dear)
        seen.append(made(clock, rendering, "/", Role.OPERATOR, lambda: Made([str(next(number))])).text)
        assert rendering.after("/", Role.OPERATOR) == 1.0, second
        clock.advance(1.0)
    assert len(set(seen)) == 10
    assert rendering.after(("/topology", KEPT + 4), Role.VIEWER) > 1.0
    assert {role: len(kept) for role, kept in rendering._kept.items()} == {Role.VIEWER: KEPT, Role.OPERATOR: 1}


@pytest_twisted.ensureDeferred
async def test_no_role_and_no_session_has_what_was_made_for_another(web):
    one, other = await web.log_in(), await web.log_in()
    asking = [one.headers, other.headers, web.viewer, web.operator]
    for path in ("/peers", "/bans", "/config", "/peers/net/1"):
        for first in asking:
            web.clock.advance(2.0)
            for headers in (first, *asking):
                text = (await web.ask(path=path, **headers, **REFRESH)).body.decode()
                tokens = re.findall(r'<meta name="csrf" content="([^"]*)">', text)
                assert tokens == ([headers["x_csrf_token"]] if "x_csrf_token" in headers else []), path
                changes = set(re.findall(r'data-do="(\w+)"', text)) - {"logout"}
                assert bool(changes) == (headers is not web.viewer and headers != web.viewer), (path, changes)
        assert web.context.metrics.value("admin_requests_total", "refresh", "kept") > 0


@pytest_twisted.ensureDeferred
async def test_strangers_share_nothing_but_the_page_to_log_in(web):
    for path, status in (("/login", 200), ("/peers", 303), ("/login?a=1", 400), ("/nothing", 404)):
        assert (await web.ask(path=path, **REFRESH)).status == status
    rendering_for = [route for route in web.routes if route.page and route.role is None]
    assert [one.path for one in rendering_for] == ["/login"]


@pytest_twisted.ensureDeferred
async def test_a_stream_that_can_not_begin_takes_nobodys_place(webs, flush_logged_errors):
    web = await webs(streams=1)
    web.view.say("what no level has", level="fatal")
    for _ in range(3):
        raw = await web.connect()
        raw.transport.write(web.request(path="/api/v1/logs/stream?level=debug&after=0", **web.viewer))
        data = await raw.closed()
        assert b"event:" not in data and b"Internal error" not in data
        assert len(flush_logged_errors()) == 1
        assert web.admin.usage()["streams"] == 0
