"""The `mainline` protocol plugin: the BitTorrent DHT over UDP (BEP 5, 32, 33, 42 to 46, 51).

    networks:
      mainline:
        protocol: {plugin: mainline}
        transports: [{plugin: udp, listen: "0.0.0.0:6881"}]
        discovery: [{plugin: dns-seed}]

Each transport is a node of the DHT with its own id (BEP 45); one on IPv4 and one on IPv6 take part in both DHTs (BEP
32). What is decided where: who is known in `endpoint`, what is asked in `requests`, what is answered in `answers`,
what is done unasked in `upkeep`. This file starts, stops and wires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import (
    Alert,
    BucketView,
    IAlerts,
    IContext,
    IConversation,
    IDatagramPort,
    IDatagramReceiver,
    IHoldsPeers,
    IItemStore,
    INetworkProtocol,
    IReconfigurable,
    IRendezvous,
    IRoutingTables,
    ISeedNames,
    ISession,
    IStatus,
    IUsage,
    IValidator,
    IVisitor,
    TopicRules,
    Use,
    Visit,
)
from p2pframe.model import PeerAddress, Topic
from p2pframe.plugin import plugin
from p2pframe.protocols.mainline.alerts import DhtWatch
from p2pframe.protocols.mainline.api import Found, IMainline, Peers, Put, Sample, Scrape, StoredItem, infohash
from p2pframe.protocols.mainline.bencode import Value
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.items import Items
from p2pframe.protocols.mainline.keeping import Keeping
from p2pframe.protocols.mainline.requests import Requests
from p2pframe.protocols.mainline.routable import usable
from p2pframe.protocols.mainline.upkeep import Upkeep

ROUTERS = ("router.bittorrent.com", "dht.transmissionbt.com", "router.utorrent.com")
"""Names of well-known nodes, for a `dns-seed` discovery that is given none."""


@plugin("mainline", config=MainlineConfig)
@implementer(
    INetworkProtocol, IMainline, IRendezvous, IRoutingTables, IVisitor, IHoldsPeers, ISeedNames, IStatus, IUsage,
    IAlerts, IReconfigurable,
)  # fmt: skip
class MainlineProtocol(Service):
    """The BitTorrent DHT: peers of infohashes and small items, kept by whoever takes part."""

    seams: Mapping[str, Use] = {"transport": Use.REQUIRED, "discovery": Use.OPTIONAL}
    topics: Mapping[Topic, TopicRules] = {}
    verbs: frozenset[str] = frozenset()
    datagrams = True
    default_port = 6881

    def __init__(self, config: MainlineConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.dht = Dht(config, context)
        self._requests = Requests(self.dht)
        self._items = Items(self.dht, self._requests)
        self._keeping = Keeping(self.dht, self._items)
        self._upkeep = Upkeep(self.dht, self._keeping.save)
        self.dht.on_moved = self._upkeep.moved
        self._watch = DhtWatch(self.dht)
        self._topics: dict[str, None] = {}

    # --- life ---

    def startService(self) -> Deferred[None]:
        """Called before the ports are open: read what was known when we stopped."""
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._keeping.load())

    def stopService(self) -> Deferred[None]:
        """Called when the ports are closed: save, and end what is under way."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._upkeep.stop()
        self._items.stop()
        saved = self._keeping.save()
        self.dht.stop()
        return saved

    def receiver(self, port: IDatagramPort) -> IDatagramReceiver:
        """See `INetworkProtocol.receiver`."""
        endpoint = self.dht.endpoint(port)
        self.context.reactor.callLater(0, self._opened, endpoint)
        return endpoint

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(MainlineConfig, config)
        self.dht.reconfigure(self.config)

    # --- what the network asks ---

    @property
    def held(self) -> int:
        """See `IHoldsPeers.held`."""
        return sum(endpoint.table.size for endpoint in self.dht.endpoints)

    @property
    def wanted(self) -> int:
        """See `IHoldsPeers.wanted`."""
        return self.config.k

    def seed_names(self) -> Sequence[str]:
        """See `ISeedNames.seed_names`: well-known nodes, for a node of the public network."""
        return ROUTERS if self.config.public else ()

    def dialable(self, address: PeerAddress) -> bool:
        """Addresses only: a name would have to be looked up for every datagram."""
        return usable(address, self.config.public)

    def stale(self) -> bool:
        """See `INetworkProtocol.stale`: nothing spreads here."""
        return False

    def stores(self) -> Mapping[Topic, IItemStore]:
        """See `INetworkProtocol.stores`: nothing spreads here."""
        return {}

    def validators(self) -> Mapping[Topic, IValidator]:
        """See `INetworkProtocol.validators`: nothing spreads here."""
        return {}

    def conversation(self, session: ISession) -> IConversation:
        """See `INetworkProtocol.conversation`: never called, as `datagrams` is True."""
        raise TypeError("mainline speaks in datagrams: it has no conversations")

    def status(self) -> Mapping[str, str | int | float | bool]:
        """See `IStatus.status`."""
        dht = self.dht
        shown: dict[str, str | int | float | bool] = {
            "ready": dht.ready,
            "nodes": self.held,
            "searches": sum(len(endpoint.searches) for endpoint in dht.endpoints),
            "infohashes": dht.stores.peers.infohashes,
            "peers": dht.stores.peers.size,
            "items": dht.stores.items.size,
        }
        for endpoint in dht.endpoints:
            shown[f"id {endpoint.label}"] = f"{endpoint.own:040x}"
            shown[f"seen as {endpoint.label}"] = endpoint.voting.address or "not known yet"
        return shown

    def buckets(self) -> Sequence[BucketView]:
        """See `IRoutingTables.buckets`."""
        now, unix = self.context.reactor.seconds(), self.context.unix_time()
        return [
            BucketView(
                endpoint.label, one.depth, one.own, endpoint.table.k, one.good, one.questionable, one.bad, one.waiting,
                unix - (now - one.touched) if one.touched else 0.0,
            )
            for endpoint in self.dht.endpoints
            for one in endpoint.table.states(now)
        ]  # fmt: skip

    def alerts(self) -> Sequence[Alert]:
        """See `IAlerts.alerts`."""
        return self._watch.alerts()

    def usage(self) -> Mapping[str, float]:
        """See `IUsage.usage`: of each search and bucket those that have most."""
        stores, endpoints = self.dht.stores, self.dht.endpoints
        return {
            "infohashes": stores.peers.infohashes,
            "peers": stores.peers.size,
            "items": stores.items.size,
            "calls": max((len(endpoint.calls) for endpoint in endpoints), default=0),
            "topics": len(self._topics),
            "kept_items": self._items.kept,
        }

    # --- what others ask ---

    @property
    def ready(self) -> bool:
        """See `IMainline.ready`."""
        return self.dht.ready

    def when_ready(self) -> Deferred[None]:
        """See `IMainline.when_ready`."""
        return self.dht.when_ready()

    def find_nodes(self, target: bytes) -> Deferred[Found]:
        """See `IMainline.find_nodes`."""
        return Deferred.fromCoroutine(self._requests.find_nodes(target))

    def get_peers(self, info_hash: bytes, limit: int = 1000) -> Deferred[Peers]:
        """See `IMainline.get_peers`."""
        return Deferred.fromCoroutine(self._requests.get_peers(info_hash, limit))

    def announce_peer(self, info_hash: bytes, port: int, seed: bool = False) -> Deferred[int]:
        """See `IMainline.announce_peer`."""
        return Deferred.fromCoroutine(self._requests.announce_peer(info_hash, port, seed))

    def scrape(self, info_hash: bytes) -> Deferred[Scrape]:
        """See `IMainline.scrape`."""
        return Deferred.fromCoroutine(self._requests.scrape(info_hash))

    def get_immutable(self, target: bytes) -> Deferred[StoredItem | None]:
        """See `IMainline.get_immutable`."""
        return Deferred.fromCoroutine(self._items.get_immutable(target))

    def get_mutable(self, key: bytes, salt: bytes = b"") -> Deferred[StoredItem | None]:
        """See `IMainline.get_mutable`."""
        return Deferred.fromCoroutine(self._items.get_mutable(key, salt))

    def put_immutable(self, value: Value, keep: bool = False) -> Deferred[Put]:
        """See `IMainline.put_immutable`."""
        return Deferred.fromCoroutine(self._items.put_immutable(value, keep))

    def put_mutable(
        self,
        seed: bytes,
        value: Value,
        salt: bytes = b"",
        sequence: int | None = None,
        cas: int | None = None,
        keep: bool = False,
    ) -> Deferred[Put]:
        """See `IMainline.put_mutable`."""
        return Deferred.fromCoroutine(self._items.put_mutable(seed, value, salt, sequence, cas, keep))

    def forget(self, target: bytes) -> None:
        """See `IMainline.forget`."""
        self._items.forget(target)

    def sample(self, address: PeerAddress, target: bytes) -> Deferred[Sample]:
        """See `IMainline.sample`."""
        return Deferred.fromCoroutine(self._requests.sample(address, target))

    def visit(self, address: PeerAddress, peers: int, wait: float) -> Deferred[Visit]:
        """See `IVisitor.visit`."""
        return Deferred.fromCoroutine(self._requests.visit(address, peers)).addTimeout(
            wait, self.context.reactor, onTimeoutCancel=lambda _result, _wait: _late(address, wait)
        )

    # --- a place to meet ---

    def announce(self, topic: str, port: int) -> Deferred[int]:
        """See `IRendezvous.announce`."""
        if topic not in self._topics and len(self._topics) >= self.config.topics:
            self.dht.turned_away.add(1, "topics")
            raise P2PFrameError(f"{len(self._topics)} topics are announced already (topics)")
        self._topics[topic] = None

        async def run() -> int:
            # At a start the DHT knows nobody yet: whoever announces then has nothing better to do than to wait.
            await self.dht.when_ready()
            return await self._requests.announce_peer(infohash(topic), port, seed=False)

        return Deferred.fromCoroutine(run())

    def find(self, topic: str, limit: int) -> Deferred[Sequence[PeerAddress]]:
        """See `IRendezvous.find`."""

        async def run() -> Sequence[PeerAddress]:
            return (await self._requests.get_peers(infohash(topic), limit)).peers

        return Deferred.fromCoroutine(run())

    def withdraw(self, topic: str) -> None:
        """See `IRendezvous.withdraw`: BEP 5 has no word for it, and ours is not said again."""
        self._topics.pop(topic, None)

    def lifetime(self) -> float:
        """See `IRendezvous.lifetime`: 30 minutes is what the programs in use keep a peer for."""
        return 1800.0

    # --- within ---

    def _opened(self, endpoint: object) -> None:
        for one in self.dht.endpoints:
            if one is endpoint:
                self._keeping.restore(one)
        self._upkeep.start()


def _late(address: PeerAddress, wait: float) -> NoReturn:
    raise P2PFrameError(f"{address} has not answered within {wait:g} s")
