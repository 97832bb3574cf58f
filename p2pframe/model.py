"""The values that parts of a node hand to one another: frozen, comparable, without behaviour of their own.

Everything here may be kept, logged and shown. What is counted per message lives in slotted counters
(`SessionCounters`), which change in place: a frozen value a message would be the dearest part of the message.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NewType

PeerId = NewType("PeerId", bytes)
"""Who a peer is, where a protocol or transport can prove it: for `tls`, SHA-256 of the key's SubjectPublicKeyInfo."""
ItemId = NewType("ItemId", bytes)
"""Names an item within its topic; for Bitcoin 32 bytes in the order of the wire."""
Topic = NewType("Topic", str)
"""A kind of item, as the protocol names it (`tx`, `block`)."""
SessionId = NewType("SessionId", int)
"""Counts sessions within one network since the node started; never used twice."""

AddressKind = Literal["ip", "name", "onion", "i2p"]


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One of the host's: its name and number there, and its addresses with their prefixes."""

    name: str
    index: int
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]


@dataclass(frozen=True, slots=True, order=True)
class PeerAddress:
    """Where a peer may be reached.

    `host` is a normalised textual address (IPv4, IPv6 without brackets, a DNS name, an onion name); `port` is 1 to
    65535 (0 where the port is not known). IPv4-mapped IPv6 addresses are given as IPv4: see `of`.
    """

    host: str
    port: int
    kind: AddressKind = "ip"

    @classmethod
    def of(cls, host: str, port: int) -> PeerAddress:
        """From a host and a port; raises ValueError where the port or the host can't be one."""
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port} is not between 0 and 65535")
        bare = (host[1:-1] if host.startswith("[") and host.endswith("]") else host).split("%", 1)[0]
        try:
            ip = ipaddress.ip_address(bare)
        except ValueError:
            name = host.lower().rstrip(".")
            if not name or len(name) > 253 or any(c.isspace() or not c.isprintable() or c in "[]:" for c in name):
                raise ValueError(f"{host!r} is neither an address nor a host name") from None
            kind: AddressKind = "onion" if name.endswith(".onion") else "i2p" if name.endswith(".i2p") else "name"
            return cls(name, port, kind)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return cls(str(ip), port)

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> PeerAddress:
        """From `host:port`, `[v6]:port` or, with `default_port`, a bare host; raises ValueError saying why not."""
        host, colon, port = text.rpartition(":")
        if (text.count(":") > 1 and not text.startswith("[")) or text.endswith("]") or not colon:
            host, colon, port = text, "", ""
        if not colon:
            if default_port is None:
                raise ValueError(f"{text!r} has no port: write host:port or [v6-address]:port")
            return cls.of(host, default_port)
        if not port.isascii() or not port.isdigit():
            raise ValueError(f"{text!r}: the port {port!r} is not a number")
        return cls.of(host, int(port))

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address as a number, or None for a name."""
        return ipaddress.ip_address(self.host) if self.kind == "ip" else None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def netgroup(address: PeerAddress) -> str:
    """The addresses one operator could easily own together: IPv4 /16, IPv6 /32, else the whole name.

    Loopback addresses keep their whole text, so that a test network on one machine is not one group.
    """
    if address.kind != "ip":
        return f"{address.kind}:{address.host}"
    return _group(address.host)


@lru_cache(maxsize=16_384)
def _group(host: str) -> str:
    # Asked for every datagram; the same hosts come again and again.
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return f"loopback:{ip}"
    packed = ip.packed
    if ip.version == 4:
        return f"v4:{packed[0]}.{packed[1]}"
    return f"v6:{packed[:4].hex()}"


class Slot(enum.Enum):
    """The class of a session: each class has its own places, counted by core."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BLOCK_RELAY = "block-relay-only"
    FEELER = "feeler"
    MANUAL = "manual"

    # An enum's own hashes the name, in Python: tables by slot are asked for every session, several times a second.
    __hash__ = object.__hash__

    @property
    def dialled(self) -> bool:
        """True where this end opened the connection."""
        return self is not Slot.INBOUND


class Action(enum.IntEnum):
    """What to do about a peer, from the mildest to the strictest: the strictest of several wins."""

    ALLOW = 0
    DISCONNECT = 1
    DISCOURAGE = 2
    BAN = 3


class Floor(enum.IntEnum):
    """The least that a fact leads to, whatever the scorers say: they may add to it, never lower it."""

    NOTE = 0
    END = 1
    END_AND_DISCOURAGE = 2


