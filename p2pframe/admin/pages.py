"""The pages: made on the server out of what the API says, so that a page and a script never see different things."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import Field

from p2pframe.admin import rows, values
from p2pframe.admin.api import Api
from p2pframe.admin.rendering import Lazily, Made
from p2pframe.admin.routes import Call, Problem, Reply, Route
from p2pframe.admin.section import Maker
from p2pframe.model import SessionId

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class Pages:
    """The handlers of pages and of what they load."""

    def __init__(self, api: Api, maker: Maker) -> None:
        self._api = api
        self._made = maker.made
        self._page = maker.page
        folder = files("p2pframe.admin") / "static"
        self._static = {one.name: one.read_bytes() for one in folder.iterdir() if "." in one.name}

    def routes(self) -> Sequence[Route]:
        """All of them."""

        page = self._page
        return [
            page("/", "The overview.", self.overview),
            page("/login", "Where to log in.", self.login, role=None),
            page("/peers", "The peers.", self.peers, _PeersQuery),
            page("/events", "Events.", self.events),
            page("/config", "The configuration.", self.config),
            page("/pages/{name}", "A plugin's page.", self.plugin),
            Route("GET", "/static/{name}", None, "What the pages load.", self.static, content_type="", page=False),
        ]

    def login(self, call: Call) -> Made:
        """The code is in the fragment of the link, which no server and no log ever sees."""
        return self._made("login.html", call, "/login", title="Log in", password=self._api.passwords.is_set)

    def overview(self, call: Call) -> Made:
        """Healthy or not, and why not."""
        past = self._api.all_alerts(call).past[:_PAST]
        return self._made("overview.html", call, "/", title="Overview", node=self._api.node(call), past=past)

    def peers(self, call: Call) -> Made:
        """A table of all; a filter and the order are the page's own."""
        found, more = self._api.sessions_of(call)
        now = self._api.context.reactor.seconds()
        peers = Lazily(found, lambda one: rows.peer(one, now))
        return self._made(
            "peers.html", call, "/peers", title="Peers", peers=peers, more=more, networks=self._networks(),
            all=call.query.columns == "all",
        )  # fmt: skip

    def events(self, call: Call) -> Made:
        """The latest first."""
        return self._made("events.html", call, "/events", title="Events", events=self._latest(500))

    def config(self, call: Call) -> Made:
        """As it is in force, and as the file would say it."""
        config = self._api.config(call)
        plain = json.loads(json.dumps(config.config, default=str))
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
        return self._made(
            "config.html", call, "/config", title="Config", text=text, settings=config.settings,
            changed=config.changed, versions=self._api.history(call).versions,
            plugins=self._api.plugins(call).plugins,
            audited=self._api.audit.changes(_AUDITED), entered=self._api.audit.access(_ENTERED),
        )  # fmt: skip

    def plugin(self, call: Call) -> Made:
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

    def _latest(
        self, limit: int, network: str | None = None, session: SessionId | None = None
    ) -> list[values.Happened]:
        return [rows.event(one) for one in self._api.view.latest(limit, network, session)]

    def _networks(self) -> list[str]:
        return [one.name for one in self._api.view.networks()]


_AUDITED, _ENTERED = 100, 20
"""Lines of the audit log that the page of the configuration shows: changes, and log-ins."""


class _PeersQuery(values.PeersQuery):
    """All that may be had at once: the page sorts and filters what it has."""

    limit: int = Field(1000, ge=1, le=1000)
    columns: Literal["first", "all"] = "first"


_PAST = 10
"""Alerts that are over which the overview shows."""
