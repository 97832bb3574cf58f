"""The HTTP API: everything that the pages show and do, in terms of INodeView and INodeControl and nothing else."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

from twisted.logger import Logger

from p2pframe.admin import rows, values
from p2pframe.admin.access import Access, Refused, Role, Session
from p2pframe.admin.alerts import Alerts
from p2pframe.admin.audit import Audit
from p2pframe.admin.cards import Cards
from p2pframe.admin.openapi import document
from p2pframe.admin.password import Busy, Passwords
from p2pframe.admin.routes import Call, Problem, Reply, Route
from p2pframe.admin.section import no_network
from p2pframe.admin.server import Streaming
from p2pframe.admin.stream import Source, Streams, place, resumed
from p2pframe.admin.values_limits import Limit
from p2pframe.errors import ConfigError, P2PFrameError
from p2pframe.interfaces import Event, IAdminPage, IContext, INodeControl, INodeView
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot

V1 = "/api/v1"
_log = Logger(namespace="p2pframe.admin")


class Api:
    """The handlers; there are at most `most_streams` event streams."""

    def __init__(
        self,
        context: IContext,
        view: INodeView,
        control: INodeControl,
        access: Access,
        audit: Audit,
        alerts: Alerts,
        cookie: Callable[[str], str],
        most_streams: Callable[[], int],
    ) -> None:
        self.context = context
        self.view = view
        self.control = control
        self.access = access
        self.audit = audit
        self.alerts = alerts
        self.cards = Cards(view)
        self.streams = Streams(context.reactor, most_streams)
        self._happening = Source(view.events, view.subscribe, _told, view.latest)
        self._description: bytes | None = None
        self._versions: deque[values.Version] = deque(maxlen=_HISTORY)
        self._number = 0
        self.near: Callable[[], list[Limit]] = list
        """The limits near their bound."""
        self.passwords = Passwords(context, None, lambda: 1)
        self.described: Sequence[Route] = ()
        """All routes there are, of every section."""
        self._cookie = cookie
        self._began = context.reactor.seconds()
        try:
            self.version = installed_version("p2pframe")
        except PackageNotFoundError:
            self.version = "from source"

    def routes(self) -> Sequence[Route]:
        """All of them."""
        v, viewer, operator = values, Role.VIEWER, Role.OPERATOR
        peer = V1 + "/peers/{network}/{id}"
        return [
            Route("GET", "/healthz", None, "Whether the process answers.", self.alive, content_type="text/plain"),
            Route("GET", "/readyz", None, "Whether the node is up and healthy.", self.ready, content_type="text/plain"),
            Route("GET", "/metrics", viewer, "Every metric, for Prometheus.", self.metrics, content_type="text/plain"),
            Route("POST", V1 + "/login", None, "Log in with a code, or the password where one is set; sets a cookie.",
                  self.log_in, None, v.LogIn, v.LoggedIn, refusals=(403, 429, 503)),
            Route("POST", V1 + "/logout", viewer, "End this session.", self.log_out, status=204),
            Route("GET", V1 + "/node", viewer, "The node at a glance.", self.node, answer=v.Node),
            Route("GET", V1 + "/alerts", viewer, "What to look at, and what was.", self.all_alerts, answer=v.Alerts),
            Route("GET", V1 + "/peers", viewer, "Sessions.", self.peers, v.PeersQuery, answer=v.Peers,
                  refusals=(404,)),
            Route("GET", peer, viewer, "One session.", self.peer, answer=v.Peer, refusals=(404,)),
            Route("POST", peer + "/disconnect", operator, "End a session.", self.disconnect, None, v.Reason,
                  status=204, refusals=(404,)),
            Route("POST", peer + "/protect", operator, "Never evict a session, or do.", self.protect, None, v.Protect,
                  status=204, refusals=(404,)),
            Route("POST", V1 + "/connect", operator, "Dial a peer once.", self.connect, None, v.Connect, v.Connected,
                  refusals=(404, 409)),
            Route("GET", V1 + "/bans", viewer, "Who is kept out, and why.", self.bans, v.BansQuery,
                  answer=v.Penalties),
            Route("POST", V1 + "/bans", operator, "Keep somebody out; ends its sessions.", self.ban, None, v.Ban,
                  status=204),
            Route("POST", V1 + "/bans/lift", operator, "Let somebody in again.", self.unban, None, v.Unban,
                  status=204, refusals=(404,)),
            Route("GET", V1 + "/events", viewer, "What happened.", self.events, v.EventsQuery, answer=v.Events),
            Route("GET", V1 + "/events/stream", viewer, "What happens, as server-sent events.", self.stream,
                  v.StreamQuery, content_type="text/event-stream", refusals=(503,)),
            Route("GET", V1 + "/plugins", viewer, "The plugins that run.", self.plugins, answer=v.Plugins),
            Route("GET", V1 + "/config", viewer, "The configuration in force.", self.config, answer=v.Config),
            Route("POST", V1 + "/config/check", operator, "What a change would change.", self.check, None, v.Change,
                  v.Changed, refusals=(409,)),
            Route("POST", V1 + "/config/apply", operator, "Change live values.", self.apply, None, v.Change, v.Changed,
                  refusals=(409,)),
            Route("GET", V1 + "/config/history", viewer, "What was changed here.", self.history, answer=v.History),
            Route("POST", V1 + "/config/rollback", operator, "Undo a change and those after it.", self.roll_back, None,
                  v.Rollback, v.Changed, refusals=(404, 409)),
            Route("GET", V1 + "/pages", viewer, "Pages that plugins have.", self.plugin_pages, answer=v.PluginPages),
            Route("GET", V1 + "/pages/{name}", viewer, "A plugin's page.", self.plugin_page, answer=v.PluginPage,
                  refusals=(404, 500)),
            Route("GET", V1 + "/audit", viewer, "What was changed through the admin.", self.audited, v.EventsQuery,
                  answer=v.Events),
            Route("GET", V1 + "/openapi.json", viewer, "This API, described by OpenAPI 3.1.", self.description),
        ]  # fmt: skip

    # --- without a role ---

    def alive(self, call: Call) -> Reply:
        """It answers, so it is alive."""
        return Reply(b"ok\n", "text/plain; charset=utf-8")

    def ready(self, call: Call) -> Reply:
        """Not why not: that is for who is logged in."""
        healthy = not self.alerts.reasons()
        return Reply(b"ready\n" if healthy else b"not ready\n", "text/plain; charset=utf-8", 200 if healthy else 503)

    async def log_in(self, call: Call) -> Reply:
        """A code, or a password, for a cookie."""
        by = "password" if call.body.password else "code"
        try:
            if by == "code":
                cookie, session = self.access.log_in(call.body.code, call.source, call.now)
            else:
                cookie, session = await self._by_password(call)
        except Refused as refused:
            self.audit.note(call, "login refused", reason=refused.reason)
            if refused.retry:
                problem = Problem(429, "Too many requests", "too many log-ins: wait")
                problem.headers["Retry-After"] = str(int(refused.retry) + 1)
                raise problem from None
            more = ": make a new one" if by == "code" else ""
            raise Problem(403, "Forbidden", f"the {by} is {refused.reason}{more}") from None
        self.audit.note(replace(call, who="a person"), "logged in", by=by, role=session.role.name.lower())
        answer = values.LoggedIn(role=session.role.name.lower(), csrf=session.csrf)
        return Reply(answer.encoded(), headers=[("Set-Cookie", self._cookie(cookie))])

    async def _by_password(self, call: Call) -> tuple[str, Session]:
        # Also where none is set: who asks learns by trying no more than the page tells.
        self.access.try_password(call.source, call.now)
        try:
            right = await self.passwords.check(call.body.password)
        except (Busy, P2PFrameError):
            self.access.turned_away("password_checks")
            raise Problem(503, "Service unavailable", "too many passwords are being checked: try again") from None
        if not right:
            raise Refused("wrong")
        return self.access.password_was_right(call.source, call.now)

    def log_out(self, call: Call) -> Reply:
        """The cookie is good for nothing from now on."""
        if call.session is not None:
            self.access.end(call.session)
            self.audit.note(call, "logged out")
        return Reply(status=204, content_type="", headers=[("Set-Cookie", self._cookie(""))])

    # --- looking ---

    def metrics(self, call: Call) -> Reply:
        """For Prometheus."""
        return Reply(self.view.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    def node(self, call: Call) -> values.Node:
        """At a glance."""
        reasons = self.alerts.reasons()
        return values.Node(
            version=self.version,
            now=call.now,
            uptime=self.context.reactor.seconds() - self._began,
            lag=self.view.numbers().get("p2pframe_reactor_lag_seconds", {}).get(("",)),
            healthy=not reasons,
            reasons=reasons,
            alerts=self._alerts(),
            networks=[rows.network(one) for one in self.view.networks()],
            cards=self.cards.now(),
            near=self.near(),
        )

    def all_alerts(self, call: Call) -> values.Alerts:
        """With the last that are over."""
        return values.Alerts(alerts=self._alerts(), past=[rows.past_alert(one) for one in self.alerts.over()])

    def _alerts(self) -> list[values.Alert]:
        clock = self.context.reactor.seconds()
        return [rows.alert(one, clock) for one in self.alerts.held()]

    def peers(self, call: Call) -> values.Peers:
        """A page of them."""
        wanted = call.query.network
        if wanted is not None and wanted not in {one.name for one in self.view.networks()}:
            raise no_network(wanted)
        found, more = self.sessions_of(call)
        now = self.context.reactor.seconds()
        return values.Peers(peers=[rows.peer(one, now) for one in found], next=more)

    def sessions_of(self, call: Call) -> tuple[Sequence[SessionSnapshot], str | None]:
        """In the order of networks and ids: a cursor stays good while sessions come and go. And the next one."""
        after = _cursor(call.query.cursor)
        found = sorted(self.view.sessions(call.query.network), key=lambda one: (one.network, one.id))
        rest = [one for one in found if after is None or [one.network, one.id] > after]
        page = rest[: call.query.limit]
        return page, _next([page[-1].network, page[-1].id]) if len(rest) > len(page) else None

    def peer(self, call: Call) -> values.Peer:
        """One session."""
        network, id = self.session_of(call)
        found = self.view.story(network, id)
        if found is None or found.ended is not None:
            raise no_session(network, id)
        return rows.peer(found.session, self.context.reactor.seconds())

    def bans(self, call: Call) -> values.Penalties:
        """A page of them."""
        cursor, limit = _cursor(call.query.cursor), call.query.limit
        offset = cursor[0] if cursor else 0
        found = self.view.penalties(offset, limit + 1)
        more = _next([offset + limit]) if len(found) > limit else None
        return values.Penalties(penalties=[rows.penalty(one) for one in found[:limit]], next=more)

    def events(self, call: Call) -> values.Events:
        """Those that are still kept."""
        cursor = _cursor(call.query.cursor)
        found = self.view.events(place(cursor[0], self.view.latest(1)) if cursor else 0, call.query.limit)
        more = _next([found[-1].number]) if len(found) == call.query.limit else None
        return values.Events(events=[rows.event(one) for one in found], next=more)

    def config(self, call: Call) -> values.Config:
        """With defaults."""
        settings = [rows.setting(one) for one in self.view.settings()]
        return values.Config(config=dict(self.view.config()), settings=settings, changed=dict(self.view.changed()))

    def plugins(self, call: Call) -> values.Plugins:
        """In the order in which they were built."""
        return values.Plugins(plugins=[rows.plugin(one) for one in self.view.plugins()])

    def history(self, call: Call) -> values.History:
        """Since the start."""
        found: list[values.Version] = []
        # Each has to begin with what the one before it has left. The file read again in between takes back all of it.
        left: Mapping[str, values.Plain] | None = self.view.changed()
        for one in reversed(self._versions):
            undoable = one.changed == left
            left = one.before if undoable else None
            found.append(one.model_copy(update={"undoable": undoable}))
        return values.History(versions=found[::-1])

    def plugin_pages(self, call: Call) -> values.PluginPages:
        """In the order of the configuration."""
        return values.PluginPages(pages=self.plugin_page_names())

    def plugin_page_names(self) -> list[values.PageName]:
        """Of two with one name the first."""
        found = {}
        for label, plugin in self.view.providers(IAdminPage):
            name = str(plugin.page_name)
            if _PAGE.match(name) and name not in found:
                found[name] = values.PageName(name=name, title=str(plugin.page_title)[:100], plugin=label)
        return list(found.values())

    def plugin_page(self, call: Call) -> values.PluginPage:
        """Values only; what a plugin gives too much of is left out."""
        for label, plugin in self.view.providers(IAdminPage):
            if str(plugin.page_name) == call.path["name"]:
                try:
                    tables = [rows.table(one) for one in list(plugin.page())[: rows.TABLES]]
                    return values.PluginPage(title=str(plugin.page_title)[:100], plugin=label, tables=tables)
                except Exception:  # noqa: BLE001 - a plugin's mistake is told with its name
                    _log.failure("{plugin} could not make its page", plugin=label)
                    raise Problem(500, "Internal error", f"{label} could not make its page: the log says why") from None
        raise Problem(404, "Not found", "no plugin has such a page")

    async def check(self, call: Call) -> values.Changed:
        """Nothing is changed."""
        return values.Changed(differences=list(await self._change(call.body.values, True, call.body.based_on)))

    async def apply(self, call: Call) -> values.Changed:
        """In place of all that was set here before."""
        return await self._applied(call, call.body.values, "config changed")

    async def roll_back(self, call: Call) -> values.Changed:
        """To what was set before that change."""
        number = call.body.number
        version = next((one for one in self.history(call).versions if one.number == number), None)
        if version is None:
            raise Problem(404, "Not found", f"there is no change {number} in the history")
        if not version.undoable:
            raise Problem(409, "Conflict", f"change {number} can't be undone: the file was read again after it")
        return await self._applied(call, version.before, "config rolled back")

    async def _applied(self, call: Call, wanted: Mapping[str, values.Plain], what: str) -> values.Changed:
        # Others, and the file, may be before us in the queue: `before` is what was set, or nothing is done.
        before = self.view.changed() if call.body.based_on is None else call.body.based_on
        differences = [text.removeprefix("changed: ") for text in await self._change(wanted, False, before)]
        if not differences and wanted == before:
            return values.Changed(differences=differences)
        self._number += 1
        self._versions.append(
            values.Version(
                number=self._number, time=call.now, who=call.who, differences=differences,
                before=dict(before), changed=dict(wanted), undoable=True,
            )
        )  # fmt: skip
        self.audit.note(call, what, differences="; ".join(differences))
        return values.Changed(differences=differences)

    async def _change(
        self, wanted: Mapping[str, object], dry: bool, based_on: Mapping[str, object] | None
    ) -> Sequence[str]:
        try:
            return await self.control.change(wanted, dry, based_on)
        except ConfigError as error:
            errors = [{"where": one.path, "what": one.message} for one in error.problems[:20]]
            raise Problem(422, "Unprocessable content", "see `errors`", errors=errors) from None
        except P2PFrameError as error:
            raise Problem(409, "Conflict", str(error)) from None

    def audited(self, call: Call) -> values.Events:
        """The latest changes."""
        cursor = _cursor(call.query.cursor)
        # A number that is still to come is of the time before a restart: all that is kept is new.
        after = cursor[0] if cursor and cursor[0] <= self.audit.newest else 0
        found = self.audit.since(after, call.query.limit)
        full = len(found) == call.query.limit
        return values.Events(events=list(found), next=_next([found[-1].number]) if full else None)

    def description(self, call: Call) -> Reply:
        """Made of the routes themselves."""
        if self._description is None:
            # It takes 60 ms, and the routes are what they are.
            self._description = document(self.described, self.version)
        return Reply(self._description)

    def stream(self, call: Call) -> Streaming:
        """Events as they come; who reads too slowly is ended, and goes on where it was."""
        self.streams.check()
        last = resumed(call)
        return Streaming(lambda request: self.streams.begin(request, self._happening, last).end)

    # --- doing ---

    def peer_of(self, network: str, id: SessionId) -> str:
        """Whom a session is with, for the audit log: ids begin at 1 again with each start. Empty where it has ended."""
        session = self.view.session(network, id)
        return "" if session is None else str(session.address)

    def disconnect(self, call: Call) -> None:
        """End it."""
        network, id = self.session_of(call)
        peer = self.peer_of(network, id)
        if not self.control.disconnect(network, id, call.body.reason):
            raise no_session(network, id)
        self.audit.note(call, "disconnected", network=network, session=id, peer=peer, reason=call.body.reason)

    def protect(self, call: Call) -> None:
        """Never evict it, or do."""
        network, id = self.session_of(call)
        if not self.control.protect(network, id, call.body.protected):
            raise no_session(network, id)
        peer = self.peer_of(network, id)
        self.audit.note(call, "protected", network=network, session=id, peer=peer, protected=call.body.protected)

    async def connect(self, call: Call) -> values.Connected:
        """Dial; answers when the session is open."""
        network = call.body.network
        if network not in {one.name for one in self.view.networks()}:
            raise _no_network(network)
        try:
            address = PeerAddress.parse(call.body.address)
        except ValueError as error:
            raise Problem(422, "Unprocessable content", str(error)) from None
        self.audit.note(call, "connect", network=network, to=str(address))
        try:
            id = await self.control.connect(network, address)
        except P2PFrameError as error:
            raise Problem(409, "Conflict", str(error)) from None
        return values.Connected(network=network, id=id)

    async def ban(self, call: Call) -> None:
        """Keep out."""
        wanted = call.body
        try:
            banning = self.control.ban(wanted.subject, wanted.duration, wanted.reason, wanted.scope)
        except ValueError as error:
            raise Problem(422, "Unprocessable content", str(error)) from None
        await banning
        self.audit.note(
            call, "banned", subject=wanted.subject, scope=wanted.scope, seconds=wanted.duration, reason=wanted.reason
        )

    async def unban(self, call: Call) -> None:
        """Let in."""
        try:
            lifting = self.control.unban(call.body.subject, call.body.scope)
        except ValueError as error:
            raise Problem(422, "Unprocessable content", str(error)) from None
        if not await lifting:
            raise Problem(404, "Not found", f"{call.body.subject} is not banned in {call.body.scope}")
        self.audit.note(call, "unbanned", subject=call.body.subject, scope=call.body.scope)

    def session_of(self, call: Call) -> tuple[str, SessionId]:
        """The network and the id that a path names; whether there is such a session is another question."""
        network, text = call.path["network"], call.path["id"]
        if network not in {one.name for one in self.view.networks()}:
            raise _no_network(network)
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Problem(404, "Not found", "the id of a session is a number")
        return network, SessionId(int(text))


_PAGE = re.compile(r"[a-z0-9-]{1,40}\Z")
_HISTORY = 100
"""Changes of the configuration that can be undone."""


def _next(place: list[Any]) -> str:
    return json.dumps(place, separators=(",", ":"))


def _cursor(text: str | None) -> list[Any] | None:
    """Its form is the query's to check."""
    place: list[Any] | None = None if text is None else json.loads(text)
    return place


def _told(event: Event) -> tuple[str, bytes]:
    return event.kind, rows.event(event).encoded()


def _no_network(name: str) -> Problem:
    return Problem(404, "Not found", f"there is no network {name[:100]!r}")


def no_session(network: str, id: int) -> Problem:
    """There is none."""
    return Problem(404, "Not found", f"there is no session {id} in {network}")
