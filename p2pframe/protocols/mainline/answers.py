"""What a node answers to whom: the queries of BEP 5, 32, 33, 43, 44 and 51, within what the guard allows.

An answer depends on nothing that the asker could forge to another's harm: writes need a token, what is stored is
bounded, and what goes to an address that is not proven is hardly larger than what came from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from p2pframe.interfaces import IContext
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.bencode import Bencoded, Encodable, encode
from p2pframe.protocols.mainline.calls import VERSION
from p2pframe.protocols.mainline.compact import NODE, NODE6, pack_host
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.guard import Guard
from p2pframe.protocols.mainline.item_store import ItemStore, StoredValue
from p2pframe.protocols.mainline.krpc import Query
from p2pframe.protocols.mainline.peer_store import PeerStore
from p2pframe.protocols.mainline.routable import subnet, usable
from p2pframe.protocols.mainline.signed_items import (
    KEY_BYTES,
    SALT_BYTES,
    SIGNATURE_BYTES,
    VALUE_BYTES,
    immutable_target,
    mutable_target,
    verify,
)
from p2pframe.protocols.mainline.tokens import Tokens

LARGEST = 1024
"""Bytes of a reply's payload, at most (BEP 32); an item of BEP 44 may take it a little beyond."""
_VALUES, _VALUES6 = 50, 20
_SAMPLES = 20
_ROOMY = 400
"""Bytes of an item's value beside which the nodes of two families fit."""
_OWN = b"id"
Nodes = Callable[[int, bool], bytes]


class Stores:
    """What the endpoints of a node share: the peers and items of others, and the secrets of the tokens."""

    def __init__(self, config: MainlineConfig, context: IContext) -> None:
        self.config = config
        self._context = context
        turned_away = context.metrics.counter(
            "dht_stores_turned_away_total", "Peers and items that were not stored, or made room, by which bound.",
            ["bound"]
        )
        self.peers = PeerStore(lambda: self.config, lambda: context.rng, turned_away)
        self.items = ItemStore(lambda: self.config, turned_away)
        self.tokens = Tokens(context.entropy, config.token_rotation)

    def reconfigure(self, config: MainlineConfig) -> None:
        """Take new live options."""
        self.config = config

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        self.peers.expire(now)
        self.items.expire(now)

    def dump(self) -> Iterator[tuple[bytes, bytes]]:
        """Rows for storage."""
        now = self._context.reactor.seconds()
        yield b"stored", b"%d" % int(self._context.unix_time())
        yield from self.peers.dump(now)
        yield from self.items.dump(now)

    def load(self, rows: list[tuple[bytes, bytes]]) -> int:
        """Take rows from storage; how many could not be read."""
        kept = dict(rows)
        written = kept.pop(b"stored", b"0")
        now, unix = self._context.reactor.seconds(), self._context.unix_time()
        away = max(0.0, unix - int(written)) if written.isdigit() else unix
        wrong = 0
        for key, row in kept.items():
            store = self.items if key.startswith(b"item/") else self.peers
            wrong += not store.load(key, row, now, away)
        return wrong


