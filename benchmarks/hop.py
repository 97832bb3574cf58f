"""A new block's hop.

From its announcement by one peer to our announcement to another, the block itself asked for between.

A and B are scripted peers in one process, so one clock times both. Blocks hold a coinbase only, each on top of the one
before.
"""

from __future__ import annotations

import time
from select import select
from statistics import median

from benchmarks.chain import block
from benchmarks.figures import Row, absent, at_most, figure
from benchmarks.processes import Folders, Missing, Program, bcoin, node
from benchmarks.wire import Peer, greeted, hash256
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.inventory import MSG_BLOCK, encode_headers, encode_ids

BLOCKS = 60
WARM_UP = 10


class _Hops:
    """One program with A and B, and the chain that they have given it."""

    def __init__(self, program: Program) -> None:
        self.a = greeted(program)
        self.b = greeted(program)
        self.b.send("sendheaders")
        self.b.sync()
        self.tip = REGTEST.genesis_hash
        self.height = 0
        self.time = int(time.time()) - 3600
        # B shows that it has what is announced on top of, so that it can be told by headers.
        self._last = b""

    def close(self) -> None:
        """Hang up."""
        self.a.close()
        self.b.close()

    def hop(self, by_headers: bool) -> float:
        """Seconds for one more block."""
        self.height += 1
        raw, hash = block(self.tip, self.height, self.time + self.height)
        self.tip = hash
        start = time.perf_counter()
        if by_headers:
            self.a.send("headers", encode_headers([raw[:80]]))
        else:
            self.a.send("inv", encode_ids(MSG_BLOCK, [hash]))
        deadline = start + 20
        while time.perf_counter() < deadline:
            ready, _, _ = select([self.a.wire, self.b.wire], [], [], 5)
            if self.b.wire in ready:
                for kind, payload in self.b.messages(0):
                    told = (kind == "inv" and hash in payload) or (kind == "headers" and hash256(payload[1:81]) == hash)
                    if told:
                        taken = time.perf_counter() - start
                        self._settle(raw)
                        return taken
            if self.a.wire in ready:
                self._serve(self.a, raw, hash)
        raise TimeoutError("the block was not announced to B within 20 s")

    def _serve(self, peer: Peer, raw: bytes, hash: bytes) -> None:
        for kind, payload in peer.messages(0):
            if kind == "getheaders":
                peer.send("headers", encode_headers([raw[:80]]))
            elif kind == "getdata" and hash in payload:
                peer.send("block", raw)

    def _settle(self, raw: bytes) -> None:
        self.b.send("headers", encode_headers([raw[:80]]))
        self.a.sync()
        self.b.sync()


def _medians(hops: list[_Hops], by_headers: list[bool]) -> list[float]:
    """The median hop of each in milliseconds, in turns."""
    times: list[list[float]] = [[] for _ in hops]
    for number in range(BLOCKS):
        for one, headers, found in zip(hops, by_headers, times, strict=True):
            taken = one.hop(headers)
            if number >= WARM_UP:
                found.append(taken * 1000)
    return [median(found) for found in times]


def run() -> list[Row]:
    """Medians in milliseconds."""
    with Folders() as folders, node(folders.new()) as ours, node(folders.new()) as again:
        hops = [_Hops(ours), _Hops(again)]
        try:
            with bcoin(folders.new()) as other:
                hops.append(_Hops(other))
                by_inv, by_headers, theirs = _medians(hops, [False, True, False])
        except Missing as missing:
            by_inv, by_headers = _medians(hops, [False, True])
            comparison = [absent("block's hop: against bcoin", missing)]
        else:
            comparison = [
                figure(
                    "block's hop through bcoin, announced by inv",
                    theirs,
                    "ms",
                    "it takes no headers from who dialled in",
                ),
                at_most("block's hop: time against bcoin's", by_inv / theirs, "times", 1.0, "both by inv"),
            ]
        for one in hops:
            one.close()
    return [
        at_most("block's hop, announced by inv", by_inv, "ms", 1.5, "getheaders, headers, getdata, block between"),
        at_most("block's hop, announced by headers", by_headers, "ms", 1.5, "getdata, block between"),
        *comparison,
    ]
