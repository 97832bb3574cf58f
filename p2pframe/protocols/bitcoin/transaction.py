"""Transactions: parsed from the wire with both ids, built, and checked as far as that needs no other transaction.

Serialisation is BIP144's. A transaction keeps the bytes it came in: what is served is what was received.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from p2pframe.errors import P2PFrameError
from p2pframe.protocols.bitcoin.wire import MalformedMessage, compact_size, read_compact, var_bytes

MAX_WEIGHT = 4_000_000
"""The most that a block, and so a transaction, may weigh (BIP141)."""
MAX_STANDARD_WEIGHT = 400_000
"""What relaying nodes take of a single transaction (Bitcoin Core, src/policy/policy.h)."""
MAX_MONEY = 21_000_000 * 100_000_000
NULL_HASH = bytes(32)

_NO_OUTPOINT = NULL_HASH + b"\xff\xff\xff\xff"
_COINBASE_START = b"\x01" + _NO_OUTPOINT

_U32 = Struct("<I")
_I32 = Struct("<i")
_I64 = Struct("<q")
_OUTPOINT = Struct("<32sI")


class TxInput(NamedTuple):
    """An input: the output that it spends (`txid` and its position `vout` there), script, sequence, witness stack."""

    txid: bytes
    vout: int
    script: bytes = b""
    sequence: int = 0xFFFFFFFF
    witness: tuple[bytes, ...] = ()


class TxOutput(NamedTuple):
    """An output: an amount in satoshi and the script that locks it."""

    value: int
    script: bytes


class BadTransaction(P2PFrameError):
    """A transaction is well encoded and can never be valid; `reason` is a short stable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


def scan(data: bytes, at: int) -> tuple[int, int]:
    """Steps over the transaction at `at`: the offset behind it, and that of its witness stacks (0 where it has none).

    IndexError, struct.error or MalformedMessage where it can't be one; an offset past the end of `data` must be
    refused by the caller. The loops are bounded by the data: each turn reads a byte of it or fails.
    """
    at += 4
    inputs = data[at]
    segwit = inputs == 0
    if segwit:
        if data[at + 1] != 1:
            raise MalformedMessage("no inputs, or unknown optional data", f"transaction at byte {at}")
        at += 2
        inputs = data[at]
    if inputs < 0xFD:
        at += 1
    else:
        inputs, at = read_compact(data, at)
    if not inputs:
        raise MalformedMessage("no inputs", f"transaction at byte {at}")
    for _ in range(inputs):
        size = data[at + 36]
        if size < 0xFD:
            at += 41 + size
        else:
            size, at = read_compact(data, at + 36)
            at += size + 4
    count = data[at]
    if count < 0xFD:
        at += 1
    else:
        count, at = read_compact(data, at)
    for _ in range(count):
        size = data[at + 8]
        if size < 0xFD:
            at += 9 + size
        else:
            size, at = read_compact(data, at + 8)
            at += size
    if not segwit:
        return at + 4, 0
    witness_at = at
    filled = 0
    for _ in range(inputs):
        count = data[at]
        if count < 0xFD:
            at += 1
        else:
            count, at = read_compact(data, at)
        filled |= count
        for _ in range(count):
            size = data[at]
            if size < 0xFD:
                at += 1 + size
            else:
                size, at = read_compact(data, at)
                at += size
    if not filled:
        # Core refuses it too: the same transaction would have two encodings.
        raise MalformedMessage("marked as having witnesses, and has none", f"transaction at byte {at}")
    return at + 4, witness_at


