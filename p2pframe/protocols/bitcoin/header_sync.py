"""Headers first: from one peer until it has no more, then from all.

It decides whom to ask for headers and when an answer is late; what headers lead to is `HeaderIntake`'s, what is held is
`HeaderIndex`'s. New headers go to the blob in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pframe.errors import StorageError
from p2pframe.interfaces import IBlob, IContext
from p2pframe.model import Fact, Floor, Slot
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header import hash_hex, header_hash
from p2pframe.protocols.bitcoin.header_index import AddResult, HeaderIndex
from p2pframe.protocols.bitcoin.header_intake import HeaderIntake
from p2pframe.protocols.bitcoin.headers import MAXIMUM_HEADERS, HeaderError

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

RECENT = 24 * 60 * 60
"""Seconds: with a tip younger than this everyone is asked at once (Bitcoin Core does so too)."""


class HeaderSync:
    """Of one network. `added` is called with the peer and what became of its headers, whenever any are new."""

    def __init__(
        self,
        config: Callable[[], BitcoinConfig],
        context: IContext,
        index: HeaderIndex,
        added: Callable[[Conversation | None, AddResult], None],
    ) -> None:
        self._config = config
        self._context = context
        self._index = index
        self._added = added
        self._blob: IBlob | None = None
        self._peers: dict[Conversation, None] = {}
        self.peer: Conversation | None = None
        self.done = False
        self._dropped = context.metrics.counter("headers_dropped_total", "Headers messages without effect.", ("reason",))
        self._held = context.metrics.gauge("headers_held", "Headers in the index.")

    def start(self, blob: IBlob) -> None:
        """From now on new headers are appended to `blob`."""
        self._blob = blob
        self._held.set(len(self._index))

    @property
    def recent(self) -> bool:
        """Whether the best header is of the last day: then there is no long sync to begin."""
        return self._context.unix_time() - self._index.tip_time < RECENT

    def opened(self, peer: Conversation) -> None:
        """A session has opened."""
        self._peers[peer] = None
        if self.done or self.recent:
            self.ask(peer)
        elif self.peer is None:
            self._choose()

    def closed(self, peer: Conversation) -> None:
        """A session has ended: another one may have to take over."""
        self._peers.pop(peer, None)
        if peer is self.peer:
            self.peer = None
            self._choose()

    def ask(self, peer: Conversation) -> None:
        """Ask for what follows our best header's parent: so a peer at the same tip answers with one header, and we see it."""
        index = self._index
        start = index.parent_of(index.tip) if index.height else index.tip
        peer.ask_headers(index.locator(start))

    def heard_of(self, peer: Conversation, hash: bytes) -> None:
        """A peer announced a block whose header is not known."""
        peer.last_unknown = hash
        peer.ask_headers(self._index.locator())

    def received(self, peer: Conversation, headers: list[bytes]) -> None:
        """A headers message."""
        peer.headers_asked = 0.0
        if peer.intake is None:
            peer.intake = HeaderIntake(self._index, self._context.entropy)
        try:
            step = peer.intake.receive(headers, self._context.unix_time())
        except HeaderError as error:
            self._refused(peer, error)
            return
        if step.note:
            self._dropped.add(1, step.note)
        if step.added is not None:
            peer.unconnected = 0
            self._keep(peer, step.added)
        elif headers and not step.note:
            self._knows(peer, header_hash(headers[-1]))
        if step.ask:
            if step.note == "does-not-connect":
                peer.unconnected += 1
                if peer.unconnected > self._config().unconnected:
                    self._dropped.add(1, "unconnected-too-often")
                    return
            peer.ask_headers(step.ask, follow_up=step.note != "does-not-connect")
        elif peer is self.peer and len(headers) < MAXIMUM_HEADERS:
            self._finished(peer)

    def take(self, header: bytes) -> bool:
        """The header of a block that came by itself (or is our own); False where it does not connect or has too little
        work. Raises `HeaderError` for a bad one."""
        index = self._index
        if header_hash(header) in index:
            return True
        if header[4:36] not in index:
            return False
        self._keep(None, index.add_headers(header, self._context.unix_time()))
        return True

    def tick(self, now: float) -> None:
        """Called about once a second: look for answers that are late."""
        limit = self._config().headers_timeout
        for peer in list(self._peers):
            if peer.headers_asked and now - peer.headers_asked > limit:
                peer.headers_asked = 0.0
                peer.session.fact(Fact("timeout", evidence=f"no headers within {limit:g} s", proven=True))
                if peer is self.peer:
                    self.peer = None
                    if not peer.session.closing and peer.session.slot is not Slot.MANUAL:
                        peer.session.close("headers-timeout", f"no headers within {limit:g} s")
                    self._choose(after=peer)

    def _choose(self, after: Conversation | None = None) -> None:
        """Take one peer to sync from: dialled ones first, as nobody chose those but us."""
        if self.done:
            return
        peers = [peer for peer in self._peers if peer is not after and not peer.session.closing and peer.serves_blocks]
        peers.sort(key=lambda peer: peer.session.inbound)
        if peers:
            self.peer = peers[0]
            self.ask(peers[0])

    def _finished(self, peer: Conversation) -> None:
        """The one peer has no more headers: from now on everyone is asked."""
        self.peer = None
        self.done = True
        for other in list(self._peers):
            if other is not peer:
                self.ask(other)

    def _keep(self, peer: Conversation | None, added: AddResult) -> None:
        if added.stored and self._blob is not None:
            try:
                self._blob.append(added.stored)
            except StorageError as error:
                # They are in memory and good; what is not on disk is fetched again after a restart.
                self._context.log.error("headers could not be stored: {error}", error=str(error))
        self._held.set(len(self._index))
        if peer is not None:
            self._knows(peer, added.last)
            if peer.last_unknown and peer.last_unknown in self._index:
                self._knows(peer, peer.last_unknown)
                peer.last_unknown = b""
        if added.new:
            self._added(peer, added)

    def _knows(self, peer: Conversation, hash: bytes) -> None:
        """A peer has that header: remember the one with the most work."""
        index = self._index
        if hash in index and (not peer.best_header or index.work_of(hash) > index.work_of(peer.best_header)):
            peer.best_header = hash

    def _refused(self, peer: Conversation, error: HeaderError) -> None:
        self._dropped.add(1, error.rule)
        if error.offence:
            evidence = f"{error} (after {hash_hex(self._index.tip)})"
            peer.session.fact(Fact("bad-headers", Floor.END_AND_DISCOURAGE, evidence[:300], proven=True))