class _Refused(Exception):
    """A query that gets an error: its code, and a text for the asker."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Answers:
    """Answers the queries of one node's endpoints."""

    def __init__(self, config: MainlineConfig, context: IContext, stores: Stores, guard: Guard) -> None:
        self._config = config
        self._stores = stores
        self._guard = guard
        self._clock = context.reactor
        self._asked = context.metrics.counter("dht_queries_total", "Queries by what they ask for.", ["method"])
        self._dropped = context.metrics.counter(
            "dht_answers_dropped_total", "Queries that got no answer, or a shorter one, by why.", ["why"]
        )
        self._methods: dict[bytes, tuple[str, Callable[[Query, PeerAddress, int, Nodes, float], _Answer]]] = {
            b"ping": ("ping", self._ping),
            b"find_node": ("find_node", self._find_node),
            b"get_peers": ("get_peers", self._get_peers),
            b"announce_peer": ("announce_peer", self._announce_peer),
            b"get": ("get", self._get),
            b"put": ("put", self._put),
            b"sample_infohashes": ("sample_infohashes", self._sample),
        }

    def reconfigure(self, config: MainlineConfig) -> None:
        """Take new live options."""
        self._config = config

    def answer(self, query: Query, source: PeerAddress, size: int, own: int, nodes: Nodes) -> bytes | None:
        """The datagram that answers a query of `size` bytes, None for silence.

        `own` is the id of the endpoint asked; `nodes(target, six)` gives the compact nodes of a family nearest to a
        target.
        """
        now = self._clock.seconds()
        if not self._guard.query(source, now):
            self._dropped.add(1, "rate")
            return None
        name, method = self._methods.get(query.method, ("other", self._other))
        self._asked.add(1, name)
        ip = pack_host(source.host) + source.port.to_bytes(2, "big")
        try:
            answer = method(query, source, size, nodes, now)
        except _Refused as refused:
            reply = krpc.refusal(query.transaction, refused.code, refused.text, ip, VERSION)
            return self._or_silence(reply, source, size, now)
        values = answer.values
        identity = own.to_bytes(20, "big")
        packed, token = values.get(b"nodes"), values.get(b"token")
        if len(values) == 2 and isinstance(packed, bytes) and isinstance(token, bytes):
            reply = krpc.told(query.transaction, identity, packed, token, ip, VERSION)
            values[_OWN] = identity
        else:
            values[_OWN] = identity
            reply = krpc.response(query.transaction, values, ip, VERSION)
        if self._allowed(reply, source, size, now):
            return reply
        # Not in full: without what may be left out, then with fewer nodes.
        self._dropped.add(1, "shortened")
        for key in answer.spare:
            answer.values.pop(key, None)
        reply = krpc.response(query.transaction, answer.values, ip, VERSION)
        over = len(reply) - self._guard.room(source, size)
        if over > 0:
            for key, width in ((b"nodes", NODE), (b"nodes6", NODE6)):
                packed = answer.values.get(key)
                if isinstance(packed, bytes) and packed:
                    answer.values[key] = _fewer(packed, width, -(-over // width), query)
            reply = krpc.response(query.transaction, answer.values, ip, VERSION)
        if len(reply) <= self._guard.room(source, size):
            return reply
        self._dropped.add(1, "amplification")
        return None

    def refuse(self, transaction: bytes, why: str, source: PeerAddress, size: int) -> bytes | None:
        """The datagram that answers a query that could not be read (BEP 5, 203), None for silence."""
        now = self._clock.seconds()
        if not self._guard.query(source, now):
            self._dropped.add(1, "rate")
            return None
        reply = krpc.refusal(transaction, krpc.PROTOCOL_ERROR, f"no good {why}", b"", VERSION)
        return self._or_silence(reply, source, size, now)

    def _or_silence(self, reply: bytes, source: PeerAddress, size: int, now: float) -> bytes | None:
        if self._allowed(reply, source, size, now):
            return reply
        self._dropped.add(1, "amplification")
        return None

    def _allowed(self, reply: bytes, source: PeerAddress, size: int, now: float) -> bool:
        over = len(reply) - self._guard.room(source, size)
        return over <= 0 or self._guard.proven(source, now) or self._guard.pay(source, over, now)

    # --- the queries ---

    def _ping(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        return _Answer({})

    def _find_node(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        answer = _Answer({})
        self._add_nodes(answer, query, _id(query, b"target"), source, nodes)
        return answer

    def _get_peers(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        info_hash = _id(query, b"info_hash")
        peers, six = self._stores.peers, ":" in source.host
        answer = _Answer({})
        self._add_nodes(answer, query, info_hash, source, nodes)
        held = peers.holds(info_hash, six)
        if not held or not peers.full(info_hash, six, now):
            answer.values[b"token"] = self._stores.tokens.make(source.host, info_hash, now)
        if not held and b"scrape" not in query.arguments:
            return answer
        room = LARGEST - 200 - sum(len(one) for one in answer.values.values() if isinstance(one, bytes))
        if query.arguments.get(b"scrape") == 1:
            filters = peers.filters(info_hash, now)
            if filters is not None:
                answer.values[b"BFsd"], answer.values[b"BFpe"] = filters
                answer.spare += (b"BFsd", b"BFpe")
                room -= 540
        width = 21 if six else 8
        most = min(_VALUES6 if six else _VALUES, room // width)
        if most > 0:
            values = peers.values(info_hash, six, most, now, query.arguments.get(b"noseed") == 1)
            if values:
                answer.values[b"values"] = list(values)
                answer.spare += (b"values",)
        return answer

    def _announce_peer(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        arguments = query.arguments
        info_hash = _id(query, b"info_hash")
        port = source.port if arguments.get(b"implied_port") == 1 else arguments.get(b"port")
        if type(port) is not int or not 0 < port < 65_536:
            raise _Refused(krpc.PROTOCOL_ERROR, "port: from 1 to 65535")
        self._check_token(query, source, info_hash, now)
        if not usable(source, self._config.public):
            raise _Refused(krpc.GENERIC_ERROR, "your address is not one of the public network")
        self._stores.peers.add(info_hash, pack_host(source.host), port, arguments.get(b"seed") == 1, now)
        return _Answer({})

    def _get(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        target = _id(query, b"target")
        answer = _Answer({})
        self._add_nodes(answer, query, target, source, nodes)
        answer.values[b"token"] = self._stores.tokens.make(source.host, target, now)
        item = self._stores.items.get(target, now)
        if item is None:
            return answer
        newer_than = query.arguments.get(b"seq")
        if item.key:
            answer.values[b"seq"] = item.sequence
            if type(newer_than) is int and item.sequence <= newer_than:
                return answer
            answer.values[b"k"], answer.values[b"sig"] = item.key, item.signature
            answer.spare += (b"k", b"sig")
        answer.values[b"v"] = Bencoded(item.encoded)
        # A datagram has room for a large value or for the nodes of a second family.
        if len(item.encoded) > _ROOMY and len(answer.spare) > 2:
            answer.values.pop(answer.spare[0], None)
        answer.spare += (b"v",)
        return answer

    def _put(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        arguments = query.arguments
        value = arguments.get(b"v")
        if value is None:
            raise _Refused(krpc.PROTOCOL_ERROR, "v: what is to be stored is missing")
        encoded = encode(value)
        if len(encoded) > VALUE_BYTES:
            raise _Refused(krpc.VALUE_TOO_BIG, f"v has more than {VALUE_BYTES} bytes")
        key = arguments.get(b"k")
        if key is None:
            target = immutable_target(encoded)
            self._check_token(query, source, target, now)
            item = StoredValue(encoded, b"", b"", 0, b"", now, subnet(source.host))
        else:
            target, item = self._signed(query, source, encoded, now)
        if not self._stores.items.put(target, item):
            raise _Refused(krpc.SERVER_ERROR, "too many items of your network are stored here")
        return _Answer({})

    def _signed(
        self, query: Query, source: PeerAddress, encoded: bytes, now: float
    ) -> tuple[bytes, StoredValue]:  # fmt: skip
        arguments = query.arguments
        key, salt, sequence = arguments.get(b"k"), arguments.get(b"salt", b""), arguments.get(b"seq")
        signature, cas = arguments.get(b"sig"), arguments.get(b"cas")
        if type(key) is not bytes or len(key) != KEY_BYTES:
            raise _Refused(krpc.PROTOCOL_ERROR, f"k: a public key has {KEY_BYTES} bytes")
        if type(salt) is not bytes or len(salt) > SALT_BYTES:
            raise _Refused(krpc.SALT_TOO_BIG, f"salt has more than {SALT_BYTES} bytes")
        if type(sequence) is not int or not 0 <= sequence < 2**63:
            raise _Refused(krpc.PROTOCOL_ERROR, "seq: a number from 0 to 2**63 - 1")
        if type(signature) is not bytes or len(signature) != SIGNATURE_BYTES:
            raise _Refused(krpc.BAD_SIGNATURE, f"sig: a signature has {SIGNATURE_BYTES} bytes")
        target = mutable_target(key, salt)
        # The token before the signature: a check of it costs as much as answering fifty queries.
        self._check_token(query, source, target, now)
        held = self._stores.items.get(target, now)
        if held is not None:
            if type(cas) is int and cas != held.sequence:
                raise _Refused(krpc.CAS_MISMATCH, f"cas: the item here has seq {held.sequence}")
            if sequence < held.sequence or (sequence == held.sequence and encoded != held.encoded):
                raise _Refused(krpc.SEQUENCE_TOO_LOW, f"seq: the item here has seq {held.sequence}")
        if not verify(key, salt, sequence, encoded, signature):
            raise _Refused(krpc.BAD_SIGNATURE, "sig: the signature does not hold")
        return target, StoredValue(encoded, key, salt, sequence, signature, now, subnet(source.host))

    def _sample(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        samples, total, interval = self._stores.peers.sample(_SAMPLES, now)
        answer = _Answer({b"interval": interval, b"num": total, b"samples": b"".join(samples)})
        self._add_nodes(answer, query, _id(query, b"target"), source, nodes)
        return answer

    def _other(self, query: Query, source: PeerAddress, size: int, nodes: Nodes, now: float) -> _Answer:
        """An unknown query with a target is answered like find_node: so that the network can learn new ones."""
        for key in (b"target", b"info_hash"):
            if key in query.arguments:
                answer = _Answer({})
                self._add_nodes(answer, query, _id(query, key), source, nodes)
                return answer
        raise _Refused(krpc.METHOD_UNKNOWN, "this query is not known here")

    # --- within ---

    def _add_nodes(self, answer: _Answer, query: Query, target: bytes, source: PeerAddress, nodes: Nodes) -> None:
        number = int.from_bytes(target, "big")
        six = ":" in source.host
        want = query.arguments.get(b"want")
        if want is None:
            answer.values[b"nodes6" if six else b"nodes"] = nodes(number, six)
            return
        families = [six]
        if isinstance(want, list):
            families = [family for family, word in ((False, b"n4"), (True, b"n6")) if word in want[:8]] or [six]
        for family in families:
            key = b"nodes6" if family else b"nodes"
            answer.values[key] = nodes(number, family)
            if family != families[0]:
                answer.spare = (key, *answer.spare)

    def _check_token(self, query: Query, source: PeerAddress, target: bytes, now: float) -> None:
        if not self._stores.tokens.good(query.arguments.get(b"token"), source.host, target, now):
            raise _Refused(krpc.PROTOCOL_ERROR, "token: not one that was given to your address for this, lately")
        self._guard.prove(source, now)
        if not self._guard.store(source, now):
            raise _Refused(krpc.SERVER_ERROR, "your network stores too much: try again later")


class _Answer:
    """The values of a response; `spare` are the keys that may be left out where it grows too large."""

    __slots__ = ("spare", "values")

    def __init__(self, values: dict[bytes, Encodable]) -> None:
        self.values = values
        self.spare: tuple[bytes, ...] = ()


def _fewer(packed: bytes, width: int, less: int, query: Query) -> bytes:
    """Compact nodes without so many of those farthest from the target."""
    target = query.arguments.get(b"info_hash", query.arguments.get(b"target"))
    nodes = [packed[at : at + width] for at in range(0, len(packed), width)]
    if isinstance(target, bytes):
        number = int.from_bytes(target, "big")
        nodes.sort(key=lambda node: int.from_bytes(node[:20], "big") ^ number)
    return b"".join(nodes[: max(0, len(nodes) - less)])


def _id(query: Query, key: bytes) -> bytes:
    identity = query.arguments.get(key)
    if type(identity) is not bytes or len(identity) != 20:
        raise _Refused(krpc.PROTOCOL_ERROR, f"{key.decode()}: 20 bytes")
    return identity
