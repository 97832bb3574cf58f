"""The DHT as one thing: endpoints, what they share, and what is asked of all of them (BEP 32, BEP 45).

IPv4 and IPv6 are two DHTs: a search for peers runs in each that we take part in, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import IAddressBook, IContext, IDatagramPort
from p2pframe.protocols.mainline.answers import Answers, Stores
from p2pframe.protocols.mainline.bencode import Value
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.endpoint import Endpoint
from p2pframe.protocols.mainline.guard import Guard
from p2pframe.protocols.mainline.searches import Search


class Dht:
    """The endpoints of one node and what they share; `config` is replaced when live options change."""

    def __init__(self, config: MainlineConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.book = context.service(IAddressBook)
        self.endpoints: list[Endpoint] = []
        metrics = context.metrics
        self.malformed = metrics.counter("dht_malformed_total", "Datagrams that could not be read, by why.", ["why"])
        self.turned_away = metrics.counter(
            "dht_turned_away_total", "Nodes and votes that were not taken, by why.", ["why"]
        )
        self.queries_dropped = metrics.counter("dht_queries_dropped_total", "Queries left alone, by why.", ["why"])
        self.calls_ended = metrics.counter("dht_calls_total", "Queries of ours by how they ended.", ["outcome"])
        self.searches_ended = metrics.counter("dht_searches_total", "Searches by how they ended.", ["outcome"])
        self.stores = Stores(config, context)
        self.guard = Guard(config, context)
        self.answers = Answers(config, context, self.stores, self.guard)
        self.ready = False
        self._waiting: list[Deferred[None]] = []
        self.on_moved: Callable[[Endpoint], None] = _nobody

    def reconfigure(self, config: MainlineConfig) -> None:
        """Take new live options."""
        self.config = config
        for part in (self.stores, self.guard, self.answers):
            part.reconfigure(config)

    def endpoint(self, port: IDatagramPort) -> Endpoint:
        """A new endpoint behind a port that is about to be opened."""
        endpoint = Endpoint(self, port)
        self.endpoints.append(endpoint)
        return endpoint

    def sibling(self, six: bool) -> Endpoint | None:
        """An endpoint of that family, where there is one."""
        return next((one for one in self.endpoints if one.six == six), None)

    def moved(self, endpoint: Endpoint) -> None:
        """An endpoint has a new id."""
        self.on_moved(endpoint)

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        self.stores.expire(now)
        self.guard.count()

    def bootstrapped(self, endpoint: Endpoint) -> None:
        """An endpoint has found its neighbours."""
        self.context.log.info(
            "{endpoint}: {count} nodes known after the search for ourselves",
            endpoint=endpoint.label, count=endpoint.table.size,
        )  # fmt: skip
        self.ready = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def when_ready(self) -> Deferred[None]:
        """Fires when the first bootstrap is done."""
        if self.ready:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def stop(self) -> None:
        """End every search and query."""
        for endpoint in self.endpoints:
            endpoint.closed()
        self.endpoints.clear()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(P2PFrameError("the DHT has stopped"))

    def asked(self) -> list[Endpoint]:
        """The endpoints to search on: one of each family that holds any node. Raises `P2PFrameError` without any."""
        chosen = [one for one in map(self.sibling, (False, True)) if one is not None and one.table.size]
        if not chosen:
            raise P2PFrameError(
                f"{self.context.network}: no DHT node is known yet: wait for the bootstrap, or give its discovery peers"
            )
        return chosen

    def search(self, endpoint: Endpoint, target: int, method: bytes, arguments: Mapping[bytes, Value]) -> Search:
        """A search that has not started."""
        return Search(endpoint, target, method, arguments)


def _nobody(endpoint: Endpoint) -> None:
    """Before the upkeep runs nobody cares."""
