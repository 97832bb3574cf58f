"""The API described by OpenAPI 3.1, made of the routes themselves: what is not described can't be asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

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
    429: "Too many tries.",
    503: "Not now.",
}


def document(routes: Sequence[Route], version: str) -> bytes:
    """The description, as JSON. Pages are not part of it."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.page and not route.path.startswith("/static"):
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "p2pframe admin", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "p2pframe-…"},
            },
        },
    }
    return json.dumps(whole).encode()


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        answer["content"] = {"application/json": {"schema": _schema(route.answer, schemas)}}
    elif route.status != 204:
        kind = "application/json" if route.content_type == "application/json" else route.content_type
        answer["content"] = {kind: {"schema": {"type": "object"} if kind == "application/json" else {"type": "string"}}}
    codes = {400, 421, *route.refusals}
    if route.role is not None:
        codes |= {401, 403}
    if route.query is not None or route.body is not None:
        codes.add(422)
    if route.body is not None:
        codes |= {413, 415}
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "responses": {str(route.status): answer}
        | {
            str(code): {
                "description": _WORDS[code],
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
            for code in sorted(codes)
        },
        "security": [] if route.role is None else [{"token": []}, {"session": []}],
        "x-role": None if route.role is None else Role(route.role).name.lower(),
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.names
    ]
    if route.query is not None:
        shape = route.query.model_json_schema()
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in shape["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = _schema(route.body, schemas)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _schema(model: type[Closed], schemas: dict[str, Any]) -> dict[str, str]:
    shape = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas.update(shape.pop("$defs", {}))
    schemas[model.__name__] = shape
    return {"$ref": f"#/components/schemas/{model.__name__}"}
