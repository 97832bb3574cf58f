"""What an application may import of mainline: the interface of the DHT, its values, and the codecs.

    dht = context.service(IMainline, network="mainline")
    peers = await dht.get_peers(infohash("my-app"))
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.bencode import BencodeError, Value, decode, encode
from p2pframe.protocols.mainline.magnets import parse as parse_magnet

ID_BYTES = 20
"""Bytes of a node id, an infohash or a target."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that answered: its id (20 bytes), and where."""

    id: bytes
    address: PeerAddress


@dataclass(frozen=True, slots=True)
class Found:
    """How a search went: the nodes nearest to the target that answered, ascending, and what it took.

    `hops` is the length of the way to the nearest of them, `queries` those sent, `lost` those without an answer,
    `seconds` from the first query to the end; `complete` is False where the time was over first.
    """

    nodes: tuple[Node, ...]
    hops: int
    queries: int
    lost: int
    seconds: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Peers(Found):
    """A search for the peers of an infohash: `peers` are hearsay, in random order.

    `first` is after how many seconds the first of them was known, 0 where one was at home, None where there is none.
    """

    peers: tuple[PeerAddress, ...]
    first: float | None = None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item of BEP 44 as it was found. For an immutable one `key`, `salt` and `signature` are empty and `sequence`
    is 0.
    """

    value: Value
    key: bytes = b""
    salt: bytes = b""
    sequence: int = 0
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a put: the item's target, its sequence number, and how many nodes have taken it."""

    target: bytes
    sequence: int
    stored: int


@dataclass(frozen=True, slots=True)
class Scrape:
    """BEP 33: how many seeds and other peers there are of an infohash, estimated from the nodes' filters."""

    seeds: float
    peers: float


@dataclass(frozen=True, slots=True)
class Sample:
    """BEP 51: some of a node's infohashes; `total` is how many it says it has, `interval` when to ask it again (s)."""

    infohashes: tuple[bytes, ...]
    total: int
    interval: int
    nodes: tuple[Node, ...]


class IMainline(Interface):
    """The BitTorrent DHT as this node takes part in it. `context.service(IMainline, network=...)`.

    Every Deferred fails with `P2PFrameError` where nobody could be asked, and with ValueError for what can't be asked.
    """

    ready: bool = Attribute("Whether it holds enough nodes to be asked.")

    def when_ready() -> Deferred[None]:
        """Fires when the first bootstrap is done; at once where it is."""

    def find_nodes(target: bytes) -> Deferred[Found]:
        """The nodes nearest to a target of 20 bytes."""

    def get_peers(info_hash: bytes, limit: int = 1000) -> Deferred[Peers]:
        """The peers of an infohash (BEP 5)."""

    def announce_peer(info_hash: bytes, port: int, seed: bool = False) -> Deferred[int]:
        """Have the nodes nearest to an infohash note that we are a peer of it, once; fires with how many did.

        `port` 0 stands for the port that our datagrams come from (`implied_port`).
        """

    def scrape(info_hash: bytes) -> Deferred[Scrape]:
        """How many take part (BEP 33)."""

    def get_immutable(target: bytes) -> Deferred[StoredItem | None]:
        """The immutable item of a target (BEP 44), None where nobody has it. What does not hash to it is left out."""

    def get_mutable(key: bytes, salt: bytes = b"") -> Deferred[StoredItem | None]:
        """The latest mutable item of a public key (32 bytes) and salt that its signature holds for."""

    def put_immutable(value: Value, keep: bool = False) -> Deferred[Put]:
        """Store a value whose bencoding has at most 1000 bytes; with `keep` it is put again every hour, restarts
        included.
        """

    def put_mutable(
        seed: bytes, value: Value, salt: bytes = b"", sequence: int | None = None, cas: int | None = None, keep: bool
        = False
    ) -> Deferred[Put]:
        """Sign a value with an Ed25519 seed (32 bytes) and store it.

        `sequence` is one more than the latest that was found where it is not given; with `cas` it is stored only
        where the latest has that sequence number: otherwise `stored` is 0 and `sequence` that of the latest.
        """

    def forget(target: bytes) -> None:
        """Keep an item no longer: it is not put again."""

    def sample(address: PeerAddress, target: bytes) -> Deferred[Sample]:
        """Some of the infohashes that a node holds, and nodes near the target (BEP 51)."""


def infohash(topic: str) -> bytes:
    """The infohash of a topic: 40 hex digits are one, any other text is hashed (SHA-1 of its UTF-8)."""
    if len(topic) == 40:
        try:
            return bytes.fromhex(topic)
        except ValueError:
            pass
    return sha1(topic.encode(), usedforsecurity=False).digest()


__all__ = [
    "ID_BYTES",
    "BencodeError",
    "Found",
    "IMainline",
    "Node",
    "Peers",
    "Put",
    "Sample",
    "Scrape",
    "StoredItem",
    "Value",
    "decode",
    "encode",
    "infohash",
    "parse_magnet",
]
