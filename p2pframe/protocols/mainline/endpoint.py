"""One socket is one node of the DHT: its id, its routing table, what it hears and whom it asks (BEP 5; BEP 45).

A process with several addresses is several nodes: each has its own id and table, and answers from the socket that it
was asked on; what is stored is shared. A node enters the table once it has answered a query of ours from the very
address that it is to be reached at: nobody gets in by a forged source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zope.interface import implementer

from p2pframe.interfaces import ICountsMessages, IDatagramPort, IDatagramReceiver
from p2pframe.kademlia.routing_table import Contact, RoutingTable
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.bencode import Value
from p2pframe.protocols.mainline.calls import Call, Calls
from p2pframe.protocols.mainline.compact import pack_node
from p2pframe.protocols.mainline.krpc import Malformed, Query, Refusal, Response
from p2pframe.protocols.mainline.node_id import fits, generate
from p2pframe.protocols.mainline.routable import subnet, usable
from p2pframe.protocols.mainline.voting import Voting

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2pframe.protocols.mainline.dht import Dht
    from p2pframe.protocols.mainline.searches import Search


DEAF = 24
"""Queries without an answer in a row, from whoever, after which nobody's failures are counted."""


_KINDS = (
    b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put", b"sample_infohashes",
)  # fmt: skip


