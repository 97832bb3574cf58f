"""The pages: made on the server out of what the API says, so that a page and a script never see different things."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
import yaml

from p2pframe.admin import values
from p2pframe.admin.access import Role
from p2pframe.admin.api import Api
from p2pframe.admin.graph import SIZE, neighbourhood, netgroups
from p2pframe.admin.routes import Call, Problem, Reply, Route

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_HTML = "text/html; charset=utf-8"
MENU = (
    ("/", "Overview"), ("/peers", "Peers"), ("/propagation", "Propagation"), ("/addresses", "Discovery"),
    ("/topology", "Topology"), ("/bans", "Bans"), ("/events", "Events"),
    ("/config", "Config"),
)  # fmt: skip


class Pages:
    """The handlers of pages and of what they load."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("p2pframe.admin"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters.update(
            duration=duration, amount=amount, milliseconds=milliseconds, utc=utc, words=words, tone=tone, short=short,
            plain=plain, host=host, sentence=sentence, segment=segment,
        )  # fmt: skip
        folder = files("p2pframe.admin") / "static"
        self._static = {one.name: one.read_bytes() for one in folder.iterdir() if "." in one.name}

    def routes(self) -> Sequence[Route]:
        """All of them."""

        def page(path: str, summary: str, handler: Any, query: Any = None, role: Role | None = Role.VIEWER) -> Route:
            shown = self._with_problems(handler, "/" + path.split("/")[1])
            return Route("GET", path, role, summary, shown, query, content_type="text/html", page=True)

        return [
            page("/", "The overview.", self.overview),
            page("/login", "Where to log in.", self.login, role=None),
            page("/peers", "The peers.", self.peers, _PeersQuery),
            page("/peers/{network}/{id}", "One peer.", self.peer),
            page("/propagation", "How items spread.", self.propagation),
            page("/addresses", "Discovery and addresses.", self.addresses),
            page("/topology", "The node's neighbourhood, drawn.", self.topology),
            page("/bans", "Bans.", self.bans),
            page("/events", "Events.", self.events),
            page("/config", "The configuration.", self.config),
            page("/pages/{name}", "A plugin's page.", self.plugin),
            Route("GET", "/static/{name}", None, "What the pages load.", self.static, content_type="", page=False),
        ]

    def login(self, call: Call) -> Reply:
        """The code is in the fragment of the link, which no server and no log ever sees."""
        return self._made("login.html", call, "/login", title="Log in")

    def overview(self, call: Call) -> Reply:
        """Healthy or not, and why not."""
        return self._made("overview.html", call, "/", title="Overview", node=self._api.node(call))

    def peers(self, call: Call) -> Reply:
        """A table of all; a filter and the order are the page's own."""
        found, networks = self._api.peers(call), self._networks()
        return self._made(
            "peers.html", call, "/peers", title="Peers", peers=found.peers, more=found.next, networks=networks
        )

    def peer(self, call: Call) -> Reply:
        """One of them, with what happened to it."""
        peer = self._api.peer(call)
        about = [one for one in self._latest(call) if one.session == peer.id and one.network == peer.network]
        return self._made("peer.html", call, "/peers", title=peer.address, peer=peer, events=about[:100])

    def addresses(self, call: Call) -> Reply:
        """Where addresses come from."""
        node = self._api.node(call)
        rows = {}
        for network in node.networks:
            query = values.AddressesQuery(limit=_ADDRESSES)
            asked = Call({"network": network.name}, query, None, call.who, call.role, None, call.source, call.now)
            rows[network.name] = self._api.addresses(asked).addresses
        most = _ADDRESSES
        return self._made("addresses.html", call, "/addresses", title="Discovery", node=node, rows=rows, most=most)

    def propagation(self, call: Call) -> Reply:
        """The latest items of each network."""
        query = values.SpreadsQuery(limit=100)
        networks = {
            one.name: self._api.spreads(
                Call({"network": one.name}, query, None, call.who, call.role, None, call.source, call.now)
            ).spreads
            for one in self._api.view.networks()
        }
        return self._made("propagation.html", call, "/propagation", title="Propagation", networks=networks)

    def topology(self, call: Call) -> Reply:
        """A drawing, and the same in words."""
        query = values.PeersQuery(limit=1000)
        peers = self._api.peers(Call({}, query, None, call.who, call.role, None, call.source, call.now)).peers
        dots, groups = neighbourhood(peers), netgroups(peers)
        return self._made("topology.html", call, "/topology", title="Topology", dots=dots, groups=groups, size=SIZE)

    def bans(self, call: Call) -> Reply:
        """Who is kept out."""
        penalties = self._api.bans(call).penalties
        return self._made("bans.html", call, "/bans", title="Bans", penalties=penalties, networks=self._networks())

    def events(self, call: Call) -> Reply:
        """The latest first."""
        return self._made("events.html", call, "/events", title="Events", events=self._latest(call)[:500])

    def config(self, call: Call) -> Reply:
        """As it is in force, and as the file would say it."""
        config = self._api.config(call)
        plain = json.loads(json.dumps(config.config, default=str))
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
        return self._made(
            "config.html", call, "/config", title="Config", text=text, settings=config.settings,
            changed=config.changed, versions=self._api.history(call).versions,
        )  # fmt: skip

    def plugin(self, call: Call) -> Reply:
        """What a plugin has to show: its values, in a page of ours."""
        page = self._api.plugin_page(call)
        return self._made("plugin.html", call, f"/pages/{call.path['name']}", title=page.title, page=page)

    def static(self, call: Call) -> Reply:
        """A file of ours, by its name: nothing is looked up on disk."""
        name = call.path["name"]
        body = self._static.get(name)
        kind = _TYPES.get(name.rpartition(".")[2])
        if body is None or kind is None:
            raise Problem(404, "Not found", "there is no such file")
        return Reply(body, kind, headers=[("Cache-Control", "no-cache")])

    def _latest(self, call: Call) -> list[values.Happened]:
        query = values.EventsQuery(limit=1000)
        found: list[values.Happened] = []
        cursor: str | None = None
        while True:
            asked = Call({}, query.model_copy(update={"cursor": cursor}), None, call.who, call.role, None, "", call.now)
            page = self._api.events(asked)
            found += page.events
            cursor = page.next
            if cursor is None or len(found) >= _MOST:
                return found[::-1]

    def _networks(self) -> list[str]:
        return [one.name for one in self._api.view.networks()]

    def _with_problems(self, handler: Callable[[Call], Reply], section: str) -> Callable[[Call], Reply]:
        """What a person asked for and is not there is told on a page, not in JSON."""

        def shown(call: Call) -> Reply:
            try:
                return handler(call)
            except Problem as problem:
                text = problem.detail or problem.title
                reply = self._made("problem.html", call, section, title=problem.title, detail=text)
                reply.status = problem.status
                return reply

        return shown

    def _made(self, template: str, call: Call, section: str, **values: object) -> Reply:
        session = call.session
        # Who is not logged in is not told what the node has.
        more = self._api.plugin_pages(call).pages if call.role is not None else []
        menu = [*MENU, *((f"/pages/{one.name}", one.title) for one in more)]
        text = self._templates.get_template(template).render(
            menu=menu, section=section, csrf=session.csrf if session is not None else "",
            may_change=call.role is not None and call.role >= Role.OPERATOR, now=call.now, **values,
        )  # fmt: skip
        return Reply(text.encode("utf-8", "replace"), _HTML)


