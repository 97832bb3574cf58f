"""kill -9 at random points while a node syncs and relays.

It starts again without a hand, and has lost nothing that it must keep.

P2PFRAME_CRASH says how many kills (10 where it is not set; `tox -e crash` makes 50), P2PFRAME_CRASH_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from p2pframe.protocols.bitcoin.api import Block, hash256, hash_hex
from tests.crash.feeder import Feeder
from tests.interop.made_chain import headers_of
from tests.interop.processes import P2PNode, free_port, wait_until
from tests.interop.wire_peer import WirePeer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("P2PFRAME_CRASH") or 10)
SEED = int(os.environ.get("P2PFRAME_CRASH_SEED") or random.SystemRandom().randrange(2**32))


class Notes:
    """What the ledger plugin noted: what was acknowledged ever, and what it found since the last start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._from = 0
        self.kept: dict[str, set[str]] = {"ban ": set(), "row ": set()}

    def lines(self) -> list[str]:
        return self.path.read_text()[self._from :].splitlines()

    def starting(self) -> None:
        """A process is about to be started: what the last one kept counts from now on."""
        for kind, before in self.kept.items():
            words = f"kept {kind}"
            before |= {line.removeprefix(words) for line in self.lines() if line.startswith(words)}
        self._from = self.path.stat().st_size

    def check(self, node: P2PNode) -> None:
        """Everything that was acknowledged before this start is found now."""
        wait_until("it has found all", lambda: "found all" in self.lines(), 30, node.tail)
        for kind, kept in self.kept.items():
            words = f"found {kind}"
            lost = kept - {line.removeprefix(words) for line in self.lines() if line.startswith(words)}
            assert not lost, f"acknowledged and lost: {kind}{sorted(lost)}"


def check_chain(node: P2PNode, blocks: list[Block]) -> int:
    """What it serves is the beginning of the chain, block by block; how much of it."""
    with WirePeer.dial(node.port, "127.0.0.9") as peer:
        peer.handshake(services=0)
        headers = peer.all_headers()
        assert headers == headers_of(blocks[: len(headers)])
        wanted = {block.header_bytes: block.raw for block in blocks}
        # The last ones are those that a crash may have torn.
        for header in headers[-20:]:
            raw = peer.block(hash256(header))
            assert raw == wanted[header], f"it shows a header and has not got its block\n{node.tail()}"
    return len(headers)


def test_killed_at_random_points_it_loses_nothing_and_syncs_to_the_end(tmp_path: Path) -> None:
    print(f"P2PFRAME_CRASH_SEED={SEED}")
    rng = random.Random(SEED)
    tls = free_port()
    notes = Notes(tmp_path / "notes")
    with Feeder() as feeder:
        feeder.grow(200)
        config = {
            "node": {"plugin_path": [str(Path(__file__).with_name("plugins"))]},
            # Often, so that a kill finds something half written rather than nothing.
            "storage": {"plugin": "sqlite", "write_behind": "50ms"},
            "applications": [{"plugin": "ledger", "notes": str(notes.path)}],
            "networks": {
                "bitcoin": {
                    "protocol": {"plugin": "bitcoin", "chain": "regtest"},
                    "transports": [
                        {"plugin": "tcp", "listen": ["127.0.0.1:{port}"]},
                        {"plugin": "tls", "listen": [f"127.0.0.1:{tls}"]},
                    ],
                    "discovery": [{"plugin": "static", "peers": [f"127.0.0.1:{feeder.port}"]}],
                }
            },
        }
        with P2PNode("node", tmp_path, config) as node:
            identities: set[str] = set()
            for _ in range(KILLS):
                connections, served = feeder.connections, feeder.served
                feeder.grow(rng.randrange(20, 200))
                notes.starting()
                node.spawn(node.command())
                # One in five dies while it starts, the others in the middle of their work.
                if rng.random() < 0.2:
                    time.sleep(rng.uniform(0.0, 1.0))
                else:
                    node.wait_for("listening on")
                    notes.check(node)
                    check_chain(node, feeder.blocks)
                    wait_until("it dials", lambda before=connections: feeder.connections > before, 30, node.tail)
                    # Somebody to relay to, who does not read.
                    with WirePeer.dial(node.port, "127.0.0.9") as watcher:
                        watcher.handshake(services=0)
                        goal = served + rng.randrange(1, 150)
                        deadline = time.monotonic() + rng.uniform(0.5, 5.0)
                        while feeder.served < goal and time.monotonic() < deadline:
                            time.sleep(0.001)
                        if rng.random() < 0.5:
                            feeder.grow(1)
                        time.sleep(rng.uniform(0.0, 0.05))
                        node.kill()
                node.kill()
                identities |= {
                    line.partition("TLS peer id ")[2] for line in node.log().splitlines() if "TLS peer id" in line
                }
            node.must_be_clean()

            # And now in peace.
            notes.starting()
            node.start()
            notes.check(node)
            assert len(notes.kept["ban "]) > KILLS, "too little was acknowledged for this test to say anything"
            tip = hash_hex(feeder.tip.hash)
            with WirePeer.dial(node.port, "127.0.0.9") as peer:
                peer.handshake(services=0)
                wait_until("it is synced", lambda: peer.block(feeder.tip.hash) == feeder.tip.raw, 60, node.tail)
                wait_until("all of it", lambda: peer.all_headers() == headers_of(feeder.blocks), 60, node.tail)
                for block in feeder.blocks:
                    assert peer.block(block.hash) == block.raw
            identities |= {
                line.partition("TLS peer id ")[2] for line in node.log().splitlines() if "TLS peer id" in line
            }
            assert len(identities) == 1, f"its key changed: {identities}"
            node.stop()
            # What it synced is there at once the next time.
            node.start()
            assert tip in node.wait_for("regtest at block")
            assert check_chain(node, feeder.blocks) == len(feeder.blocks)
            node.stop()
