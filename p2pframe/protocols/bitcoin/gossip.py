"""Address gossip.

What is taken of the addresses that a peer tells, whom they are told on to, and what getaddr is answered.

No I/O and no timers: the conversation calls it with the time, and sends what it returns. Figures are those of Bitcoin
Core's net_processing.cpp (ProcessAddrs, RelayAddress) and net.cpp (GetAddresses).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from p2pframe.interfaces import IAddressBook, IContext, ISession
from p2pframe.model import FoundAddress, PeerAddress, SessionId
from p2pframe.protocols.bitcoin.addresses import MAX_ADDRESSES, NetworkAddress, network_address, peer_address
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_NETWORK_LIMITED
from p2pframe.protocols.bitcoin.routable import bad_port, routable

FRESH = 600
"""Seconds since an address was seen within which it is news to tell on."""
FUTURE = 600
"""Seconds by which a time may be ahead of ours."""
OLDEST_TIME = 100_000_000
"""Unix times before this (1973) are no times of the network's."""
DOUBTED_AGE = 5 * 86_400
"""How old an address with an impossible time is taken to be, in seconds: neither fresh nor quite forgotten."""
RELAYED = 10
"""Messages of more addresses than this are answers to getaddr, not news; also the most of our own that are told."""
FANOUT = 2
"""Peers that one address is told on to."""
ROTATION = 86_400
"""Seconds after which an address is told on to other peers."""
PERCENT = 23
"""Share of the book that getaddr is answered with."""
REMEMBERED = 10_000
"""Addresses lately told on, which are not told on again.

Between nodes they would go in circles for as long as they are fresh.
"""
ANSWERS = 8
"""Cached answers to getaddr: one for each kind of network that peers come by."""


class GossipOptions(Protocol):
    """What is read of a configuration, each time that it is needed."""

    @property
    def external(self) -> Sequence[PeerAddress]:
        """Addresses at which others can reach this node, as the operator gave them."""

    @property
    def address_cache(self) -> float:
        """Seconds that an answer to getaddr stays the same, give or take an eighth."""


class Vetted(NamedTuple):
    """An address that a peer told and that may be kept: as it was told, and as the book has it."""

    entry: NetworkAddress
    found: FoundAddress


class _Answer(NamedTuple):
    until: float
    entries: list[NetworkAddress]


