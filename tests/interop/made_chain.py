"""Regtest blocks for tests, mined with the project's own codecs.

Every coinbase pays to a script that anyone can spend.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from p2pframe.protocols.bitcoin.api import (
    Block,
    Header,
    Transaction,
    assemble_block,
    build_coinbase,
    build_transaction,
    hash256,
    join_block,
    meets_target,
    parse_block,
    parse_header,
)
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput

OP_1 = b"\x51"
ANYONE = bytes.fromhex("a914da1745e9b549bd0bfa1a569971c77eba30cd5a4b87")
"""P2SH of OP_1: spent by whoever shows the script."""
SUBSIDY = 50 * 100_000_000
HALVING = 150


def subsidy(height: int) -> int:
    """Satoshi that the block at a height makes (regtest halves every 150)."""
    return SUBSIDY >> (height // HALVING)


def make_block(
    previous: bytes,
    height: int,
    when: int,
    transactions: Sequence[Transaction] = (),
    extra: bytes = b"",
    commit: bool = False,
) -> Block:
    """A valid regtest block on `previous` (80 header bytes). Blocks with another `extra` differ.

    `commit` adds a witness commitment, which bcoin takes from block 432 on (segwit is voted in on its regtest).
    """
    script = b"\x04" + extra.ljust(4, b"\0")[:4]
    coinbase = build_coinbase(height, subsidy(height), ANYONE, transactions, script, commit)
    whole = [coinbase, *transactions]
    nonce = 0
    raw = assemble_block(Header(0x20000000, hash256(previous), bytes(32), when, REGTEST.pow_limit_bits, nonce), whole)
    while not meets_target(hash256(raw[:80]), REGTEST.pow_limit_bits, REGTEST.pow_limit):
        nonce += 1
        raw = raw[:76] + nonce.to_bytes(4, "little") + raw[80:]
    return parse_block(raw)


def make_chain(
    count: int, previous: bytes = REGTEST.genesis_header, height: int = 0, when: int | None = None, extra: bytes = b""
) -> list[Block]:
    """`count` blocks on `previous`, which is at `height`; a second apart up to now, or from `when`."""
    if when is None:
        when = max(parse_header(previous).time, int(time.time()) - count - 60)
    blocks: list[Block] = []
    for number in range(1, count + 1):
        blocks.append(make_block(previous, height + number, when + number, extra=extra))
        previous = blocks[-1].header_bytes
    return blocks


def headers_of(blocks: Sequence[Block]) -> list[bytes]:
    return [block.header_bytes for block in blocks]


def spend(block: Block, fee: int = 10_000) -> Transaction:
    """A transaction that spends a block's coinbase, of those that pay to whoever shows OP_1."""
    coinbase = block.transaction(0)
    value, script = coinbase.outputs[0]
    if script == ANYONE:
        spent = TxInput(coinbase.txid, 0, b"\x01" + OP_1)
    else:
        spent = TxInput(coinbase.txid, 0, witness=(OP_1,))
    return build_transaction([spent], [TxOutput(value - fee, script)])


def with_another_body(block: Block, transactions: Sequence[Transaction]) -> bytes:
    """The block's header over other transactions: its merkle root is not theirs."""
    return join_block(block.header_bytes, transactions)


def with_another_witness(block: Block) -> bytes:
    """The block with another value in its coinbase's witness.

    Same txids, same header, a commitment that does not fit.
    """
    coinbase = block.transaction(0)
    assert coinbase.witness_bytes == b"\x01\x20" + bytes(32), "made by make_block"
    changed = coinbase.raw[: -4 - 32] + b"\x01" * 32 + coinbase.raw[-4:]
    start, end = block.offsets[0], block.offsets[1]
    return block.raw[:start] + changed + block.raw[end:]
