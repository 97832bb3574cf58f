"""Who else comes to a data directory.

A second process is refused; an earlier schema is brought up, a newer one refused.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from p2pframe.core.data_dir import VERSION
from p2pframe.storage.sqlite.database import SCHEMA
from tests.interop.configs import node as config
from tests.interop.made_chain import headers_of, make_chain
from tests.interop.processes import P2PNode, wait_until
from tests.interop.wire_peer import WirePeer

pytestmark = [pytest.mark.slow]

BLOCKS = make_chain(10)


def refused(node: P2PNode) -> str:
    """Start it, and have it end with status 1: what it said, without a traceback."""
    node.spawn(node.command())
    assert node.wait() == 1, node.tail()
    log = node.log()
    assert "Traceback" not in log, log
    return log


def feed(node: P2PNode) -> None:
    """Give it the blocks."""
    with WirePeer.dial(node.port) as peer:
        peer.handshake(height=len(BLOCKS))
        peer.show(headers_of(BLOCKS))
        for block in BLOCKS:
            peer.asked_for_block(block.hash) if block is BLOCKS[0] else None
            peer.send("block", block.raw)
        peer.show([])
        wait_until("it has the blocks", lambda: peer.headers() == headers_of(BLOCKS), 20, node.tail)


def has_the_blocks(node: P2PNode) -> bool:
    with WirePeer.dial(node.port) as peer:
        peer.handshake()
        return peer.all_headers() == headers_of(BLOCKS) and all(peer.block(block.hash) == block.raw for block in BLOCKS)


def test_a_second_process_on_the_data_directory_is_refused(tmp_path: Path) -> None:
    with P2PNode("first", tmp_path, config()) as first, P2PNode("second", tmp_path, config()) as second:
        second.data_dir = first.data_dir
        second.rewrite(config())
        first.start()
        assert first.process is not None
        said = refused(second)
        assert f"the data directory {first.data_dir} is in use by process {first.process.pid}" in said
        # The first one has not noticed.
        with WirePeer.dial(first.port) as peer:
            peer.handshake().sync()
        first.stop()
        second.start()
        second.stop()


def test_a_directory_of_the_first_schema_is_brought_up(tmp_path: Path) -> None:
    with P2PNode("node", tmp_path, config()) as node:
        node.start()
        feed(node)
        node.stop()
        # As version 1 had it: every plugin's folder directly in the directory.
        plugins = node.data_dir / "plugins"
        for folder in plugins.iterdir():
            shutil.move(folder, node.data_dir / folder.name)
        plugins.rmdir()
        (node.data_dir / "version").write_text("1\n")
        node.start()
        assert has_the_blocks(node)
        assert (node.data_dir / "version").read_text() == f"{VERSION}\n"
        node.stop()


def test_a_directory_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with P2PNode("node", tmp_path, config()) as node:
        node.start()
        node.stop()
        (node.data_dir / "version").write_text(f"{VERSION + 1}\n")
        said = refused(node)
        assert f"has schema {VERSION + 1}, this version of p2pframe knows up to {VERSION}" in said
        assert "run the version that wrote it" in said


def test_a_database_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with P2PNode("node", tmp_path, config()) as node:
        node.start()
        node.stop()
        databases = [
            path for path in node.data_dir.rglob("*") if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"
        ]
        assert databases
        for path in databases:
            connection = sqlite3.connect(path)
            connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
            connection.close()
        said = refused(node)
        assert f"has schema {SCHEMA + 1}, this version of p2pframe knows up to {SCHEMA}" in said