class Transaction:
    """A transaction as received: its bytes, both ids (wire order) and sizes. Its parts are decoded when asked for.

    `size` is in bytes with witnesses, `stripped_size` without, `weight` as BIP141 counts.
    """

    __slots__ = ("_witness_at", "raw", "size", "stripped_size", "txid", "weight", "wtxid")

    def __init__(self, raw: bytes, witness_at: int) -> None:
        """Use `parse_transaction` or `build_transaction`: this trusts both of its arguments."""
        self.raw = raw
        self._witness_at = witness_at
        self.size = len(raw)
        self.wtxid = sha256(sha256(raw).digest()).digest()
        if witness_at:
            stripped = self.stripped()
            self.stripped_size = len(stripped)
            self.txid = sha256(sha256(stripped).digest()).digest()
        else:
            self.stripped_size = self.size
            self.txid = self.wtxid
        self.weight = 3 * self.stripped_size + self.size

    def stripped(self) -> bytes:
        """The bytes without marker, flag and witnesses: what the txid is the hash of."""
        raw = self.raw
        if not self._witness_at:
            return raw
        return raw[:4] + raw[6 : self._witness_at] + raw[-4:]

    @property
    def has_witness(self) -> bool:
        return self._witness_at != 0

    @property
    def virtual_size(self) -> int:
        """The weight in units of four, rounded up: what fee rates are counted in."""
        return (self.weight + 3) // 4

    @property
    def version(self) -> int:
        version: int = _I32.unpack_from(self.raw)[0]
        return version

    @property
    def lock_time(self) -> int:
        lock_time: int = _U32.unpack_from(self.raw, self.size - 4)[0]
        return lock_time

    @property
    def inputs(self) -> tuple[TxInput, ...]:
        """The inputs with their witnesses: of a transaction of 4 MB these can be four million objects."""
        stacks = self._witnesses()
        return tuple(spend._replace(witness=stack) for spend, stack in zip(self.spends, stacks, strict=True))

    @property
    def spends(self) -> list[TxInput]:
        """The inputs without their witnesses, which is all that most checks need."""
        return self._spends()[0]

    @property
    def scripts(self) -> list[bytes]:
        """The signature scripts of the inputs."""
        raw = self.raw
        count, at = read_compact(raw, 6 if self._witness_at else 4)
        scripts: list[bytes] = []
        for _ in range(count):
            size, at = read_compact(raw, at + 36)
            scripts.append(raw[at : at + size])
            at += size + 4
        return scripts

    @property
    def outputs(self) -> list[TxOutput]:
        raw = self.raw
        count, at = read_compact(raw, self._spends()[1])
        outputs: list[TxOutput] = []
        for _ in range(count):
            value = _I64.unpack_from(raw, at)[0]
            size, at = read_compact(raw, at + 8)
            outputs.append(TxOutput(value, raw[at : at + size]))
            at += size
        return outputs

    @property
    def witness_bytes(self) -> bytes:
        """The witness stacks of all inputs as they stand in the encoding; empty where there is none."""
        return self.raw[self._witness_at : -4] if self._witness_at else b""

    def _spends(self) -> tuple[list[TxInput], int]:
        """The inputs without witnesses, and the offset behind them."""
        raw = self.raw
        count, at = read_compact(raw, 6 if self._witness_at else 4)
        spends: list[TxInput] = []
        for _ in range(count):
            txid, vout = _OUTPOINT.unpack_from(raw, at)
            size, at = read_compact(raw, at + 36)
            spends.append(TxInput(txid, vout, raw[at : at + size], _U32.unpack_from(raw, at + size)[0]))
            at += size + 4
        return spends, at

    def _witnesses(self) -> list[tuple[bytes, ...]]:
        inputs = read_compact(self.raw, 6 if self._witness_at else 4)[0]
        if not self._witness_at:
            return [()] * inputs
        raw, at = self.raw, self._witness_at
        stacks: list[tuple[bytes, ...]] = []
        for _ in range(inputs):
            count, at = read_compact(raw, at)
            stack: list[bytes] = []
            for _ in range(count):
                size, at = read_compact(raw, at)
                stack.append(raw[at : at + size])
                at += size
            stacks.append(tuple(stack))
        return stacks

    @property
    def is_coinbase(self) -> bool:
        """True where it has a single input that spends nothing: the first transaction of a block."""
        start = 6 if self._witness_at else 4
        return self.raw[start : start + 37] == _COINBASE_START

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transaction) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.wtxid)

    def __repr__(self) -> str:
        return f"<Transaction {self.txid[::-1].hex()} {self.size} bytes>"


def parse_transaction(data: bytes) -> Transaction:
    """The transaction that `data` is, from its first byte to its last; MalformedMessage where it is not one."""
    try:
        end, witness_at = scan(data, 0)
    except (IndexError, StructError):
        raise MalformedMessage("ends too early", "transaction") from None
    if end != len(data):
        what = "ends too early" if end > len(data) else f"{len(data) - end} bytes too many"
        raise MalformedMessage(what, "transaction")
    return Transaction(data, witness_at)


