"""The commands that find a node by its configuration, when it has stopped."""

from __future__ import annotations

from tests.cli.remote import good, refused
from tests.interop.configs import NETWORK
from tests.interop.processes import P2PNode


def test_no_link_to_a_node_that_has_stopped(tmp_path):
    admin = {"plugin": "admin", "listen": "127.0.0.1:0"}
    network = NETWORK | {"discovery": []}
    config = {"networks": {"bitcoin": network}, "storage": {"plugin": "memory"}, "applications": [admin]}
    with P2PNode("stopped", tmp_path, config) as node:
        node.start("node started")
        assert "/login#" in good("admin", "link", "-c", node.path)
        node.stop()
        assert list(node.data_dir.rglob("url")) == []
        for command in (["admin", "link"], ["status"]):
            said = refused(*command, "-c", node.path)
            assert said.startswith(f"the node of {node.path} does not run") and "twistd p2pnode -c" in said
        node.start("node started")
        assert "/login#" in good("admin", "link", "-c", node.path)