@implementer(IDatagramReceiver, ICountsMessages)
class Endpoint:
    """The DHT node behind one datagram port."""

    def __init__(self, dht: Dht, port: IDatagramPort) -> None:
        self.dht = dht
        self.port = port
        context = dht.context
        self.clock = context.reactor
        self.own = int.from_bytes(context.entropy.bytes(20), "big")
        self.six = False
        config = dht.config
        public = config.public
        self.table: RoutingTable[PeerAddress] = RoutingTable(
            self.own,
            bits=160,
            k=config.k,
            replacements=config.replacements,
            questionable_after=config.questionable_after,
            refresh_after=config.refresh_after,
            host=_host if public else None,
            group=_group if public else None,
            prefer=_fits if public and config.node_ids == "prefer" else None,
            turned_away=lambda reason: dht.turned_away.add(1, f"table: {reason}"),
        )
        self.voting = Voting(config.quorum)
        self.calls = Calls(
            self.clock,
            context.entropy,
            port.send,
            lambda: dht.config.calls,
            lambda: dht.config.grace,
            dht.calls_ended,
            self._unanswered,
        )
        self.searches: dict[Search, None] = {}
        self.remembered: list[tuple[int, PeerAddress]] = []
        """Nodes that were in the table before a restart, still to be asked."""
        self._verifying: dict[PeerAddress, None] = {}
        self._verify_again = 0.0
        self._silent = 0
        self._asked_us = {kind: [0, 0] for kind in _KINDS}
        self._asked_other, self._answers, self._errors, self._unreadable = [0, 0], [0, 0], [0, 0], [0, 0]

    @property
    def messages(self) -> Mapping[str, tuple[int, int]]:
        """See `ICountsMessages.messages`: queries by what they ask, then what is no query."""
        found = {kind.decode(): counts for kind, counts in self._asked_us.items()}
        found |= {
            "other query": self._asked_other, "response": self._answers, "error": self._errors,
            "unreadable": self._unreadable,
        }  # fmt: skip
        return {kind: (messages, size) for kind, (messages, size) in found.items()}

    @property
    def label(self) -> str:
        """Names it in storage and in the log: where it is bound."""
        return str(self.port.address)

    @property
    def silent(self) -> int:
        """Queries of ours in a row that nobody has answered."""
        return self._silent

    def opened(self, own: int | None) -> None:
        """The port is bound; `own` is the id that it had before a restart, if any."""
        address = self.port.address
        self.six = ":" in address.host
        if own is None and self.dht.config.public and usable(address, public=True):
            # Bound to a public address: nobody has to tell us what we are seen by.
            own = generate(address.host, self.dht.context.entropy.bytes(20))
        if own is not None and own != self.own:
            self._become(own)

    def closed(self) -> None:
        """Nothing is asked, and nobody waits, any more."""
        for search in list(self.searches):
            search.stop()
        self.calls.stop()
        self._verifying.clear()

    # --- what comes in ---

    def awaited(self, data: bytes, source: PeerAddress) -> bool:
        """See `IDatagramReceiver.awaited`."""
        return self.calls.awaited(data, source)

    def datagram_received(self, data: bytes, source: PeerAddress) -> None:
        """See `IDatagramReceiver.datagram_received`."""
        dht = self.dht
        try:
            message = krpc.parse(data)
        except Malformed as error:
            dht.malformed.add(1, error.reason)
            self._unreadable[0] += 1
            self._unreadable[1] += len(data)
            if error.transaction is not None and not dht.config.read_only:
                self._send(dht.answers.refuse(error.transaction, error.reason, source, len(data)), source)
            return
        if isinstance(message, Query):
            counts = self._asked_us.get(message.method, self._asked_other)
            counts[0] += 1
            counts[1] += len(data)
            self._asked(message, source, len(data))
        else:
            counts = self._answers if isinstance(message, Response) else self._errors
            counts[0] += 1
            counts[1] += len(data)
            self._replied(message, source)

    def _asked(self, query: Query, source: PeerAddress, size: int) -> None:
        dht = self.dht
        if dht.config.read_only:
            # BEP 43: who can't be reached answers nobody.
            dht.queries_dropped.add(1, "read-only")
            return
        if query.id == self.own:
            # Ourselves, by way of an address of ours, or somebody who pretends.
            dht.queries_dropped.add(1, "own id")
            return
        answer = dht.answers.answer(query, source, size, self.own, self.closest_packed)
        self._send(answer, source)
        # BEP 43: who says that it is read-only is never kept. Who has the wrong id is served, and not kept either.
        if not query.read_only:
            now = self.clock.seconds()
            if self.table.heard(query.id, source, now):
                self._verify(query.id, source, now)

    def _replied(self, reply: Response | Refusal, source: PeerAddress) -> None:
        call = self.calls.take(reply, source)
        if call is None:
            return
        dht = self.dht
        now = self.clock.seconds()
        self._silent = 0
        dht.guard.prove(source, now)
        if reply.ip is not None:
            self._voted(source, reply.ip)
        if isinstance(reply, Response):
            if call.expected is not None and reply.id != call.expected:
                # Another id than it was told of under: who told lied, or it changes its id by who asks.
                dht.turned_away.add(1, "wrong id")
                self.table.failed(call.expected, source, now)
            if reply.id != self.own and self.admissible(reply.id, source):
                self.table.replied(reply.id, source, now)
        call.replied(reply, call.state == 2)

    def admissible(self, identity: int, address: PeerAddress) -> bool:
        """Whether a node of this id at this address may be in the table and in searches."""
        config = self.dht.config
        if identity == self.own or ((":" in address.host) != self.six) or not usable(address, config.public):
            return False
        return config.node_ids != "enforce" or fits(identity, address.host)

    # --- what goes out ---

    def ask(
        self,
        method: bytes,
        arguments: Mapping[bytes, Value],
        address: PeerAddress,
        replied: Callable[[Response | Refusal, bool], None],
        *,
        expected: int | None = None,
        late: Callable[[], None] | None = None,
        lost: Callable[[], None] | None = None,
    ) -> Call | None:
        """Send a query; a node of the table that does not answer is noted there. None where too many are under way."""
        question = self.question(method, arguments)
        return self.calls.ask(question, address, replied, expected=expected, late=late, lost=lost)

    def question(self, method: bytes, arguments: Mapping[bytes, Value]) -> bytes:
        """A query for `calls.ask`, to be sent to many."""
        return krpc.asked(method, self.own.to_bytes(20, "big"), arguments, self.dht.config.read_only)
    def ping(self, address: PeerAddress, expected: int | None = None) -> bool:
        """Ask whether a node is there; what it answers goes to the table. False where too many queries are under
        way.
        """
        return self.ask(b"ping", {}, address, _nothing, expected=expected) is not None

    def closest_packed(self, target: int, six: bool) -> bytes:
        """The compact form of the nodes nearest to a target that we would tell of, IPv4 or IPv6, in any order; empty
        without any.
        """
        teller = self if six == self.six else self.dht.sibling(six)
        if teller is None:
            return b""
        table = teller.table
        bucket = table.bucket(target)
        if bucket.note:
            return bucket.note
        packed = b"".join([one.note or _noted(one) for one in table.closest(target)])
        if table.alone(bucket):
            # The same nodes for every target that lies in it, until one of them comes, goes or fails.
            bucket.note = packed
        return packed

    # --- within ---

    def _unanswered(self, call: Call) -> None:
        self._silent += 1
        # Where nobody at all answers it is our own connection that is down, and none of them is to blame.
        if call.expected is not None and self._silent <= DEAF:
            self.table.failed(call.expected, call.address, self.clock.seconds())

    def _send(self, answer: bytes | None, target: PeerAddress) -> None:
        if answer is not None:
            self.port.send(answer, target)

    def _verify(self, identity: int, address: PeerAddress, now: float) -> None:
        """Ping a stranger that we have room for. Bounded: forged queries must not have us ping the world."""
        config = self.dht.config
        if now < self._verify_again or len(self._verifying) >= config.verifications:
            self.dht.turned_away.add(1, "verifications")
            return
        if address in self._verifying or not self.admissible(identity, address):
            return
        self._verify_again = now + 1.0 / config.verifications_per_second

        def over(*_: object) -> None:
            self._verifying.pop(address, None)

        if self.ask(b"ping", {}, address, over, lost=over) is not None:
            self._verifying[address] = None

    def _voted(self, source: PeerAddress, seen: PeerAddress) -> None:
        if (":" in seen.host) != self.six or not usable(seen, self.dht.config.public):
            self.dht.turned_away.add(1, "vote")
            return
        if not self.voting.vote(source, seen):
            return
        host = self.voting.address or ""
        self.dht.context.log.info("{endpoint}: others see us as {host}", endpoint=self.label, host=host)
        if self.dht.config.node_ids != "ignore" and not fits(self.own, host):
            self._become(generate(host, self.dht.context.entropy.bytes(20)))
            self.dht.moved(self)

    def _become(self, own: int) -> None:
        self.own = own
        self.table.rehome(own)


def _fits(identity: int, address: PeerAddress) -> bool:
    return fits(identity, address.host)


def _noted(contact: Contact[PeerAddress]) -> bytes:
    """A contact in compact form, kept with it: it is told of again and again, and changes never."""
    contact.note = pack_node(contact.id, contact.address)
    return contact.note


def _host(address: PeerAddress) -> str:
    return address.host


def _group(address: PeerAddress) -> str:
    return subnet(address.host)


def _nothing(reply: Response | Refusal, late: bool) -> None:
    """Whoever pings wants no more than what every reply brings about."""
