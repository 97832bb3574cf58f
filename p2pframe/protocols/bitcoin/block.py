"""Blocks: parsed with all ids, checked against their header, and put together.

A parsed block is its bytes and offsets into them. What is checked here is that body and header belong together
and that the body keeps its limits; scripts, signatures, fees and spent outputs are not looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import sha256
from struct import error as StructError

from p2pframe.errors import P2PFrameError
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, Header, hash256, parse_header, serialize_header
from p2pframe.protocols.bitcoin.transaction import (
    MAX_WEIGHT,
    NULL_HASH,
    Transaction,
    TxInput,
    TxOutput,
    build_transaction,
    scan,
    script_number,
)
from p2pframe.protocols.bitcoin.wire import MalformedMessage, compact_size, read_compact

COMMITMENT_PREFIX = bytes.fromhex("6a24aa21a9ed")
"""How the output script starts that commits to the witnesses (BIP141)."""
_SMALLEST_TRANSACTION = 51


class BadBlock(P2PFrameError):
    """A block's body breaks a rule that needs only its header. `reason` is Core's word for it.

    `mutated` is True where the body does not belong to its header: the sender's offence, which says nothing
    of the block that has this hash, so the hash stays downloadable from others.
    """

    def __init__(self, reason: str, detail: str = "", mutated: bool = False) -> None:
        self.reason = reason
        self.mutated = mutated
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Block:
    """A parsed block: `raw` bytes, `hash`, and the ids of its transactions, in order (all in wire order).

    `offsets` has the start of each transaction in `raw`, and behind the last one the end. `stripped_size` and
    `weight` are BIP141's; `witness` is True where any transaction carries one.
    """

    __slots__ = ("hash", "offsets", "raw", "stripped_size", "txids", "weight", "witness", "wtxids")

    def __init__(
        self,
        raw: bytes,
        offsets: array[int],
        txids: list[bytes],
        wtxids: list[bytes],
        stripped_size: int,
        witness: bool,
    ) -> None:
        """Use `parse_block`: this trusts its arguments."""
        self.raw = raw
        self.hash = hash256(raw[:HEADER_SIZE])
        self.offsets = offsets
        self.txids = txids
        self.wtxids = wtxids
        self.stripped_size = stripped_size
        self.weight = 3 * stripped_size + len(raw)
        self.witness = witness

    @property
    def header(self) -> Header:
        return parse_header(self.raw)

    @property
    def header_bytes(self) -> bytes:
        return self.raw[:HEADER_SIZE]

    @property
    def size(self) -> int:
        """Bytes of the whole block, witnesses included."""
        return len(self.raw)

    def __len__(self) -> int:
        return len(self.txids)

    def transaction(self, index: int) -> Transaction:
        """The transaction at `index` (from 0), as a value of its own."""
        data = self.raw[self.offsets[index] : self.offsets[index + 1]]
        return Transaction(data, scan(data, 0)[1])

    def transactions(self) -> list[Transaction]:
        """All transactions, each as a value of its own: twice the block's memory."""
        return [self.transaction(index) for index in range(len(self.txids))]

    def __repr__(self) -> str:
        return f"<Block {self.hash[::-1].hex()} {len(self.txids)} transactions, {self.size} bytes>"


def parse_block(data: bytes) -> Block:
    """The block that `data` is, from its first byte to its last; MalformedMessage where it is not one."""
    if len(data) < HEADER_SIZE:
        raise MalformedMessage(f"{len(data)} bytes, less than a header", "block")
    count, at = read_compact(data, HEADER_SIZE)
    total = len(data)
    if count > (total - at) // _SMALLEST_TRANSACTION + 1:
        raise MalformedMessage(f"{count} transactions can't fit in {total} bytes", "block")
    stripped_size = at
    offsets = array("I")
    txids: list[bytes] = []
    wtxids: list[bytes] = []
    witness = False
    digest, step = sha256, scan
    try:
        for _ in range(count):
            offsets.append(at)
            end, witness_at = step(data, at)
            if end > total:
                raise MalformedMessage("ends inside a transaction", f"block, transaction {len(txids)}")
            wtxid = digest(digest(data[at:end]).digest()).digest()
            if witness_at:
                witness = True
                stripped = data[at : at + 4] + data[at + 6 : witness_at] + data[end - 4 : end]
                stripped_size += len(stripped)
                txids.append(digest(digest(stripped).digest()).digest())
            else:
                stripped_size += end - at
                txids.append(wtxid)
            wtxids.append(wtxid)
            at = end
    except (IndexError, StructError):
        raise MalformedMessage("ends inside a transaction", f"block, transaction {len(txids)}") from None
    if at != total:
        raise MalformedMessage(f"{total - at} bytes too many", "block")
    offsets.append(at)
    return Block(data, offsets, txids, wtxids, stripped_size, witness)


def merkle_root(ids: Sequence[bytes]) -> tuple[bytes, bool]:
    """The merkle root of ids, and whether the list could be a shorter one with its end repeated (CVE-2012-2459).

    A repeated end gives the same root, so a peer could have a good block's hash remembered as bad. Zeros for no ids.
    """
    level = list(ids)
    if not level:
        return NULL_HASH, False
    mutated = False
    digest = sha256
    while len(level) > 1:
        lefts, rights = level[::2], level[1::2]
        if any(left == right for left, right in zip(lefts, rights, strict=False)):
            mutated = True
        if len(lefts) > len(rights):
            rights.append(lefts[-1])
        level = [
            digest(digest(left + right).digest()).digest() for left, right in zip(lefts, rights, strict=True)
        ]
    return level[0], mutated


