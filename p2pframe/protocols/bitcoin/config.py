"""The options of the `bitcoin` protocol."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from p2pframe.plugin import Address, Duration, Field, PluginConfig, Size, bound, live

AGENT = "/p2pframe:0.1.0/"


def _short(agent: str) -> str:
    if len(agent.encode()) > 256:
        raise ValueError(f"is {len(agent.encode())} bytes of UTF-8; peers hang up on an agent of more than 256")
    return agent


class BitcoinConfig(PluginConfig):
    """Options of the `bitcoin` protocol."""

    chain: Literal["mainnet", "testnet4", "signet", "regtest"] = Field("mainnet", description="Which chain to follow.")
    agent: Annotated[str, AfterValidator(_short)] = Field(
        AGENT, max_length=256, description="The user agent that peers see: at most 256 bytes of UTF-8."
    )
    relay_transactions: bool = Field(True, description="Take and pass on transactions, where this node serves at all.")
    serve_unvalidated: bool | None = Field(
        None,
        description=(
            "Announce and serve blocks and transactions whose scripts nobody has checked. Unset: only on regtest."
        ),
    )
    external: tuple[Address, ...] = live(
        (), description="Addresses at which others can reach this node; told to peers."
    )
    prune: Size = bound(
        0, description="Keep at most about this many bytes of blocks; 0 keeps all.", counter="block_files_pruned"
    )
    block_file: Size = live(128_000_000, gt=0, description="Bytes at which the next block file is begun.")
    headers: int = bound(
        5_000_000, ge=10_000, description="Headers held at most.", counter="headers_dropped", label="index-full"
    )
    block_window: int = bound(
        1024, ge=16, le=10_000, description="How far ahead of the joined blocks bodies are fetched.", counter=""
    )
    block_timeout: Duration = bound(
        60.0,
        gt=0,
        description="A block that has not come by then is asked of the next peer.",
        counter="scheduler_timeouts",
        label="block",
    )
    stall_timeout: Duration = bound(
        2.0,
        gt=0,
        description="How long one peer may hold up the window; doubles up to 64 s.",
        counter="block_stalls",
        refuses=("stalled",),
    )
    headers_timeout: Duration = bound(
        60.0,
        gt=0,
        description="An answer to getheaders that has not come by then is late.",
        counter="sessions_closed",
        label="headers-timeout",
        refuses=("headers-timeout",),
    )
    headers_turn: Duration = bound(
        900.0,
        gt=0,
        description="How long one peer may take for all headers, and 1 ms more for each; then another one's turn.",
        counter="sessions_closed",
        label="headers-timeout",
        refuses=("headers-timeout",),
    )
    behind_timeout: Duration = bound(
        1_200.0,
        gt=0,
        description="A dialled peer whose chain has less work than ours for this long gives its slot to another.",
        counter="peers_behind",
        refuses=("behind",),
    )
    unconnected: int = bound(
        10,
        ge=1,
        description="Headers messages in a row that don't connect before they are ignored.",
        counter="headers_dropped",
        label="unconnected-too-often",
    )
    pool_size: Size = bound(
        100_000_000,
        ge=1_000_000,
        description="Bytes of transactions held at most.",
        counter="pool_removed",
        label="evicted",
    )
    pool_expiry: Duration = bound(
        1_209_600.0,
        gt=0,
        description="A transaction is dropped after this time.",
        counter="pool_removed",
        label="expired",
    )
    fee_filter: int = live(
        100, ge=0, description="Satoshi per 1000 virtual bytes below which peers need tell us nothing."
    )
    ping_interval: Duration = live(120.0, gt=0, description="How often a session is pinged.")
    ping_timeout: Duration = bound(
        1_200.0,
        gt=0,
        description="No pong for this long ends the session.",
        counter="sessions_closed",
        label="ping-timeout",
        refuses=("ping-timeout",),
    )
    block_cache: Size = bound(
        16_000_000,
        description="Bytes of blocks kept ready to send; peers that ask for the same one share it.",
        counter="",
    )
    getdata_queue: int = bound(
        5_000,
        ge=100,
        description="Entries that one peer may have asked for and not got yet.",
        counter="turned_away",
        label="getdata-queue",
    )
    stale_tip: Duration = live(
        1_800.0, gt=0, description="No new block for this long: one more outbound peer is tried."
    )
    addr_interval: Duration = bound(
        10.0,
        gt=0,
        description="One message of addresses is looked at in this time, in the long run, of each peer.",
        counter="messages_dropped",
        label="addr-rate",
    )
    address_cache: Duration = live(86_400.0, gt=0, description="How long the answer to getaddr stays the same, about.")
    own_address_interval: Duration = live(
        86_400.0, gt=0, description="How often a peer is told our own address, about."
    )
    getaddr_timeout: Duration = bound(
        45.0,
        gt=0,
        description="How long the discovery `peer-exchange` waits for answers; less than `limits.discovery_timeout`.",
        counter="getaddr",
        label="silent",
    )

    @property
    def block_file_size(self) -> int:
        """See `BlockStoreOptions`."""
        return self.block_file

    @property
    def prune_target(self) -> int:
        """See `BlockStoreOptions`."""
        return self.prune
