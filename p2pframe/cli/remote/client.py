"""A conversation with a node's admin: log in, ask, log out. What goes wrong is a `RemoteError` of one sentence."""

from __future__ import annotations

import json

# real world: time, twisted.internet.task.react: a command of a terminal, whose clock a code is good by
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.task import react
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, RequestTransmissionFailed, ResponseFailed
from twisted.web.error import Error as WebError
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IPolicyForHTTPS, IResponse

from p2pframe.admin.codes import make_code
from p2pframe.cli.remote.pinned import PinnedCertificate
from p2pframe.cli.remote.place import Address, Place
from p2pframe.core.context import SystemEntropy
from p2pframe.logs import clean

V1 = "/api/v1"
LARGEST = 50_000_000
"""Bytes of an answer at most."""
PATIENCE = 30.0
"""Seconds until an answer has come whole; of a download, until more of it comes."""
DIALLING = 180.0
"""The same where the node itself has to wait for a peer."""
_LINE = 1_000_000
_FAILED = (
    ConnectError, ConnectBindError, ConnectionClosed, DNSLookupError, ResponseFailed, RequestTransmissionFailed,
    WebError, PotentialDataLoss, OSError,
)  # fmt: skip
T = TypeVar("T")


class RemoteError(Exception):
    """The node is not there, refused, or has no such thing. `status` is that of its answer, 0 where there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(clean(text))
        self.status = status


class Interrupted(Exception):
    """The operator has had enough."""


def ask(place: Place, work: Callable[[Client], Awaitable[T]]) -> T:
    """What `work` gives, run with a client that is logged in and will be logged out. Raises `RemoteError`."""
    done: list[T] = []
    failed: list[BaseException] = []

    async def run(reactor: Any) -> None:
        try:
            client = Client(place, reactor)
            await client.log_in()
            try:
                done.append(await work(client))
            finally:
                await client.log_out()
        except CancelledError:
            failed.append(Interrupted())
        except BaseException as error:  # noqa: BLE001 - it is raised again, outside of the reactor
            failed.append(error)

    def main(reactor: Any) -> Deferred[None]:
        running = Deferred.fromCoroutine(run(reactor))
        over: Deferred[None] = Deferred()
        running.addBoth(lambda _: None if over.called else over.callback(None))

        def stopping() -> Deferred[None]:
            if not over.called:
                running.cancel()
            return over

        # Ctrl-C: the log-out is waited for.
        reactor.addSystemEventTrigger("before", "shutdown", stopping)
        return running

    with suppress(SystemExit):
        react(main)
    if failed:
        raise failed[0]
    if not done:
        raise Interrupted
    return done[0]


class Client:
    """Asks one admin."""

    def __init__(self, place: Place, reactor: Any) -> None:
        policy: IPolicyForHTTPS
        if place.certificate is not None:
            policy = PinnedCertificate(place.certificate)
        else:
            policy = BrowserLikePolicyForHTTPS()
        self.url = place.url
        self._place = place
        self._reactor = reactor
        self._http = HTTPClient(Agent(reactor, policy, connectTimeout=10.0))
        self._headers: dict[bytes | str, bytes | str] = {}
        if place.token:
            self._headers["Authorization"] = f"Bearer {place.token}"
        self._open = False

    async def log_in(self) -> None:
        """By a code of our own, also where a log-in has ended; a token needs none."""
        if self._place.key:
            self._headers = {}
            answer = await self.post("/login", {"code": make_code(self._place.key, time.time(), SystemEntropy())})
            csrf = answer.get("csrf") if isinstance(answer, dict) else None
            if not isinstance(csrf, str):
                raise self._strange()
            self._headers = {"X-CSRF-Token": csrf}
            self._open = True

    async def log_out(self) -> None:
        """A session that could not be ended ends by itself, so that no failure here hides what was asked for."""
        if self._open:
            self._open = False
            with suppress(RemoteError):
                await self._ask("POST", "/logout", {}, None, 5.0)

    async def get(self, path: str, **query: str | int | None) -> Any:
        """An answer, as JSON says it. Raises `RemoteError`."""
        return await self._ask("GET", path, query, None, PATIENCE)

    async def post(self, path: str, body: Mapping[str, object] | None = None, patience: float = PATIENCE) -> Any:
        """Ask for a change; None where the answer has no content. Raises `RemoteError`."""
        return await self._ask("POST", path, {}, body, patience)

    async def pages(self, path: str, key: str, **query: str | int | None) -> dict[str, Any]:
        """Every page of a list, as one. Raises `RemoteError`."""
        rows: list[Any] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, **query, limit=1000, cursor=cursor)
            if not isinstance(page, dict) or not isinstance(page.get(key), list):
                raise self._strange()
            rows += page[key]
            cursor = page.get("next")
            if cursor is None or not page[key]:
                return {**page, key: rows, "next": None}

    async def stream(self, path: str, told: Callable[[str], bool], **query: str | int | None) -> None:
        """Call `told` with the data of each server-sent event until it gives False. Raises `RemoteError`."""
        response = await self._in_time(self._response("GET", path, query, None), PATIENCE)
        if response.code != 200:
            raise self._refused(response.code, await self._body(response))
        rest, over = b"", False

        def collect(data: bytes) -> None:
            nonlocal rest, over
            # What is on its way when it is over still comes.
            if over:
                return
            over = True
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LINE:
                raise self._strange()
            for line in lines:
                if line.startswith(b"data:") and not told(line[5:].strip().decode("utf-8", "replace")):
                    raise _Enough
            over = False

        try:
            await treq.collect(response, collect)
        except _Enough:
            return
        except _FAILED as error:
            raise self._silent(error) from None
        raise RemoteError(f"{self.url} has ended the stream: is the node stopping?")

    async def download(self, path: str, take: Callable[[bytes], object], most: int) -> None:
        """Give `take` the bytes of an answer as they come; it may take long, and not stand still. Raises `RemoteError`.
        """
        response = await self._in_time(self._response("GET", path, {}, None), PATIENCE)
        if response.code != 200:
            raise self._refused(response.code, await self._in_time(self._body(response), PATIENCE))
        await self._collect(response, take, most)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str | int | None], body: object, patience: float
    ) -> Any:
        async def whole() -> tuple[int, bytes]:
            response = await self._response(method, path, query, body)
            return response.code, await self._body(response)

        status, data = await self._in_time(whole(), patience)
        if not 200 <= status < 300:
            raise self._refused(status, data)
        if not data:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._strange() from None

    async def _in_time(self, asking: Coroutine[Deferred[Any], Any, T], patience: float) -> T:
        try:
            return await Deferred.fromCoroutine(asking).addTimeout(patience, self._reactor)
        except TimeoutError:
            raise RemoteError(f"{self.url} has not answered within {patience:g} s") from None

    async def _response(
        self, method: str, path: str, query: Mapping[str, str | int | None], body: object
    ) -> IResponse:
        given = {name: str(value) for name, value in query.items() if value is not None}
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers if body is None else self._headers | {"Content-Type": "application/json"}
        try:
            response: IResponse = await self._http.request(
                method, Address.from_text(self.url + V1 + path), params=given, headers=headers, data=data,
                allow_redirects=False, unbuffered=True,
            )  # fmt: skip
        except _FAILED as error:
            raise self._silent(error) from None
        return response

    async def _body(self, response: IResponse) -> bytes:
        parts: list[bytes] = []
        await self._collect(response, parts.append, LARGEST)
        return b"".join(parts)

    async def _collect(self, response: IResponse, take: Callable[[bytes], object], most: int) -> None:
        size = 0
        reading: Deferred[None] | None = None
        still = False

        def stand_still() -> None:
            nonlocal still
            still = True
            if reading is not None:
                reading.cancel()

        timer = self._reactor.callLater(PATIENCE, stand_still)

        def collect(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > most:
                raise RemoteError(f"{self.url} answers more than {most} bytes")
            take(data)
            if timer.active():
                timer.reset(PATIENCE)

        try:
            reading = treq.collect(response, collect)
            await reading
        except _FAILED as error:
            raise self._silent(error) from None
        except CancelledError:
            if still:
                raise RemoteError(f"{self.url} has sent nothing for {PATIENCE:g} s") from None
            raise
        finally:
            if timer.active():
                timer.cancel()

    def _refused(self, status: int, data: bytes) -> RemoteError:
        try:
            problem = json.loads(data)
        except (ValueError, RecursionError):
            problem = None
        if not isinstance(problem, dict) or not isinstance(problem.get("title"), str):
            return RemoteError(f"{self.url} answered {status}: is there a p2pframe admin?", status)
        said = problem.get("detail") or problem["title"]
        errors = problem.get("errors")
        if isinstance(errors, list) and errors:
            said = "; ".join(f"{one.get('where')}: {one.get('what')}" for one in errors if isinstance(one, dict))
        return RemoteError(f"{self.url} refused: {str(said).rstrip('.')}", status)

    def _silent(self, error: BaseException) -> Exception:
        if any(one.check(CancelledError) for one in getattr(error, "reasons", None) or []):
            return CancelledError()
        return RemoteError(f"no node answers at {self.url}: {_why(error)}")

    def _strange(self) -> RemoteError:
        return RemoteError(f"{self.url} answered what no p2pframe admin does")


class _Enough(Exception):
    """No more events are wanted."""


def _why(error: BaseException) -> str:
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list) and reasons:
        return _why(reasons[0].value)
    name = type(error).__name__
    if name == "Error" and error.args and isinstance(error.args[0], list):  # OpenSSL's
        words = [str(part[-1]) for part in error.args[0] if part]
        return f"TLS: {', '.join(words) or 'it ended early'}"
    if name == "VerificationError":  # service_identity's
        return "TLS: its certificate is for another name"
    return str(error).strip().rstrip(".") or name
