"""What the parts of the admin have in common: each shows one thing, in the API and on a page of the same values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jinja2

from p2pframe.admin import words
from p2pframe.admin.access import Role
from p2pframe.admin.routes import Call, Closed, Problem, Reply, Route

HTML = "text/html; charset=utf-8"
MENU = (
    ("/", "Overview"), ("/peers", "Peers"), ("/propagation", "Propagation"), ("/addresses", "Discovery"),
    ("/topology", "Topology"), ("/bans", "Bans"), ("/events", "Events"),
    ("/config", "Config"),
)  # fmt: skip


class Section(Protocol):
    """One part of the admin."""

    def routes(self) -> Sequence[Route]:
        """What it answers: of the API, and its pages."""


class Maker:
    """Makes pages out of templates. `more` gives the addresses and titles of pages that are not ours."""

    def __init__(self, more: Callable[[], Mapping[str, str]]) -> None:
        self._more = more
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("p2pframe.admin"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters.update(words.FILTERS)

    def made(self, template: str, call: Call, section: str, **values: object) -> Reply:
        """A page of a template; `section` is the address in the menu that it is under."""
        session = call.session
        # Who is not logged in is not told what the node has.
        more = self._more() if call.role is not None else {}
        text = self._templates.get_template(template).render(
            menu=[*MENU, *more.items()], section=section, csrf=session.csrf if session is not None else "",
            may_change=call.role is not None and call.role >= Role.OPERATOR, now=call.now, **values,
        )  # fmt: skip
        return Reply(text.encode("utf-8", "replace"), HTML)

    def page(
        self,
        path: str,
        summary: str,
        handler: Callable[[Call], Reply],
        query: type[Closed] | None = None,
        role: Role | None = Role.VIEWER,
    ) -> Route:
        """A page: what a person asked for and is not there is told on a page too, not in JSON."""

        def shown(call: Call) -> Reply:
            try:
                return handler(call)
            except Problem as problem:
                text: Any = problem.detail or problem.title
                reply = self.made(
                    "problem.html", call, "/" + path.split("/")[1], title=problem.title, detail=text
                )  # fmt: skip
                reply.status = problem.status
                return reply

        return Route("GET", path, role, summary, shown, query, content_type="text/html", page=True)