@dataclass(frozen=True, slots=True)
class Fact:
    """Something observed of a peer.

    `kind` is a short stable word in the protocol's vocabulary (`bad-headers`, `timeout`, `useful-block`); `evidence` is
    for people and is bounded by who writes it. `proven` is True where the source could not be forged: a completed
    handshake, or an answer to a query of ours that could not be guessed. An unproven fact may only limit rates.
    """

    kind: str
    floor: Floor = Floor.NOTE
    evidence: str = ""
    proven: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule decided about a peer, always with a reason (a stable word) and the evidence (for people).

    `duration` is in seconds and matters to `Action.BAN` only; None means the node's default.
    `rule` names who decided: `gate.ban`, `authentication.version`, `scoring.behaviour`.
    """

    action: Action
    rule: str = ""
    reason: str = ""
    evidence: str = ""
    duration: float | None = None

    def __bool__(self) -> bool:
        return self.action is Action.ALLOW


ALLOW = Verdict(Action.ALLOW)


@dataclass(frozen=True, slots=True)
class HandshakeInfo:
    """Who the other end says (or proves) it is, once the protocol's handshake has run.

    `claims` holds what a protocol wants shown and no seam needs (start height, relay flag). `certificate` is the peer's
    DER certificate where a transport has checked one.
    """

    address: PeerAddress
    inbound: bool
    version: int | None = None
    services: frozenset[str] = frozenset()
    agent: str = ""
    peer_id: PeerId | None = None
    certificate: bytes | None = None
    claims: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TransportInfo:
    """What a transport (and an upgrade) has found out about the other end before any protocol byte.

    `peer_id` and `certificate` are None where the transport proves nothing; `encryption` is for people (`TLSv1.3`).
    """

    peer_id: PeerId | None = None
    certificate: bytes | None = None
    encryption: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that spreads, as relay policies, validators and stores see it.

    `body` is the protocol's own decoded value; nobody but the protocol and its applications looks inside. `size` is the
    length of its encoding in bytes. `priority` comes from the validator (for Bitcoin, the fee rate in satoshi per 1000
    virtual bytes); None says that nobody knows, which is a class of its own: behind all known ones.
    `aliases` are other ids under which peers may speak of the same item (a txid beside a wtxid).
    """

    topic: Topic
    id: ItemId
    body: object
    size: int
    priority: float | None = None
    aliases: tuple[ItemId, ...] = ()


class Outcome(enum.Enum):
    """What a validator says of an item."""

    ACCEPT = "accept"
    REJECT = "reject"
    IGNORE = "ignore"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Validation:
    """A validator's answer.

    REJECT carries a reason and, where the sender is to blame, a fact; WAIT names the items (of the same topic) that
    it waits for, which core then asks for; ACCEPT may set the item's priority, and with `spread` False has it held and
    served but told to nobody until the protocol says so (`IItems.spread`).
    """

    outcome: Outcome
    reason: str = ""
    fact: Fact | None = None
    missing: tuple[ItemId, ...] = ()
    priority: float | None = None
    spread: bool = True


ACCEPTED = Validation(Outcome.ACCEPT)


@dataclass(frozen=True, slots=True)
class FoundAddress:
    """An address that a discovery plugin or a peer told of; `last_seen` is unix time in seconds, None if not said.

    `peer_id` is set where the source says who must answer there; a transport that proves ids then checks it. `told_by`
    is the peer that a discovery plugin has it from: the address book then remembers that one, not the plugin.
    """

    address: PeerAddress
    services: int = 0
    last_seen: float | None = None
    peer_id: PeerId | None = None
    told_by: PeerAddress | None = None


@dataclass(frozen=True, slots=True)
class Penalty:
    """An entry of the ban list: a ban (kept on disk) or a discouragement (in memory), with why and until when.

    `subject` is an address (`192.0.2.1`), a network (`192.0.2.0/24`) or a peer id (`id:` and hex). `scope` is a
    network's name or `node` for all. `until` and `since` are unix times in seconds. `automatic` ones hold in one
    network only.
    """

    subject: str
    scope: str
    action: Action
    rule: str
    reason: str
    evidence: str
    since: float
    until: float
    automatic: bool = True


