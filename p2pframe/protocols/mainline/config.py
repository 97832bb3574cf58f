"""The options of the `mainline` protocol."""

from __future__ import annotations

from typing import Literal

from p2pframe.plugin import Duration, Field, PluginConfig, live


class MainlineConfig(PluginConfig):
    """Options of the `mainline` protocol; the defaults are for the public network."""

    public: bool = Field(
        True,
        description="Only addresses that the internet routes, one node for an address. False: a network of one's own,"
        " on loopback or private addresses.",
    )
    node_ids: Literal["ignore", "prefer", "enforce"] = Field(
        "prefer",
        description="Ids bound to addresses (BEP 42): what becomes of nodes whose id does not fit their address."
        " prefer: others go first; enforce: they are neither kept nor searched.",
    )
    read_only: bool = Field(False, description="Answer nobody, and say so (BEP 43): for who can't be reached.")

    k: int = Field(8, ge=2, le=64, description="Nodes of a bucket, and those that a search looks for.")
    replacements: int = Field(8, ge=0, le=64, description="Nodes that wait for a place in a bucket.")
    questionable_after: Duration = Field(900.0, gt=0, description="A node not heard of for this long is asked.")
    refresh_after: Duration = Field(900.0, gt=0, description="A bucket unused for this long is searched.")
    alpha: int = live(4, ge=1, le=32, description="Queries of one search under way at once.")
    paths: int = live(1, ge=1, le=8, description="Disjoint paths of a search: each node is asked on one of them.")
    candidates: int = live(500, ge=16, le=10_000, description="Nodes that one search remembers, and asks, at most.")
    lookup_timeout: Duration = live(30.0, gt=0, description="A search ends after this with what it has.")
    calls: int = live(512, ge=8, description="Queries of ours under way at once; beyond it none is sent.")
    grace: Duration = live(10.0, ge=0, description="How long a query given up is remembered, for a late answer.")
    quorum: int = Field(5, ge=1, le=64, description="Netgroups that must agree on the address that we are seen by.")
    verifications: int = live(16, ge=1, description="Nodes that asked us and are being asked back, at most.")
    verifications_per_second: float = live(8.0, gt=0, description="How many are asked back in a second.")
    upkeep: Duration = live(30.0, gt=0, description="How often tables and stores are looked after.")
    save_interval: Duration = live(300.0, gt=0, description="How often nodes and items are written to storage.")
    topics: int = live(1000, ge=1, description="Topics that other networks of this node announce, at most.")
    kept_items: int = live(1000, ge=0, description="Items of ours that are put again, at most.")
    republish: Duration = live(3600.0, ge=60, description="How often they are put again (BEP 44: an hour).")

    token_rotation: Duration = Field(300.0, gt=0, description="How long one secret makes write tokens.")
    infohashes: int = live(100_000, ge=1, description="Infohashes that peers are stored for; the oldest goes first.")
    peers: int = live(1_000_000, ge=1, description="Peers stored in all.")
    peers_per_infohash: int = live(
        2_000, ge=1, le=6_000, description="Peers of one infohash; beyond it no token is given (BEP 33)."
    )
    peers_per_subnet: int = live(
        64, ge=1, description="Peers of one infohash within one /24 or /64; loopback networks are such, too."
    )
    peer_lifetime: Duration = live(1800.0, gt=0, description="A peer that does not announce again is forgotten.")
    sample_interval: Duration = live(
        3600.0, ge=1, le=21_600, description="How often the sample of infohashes is drawn anew (BEP 51)."
    )
    items: int = live(10_000, ge=1, description="Items stored for others (BEP 44), 1000 bytes each; the oldest goes.")
    items_per_subnet: int = live(100, ge=1, description="Items of one /24 or /64 among them.")
    item_lifetime: Duration = live(7200.0, gt=0, description="An item that is not put again is forgotten.")
    stores_per_second: float = live(2.0, gt=0, description="Announcements and puts taken of one /24 or /64...")
    stores_burst: float = live(200.0, ge=1, description="...and at once.")

    queries_per_second: float = live(50.0, gt=0, description="Queries answered to one address in the long run...")
    queries_burst: float = live(200.0, ge=1, description="...and at once.")
    sources: int = live(20_000, ge=1, description="Addresses and subnets whose rates are remembered, each.")
    proven_for: Duration = live(600.0, gt=0, description="How long an address counts as its sender's own.")
    subnet_budget: float = live(
        400.0, gt=0, description="Bytes a second beyond three times theirs for unproven senders of one /24 or /48..."
    )
    subnet_burst: float = live(2_000.0, ge=0, description="...and at once.")
    budget: float = live(20_000.0, gt=0, description="The same for all unproven senders...")
    budget_burst: float = live(6_000.0, ge=0, description="...and at once.")
