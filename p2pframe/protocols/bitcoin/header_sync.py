"""Headers first: from one peer at a time until our best header is of the last day, then from all.

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
from p2pframe.protocols.bitcoin.header_index import AddResult, HeaderIndex, TooLittleWork
from p2pframe.protocols.bitcoin.header_intake import HeaderIntake
from p2pframe.protocols.bitcoin.headers import HeaderError, claimed_work

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

RECENT = 24 * 60 * 60
"""Seconds: with a tip younger than this everyone is asked at once (Bitcoin Core does so too)."""
TIME_A_HEADER = 0.001
"""Seconds by which each header that is still to come puts off the end of one peer's turn (Core's figure)."""


class HeaderSync:
    """Of one network. `added` is called with the peer and what became of its headers, whenever any are new.

    Every peer that serves blocks gets its turn: whoever is asked first may be behind, or hold back. `peer` is the one
    whose turn it is, None where nobody's is.
    """

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
        self._waiting: dict[Conversation, None] = {}
        self.peer: Conversation | None = None
        self._since = 0.0
        self._extra = b""
        self._dropped = context.metrics.counter(
            "headers_dropped_total", "Headers messages without effect.", ("reason",)
        )
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
        if peer.serves_blocks:
            self._peers[peer] = self._waiting[peer] = None
            turn = self.peer
            # Whoever dials in first and says nothing must not hold up the sync once there is somebody whom we chose.
            if turn is None or (turn.session.inbound and not turn.best_header and not peer.session.inbound):
                self._choose()

    def closed(self, peer: Conversation) -> None:
        """A session has ended: another one may have to take over."""
        self._peers.pop(peer, None)
        self._waiting.pop(peer, None)
        if peer is self.peer:
            self._choose()

    def ask(self, peer: Conversation) -> None:
        """Ask for what follows our best header's parent.

        So a peer at the same tip answers with one header, and we see it.
        """
        index = self._index
        start = index.parent_of(index.tip) if index.height else index.tip
        peer.ask_headers(index.locator(start))

    def heard_of(self, peer: Conversation, hash: bytes) -> None:
        """A peer announced a block whose header is not known.

        During a long sync not everyone who says so is asked, or all would send us the whole chain: one more for each
        new block (Core does so too), so that a new block gets us past a sync peer that holds back.
        """
        peer.last_unknown = hash
        if self.peer is not None and self.peer is not peer and not self.recent:
            if hash == self._extra:
                return
            self._extra = hash
        peer.ask_headers(self._index.locator())

    def received(self, peer: Conversation, headers: list[bytes]) -> None:
        """A headers message."""
        if peer.intake is None:
            peer.intake = HeaderIntake(self._index, self._context.entropy)
        passes = peer.intake.presync is not None
        try:
            step = peer.intake.receive(headers, self._context.unix_time())
        except HeaderError as error:
            self._refused(peer, error)
            self._answered(peer)
            return
        if step.note:
            self._dropped.add(1, step.note)
        if step.note == "does-not-connect":
            # An announcement, and no answer to what we asked: that one is still to come, unless two passes broke off.
            if passes:
                peer.headers_asked = 0.0
            peer.unconnected += 1
            if peer.unconnected <= self._config().unconnected:
                peer.ask_headers(step.ask)
            else:
                self._dropped.add(1, "unconnected-too-often")
            return
        if step.added is not None:
            peer.unconnected = 0
            self._keep(peer, step.added)
        elif headers and not step.note:
            self.knows(peer, header_hash(headers[-1]))
        if step.ask:
            peer.ask_headers(step.ask, follow_up=True)
        else:
            self._answered(peer)

    def take(self, header: bytes, ours: bool = False) -> bool:
        """The header of a block that came by itself, or is our own; False where it does not connect.

        Raises `HeaderError` for a bad one, and where somebody else's chain has too little work to be worth storing.
        """
        index = self._index
        if header_hash(header) in index:
            return True
        if header[4:36] not in index:
            return False
        if not ours and index.work_of(header[4:36]) + claimed_work(header) < index.work_wanted:
            raise TooLittleWork(0, "too-little-work", f"a block after {hash_hex(header[4:36])}")
        self._keep(None, index.add_headers(header, self._context.unix_time()))
        return True

    def tick(self, now: float) -> None:
        """Called about once a second: look for answers that are late, and for a turn that takes too long."""
        limit = self._config().headers_timeout
        for peer in list(self._peers):
            if peer.headers_asked and now - peer.headers_asked > limit:
                peer.headers_asked = 0.0
                peer.session.fact(Fact("timeout", evidence=f"no headers within {limit:g} s", proven=True))
                if peer is self.peer:
                    self._replace(peer, f"no headers within {limit:g} s")
        if self.peer is None or not self.peer.headers_asked:
            self._choose()
        elif not self.recent and now > self._deadline and self._waiting:
            self._replace(self.peer, f"all headers did not come within {now - self._since:.0f} s")

    @property
    def _deadline(self) -> float:
        age = max(0.0, self._context.unix_time() - self._index.tip_time)
        expected = age / self._index.chain.target_spacing
        return self._since + self._config().headers_turn + expected * TIME_A_HEADER

    def _replace(self, peer: Conversation, why: str) -> None:
        """The peer whose turn it is does not deliver: the next one."""
        if not peer.session.closing and peer.session.slot is not Slot.MANUAL:
            peer.session.close("headers-timeout", why)
        self._choose()
        # A manual one stays: it may be asked again once the others had their turn.
        if peer in self._peers and peer is not self.peer:
            self._waiting[peer] = None

    def _choose(self) -> None:
        """Give one peer its turn: dialled ones first, as nobody chose those but us.

        All at once where our tip is recent.
        """
        self.peer = None
        recent = self.recent
        waiting = [peer for peer in self._waiting if not peer.session.closing]
        waiting.sort(key=lambda peer: peer.session.inbound)
        for peer in waiting:
            del self._waiting[peer]
            if not recent:
                self.peer = peer
                self._since = self._context.reactor.seconds()
            self.ask(peer)
            if not recent:
                return

    def _answered(self, peer: Conversation) -> None:
        """Nothing more is asked of a peer: the next one's turn, if it was this one's."""
        peer.headers_asked = 0.0
        if peer is self.peer:
            self._choose()

    def _keep(self, peer: Conversation | None, added: AddResult) -> None:
        if added.stored and self._blob is not None:
            try:
                self._blob.append(added.stored)
            except StorageError as error:
                # They are in memory and good; what is not on disk is fetched again after a restart.
                self._context.log.error("headers could not be stored: {error}", error=str(error))
        self._held.set(len(self._index))
        if peer is not None:
            self.knows(peer, added.last)
            if peer.last_unknown and peer.last_unknown in self._index:
                self.knows(peer, peer.last_unknown)
                peer.last_unknown = b""
        if added.new:
            self._added(peer, added)

    def knows(self, peer: Conversation, hash: bytes) -> None:
        """A peer has that header: remember the one with the most work."""
        index = self._index
        best = peer.best_header
        if hash in index and (not best or index.work_of(hash) > index.work_of(best) or index.is_invalid(best)):
            peer.best_header = hash

    def _refused(self, peer: Conversation, error: HeaderError) -> None:
        self._dropped.add(1, error.rule)
        if error.offence:
            evidence = f"{error} (after {hash_hex(self._index.tip)})"
            peer.session.fact(Fact("bad-headers", Floor.END_AND_DISCOURAGE, evidence[:300], proven=True))
