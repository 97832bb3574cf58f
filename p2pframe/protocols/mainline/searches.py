"""An iterative search on one endpoint: Kademlia's lookup, carried out by queries.

The lookup decides whom to ask and when it is done; here the queries are sent, what the answers tell is checked
(routable, of our family, with an id that fits its address where that is asked for), and the time is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from p2pframe.kademlia.lookup import Candidate, Lookup
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.bencode import Value
from p2pframe.protocols.mainline.compact import NODE, NODE6, unpack_nodes
from p2pframe.protocols.mainline.krpc import Refusal, Response
from p2pframe.protocols.mainline.routable import subnet

if TYPE_CHECKING:
    from p2pframe.protocols.mainline.endpoint import Endpoint

STARTS = 3
"""Times k nodes of the table that a search knows from the start: not all of them live."""
PER_REPLY = 32
"""Nodes that are taken from one reply; a well-behaved one has 8, or 16 of both families."""


class Search:
    """One search. `heard` gets every good reply, with the candidate that gave it.

    It begins with the nearest nodes of the table; `started_at` are addresses to begin with where these are too few, and
    `remembered` nodes that were in the table before a restart.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        target: int,
        method: bytes,
        arguments: Mapping[bytes, Value],
        heard: Callable[[Candidate[PeerAddress], Response], None] | None = None,
        started_at: Iterable[PeerAddress] = (),
        remembered: Iterable[tuple[int, PeerAddress]] = (),
    ) -> None:
        self.endpoint = endpoint
        self.target = target
        self._question = endpoint.question(method, arguments)
        self._heard = heard
        config = endpoint.dht.config
        nearest = endpoint.table.closest(target, STARTS * config.k)
        self._seen: dict[bytes, None] = {one.note: None for one in nearest if one.note}
        """Nodes as they stand in replies that were looked at already: most are told of again and again."""
        self.lookup: Lookup[PeerAddress] = Lookup(
            target,
            endpoint.own,
            [*((one.id, one.address) for one in nearest), *remembered],
            k=config.k,
            alpha=config.alpha,
            paths=config.paths,
            host=_host if config.public else None,
            group=_group if config.public else None,
            most=config.candidates,
            per_reply=PER_REPLY,
        )
        self.lookup.start_at(started_at)
        self.tokens: dict[PeerAddress, bytes] = {}
        self.complete = False
        self._started = endpoint.clock.seconds()
        self.seconds = 0.0
        self._finished: Deferred[Search] | None = None
        self._deadline: IDelayedCall | None = None
        self._over = False

    def start(self) -> Deferred[Search]:
        """Begin; fires with itself when it is done, or when its time (`lookup_timeout`) is over."""
        endpoint = self.endpoint
        endpoint.searches[self] = None
        finished: Deferred[Search] = Deferred(self._cancelled)
        self._finished = finished
        self._deadline = endpoint.clock.callLater(endpoint.dht.config.lookup_timeout, self._finish, False)
        endpoint.table.touched(self.target, endpoint.clock.seconds())
        self._go_on()
        return finished

    def stop(self) -> None:
        """End it with what there is."""
        self._finish(False)

    def nearest(self) -> list[Candidate[PeerAddress]]:
        """The nodes nearest to the target that have answered, ascending."""
        return self.lookup.closest()

    def _go_on(self) -> None:
        # What can't be sent has failed at once, and others take its place: until there are none, or none may be asked.
        lookup = self.lookup
        refused = True
        while refused and not self._over:
            if lookup.done:
                self._finish(True)
                return
            refused = False
            candidates = lookup.ask()
            for candidate in candidates:
                refused |= not self._ask(candidate)
            if not candidates:
                for candidate, target in lookup.wider():
                    refused |= not self._widen(candidate, target)

    def _ask(self, candidate: Candidate[PeerAddress]) -> bool:
        """Send it the query; False where that can't be, and it has failed by it."""
        def replied(reply: Response | Refusal, given_up: bool) -> None:
            if not self._over:
                self._replied(candidate, reply)

        def late() -> None:
            if not self._over:
                self.lookup.late(candidate)
                self._go_on()

        def lost() -> None:
            if not self._over:
                self.lookup.failed(candidate)
                self._go_on()

        call = self.endpoint.calls.ask(
            self._question, candidate.address, replied, expected=candidate.id, late=late, lost=lost
        )
        if call is None:
            self.lookup.failed(candidate)
        return call is not None

    def _widen(self, candidate: Candidate[PeerAddress], target: int) -> bool:
        """Ask for nodes that lie a little farther from the target: those near it are dead. False as `_ask`."""

        def replied(reply: Response | Refusal, given_up: bool) -> None:
            if not self._over and not given_up:
                self.lookup.widened(candidate, self._nodes(reply) if isinstance(reply, Response) else ())
                self._go_on()

        def lost() -> None:
            if not self._over:
                self.lookup.widened(candidate, ())
                self._go_on()

        arguments: dict[bytes, Value] = {b"target": target.to_bytes(20, "big")}
        call = self.endpoint.ask(b"find_node", arguments, candidate.address, replied, lost=lost)
        if call is None:
            self.lookup.widened(candidate, ())
        return call is not None

    def _replied(self, candidate: Candidate[PeerAddress], reply: Response | Refusal) -> None:
        if isinstance(reply, Refusal) or (candidate.id is not None and reply.id != candidate.id):
            self.lookup.failed(candidate)
            self._go_on()
            return
        endpoint = self.endpoint
        if candidate.id is None:
            if not endpoint.admissible(reply.id, candidate.address):
                # A router may have any id: it tells whom to ask, and is not among the nearest itself.
                self.lookup.told(candidate, self._nodes(reply))
                self._go_on()
                return
            candidate.id = reply.id
        token = reply.values.get(b"token")
        if isinstance(token, bytes) and 0 < len(token) <= 64:
            self.tokens[candidate.address] = token
        if self._heard is not None:
            self._heard(candidate, reply)
        self.lookup.answered(candidate, self._nodes(reply))
        self._go_on()

    def _nodes(self, reply: Response) -> list[tuple[int, PeerAddress]]:
        endpoint = self.endpoint
        packed, size = (
            (reply.values.get(b"nodes6"), NODE6) if endpoint.six else (reply.values.get(b"nodes"), NODE)
        )  # fmt: skip
        if not isinstance(packed, bytes):
            return []
        if len(packed) % size:
            endpoint.dht.malformed.add(1, "nodes")
            return []
        seen, most = self._seen, self.lookup.most
        fresh = []
        for at in range(0, min(len(packed), PER_REPLY * size), size):
            one = packed[at : at + size]
            if one not in seen:
                fresh.append(one)
                if len(seen) < most:
                    seen[one] = None
        if not fresh:
            return []
        nodes = unpack_nodes(b"".join(fresh), size, PER_REPLY)
        admissible = endpoint.admissible
        others = [node for node in nodes if node[0] != endpoint.own]
        good = [node for node in others if admissible(*node)]
        if len(good) < len(others):
            endpoint.dht.turned_away.add(len(others) - len(good), "told of")
        return good

    def _finish(self, complete: bool) -> None:
        if self._over:
            return
        self._over = True
        self.complete = complete
        endpoint = self.endpoint
        self.seconds = endpoint.clock.seconds() - self._started
        del endpoint.searches[self]
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        endpoint.dht.searches_ended.add(1, "complete" if complete else "out of time")
        if self.lookup.left_out:
            endpoint.dht.turned_away.add(self.lookup.left_out, "candidates")
        # Let go of it: the two hold one another, and only the garbage collector would part them.
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(self)

    def _cancelled(self, _: object) -> None:
        self.stop()


def _host(address: PeerAddress) -> str:
    return address.host


def _group(address: PeerAddress) -> str:
    return subnet(address.host)
