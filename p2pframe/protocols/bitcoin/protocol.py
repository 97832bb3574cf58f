"""The `bitcoin` protocol plugin: puts index, store, pool, syncs and conversations of one network together.

What is decided where: headers in `header_sync` and `header_index`, bodies in `block_sync`, transactions in `pool`,
addresses in `gossip`, what is said in `conversation`. This file starts, stops and wires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer, provider

from p2pframe.framing import MalformedMessage
from p2pframe.interfaces import (
    Alert,
    IAddressBook,
    IAlerts,
    IContext,
    IConversation,
    IDatagramPort,
    IDatagramReceiver,
    IInspectable,
    IInspector,
    IItems,
    IItemStore,
    INetworkProtocol,
    IPeerExchange,
    IReconfigurable,
    IScheduler,
    ISeedNames,
    ISession,
    IStatus,
    IValidator,
    TopicRules,
    Use,
)
from p2pframe.model import Fact, Floor, FoundAddress, Item, ItemId, Outcome, PeerAddress, Slot, Topic, Validation
from p2pframe.plugin import plugin
from p2pframe.protocols.bitcoin.addresses import NetworkAddress, legacy_address
from p2pframe.protocols.bitcoin.alerts import ChainWatch
from p2pframe.protocols.bitcoin.api import IBitcoin, Template, Tip
from p2pframe.protocols.bitcoin.block import Block, parse_block
from p2pframe.protocols.bitcoin.block_frames import BlockFrames
from p2pframe.protocols.bitcoin.block_store import TOPIC as BLOCK
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.block_sync import BlockSync
from p2pframe.protocols.bitcoin.block_validator import BlockValidator
from p2pframe.protocols.bitcoin.chains import CHAINS
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.conversation import Conversation
from p2pframe.protocols.bitcoin.exchange import PeerExchange
from p2pframe.protocols.bitcoin.frame import V1Framing
from p2pframe.protocols.bitcoin.gossip import RELAYED, AddressGossip
from p2pframe.protocols.bitcoin.handshake import VERSION
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, header_hash
from p2pframe.protocols.bitcoin.header_blob import load_header_blob
from p2pframe.protocols.bitcoin.header_index import AddResult, HeaderIndex
from p2pframe.protocols.bitcoin.header_sync import RECENT, HeaderSync
from p2pframe.protocols.bitcoin.headers import HeaderError, median_time, next_bits
from p2pframe.protocols.bitcoin.inspection import Inspector
from p2pframe.protocols.bitcoin.laggards import Laggards
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS, Version
from p2pframe.protocols.bitcoin.pool import TX, TransactionPool
from p2pframe.protocols.bitcoin.pool_follower import PoolFollower
from p2pframe.protocols.bitcoin.progress import Progress
from p2pframe.protocols.bitcoin.routable import bad_port, routable

_INVALID = b"invalid/"
_AGENTS = 1000
_TEMPLATE_WEIGHT = 3_900_000
_NEAR = 6


@plugin("bitcoin", config=BitcoinConfig)
@implementer(INetworkProtocol, IBitcoin, IPeerExchange, ISeedNames, IStatus, IAlerts, IInspectable, IReconfigurable)
@provider(IInspectable)
class BitcoinProtocol(Service):
    """Bitcoin's peer-to-peer protocol: headers, blocks and transactions of one chain."""

    seams: Mapping[str, Use] = {
        "transport": Use.REQUIRED,
        **dict.fromkeys(
            ("upgrade", "discovery", "topology", "relay", "scoring", "authentication", "validator"),
            Use.OPTIONAL,
        ),
    }
    topics: Mapping[Topic, TopicRules] = {
        TX: TopicRules(),
        BLOCK: TopicRules(urgent=True, scheduled=False, in_flight=16, announcements=10_000, inbound_delay=0.0),
    }
    verbs = frozenset({"announce", "request", "deliver"})
    datagrams = False

    def __init__(self, config: BitcoinConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.chain = CHAINS[config.chain]
        self.default_port = self.chain.default_port
        self.framing = V1Framing(self.chain.magic)
        self.items = context.service(IItems)
        self.book = context.service(IAddressBook)
        self.index = HeaderIndex(self.chain, config.headers)
        self.blocks = BlockStore(config, context, self.index)
        self.block_frames = BlockFrames(lambda: self.config, context, self.blocks, self.framing)
        self.pool = TransactionPool(config, context, evicted=self._left_pool)
        self.follower = PoolFollower(context, self.blocks, self.pool, self._left_pool)
        self.gossip = AddressGossip(config, context, self.book, self.chain.public)
        self.nonces: dict[int, Conversation] = {}
        metrics = context.metrics
        self.dropped = metrics.counter("messages_dropped_total", "Messages dropped, the session going on.", ("reason",))
        self.turned_away = metrics.counter("turned_away_total", "What a bound of the protocol refused.", ("reason",))
        self.header_sync = HeaderSync(lambda: self.config, context, self.index, self._headers_added)
        scheduler = context.service(IScheduler)
        self.block_sync = BlockSync(
            lambda: self.config, context, self.index, self.blocks, self.items, scheduler, self._tip_changed
        )
        self.laggards = Laggards(
            lambda: self.config, self.index, metrics, lambda: self.block_sync.chain.tip, self.header_sync.ask
        )
        self.progress = Progress(context, self.index, self.blocks)
        self.watch = ChainWatch(context, self.index, lambda: self.block_sync.chain.tip)
        self._conversations: dict[Conversation, None] = {}
        self.exchange = PeerExchange(
            lambda: self.config, lambda: self.services, context, self.gossip, self._conversations, self.turned_away
        )
        self._agents: dict[str, str] = {}
        self._on_tip: list[Callable[[Tip], None]] = []
        self._tip_at = 0.0
        self._caught_up = False
        self._timer: LoopingCall | None = None
        self._expired_at = 0.0
        self._unsubscribe: list[Callable[[], None]] = []

    # --- start and stop (IService) ---

    def startService(self) -> Deferred[None]:
        """Load headers and blocks. Fails with `StorageError`."""
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        storage = self.context.storage
        blob = await load_header_blob(self.index, storage, self.context.log)
        for key, _ in await storage.scan(_INVALID, _INVALID[:-1] + b"0"):
            hash = key[len(_INVALID) :]
            if hash in self.index:
                self.index.mark_invalid(hash)
        await self.blocks.start()
        if not self.running:
            return  # stopped meanwhile
        self.header_sync.start(blob)
        self.block_sync.start()
        self._tip_at = self._expired_at = self.context.reactor.seconds()
        self._unsubscribe = [self.items.subscribe(BLOCK, self.block_sync.accepted)]
        self._timer = LoopingCall(self._tick)
        self._timer.clock = self.context.reactor
        self._timer.start(1.0, now=False).addErrback(self._timer_failed)
        self.progress.started(self.tip())
        self.watch.start()

    def stopService(self) -> Deferred[None]:
        """Stop; the storage writes what is pending."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._timer is not None and self._timer.running:
            self._timer.stop()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        return self.blocks.stop()

    # --- INetworkProtocol ---

    def conversation(self, session: ISession) -> IConversation:
        """See `INetworkProtocol.conversation`."""
        return Conversation(self, session)

    def receiver(self, port: IDatagramPort) -> IDatagramReceiver:
        """See `INetworkProtocol.receiver`: never called, as `datagrams` is False."""
        raise TypeError("Bitcoin speaks over connections, not in datagrams")

    def dialable(self, address: PeerAddress) -> bool:
        """See `INetworkProtocol.dialable`.

        On public chains only what the whole Internet can route, and no other service's port.
        """
        return not self.chain.public or (routable(address) and not bad_port(address.port))

    def stores(self) -> Mapping[Topic, IItemStore]:
        """See `INetworkProtocol.stores`."""
        return {TX: self.pool, BLOCK: self.blocks}

    def validators(self) -> Mapping[Topic, IValidator]:
        """See `INetworkProtocol.validators`."""
        return {TX: self.pool, BLOCK: BlockValidator(self.index, self._block_invalid)}

    def seed_names(self) -> Sequence[str]:
        """See `ISeedNames.seed_names`."""
        return self.chain.dns_seeds

    def hand_over(self) -> None:
        """See `IPeerExchange.hand_over`."""
        self.exchange.hand_over()

    def ask(self, limit: int, peers: int) -> Deferred[Mapping[PeerAddress, Sequence[FoundAddress]]]:
        """See `IPeerExchange.ask`."""
        return self.exchange.ask(limit, peers)

    def tell(self, addresses: Sequence[PeerAddress], peers: int) -> int:
        """See `IPeerExchange.tell`."""
        return self.exchange.tell(addresses, peers)

    def stale(self) -> bool:
        """See `INetworkProtocol.stale`."""
        return self.context.reactor.seconds() - self._tip_at > self.config.stale_tip

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        assert isinstance(config, BitcoinConfig)
        told = self.config.fee_filter
        self.config = config
        self.index.limit = config.headers
        if config.fee_filter != told:
            for peer in self._conversations:
                peer.tell_fee_filter()
        self.blocks.options = self.pool.options = self.gossip.options = config

    def status(self) -> Mapping[str, str | int | float | bool]:
        """See `IStatus.status`."""
        tip = self.tip()
        return {
            "chain": self.chain.name, "height": tip.height, "headers": self.index.height, "tip": tip.hash[::-1].hex(),
            "blocks": len(self.blocks), "transactions": len(self.pool), "syncing": self.syncing, "serves": self.serves,
        }  # fmt: skip

    def alerts(self) -> Sequence[Alert]:
        """See `IAlerts.alerts`."""
        return self.watch.alerts()

    @classmethod
    def inspector(cls, way: str) -> IInspector:
        """See `IInspectable.inspector`."""
        return Inspector()

    # --- what we serve ---

    @property
    def serves(self) -> bool:
        """Whether blocks and transactions are announced and served: nobody checks scripts here yet."""
        chosen = self.config.serve_unvalidated
        return not self.chain.requires_validation if chosen is None else chosen

    @property
    def relays_transactions(self) -> bool:
        """Whether transactions are taken and passed on."""
        return self.config.relay_transactions and self.serves

    @property
    def services(self) -> int:
        """The service bits: only what is served."""
        if not self.serves:
            return 0
        pruned = self.config.prune or self.blocks.pruned
        return NODE_WITNESS | NODE_NETWORK_LIMITED | (0 if pruned else NODE_NETWORK)

    @property
    def syncing(self) -> bool:
        """Whether we have not yet caught up, since the start, with the best chain that we know of.

        Once caught up it stays so, as in Bitcoin Core: or headers whose bodies nobody has could make us deaf.
        """
        if not self._caught_up:
            index, chain = self.index, self.block_sync.chain
            old = self.chain.public and self.context.unix_time() - index.time_of(chain.tip) > RECENT
            behind = index.height - chain.height > _NEAR
            if old or behind or not index.has_minimum_work:
                return True
            # At the genesis block nobody has told us anything yet.
            self._caught_up = chain.height > 0
        return False

    def version_message(self, peer: Conversation) -> Version:
        """What we say of ourselves to a peer."""
        return Version(
            version=VERSION,
            services=self.services,
            time=int(self.context.unix_time()),
            receiver=legacy_address(peer.session.address),
            sender=legacy_address(None, self.services),
            nonce=peer.nonce,
            user_agent=self.config.agent.encode(),
            start_height=self.tip().height,
            relay=self.relays_transactions and peer.session.slot not in (Slot.BLOCK_RELAY, Slot.FEELER),
        )

    # --- what conversations tell ---

    def interned(self, agent: str) -> str:
        """One string for all peers of the same agent, for the first so many agents."""
        if len(self._agents) < _AGENTS:
            return self._agents.setdefault(agent, agent)
        return self._agents.get(agent, agent)

    def opened(self, peer: Conversation) -> None:
        """A session has opened."""
        self._conversations[peer] = None
        self.block_sync.opened(peer)
        self.header_sync.opened(peer)
        self.laggards.opened(peer)

    def closed(self, peer: Conversation) -> None:
        """An open session has ended."""
        self._conversations.pop(peer, None)
        self.exchange.closed(peer)
        self.header_sync.closed(peer)
        self.laggards.closed(peer)
        self.block_sync.closed(peer)

    def headers_received(self, peer: Conversation, headers: list[bytes]) -> None:
        """A headers message."""
        before = peer.best_header
        if headers and len(headers) <= 8:
            self.items.announced(peer.session, BLOCK, [ItemId(header_hash(header)) for header in headers])
        self.header_sync.received(peer, headers)
        if peer.best_header != before and not peer.session.closing:
            self.block_sync.showed(peer, before)

    def blocks_announced(self, peer: Conversation, ids: Sequence[bytes]) -> None:
        """Blocks announced by their ids: the header of one that we don't know is asked for."""
        self.items.announced(peer.session, BLOCK, ids)  # type: ignore[arg-type]  # 32 bytes each: ItemIds
        before, unknown = peer.best_header, b""
        for id in ids:
            if id not in self.index:
                unknown = id
            else:
                self.header_sync.knows(peer, id)
        if unknown:
            self.header_sync.heard_of(peer, unknown)
        if peer.best_header != before:
            self.block_sync.showed(peer, before)

    def block_received(self, peer: Conversation, raw: bytes) -> None:
        """A block: its header first, and the rest only where it is wanted. Raises `MalformedMessage`."""
        session = peer.session
        if len(raw) < HEADER_SIZE:
            raise MalformedMessage(f"a block of {len(raw)} bytes", "block")
        hash = ItemId(header_hash(raw[:HEADER_SIZE]))
        try:
            known = self.header_sync.take(raw[:HEADER_SIZE])
        except HeaderError as error:
            self.dropped.add(1, error.rule)
            if error.offence:
                session.fact(Fact("bad-headers", Floor.END_AND_DISCOURAGE, str(error)[:300], proven=True))
            return
        if not known:
            self.dropped.add(1, "unknown-block")
            self.header_sync.heard_of(peer, hash)
        elif self.block_sync.wanted(hash):
            try:
                block = parse_block(raw)
            except MalformedMessage:
                # Whoever else has it is asked at once.
                self.items.not_found(session, BLOCK, [hash])
                raise
            self.block_sync.received(session, block)

    def addresses_received(self, peer: Conversation, entries: list[NetworkAddress], solicited: bool) -> None:
        """Addresses: into the book, and a few of them on to others; or to the discovery that asked for them."""
        now = self.context.unix_time()
        taken = self.gossip.vetted(entries, now)
        if self.exchange.told(peer, [found for _, found in taken], solicited):
            return
        is_news = not solicited and len(entries) <= RELAYED
        by_id = {one.session.id: one for one in self._conversations if one.session.slot is not Slot.BLOCK_RELAY}
        sessions = [one.session for one in by_id.values()]
        for id, told in self.gossip.take(peer.session, taken, is_news, sessions, now):
            by_id[id].tell_addresses(told)

    def addresses_for(self, peer: Conversation) -> Sequence[NetworkAddress]:
        """The answer to getaddr."""
        return self.gossip.answer(peer.session, self.context.unix_time())

    def own_addresses(self) -> Sequence[NetworkAddress]:
        """Where others can reach us."""
        return self.gossip.own(self.context.unix_time(), self.services)

    # --- IBitcoin ---

    def tip(self) -> Tip:
        """See `IBitcoin.tip`."""
        chain = self.block_sync.chain
        return Tip(chain.tip, chain.height)

    def best_header(self) -> Tip:
        """See `IBitcoin.best_header`."""
        return Tip(self.index.tip, self.index.height)

    def header(self, hash: bytes) -> bytes | None:
        """See `IBitcoin.header`."""
        return self.index.header(hash) if hash in self.index else None

    def block(self, hash: bytes) -> Deferred[bytes | None]:
        """See `IBitcoin.block`."""
        return self.blocks.get(ItemId(hash)).addCallback(self._raw, hash)

    def template(self) -> Template:
        """See `IBitcoin.template`."""
        tip = self.tip()
        above = self.index.context_of(tip.hash)
        time = max(int(self.context.unix_time()), median_time(above.times) + 1)
        transactions = self.pool.select(_TEMPLATE_WEIGHT)
        return Template(tip.hash, tip.height + 1, next_bits(self.chain, above, time), time, transactions)

    def submit_block(self, raw: bytes) -> Deferred[Validation]:
        """See `IBitcoin.submit_block`."""
        try:
            block = parse_block(raw)
            if not self.header_sync.take(block.header_bytes, ours=True):
                return _answer(Validation(Outcome.IGNORE, "its header does not connect"))
        except (MalformedMessage, HeaderError) as error:
            return _answer(Validation(Outcome.REJECT, str(error)))
        return self.block_sync.submit(block)

    def submit_transaction(self, raw: bytes) -> Deferred[Validation]:
        """See `IBitcoin.submit_transaction`."""
        try:
            return self.items.publish(self.pool.item(raw))
        except MalformedMessage:
            return fail()

    def on_tip(self, callback: Callable[[Tip], None]) -> Callable[[], None]:
        """See `IBitcoin.on_tip`."""
        self._on_tip.append(callback)
        return lambda: self._on_tip.remove(callback) if callback in self._on_tip else None

    # --- inside ---

    def _headers_added(self, peer: Conversation | None, added: AddResult) -> None:
        if added.change is not None:
            self.watch.news()
            if added.change.disconnected:
                self.block_sync.reorganised()
            self.block_sync.join()
        self.block_sync.schedule()

    def _tip_changed(
        self, disconnected: Sequence[bytes], connected: Sequence[bytes], at_hand: Callable[[bytes], Block | None]
    ) -> None:
        tip = self.tip()
        if not self.syncing or len(self.pool):
            self.follower.changed(disconnected, connected, at_hand)
        self._tip_at = self.context.reactor.seconds()
        if disconnected:
            self.progress.reorganised(len(disconnected), tip, len(connected))
        self.progress.tip(tip)
        for callback in tuple(self._on_tip):
            try:
                callback(tip)
            except Exception:  # noqa: BLE001 - an application's fault is not the chain's
                self.context.log.failure("a callback for the tip failed")

    def _left_pool(self, ids: Iterable[ItemId]) -> None:
        self.items.withdraw(TX, ids)

    def _raw(self, item: Item | None, hash: bytes) -> bytes | None:
        if item is not None and isinstance(item.body, bytes):
            return item.body
        self.block_sync.damaged(hash)
        return None

    def _not_kept(self, failure: Failure) -> None:
        self.context.log.error("an invalid block's mark was not kept: {error}", error=failure.getErrorMessage())

    def _block_invalid(self, hash: bytes, evidence: str) -> None:
        self.context.log.warn(
            "a block of the best chain is invalid, and what follows it: {evidence}", evidence=evidence
        )
        if self.index.mark_invalid(hash) is not None:
            self.block_sync.reorganised()
        writing = self.context.storage.write(puts=[(_INVALID + hash, evidence.encode())], durable=True)
        writing.addErrback(self._not_kept)
        self.block_sync.join()

    def _tick(self) -> None:
        now = self.context.reactor.seconds()
        self.header_sync.tick(now)
        self.block_sync.tick(now)
        self.laggards.tick(now)
        self.progress.tick(now)
        self.watch.tick(now)
        if now - self._expired_at > 60.0:
            self._expired_at = now
            self._left_pool(self.pool.expire(now))

    def _timer_failed(self, failure: Failure) -> None:
        self.context.log.failure("the protocol's timer failed; it goes on", failure=failure)
        if self.running and self._timer is not None:
            self._timer.start(1.0, now=False).addErrback(self._timer_failed)


def _answer(validation: Validation) -> Deferred[Validation]:
    done: Deferred[Validation] = Deferred()
    done.callback(validation)
    return done
