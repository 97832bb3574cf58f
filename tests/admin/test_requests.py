"""What a request may look like, where it may come from, and that anything else does no harm; over real sockets."""

import re
from html.parser import HTMLParser

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import StringTransport
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from p2pframe.admin.access import Role
from p2pframe.admin.server import HEADERS
from tests.admin.web import OPERATOR, VIEWER, World, answers, example

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"' onmouseover='x' {{7*7}} {% raw %} \u2028 &amp;"
LOGIN = "/api/v1/login"


# --- changes that another site asks for ---


@pytest_twisted.ensureDeferred
async def test_a_change_takes_the_token_of_its_own_session(web):
    one, other = await web.log_in(), await web.log_in()
    for route in web.routes:
        if not route.writes or route.role is None:
            continue
        path, body = example(route)
        for token in (None, "", "x", other.csrf, one.csrf + "x", one.csrf[:-1], "\xff"):
            answer = await web.ask(route.method, path, body=body, cookie=one.cookie, x_csrf_token=token)
            assert answer.status == 403, (path, token)
            assert "x-csrf-token" in answer.json["detail"]
    assert web.control.calls == []
    body = {"subject": "192.0.2.9", "duration": 5, "reason": "x"}
    assert (await web.ask("POST", "/api/v1/bans", body=body, **one.headers)).status == 204
    assert [call[0] for call in web.control.calls] == ["ban"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": ""}, {"origin": "http://127.0.0.1"},
        {"origin": "https://HOST"}, {"origin": "http://HOST.evil.example"}, {"origin": "http://HOST/"},
        {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"sec_fetch_site": "other"},
        {"origin": "http://HOST", "sec_fetch_site": "cross-site"},
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_pages_of_others_get_nothing(web, headers):
    session = await web.log_in()
    headers = {name: value.replace("HOST", web.host) for name, value in headers.items()}
    code = web.code()
    for method, path, body in (("GET", "/api/v1/node", None), ("GET", "/", None), ("POST", LOGIN, {"code": code})):
        assert (await web.ask(method, path, body=body, **session.headers, **headers)).status == 403
    assert (await web.log_in(code)).csrf, "the code was not used up"


@pytest_twisted.ensureDeferred
async def test_its_own_pages_get_what_they_ask_for(web):
    session = await web.log_in()
    for headers in (
        {"origin": f"http://{web.host}", "sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"},
        {"host": f"LocalHost:{web.port}", "origin": f"http://localhost:{web.port}"},
    ):  # fmt: skip
        assert (await web.ask("GET", "/api/v1/node", **session.headers, **headers)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:PORT.evil.example",
        "localhost:PORT@evil.example", "127.0.0.1:PORT ", "\xff", "[::ffff:127.0.0.1]:PORT", "0.0.0.0:PORT",
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_name_that_is_not_its_own_is_not_answered(web, host):
    host = host and host.replace("PORT", str(web.port))
    wanted = 200 if host == f"{web.host} " else 421
    for path in ("/healthz", "/", "/login", "/static/admin.js", "/api/v1/node"):
        answer = await web.ask("GET", path, host=host, **web.operator)
        assert answer.status == wanted, path


@pytest_twisted.ensureDeferred
async def test_further_names_are_answered(webs):
    web = await webs(hosts=["node.example:8600"])
    assert (await web.ask(host="Node.Example:8600")).status == 200
    assert (await web.ask(host="node.example")).status == 421


@pytest_twisted.ensureDeferred
async def test_the_port_that_goes_without_saying_is_left_out_by_browsers(webs):
    web = await webs(hosts=["node.example:80", "other.example:443"])
    for host in ("node.example", "node.example:80"):
        assert (await web.ask(host=host, origin=f"http://{host}")).status == 200
    assert (await web.ask(host="other.example")).status == 421, "that is the other scheme's"


@pytest.mark.parametrize(
    "name", ["Host", "Origin", "Sec-Fetch-Site", "Authorization", "Cookie", "X-CSRF-Token", "Content-Type"]
)
@pytest_twisted.ensureDeferred
async def test_what_decides_is_there_once(web, name):
    same = {"Host": web.host, "Origin": f"http://{web.host}", "Authorization": f"Bearer {OPERATOR}"}
    value = same.get(name, "none")
    for second in (value, "other"):
        twice = [(name, value), (name.lower(), second)]
        given = {"host": None} if name == "Host" else {}
        answer = await web.ask("GET", "/healthz", headers=twice, **given)
        assert answer.status == 400, second


# --- what others may have put into pages ---


def _texts(value):
    """All the strings in a JSON value."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value]


class _Markup(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest_twisted.ensureDeferred
async def test_no_page_takes_markup_from_what_it_shows(webs):
    web, plain = await webs(text=HOSTILE), await webs(text="plain")
    seen = 0
    for world in (web, plain):
        world.view.happen(reason=world.view.text, **{world.view.text: world.view.text})
        world.view.shown = {world.view.text: world.view.text}
    for route in web.routes:
        if not route.page:
            continue
        path, _ = example(route)
        for headers in (web.viewer, web.operator):
            answer, wanted = [(await world.ask("GET", path, **headers)) for world in (web, plain)]
            expected = 403 if route.role == Role.OPERATOR and headers == web.viewer else 200
            assert (answer.status, wanted.status) == (expected, expected), path
            text = answer.body.decode()
            for bad in ("<script>", "<img src=x", " onmouseover='", '"\' on'):
                assert bad not in text, path
            seen += "alert(1)" in text
            found, usual = _Markup(), _Markup()
            found.feed(text)
            usual.feed(wanted.body.decode())
            assert [tag for tag, _ in found.found] == [tag for tag, _ in usual.found], path
            for tag, attributes in found.found:
                assert not any(name.startswith("on") or name == "style" for name in attributes), (path, tag)
                assert tag != "script" or attributes["src"].startswith("/static/")
                for name in ("href", "src", "action"):
                    assert re.match(r"[/#?]|\Z", attributes.get(name) or ""), (path, attributes)
    assert seen >= 8, "what is hostile is shown, as text"


@pytest_twisted.ensureDeferred
async def test_no_text_of_a_peer_keeps_the_api_from_answering(webs):
    text = "\ud800\x00\x1b\u202e\u2028"
    web = await webs(text=text)
    for path in ("node", "peers", "peers/net/1", "bans", "networks/net/addresses", "networks/net/spreads"):
        answer = await web.ask("GET", f"/api/v1/{path}", **web.viewer)
        assert answer.status == 200, path
        assert text in _texts(answer.json), path


@pytest_twisted.ensureDeferred
async def test_errors_never_are_pages(web):
    path = "/<script>alert(1)</script>"
    for method, headers in (("GET", {}), ("GET", web.viewer), ("<b>", {})):
        answer = await web.ask(method, path, **headers)
        assert answer.status in (400, 404)
        if answer.body:
            assert answer.get("content-type") == "application/problem+json"
        assert answer.get("x-content-type-options") == "nosniff"


@pytest_twisted.ensureDeferred
async def test_every_answer_has_the_headers_that_keep_browsers_safe(web):
    asked = [web.request(route.method, example(route)[0], **web.operator) for route in web.routes]
    asked += [
        web.request("GET", "/nothing"), web.request("PUT", "/"), web.request("GET", "/", host="evil.example"),
        web.request("POST", LOGIN, body=b"x" * 20_000), web.request("GET", "/", x="y" * 20_000 + "z"), b"what\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n", web.request("GET", "/?a"), web.request("OPTIONS", "*"),
    ]  # fmt: skip
    for one in asked:
        if b"stream" in one:
            one = one.replace(b"GET", b"HEAD")
        heads = (0,) if one.startswith(b"HEAD") else ()
        for answer in await web.send(one, heads):
            for name, value in HEADERS:
                assert answer.get(name) == value, one[:80]
            policy = answer.get("content-security-policy")
            assert "unsafe" not in policy and "*" not in policy and "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.get("access-control-allow-origin") is None


# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static/%2e%2e%2fserver.py",
        "/static/admin.js%00", "/static/%00", "/static/admin.js/", "/static/", "/static", "//static/admin.js",
        "/static/..", "/static/.", "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/admin%2ejs/..",
        "/static/..\\server.py", "/static/%5c..", "/../../etc/passwd", "/static/__init__.py", "/static/%ff",
        "http://evil.example/static/admin.js", "*", "/%", "/static/%", "/peers/net/%2e%2e", "/peers/../config",
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_path_leads_nowhere_but_to_a_route(web, path):
    answer = await web.ask("GET", path, **web.operator)
    assert answer.status == 404, answer
    assert b"root:" not in answer.body and b"import" not in answer.body


@pytest_twisted.ensureDeferred
async def test_ids_and_networks_are_what_they_are(web):
    for place in ("net/01x", "net/-1", "net/" + "9" * 30, "other/1", "n%2f/1", "net/%EF%BC%92", "net/\xb2"):
        path = f"/api/v1/peers/{place}"
        assert (await web.ask("GET", path, **web.viewer)).status in (400, 404)


# --- sizes, forms, methods ---


@pytest_twisted.ensureDeferred
async def test_head_is_get_without_a_body(web):
    for route in web.routes:
        if route.method != "GET" or "stream" in route.path:
            continue
        path, _ = example(route)
        got = await web.ask("GET", path, **web.viewer)
        head = await web.ask("HEAD", path, **web.viewer)
        assert (head.status, head.body) == (got.status, b""), path
        assert head.get("content-type") == got.get("content-type")
        assert int(head.get("content-length")) == len(got.body) or path == "/metrics" or route.page


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "get", "GETT", "X" * 1000])
@pytest_twisted.ensureDeferred
async def test_other_methods_are_refused(web, method):
    answer = await web.ask(method, "/api/v1/bans", **web.operator)
    assert answer.status == 405
    assert answer.get("allow") == "GET, POST"
    assert OPERATOR.encode() not in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"{} {}", b"\xff\xfe{}", "{}".encode("utf-16"), b"\x00",
        b"[" * 5_000, b'{"a":' * 1_500, b'{"code": "\\ud800"}', b'{"code": 1' + b"0" * 5_000 + b"}",
        b'{"code": NaN}', b'{"code": "x", "code": "y"}', b'{"code": "x", "more": 1}', b'{"code": {"code": "x"}}',
        b'{"code": ""}', b'{"code": "' + b"x" * 201 + b'"}', b"code=x",
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_bodies_that_are_none(web, body):
    answer = await web.ask("POST", LOGIN, body=body)
    assert answer.status in (400, 422), answer
    assert (await web.ask()).status == 200


@pytest.mark.parametrize(
    "duration", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"0", b'"5"x', b"1" + b"0" * 400, b"[]", b"null"]
)
@pytest_twisted.ensureDeferred
async def test_no_ban_lasts_for_what_is_no_number(web, duration):
    body = b'{"subject": "192.0.2.9", "reason": "x", "duration": ' + duration + b"}"
    assert (await web.ask("POST", "/api/v1/bans", body=body, **web.operator)).status in (400, 422)
    body = b'{"subject": "192.0.2.9", "reason": "x", "duration": 5, "duration": 500}'
    assert (await web.ask("POST", "/api/v1/bans", body=body, **web.operator)).status == 400
    assert web.control.calls == []


@pytest_twisted.ensureDeferred
async def test_forms_are_not_taken(web):
    boundary = b'--b\r\nContent-Disposition: form-data; name="code"\r\n\r\nx\r\n--b--\r\n'
    for kind in (
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain", "", "multipart/form-data",
        "application/json+x", "multipart/form-data; boundary=\xff",
    ):  # fmt: skip
        answer = await web.ask("POST", LOGIN, body=boundary, content_type=kind)
        assert answer.status == 415, kind


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "what=1", "=", "limit", "&", "cursor=%00",
        "cursor=[1e999]", "cursor=[[]]", "cursor=" + "[" * 199, "limit=%ff", "a&" * 60,
        "cursor=" + "x" * 300, "cursor=[NaN]", "limit=1;limit=2",
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_queries_that_are_none(web, query):
    for path in ("/api/v1/events", "/api/v1/peers", "/api/v1/networks/net/addresses"):
        answer = await web.ask("GET", f"{path}?{query}", **web.viewer)
        assert answer.status in (200, 400, 422), (path, answer)
        if not query.startswith("cursor=["):
            assert answer.status != 200, path


@pytest.mark.parametrize(
    ("path", "cursor"),
    [
        ("/api/v1/peers", "[5]"), ("/api/v1/peers", "[-1]"), ("/api/v1/peers", "[true]"),
        ("/api/v1/events", '["net",5]'), ("/api/v1/audit", '["net",5]'), ("/api/v1/networks/net/addresses", "[-1]"),
        ("/api/v1/networks/net/addresses", '["net",1]'), ("/api/v1/networks/net/addresses", "[" + "9" * 100 + "]"),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_the_cursor_of_another_list_is_none(web, path, cursor):
    await web.ask("POST", LOGIN, body={"code": "x"})
    web.view.happen()
    answer = await web.ask("GET", f"{path}?cursor={cursor}", **web.viewer)
    assert answer.status == 422


@pytest_twisted.ensureDeferred
async def test_bodies_are_bounded_by_what_is_said_and_by_what_comes(webs):
    web = await webs(largest_body=50_000)
    for headers, most in ((web.operator, 50_000), ({}, 10_000)):
        for size, status in ((most, 400), (most + 1, 413)):
            body = b"x" * size
            assert (await web.ask("POST", LOGIN, body=body, **headers)).status == status
            chunked = {"transfer_encoding": "chunked", "content_type": "application/json", **headers}
            chunks = [body[place : place + 7_000] for place in range(0, size, 7_000)]
            sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
            [answer] = await web.send(web.request("POST", LOGIN, **chunked) + sent)
            assert answer.status == status, (headers, size)


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_too_long_is_refused_before_it_comes(web):
    raw = await web.connect()
    more = {"content_length": "900000000000", "connection": None, "expect": "100-continue"}
    raw.transport.write(web.request("POST", LOGIN, **more))
    await raw.until(lambda raw: b"\r\n\r\n" in raw.data)
    [answer] = answers(raw.data)
    assert (answer.status, answer.get("connection")) == (413, "close")
    raw.transport.write(b"x" * 100_000)
    web.clock.advance(web.admin.config.idle_timeout)
    await raw.closed()


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", "0x1", "1 1", "", "9" * 16, "9" * 5_000, "1,1", "\xb2"])
@pytest_twisted.ensureDeferred
async def test_lengths_that_are_none(web, length):
    [answer] = await web.send(web.request("POST", LOGIN, content_length=length))
    assert answer.status == 400
    assert web.turned_away("malformed") == 1
    assert (await web.ask()).status == 200


@pytest.mark.parametrize(
    "more",
    [
        [("Content-Length", "3"), ("Transfer-Encoding", "chunked")], [("Content-Length", "3"), ("Content-Length", "4")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked, identity")], [("Transfer-Encoding", "xchunked")],
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_no_second_request_hides_in_the_first(web, more):
    request = web.request("POST", LOGIN, headers=more, connection=None)
    got = await web.send(request + b"0\r\n\r\n" + web.request("GET", "/healthz"))
    assert [answer.status for answer in got] == [400]


@pytest_twisted.ensureDeferred
async def test_headers_are_bounded(web):
    for number, size in ((1, 17_000), (200, 1), (20, 900)):
        headers = [(f"x{one}", "y" * size) for one in range(number)]
        got = await web.send(web.request("GET", "/healthz", headers=headers))
        assert [answer.status for answer in got] in ([400], [])
    raw = await web.connect()
    raw.transport.write(b"G" * 40_000)
    assert await raw.closed() == b""
    assert (await web.ask()).status == 200


@pytest_twisted.ensureDeferred
async def test_old_http(web):
    [answer] = await web.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.status == 421
    [answer] = await web.send(f"GET /healthz HTTP/1.0\r\nHost: {web.host}\r\n\r\n".encode())
    assert answer.status == 200
    for line in (b"GET /healthz", b"GET /healthz HTTP/0.9", b"GET /healthz HTTP/2.0", b"GET  /healthz HTTP/1.1"):
        [answer] = await web.send(line + b"\r\n\r\n")
        assert answer.status == 400, line


@pytest_twisted.ensureDeferred
async def test_requests_in_a_row_are_answered_in_order(web):
    paths = ["/healthz", "/nothing", "/login", "/api/v1/node", "/healthz"] * 20
    sent = b"".join(web.request("GET", path, connection=None) for path in paths)
    sent += web.request("GET", "/static/icon.svg")
    wanted = [200, 404, 200, 401, 200] * 20 + [200]
    assert [answer.status for answer in await web.send(sent)] == wanted
    raw = await web.connect()
    for place in range(0, len(sent), 1000):
        raw.transport.write(sent[place : place + 1000])
    assert [answer.status for answer in answers(await raw.closed())] == wanted


@pytest_twisted.ensureDeferred
async def test_an_answer_of_one_session_is_not_kept_for_another(web):
    for route in web.routes:
        if route.method == "GET" and "static" not in route.path and "stream" not in route.path:
            answer = await web.ask("GET", example(route)[0], **web.viewer)
            assert answer.get("cache-control") == "no-store", route.path


# --- time, and numbers ---


class Wire(StringTransport):
    """Who is at the other end never closes by himself."""

    gone = False

    def abortConnection(self):
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(ConnectionAborted()))


def by_hand(web):
    """A connection without a socket, so that each byte comes at its own time."""
    address = IPv4Address("TCP", "192.0.2.1", 5)
    channel, wire = web.site.buildProtocol(address), Wire(peerAddress=address)
    wire.protocol = channel
    channel.makeConnection(wire)
    return channel, wire


@pytest.mark.parametrize("body", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_request_that_drips_is_cut_off(web, body):
    channel, wire = by_hand(web)
    if body:
        channel.dataReceived(web.request("POST", LOGIN, content_length="5000", connection=None))
    sent = 0
    while not wire.gone:
        channel.dataReceived(b"x")
        web.clock.advance(0.5)
        sent += 1
        assert sent <= web.admin.config.request_timeout / 0.5
    assert web.turned_away("slow") == 1


@pytest_twisted.ensureDeferred
async def test_slow_requests_over_a_socket_are_cut_off_and_others_go_on(web):
    slow = await web.connect()
    slow.transport.write(web.request()[:-3])
    await web.until(lambda: any(channel.requests for channel in web.site._open))
    web.clock.advance(web.admin.config.request_timeout - 1)
    assert (await web.ask()).status == 200
    assert not slow.lost
    web.clock.advance(1)
    assert await slow.closed() == b""


@pytest_twisted.ensureDeferred
async def test_the_second_request_of_a_connection_has_a_time_of_its_own(web):
    raw = await web.connect()
    for _ in range(3):
        raw.data = b""
        raw.transport.write(web.request(connection=None))
        await raw.until(lambda raw: raw.data.endswith(b"ok\n"))
        web.clock.advance(web.admin.config.request_timeout + 1)
        assert not raw.lost
    raw.transport.write(b"G")
    await web.until(lambda: any(channel._deadline for channel in web.site._open))
    web.clock.advance(web.admin.config.request_timeout)
    await raw.closed()


@pytest_twisted.ensureDeferred
async def test_connections_that_say_nothing_end(web):
    silent, kept = await web.connect(), await web.connect()
    kept.transport.write(web.request(connection=None))
    await kept.until(lambda raw: raw.data.endswith(b"ok\n"))
    web.clock.advance(web.admin.config.idle_timeout)
    await silent.closed()
    await kept.closed()


@pytest_twisted.ensureDeferred
async def test_who_reads_no_answer_does_not_keep_the_connection(web):
    for request in (web.request(), b"nonsense\r\n\r\n"):
        channel, wire = by_hand(web)
        channel.dataReceived(request)
        assert wire.disconnecting
        web.clock.advance(web.admin.config.idle_timeout - 1)
        assert not wire.gone
        web.clock.advance(1)
        assert wire.gone


@pytest_twisted.ensureDeferred
async def test_connections_are_bounded(webs):
    web = await webs(connections=3)
    held = [await web.connect() for _ in range(3)]
    await web.until(lambda: len(web.site._open) == 3)
    assert await (await web.connect()).closed() == b""
    assert web.turned_away("connections") == 1
    held[0].transport.loseConnection()
    await web.until(lambda: len(web.site._open) == 2)
    assert (await web.ask()).status == 200


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_after_the_end(webs):
    web = await webs()
    raw = await web.connect()
    raw.transport.write(web.request("GET", "/api/v1/events/stream", **web.viewer))
    half = await web.connect()
    half.transport.write(b"GET ")
    await raw.until(lambda raw: b"retry" in raw.data)
    await web.stop()
    assert raw.lost and half.lost
    assert web.clock.getDelayedCalls() == []
    assert web.view.subscribers == []


# --- secrets ---


@pytest_twisted.ensureDeferred
async def test_secrets_are_in_no_answer_no_log_and_no_audit(web):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        code, bad = web.code(), "c4nary-wrong-code"
        session = await web.log_in(code)
        secrets = [VIEWER, OPERATOR, code, bad, session.cookie.partition("=")[2], "c4nary"]
        secrets.append((web.context.data_dir / "key").read_bytes().hex())
        await web.ask("POST", LOGIN, body={"code": bad})
        await web.ask("POST", LOGIN, body={"code": code})
        await web.ask("POST", LOGIN, body={"code": "c4nary" * 50, "more": "c4nary"})
        await web.ask("POST", LOGIN, body=b'{"c4nary')
        await web.ask("POST", "/api/v1/bans", body={"reason": 1, "subject": ["c4nary"]}, **web.operator)
        shown = []
        for headers in (session.headers, web.viewer, web.operator, {"authorization": "Bearer c4nary"}):
            for route in sorted(web.routes, key=lambda one: one.path.endswith("/logout")):
                if "stream" in route.path:
                    continue
                path, body = example(route)
                answer = await web.ask(route.method, path, body=body, **headers)
                shown.append(answer.body + repr(answer.headers).encode())
            shown.append((await web.ask("GET", "/api/v1/events?limit=c4nary", **headers)).body)
        files = b"".join((web.context.data_dir / name).read_bytes() for name in ("audit.jsonl", "access.jsonl", "url"))
        logged = "".join(eventAsText(event) + repr(event) for event in events).encode()
        everything = b"".join(shown) + files + logged
        for secret in secrets:
            place = everything.find(secret.encode())
            assert place < 0, everything[max(0, place - 200) : place + 50]
        assert b"logged in" in files and b"logged in" in logged
        assert session.csrf.encode() in b"".join(shown), "the one page that has the token is its own session's"
        assert session.csrf.encode() not in files + logged
    finally:
        globalLogPublisher.removeObserver(events.append)


@pytest_twisted.ensureDeferred
async def test_a_mistake_of_ours_is_told_in_one_sentence(web, flush_logged_errors):
    def broken(network=None):
        raise RuntimeError("c4nary")

    web.view.sessions = broken
    answer = await web.ask("GET", "/api/v1/peers", **web.viewer)
    assert answer.status == 500
    assert b"c4nary" not in answer.body and b"Traceback" not in answer.body
    assert len(flush_logged_errors(RuntimeError)) == 1


# --- anything ---


@pytest_twisted.async_yield_fixture(scope="module")
async def lasting(tmp_path_factory):
    world = await World(tmp_path_factory.mktemp("admin")).start()
    yield world
    await world.stop()


PIECES = st.sampled_from(
    [
        b"GET ", b"POST ", b"HEAD ", b"/healthz", b"/api/v1/login", b"/static/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n",
        b"\r\n\r\n", b"\n", b"Host: HOST\r\n", b"Host: x\r\n", b"Content-Length: ", b"5", b"99999999999999999999",
        b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"ffffffff\r\n", b"Connection: close\r\n", b"Cookie: =;;\r\n",
        b"Expect: 100-continue\r\n", b"Content-Type: multipart/form-data; boundary=b\r\n", b": ", b" ", b"%", b"?a=b&",
        b"Authorization: Bearer x\r\n", b"Upgrade: websocket\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01",
    ]
)  # fmt: skip


@given(pieces=st.lists(PIECES | st.binary(max_size=50), max_size=30), size=st.integers(1, 50))
@pytest_twisted.ensureDeferred
async def test_any_bytes_are_answered_in_http_or_closed(lasting, pieces, size):
    data = b"".join(pieces).replace(b"HOST", lasting.host.encode())
    raw = await lasting.connect()
    for place in range(0, len(data), size):
        raw.transport.write(data[place : place + size])
    # What is half a request ends by time alone.
    while not await lasting.soon(lambda: raw.lost):
        lasting.clock.advance(5)
    assert raw.data == b"" or raw.data.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), raw.data
    lasting.clients.clear()
    assert (await lasting.ask()).status == 200


@given(
    place=st.floats(0, 1), cut=st.integers(0, 20), put=st.binary(max_size=20) | PIECES, size=st.integers(1, 400),
    path=st.sampled_from(["/peers?limit=5", LOGIN, "/api/v1/bans", "/api/v1/peers/net/1/protect", "/static/admin.js"]),
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_request_that_is_damaged_is_answered_in_http_or_closed(lasting, place, cut, put, size, path):
    body = {"subject": "192.0.2.9", "duration": 5, "reason": "why", "code": "x"}
    good = lasting.request("POST" if "api" in path else "GET", path, body=body, x_csrf_token="x", **lasting.operator)
    at = int(place * len(good))
    data = good[:at] + put + good[at + cut :]
    raw = await lasting.connect()
    for start in range(0, len(data), size):
        raw.transport.write(data[start : start + size])
    while not await lasting.soon(lambda: raw.lost):
        lasting.clock.advance(5)
    lasting.clients.clear()
    # By their first lines: the damage may have made a HEAD of it, whose answers have no body.
    assert raw.data == b"" or raw.data.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), raw.data
    assert all(int(status) < 500 for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", raw.data))
    assert (await lasting.ask()).status == 200


def test_the_helper_reads_what_is_written():
    two = b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert [(one.status, one.body) for one in answers(two)] == [(204, b""), (200, b"ok")]