class SessionCounters:
    """What one session has done so far: plain numbers that the session adds to and scorers sample.

    Times are seconds of the reactor's clock (`reactor.seconds()`), 0.0 where it has not happened; `ping` and
    `best_ping` are seconds, None before the first answer. `messages_in` and `messages_out` count by message type,
    `message_bytes_in` the bytes that came in as messages of each; they grow only with types that the protocol knows
    (`*` stands for all the others), so a peer can't fill them.
    """

    __slots__ = (
        "accepted_items", "best_ping", "bytes_in", "bytes_out", "last_block", "last_item", "last_receive", "last_send",
        "message_bytes_in", "messages_in", "messages_out", "opened", "ping", "received", "rejected_items", "sent",
        "started", "timeouts", "turned_away",
    )  # fmt: skip

    def __init__(self, started: float) -> None:
        self.started = started
        self.opened = 0.0
        self.last_receive = 0.0
        self.last_send = 0.0
        self.last_item = 0.0
        self.last_block = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.received = 0
        self.sent = 0
        self.accepted_items = 0
        self.rejected_items = 0
        self.timeouts = 0
        self.turned_away = 0
        self.ping: float | None = None
        self.best_ping: float | None = None
        self.messages_in: dict[str, int] = {}
        self.message_bytes_in: dict[str, int] = {}
        self.messages_out: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class ScorePart:
    """One named part of a score: `value` is normalised to 0..1, `weight` is its share, `raw` what was measured."""

    name: str
    value: float
    weight: float
    raw: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer thinks a peer is worth: 0..1, with the parts that it is made of."""

    scorer: str
    value: float
    parts: tuple[ScorePart, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One session as a topology, an application or a page may see it; times are seconds of the reactor's clock.

    `score` is the mean of the scorers that are not dry runs (None before the first). `relays` is True where the peer
    wants items of every topic; `useful` counts items that it was the first to bring. `protected` ones are never
    evicted; a `sole_source` is the only one that has brought anything useful lately. Rates are a second, averaged over
    about 15 seconds. `errors` counts what the peer did wrong: items of its that were refused, and facts that end a
    session; neither timeouts, which may be ours, nor facts that are only noted.
    """

    id: SessionId
    network: str
    address: PeerAddress
    netgroup: str
    slot: Slot
    state: str
    transport: str
    started: float
    opened: float
    inbound: bool
    peer_id: PeerId | None = None
    version: int | None = None
    services: frozenset[str] = frozenset()
    agent: str = ""
    encryption: str = ""
    ping: float | None = None
    best_ping: float | None = None
    last_receive: float = 0.0
    last_send: float = 0.0
    last_item: float = 0.0
    last_block: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: Mapping[str, int] = field(default_factory=dict)
    messages_out: Mapping[str, int] = field(default_factory=dict)
    message_bytes_in: Mapping[str, int] = field(default_factory=dict)
    accepted_items: int = 0
    rejected_items: int = 0
    timeouts: int = 0
    send_queue: int = 0
    score: float | None = None
    scores: tuple[Score, ...] = ()
    relays: bool = True
    useful: int = 0
    protected: bool = False
    sole_source: bool = False
    rate_in: float = 0.0
    rate_out: float = 0.0
    message_rate_in: float = 0.0
    message_rate_out: float = 0.0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address of the book that could be dialled; times are unix seconds, 0.0 for never."""

    address: PeerAddress
    netgroup: str
    tried: bool
    last_attempt: float = 0.0
    last_success: float = 0.0
    failures: int = 0
    services: int = 0
    peer_id: PeerId | None = None


@dataclass(frozen=True, slots=True)
class TopologyView:
    """What a topology decides on: the sessions, the dials under way, and the time.

    `now` is seconds of the reactor's clock (as in the snapshots). `dialling` are addresses being dialled, with their
    slot. `tip_stale` says that the protocol has seen nothing new for longer than it expects. `book_size`
    counts the addresses of the book.
    """

    now: float
    sessions: tuple[SessionSnapshot, ...]
    dialling: tuple[tuple[PeerAddress, Slot], ...] = ()
    tip_stale: bool = False
    book_size: int = 0


@dataclass(frozen=True, slots=True)
class Want:
    """A topology asks for a session of a class; core takes addresses from the book until one is `acceptable`.

    `exclude_netgroups` may not be dialled for it. `addresses`, where given, are dialled first, in order (anchors).
    `only_tried` / `only_new` narrow the tables that are drawn from (feelers test new ones).
    """

    slot: Slot
    exclude_netgroups: frozenset[str] = frozenset()
    addresses: tuple[PeerAddress, ...] = ()
    only_new: bool = False
    only_tried: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """A topology asks to end a session: to make room (eviction) or to try another peer (rotation)."""

    session: SessionId
    reason: str
    evidence: str = ""