def build_transaction(
    inputs: Sequence[TxInput], outputs: Sequence[TxOutput], version: int = 2, lock_time: int = 0
) -> Transaction:
    """A transaction of these parts, with witnesses where an input has some; ValueError without inputs."""
    if not inputs:
        raise ValueError("a transaction needs an input: without one its encoding would be ambiguous")
    body = [compact_size(len(inputs))]
    for spend in inputs:
        body += (_OUTPOINT.pack(spend.txid, spend.vout), var_bytes(spend.script), _U32.pack(spend.sequence))
    body.append(compact_size(len(outputs)))
    for output in outputs:
        body += (_I64.pack(output.value), var_bytes(output.script))
    head, tail = _I32.pack(version), _U32.pack(lock_time)
    if not any(spend.witness for spend in inputs):
        return Transaction(head + b"".join(body) + tail, 0)
    stripped = b"".join(body)
    stacks: list[bytes] = []
    for spend in inputs:
        stacks.append(compact_size(len(spend.witness)))
        stacks += [var_bytes(item) for item in spend.witness]
    return Transaction(head + b"\x00\x01" + stripped + b"".join(stacks) + tail, 6 + len(stripped))


def check_transaction(transaction: Transaction) -> None:
    """What a transaction must keep whatever it spends; BadTransaction with Core's reason where it does not.

    As CheckTransaction in Bitcoin Core's src/consensus/tx_check.cpp: outputs, amounts, weight, inputs spent twice,
    coinbase script. Scripts, signatures and the outputs that are spent are not looked at. Every transaction that a node
    hears of comes through here: it reads the encoding, and makes no objects of it.
    """
    raw = transaction.raw
    spends, at = read_outpoints(raw, 0)
    count, at = read_compact(raw, at)
    if not count:
        raise BadTransaction("bad-txns-vout-empty")
    if transaction.stripped_size * 4 > MAX_WEIGHT:
        raise BadTransaction("bad-txns-oversize", f"{transaction.stripped_size} bytes without witnesses")
    total = 0
    for _ in range(count):
        (value,) = _I64.unpack_from(raw, at)
        if value < 0:
            raise BadTransaction("bad-txns-vout-negative")
        total += value
        if total > MAX_MONEY:
            raise BadTransaction("bad-txns-vout-toolarge")
        size, at = read_compact(raw, at + 8)
        at += size
    if len(spends) > 1 and len(set(spends)) != len(spends):
        raise BadTransaction("bad-txns-inputs-duplicate")
    if transaction.is_coinbase:
        script = transaction.spends[0].script
        if not 2 <= len(script) <= 100:
            raise BadTransaction("bad-cb-length", f"{len(script)} bytes")
    elif _NO_OUTPOINT in spends:
        raise BadTransaction("bad-txns-prevout-null")


def read_outpoints(raw: bytes, at: int) -> tuple[list[bytes], int]:
    """The outputs that the (well-formed) transaction at `at` of `raw` spends, and the offset behind its inputs.

    36 bytes each, as they stand in the encoding.
    """
    at += 4
    if raw[at] == 0:
        at += 2  # BIP144's marker and flag
    count, at = read_compact(raw, at)
    spends: list[bytes] = []
    for _ in range(count):
        spends.append(raw[at : at + 36])
        size, at = read_compact(raw, at + 36)
        at += size + 4
    return spends, at


def script_number(value: int) -> bytes:
    """A non-negative number as scripts push it: OP_0, OP_1 to OP_16, or its least bytes (BIP34 heights)."""
    if value == 0:
        return b"\x00"
    if value <= 16:
        return bytes([0x50 + value])
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little")
    return bytes([len(raw)]) + raw


def coinbase_height(transaction: Transaction) -> int | None:
    """The height that a coinbase pushes first (BIP34); None where it pushes none in the shortest form."""
    script = transaction.spends[0].script
    if not script:
        return None
    first = script[0]
    if first == 0:
        return 0
    if 0x51 <= first <= 0x60:
        return first - 0x50
    height = int.from_bytes(script[1 : 1 + first], "little") if first <= 8 else -1
    return height if height > 16 and script.startswith(script_number(height)) else None
