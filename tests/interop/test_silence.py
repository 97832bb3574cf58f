"""Peers that say nothing where an answer is due, over real sockets: they hold nobody up."""

from __future__ import annotations

import pytest

from tests.interop.configs import node
from tests.interop.conftest import MakeNode
from tests.interop.made_chain import headers_of, make_chain
from tests.interop.processes import wait_until
from tests.interop.wire_peer import Listener, WirePeer

pytestmark = [pytest.mark.interop]


def test_a_silent_peer_that_dialled_in_first_does_not_hold_up_the_sync_from_one_that_we_chose(
    p2pnode: MakeNode,
) -> None:
    # From genesis on: old, so that it is a long sync, for which one peer is asked at a time.
    blocks = make_chain(30, when=1_296_688_602)
    with Listener() as chosen:
        ours = p2pnode(node({"discovery": [{"plugin": "static", "peers": [f"127.0.0.1:{chosen.port}"]}]})).start()
        with WirePeer.dial(ours.port) as silent, WirePeer.dial(ours.port) as watcher:
            silent.handshake(height=1000)
            silent.expect("getheaders")
            with chosen.accept() as dialled:
                dialled.handshake(height=len(blocks))
                dialled.expect("getheaders", limit=10)
                dialled.show(headers_of(blocks))
                for block in blocks:
                    dialled.asked_for_block(block.hash) if block is blocks[0] else None
                    dialled.send("block", block.raw)
                watcher.handshake(services=0)
                wait_until("it has synced", lambda: watcher.all_headers() == headers_of(blocks), 10, ours.tail)
        ours.stop()
