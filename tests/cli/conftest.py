"""Nodes to ask, and a server that says what a test tells it to."""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack
from http.server import ThreadingHTTPServer

import pytest

from tests.cli.remote import Nodes, Wrong, good, run, token_file


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ExitStack() as stack:
        yield Nodes(stack, tmp_path_factory.mktemp("nodes"))


@pytest.fixture
def session(nodes):
    """The id of a session with the other node."""
    out = good("connect", nodes.other.address, *nodes.by_config)
    id = re.fullmatch(rf"connected to {nodes.other.address}: session (\d+)\n", out)[1]
    yield int(id)
    run("disconnect", id, *nodes.by_config)


@pytest.fixture
def wrong(tmp_path):
    """`wrong(answer)`: the words that lead a command to a server that says these bytes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    path = token_file(tmp_path, "token")

    def answering(answer):
        server.answer = answer
        return ("--url", f"http://127.0.0.1:{server.server_address[1]}", "--token-file", path)

    answering.seen = server.seen
    yield answering
    server.shutdown()
    thread.join()
    server.server_close()
