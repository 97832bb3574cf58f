"""What the tests of the remote commands share: how one is run, the nodes that are asked, and what answers wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from pydantic import TypeAdapter

from p2pframe.admin.values import Network, Node, Peer
from tests.interop.configs import NETWORK
from tests.interop.processes import P2PNode, free_port

TOKEN = "a-token-of-a-test-of-the-commands"


def run(*words, limit=60):
    """One command: its exit status, output and what it says of mistakes."""
    done = subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", *map(str, words)],
        capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def good(*words):
    status, out, err = run(*words)
    assert (status, err) == (0, ""), err
    return out


def refused(*words):
    """The one sentence that it ends with."""
    status, out, err = run(*words)
    assert (status, out) == (1, ""), (status, out, err)
    assert err.startswith("Error: ") and err.count("\n") == 1, err
    return err.removeprefix("Error: ").rstrip("\n")


def token_file(folder: Path, name: str, text: str = TOKEN) -> Path:
    path = folder / name
    path.touch(0o600)
    path.write_text(text)
    return path


class Nodes:
    """`ours` has an admin; `other` is one to dial."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        viewer = token_file(folder, "viewer")
        quiet = {"discovery": []}
        port = free_port()
        tokens = [{"name": "tests", "role": "viewer", "file": str(viewer)}]
        admin = {"plugin": "admin", "listen": f"127.0.0.1:{port}", "tokens": tokens}
        config = {"networks": {"bitcoin": NETWORK | quiet}, "storage": {"plugin": "memory"}}
        self.ours = stack.enter_context(P2PNode("ours", folder, config | {"applications": [admin]}))
        self.other = stack.enter_context(P2PNode("other", folder, config))
        self.ours.start("node started")
        self.other.start("node started")
        self.by_config = ("-c", self.ours.path)
        self.url = f"http://127.0.0.1:{port}"
        self.by_token = ("--url", self.url, "--token-file", viewer)

    def audited(self) -> list[str]:
        lines = (self.ours.data_dir).rglob("access.jsonl")
        return [json.loads(line)["kind"] for path in lines for line in path.read_text().splitlines()]


class Wrong(BaseHTTPRequestHandler):
    """Says what it was told to say."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = self.server.answer
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.wfile.write(answer(self.path) if callable(answer) else answer)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_):
        pass


def said(body, status="200 OK", kind="application/json", length=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length or len(data)}\r\n\r\n"
    return head.encode() + data


def filled(model, **values):
    """A value of the API, with nothing in the fields that a test does not speak of."""
    for name, field in model.model_fields.items():
        if name not in values and field.is_required():
            takes = TypeAdapter(field.annotation).validator
            values[name] = next(one for one in (None, [], {}, "", 0, False) if takes.isinstance_python(one))
    return model.model_validate(values)


def a_peer(**changes) -> Peer:
    values = {
        "network": "bitcoin", "id": 7, "address": "192.0.2.7:8333", "netgroup": "192.0.0.0/16", "slot": "outbound",
        "inbound": False, "state": "open", "transport": "tcp", "encryption": "", "agent": "/x/", "version": 70016,
        "services": ["NETWORK", "WITNESS"], "age": 3600.0, "quiet": 2.0, "sent": 1.0, "useless": 120.0, "block": None,
        "ping": 0.02, "best_ping": 0.01, "bytes_in": 1, "bytes_out": 2, "messages_in": {}, "messages_out": {},
        "accepted_items": 0, "rejected_items": 0, "timeouts": 0, "send_queue": 0, "score": None, "protected": False,
    }  # fmt: skip
    return filled(Peer, **values | changes)


def a_node() -> Node:
    network = filled(
        Network,
        name="bitcoin", protocol="bitcoin", listening=["0.0.0.0:8333"], slots={}, addresses={}, status={}, messages={},
        sources=[],
    )  # fmt: skip
    return filled(Node, version="1", now=0.0, uptime=1.0, healthy=True, reasons=[], alerts=[], networks=[network])