class AddressGossip:
    """The gossip of one network.

    `public` chains keep and tell routable addresses only; `now` is unix time in seconds throughout.
    """

    def __init__(self, options: GossipOptions, context: IContext, book: IAddressBook, public: bool) -> None:
        self.options = options
        self._rng = context.rng
        self._book = book
        self._public = public
        self._salt = context.entropy.bytes(32)
        self._told: dict[tuple[int, bytes, int], float] = {}
        self._answers: dict[str, _Answer] = {}
        self._left = context.metrics.counter(
            "gossip_left_total", "Told addresses that were not taken, by reason.", ("reason",)
        )
        self._forwarded = context.metrics.counter(
            "gossip_forwarded_total", "Addresses told on, once for each peer told."
        )

    def dialable(self, address: PeerAddress) -> bool:
        """Whether an address may enter the book.

        On public chains only routable ones, at ports that are nobody else's.
        """
        return not self._public or (routable(address) and not bad_port(address.port))

    def vetted(self, entries: Sequence[NetworkAddress], now: float) -> list[Vetted]:
        """Of addresses that a peer told, those that may enter the book; the others are counted by the reason."""
        taken: list[Vetted] = []
        for entry in entries:
            if not entry.services & (NODE_NETWORK | NODE_NETWORK_LIMITED):
                self._left.add(1, "no-blocks")
                continue
            address = peer_address(entry)
            if address is None or not address.port:
                self._left.add(1, "no-port")
            elif not self.dialable(address):
                self._left.add(1, "not-routable")
            else:
                if not OLDEST_TIME < entry.time <= now + FUTURE:
                    entry = entry._replace(time=max(0, int(now) - DOUBTED_AGE))
                taken.append(Vetted(entry, FoundAddress(address, entry.services, float(entry.time))))
        return taken

    def take(
        self, session: ISession, taken: Sequence[Vetted], is_news: bool, sessions: Sequence[ISession], now: float
    ) -> list[tuple[SessionId, list[NetworkAddress]]]:
        """Addresses that a peer told, once `vetted`: into the book, and what is to be told on to whom, in order.

        What answers our getaddr, and long messages, are no news. `sessions` are the open ones that addresses are told
        to (none that relays blocks only). Of a peer over its budget (core's) nothing more is taken or told on.
        """
        count = session.found([found for _, found in taken]) if taken else 0
        if not is_news:
            return []
        news = [entry for entry, _ in taken[:count] if entry.time > now - FRESH]
        return self._tell_on(session, news, sessions, now)

    def answer(self, session: ISession, now: float) -> list[NetworkAddress]:
        """What a getaddr of that peer is answered: at most 23% of the book and 1000 entries.

        The same answer for about a day to all who come by the same kind of network, so that asking often does not show
        the whole book, nor how it changes.
        """
        ip = session.address.ip
        kind = session.address.kind if ip is None else f"ip{ip.version}"
        cached = self._answers.get(kind)
        if cached is not None and now < cached.until:
            return cached.entries
        entries: list[NetworkAddress] = []
        for found in self._book.sample(MAX_ADDRESSES, PERCENT):
            if self.dialable(found.address):
                entry = network_address(found.address, found.services, int(found.last_seen or 0) & 0xFFFF_FFFF)
                if entry is not None:
                    entries.append(entry)
        self._answers.pop(kind, None)
        if entries:
            # An empty answer says nothing of the book, and a young node's would last a day.
            while len(self._answers) >= ANSWERS:
                del self._answers[next(iter(self._answers))]
            self._answers[kind] = _Answer(now + self.options.address_cache * self._rng.uniform(0.875, 1.125), entries)
        return entries

    def own(
        self, now: float, services: int, bound: Sequence[PeerAddress] = (), here: bool = False
    ) -> list[NetworkAddress]:
        """What to tell a peer of ourselves, as seen now.

        The addresses that the operator gave; where there are none, those of `bound` that can be reached, of which a
        loopback one is told only to a peer that is `here` too.
        """
        entries: list[NetworkAddress] = []
        given = self.options.external
        for address in (given or bound)[:RELAYED]:
            entry = network_address(address, services, int(now)) if self.dialable(address) else None
            if entry is not None and (given or _reachable(address, here)):
                entries.append(entry)
            else:
                self._left.add(1, "own-not-routable")
        return entries

    def _tell_on(
        self, source: ISession, news: Sequence[NetworkAddress], sessions: Sequence[ISession], now: float
    ) -> list[tuple[SessionId, list[NetworkAddress]]]:
        others = [session.id for session in sessions if session.id != source.id and not session.closing]
        told: dict[SessionId, list[NetworkAddress]] = {}
        for entry in news:
            key = (entry.network, entry.address, entry.port)
            before = self._told.pop(key, None)
            if before is not None and now - before < FRESH:
                self._told[key] = before
                continue
            self._told[key] = now
            while len(self._told) > REMEMBERED:
                del self._told[next(iter(self._told))]
            for id in self._chosen(entry, others, now):
                told.setdefault(id, []).append(entry)
                self._forwarded.add()
        return list(told.items())

    def _chosen(self, entry: NetworkAddress, ids: Sequence[SessionId], now: float) -> list[SessionId]:
        """The peers that an address is told on to.

        The same ones all day, whoever tells it, and nobody else can work out which.

        Each address has its own midnight, so that not all of them change at once.
        """
        keyed = sha256(self._salt + bytes((entry.network,)) + entry.address + entry.port.to_bytes(2, "big"))
        day = (int(now) + int.from_bytes(keyed.digest()[:4], "big") % ROTATION) // ROTATION
        keyed.update(day.to_bytes(8, "big"))

        def rank(id: SessionId) -> bytes:
            mixed = keyed.copy()
            mixed.update(id.to_bytes(8, "big"))
            return mixed.digest()

        return sorted(ids, key=rank)[:FANOUT]


def _reachable(address: PeerAddress, here: bool) -> bool:
    """Whether a place that we listen on means anything to somebody else."""
    ip = address.ip
    return ip is None or not (ip.is_unspecified or ip.is_multicast or ip.is_link_local or (ip.is_loopback and not here))
