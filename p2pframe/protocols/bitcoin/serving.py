"""Serving: what a peer asked for by getdata, given in its order and no faster than it reads.

One block is read from the store at a time for each peer; nothing is read while the peer does not take what it has. So
what asking costs us is bounded by what the peer pays to receive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from p2pframe.model import ItemId
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_FLAG,
    MSG_WITNESS_TX,
    MSG_WTX,
    EntryQueue,
    encode_entries,
    encode_ids,
)
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK
from p2pframe.protocols.bitcoin.pool import TX
from p2pframe.protocols.bitcoin.transaction import Transaction

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

LIMITED_DEPTH = 290
"""Blocks behind the tip that a pruned node serves.

BIP159's 288, and two for a race with the latest (as Bitcoin Core).
"""
_TOGETHER = 65_536
"""Bytes of transactions that are written at once."""


class Serving:
    """The requests of one peer. Made when the first one comes."""

    __slots__ = ("_busy", "_missing", "_out", "_out_size", "_peer", "_queue", "_reading", "continue_at")

    def __init__(self, peer: Conversation) -> None:
        self._peer = peer
        self._queue = EntryQueue()
        self._missing: list[tuple[int, bytes]] = []
        self._out: list[bytes] = []
        self._out_size = 0
        self._reading = False
        self._busy = False
        self.continue_at = b""
        """The last hash of a full answer to getblocks: giving that block is followed by our tip, so that it asks on."""

    def asked(self, payload: bytes) -> None:
        """A getdata message.

        What is over `getdata_queue` is dropped and counted: nobody honest asks so much at once.
        """
        protocol = self._peer.protocol
        left_out = self._queue.extend(payload, protocol.config.getdata_queue - len(self._queue))
        if left_out:
            protocol.turned_away.add(left_out, "getdata-queue")
        self.go_on()

    def go_on(self) -> None:
        """Serve while there is something to, and the peer reads."""
        if self._busy:
            return  # a block was read at once: the loop further up goes on
        self._busy = True
        session, queue = self._peer.session, self._queue
        try:
            while queue and not self._reading and session.writable and not session.closing:
                kind, hash = queue.popleft()
                if kind in (MSG_BLOCK, MSG_WITNESS_BLOCK):
                    self._read_block(ItemId(hash), bool(kind & MSG_WITNESS_FLAG))
                elif kind in (MSG_TX, MSG_WITNESS_TX, MSG_WTX):
                    self._give_transaction(kind, ItemId(hash))
                # Filtered and compact blocks are not offered: silence, as to any kind that is not known.
            self._write_out()
        finally:
            self._busy = False
        if self._missing and not self._reading and not session.closing:
            missing, self._missing = self._missing, []
            self._peer.say("notfound", encode_entries(missing))

    def stop(self) -> None:
        """The session has ended."""
        self._queue.clear()
        self._missing.clear()
        self._out.clear()

    def _give_transaction(self, kind: int, id: ItemId) -> None:
        peer = self._peer
        item = peer.protocol.pool.find(id) if peer.protocol.serves else None
        if (
            item is None
            or not isinstance(item.body, Transaction)
            or not peer.protocol.items.may_serve(peer.session, TX, item.id)
        ):
            self._missing.append((kind, id))
            return
        raw = item.body.stripped() if kind == MSG_TX else item.body.raw
        peer.session.sent("tx")
        self._out.append(peer.protocol.framing.frame("tx", raw))
        self._out_size += len(raw)
        if self._out_size >= _TOGETHER:
            self._write_out()

    def _write_out(self) -> None:
        """Past the replies that the frame loop collects.

        Those are written when the read is over, and meanwhile nobody would see that the peer does not take them.
        """
        if self._out:
            self._peer.session.write(b"".join(self._out))
            self._out.clear()
            self._out_size = 0

    def _read_block(self, id: ItemId, witness: bool) -> None:
        protocol = self._peer.protocol
        chain = protocol.block_sync.chain
        if not protocol.serves or id not in chain:
            return  # silence: we never said that we have it
        if not protocol.services & NODE_NETWORK and chain.height - protocol.index.height_of(id) > LIMITED_DEPTH:
            return  # what is left of older blocks would tell one pruned node from another (BIP159)
        self._write_out()
        self._reading = True
        Deferred.fromCoroutine(self._give_block(id, witness)).addErrback(self._not_read).addBoth(self._read_on)

    async def _give_block(self, id: ItemId, witness: bool) -> None:
        peer = self._peer
        protocol, session = peer.protocol, peer.session
        frame = await protocol.block_frames.get(id, witness)
        if frame is None:
            protocol.block_sync.damaged(id)
            return
        if session.closing:
            return
        session.sent("block")
        session.write(frame)
        if id == self.continue_at:
            self.continue_at = b""
            peer.say("inv", encode_ids(MSG_BLOCK, [protocol.tip().hash]))

    def _not_read(self, failure: Failure) -> None:
        protocol = self._peer.protocol
        protocol.turned_away.add(1, "unreadable-block")
        protocol.context.log.error("a block could not be read for a peer: {error}", error=failure.getErrorMessage())

    def _read_on(self, _: object) -> None:
        self._reading = False
        if not self._peer.session.closing:
            self.go_on()

