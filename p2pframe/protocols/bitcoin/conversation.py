"""What is said over one Bitcoin session once the handshake (see `handshake`) is done.

Keep-alive, inventory, headers, addresses.

The states are three tables of the frame loop: waiting for version, waiting for verack, open. What arrives in a state
that has no use for it passes unread and is counted, as the protocol grows by unknown messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from p2pframe.framing import FrameLoop, MalformedMessage, TooMany
from p2pframe.interfaces import IConversation, ISession
from p2pframe.model import Fact, Floor, Item, ItemId, Slot, Topic
from p2pframe.protocols.bitcoin.addresses import NetworkAddress, decode_addr, decode_addrv2, encode_addr, encode_addrv2
from p2pframe.protocols.bitcoin.block import Block
from p2pframe.protocols.bitcoin.block_store import TOPIC as BLOCK
from p2pframe.protocols.bitcoin.frame import command_table
from p2pframe.protocols.bitcoin.handshake import BEFORE_VERSION, VERSION, send_version
from p2pframe.protocols.bitcoin.header_intake import HeaderIntake
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    MSG_WTX,
    Locator,
    decode_headers,
    decode_inventory,
    decode_locator,
    encode_headers,
    encode_ids,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import (
    KINDS,
    LONGEST,
    decode_feefilter,
    encode_feefilter,
    encode_nonce,
)
from p2pframe.protocols.bitcoin.pool import TX
from p2pframe.protocols.bitcoin.serving import Serving
from p2pframe.protocols.bitcoin.transaction import Transaction

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.protocol import BitcoinProtocol

SENDHEADERS_VERSION = 70012
FEEFILTER_VERSION = 70013
INVENTORY_CHUNK = 1000
ADDR_BURST = 10
"""Messages of addresses that a session may send at once, on top of one in each `addr_interval`."""
MOST_HEADERS_TOLD = 8
GETBLOCKS_ANSWER = MOST_IDS_TOLD = 500
LARGE = 8_192


@implementer(IConversation)
class Conversation:
    """One session's conversation."""

    __slots__ = (
        "_addr_paid_until", "_answered_getaddr", "_asked_addresses", "_asked_sendheaders", "_ping_nonce",
        "_ping_sent", "_serving", "_told", "_told_id", "addrv2", "best_header", "fee_filter", "headers_asked",
        "intake", "last_unknown", "limited", "loop", "nonce", "open", "peer_version", "protocol", "relay",
        "sendheaders", "serves_blocks", "session", "told_own", "unconnected", "wtxid",
    )  # fmt: skip

    def __init__(self, protocol: BitcoinProtocol, session: ISession) -> None:
        self.protocol = protocol
        self.session = session
        self.loop: FrameLoop[bytes, Conversation] = FrameLoop(session, protocol.framing, self, BEFORE_VERSION)
        self.nonce = protocol.context.entropy.integer(64)
        self.open = False
        self.peer_version = 0
        self.relay = True
        self.wtxid = False
        self.addrv2 = False
        self.sendheaders = False
        self.serves_blocks = False
        self.limited = False
        self.fee_filter = 0
        self.best_header = b""
        self.last_unknown = b""
        self.headers_asked = 0.0
        self.unconnected = 0
        self.intake: HeaderIntake | None = None
        self._serving: Serving | None = None
        self._ping_nonce = b""
        self._ping_sent = 0.0
        self._answered_getaddr = False
        self._asked_addresses = False
        self._addr_paid_until = 0.0
        self._asked_sendheaders = False
        self._told = b""
        self._told_id = b""
        self.told_own = 0.0

    # --- called by core ---

    def start(self) -> None:
        """See `IConversation.start`: who dialled speaks first."""
        self.protocol.nonces[self.nonce] = self
        if not self.session.inbound:
            send_version(self)

    def receive(self, data: bytes) -> None:
        """See `IConversation.receive`."""
        self.loop.receive(data)

    def resume(self) -> None:
        """See `IConversation.resume`."""
        self.loop.resume()

    def tick(self, now: float) -> None:
        """See `IConversation.tick`: pings, and our own address now and then."""
        config = self.protocol.config
        if self._ping_nonce:
            if now - self._ping_sent > config.ping_timeout:
                self.session.close("ping-timeout", f"no pong for {now - self._ping_sent:.0f} s")
        elif now - self._ping_sent >= config.ping_interval:
            self._ping(now)
        if not self._asked_sendheaders and self.protocol.index.has_minimum_work:
            self._ask_sendheaders()
        if config.external and not self.protocol.exchange.leads and self.takes_own_address(now):
            self.tell_own_address(now, self.protocol.own_addresses())

    def drained(self) -> None:
        """See `IConversation.drained`."""
        if self._serving is not None:
            self._serving.go_on()

    def announce(self, topic: Topic, items: Sequence[Item]) -> None:
        """See `IConversation.announce`."""
        if not self.protocol.serves:
            return
        if topic == BLOCK:
            self._announce_blocks([item.id for item in items])
        else:
            rate, wtxid = self.fee_filter, self.wtxid
            ids = [
                item.id if wtxid or not item.aliases else item.aliases[0]
                for item in items
                if item.priority is None or item.priority >= rate
            ]
            self._send_inventory(MSG_WTX if wtxid else MSG_TX, ids)

    def request(self, topic: Topic, ids: Sequence[ItemId]) -> None:
        """See `IConversation.request`."""
        if topic == BLOCK:
            kind = MSG_WITNESS_BLOCK
        else:
            kind = MSG_WTX if self.wtxid else MSG_WITNESS_TX
        for start in range(0, len(ids), INVENTORY_CHUNK):
            self.say("getdata", encode_ids(kind, ids[start : start + INVENTORY_CHUNK]))

    def deliver(self, topic: Topic, item: Item) -> None:
        """See `IConversation.deliver`."""
        body = item.body
        if isinstance(body, Transaction):
            self.say("tx", body.raw)
        elif isinstance(body, (Block, bytes)):
            self.say("block", body.raw if isinstance(body, Block) else body)

    def push(self, topic: Topic, item: Item) -> None:
        """See `IConversation.push`: not among our verbs (peers drop those who push)."""
        raise ValueError("Bitcoin has no push: announce, and deliver what is asked for")

    def graft(self, topic: Topic) -> None:
        """See `IConversation.graft`: not among our verbs."""
        raise ValueError("Bitcoin has no graft")

    def prune(self, topic: Topic) -> None:
        """See `IConversation.prune`: not among our verbs."""
        raise ValueError("Bitcoin has no prune")

    def closed(self, reason: str) -> None:
        """See `IConversation.closed`."""
        self.loop.stop()
        self.protocol.nonces.pop(self.nonce, None)
        if self._serving is not None:
            self._serving.stop()
        if self.open:
            self.open = False
            self.protocol.closed(self)

    # --- called by the frame loop ---

    def corrupt(self, kind: str, length: int) -> None:
        """See `IRejections.corrupt`."""
        self.protocol.dropped.add(1, "checksum")

    def malformed(self, kind: str, error: MalformedMessage) -> None:
        """See `IRejections.malformed`."""
        self.protocol.dropped.add(1, "malformed")
        self.session.fact(Fact("malformed", evidence=f"{kind}: {error}"[:200], proven=self.open))

    def excessive(self, kind: str, error: TooMany) -> None:
        """See `IRejections.excessive`."""
        self.protocol.dropped.add(1, "too-many")
        self.session.fact(Fact("too-many", Floor.END_AND_DISCOURAGE, f"{kind}: {error}"[:200], proven=self.open))

    # --- what others of the protocol call ---

    def say(self, kind: str, payload: bytes = b"") -> None:
        """Send a message, with the replies of the present read where there is one."""
        self.session.sent(kind)
        if len(payload) < LARGE:
            self.loop.send(self.protocol.framing.frame(kind, payload))
        else:
            # At once, so that a peer that does not take it is noticed before its next request: small ones bring large
            # answers.
            collected = b"".join(self.loop.out)
            self.loop.out.clear()
            self.session.write(collected + self.protocol.framing.frame(kind, payload))

    def ask_headers(self, locator: Sequence[bytes], follow_up: bool = False) -> None:
        """Send getheaders, unless an answer is awaited already."""
        if self.headers_asked and not follow_up:
            return
        self.headers_asked = self.session.now or 1e-9
        self.say("getheaders", encode_locator(Locator(VERSION, locator)))

    def tell_addresses(self, entries: Sequence[NetworkAddress]) -> None:
        """Send addresses, in the form that was agreed on."""
        if not self.addrv2:
            entries = [entry for entry in entries if len(entry.address) in (4, 16)]
        if entries and not self.session.closing:
            self.say("addrv2", encode_addrv2(entries)) if self.addrv2 else self.say("addr", encode_addr(entries))

    def tell_fee_filter(self) -> None:
        """Say which transactions are not worth announcing to us."""
        if self.session.link(TX) is not None and self.peer_version >= FEEFILTER_VERSION:
            self.say("feefilter", encode_feefilter(self.protocol.config.fee_filter))

    # --- the session opens ---

    def begin(self) -> None:
        """The handshake is complete."""
        session, protocol = self.session, self.protocol
        self.loop.table = OPEN
        self.open = True
        whole = self.relay and protocol.relays_transactions and session.slot is not Slot.BLOCK_RELAY
        session.opened([TX, BLOCK] if whole else [BLOCK])
        if session.closing:
            return
        if protocol.index.has_minimum_work:
            self._ask_sendheaders()
        self._ping(session.now)
        protocol.opened(self)
        self.tell_fee_filter()
        # Where a discovery decides whom to ask, a feeler asks all the same: it is over before its turn would come.
        by_itself = session.slot is Slot.FEELER or not protocol.exchange.leads
        if by_itself and not session.inbound and session.slot is not Slot.BLOCK_RELAY:
            self.ask_addresses()

    def _ask_sendheaders(self) -> None:
        """Once our headers are those of the real chain.

        Before that an announcement by headers would break presync off.
        """
        self._asked_sendheaders = True
        if self.peer_version >= SENDHEADERS_VERSION:
            self.say("sendheaders")

    def on_late(self, payload: bytes) -> None:
        """Something that may only be agreed on before verack: the peer does not know what it says."""
        self.session.fact(Fact("late-negotiation", Floor.END, "negotiated after verack", proven=True))

    # --- keep-alive ---

    def _ping(self, now: float) -> None:
        nonce = encode_nonce(self.protocol.context.entropy.integer(64))
        self._ping_nonce, self._ping_sent = nonce, now
        self.say("ping", nonce)

    def on_ping(self, payload: bytes) -> None:
        """Answer with the same nonce (BIP31)."""
        if len(payload) >= 8:
            self.loop.out.append(self.protocol.framing.pong(payload[:8]))
            self.session.sent("pong")

    def on_pong(self, payload: bytes) -> None:
        """The answer to our ping; one that matches none is ignored."""
        if self._ping_nonce and payload[:8] == self._ping_nonce:
            self._ping_nonce = b""
            counters = self.session.counters
            counters.ping = max(0.0, self.session.now - self._ping_sent)
            counters.best_ping = counters.ping if counters.best_ping is None else min(counters.best_ping, counters.ping)

    # --- inventory ---

    def on_inv(self, payload: bytes) -> None:
        """The peer has transactions or blocks."""
        protocol, session = self.protocol, self.session
        for kind, ids in decode_inventory(payload).items():
            if kind == (MSG_WTX if self.wtxid else MSG_TX):
                # Before our blocks are there we could judge none of it.
                if session.link(TX) is not None and not protocol.syncing:
                    protocol.items.announced(session, TX, ids)  # type: ignore[arg-type]  # 32 bytes each: ItemIds
            elif kind == MSG_BLOCK:
                protocol.blocks_announced(self, ids)

    def on_getdata(self, payload: bytes) -> None:
        """The peer wants transactions or blocks in full."""
        if self._serving is None:
            self._serving = Serving(self)
        self._serving.asked(payload)

    def on_notfound(self, payload: bytes) -> None:
        """The peer has not got what we asked for."""
        for kind, ids in decode_inventory(payload, "notfound").items():
            if kind in (MSG_TX, MSG_WITNESS_TX, MSG_WTX):
                self.protocol.items.not_found(self.session, TX, [ItemId(id) for id in ids])
            elif kind in (MSG_BLOCK, MSG_WITNESS_BLOCK):
                self.protocol.items.not_found(self.session, BLOCK, [ItemId(id) for id in ids])

    def on_tx(self, payload: bytes) -> None:
        """A transaction."""
        protocol, session = self.protocol, self.session
        if not protocol.relays_transactions or session.slot is Slot.BLOCK_RELAY:
            session.fact(
                Fact("unwanted-tx", Floor.END, "a transaction where we said that none are relayed", proven=True)
            )
        elif session.link(TX) is None or protocol.syncing:
            # It said itself that it relays none, or we could not judge it yet.
            protocol.dropped.add(1, "tx-syncing" if protocol.syncing else "tx-without-relay")
        else:
            protocol.items.delivered(session, protocol.pool.item(payload))

    def on_block(self, payload: bytes) -> None:
        """A block."""
        self.protocol.block_received(self, payload)

    # --- headers ---

    def on_headers(self, payload: bytes) -> None:
        """Headers: asked for, or the announcement of new blocks."""
        self.protocol.headers_received(self, decode_headers(payload))

    def on_getheaders(self, payload: bytes) -> None:
        """The peer wants headers. Where we have or serve none the answer is empty, so that it need not wait for one."""
        locator = decode_locator(payload)
        protocol = self.protocol
        index, chain = protocol.index, protocol.block_sync.chain
        hashes: list[bytes] = []
        if protocol.serves and index.has_minimum_work:
            if not locator.hashes:
                hashes = [locator.stop] if locator.stop in chain else []
            else:
                hashes = chain.after(locator.hashes, locator.stop)
                self._now_knows(hashes[-1] if hashes else chain.tip)
        self.say("headers", encode_headers([index.header(hash) for hash in hashes]))

    def on_getblocks(self, payload: bytes) -> None:
        """The old way to ask for what follows: answered with ids of at most 500 blocks."""
        locator = decode_locator(payload, "getblocks")
        protocol = self.protocol
        if not protocol.serves or not protocol.index.has_minimum_work:
            return
        found = protocol.block_sync.chain.after(locator.hashes, locator.stop, GETBLOCKS_ANSWER)
        hashes = [hash for hash in found if protocol.blocks.have(ItemId(hash))]
        self._told_id = found[-1] if found else protocol.block_sync.chain.tip
        if hashes:
            if self._serving is None:
                self._serving = Serving(self)
            self._serving.continue_at = hashes[-1] if len(found) == GETBLOCKS_ANSWER else b""
            self._send_inventory(MSG_BLOCK, hashes)

    def on_sendheaders(self, payload: bytes) -> None:
        """The peer wants new blocks announced by their headers (BIP130)."""
        self.sendheaders = True

    def on_feefilter(self, payload: bytes) -> None:
        """The peer wants no transactions below a fee rate (BIP133)."""
        self.fee_filter = decode_feefilter(payload)

    # --- addresses ---

    def on_addr(self, payload: bytes) -> None:
        """Addresses, in the old form."""
        if self._wants_addresses():
            self._addresses(decode_addr(payload))

    def on_addrv2(self, payload: bytes) -> None:
        """Addresses, in the form of BIP155."""
        if self._wants_addresses():
            self._addresses(decode_addrv2(payload))

    def _wants_addresses(self) -> bool:
        """Whether a message of addresses is worth decoding.

        A thousand of them take milliseconds, of which core would keep none: that adds up over a hundred peers that send
        nothing else.
        """
        if self.session.slot is Slot.BLOCK_RELAY:
            return False  # such a session must not become a source of addresses
        now, interval = self.session.now, self.protocol.config.addr_interval
        paid_until = max(self._addr_paid_until, now) + interval
        if paid_until - now > ADDR_BURST * interval:
            self.protocol.dropped.add(1, "addr-rate")
            return False
        self._addr_paid_until = paid_until
        return True

    def _addresses(self, entries: list[NetworkAddress]) -> None:
        solicited = self._asked_addresses and len(entries) > 10
        if solicited:
            self._asked_addresses = False
        self.protocol.addresses_received(self, entries, solicited)

    def on_getaddr(self, payload: bytes) -> None:
        """The peer wants addresses: told inbound peers only, once, so that nobody can map our book."""
        if self.session.inbound and not self._answered_getaddr:
            self._answered_getaddr = True
            entries = self.protocol.addresses_for(self)
            for start in range(0, len(entries), 1000):
                self.tell_addresses(entries[start : start + 1000])

    @property
    def answers_getaddr(self) -> bool:
        """Whether it could answer a getaddr: only who was dialled does, and a feeler is gone by then."""
        session = self.session
        return not session.inbound and not session.closing and session.slot not in (Slot.BLOCK_RELAY, Slot.FEELER)

    def ask_addresses(self) -> None:
        """Say getaddr: once in the life of a session."""
        self._asked_addresses = True
        self.say("getaddr")

    def takes_own_address(self, now: float) -> bool:
        """Whether it is to be told where we are: not who relays blocks only, and each about once a day."""
        return self.relay and self.session.slot is not Slot.BLOCK_RELAY and now >= self.told_own

    def tell_own_address(self, now: float, own: Sequence[NetworkAddress]) -> None:
        """Tell it where we are; the next time is drawn."""
        interval = self.protocol.config.own_address_interval
        self.told_own = now + interval * self.protocol.context.rng.uniform(0.8, 1.2)
        self.tell_addresses(own)

    # --- services that we do not have ---

    def on_unserved(self, payload: bytes) -> None:
        """mempool and the bloom filters of BIP37.

        Only peers that offer BLOOM may be asked; who asks us all the same is closed.
        """
        self.session.fact(Fact("no-such-service", Floor.END, "asked for a service that we do not offer", proven=True))

    # --- inside ---

    def _send_inventory(self, kind: int, ids: Sequence[bytes]) -> None:
        for start in range(0, len(ids), INVENTORY_CHUNK):
            self.say("inv", encode_ids(kind, ids[start : start + INVENTORY_CHUNK]))

    def _announce_blocks(self, hashes: Sequence[bytes]) -> None:
        """By headers where the peer asked for it and they connect to what it has, else by id."""
        protocol = self.protocol
        index, chain = protocol.index, protocol.block_sync.chain
        hashes = [hash for hash in hashes if hash in chain and not self._has_header(hash, self.best_header)]
        if not hashes:
            return
        if not self.sendheaders:
            self._announce_by_id(hashes)
            return
        parent = index.parent_of(hashes[0])
        connects = self._has_header(parent, self.best_header) or self._has_header(parent, self._told)
        if connects and len(hashes) <= MOST_HEADERS_TOLD:
            self.say("headers", encode_headers([index.header(hash) for hash in hashes]))
            self._now_knows(hashes[-1])
        else:
            # The headers in between are asked for.
            self._send_inventory(MSG_BLOCK, hashes[-1:])

    def _announce_by_id(self, hashes: Sequence[bytes]) -> None:
        """Blocks, and those before them that the peer was not told of.

        After a long sync, in which we tell of nothing, the first news would be an orphan to who goes by ids, and what
        follows too: it asks with getblocks after each of them, and bcoin again after each answer. All that is missing
        is told, unless that is more than an answer to getblocks has.
        """
        index, last = self.protocol.index, hashes[-1]
        if self._has_header(last, self._told_id):
            return  # in an answer to getblocks
        told = [hash for hash in (self._told_id, self._told, self.best_header) if hash]
        known = max(told, key=index.work_of, default=b"")
        height = index.height_of(last)
        if known and height - index.height_of(known) <= MOST_IDS_TOLD:
            first = min(index.height_of(index.fork_of(known, last)) + 1, index.height_of(hashes[0]))
            hashes = [index.ancestor(last, each) for each in range(first, height + 1)]
        self._send_inventory(MSG_BLOCK, hashes[-MOST_IDS_TOLD:])
        self._told_id = last

    def _now_knows(self, hash: bytes) -> None:
        """The peer has been told of a header: those that follow it connect."""
        index = self.protocol.index
        if not self._told or index.work_of(hash) > index.work_of(self._told):
            self._told = hash

    def _has_header(self, hash: bytes, last: bytes) -> bool:
        """Whether a header is on the chain that ends in `last` (empty: nothing but the genesis header is known)."""
        index = self.protocol.index
        height = index.height_of(hash)
        if not last:
            return height == 0
        return index.height_of(last) >= height and index.ancestor(last, height) == hash


_OPEN = {
    "ping": Conversation.on_ping,
    "pong": Conversation.on_pong,
    "inv": Conversation.on_inv,
    "getdata": Conversation.on_getdata,
    "notfound": Conversation.on_notfound,
    "tx": Conversation.on_tx,
    "block": Conversation.on_block,
    "headers": Conversation.on_headers,
    "getheaders": Conversation.on_getheaders,
    "getblocks": Conversation.on_getblocks,
    "sendheaders": Conversation.on_sendheaders,
    "feefilter": Conversation.on_feefilter,
    "addr": Conversation.on_addr,
    "addrv2": Conversation.on_addrv2,
    "getaddr": Conversation.on_getaddr,
    "mempool": Conversation.on_unserved,
    "filterload": Conversation.on_unserved,
    "filteradd": Conversation.on_unserved,
    "filterclear": Conversation.on_unserved,
    "wtxidrelay": Conversation.on_late,
    "sendaddrv2": Conversation.on_late,
    "sendtxrcncl": Conversation.on_late,
    "feature": Conversation.on_late,
}
OPEN = command_table(_OPEN, KINDS, LONGEST)
