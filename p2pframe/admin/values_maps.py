"""What the API answers about how items spread, where addresses come from, and who is connected with whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from p2pframe.admin.routes import Closed
from p2pframe.admin.values import Cursor, Short

By = Literal["direction", "score", "netgroup"]


class Spread(Closed):
    """How one item spread as far as this node saw.

    `source` is the session that brought it, null where it is our own, `address` where that is or was. `heard_from`
    counts announcements, `told` the peers that this node told; `p50`, `p90` and `p99` of the delays, in seconds after
    the first sight, with which others announced it to us. It came in whole `duplicates` times more, `wasted` bytes.
    `reached` of the `present` peers, those that were there at the first sight, have told of it or were told.
    """

    topic: str
    id: str
    first_seen: float
    source: int | None
    address: str | None
    heard_from: int
    told: int
    p50: float | None
    p90: float | None
    p99: float | None
    duplicates: int
    wasted: int
    present: int
    reached: int


class Spreads(Closed):
    """The latest items, newest first."""

    spreads: list[Spread]


class SpreadsQuery(Closed):
    """How many of them, and of which topic. Each is reckoned from what some hundred peers said, which takes time."""

    topic: Short | None = None
    limit: int = Field(100, ge=1, le=200)


class SpreadPeer(Closed):
    """What a peer had to do with an item, in seconds after the first sight, null for never.

    `heard` when it announced the item (0: before it had come), `told` when this node told it, `served` when it asked
    this node for it; `asked`: this node had asked it for the item.
    """

    session: int
    address: str | None
    heard: float | None
    told: float | None
    served: float | None
    asked: bool


class SpreadDetail(Closed):
    """One item, with every peer that is known to have had to do with it."""

    spread: Spread
    peers: list[SpreadPeer]


class TopicSpread(Closed):
    """The latest items of a topic together.

    Percentiles of the delays, in seconds after the first sight, of others' announcements; the least share of the
    peers that half of the items (`coverage`) and nine of ten (`coverage_low`) have reached, null without any peer.
    """

    topic: str
    items: int
    announcements: int
    told: int
    p50: float | None
    p90: float | None
    p99: float | None
    duplicates: int
    wasted: int
    coverage: float | None
    coverage_low: float | None


class Propagation(Closed):
    """How the latest items of each topic spread."""

    topics: list[TopicSpread]


class Address(Closed):
    """One of the address book."""

    address: str
    source: str
    first_seen: float
    last_seen: float
    last_attempt: float
    last_success: float
    failures: int
    tried: bool
    services: int


class Addresses(Closed):
    """A page of the address book."""

    addresses: list[Address]
    next: str | None


class AddressesQuery(Closed):
    """Of which source, and from where on."""

    source: Short | None = None
    cursor: Cursor | None = None
    limit: int = Field(100, ge=1, le=1000)


class GroupHolds(Closed):
    """What a netgroup has in the address book, and how much of that has answered."""

    netgroup: str
    held: int
    tried: int


class AgeHolds(Closed):
    """Addresses whose age is below so many seconds (null: any), and not below those of the class before."""

    below: float | None
    held: int
    tried: int


class AddressGroups(Closed):
    """The address book by netgroup (the largest of them) and by age, as it was at `counted`; null: not counted yet.

    `known`: since when it has an address; `heard`: when that was last heard of.
    """

    addresses: int
    netgroups: int
    counted: float | None
    largest: list[GroupHolds]
    known: list[AgeHolds]
    heard: list[AgeHolds]


class Bucket(Closed):
    """One bucket of a routing table: of which table, how many first bits its ids share, what is in it.

    `own`: this node's own id lies in it. `last_changed` in unix seconds; 0 for never.
    """

    table: str
    depth: int
    own: bool
    room: int
    nodes: int
    good: int
    questionable: int
    bad: int
    replacements: int
    last_changed: float


class Buckets(Closed):
    """The buckets of a network; none where it has no routing table."""

    buckets: list[Bucket]


class GraphNode(Closed):
    """A node of the graph: this one (`self`), or a peer, with its session. `score` is null where it has none."""

    id: str
    network: str
    session: int | None
    address: str
    netgroup: str
    score: float | None


class GraphEdge(Closed):
    """A connection, from who dialled to who was dialled; `items` is how many it brought."""

    source: str
    target: str
    network: str
    slot: str
    items: int


class Graph(Closed):
    """This node and whom it is connected with; `left_out` peers are beyond the limit."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]
    left_out: int


class GraphQuery(Closed):
    """Of which network, and how many peers."""

    network: Short | None = None
    limit: int = Field(1000, ge=1, le=5000)


class ByQuery(Closed):
    """What the drawing goes by."""

    by: By = "direction"
