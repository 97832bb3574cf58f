"""HTTP for the admin, on Twisted Web: every request is bounded, comes from an allowed place, and is answered once.

In this order: the host it is for (against DNS rebinding), its size, where it comes from (Origin, Sec-Fetch-Site), the
route, who asks, whether that one asks too often, and may, the token against forged changes, and what it brings. A
mistake of ours is logged whole and told in one sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from p2pframe.admin.access import Access, Refused, Role, Session, same
from p2pframe.admin.reading import CSRF, body_of, headers_of, query_of
from p2pframe.admin.routes import Call, Closed, Problem, Reply, Route, Routes
from p2pframe.interfaces import IHostReactor

HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "interest-cohort=()"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
)
"""On every answer."""
_LINE = 16_384
_DIGITS = 15
"""Of a Content-Length: Python makes no number of thousands of them, and there is no such body."""
_STRANGERS = 10_000
"""Bytes of a body of who is not logged in: a code is all that there is to be said."""
_TOKEN = "token "
"""Before the name of a token, where it is said who asked."""
_NO_PAGES = frozenset({"/metrics", "/healthz", "/readyz"})
"""What programs ask for, beside the API."""
_LOOK = 5.0
"""Seconds between looks at whether the session of a stream is still there."""
_log = Logger(namespace="p2pframe.admin")


class Streaming:
    """What a handler returns that goes on writing: `begin` is called with what writes, and gives what ends it."""

    def __init__(self, begin: Callable[[Any], Callable[[], None]], content_type: str = "text/event-stream") -> None:
        self.begin = begin
        self.content_type = content_type


class _Channel(HTTPChannel):
    """A connection whose requests must have come whole within a time, however slowly they drip."""

    totalHeadersSize = _LINE
    maxHeaders = 100
    _deadline: IDelayedCall | None = None
    _over = False

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        if self._deadline is None and not self._handlingRequest:
            self._within(self._site.request_timeout)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > _DIGITS:
            self._respondToBadRequestAndDisconnect()
            return False
        return bool(super().headerReceived(line))  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()  # type: ignore[no-untyped-call]
        if self.requests[-1].too_large:
            # It is answered at once: what is still on its way is read by nobody.
            self.length = 0
            self.persistent = 0

    def allContentReceived(self) -> None:
        self._enough()
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        if self._over:
            return
        # Who does not read the answer does not keep the connection either.
        self._over = True
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._within(float(self._site.timeOut or 0.0))
        super().loseConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._enough()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._site.left(self)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._site.turned_away("malformed")
        head = [b"HTTP/1.1 400 Bad Request", *(f"{name}: {value}".encode() for name, value in HEADERS)]
        cast(Any, self.transport).write(b"\r\n".join([*head, b"Content-Length: 0", b"Connection: close", b"", b""]))
        self.loseConnection()

    def _within(self, seconds: float) -> None:
        self._enough()
        self._deadline = self._site.clock.callLater(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        self._site.turned_away("slow")
        self.forceAbortClient()  # type: ignore[no-untyped-call]

    def _enough(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    @property
    def _site(self) -> AdminSite:
        return cast(AdminSite, self.factory)


class _Full(Protocol):
    """A connection too many: one that ends."""

    def connectionMade(self) -> None:
        cast(Any, self.transport).abortConnection()


class _Request(Request):
    """A request whose body is bounded before it is read."""

    too_large = False
    most = 0
    asked_as: tuple[Role | None, Session | None] = (None, None)
    """The role and session of who asks, once that is known."""

    def gotLength(self, length: int | None) -> None:
        # No forms, whose reading nobody here has bounded, and no temporary files.
        self._parsePOSTFormSubmission = False
        self.content = BytesIO()
        self.most = self._site.most_of(self)
        self.too_large = length is not None and length > self.most
        if self.too_large:
            self.requestHeaders.removeHeader(b"expect")

    def handleContentChunk(self, data: bytes) -> None:
        if not self.too_large and cast(Any, self.content).tell() + len(data) > self.most:
            self.too_large = True
        if not self.too_large:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    @property
    def _site(self) -> AdminSite:
        return cast(AdminSite, cast(Any, self.channel).site)

    def process(self) -> None:
        self.site = self._site
        self._site.handle(self)


class AdminSite(Site):
    """The server. `hosts` are the names and ports it may be called by, as in a Host header."""

    noisy = False
    """Twisted's own line on a factory that starts says nothing that ours does not."""

    def __init__(
        self,
        routes: Routes,
        access: Access,
        reactor: IHostReactor,
        unix_time: Callable[[], float],
        hosts: Callable[[], frozenset[str]],
        cookie: str,
        *,
        secure: bool = False,
        largest_body: int = 1_000_000,
        request_timeout: float = 20.0,
        idle_timeout: float = 60.0,
        connections: int = 200,
        counted: Callable[[str, str], None] = lambda what, outcome: None,
        page: Callable[[Problem, Call], Reply] | None = None,
        guessed: Callable[[Call, str], None] = lambda call, reason: None,
    ) -> None:
        init: Any = super().__init__
        init(Resource(), requestFactory=_Request, timeout=idle_timeout, reactor=reactor)
        # HTTP/1.1 only: the stock one picks a protocol by ALPN, around a channel that is not ours.
        cast(Any, self).protocol = _Channel
        self.routes = routes
        self.access = access
        self.clock = reactor
        self.unix_time = unix_time
        self.hosts = hosts
        self.cookie = cookie
        self.secure = secure
        self.largest_body = largest_body
        self.request_timeout = request_timeout
        self.connections = connections
        self._counted = counted
        self._guessed = guessed
        """Called with who sent a token that is none, and why it was refused."""
        self._page = page
        """Makes what people are shown where a request is refused."""
        self._open: dict[_Channel, None] = {}

    # --- connections ---

    def buildProtocol(self, addr: Any) -> Any:
        """One that ends at once where there are as many connections as there may be; TLS can't do with None."""
        if len(self._open) >= self.connections:
            self.turned_away("connections")
            return _Full()
        build: Any = super().buildProtocol
        channel = build(addr)
        self._open[channel] = None
        return channel

    @property
    def open_connections(self) -> int:
        """How many there are."""
        return len(self._open)

    def left(self, channel: _Channel) -> None:
        """A connection has ended."""
        self._open.pop(channel, None)

    def startFactory(self) -> None:
        """Nothing: Twisted's own has a timer for the times of an access log, and nobody ever stops it."""

    def turned_away(self, why: str) -> None:
        """Count what was not even a request."""
        self._counted("connection", why)

    def log(self, request: Any) -> None:
        """See `Site.log`: no access log, as paths may hold what is nobody's business."""

    def most_of(self, request: Request) -> int:
        """How long the body of a request may be, by its headers."""
        try:
            _, role, _ = self._who(headers_of(request), self.unix_time())
        except Problem:
            role = None
        return min(self.largest_body, _STRANGERS) if role is None else self.largest_body

    def abort(self) -> None:
        """End every connection."""
        for channel in list(self._open):
            cast(Any, channel).forceAbortClient()

    # --- requests ---

    def handle(self, request: Any) -> None:
        """Answer one."""
        for name, value in HEADERS:
            request.setHeader(name, value)
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("Server", "p2pframe")
        try:
            route, call = self._checked(request)
            answering = Deferred.fromCoroutine(_awaited(route.handler, call))
        except Problem as problem:
            self._refuse(request, problem)
            return
        except Exception:  # noqa: BLE001 - a mistake of ours must not leave anybody without an answer
            self._broken(request, Failure())
            return
        gone = request.notifyFinish()
        gone.addErrback(lambda _: answering.cancel())
        answering.addCallback(self._answer, request, route, call)
        answering.addErrback(self._failed, request)

    def _checked(self, request: Any) -> tuple[Route, Call]:
        headers = headers_of(request)
        method = request.method.decode("ascii", "replace")
        host = headers.get("host", "").lower()
        if host not in self.hosts():
            raise Problem(421, "Misdirected request", "this server is not called by that name: see the admin's `hosts`")
        path, _, query = request.uri.decode("ascii", "replace").partition("?")
        now = self.unix_time()
        who, role, session = self._who(headers, now)
        if role is None:
            self._no_guessing(request, headers, method, path, now)
        if request.too_large:
            raise Problem(413, "Content too large", f"a request has at most {request.most} bytes")
        origin = headers.get("origin")
        scheme = "https" if self.secure else "http"
        own_origin = f"{scheme}://{host}"
        if origin is not None and origin.lower() != own_origin:
            raise Problem(403, "Forbidden", "this request comes from a page of another origin")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Problem(403, "Forbidden", "this request comes from a page of another site")
        # Only who may see pages of ours has the menu, and what plugins have, on one that tells what is refused.
        request.asked_as = role, session
        route, parameters = self.routes.find(method, path)
        if route.role is not None:
            if role is None:
                problem = Problem(401, "Not logged in", "log in with a code of `p2pframe admin link`, or send a token")
                problem.headers["WWW-Authenticate"] = 'Bearer realm="p2pframe"'
                if route.page:
                    problem = Problem(303, "See other")
                    problem.headers["Location"] = "/login"
                raise problem
            self._not_too_often(session or who.removeprefix(_TOKEN))
            if role < route.role:
                raise Problem(403, "Forbidden", f"this takes the role {route.role.name.lower()}")
        if route.writes and session is not None and route.role is not None:
            given = headers.get(CSRF, "")
            if not same(given, session.csrf):
                raise Problem(403, "Forbidden", f"a change needs the header {CSRF} of this session")
        call = Call(
            parameters, query_of(route, query), body_of(route, headers, request), who, role, session,
            request.getClientAddress().host, now, headers,
        )  # fmt: skip
        return route, call

    def _who(self, headers: Mapping[str, str], now: float) -> tuple[str, Role | None, Session | None]:
        authorization = headers.get("authorization", "")
        kind, _, token = authorization.partition(" ")
        if authorization:
            found = self.access.token(token.strip()) if kind.lower() == "bearer" else None
            return (_TOKEN + found[0], found[1], None) if found is not None else ("", None, None)
        # Others on this host may have set cookies for it, of any form and of this very name.
        pairs = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        found_ones = (self.access.session(value, now) for name, _, value in pairs if name == self.cookie)
        session = next((one for one in found_ones if one is not None), None)
        return ("", None, None) if session is None else ("a person", session.role, session)

    def _no_guessing(self, request: Any, headers: Mapping[str, str], method: str, path: str, now: float) -> None:
        """A token that is none is a try to log in, wherever a right one would be answered otherwise."""
        if headers.get("authorization", "").partition(" ")[0].lower() != "bearer":
            return
        if not request.too_large and self.routes.for_anybody(method, path):
            return
        call = Call({}, None, None, "", None, None, request.getClientAddress().host, now)
        try:
            self.access.wrong_token(call.source, now)
        except Refused as refused:
            self._guessed(call, refused.reason)
            problem = Problem(429, "Too many requests", "too many tokens that are none: wait")
            problem.headers["Retry-After"] = str(int(refused.retry) + 1)
            raise problem from None
        self._guessed(call, "unknown")

    def _not_too_often(self, who: Session | str) -> None:
        wait = self.access.ask(who, self.clock.seconds())
        if wait:
            rate, burst = self.access.rates()
            after = max(1, math.ceil(wait))
            problem = Problem(
                429, "Too many requests",
                f"more than {rate:g} requests a second of one log-in, after {burst:g} at once "
                f"(requests_per_second and request_burst of the application admin): try again in {after} s",
            )  # fmt: skip
            problem.headers["Retry-After"] = str(after)
            raise problem

    # --- answers ---

    def _answer(self, result: object, request: Any, route: Route, call: Call) -> None:
        if isinstance(result, Streaming):
            self._stream(request, result, call.session)
            return
        if isinstance(result, Reply):
            reply = result
        elif isinstance(result, Closed):
            reply = Reply(result.encoded(), status=route.status)
        elif result is None:
            reply = Reply(status=204, content_type="")
        else:
            raise TypeError(f"{route.path} answered {type(result).__name__}")
        self._counted("request", str(reply.status))
        self._write(request, reply)

    def _stream(self, request: Any, streaming: Streaming, session: Session | None) -> None:
        request.setHeader("Content-Type", streaming.content_type)
        request.setHeader("X-Accel-Buffering", "no")
        self._counted("request", "stream")
        # It lasts: the times are those of requests.
        cast(Any, request.channel).setTimeout(None)
        if request.method == b"HEAD":
            request.finish()
            return
        end = streaming.begin(request)
        request.notifyFinish().addBoth(lambda _: end())
        if session is not None:
            self._watch(request, session)

    def _watch(self, request: Any, session: Session) -> None:
        """End a stream with the session that it was opened in: who logs out, or is idle for long, sees no more."""

        def look() -> None:
            if self.access.holds(session, self.unix_time()):
                waiting[0] = self.clock.callLater(_LOOK, look)
            elif request.channel is not None:
                request.channel.forceAbortClient()

        waiting = [self.clock.callLater(_LOOK, look)]
        request.notifyFinish().addBoth(lambda _: waiting[0].cancel() if waiting[0].active() else None)

    def _write(self, request: Any, reply: Reply) -> None:
        if request._disconnected:
            return
        if request.startedWriting:
            # A stream that could not begin: what it is an answer to has been said already.
            request.channel.forceAbortClient()
            return
        request.setResponseCode(reply.status)
        if reply.content_type:
            request.setHeader("Content-Type", reply.content_type)
        for name, value in reply.headers:
            request.responseHeaders.addRawHeader(name, value)
        if reply.status not in (204, 304):
            request.setHeader("Content-Length", str(len(reply.body)))
            if request.method != b"HEAD":
                request.write(reply.body)
        request.finish()

    def _failed(self, failure: Failure, request: Any) -> None:
        if failure.check(Problem):
            self._refuse(request, cast(Problem, failure.value))
        elif not (failure.check(CancelledError) and request._disconnected):
            self._broken(request, failure)

    def _broken(self, request: Any, failure: Failure) -> None:
        _log.failure("a request to the admin failed", failure=failure)
        self._refuse(request, Problem(500, "Internal error", "this is a mistake in p2pframe: the log says more"))

    def _refuse(self, request: Any, problem: Problem) -> None:
        self._counted("request", str(problem.status))
        reply = self._told_on_page(request, problem) or _told(problem)
        reply.headers = list(problem.headers.items())
        if request.too_large:
            # What is still on its way is not waited for.
            request.setHeader("Connection", "close")
            if request.channel is not None:
                request.channel.persistent = 0
        self._write(request, reply)

    def _told_on_page(self, request: Any, problem: Problem) -> Reply | None:
        """For who asked for a page in a browser; None where it is a script that asks, or a part of a page."""
        path = request.uri.partition(b"?")[0].decode("ascii", "replace")
        accepts = b",".join(request.requestHeaders.getRawHeaders(b"accept", ())).lower()
        if (
            self._page is None or problem.status == 303 or b"text/html" not in accepts or path in _NO_PAGES
            or path.startswith("/api/") or request.requestHeaders.hasHeader(b"x-refresh")
        ):  # fmt: skip
            return None
        role, session = request.asked_as
        source = request.getClientAddress().host
        try:
            return self._page(problem, Call({}, None, None, "", role, session, source, self.unix_time()))
        except Exception:  # noqa: BLE001 - whatever is wrong with the page, they are told
            _log.failure("a page of the admin that says what was refused could not be made")
            return None


def _told(problem: Problem) -> Reply:
    body = {"type": "about:blank", "title": problem.title, "status": problem.status, **problem.more}
    if problem.detail:
        body["detail"] = problem.detail
    return Reply(json.dumps(body).encode(), "application/problem+json", problem.status)


async def _awaited(handler: Callable[[Call], Any], call: Call) -> object:
    result = handler(call)
    return await result if hasattr(result, "__await__") else result


__all__ = ["CSRF", "AdminSite", "Streaming"]
