"""What a request brings, read by closed models: its headers, its query and its body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from twisted.web.http import Request

from p2pframe.admin.routes import Closed, Problem, Route

CSRF = "x-csrf-token"
"""The header that goes with each change of a session."""
_ONCE = frozenset({"host", "origin", "sec-fetch-site", "authorization", "cookie", "content-type", CSRF})
"""Headers that decide: of two of them another server on the way may have believed the other one."""


def headers_of(request: Request) -> dict[str, str]:
    """By their names in small letters. Raises `Problem` where one that decides is there twice."""
    headers = {}
    for raw, values in request.requestHeaders.getAllRawHeaders():
        name = raw.decode("latin-1").lower()
        if len(values) > 1 and name in _ONCE:
            raise Problem(400, "Bad request", f"the header {name} is there twice")
        if values:
            headers[name] = values[0].decode("latin-1")
    return headers


def query_of(route: Route, text: str) -> Closed | None:
    """What is after the question mark, as the route's model has it. Raises `Problem`."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=50)
    except ValueError:
        raise Problem(400, "Bad request", "the query is not of the form name=value&name=value") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Problem(400, "Bad request", "a name is in the query twice")
    if route.query is None:
        if given:
            raise Problem(400, "Bad request", "this takes no query")
        return None
    try:
        return route.query.model_validate_strings(given)
    except ValidationError as error:
        raise _invalid(error) from None


def body_of(route: Route, headers: Mapping[str, str], request: Any) -> Closed | None:
    """What it brings, as the route's model has it. Raises `Problem`."""
    data = request.content.read() if request.content is not None else b""
    if route.body is None:
        if data:
            raise Problem(400, "Bad request", "this takes no body")
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "Unsupported media type", "send application/json")
    try:
        json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Problem(400, "Bad request", "the body is no JSON, or names something twice") from None
    try:
        # A number in quotes is no number: what is described is what is taken.
        return route.body.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _invalid(error) from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _invalid(error: ValidationError) -> Problem:
    """What is wrong with what came, without what came: it may be a secret."""
    errors: Sequence[dict[str, str]] = [
        {"where": ".".join(map(str, one["loc"])), "what": one["msg"]}
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    return Problem(422, "Unprocessable content", "see `errors`", errors=errors)
