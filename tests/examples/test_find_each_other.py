"""The examples of finding each other, as they stand but for their ports and folders: two real processes on loopback."""

from __future__ import annotations

import http.server
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.interop.processes import P2PNode, free_port

FOLDER = Path(__file__).parents[2] / "examples" / "find-each-other"
WAYS = sorted(path.stem.removesuffix("-a") for path in FOLDER.glob("*-a.yaml"))
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_there_is_a_pair_for_each_way() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == {f"{way}-{which}.yaml" for way in WAYS for which in "ab"}
    assert set(WAYS) >= {"dht", "file", "http", "static"}


@contextmanager
def served(port: int, peers: list[str]) -> Iterator[None]:
    """A web server with a signed list."""
    said = {"serial": 1, "expires": "2100-01-01T00:00:00Z", "network": "bitcoin", "peers": peers}
    body = json.dumps(said).encode()
    answer = b64encode(KEY.sign(body)) + b"\n" + body

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_the_two_find_each_other(way: str, tmp_path: Path) -> None:
    ports: dict[str, int] = {}

    def here(found: re.Match[str]) -> str:
        return str(ports.setdefault(found[0], 0) or ports.update({found[0]: free_port()}) or ports[found[0]])

    ours: Callable[[str], str] = lambda text: PORT.sub(here, text)  # noqa: E731
    (tmp_path / "peers.txt").write_text(ours((FOLDER / "peers.txt").read_text()))
    with ExitStack() as stack:
        nodes = []
        for which in "ab":
            node = P2PNode(f"{way}-{which}", tmp_path, {})
            node.path.write_text(ours((FOLDER / f"{way}-{which}.yaml").read_text()))
            nodes.append(stack.enter_context(node))
        if way == "http":
            peers = [f"127.0.0.1:{ports[number]}" for number in ("18631", "18632")]
            stack.enter_context(served(ports["18690"], peers))
        for node in nodes:
            node.start(ready="node started")
        for node in nodes:
            node.wait_for("peer 127.0.0.1:", 40)
        for node in nodes:
            node.stop()
