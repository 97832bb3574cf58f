"""What an application may use of a Bitcoin network: `context.service(IBitcoin)`, values and codecs.

This is the one module of the protocol that applications import. Most need the interface alone; the framing and the
codecs are for those that speak the protocol themselves (crawlers, and the attackers of the scenarios).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import Validation
from p2pframe.protocols.bitcoin.addresses import NetworkAddress, encode_addr, network_address
from p2pframe.protocols.bitcoin.block import Block, assemble_block, build_coinbase, join_block, merkle_root, parse_block
from p2pframe.protocols.bitcoin.block_store import TOPIC as BLOCK
from p2pframe.protocols.bitcoin.chains import CHAINS, Chain
from p2pframe.protocols.bitcoin.frame import V1Framing
from p2pframe.protocols.bitcoin.header import Header, hash256, hash_from_hex, hash_hex, parse_header, serialize_header
from p2pframe.protocols.bitcoin.headers import meets_target
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_WITNESS_BLOCK,
    Locator,
    decode_headers,
    decode_inventory,
    decode_locator,
    encode_headers,
    encode_ids,
    encode_locator,
)
from p2pframe.protocols.bitcoin.messages import NODE_NETWORK, NODE_WITNESS, Version, encode_version
from p2pframe.protocols.bitcoin.pool import TX
from p2pframe.protocols.bitcoin.transaction import (
    Transaction,
    TxInput,
    TxOutput,
    build_transaction,
    parse_transaction,
)


class Tip(NamedTuple):
    """A block by its hash (32 bytes in the order of the wire) and height."""

    hash: bytes
    height: int


class Template(NamedTuple):
    """What a new block has to follow: the block before, its own height, the required bits, a time that is not too early
    (unix seconds), and the transactions to take in."""

    previous: bytes
    height: int
    bits: int
    time: int
    transactions: list[Transaction]


class IBitcoin(Interface):
    """A Bitcoin network as applications use it."""

    chain: Chain = Attribute("The chain's parameters.")

    def tip() -> Tip:
        """The last block up to which every block is held (or was, and is pruned)."""

    def best_header() -> Tip:
        """The last header of the chain with the most work."""

    def header(hash: bytes) -> bytes | None:
        """A header's 80 bytes; None where it is not known."""

    def block(hash: bytes) -> Deferred[bytes | None]:
        """A block's bytes; None where it is not held. Fails with `StorageError`."""

    def template() -> Template:
        """What a block on top of `tip` has to be."""

    def submit_block(raw: bytes) -> Deferred[Validation]:
        """A block of our own: checked, stored and announced like any other. Fires with what became of it."""

    def submit_transaction(raw: bytes) -> Deferred[Validation]:
        """A transaction of our own, likewise. Fails with `MalformedMessage` for bytes that are none."""

    def on_tip(callback: Callable[[Tip], None]) -> Callable[[], None]:
        """Call back whenever `tip` has changed. Returns what ends it."""


__all__ = [
    "BLOCK",
    "CHAINS",
    "MSG_BLOCK",
    "MSG_WITNESS_BLOCK",
    "NODE_NETWORK",
    "NODE_WITNESS",
    "TX",
    "Block",
    "Chain",
    "Header",
    "IBitcoin",
    "Locator",
    "NetworkAddress",
    "Template",
    "Tip",
    "Transaction",
    "TxInput",
    "TxOutput",
    "V1Framing",
    "Version",
    "assemble_block",
    "build_coinbase",
    "build_transaction",
    "decode_headers",
    "decode_inventory",
    "decode_locator",
    "encode_addr",
    "encode_headers",
    "encode_ids",
    "encode_locator",
    "encode_version",
    "hash256",
    "hash_from_hex",
    "hash_hex",
    "join_block",
    "meets_target",
    "merkle_root",
    "network_address",
    "parse_block",
    "parse_header",
    "parse_transaction",
    "serialize_header",
]