def witness_root(wtxids: Sequence[bytes]) -> bytes:
    """The merkle root of a block's wtxids, in which the coinbase counts as zeros (BIP141)."""
    return merkle_root([NULL_HASH, *wtxids[1:]])[0]


def witness_commitment(coinbase: Transaction) -> bytes | None:
    """The 32 bytes by which a coinbase commits to the witnesses: of several, the last one counts (BIP141)."""
    for output in reversed(coinbase.outputs):
        if len(output.script) >= 38 and output.script.startswith(COMMITMENT_PREFIX):
            return output.script[6:38]
    return None


def check_block(block: Block, segwit: bool = True) -> None:
    """Body against header and limits; BadBlock where they do not fit.

    In the order of Bitcoin Core's CheckBlock, IsBlockMutated and CheckWitnessMalleation. `segwit` says whether
    BIP141 is in force at its height: before that no transaction may carry a witness. Signature operations are
    not counted.
    """
    root, mutated = merkle_root(block.txids)
    if root != block.raw[36:68]:
        raise BadBlock("bad-txnmrklroot", "the transactions do not give the header's merkle root", mutated=True)
    if mutated:
        raise BadBlock("bad-txns-duplicate", "the list of transactions repeats its end", mutated=True)
    if not block.txids or block.stripped_size * 4 > MAX_WEIGHT or len(block.txids) * 4 > MAX_WEIGHT:
        raise BadBlock("bad-blk-length", f"{len(block.txids)} transactions, {block.stripped_size} bytes stripped")
    coinbase = block.transaction(0)
    if not coinbase.is_coinbase:
        # A 64-byte transaction can stand for two inner hashes of the tree: the body may be forged, not the block.
        forged = any(block.transaction(index).stripped_size == 64 for index in range(len(block.txids)))
        raise BadBlock("bad-cb-missing", "the first transaction is no coinbase", mutated=forged)
    raw, offsets = block.raw, block.offsets
    for index in range(1, len(block.txids)):
        start = offsets[index] + 4
        if raw.find(NULL_HASH, start + 1, start + 35) >= 0 and block.transaction(index).is_coinbase:
            raise BadBlock("bad-cb-multiple", f"transaction {index} is a coinbase too")
    _check_witnesses(block, coinbase, segwit)
    if block.weight > MAX_WEIGHT:
        raise BadBlock("bad-blk-weight", f"weight {block.weight}")


def _check_witnesses(block: Block, coinbase: Transaction, segwit: bool) -> None:
    commitment = witness_commitment(coinbase) if segwit else None
    if commitment is None:
        if block.witness:
            raise BadBlock("unexpected-witness", "witnesses that the block does not commit to", mutated=True)
        return
    # Compared as bytes: nothing is decoded of what may be 4 MB put into a good block's coinbase.
    stack = coinbase.witness_bytes
    if len(stack) != 34 or not stack.startswith(b"\x01\x20"):
        raise BadBlock("bad-witness-nonce-size", "the coinbase's witness is not one value of 32 bytes", mutated=True)
    if hash256(witness_root(block.wtxids) + stack[2:]) != commitment:
        raise BadBlock("bad-witness-merkle-match", "the witnesses do not give the commitment", mutated=True)


def build_coinbase(
    height: int,
    value: int,
    script: bytes,
    transactions: Sequence[Transaction] = (),
    extra: bytes = b"",
    commit: bool = True,
) -> Transaction:
    """A coinbase that pays `value` satoshi to `script`, for a block with `transactions` behind it.

    `extra` goes behind the height (BIP34) in its script, and makes its txid unique. `commit` adds the witness
    commitment (BIP141), which is allowed in any block where segwit is in force.
    """
    tag = script_number(height) + extra
    if len(tag) < 2:
        tag += b"\x00"
    outputs = [TxOutput(value, script)]
    stack: tuple[bytes, ...] = ()
    if commit:
        stack = (NULL_HASH,)
        root = witness_root([NULL_HASH, *(transaction.wtxid for transaction in transactions)])
        outputs.append(TxOutput(0, COMMITMENT_PREFIX + hash256(root + NULL_HASH)))
    return build_transaction([TxInput(NULL_HASH, 0xFFFFFFFF, tag, 0xFFFFFFFF, stack)], outputs)


def assemble_block(header: Header, transactions: Sequence[Transaction]) -> bytes:
    """A block's bytes. The header's merkle root is replaced by that of `transactions`; its nonce is taken as it is."""
    root, _ = merkle_root([transaction.txid for transaction in transactions])
    return join_block(serialize_header(header._replace(merkle_root=root)), transactions)


def join_block(header: bytes, transactions: Sequence[Transaction]) -> bytes:
    """A block's bytes from 80 header bytes and transactions, without looking whether they fit."""
    return b"".join([header, compact_size(len(transactions)), *(transaction.raw for transaction in transactions)])
