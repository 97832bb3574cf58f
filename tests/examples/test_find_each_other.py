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

from tests.interop.processes import P2PNode, free_port, wait_until

FOLDER = Path(__file__).parents[2] / "examples" / "find-each-other"
WAYS = sorted(path.stem.removesuffix("-a") for path in FOLDER.glob("*-a.yaml"))
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


COMMON = {"peer-exchange"}
"""Ways of which both nodes know a third one."""
LISTENS = {"peer-exchange": ("18651", "18652"), "dns-seed": ("18661", "18662")}
"""Ways that are about one more peer: where the two listen, as one of them has to call the other."""


def nodes_of(way: str) -> list[str]:
    """The configs of a way, in the order in which they are started."""
    return [*(["common"] if way in COMMON else []), "a", "b"]


def test_there_is_a_pair_for_each_way() -> None:
    named = {f"{way}-{which}.yaml" for way in WAYS for which in nodes_of(way)}
    assert {path.name for path in FOLDER.glob("*.yaml")} == named
    assert set(WAYS) >= {"dht", "dns-seed", "file", "http", "peer-exchange", "static"}


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
    for peers_file in FOLDER.glob("*.txt"):
        (tmp_path / peers_file.name).write_text(ours(peers_file.read_text()))
    with ExitStack() as stack:
        nodes = []
        for which in nodes_of(way):
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
        if way in LISTENS:
            a, b = nodes[-2:]
            there = [(a, ports[LISTENS[way][1]]), (b, ports[LISTENS[way][0]])]
            wait_until(
                "one of the two has called the other",
                lambda: any(f"peer 127.0.0.1:{port}" in node.log() for node, port in there),
                40,
                lambda: "\n".join(node.tail() for node in nodes),
            )
        for node in nodes:
            node.stop()
