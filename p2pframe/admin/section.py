"""What the parts of the admin have in common: each shows one thing, in the API and on a page of the same values."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Protocol

import jinja2
from markupsafe import Markup, escape

from p2pframe.admin import words
from p2pframe.admin.access import Role
from p2pframe.admin.rendering import Made, Rendering
from p2pframe.admin.routes import Call, Closed, Problem, Reply, Route
from p2pframe.visible import visible_lines

HTML = "text/html; charset=utf-8"
MENU = (
    ("/", "Overview"), ("/peers", "Peers"), ("/propagation", "Propagation"), ("/addresses", "Discovery"),
    ("/topology", "Topology"), ("/bans", "Bans and limits"), ("/events", "Events"), ("/logs", "Logs"),
    ("/captures", "Captures"), ("/config", "Config"),
)  # fmt: skip


FOR_OPERATORS = frozenset({"/captures"})
"""Those that a viewer is not led to, and may not see."""


class Section(Protocol):
    """One part of the admin."""

    def routes(self) -> Sequence[Route]:
        """What it answers: of the API, and its pages."""


def exact(value: object) -> Markup:
    """For what a form or a button gives back to the node: with what is spelled out elsewhere on a page as it is."""
    return Markup(re.sub("[^ -~]", lambda one: f"&#{ord(one[0])};", escape(value)))


class Maker:
    """Makes pages out of templates. `more` gives the addresses and titles of pages that are not ours.

    `mark` stands for the token against forged changes until a page goes to a session: nobody can guess it.
    """

    def __init__(self, more: Callable[[], Mapping[str, str]], rendering: Rendering, mark: str) -> None:
        self._more = more
        self._rendering = rendering
        self._mark = mark
        # Read now, compiled (a few hundred milliseconds in all) as each is asked for: an upgrade of what is installed
        # mixes no new template with a node that runs.
        self._templates = jinja2.Environment(
            loader=jinja2.DictLoader(_texts()), auto_reload=False, autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters.update(words.FILTERS, exact=exact)

    def made(self, template: str, call: Call, section: str, **values: object) -> Made:
        """A page of a template; `section` is the address in the menu that it is under.

        It is the same for all who have the role of who asks: nothing else of the call may be on it.
        """
        # Who is not logged in is not told what the node has.
        more = self._more() if call.role is not None else {}
        may_change = call.role is not None and call.role >= Role.OPERATOR
        menu = [one for one in MENU if may_change or one[0] not in FOR_OPERATORS]
        return Made(
            self._templates.get_template(template).generate(
                menu=[*menu, *more.items()], section=section, csrf=self._mark if call.session is not None else "",
                may_change=may_change, known=call.role is not None, now=call.now, **values,
            )
        )  # fmt: skip

    def page(
        self,
        path: str,
        summary: str,
        handler: Callable[[Call], Made],
        query: type[Closed] | None = None,
        role: Role | None = Role.VIEWER,
    ) -> Route:
        """A page: what a person asked for and is not there is told on a page too, not in JSON."""

        def begin(call: Call) -> Made:
            try:
                return handler(call)
            except Problem as problem:
                return self._problem(problem, call, "/" + path.split("/")[1])

        def answer(call: Call) -> Awaitable[Reply]:
            return self._shown(path, call, lambda: begin(call))

        return Route("GET", path, role, summary, answer, query, content_type="text/html", page=True)

    def refused(self, problem: Problem, call: Call) -> Reply:
        """What the server itself has to refuse, on a page: there is no more of it than of a screen."""
        text = visible_lines("".join(self._problem(problem, call, "").pieces))
        return Reply(self._for_session(text, call), HTML, problem.status)

    def _problem(self, problem: Problem, call: Call, section: str) -> Made:
        made = self.made(
            "problem.html", call, section, title=problem.title, detail=problem.detail or problem.title,
            errors=problem.more.get("errors", ()),
        )  # fmt: skip
        made.status = problem.status
        return made

    def _for_session(self, text: str, call: Call) -> bytes:
        text = text.replace(self._mark, call.session.csrf) if call.session is not None else text
        return text.encode("utf-8", "replace")

    async def _shown(self, path: str, call: Call, begin: Callable[[], Made]) -> Reply:
        key = (
            path, tuple(sorted(call.path.items())), call.query.model_dump_json() if call.query is not None else "",
            call.role, call.session is not None,
        )  # fmt: skip
        rendering = self._rendering
        if "x-refresh" not in call.headers:
            shown = await rendering.opened(key, begin, call.role)
            headers = []
        else:
            shown = await rendering.refreshed(key, begin, call.role)
            headers = [("X-Refresh-After", f"{rendering.after(key, call.role):.1f}")]
            if call.headers.get("if-none-match") == shown.tag:
                return Reply(status=304, content_type="", headers=headers)
        headers.append(("ETag", shown.tag))
        return Reply(self._for_session(shown.text, call), HTML, shown.status, headers)


def _texts() -> dict[str, str]:
    folder = files("p2pframe.admin") / "templates"
    return {one.name: one.read_text("utf-8") for one in folder.iterdir() if one.name.endswith(".html")}


def no_network(name: str) -> Problem:
    """What is asked of a network that there is not."""
    return Problem(404, "Not found", f"there is no network {name[:100]!r}")
