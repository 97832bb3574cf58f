"""The options of the `mainline` protocol."""

from __future__ import annotations

from typing import Literal

from p2pframe.plugin import Duration, Field, PluginConfig, bound, live


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

    k: int = bound(
        8,
        ge=2,
        le=64,
        description="Nodes of a bucket, and those that a search looks for.",
        counter="dht_turned_away",
        label="table: bucket full",
        live=False,
    )
    replacements: int = bound(
        8,
        ge=0,
        le=64,
        description="Nodes that wait for a place in a bucket.",
        counter="dht_turned_away",
        label="table: cache full",
        live=False,
    )
    questionable_after: Duration = Field(900.0, gt=0, description="A node not heard of for this long is asked.")
    refresh_after: Duration = Field(900.0, gt=0, description="A bucket unused for this long is searched.")
    alpha: int = bound(4, ge=1, le=32, description="Queries of one search under way at once.", counter="")
    paths: int = live(1, ge=1, le=8, description="Disjoint paths of a search: each node is asked on one of them.")
    candidates: int = bound(
        500,
        ge=16,
        le=10_000,
        description="Nodes that one search remembers, and asks, at most.",
        counter="dht_turned_away",
        label="candidates",
    )
    lookup_timeout: Duration = bound(
        30.0,
        gt=0,
        description="A search ends after this with what it has.",
        counter="dht_searches",
        label="out of time",
    )
    calls: int = bound(
        512,
        ge=8,
        description="Queries of ours under way at once; beyond it none is sent.",
        counter="dht_calls",
        label="refused",
    )
    grace: Duration = bound(
        10.0,
        ge=0,
        description="How long a query given up is remembered, for a late answer.",
        counter="dht_calls",
        label="forgotten",
    )
    quorum: int = Field(5, ge=1, le=64, description="Netgroups that must agree on the address that we are seen by.")
    verifications: int = bound(
        16,
        ge=1,
        description="Nodes that asked us and are being asked back, at most.",
        counter="dht_turned_away",
        label="verifications",
    )
    verifications_per_second: float = bound(
        8.0, gt=0, description="How many are asked back in a second.", counter="dht_turned_away", label="verifications"
    )
    upkeep: Duration = live(30.0, gt=0, description="How often tables and stores are looked after.")
    save_interval: Duration = live(300.0, gt=0, description="How often nodes and items are written to storage.")
    topics: int = bound(
        1000,
        ge=1,
        description="Topics that other networks of this node announce, at most.",
        counter="dht_turned_away",
        label="topics",
    )
    kept_items: int = bound(
        1000,
        ge=0,
        description="Items of ours that are put again, at most.",
        counter="dht_turned_away",
        label="kept items",
    )
    republish: Duration = live(3600.0, ge=60, description="How often they are put again (BEP 44: an hour).")

    token_rotation: Duration = bound(
        300.0, gt=0, description="How long one secret makes write tokens.", counter="", live=False
    )
    infohashes: int = bound(
        100_000,
        ge=1,
        description="Infohashes that peers are stored for; the oldest goes first.",
        counter="dht_stores_turned_away",
        label="infohashes",
    )
    peers: int = bound(
        1_000_000, ge=1, description="Peers stored in all.", counter="dht_stores_turned_away", label="peers"
    )
    peers_per_infohash: int = bound(
        2_000,
        ge=1,
        le=6_000,
        description="Peers of one infohash; beyond it no token is given (BEP 33).",
        counter="dht_stores_turned_away",
        label="peers of an infohash",
    )
    peers_per_subnet: int = bound(
        64,
        ge=1,
        description="Peers of one infohash within one /24 or /64; loopback networks are such, too.",
        counter="dht_stores_turned_away",
        label="peers of a subnet",
    )
    peer_lifetime: Duration = bound(
        1800.0, gt=0, description="A peer that does not announce again is forgotten.", counter=""
    )
    sample_interval: Duration = live(
        3600.0, ge=1, le=21_600, description="How often the sample of infohashes is drawn anew (BEP 51)."
    )
    items: int = bound(
        10_000,
        ge=1,
        description="Items stored for others (BEP 44), 1000 bytes each; the oldest goes.",
        counter="dht_stores_turned_away",
        label="items",
    )
    items_per_subnet: int = bound(
        100,
        ge=1,
        description="Items of one /24 or /64 among them.",
        counter="dht_stores_turned_away",
        label="items of a subnet",
    )
    item_lifetime: Duration = bound(7200.0, gt=0, description="An item that is not put again is forgotten.", counter="")
    stores_per_second: float = bound(
        2.0,
        gt=0,
        description="Announcements and puts taken of one /24 or /64...",
        counter="dht_stores_turned_away",
        label="rate",
    )
    stores_burst: float = bound(
        200.0, ge=1, description="...and at once.", counter="dht_stores_turned_away", label="rate"
    )

    queries_per_second: float = bound(
        50.0,
        gt=0,
        description="Queries answered to one address in the long run...",
        counter="dht_answers_dropped",
        label="rate",
    )
    queries_burst: float = bound(
        200.0, ge=1, description="...and at once.", counter="dht_answers_dropped", label="rate"
    )
    sources: int = bound(
        20_000,
        ge=1,
        description="Addresses and subnets whose rates are remembered, each.",
        counter="dht_sources_forgotten",
        label="proof",
    )
    proven_for: Duration = bound(600.0, gt=0, description="How long an address counts as its sender's own.", counter="")
    subnet_budget: float = bound(
        400.0,
        gt=0,
        description="Bytes a second beyond three times theirs for unproven senders of one /24 or /48...",
        counter="dht_answers_dropped",
        label="shortened",
    )
    subnet_burst: float = bound(
        2_000.0, ge=0, description="...and at once.", counter="dht_answers_dropped", label="shortened"
    )
    budget: float = bound(
        20_000.0,
        gt=0,
        description="The same for all unproven senders...",
        counter="dht_answers_dropped",
        label="shortened",
    )
    budget_burst: float = bound(
        6_000.0, ge=0, description="...and at once.", counter="dht_answers_dropped", label="shortened"
    )