class _PeersQuery(values.PeersQuery):
    """All that may be had at once: the page sorts and filters what it has."""

    limit: int = 1000


_ADDRESSES = 200
"""Addresses of a network that one page shows."""
_MOST = 20_000
"""Events that one page looks through."""


def duration(seconds: float | None) -> str:
    """`3 d 4 h`, `5 min`, `12 s`, `-` for None."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for size, name, smaller, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {small_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def amount(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def milliseconds(seconds: float | None) -> str:
    """A round trip."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def utc(seconds: float) -> str:
    """A time, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_KINDS = {
    "session.opened": ("connected", "good"),
    "session.closed": ("disconnected", ""),
    "peer.refused": ("refused", "warn"),
    "peer.judged": ("judged", ""),
    "peer.banned": ("banned", "bad"),
    "peer.unbanned": ("let in again", "good"),
}


def words(kind: str) -> str:
    """A kind of event as people say it; one that we don't know as it is."""
    return _KINDS.get(kind, (kind, ""))[0]


def tone(kind: str) -> str:
    """Its class in the style sheet."""
    return _KINDS.get(kind, (kind, ""))[1]


def plain(value: object) -> str:
    """A value of a protocol's status: yes and no, numbers with their thousands apart."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else short(value)


def short(value: object) -> str:
    """A field of an event: no more digits than mean anything."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(one)}" for name, one in value.items())
    return str(value)


def host(address: str) -> str:
    """An address without its port, as a ban takes it."""
    before, _, port = address.rpartition(":")
    return before.strip("[]") if before and port.isdigit() else address


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def segment(text: str) -> str:
    """For one segment of a path."""
    return quote(text, safe="")
