"""Headers: 100,000 from a peer over a session until they are on the disk; and a start with 950,000 of them stored.

The second part's data directory is filled by the first one's means, so that the storage layer wrote it.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.chain import headers
from benchmarks.figures import Row, at_least, at_most, figure
from benchmarks.processes import Folders, Program, node
from benchmarks.wire import FRAME, Peer, greeted, version
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.inventory import decode_locator, encode_headers

SYNCED = 100_000
STORED = 950_000
ROUNDS = 3
BATCH = 2000
WRITTEN = 10.0
"""Seconds within which everything must be on the disk: it is written behind by at most 5 s."""


class _Chain:
    """Headers as messages, ready to be sent."""

    def __init__(self, number: int) -> None:
        made, hashes = headers(number)
        self.number = number
        self.heights = {hash: height for height, hash in enumerate(hashes, 1)}
        self.heights[REGTEST.genesis_hash] = 0
        self.messages = [FRAME("headers", encode_headers(made[at : at + BATCH])) for at in range(0, number, BATCH)]
        if number % BATCH == 0:
            self.messages.append(FRAME("headers", b"\0"))


def _stored(folder: Path) -> int:
    """Bytes in the data directory's files that are the size of headers or more."""
    return sum(
        file.stat().st_size for file in (folder / "data").rglob("*") if file.is_file() and "headers" in file.name
    )


def _sync(program: Program, folder: Path, chain: _Chain) -> float:
    """CPU seconds for all headers of the chain, until they are in their file."""
    program.listening()
    time.sleep(0.5)
    # Not `greeted`, which says that it has no headers.
    with Peer(program.port) as peer:
        before = program.cpu
        peer.wire.sendall(version(chain.number))
        peer.expect("version")
        peer.send("verack")
        for kind, payload in peer.messages(300):
            if kind == "getheaders":
                locator = decode_locator(payload)
                known = next(chain.heights[hash] for hash in locator.hashes if hash in chain.heights)
                # The tip's parent may be what it names: batches start where it stands.
                batch = -(-known // BATCH)
                peer.wire.sendall(chain.messages[batch])
                if batch == len(chain.messages) - 1:
                    break
        peer.sync()
        deadline = time.monotonic() + WRITTEN
        while _stored(folder) < chain.number * 80:
            program.check(time.monotonic() < deadline)
            time.sleep(0.05)
        return program.cpu - before


def run() -> list[Row]:
    """The rate of the first, time and memory of the second."""
    with Folders() as folders:
        chain = _Chain(SYNCED)
        rates = []
        for _ in range(ROUNDS):
            folder = folders.new()
            with node(folder) as program:
                rates.append(SYNCED / _sync(program, folder, chain))
        folder = folders.new()
        chain = _Chain(STORED)
        with node(folder) as program:
            filled = STORED / _sync(program, folder, chain)
        del chain
        seconds, memory = [], []
        for _ in range(ROUNDS):
            with node(folder) as program:
                greeted(program, 60).close()
                seconds.append(time.monotonic() - program.spawned)
                memory.append(program.memory)
    return [
        at_least("100,000 headers from a peer, committed", median(rates), "/CPU-s", 80_000),
        figure("950,000 headers from a peer, committed", filled, "/CPU-s"),
        at_most("start with 950,000 headers, until it answers", median(seconds), "s", 5.0),
        at_most("  resident then", median(memory) / 1e6, "MB", 500),
    ]
