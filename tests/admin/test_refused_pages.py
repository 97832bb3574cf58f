"""What people see in a browser where a request is refused: a page with a way on, and scripts JSON, as ever."""

import re

import pytest
import pytest_twisted

from tests.admin.test_hostile_roles import viewer_code
from tests.admin.web import World

inline = pytest_twisted.ensureDeferred
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HTML = "text/html; charset=utf-8"


def is_page(answer, status, text):
    assert (answer.status, answer.get("content-type")) == (status, HTML)
    page = answer.body.decode()
    assert text in page and '<a href="/">' in page
    assert "default-src 'none'" in answer.get("content-security-policy")
    assert answer.get("cache-control") == "no-store"
    return page


@inline
async def test_what_is_not_there_or_can_not_be(web):
    page = is_page(await web.ask(path="/nothing", **BROWSER, **web.viewer), 404, "There is nothing at /nothing.")
    assert "/peers" in page and 'aria-current="' not in page
    page = is_page(await web.ask(path="/logs?level=bad", **BROWSER, **web.viewer), 422, "<code>level</code>")
    assert "debug" in page, "it is said what can be"
    is_page(await web.ask(path="/peers?a=1&a=2", **BROWSER, **web.viewer), 400, "A name is in the query twice.")
    answer = await web.ask("POST", "/peers", **BROWSER, **web.viewer)
    is_page(answer, 405, "POST can&#39;t be used on /peers.")
    assert answer.get("allow") == "GET"
    head = await web.ask("HEAD", "/nothing", **BROWSER, **web.viewer)
    assert (head.status, head.get("content-type"), head.body) == (404, HTML, b"")


@inline
async def test_a_viewer_on_a_page_of_operators(web):
    viewer = await web.log_in(viewer_code(web))
    page = is_page(await web.ask(path="/captures", **BROWSER, **viewer.headers), 403, "This takes the role operator.")
    assert f'<meta name="csrf" content="{viewer.csrf}">' in page, "from here one can log out"
    assert 'href="/captures"' not in page


@inline
async def test_a_mistake_of_ours(web, flush_logged_errors):
    def broken(network=None):
        raise RuntimeError("c4nary")

    web.view.sessions = broken
    page = is_page(await web.ask(path="/peers", **BROWSER, **web.viewer), 500, "This is a mistake in p2pframe")
    assert "c4nary" not in page
    assert len(flush_logged_errors(RuntimeError)) == 1


@inline
async def test_whatever_is_wrong_with_the_page_itself_there_is_an_answer(web, flush_logged_errors):
    def broken(interface):
        raise RuntimeError("no pages")

    web.view.providers = broken
    answer = await web.ask(path="/nothing", **BROWSER, **web.viewer)
    assert (answer.status, answer.get("content-type")) == (404, "application/problem+json")
    assert len(flush_logged_errors(RuntimeError)) == 1


@inline
async def test_too_often(webs):
    web = await webs(requests_per_second=2, request_burst=20)
    for _ in range(20):
        await web.ask(path="/api/v1/bans", **web.viewer)
    answer = await web.ask(path="/peers", **BROWSER, **web.viewer)
    is_page(answer, 429, "try again in 1 s")
    assert answer.get("retry-after") == "1"
    # The page's own script asks for what is new, and shows nobody what it gets.
    refresh = await web.ask(path="/peers", x_refresh="1", **BROWSER, **web.viewer)
    assert (refresh.status, refresh.get("content-type")) == (429, "application/problem+json")


@inline
async def test_a_stranger_is_told_nothing_of_the_node(web):
    for path, headers, status in (
        ("/nothing", {}, 404), ("/nothing", {"origin": "http://elsewhere.example"}, 403),
        ("/nothing", {"host": "elsewhere.example"}, 421), ("/login?a=1", {}, 400),
        ("/nothing", {"sec-fetch-site": "cross-site", **web.operator}, 403),
    ):  # fmt: skip
        answer = await web.ask(path=path, **BROWSER, **headers)
        page = is_page(answer, status, "")
        assert "<nav" not in page and "csrf" not in page and "<script" not in page, path
        assert web.view.text not in page
    assert (await web.ask(path="/peers", **BROWSER)).status == 303


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v1/logs?level=bad", "/api/v1/peers", "/metrics", "/healthz?a=1", "/readyz?a=1"]
)
@inline
async def test_programs_get_json_whatever_they_accept(web, path):
    answer = await web.ask(path=path, **BROWSER)
    assert answer.status in (400, 401, 404, 422)
    assert answer.get("content-type") == "application/problem+json" and answer.json["status"] == answer.status


@inline
async def test_who_asks_for_no_page_gets_none(web):
    for accept in (None, "*/*", "application/json", "text/css,*/*;q=0.1"):
        answer = await web.ask(path="/nothing", accept=accept, **web.viewer)
        assert (answer.status, answer.get("content-type")) == (404, "application/problem+json")


@inline
async def test_what_is_asked_for_is_no_markup(web):
    path = '/<script>alert(1)</script>"\'&amp;'
    page = (await web.ask(path=path, **BROWSER, **web.viewer)).body.decode()
    assert "<script>alert" not in page and re.search("There is nothing at /&lt;script&gt;", page)
    odd = await web.ask(path="/\xe2\x80\xae", **BROWSER, **web.viewer)
    assert odd.status in (400, 404) and "\u202e" not in odd.body.decode()


@inline
async def test_an_upgrade_under_a_node_that_runs_changes_no_page(tmp_path, monkeypatch):
    """The texts are read at the start: what the package's folder holds afterwards is not looked at."""
    web = await World(tmp_path).start()
    try:
        monkeypatch.setattr("pathlib.Path.read_text", None)
        monkeypatch.setattr("jinja2.loaders.open_if_exists", None, raising=False)
        for path in ("/", "/peers", "/logs", "/config", "/login", "/nothing"):
            answer = await web.ask(path=path, **BROWSER, **web.viewer)
            assert answer.get("content-type") == HTML and answer.status == (404 if path == "/nothing" else 200)
        loader = web.site._page.__self__._templates.loader
        assert type(loader).__name__ == "DictLoader" and "peers.html" in loader.mapping
    finally:
        await web.stop()
