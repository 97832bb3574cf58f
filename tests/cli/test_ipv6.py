"""The commands ask an admin that listens at an IPv6 address as they ask any other."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest

from p2pframe.cli.remote.place import NotFound, of_config
from tests.cli.remote import good, refused, token_file
from tests.cli.test_pinned import Made
from tests.interop.configs import NETWORK
from tests.interop.processes import P2PNode, free_port


def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6 loopback")


def a_node(stack, folder, **tls):
    """A node, and the words that ask it by a token."""
    viewer, port = token_file(folder, "viewer"), free_port()
    tokens = [{"name": "tests", "role": "viewer", "file": str(viewer)}]
    admin = {"plugin": "admin", "listen": f"[::1]:{port}", "tokens": tokens, **tls}
    config = {"networks": {"bitcoin": NETWORK | {"discovery": []}}, "storage": {"plugin": "memory"}}
    node = stack.enter_context(P2PNode("six", folder, config | {"applications": [admin]}))
    node.start("node started")
    return node, ("--url", f"{'https' if tls else 'http'}://[::1]:{port}", "--token-file", viewer)


def test_it_is_asked_and_followed(tmp_path):
    with ExitStack() as stack:
        node, by_token = a_node(stack, tmp_path)
        assert json.loads(good("status", "--json", *by_token))["healthy"] is True
        # A code, a cookie, and changes that take it.
        assert "healthy" in good("status", "-c", node.path)
        for subject in ("192.0.2.1", "192.0.2.2"):
            good("ban", subject, "--reason", "it lies: 100 % \N{SNOWMAN}", "-c", node.path)
        lines = good("events", "-f", "-n", 2, "--after", 0, "--kind", "peer.banned", *by_token).splitlines()
        assert len(lines) == 2 and all(" peer.banned" in line for line in lines)
        only = good("log", "--text", "node started: bitcoin", "-c", node.path).splitlines()
        assert len(only) == 1 and only[0].endswith(" node: node started: bitcoin")
        assert refused("peers", "--network", "other & more", *by_token).endswith("there is no network 'other & more'")
        # The admin wrote down a name that nobody can dial.
        (written,) = node.data_dir.rglob("url")
        written.write_text("https://a..b:8600")
        with pytest.raises(NotFound, match=r"where the admin says it is, can.t be dialled"):
            of_config(str(node.path))


def test_its_certificate_is_the_only_one_that_is_taken(tmp_path):
    made, other = Made(tmp_path / "tls"), Made(tmp_path / "other")
    with ExitStack() as stack:
        node, by_token = a_node(stack, tmp_path, certificate=str(made.path), private_key=str(made.key_path))
        assert "healthy" in good("status", "-c", node.path)
        assert "healthy" in good("status", "--certificate", made.path, *by_token)
        assert "certificate" in refused("status", "--certificate", other.path, *by_token)
        assert "TLS: " in refused("status", *by_token)
