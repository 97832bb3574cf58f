"""What a request may ask for: routes as data, from which the dispatcher, OpenAPI and the tests of roles are made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError

from p2pframe.admin.access import Role, Session


class Closed(BaseModel):
    """A query, a body or an answer: nothing in it but what its model names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def encoded(self) -> bytes:
        """As JSON."""
        try:
            return self.model_dump_json().encode()
        except PydanticSerializationError:
            # Half a surrogate pair, which a peer may have said in JSON of its own, has no UTF-8: it is told escaped.
            return json.dumps(self.model_dump()).encode()


class Problem(Exception):
    """What a request is refused with (RFC 9457): the status, what that is in general, and what it is here."""

    def __init__(self, status: int, title: str, detail: str = "", **more: object) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.more = more
        self.headers: dict[str, str] = {}


@dataclass(slots=True)
class Call:
    """One request, as far as a handler has to know it. `who` is for the audit log: a person, or the name of a token."""

    path: Mapping[str, str]
    query: Any
    body: Any
    who: str
    role: Role | None
    session: Session | None
    source: str
    now: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Reply:
    """What a handler gives where a model is not all: a body of another type, headers, another status."""

    body: bytes = b""
    content_type: str = "application/json"
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()


Handler = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked for.

    `path` has its parameters in braces. `role` is the least that may ask, None: anybody who reaches the port. `answer`
    is the model of what comes back, `content_type` what it is where it is no model; who is not logged in is
    led from `page` ones to where that is done.
    """

    method: str
    path: str
    role: Role | None
    summary: str
    handler: Handler
    query: type[Closed] | None = None
    body: type[Closed] | None = None
    answer: type[Closed] | None = None
    content_type: str = "application/json"
    status: int = 200
    page: bool = False
    refusals: Sequence[int] = ()

    @property
    def names(self) -> list[str]:
        """Of its parameters, in order."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD")


class Routes:
    """All of them. Raises ValueError where two are the same."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.all = list(routes)
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_path.setdefault(route.path, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is there twice")
            methods[route.method] = route
        for path, methods in by_path.items():
            if "{" in path:
                parts = re.split(r"{(\w+)}", path)
                pattern = "".join(
                    f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)
                )
                self._patterns.append((re.compile(pattern + r"\Z"), methods))
            else:
                self._exact[path] = methods

    def for_anybody(self, method: str, path: str) -> bool:
        """Whether that takes no role: what is not there takes one, as it were."""
        try:
            return self.find(method, path)[0].role is None
        except Problem:
            return False

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route for a path as it came, still quoted, and its parameters. Raises `Problem`."""
        methods, parameters = self._exact.get(path), {}
        if methods is None:
            for pattern, found in self._patterns:
                match = pattern.match(path)
                if match is not None:
                    methods = found
                    # A quoted slash is part of the parameter: no path is ever looked up on disk.
                    parameters = {name: unquote(value, errors="replace") for name, value in match.groupdict().items()}
                    break
        if methods is None:
            raise Problem(404, "Not found", f"there is nothing at {path[:200]}")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            problem = Problem(405, "Method not allowed", f"{method[:20]} can't be used on {path[:200]}")
            problem.headers["Allow"] = ", ".join(sorted(methods))
            raise problem
        return route, parameters

