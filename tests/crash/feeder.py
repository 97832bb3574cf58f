"""A scripted peer that a node dials again and again: it has a chain that grows, and transactions, and serves both.

It runs on a thread of its own, for the node comes and goes; the test reads its counters.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Self

from p2pframe.protocols.bitcoin.api import Block, Transaction
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.inventory import (
    MSG_TX,
    MSG_WTX,
    decode_entries,
    decode_locator,
    encode_headers,
    encode_ids,
)
from tests.interop.made_chain import headers_of, make_chain, spend
from tests.interop.wire_peer import Closed, Listener, WirePeer

REGTEST_START = int.from_bytes(REGTEST.genesis_header[68:72], "little")
TURN = 0.02
"""Seconds between two looks at what there is to announce."""


class Feeder:
    """See the module. `served` counts the blocks that it gave."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.transactions: dict[bytes, Transaction] = {}
        self.served = 0
        self.connections = 0
        self.failure: BaseException | None = None
        self._listener = Listener()
        self.port = self._listener.port
        self._heights: dict[bytes, int] = {REGTEST.genesis_hash: 0}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join(10)
        self._listener.socket.close()
        if self.failure is not None:
            raise self.failure

    @property
    def tip(self) -> Block:
        return self.blocks[-1]

    def grow(self, count: int) -> None:
        """More blocks, and a transaction; who is connected is told."""
        last = self.blocks[-1] if self.blocks else None
        previous = REGTEST.genesis_header if last is None else last.header_bytes
        # In the past, however long the test takes: headers from the future would be refused.
        when = REGTEST_START if last is None else last.header.time
        for block in make_chain(count, previous, len(self.blocks), when):
            self._heights[block.hash] = len(self.blocks) + 1
            self.blocks.append(block)
        transaction = spend(self.blocks[-1])
        self.transactions[transaction.wtxid] = transaction

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._listener.socket.settimeout(TURN)
                try:
                    wire, _ = self._listener.socket.accept()
                except TimeoutError:
                    continue
                self.connections += 1
                with WirePeer(wire) as peer, suppress(Closed):
                    self._serve(peer)
        except BaseException as error:
            self.failure = error

    def _serve(self, peer: WirePeer) -> None:
        shown, told = len(self.blocks), 0
        done = 0
        is_open = False
        wtxid = False
        while not self._stopping:
            peer.read(time.monotonic() + TURN)
            while done < len(peer.received):
                kind, payload = peer.received[done]
                done += 1
                if kind == "version":
                    peer.say_version(height=len(self.blocks))
                    peer.send("wtxidrelay")
                    peer.send("verack")
                elif kind == "wtxidrelay":
                    wtxid = True
                elif kind == "verack":
                    is_open = True
                elif kind == "getheaders":
                    self._give_headers(peer, payload)
                elif kind == "getdata":
                    self._give(peer, payload)
            del peer.received[:done]
            done = 0
            if is_open and shown < len(self.blocks):
                peer.show(headers_of(self.blocks[max(0, len(self.blocks) - 8) :]))
                shown = len(self.blocks)
            if is_open and told < len(self.transactions):
                ids = list(self.transactions)[told:]
                told += len(ids)
                peer.send("inv", encode_ids(MSG_WTX if wtxid else MSG_TX, ids))

    def _give_headers(self, peer: WirePeer, payload: bytes) -> None:
        known = [self._heights[hash] for hash in decode_locator(payload).hashes if hash in self._heights]
        after = max(known, default=0)
        peer.send("headers", encode_headers(headers_of(self.blocks[after : after + 2000])))

    def _give(self, peer: WirePeer, payload: bytes) -> None:
        for _, hash in decode_entries(payload):
            if hash in self._heights:
                peer.send("block", self.blocks[self._heights[hash] - 1].raw)
                self.served += 1
            elif hash in self.transactions:
                peer.send("tx", self.transactions[hash].raw)
