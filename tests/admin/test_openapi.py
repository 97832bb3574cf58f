"""The description of the API: whole, valid, closed, and true of a running node."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import pytest_twisted
from openapi_spec_validator import validate

from p2pframe.admin.access import Role
from p2pframe.admin.openapi import is_described
from tests.admin.web import OPERATOR
from tests.interop.configs import NETWORK
from tests.interop.processes import P2PNode, free_port, wait_until


@pytest_twisted.async_yield_fixture
async def described(web):
    """The document, as a viewer gets it, and the routes that are part of the API."""
    raw = web.request(path="/api/v1/openapi.json", authorization=f"Bearer {OPERATOR}")
    (answer,) = await web.send(raw)
    assert answer.status == 200
    yield answer.json, [route for route in web.routes if is_described(route)]


def operations(document):
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_is_valid(described):
    validate(described[0])


def test_it_has_each_route_with_its_parameters_body_answer_and_role(described):
    document, routes = described
    found = operations(document)
    assert set(found) == {(route.method, route.path) for route in routes}
    assert ("GET", "/api/v1/openapi.json") in found
    for route in routes:
        operation = found[route.method, route.path]
        given = {(one["name"], one["in"]) for one in operation.get("parameters", [])}
        query = route.query.model_fields if route.query is not None else {}
        assert given == {(name, "path") for name in route.names} | {(name, "query") for name in query}
        assert ("requestBody" in operation) == (route.body is not None)
        assert operation["x-role"] == (None if route.role is None else Role(route.role).name.lower())
        assert bool(operation["security"]) == (route.role is not None)
        answer = operation["responses"][str(route.status)]
        if route.answer is not None:
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith(f"/{route.answer.__name__}")
        assert ("content" in answer) == (route.status != 204)
    assert len({one["operationId"] for one in found.values()}) == len(found)


def test_each_operation_has_its_refusals(described):
    document, routes = described
    found = operations(document)
    for route in routes:
        responses = found[route.method, route.path]["responses"]
        expected = {400, 403, 413, 421, *route.refusals}
        expected |= {401, 429} if route.role is not None else set()
        expected |= {422} if route.query is not None or route.body is not None else set()
        expected |= {415} if route.body is not None else set()
        assert {int(code) for code in responses if code >= "400"} - {503} == expected - {503}, route.path
        for code in expected:
            schema = responses[str(code)]["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_object_is_closed(described):
    document, _ = described

    def look(place, where):
        if isinstance(place, dict):
            if "properties" in place and place.get("type") == "object":
                assert place.get("additionalProperties") is False, where
            for name, value in place.items():
                look(value, f"{where}.{name}")
        elif isinstance(place, list):
            for value in place:
                look(value, where)

    look(document["components"]["schemas"], "")


def test_what_is_in_a_query_is_never_null(described):
    for (method, path), operation in operations(described[0]).items():
        for one in operation.get("parameters", []):
            assert "null" not in json.dumps(one["schema"]), (method, path, one["name"])


@pytest.mark.parametrize(
    ("path", "cursor"),
    [(path, cursor) for path in ("events", "audit", "peers", "networks/net/addresses")
     for cursor in (
          "[", "[]", "{}", "5", '["a"]', "[true]", "[1.5]", "[-1]", "[01]", "[" + "9" * 30 + "]", '["a",[1]]'
      )],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_cursor_that_was_not_given_is_refused(web, path, cursor):
    raw = web.request(path=f"/api/v1/{path}?cursor={quote(cursor)}", authorization=f"Bearer {OPERATOR}")
    (answer,) = await web.send(raw)
    assert answer.status == 422


@pytest.mark.interop
def test_schemathesis_finds_nothing(tmp_path):
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed: `tox -e interop` does that")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(OPERATOR)
    port = free_port()
    admin = {"plugin": "admin", "listen": f"127.0.0.1:{port}", "requests_per_second": 10_000, "tries": 10_000,
             "tokens": [{"name": "tests", "role": "operator", "file": str(token)}]}  # fmt: skip
    plugins = {"node": {"plugin_path": [str(Path(__file__).parents[2] / "plugins")]}}
    with ExitStack() as stack:
        miner = {"plugin": "miner", "network": "bitcoin", "interval": "1s"}
        others = [
            stack.enter_context(
                P2PNode(f"other-{number}", tmp_path, plugins | {"networks": {"bitcoin": NETWORK | {"discovery": []}},
                        "storage": {"plugin": "memory"}, "applications": [miner] if not number else []})
            ).start() for number in range(2)
        ]  # fmt: skip
        peers = [{"plugin": "static", "peers": [one.address for one in others]}]
        config = plugins | {
            "networks": {"bitcoin": NETWORK | {"discovery": peers}}, "storage": {"plugin": "memory"},
            "applications": [admin, {"plugin": "tip-watch", "network": "bitcoin"}],
        }  # fmt: skip
        node = stack.enter_context(P2PNode("ours", tmp_path, config))
        node.start("node started")
        known = _what_there_is(node, port, others)
        (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS.format(**known))
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/api/v1/openapi.json",
             "-H", f"Authorization: Bearer {OPERATOR}", "--no-color", "--seed", "1", "-n", "25"],
            cwd=tmp_path, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:] + node.tail()
        assert re.search(r"\d+ passed", done.stdout), done.stdout[-2000:]
        assert _api(port, "/peers/bitcoin/{id}/inspect".format(**known))["inspecting"]["kept"], "it was there until now"
        node.stop()


def _api(port, path, body=None, method=None):
    headers = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    asked = Request(f"http://127.0.0.1:{port}/api/v1{path}", data, headers, method=method)
    with urlopen(asked, timeout=20) as answer:
        said = answer.read()
    return json.loads(said) if said else None


def _what_there_is(node, port, others):
    """Peers, a message, a capture, an item, a ban, somebody who was refused: what paths name."""
    def peers():
        found = [one for one in _api(port, "/peers")["peers"] if one["state"] == "open"]
        return len(found) == len(others) and {one["address"]: one["id"] for one in found}

    ids = wait_until("there are peers", peers, 30.0, node.tail)
    first, second = [ids[one.address] for one in others]
    captured = []
    for id in (first, second):
        _api(port, f"/peers/bitcoin/{id}/inspect", method="POST")
        captured.append(_api(port, f"/peers/bitcoin/{id}/capture", {"seconds": 600})["name"])
    _api(port, f"/peers/bitcoin/{second}/capture/stop", method="POST")
    _api(port, f"/peers/bitcoin/{second}/capture", {"seconds": 600})
    _api(port, "/bans", {"subject": "127.0.0.9", "duration": 1e6, "reason": "for the test"})
    with socket.create_connection(("127.0.0.1", node.port), source_address=("127.0.0.9", 0)) as refused:
        refused.recv(1)
    wait_until("it is refused", lambda: _api(port, "/refusals")["refusals"], 10.0, node.tail)
    path = f"/peers/bitcoin/{first}/inspect"
    wait_until("a message is seen", lambda: _api(port, path)["messages"], 30.0, node.tail)
    [item, *_] = wait_until(
        "an item spreads", lambda: _api(port, "/networks/bitcoin/spreads")["spreads"], 60.0, node.tail
    )
    [page, *_] = _api(port, "/pages")["pages"]
    return {"id": first, "going": second, "topic": item["topic"], "item": item["id"], "page": page["name"],
            "capture": captured[0], "over": captured[1]}  # fmt: skip


SCHEMATHESIS = """\
# Of what there is, so that more than 404 is looked at; what there is not has tests of its own.
[parameters]
"path.network" = "bitcoin"
"path.id" = "{id}"
"path.topic" = "{topic}"
"path.item" = "{item}"
"path.number" = "1"

[[operations]]
include-path = "/api/v1/captures/{{name}}"
parameters = {{ "path.name" = "{capture}" }}

[[operations]]
include-path = "/api/v1/captures/{{name}}/delete"
parameters = {{ "path.name" = "{over}" }}

[[operations]]
include-path = "/api/v1/pages/{{name}}"
parameters = {{ "path.name" = "{page}" }}

# What ends a session, or what was begun of it, is done to another one.
[[operations]]
include-path = "/api/v1/peers/{{network}}/{{id}}/disconnect"
parameters = {{ "path.id" = "{going}" }}

[[operations]]
include-path = "/api/v1/peers/{{network}}/{{id}}/inspect/stop"
parameters = {{ "path.id" = "{going}" }}

[[operations]]
include-path = "/api/v1/peers/{{network}}/{{id}}/capture/stop"
parameters = {{ "path.id" = "{going}" }}

# A stream has no end, and a dial goes out into the world.
[[operations]]
include-path-regex = "/stream$"
enabled = false

[[operations]]
include-path = "/api/v1/connect"
enabled = false

[checks]
# 422 says of a value of the right form that it can't be: an address that is none, a network that there is not.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
"""
