"""The log in the admin: by level, namespace and text, a page at a time, and live; whatever is in it is data."""

import re
from types import SimpleNamespace

import pytest
import pytest_twisted

from p2pframe.admin.alerts import LOOK
from p2pframe.admin.logs import LINES
from p2pframe.interfaces import Alert, IAlerts
from tests.admin.test_streams import AS_VIEWER, ids, opened

STREAM = "/api/v1/logs/stream"


def said(web):
    """A few lines."""
    web.view.lines.clear()
    web.view.say("block 1 came", namespace="bitcoin.relay")
    web.view.say("peer is slow", level="warn", namespace="bitcoin")
    web.view.say("who is that", level="error", namespace="bitcoins", traceback="line 1\nline 2", count=3)
    web.view.say("chatter", level="debug", namespace="bitcoin")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [3, 2, 1]), ("?level=debug", [4, 3, 2, 1]), ("?level=warn", [3, 2]), ("?level=critical", []),
        ("?namespace=bitcoin", [2, 1]), ("?text=BLOCK", [1]), ("?limit=2", [3, 2]), ("?limit=2&cursor=%5B2%5D", [1]),
        ("?namespace=bitcoin&level=debug&text=c", [4, 1]),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_lines_newest_first_by_level_namespace_and_text(web, query, numbers):
    said(web)
    answer = await web.ask("GET", f"/api/v1/logs{query}", **web.viewer)
    assert answer.status == 200
    assert [line["number"] for line in answer.json["lines"]] == numbers
    assert answer.json["next"] == ("[2]" if query == "?limit=2" else None)


@pytest.mark.parametrize("query", ["level=loud", "level=", "namespace=" + "x" * 201, "cursor=x", "limit=0", "what=1"])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_asked_for_is_refused(web, query):
    for path in ("/api/v1/logs", STREAM, "/logs"):
        assert (await web.ask("GET", f"{path}?{query}", **web.viewer)).status == 422


@pytest_twisted.ensureDeferred
async def test_the_stream_has_what_fits_as_it_comes_and_goes_on_after_the_last_one_seen(web):
    said(web)
    raw = await opened(web, STREAM + "?level=warn&namespace=bitcoin")
    web.view.say("not grave", namespace="bitcoin")
    web.view.say("elsewhere", level="error", namespace="node")
    web.view.say("told\r\n\r\nid: 99", level="error", namespace="bitcoin.dialer")
    await raw.until(lambda raw: ids(raw)[-1:] == [7])
    assert ids(raw) == [7], "only what fits, and no text looks like an event"
    raw.transport.loseConnection()
    web.view.say("missed", level="critical", namespace="bitcoin")
    again = await opened(web, STREAM + "?level=warn&namespace=bitcoin", last_event_id="7", **AS_VIEWER)
    await again.until(lambda raw: ids(raw)[-1:] == [8])
    await web.until(lambda: len(web.view.followers) == 1)
    again.transport.loseConnection()
    await web.until(lambda: web.view.followers == [])


@pytest_twisted.ensureDeferred
async def test_streams_of_the_log_count_as_streams(webs):
    web = await webs(streams=2)
    await opened(web, STREAM)
    await opened(web)
    assert (await web.ask("GET", STREAM, **web.viewer)).status == 503


@pytest_twisted.ensureDeferred
async def test_the_page_works_by_its_address_alone(web):
    said(web)
    headers = (await web.log_in()).headers
    web.view.lines[0:] = [one for one in web.view.lines if one.namespace.startswith("bitcoin")]
    page = (await web.ask("GET", "/logs?level=warn&namespace=&text=", **headers)).body.decode()
    assert "peer is slow" in page and "block 1 came" not in page
    assert "<option selected>warn</option>" in page
    assert "line 1\nline 2" in page and "<details" in page
    assert f'data-stream="{STREAM}?level=warn&amp;namespace=&amp;text="' in page
    assert "node.log_level" in page
    page = (await web.ask("GET", "/logs?namespace=nobody", **headers)).body.decode()
    assert "No line of the log fits" in page


@pytest_twisted.ensureDeferred
async def test_the_page_is_bounded_and_leads_to_older_lines(web):
    for number in range(LINES + 5):
        web.view.say(f"line {number}", namespace="net")
    headers = (await web.log_in()).headers
    page = (await web.ask("GET", "/logs", **headers)).body.decode()
    assert page.count("<tr data-key=") == LINES
    [older] = re.findall(r'<a href="(/logs\?[^"]*cursor[^"]*)">Older', page)
    page = (await web.ask("GET", older.replace("&amp;", "&"), **headers)).body.decode()
    assert "line 4<" in page and "line 5<" not in page
    assert "The latest lines" in page and "data-stream" not in page


@pytest_twisted.ensureDeferred
async def test_whatever_is_in_a_line_is_text(webs):
    hostile = '"><img src=x onerror=alert(1)></td></details>'
    web = await webs(text=hostile)
    headers = (await web.log_in()).headers
    page = (await web.ask("GET", "/logs", **headers)).body.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    page = (await web.ask("GET", "/logs?text=%22%3E%3Cimg%20src%3Dx%3E&namespace=%27%22%3E%3Cb%3E", **headers)).body
    assert b"<img src=x" not in page and b"<b>" not in page


@pytest_twisted.ensureDeferred
async def test_the_page_has_the_alerts_that_hold_and_those_that_are_over_with_what_to_do(web, monkeypatch):
    alerts = []
    monkeypatch.setattr(web.view, "providers", lambda interface: (
        [("watch", SimpleNamespace(alerts=lambda: alerts))] if interface is IAlerts else []
    ))  # fmt: skip

    async def later():
        web.clock.advance(LOOK)
        return (await web.ask("GET", "/logs", **web.viewer)).body.decode()

    assert "No alert holds." in await later()
    alerts.append(Alert("odd", False, "", "Something <b>odd</b>.", "Look at it."))
    page = await later()
    assert "No alert holds." not in page
    assert page.index("Something &lt;b&gt;odd&lt;/b&gt;.") < page.index("Look at it.") < page.index("Past alerts:")
    alerts.clear()
    page = await later()
    assert page.index("No alert holds.") < page.index("Past alerts:") < page.index("Something &lt;b&gt;odd")
    assert "Look at it." in page
    over = (await web.ask("GET", "/api/v1/alerts", **web.viewer)).json["past"]
    assert (over[0]["name"], over[0]["runbook"]) == ("odd", "Look at it.")
