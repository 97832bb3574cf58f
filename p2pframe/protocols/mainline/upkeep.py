"""What a DHT node does by itself: bootstrap, refresh, ask who has been silent whether it is still there, save.

One timer for all of it, drawn anew each time: a thousand nodes started at once do not go on in step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.searches import Search

if TYPE_CHECKING:
    from p2pframe.protocols.mainline.dht import Dht
    from p2pframe.protocols.mainline.endpoint import Endpoint

STARTS = 16
"""Addresses of the book that a bootstrap begins with."""
AT_ONCE = 8
"""Nodes that are asked in one round whether they are still there."""
_ALONE = 10.0
"""Seconds between the rounds of a node that holds too few others, about."""


class Upkeep:
    """The rounds of a DHT node with all its endpoints."""

    def __init__(self, dht: Dht, save: Callable[[], Deferred[None]]) -> None:
        self._dht = dht
        self._save = save
        self._timer: IDelayedCall | None = None
        self._saved = dht.context.reactor.seconds()
        self._saving = False
        self._searching: dict[Endpoint, Search] = {}
        self._bootstrapped: dict[Endpoint, None] = {}
        self._stopped = False

    def start(self) -> None:
        """Begin, in a moment: the discovery of the network has not run yet."""
        self._next(0.2)

    def stop(self) -> None:
        """End it; searches end with their endpoints."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def moved(self, endpoint: Endpoint) -> None:
        """The endpoint's id has changed: its neighbours are others."""
        self._bootstrapped.pop(endpoint, None)
        self._next(0.5)

    def _next(self, seconds: float) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        jitter = self._dht.context.rng.uniform(0.8, 1.2)
        self._timer = self._dht.context.reactor.callLater(seconds * jitter, self._round)

    def _round(self) -> None:
        dht = self._dht
        now = dht.context.reactor.seconds()
        alone = False
        for endpoint in dht.endpoints:
            alone |= self._step(endpoint, now)
        dht.expire(now)
        if now - self._saved >= dht.config.save_interval and not self._saving:
            self._saved = now
            self._saving = True
            self._save().addErrback(self._not_saved).addBoth(self._saved_all)
        self._next(min(_ALONE, dht.config.upkeep) if alone else dht.config.upkeep)

    def _step(self, endpoint: Endpoint, now: float) -> bool:
        """One endpoint's round; True where it holds too few others."""
        dht, table = self._dht, endpoint.table
        for contact in table.questionable(now, AT_ONCE):
            endpoint.ping(contact.address, contact.id)
        for identity, address in endpoint.remembered[:AT_ONCE]:
            endpoint.ping(address, identity)
        del endpoint.remembered[:AT_ONCE]
        few = table.size < dht.config.k
        if endpoint in self._searching:
            return few
        if few or endpoint not in self._bootstrapped:
            self._bootstrap(endpoint)
        else:
            for bucket in table.to_refresh(now)[:1]:
                self._search(endpoint, table.random_in(bucket, dht.context.rng))
        return few

    def _bootstrap(self, endpoint: Endpoint) -> None:
        dht = self._dht
        starts = [
            found.address
            for found in dht.book.sample(STARTS)
            if (":" in found.address.host) == endpoint.six and found.address != endpoint.port.address
        ]
        for start in starts:
            dht.book.attempt(start)
        if starts or endpoint.table.size or endpoint.remembered:
            self._search(endpoint, endpoint.own, starts)

    def _search(self, endpoint: Endpoint, target: int, starts: list[PeerAddress] | None = None) -> None:
        search = Search(
            endpoint,
            target,
            b"find_node",
            {b"target": target.to_bytes(20, "big")},
            None,
            starts or (),
            endpoint.remembered[: 2 * AT_ONCE],
        )
        self._searching[endpoint] = search
        search.start().addCallback(self._searched, endpoint, target == endpoint.own, starts or ())

    def _searched(
        self, search: Search, endpoint: Endpoint, for_itself: bool, starts: Sequence[PeerAddress]
    ) -> None:
        self._searching.pop(endpoint, None)
        if self._stopped or not for_itself or search.target != endpoint.own or not endpoint.table.size:
            return
        there = {contact.address for contact in endpoint.table.contacts()} if starts else ()
        for start in starts:
            if start in there:
                self._dht.book.good(start)
        first = endpoint not in self._bootstrapped
        self._bootstrapped[endpoint] = None
        if first:
            self._dht.bootstrapped(endpoint)
            # The far buckets soon: the nearer ones were filled by the search for ourselves.
            self._next(1.0)

    def _saved_all(self, _: object) -> None:
        self._saving = False

    def _not_saved(self, failure: Failure) -> None:
        self._dht.context.log.error("the DHT's state was not saved: {error}", error=failure.getErrorMessage())
