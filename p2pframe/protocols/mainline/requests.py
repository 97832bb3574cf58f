"""What can be asked of the DHT about nodes and peers: searches, announcements, scrapes, samples, visits.

What comes from others is bounded and hearsay. An announcement goes to the nodes nearest to the infohash that answered
the search and gave a token (BEP 5), those first whose ids fit their addresses (BEP 42).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred, gatherResults

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Visit
from p2pframe.kademlia.lookup import Candidate
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.protocols.mainline.api import ID_BYTES, Found, Node, Peers, Sample, Scrape
from p2pframe.protocols.mainline.bencode import Value
from p2pframe.protocols.mainline.bloom import Bloom
from p2pframe.protocols.mainline.compact import unpack_address, unpack_nodes
from p2pframe.protocols.mainline.dht import Dht
from p2pframe.protocols.mainline.endpoint import Endpoint
from p2pframe.protocols.mainline.krpc import Refusal, Response
from p2pframe.protocols.mainline.node_id import fits
from p2pframe.protocols.mainline.routable import usable
from p2pframe.protocols.mainline.searches import PER_REPLY, Search

_Heard = Callable[[Candidate[PeerAddress], Response], None]

_VALUES = 200
"""Peers that are taken from one reply: more do not fit a datagram."""
_FILTER = 256
"""Bytes of a filter of BEP 33."""


class Requests:
    """Searches and single queries on the endpoints of a `Dht`."""

    def __init__(self, dht: Dht) -> None:
        self._dht = dht

    async def find_nodes(self, target: bytes) -> Found:
        """See `IMainline.find_nodes`. Where there are two families, the IPv4 one's answer."""
        endpoint = self._dht.asked()[0]
        search = await Search(endpoint, number(target), b"find_node", {b"target": target}).start()
        return Found(*_found(search))

    async def get_peers(self, info_hash: bytes, limit: int) -> Peers:
        """See `IMainline.get_peers`."""
        # We may be one of the nodes nearest to it ourselves.
        store, now = self._dht.stores.peers, self._dht.context.reactor.seconds()
        stored = [one for six in (False, True) for one in store.values(info_hash, six, min(limit, _VALUES), now)]
        found = dict.fromkeys((unpack_address(one) for one in stored[:limit]), 0.0)
        searches = await self._search_peers(info_hash, found, limit)
        peers = list(found)
        self._dht.context.rng.shuffle(peers)
        return Peers(*_found(searches[0]), tuple(peers), min(found.values(), default=None))

    async def announce_peer(self, info_hash: bytes, port: int, seed: bool) -> int:
        """See `IMainline.announce_peer`."""
        if not 0 <= port <= 65_535:
            raise ValueError(f"{port} is no port")
        searches = await self._search_peers(info_hash, {}, 0)
        arguments: dict[bytes, Value] = {b"info_hash": info_hash, b"port": port}
        if port == 0:
            arguments |= {b"port": self._own_port(), b"implied_port": 1}
        if seed:
            arguments[b"seed"] = 1
        return sum([await self.tell(search, b"announce_peer", arguments) for search in searches])

    async def scrape(self, info_hash: bytes) -> Scrape:
        """See `IMainline.scrape`: the union of the filters that the nodes gave."""
        seeds, peers = Bloom(), Bloom()

        def heard(_: Candidate[PeerAddress], reply: Response) -> None:
            for key, bloom in ((b"BFsd", seeds), (b"BFpe", peers)):
                packed = reply.values.get(key)
                if isinstance(packed, bytes) and len(packed) == _FILTER:
                    bloom.union(Bloom(packed))

        arguments: dict[bytes, Value] = {b"info_hash": info_hash, b"scrape": 1}
        await self.run(b"get_peers", number(info_hash), arguments, heard)
        return Scrape(seeds.estimate(), peers.estimate())

    async def sample(self, address: PeerAddress, target: bytes) -> Sample:
        """See `IMainline.sample`."""
        number(target)
        endpoint = self._endpoint_for(address)
        reply = await self.call(endpoint, b"sample_infohashes", {b"target": target}, address)
        packed, total, interval = (reply.values.get(key) for key in (b"samples", b"num", b"interval"))
        if not isinstance(packed, bytes) or len(packed) % ID_BYTES:
            raise P2PFrameError(f"{address} knows no sample_infohashes (BEP 51)")
        return Sample(
            tuple(packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES)),
            total if isinstance(total, int) and total >= 0 else len(packed) // ID_BYTES,
            min(max(interval, 0), 21_600) if isinstance(interval, int) else 0,
            self._nodes(endpoint, reply),
        )

    async def visit(self, address: PeerAddress, peers: int) -> Visit:
        """See `IVisitor.visit`: one query, for a random part of the key space."""
        dht, clock = self._dht, self._dht.context.reactor
        endpoint = self._endpoint_for(address)
        target = dht.context.rng.randbytes(ID_BYTES)
        details: dict[str, str | int | float | bool] = {}
        started = clock.seconds()
        try:
            reply = await self.call(endpoint, b"sample_infohashes", {b"target": target}, address)
        except _Declined:
            started = clock.seconds()
            reply = await self.call(endpoint, b"find_node", {b"target": target}, address)
        round_trip = clock.seconds() - started
        total, samples = reply.values.get(b"num"), reply.values.get(b"samples")
        if isinstance(total, int) and 0 <= total < 2**31:
            details["infohashes"] = total
        if isinstance(samples, bytes):
            details["samples"] = len(samples) // ID_BYTES
        details["id_fits"] = fits(reply.id, address.host)
        known = [FoundAddress(node.address) for node in self._nodes(endpoint, reply)[:peers]]
        return Visit(
            address, agent=_agent(reply.version), id=f"{reply.id:040x}", round_trip=round_trip, peers=tuple(known),
            details=details,
        )  # fmt: skip

    # --- what the items need too ---

    async def run(
        self, method: bytes, target: int, arguments: Mapping[bytes, Value], heard: _Heard
    ) -> Sequence[Search]:
        """The same search on one endpoint of each family. Fails with `P2PFrameError` where nobody is known."""
        searches = [Search(endpoint, target, method, arguments, heard) for endpoint in self._dht.asked()]
        return await gatherResults([search.start() for search in searches], consumeErrors=True)

    async def tell(self, search: Search, method: bytes, arguments: Mapping[bytes, Value]) -> int:
        """Send what a token is needed for to the nodes nearest to a search's target; how many have agreed."""
        endpoint = search.endpoint
        with_token = [one for one in search.nearest() if one.address in search.tokens]
        if self._dht.config.node_ids != "ignore":
            with_token.sort(key=lambda one: not fits(one.id or 0, one.address.host))
        waiting = [
            self._tell(endpoint, method, {**arguments, b"token": search.tokens[one.address]}, one)
            for one in with_token[: self._dht.config.k]
        ]
        return sum(await gatherResults(waiting, consumeErrors=True))

    async def call(
        self, endpoint: Endpoint, method: bytes, arguments: Mapping[bytes, Value], address: PeerAddress
    ) -> Response:
        """One query, and its answer. Fails with `P2PFrameError` where there is none."""
        answered: Deferred[Response] = Deferred()

        def replied(reply: Response | Refusal, given_up: bool) -> None:
            if answered.called:
                return
            if isinstance(reply, Response):
                answered.callback(reply)
            else:
                answered.errback(_Declined(f"{address} says: {reply.code} {reply.text}"))

        def lost() -> None:
            if not answered.called:
                answered.errback(P2PFrameError(f"{address} does not answer"))

        if endpoint.ask(method, arguments, address, replied, lost=lost) is None:
            raise P2PFrameError(f"{self._dht.config.calls} queries are under way already (calls)")
        return await answered

    async def _search_peers(self, info_hash: bytes, found: dict[PeerAddress, float], limit: int) -> Sequence[Search]:
        """Fill `found` with peers, and after how many seconds each was known."""
        target = number(info_hash)
        public = self._dht.config.public
        clock = self._dht.context.reactor
        began = clock.seconds()

        def heard(_: Candidate[PeerAddress], reply: Response) -> None:
            values = reply.values.get(b"values")
            for packed in values[:_VALUES] if isinstance(values, list) else ():
                if len(found) >= limit:
                    return
                if isinstance(packed, bytes) and len(packed) in (6, 18):
                    peer = unpack_address(packed)
                    if usable(peer, public):
                        found.setdefault(peer, clock.seconds() - began)

        return await self.run(b"get_peers", target, {b"info_hash": info_hash}, heard)

    def _tell(
        self, endpoint: Endpoint, method: bytes, arguments: Mapping[bytes, Value], to: Candidate[PeerAddress]
    ) -> Deferred[int]:
        done: Deferred[int] = Deferred()

        def replied(reply: Response | Refusal, given_up: bool) -> None:
            if not done.called:
                done.callback(int(isinstance(reply, Response)))

        def lost() -> None:
            if not done.called:
                done.callback(0)

        if endpoint.ask(method, arguments, to.address, replied, expected=to.id, lost=lost) is None:
            done.callback(0)
        return done

    def _endpoint_for(self, address: PeerAddress) -> Endpoint:
        endpoint = self._dht.sibling(":" in address.host)
        if endpoint is None:
            raise P2PFrameError(f"{self._dht.context.network} has no transport that reaches {address}")
        if not usable(address, self._dht.config.public):
            raise P2PFrameError(f"{address} is no address of a public network (public)")
        return endpoint

    def _nodes(self, endpoint: Endpoint, reply: Response) -> tuple[Node, ...]:
        packed = reply.values.get(b"nodes6" if endpoint.six else b"nodes")
        try:
            nodes = unpack_nodes(packed, 38 if endpoint.six else 26, PER_REPLY) if isinstance(packed, bytes) else []
        except ValueError:
            nodes = []
        return tuple(
            Node(identity.to_bytes(ID_BYTES, "big"), address)
            for identity, address in nodes
            if usable(address, self._dht.config.public)
        )

    def _own_port(self) -> int:
        endpoint = self._dht.endpoints[0]
        return endpoint.voting.port() or endpoint.port.address.port


class _Declined(P2PFrameError):
    """It answered with an error: it is there."""


def number(target: bytes) -> int:
    """A target as a number; raises ValueError where it has not 20 bytes."""
    if len(target) != ID_BYTES:
        raise ValueError(f"a target has {ID_BYTES} bytes, this has {len(target)}")
    return int.from_bytes(target, "big")


def _found(search: Search) -> tuple[tuple[Node, ...], int, int, int, float, bool]:
    lookup = search.lookup
    nodes = tuple(
        Node((one.id or 0).to_bytes(ID_BYTES, "big"), one.address) for one in _answered(search.nearest())
    )  # fmt: skip
    return nodes, lookup.hops, lookup.queries, lookup.failures, search.seconds, search.complete


def _answered(candidates: Iterable[Candidate[PeerAddress]]) -> Iterable[Candidate[PeerAddress]]:
    return (one for one in candidates if one.id is not None)


def _agent(version: bytes) -> str:
    """`v` for people: two letters and two numbers by custom, and anything else as hex."""
    if len(version) == 4 and version[:2].isalnum() and version[:2].isascii():
        return f"{version[:2].decode()} {version[2]}.{version[3]}"
    return version[:16].hex()
