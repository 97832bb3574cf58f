"""The admin over real sockets of the loopback, on a clock that the test advances, and what talks to it byte by byte."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from types import SimpleNamespace

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater

from p2pframe.admin.application import Admin
from p2pframe.admin.codes import make_code
from p2pframe.admin.config import AdminConfig
from p2pframe.interfaces import (
    AddressView,
    Alert,
    BoundView,
    Event,
    IAdminPage,
    IAlerts,
    INodeControl,
    INodeView,
    IOverview,
    NetworkView,
    PageTable,
    PluginView,
    SettingView,
)
from p2pframe.interfaces.node import DiscoveryStatus, LogLine, SourceHolds, Spread, SpreadPeer
from p2pframe.interfaces.story import HeardFact, SessionStory, TopicInventory
from p2pframe.model import (
    Action,
    Fact,
    Floor,
    PeerAddress,
    Penalty,
    Score,
    ScorePart,
    SessionId,
    SessionSnapshot,
    Slot,
)
from p2pframe.private_file import write_private
from p2pframe.testing.conformance.services import StandInControl, StandInView
from p2pframe.testing.context import FakeContext

VIEWER, OPERATOR = "viewer-token-0123456789", "operator-token-0123456789"
ADDRESS = PeerAddress("192.0.2.7", 8333)


class View(StandInView):
    """A node with one network, one session, one ban, and `kept` events; `text` is whatever others may choose."""

    def __init__(self, text="plain"):
        super().__init__()
        self.text = text
        self.kept = []
        self.lines, self.followers = [], []
        self.say(text, "error", text, text, **{text: text})
        self.busy = 0.0
        self.kept_out = 1
        self.shown = {"networks": {"net": {"key": "***"}}}

    def networks(self):
        found = DiscoveryStatus(1, 1, 2, self.text, 3.0)
        return [
            NetworkView(
                "net", "bitcoin", ("127.0.0.1:1",), {Slot.OUTBOUND: (1, 8)}, {"tried": 1}, {"height": self.text},
                {self.text: (1, 2)}, {"static": found}, {self.text: SourceHolds(1, 1)},
            )
        ]  # fmt: skip

    def sessions(self, network=None):
        return [
            SessionSnapshot(
                SessionId(1), "net", ADDRESS, self.text, Slot.OUTBOUND, "open", "tcp", 0.0, 0.0, False,
                agent=self.text, services=frozenset({self.text}), messages_in={self.text: 1}, encryption=self.text,
            )
        ]  # fmt: skip

    def session(self, network, session):
        return next((one for one in self.sessions(network) if one.id == session), None)

    def each_session(self, network):
        return iter(self.sessions(network))

    def story(self, network, session):
        """Of the session there is, and of one that has ended, 7."""
        if network != "net" or session not in (1, 7):
            return None
        [peer] = self.sessions()
        ended = None if session == 1 else 900.0
        score = Score(self.text, 0.4, (ScorePart(self.text, 0.4, 1.0, 7.0), ScorePart("b", 0.1, 0.0)))
        fact = Fact(self.text, Floor.END, self.text, True)
        return SessionStory(
            1000.0, replace(peer, id=session, state=self.text), (("open", 100.0), (self.text, 800.0)),
            ((100.0, 0.25), (500.0, 0.5), (900.0, 1.0)), ((score, True), (score, False)),
            (HeardFact(850.0, 840.0, 3, fact, self.text, "disconnect", "acted-on"),
             HeardFact(860.0, 860.0, 1, fact, "scoring.dry", "ban", "dry-run")), 2,
            (TopicInventory(self.text, 3, 1, 1, ((b"item", "asked"),), (b"first",)),), {self.text: self.text},
            ended, self.text, self.text,
        )  # fmt: skip

    def penalties(self, offset=0, limit=None):
        found = [Penalty(f"192.0.2.{9 + number}", "node", Action.BAN, "rule", self.text, self.text, 0.0, 2e9)
                 for number in range(self.kept_out)]  # fmt: skip
        return found[offset:] if limit is None else found[offset : offset + limit]

    def events(self, after=0, limit=1000):
        return [one for one in self.kept if one.number > after][:limit]

    def latest(self, limit=100, network=None, session=None, kinds=None, before=None):
        return [
            one for one in reversed(self.kept)
            if network in (None, one.network) and session in (None, one.session)
            and (kinds is None or one.kind in kinds) and (before is None or one.number < before)
        ][:limit]  # fmt: skip

    def addresses(self, network, offset=0, limit=100, source=None):
        if network != "net":
            raise KeyError(network)
        return [AddressView(ADDRESS, self.text, 1.0, 2.0, 3.0, 4.0, 5, True, 6)][offset : offset + limit]

    def spreads(self, network, limit=100, topic=None):
        if network != "net":
            raise KeyError(network)
        return [self.spread(network, self.text, b"id")]

    def spread(self, network, topic, id):
        if network != "net":
            raise KeyError(network)
        if topic not in (self.text, KNOWN["topic"]) or id.hex() != KNOWN["item"]:
            return None
        peers = (
            SpreadPeer(SessionId(1), ADDRESS, None, None, 2.0, True),
            SpreadPeer(SessionId(2), PeerAddress(self.text, 1, "name"), 0.5, 1.5, None, False),
            SpreadPeer(SessionId(3), None, 1.5, None, None, False),
        )
        return Spread(self.text, b"id", 1.0, SessionId(1), 2, 3, (0.5, 1.5), 1, 250, 4, 3, ADDRESS, peers)

    def providers(self, interface):
        if interface is IOverview:
            shown = {self.text: self.text}
            return [(self.text, SimpleNamespace(overview_title=self.text, overview=lambda: shown))]
        if interface is IAlerts:
            alert = Alert(self.text, False, self.text, self.text, self.text)
            return [(self.text, SimpleNamespace(alerts=lambda: [alert]))]
        if interface is not IAdminPage:
            return []
        table = PageTable(self.text, (self.text, "b"), [(self.text, 1)], self.text)
        return [(self.text, SimpleNamespace(page_name=KNOWN["name"], page_title=self.text, page=lambda: [table]))]

    def bounds(self):
        def one(path, counter, label, refuses, used, turned_away, unit="", fills=False, value=10):
            return BoundView(
                "net", f"networks.net.{path}", value, unit, self.text, True, self.text, counter, label, refuses, fills,
                turned_away, used,
            )  # fmt: skip

        return [
            one("limits.calm", "p2pframe_a_total", (), ("calm",), 1.0, 0.0),
            one("limits.filling", "p2pframe_b_total", (), (), 10.0, 5.0, fills=True),
            one("limits.busy", "p2pframe_c_total", (self.text,), ("too-much",), None, self.busy, "seconds", value=0.5),
            one("limits.busy_max", "p2pframe_c_total", (self.text,), ("too-much",), None, 0.0, "bytes"),
            one("topology.places", "p2pframe_refusals_total", ("full",), ("full",), 9.0, 3.0),
        ]

    def settings(self):
        return [SettingView("networks.net.key", self.text, self.text, True)]

    def plugins(self):
        return [PluginView("net", self.text, self.text, self.text, 1)]

    def changed(self):
        return {"networks.net.key": self.text}

    def exposition(self):
        return b"some_metric 1\n"

    def logs(self, after=0, limit=1000, level="debug", namespace="", text=""):
        return [one for one in self.lines if one.number > after and one.fits(level, namespace, text)][:limit]

    def latest_logs(self, limit=100, before=None, level="debug", namespace="", text=""):
        return [
            one for one in reversed(self.lines)
            if (before is None or one.number < before) and one.fits(level, namespace, text)
        ][:limit]  # fmt: skip

    def follow_log(self, callback):
        self.followers.append(callback)
        return lambda: self.followers.remove(callback)

    def say(self, text, level="info", namespace="net", traceback="", **fields):
        """A new line of the log, kept and told."""
        line = LogLine(len(self.lines) + 1, 1.0, level, namespace, text, fields, traceback)
        self.lines.append(line)
        for callback in list(self.followers):
            callback(line)

    def config(self):
        return self.shown

    def happen(self, kind="peer.judged", **fields):
        """A new event, kept and told."""
        event = Event(len(self.kept) + 1, 1.0, kind, "net", SessionId(1), ADDRESS, fields)
        self.kept.append(event)
        self.emit(event)


class Control(StandInControl):
    """It can do what it is asked."""

    def disconnect(self, network, session, reason="asked to"):
        super().disconnect(network, session, reason)
        return True

    def protect(self, network, session, protected=True):
        super().protect(network, session, protected)
        return True

    def unban(self, subject, scope="node"):
        return super().unban(subject, scope).addCallback(lambda _: True)


class HalfReal(Clock):
    """Real sockets, and time that only a test moves."""

    def listenTCP(self, *args, **options):
        return reactor.listenTCP(*args, **options)

    def listenSSL(self, *args, **options):
        return reactor.listenSSL(*args, **options)


def next_turn(clock):
    """Do what is due on a clock now, and not what that puts off to the turn after; the seconds that it took.

    `Clock.advance` would do both, and what work cut into slices takes of one turn could not be seen.
    """
    start = clock.seconds()
    for call in [one for one in clock.getDelayedCalls() if one.getTime() <= start]:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)
    return clock.seconds() - start


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list
    body: bytes

    def get(self, name):
        """The one header of that name, or None."""
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) <= 1, (name, found)
        return found[0] if found else None

    @property
    def json(self):
        return json.loads(self.body)


def answers(data, heads=()):
    """All the answers in `data`, of which those numbered `heads` are to HEAD and have no body."""
    found = []
    while data:
        head, split, data = data.partition(b"\r\n\r\n")
        assert split, head
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), first
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = int(dict(headers).get("content-length", 0))
        if len(found) in heads or int(status) in (204, 304):
            length = 0
        assert len(data) >= length, (head, data)
        found.append(Answer(int(status), headers, data[:length]))
        data = data[length:]
    return found


class Raw(Protocol):
    """A connection of which the test sees every byte."""

    def __init__(self):
        self.data = b""
        self.lost = False
        self._waiting = []

    def dataReceived(self, data):
        self.data += data
        self._look()

    def connectionLost(self, reason):
        self.lost = True
        self._look()

    def until(self, condition):
        """Fires when `condition(self)` holds."""
        waiting = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def closed(self):
        """Fires with all that came when the other end has closed."""
        return self.until(lambda raw: raw.lost).addCallback(lambda _: self.data)

    def _look(self):
        for pair in list(self._waiting):
            if pair in self._waiting and pair[0](self):
                self._waiting.remove(pair)
                pair[1].callback(self)


class World:
    """The admin of a stand-in node."""

    def __init__(self, folder, text="plain", **options):
        self.clock = HalfReal()
        # Sessions that began at 0 have not begun.
        self.clock.advance(1000.0)
        self.context = FakeContext("application.admin", reactor=self.clock, data_dir=folder / "data")
        self.view, self.control = View(text), Control()
        self.context.provide(INodeView, self.view)
        self.context.provide(INodeControl, self.control)
        tokens = []
        for name, token in (("viewer", VIEWER), ("operator", OPERATOR)):
            write_private(folder / f"{name}.token", token.encode() + b"\n")
            tokens.append({"name": name, "role": name, "file": folder / f"{name}.token"})
        options = {"listen": "127.0.0.1:0", "tokens": tokens, **options}
        self.admin = Admin(AdminConfig(**options), self.context)
        self.clients = []

    async def start(self):
        await self.admin.start()
        self.port = self.admin._port.getHost().port
        self.host = f"127.0.0.1:{self.port}"
        return self

    async def stop(self):
        await self.admin.stop()
        for raw in self.clients:
            if not raw.lost:
                raw.transport.abortConnection()
                await raw.closed()
        await self.until(lambda: not self.site._open)

    @property
    def site(self):
        return self.admin._site

    @property
    def routes(self):
        return self.site.routes.all

    @property
    def now(self):
        return self.context.unix_time()

    def turned_away(self, why):
        return self.context.metrics.value("admin_requests_total", "connection", why)

    async def until(self, condition):
        """Let sockets be read and written until something holds."""
        if not await self.soon(condition, 100_000):
            raise AssertionError("it does not come about")

    async def soon(self, condition, turns=20):
        """Whether something holds within so many turns of the reactor."""
        for _ in range(turns):
            if condition():
                return True
            await deferLater(reactor, 0)
        return bool(condition())

    async def connect(self):
        raw = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Raw())
        self.clients.append(raw)
        return raw

    async def send(self, data, heads=()):
        """All the answers to some bytes, on a connection of their own, once the other end has closed it."""
        raw = await self.connect()
        raw.transport.write(data)
        return answers(await raw.closed(), heads)

    def request(self, method="GET", path="/healthz", headers=(), body=None, **more):
        """The bytes of a request. `more` are headers, with _ for -; None leaves one out."""
        given = {"host": self.host, "connection": "close"}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            given |= {"content-type": "application/json", "content-length": str(len(body))}
        given |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {one}" for name, one in given.items() if one is not None)]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    async def ask(self, method="GET", path="/healthz", headers=(), body=None, **more):
        """The answer to one request."""
        heads = (0,) if method == "HEAD" else ()
        [answer] = await self.send(self.request(method, path, headers, body, **more), heads)
        return answer

    def code(self, at=None):
        key = (self.context.data_dir / "key").read_bytes()
        return make_code(key, self.now if at is None else at, self.context.entropy)

    async def log_in(self, code=None):
        """The headers of a new session, and its cookie and CSRF token."""
        answer = await self.ask("POST", "/api/v1/login", body={"code": code or self.code()})
        assert answer.status == 200, answer
        cookie = answer.get("set-cookie").partition(";")[0]
        csrf = answer.json["csrf"]
        headers = {"cookie": cookie, "x_csrf_token": csrf}
        return SimpleNamespace(headers=headers, cookie=cookie, csrf=csrf, answer=answer)

    @property
    def viewer(self):
        return {"authorization": f"Bearer {VIEWER}"}

    @property
    def operator(self):
        return {"authorization": f"Bearer {OPERATOR}"}


KNOWN = {
    "network": "net", "id": "1", "topic": "tx", "item": "6964",
    "name": "admin.css", "address": "192.0.2.1:8333", "subject": "192.0.2.9",
    "code": "none", "reason": "for the test",
}  # fmt: skip
"""What stands for a parameter, or a field, of that name."""


def example(route):
    """A path, and a body, that `route` takes: made of its models, so that a new route needs nothing here."""
    path = re.sub(r"{(\w+)}", lambda found: KNOWN.get(found[1], "1"), route.path)
    if route.body is None:
        return path, None
    fields = route.body.model_json_schema()
    made = {"string": "1", "boolean": True, "integer": 5, "number": 5}
    given = {}
    for name in fields.get("required") or fields.get("oneOf", [{}])[0].get("required", ()):
        given[name] = KNOWN.get(name, made.get(fields["properties"][name].get("type")))
    return path, given
