"""The options of the `bitcoin` protocol."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from p2pframe.plugin import Address, Duration, Field, PluginConfig, Size, live

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
            "Announce and serve blocks and transactions whose scripts nobody has checked. Unset: only on "
            "regtest."
        ),
    )
    external: tuple[Address, ...] = live(
        (), description="Addresses at which others can reach this node; told to peers."
    )
    prune: Size = live(0, description="Keep at most about this many bytes of blocks; 0 keeps all.")
    block_file: Size = live(128_000_000, gt=0, description="Bytes at which the next block file is begun.")
    headers: int = live(5_000_000, ge=10_000, description="Headers held at most.")
    block_window: int = live(
        1024, ge=16, le=10_000, description="How far ahead of the joined blocks bodies are fetched."
    )
    block_timeout: Duration = live(
        60.0, gt=0, description="A block that has not come by then is asked of the next peer."
    )
    stall_timeout: Duration = live(
        2.0, gt=0, description="How long one peer may hold up the window; doubles up to 64 s."
    )
    headers_timeout: Duration = live(
        60.0, gt=0, description="An answer to getheaders that has not come by then is late."
    )
    headers_turn: Duration = live(
        900.0,
        gt=0,
        description="How long one peer may take for all headers, and 1 ms more for each; then another one's turn.",
    )
    behind_timeout: Duration = live(
        1_200.0,
        gt=0,
        description="A dialled peer whose chain has less work than ours for this long gives its slot to another.",
    )
    unconnected: int = live(
        10, ge=1, description="Headers messages in a row that don't connect before they are ignored."
    )
    pool_size: Size = live(100_000_000, ge=1_000_000, description="Bytes of transactions held at most.")
    pool_expiry: Duration = live(1_209_600.0, gt=0, description="A transaction is dropped after this time.")
    fee_filter: int = live(
        100, ge=0, description="Satoshi per 1000 virtual bytes below which peers need tell us nothing."
    )
    ping_interval: Duration = live(120.0, gt=0, description="How often a session is pinged.")
    ping_timeout: Duration = live(1_200.0, gt=0, description="No pong for this long ends the session.")
    block_cache: Size = live(
        16_000_000, description="Bytes of blocks kept ready to send; peers that ask for the same one share it."
    )
    getdata_queue: int = live(5_000, ge=100, description="Entries that one peer may have asked for and not got yet.")
    stale_tip: Duration = live(
        1_800.0, gt=0, description="No new block for this long: one more outbound peer is tried."
    )
    addr_interval: Duration = live(
        10.0, gt=0, description="One message of addresses is looked at in this time, in the long run, of each peer."
    )
    address_cache: Duration = live(86_400.0, gt=0, description="How long the answer to getaddr stays the same, about.")
    own_address_interval: Duration = live(
        86_400.0, gt=0, description="How often a peer is told our own address, about."
    )
    getaddr_timeout: Duration = live(
        45.0,
        gt=0,
        description="How long the discovery `peer-exchange` waits for answers; less than `limits.discovery_timeout`.",
    )

    @property
    def block_file_size(self) -> int:
        """See `BlockStoreOptions`."""
        return self.block_file

    @property
    def prune_target(self) -> int:
        """See `BlockStoreOptions`."""
        return self.prune
