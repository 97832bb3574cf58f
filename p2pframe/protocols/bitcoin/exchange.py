"""Addresses on demand: whom a discovery plugin has us ask with getaddr, and whom it has us tell where we are.

Without such a plugin the conversations do both by themselves: getaddr as soon as a dialled session opens, our own
address where `external` is set. Once `PeerExchange.hand_over` was called they leave it to `ask` and `tell`. What an
answer may hold and what is told on is `gossip`'s either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from p2pframe.interfaces import Counter, IContext
from p2pframe.model import FoundAddress, PeerAddress, Slot
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.gossip import AddressGossip

if TYPE_CHECKING:
    from p2pframe.protocols.bitcoin.conversation import Conversation

Told = Mapping[PeerAddress, Sequence[FoundAddress]]


class _Asking:
    """One `ask`: what has been told by whom, and who has not answered yet."""

    def __init__(self, peers: Sequence[Conversation], limit: int) -> None:
        self.limit = limit
        self.told: dict[Conversation, list[FoundAddress]] = {peer: [] for peer in peers}
        self.left: dict[Conversation, None] = dict.fromkeys(peers)


class PeerExchange:
    """What stands behind `IPeerExchange` for one network. `peers` are the conversations of its open sessions."""

    def __init__(
        self,
        options: Callable[[], BitcoinConfig],
        services: Callable[[], int],
        context: IContext,
        gossip: AddressGossip,
        peers: Mapping[Conversation, None],
        turned_away: Counter,
    ) -> None:
        self.leads = False
        self._options = options
        self._services = services
        self._context = context
        self._gossip = gossip
        self._peers = peers
        self._turned_away = turned_away
        self._asked: dict[Conversation, None] = {}
        self._waiting: dict[Conversation, tuple[_Asking, Deferred[Told]]] = {}
        self._outcomes = context.metrics.counter(
            "getaddr_total", "Peers asked for addresses, by what came of it.", ("outcome",)
        )
        self._left = context.metrics.counter(
            "getaddr_left_total", "Addresses of answers that were left out, by reason.", ("reason",)
        )

    def hand_over(self) -> None:
        """See `IPeerExchange.hand_over`."""
        self.leads = True

    # --- asking ---

    def ask(self, limit: int, peers: int) -> Deferred[Told]:
        """See `IPeerExchange.ask`: of the dialled peers, each of which is asked once."""
        able = [peer for peer in self._peers if peer.answers_getaddr and peer not in self._asked]
        self._turned_away.add(max(0, len(able) - peers), "getaddr-peers")
        chosen = self._context.rng.sample(able, min(peers, len(able)))
        if not chosen:
            return succeed({})
        asking = _Asking(chosen, limit)
        done: Deferred[Told] = Deferred(lambda _: self._end(asking, "cancelled"))
        for peer in chosen:
            self._asked[peer] = None
            self._waiting[peer] = asking, done
            peer.ask_addresses()
        timer = self._context.reactor.callLater(self._options().getaddr_timeout, self._over, asking, done)

        def ended(result: Told) -> Told:
            if timer.active():
                timer.cancel()
            return result

        return done.addBoth(ended)

    def told(self, peer: Conversation, found: Sequence[FoundAddress], whole: bool) -> bool:
        """Addresses of a peer. True: they are its answer, and go to who asked; `whole` says that nothing else follows.

        Of a peer that is not asked now, or has answered, nothing counts here.
        """
        if peer not in self._waiting:
            return False
        asking, done = self._waiting[peer]
        asking.told[peer] += found
        if whole:
            self._ended(peer, asking, done, "answered")
        return whole

    def closed(self, peer: Conversation) -> None:
        """A session has ended: what it has told counts."""
        self._asked.pop(peer, None)
        if peer in self._waiting:
            asking, done = self._waiting[peer]
            self._ended(peer, asking, done, "gone")

    def _ended(self, peer: Conversation, asking: _Asking, done: Deferred[Told], outcome: str) -> None:
        del self._waiting[peer], asking.left[peer]
        self._outcomes.add(1, outcome)
        if not asking.left:
            done.callback(self._shared(asking))

    def _over(self, asking: _Asking, done: Deferred[Told]) -> None:
        self._end(asking, "")
        done.callback(self._shared(asking))

    def _end(self, asking: _Asking, outcome: str) -> None:
        """Wait for none of them any longer: a late answer is taken as what a peer tells by itself."""
        for peer in asking.left:
            del self._waiting[peer]
            self._outcomes.add(1, outcome or ("few" if asking.told[peer] else "silent"))
        asking.left.clear()

    def _shared(self, asking: _Asking) -> Told:
        """What was told, each address once; where it is too much, of each peer as much as of any other."""
        seen: set[PeerAddress] = set()
        shared: dict[PeerAddress, list[FoundAddress]] = {}
        queues = [(peer.session.address, iter(found)) for peer, found in asking.told.items()]
        total = sum(map(len, asking.told.values()))
        while queues and len(seen) < asking.limit:
            turn, queues = queues, []
            for address, rest in turn:
                for one in rest:
                    if one.address not in seen:
                        if len(seen) < asking.limit:
                            seen.add(one.address)
                            shared.setdefault(address, []).append(one)
                            queues.append((address, rest))
                        break
        distinct = len({one.address for found in asking.told.values() for one in found})
        self._left.add(total - distinct, "repeated")
        self._left.add(distinct - len(seen), "over-limit")
        return shared

    # --- telling ---

    def tell(self, addresses: Sequence[PeerAddress], peers: int) -> int:
        """See `IPeerExchange.tell`: each peer once in `own_address_interval`, whoever waits longest first."""
        now, unix = self._context.reactor.seconds(), self._context.unix_time()
        staying = (peer for peer in self._peers if not peer.session.closing and peer.session.slot is not Slot.FEELER)
        due = sorted((peer for peer in staying if peer.takes_own_address(now)), key=lambda peer: peer.told_own)
        self._turned_away.add(max(0, len(due) - peers), "own-address-peers")
        told = 0
        for peer in due[:peers]:
            entries = self._gossip.own(unix, self._services(), addresses, here=_loopback(peer.session.address))
            if entries:
                peer.tell_own_address(now, entries)
                told += 1
        return told


def _loopback(address: PeerAddress) -> bool:
    return address.ip is not None and address.ip.is_loopback
