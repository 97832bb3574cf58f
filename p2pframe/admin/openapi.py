"""The API described by OpenAPI 3.1, made of the routes themselves: what is not described can't be asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from p2pframe.admin.access import Role
from p2pframe.admin.routes import Closed, Route

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_WORDS = {
    400: "The request is not of the right form.",
    401: "Not logged in.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "It could not be done.",
    413: "Too large.",
    415: "Not JSON.",
    421: "Not called by a name of this node.",
    422: "Values that can't be.",
    429: "Too many requests, or tries to log in.",
    500: "A mistake of p2pframe's or a plugin's: the log says more.",
    503: "Not now.",
}


_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to say who one is."}},
    429: {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds to wait."}},
}
_INTRODUCTION = """\
Everything that the admin's pages show and do. A script sends a token (`Authorization: Bearer`); a person's session is a
cookie, and with it each change takes the header X-CSRF-Token. Times are unix seconds, ages and round trips seconds,
sizes bytes. Lists come in pages: `next` is the `cursor` of the following one, null on the last."""


def document(routes: Sequence[Route], version: str) -> bytes:
    """The description, as JSON. Pages are not part of it."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if is_described(route):
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "p2pframe admin",
            "version": version,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "p2pframe-NODE",
                    "description": "NODE are eight characters that differ from node to node: see Set-Cookie of login.",
                },
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "`csrf` of login."},
            },
        },
    }
    return json.dumps(whole).encode()


def is_described(route: Route) -> bool:
    """Whether it is part of the API: pages, and what they load, are not."""
    return not route.page and not route.path.startswith("/static")


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {str(route.status): _answer(route, schemas)}
    for code in sorted(_refusals(route)):
        problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[str(code)] = {"description": _WORDS[code], "content": problem}
        if code in _HEADERS:
            answers[str(code)]["headers"] = _HEADERS[code]
    if route.path == "/readyz":
        answers["503"] = answers["200"] | {"description": "It is not."}
    session: dict[str, list[str]] = {"session": [], "csrf": []} if route.writes else {"session": []}
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "responses": answers,
        "security": [] if route.role is None else [{"token": []}, session],
        "x-role": None if route.role is None else Role(route.role).name.lower(),
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in route.names
    ]
    if route.query is not None:
        shape = route.query.model_json_schema(ref_template=_REF)
        schemas.update(shape.get("$defs", {}))
        needed = shape.get("required", [])
        parameters += [
            {"name": name, "in": "query", "required": name in needed, "schema": _without_null(schema)}
            for name, schema in shape["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = _schema(route.body, schemas, "validation")
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _refusals(route: Route) -> set[int]:
    # 403 also where nobody has to log in: to a request that comes from another site's page.
    codes = {400, 403, 421, *route.refusals}
    if route.role is not None:
        codes |= {401, 429}
    if route.query is not None or route.body is not None:
        codes.add(422)
    # A body that none is asked for is bounded like any other.
    codes.add(413)
    if route.body is not None:
        codes.add(415)
    return codes


def _answer(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        answer["content"] = {"application/json": {"schema": _schema(route.answer, schemas, "serialization")}}
    elif route.status != 204:
        schema: dict[str, Any] = {}
        if route.content_type == "application/json":
            schema = {"type": "object", "additionalProperties": True}
        elif route.content_type.startswith("text/"):
            schema = {"type": "string"}
        answer["content"] = {route.content_type: {"schema": schema}}
    return answer


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What may stand in a query: a value is left out there, and never null."""
    choices = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(choices) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **choices[0]}


def _schema(model: type[Closed], schemas: dict[str, Any], mode: Literal["validation", "serialization"]) -> Any:
    shape = model.model_json_schema(ref_template=_REF, mode=mode)
    for name, schema in [*shape.pop("$defs", {}).items(), (model.__name__, shape)]:
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas have the name {name}")
    return {"$ref": _REF.format(model=model.__name__)}


_REF = "#/components/schemas/{model}"
