"""Transaction ids from 40 peers at once: each is announced by all of them, asked of one, and never given.

That is the load of a node with 40 good peers and a busy pool: most entries are of something heard of already. Measured
is the CPU time until everything was dealt with and asked for, of the server process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from itertools import count

from benchmarks.figures import Row, absent, at_least, figure, interleaved
from benchmarks.processes import Folders, Missing, Program, bcoin, node
from benchmarks.wire import FRAME, Peer, greeted
from p2pframe.protocols.bitcoin.inventory import MSG_TX, decode_entries, encode_ids

PEERS = 40
IDS = 4000
CHUNK = 100
SETTLE = 3.0
"""Seconds after the last answer: what came from inbound peers is asked for 2 s later."""
ROUNDS = 3

_rounds = count()


def _load(program: Program) -> float:
    """Entries a CPU-second. The peers are new ones each time, so that nothing is left of the round before."""
    seed = next(_rounds)
    ids = [sha256(b"%d/%d" % (seed, number)).digest() for number in range(IDS)]
    messages = [FRAME("inv", encode_ids(MSG_TX, ids[start : start + CHUNK])) for start in range(0, IDS, CHUNK)]
    with ExitStack() as open_peers:
        peers = [open_peers.enter_context(greeted(program)) for _ in range(PEERS)]
        time.sleep(0.5)
        before = program.cpu
        for turn in range(len(messages)):
            # Not in step: who is the first to announce an id changes from peer to peer.
            for number, peer in enumerate(peers):
                peer.wire.sendall(messages[(turn + number) % len(messages)])
        for peer in peers:
            peer.sync(keep="getdata")
        time.sleep(SETTLE)
        used = program.cpu - before
        asked = {id for peer in peers for id in _asked(peer)}
        if len(asked) < IDS // 2:
            raise RuntimeError(
                f"only {len(asked)} of {IDS} announced transactions were asked for: it does not digest them"
            )
    time.sleep(0.5)
    return PEERS * IDS / used


def _asked(peer: Peer) -> Iterator[bytes]:
    for kind, payload in [*peer.kept, *peer.messages(0)]:
        if kind == "getdata":
            for _, id in decode_entries(payload):
                yield id


def run() -> list[Row]:
    """Entries a CPU-second, ours and bcoin's."""
    with Folders() as folders, node(folders.new()) as ours:
        greeted(ours).close()
        try:
            with bcoin(folders.new()) as other:
                greeted(other).close()
                entries, theirs = interleaved(ROUNDS, lambda: _load(ours), lambda: _load(other))
        except Missing as missing:
            (entries,) = interleaved(ROUNDS, lambda: _load(ours))
            comparison = [absent("inv entries: against bcoin", missing)]
        else:
            comparison = [
                figure("inv entries by bcoin", theirs, "/CPU-s"),
                at_least("inv entries: against bcoin", entries / theirs, "times", 1.0),
            ]
    return [figure("inv entries from 40 peers", entries, "/CPU-s"), *comparison]
